use std::collections::HashMap;

use super::{Items, Truth};
use crate::{EventOptions, Input, Result, events};

/// Counts the events of each item of an index that training sees: all but those that a truth
/// holds out.
#[derive(Debug)]
pub struct Training<'a> {
    items: &'a Items<'a>,
    /// For each user the rows of the events that are still to be left out.
    held_out: HashMap<&'a str, Vec<u32>>,
    events: Vec<u64>,
}

impl<'a> Training<'a> {
    /// Begins to count.
    pub fn new(items: &'a Items<'a>, truth: &'a Truth) -> Self {
        let users = truth.users().iter().chain(truth.idle());
        let held_out = users.map(|user| (user.key.as_str(), user.held_out.clone()));
        let held_out = held_out.collect();
        let events = vec![0; items.catalogue()];
        Self {
            items,
            held_out,
            events,
        }
    }

    /// Counts the events of a file; `file` is its name, for its ending and for errors.
    ///
    /// # Errors
    ///
    /// If the format cannot be told, or a record cannot be read.
    pub fn read(&mut self, file: &str, input: Input<'_>, options: &EventOptions) -> Result<()> {
        events::read(file, input, options, &mut |_, event| {
            self.push(event.user, event.item);
            Ok(())
        })
    }

    /// Counts an event; in which order they come does not matter. Those of items that the index
    /// lacks are passed over.
    pub fn push(&mut self, user: &str, item: &str) {
        let Some(row) = self.items.find(item) else {
            return;
        };
        if let Some(left) = self.held_out.get_mut(user)
            && let Some(at) = left.iter().position(|&held_out| held_out == row)
        {
            left.swap_remove(at);
        } else if let Some(events) = self.events.get_mut(row as usize) {
            *events += 1;
        }
    }

    /// The events of each row of the index, `[catalogue]`.
    pub fn finish(self) -> Vec<u64> {
        self.events
    }
}
