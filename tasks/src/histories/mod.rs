mod builder;
mod columns;
mod filter;
mod split;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use semantic_id::{ItemId, ItemKeys};

use columns::Columns;

pub use builder::{HistoriesBuilder, HistoryOptions, UnknownItems, UserOrder};
pub use filter::{Duplicates, Filter, Filtering};
pub use split::{Leakage, Part, Split};

/// The dense row number of a user in its [`Histories`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u32);

impl UserId {
    /// The row as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What each user did, in the order of time: one row of events a user, at least one event a row.
///
/// An event's place in its row, from 0, is its *ordinal*. Users are in the order of their keys: by
/// number if all keys are numbers, else by bytes. Where the files gave a split, a row holds the
/// events of training, then those of validation, then those of the test, each in order of time.
///
/// Memory: 4 bytes an event, 8 more for its time and 4 for its rating where there are any; 20
/// bytes and the key a user, 8 more where a split is given.
///
/// ```
/// use semantic_id::ItemKeys;
/// use semid_tasks::{Event, HistoriesBuilder, HistoryOptions, Part, Split};
///
/// let items = ItemKeys::new(["tetris", "chess", "go"])?;
/// let mut builder = HistoriesBuilder::new(&items, HistoryOptions::default());
/// for (second, item) in [(30, "go"), (10, "chess"), (20, "tetris")] {
///     let micros = Some(second * 1_000_000);
///     builder.push(Event { user: "ann", item, micros, rating: None })?;
/// }
/// let histories = builder.finish()?;
///
/// let ann = histories.find("ann").expect("a user");
/// let played: Vec<_> = histories.items(ann).iter().map(|&item| items.get(item)).collect();
/// assert_eq!(played, ["chess", "tetris", "go"]);
/// assert_eq!(histories.times(ann), Some(&[10, 20, 30][..]));
/// assert_eq!(Split::leave_one_out(&histories).targets(ann, Part::Test), 2..3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Histories {
    users: ItemKeys,
    /// Where each user's events begin, and where the last one's end, `[users + 1]`.
    offsets: Vec<usize>,
    events: Columns,
    /// For each user, how many events are of training, and how many of training or validation.
    given: Option<Vec<[u32; 2]>>,
    /// Items of the catalogue, those without events included.
    catalogue: usize,
    unknown_skipped: u64,
}

impl Histories {
    /// Number of users `U`.
    #[expect(clippy::len_without_is_empty, reason = "never empty by construction")]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Number of events of all users.
    pub fn events(&self) -> usize {
        self.events.items.len()
    }

    /// Number of items of the catalogue, those without events included.
    pub fn catalogue_len(&self) -> usize {
        self.catalogue
    }

    /// Events that were left out because the catalogue does not know their item.
    pub fn unknown_skipped(&self) -> u64 {
        self.unknown_skipped
    }

    /// All users, by row.
    pub fn users(&self) -> impl ExactSizeIterator<Item = UserId> + use<> {
        (0..self.len() as u32).map(UserId)
    }

    /// The key of a user.
    ///
    /// # Panics
    ///
    /// This and the methods below: if the user is not of these histories.
    pub fn key(&self, user: UserId) -> &str {
        self.users.get(ItemId(user.0))
    }

    /// The user of a key, in `O(log U)`.
    pub fn find(&self, key: &str) -> Option<UserId> {
        self.users.find(key).map(|row| UserId(row.0))
    }

    /// A user's items, by ordinal; never empty.
    pub fn items(&self, user: UserId) -> &[ItemId] {
        &self.events.items[self.range(user)]
    }

    /// When a user's events were, in seconds since 1970, by ordinal.
    pub fn times(&self, user: UserId) -> Option<&[i64]> {
        Some(&self.events.times.as_ref()?[self.range(user)])
    }

    /// How a user rated the items, by ordinal.
    pub fn ratings(&self, user: UserId) -> Option<&[f32]> {
        Some(&self.events.ratings.as_ref()?[self.range(user)])
    }

    fn range(&self, user: UserId) -> Range<usize> {
        self.offsets[user.index()]..self.offsets[user.index() + 1]
    }
}
