use semantic_id::{ItemId, ItemKeys};
use serde::Serialize;

use super::{Histories, UserId};
use crate::{Error, Result};

/// What is left out of histories before they are split: three steps, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// What becomes of an item that a user meets again.
    pub duplicates: Duplicates,
    /// Users with fewer events than the first number and items with fewer than the second are
    /// left out, until there are none (the k-core). `[k, 0]` asks for nothing of items.
    pub core: [u32; 2],
    /// Only so many of each user's events are kept, the most recent ones.
    pub window: Option<usize>,
}

/// What becomes of an item that a user meets again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// It stays.
    #[default]
    Keep,
    /// Only the user's first event with it stays.
    First,
    /// Of several events with it in succession the first stays.
    Consecutive,
}

/// How many events each step of a [`Filter`] took, and the users who had none left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Filtering {
    /// Events that met an item again.
    pub duplicates: usize,
    /// Events of users or items with too few.
    pub core: usize,
    /// How often the core had to be counted anew until nothing changed.
    pub core_rounds: usize,
    /// Events older than the window.
    pub window: usize,
    /// Users without an event left; they are no longer among the histories.
    pub users: usize,
}

impl Histories {
    /// The histories that a filter leaves, and what it took.
    ///
    /// # Errors
    ///
    /// If no event is left. `O(rounds E)`; memory 4 bytes an item of the catalogue.
    pub fn filter(mut self, filter: &Filter) -> Result<(Self, Filtering)> {
        let mut filtering = Filtering {
            duplicates: self.drop_duplicates(filter.duplicates),
            ..Filtering::default()
        };
        loop {
            let taken = self.drop_below(filter.core);
            if taken == 0 {
                break;
            }
            filtering.core += taken;
            filtering.core_rounds += 1;
        }
        if let Some(window) = filter.window {
            filtering.window = self.retain(|event| event.len - event.ordinal <= window);
        }
        filtering.users = self.drop_users_without_events()?;
        Ok((self, filtering))
    }

    fn drop_duplicates(&mut self, duplicates: Duplicates) -> usize {
        match duplicates {
            Duplicates::Keep => 0,
            Duplicates::First => {
                let mut last_user = vec![None; self.catalogue];
                self.retain(|event| {
                    last_user[event.item.index()].replace(event.user) != Some(event.user)
                })
            }
            Duplicates::Consecutive => {
                let mut last = None;
                self.retain(|event| {
                    let this = Some((event.user, event.item));
                    std::mem::replace(&mut last, this) != this
                })
            }
        }
    }

    /// One round of the k-core.
    fn drop_below(&mut self, [of_user, of_item]: [u32; 2]) -> usize {
        let mut counts = vec![0_u32; self.catalogue];
        for item in &self.events.items {
            counts[item.index()] = counts[item.index()].saturating_add(1);
        }
        self.retain(|event| event.len >= of_user as usize && counts[event.item.index()] >= of_item)
    }

    /// Keeps some events, and says how many it did not.
    fn retain(&mut self, mut keep: impl FnMut(Candidate) -> bool) -> usize {
        let (mut read, mut write) = (0, 0);
        for row in 0..self.len() {
            let user = UserId(row as u32);
            let len = self.offsets[row + 1] - read;
            let ends = self.given.as_ref().map_or([0; 2], |given| given[row]);
            for ordinal in 0..len {
                let item = self.events.items[read];
                if keep(Candidate {
                    user,
                    ordinal,
                    len,
                    item,
                }) {
                    self.events.copy(read, write);
                    write += 1;
                } else if let Some(given) = &mut self.given {
                    for (new, old) in given[row].iter_mut().zip(ends) {
                        *new -= u32::from(ordinal < old as usize);
                    }
                }
                read += 1;
            }
            self.offsets[row + 1] = write;
        }
        self.events.truncate(write);
        read - write
    }

    fn drop_users_without_events(&mut self) -> Result<usize> {
        let users = self.users();
        let stay: Vec<bool> = users.map(|user| !self.range(user).is_empty()).collect();
        let mut stays = stay.iter();
        if let Some(given) = &mut self.given {
            given.retain(|_| stays.next() == Some(&true));
        }
        let keys = self.users.iter().zip(&stay);
        self.users = ItemKeys::new(keys.filter(|(_, stays)| **stays).map(|(key, _)| key))
            .map_err(|_| Error::Histories("the filter leaves no events".into()))?;
        self.offsets.dedup();
        Ok(stay.len() - self.len())
    }
}

/// An event that a step of the filter decides on: `ordinal` of `len` of its user.
struct Candidate {
    user: UserId,
    ordinal: usize,
    len: usize,
    item: ItemId,
}
