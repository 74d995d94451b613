//! Events in memory.

use anyhow::{Context as _, ensure};
use semid_tasks::Event;

/// Events in columns, as Arrow has them.
#[derive(Debug)]
pub struct EventTable {
    users: Texts,
    items: Texts,
    times: Option<Vec<f64>>,
    ratings: Option<Vec<f32>>,
}

/// Texts one after the other, and where each of them begins and ends.
#[derive(Debug)]
pub struct Texts {
    bytes: String,
    offsets: Vec<i32>,
}

impl Texts {
    /// Texts of one more offset than there are.
    ///
    /// # Errors
    ///
    /// Offsets that do not go up, or between the characters of the text; text that is not UTF-8.
    pub fn new(bytes: Vec<u8>, offsets: Vec<i32>) -> anyhow::Result<Self> {
        let bytes = String::from_utf8(bytes)?;
        let is_text = |of: &[i32]| bytes.get(of[0] as usize..of[1] as usize).is_some();
        ensure!(
            !offsets.is_empty() && offsets.windows(2).all(is_text),
            "got offsets that are not those of texts"
        );
        Ok(Self { bytes, offsets })
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn get(&self, at: usize) -> &str {
        &self.bytes[self.offsets[at] as usize..self.offsets[at + 1] as usize]
    }
}

impl EventTable {
    /// Events of these users with these items. `times` are numbers as files have them, see
    /// [`EventOptions`](semid_tasks::EventOptions).
    ///
    /// # Errors
    ///
    /// Columns of different lengths.
    pub fn new(
        users: Texts,
        items: Texts,
        times: Option<Vec<f64>>,
        ratings: Option<Vec<f32>>,
    ) -> anyhow::Result<Self> {
        let events = users.len();
        let lengths = [
            Some(items.len()),
            times.as_ref().map(Vec::len),
            ratings.as_ref().map(Vec::len),
        ];
        ensure!(
            lengths.into_iter().flatten().all(|length| length == events),
            "got columns of different lengths, expected {events} events in each"
        );
        Ok(Self {
            users,
            items,
            times,
            ratings,
        })
    }

    /// The events in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = anyhow::Result<Event<'_>>> {
        (0..self.users.len()).map(|at| self.get(at))
    }

    fn get(&self, at: usize) -> anyhow::Result<Event<'_>> {
        let (user, item) = (self.users.get(at), self.items.get(at));
        ensure!(
            !user.is_empty() && !item.is_empty(),
            "an event of the user {user:?} has the item {item:?}; expected both in each event"
        );
        let micros = self.times.as_ref().map(|times| {
            let micros = Event::micros_of(times[at]);
            micros.with_context(|| {
                format!("an event of the user {user:?} has no time, or none that is a number")
            })
        });
        Ok(Event {
            user,
            item,
            micros: micros.transpose()?,
            rating: self.ratings.as_ref().map(|ratings| ratings[at]),
        })
    }
}
