use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

use indexmap::IndexSet;
use semantic_id::{ItemId, ItemKeys};
use tempfile::SpooledTempFile;

use super::columns::{Columns, Scratch};
use super::{Histories, Part};
use crate::{Error, Event, EventOptions, Input, Place, Result, events};

/// How histories are built.
#[derive(Debug, Clone)]
pub struct HistoryOptions {
    /// What becomes of events with items that the catalogue does not have.
    pub unknown_items: UnknownItems,
    /// How many bytes of events are held in memory (21 each) before they go to a temporary file.
    pub memory: usize,
    /// The folder of that file; it has no name there and is gone with the process.
    pub folder: PathBuf,
    /// The order of the users.
    pub users: UserOrder,
}

/// The order of the users of histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserOrder {
    /// By their keys: by number if all keys are numbers, else by bytes.
    #[default]
    ByKey,
    /// That in which their first events come.
    AsTheyCome,
}

impl Default for HistoryOptions {
    /// Unknown items are an error; 64 MiB, and the system's folder for temporary files; users are
    /// ordered by their keys.
    fn default() -> Self {
        Self {
            unknown_items: UnknownItems::Error,
            memory: 64 << 20,
            folder: std::env::temp_dir(),
            users: UserOrder::default(),
        }
    }
}

/// What becomes of events with items that the catalogue does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownItems {
    /// The first is an error.
    Error,
    /// They are left out and counted.
    Skip,
}

/// Takes events in any order and makes them [`Histories`].
///
/// Events are put into their places by a distribution sort: while they come, they are counted by
/// user and written down in order, beyond a budget to a temporary file; then all places are known,
/// and one pass over the file puts each event straight into its user's row of the result. A row
/// is sorted by time, equal times by the order of the files. So nothing needs to be merged, and
/// memory is the result's, about 100 bytes a user and 50 an item of the catalogue, and the budget's.
/// `O(E log(longest row) + U log U)`.
#[derive(Debug)]
pub struct HistoriesBuilder<'a> {
    items: HashMap<&'a str, ItemId>,
    catalogue: usize,
    unknown_items: UnknownItems,
    unknown_skipped: u64,
    /// Users in the order in which they came.
    users: IndexSet<Box<str>>,
    /// For each of them the number of events in each part.
    counts: Vec<[u32; 3]>,
    events: BufWriter<SpooledTempFile>,
    len: usize,
    /// Whether events have times, and ratings: the first event says.
    has: Option<[bool; 2]>,
    has_parts: bool,
    order: UserOrder,
}

impl<'a> HistoriesBuilder<'a> {
    /// A builder for events with the items of one catalogue.
    pub fn new(items: &'a ItemKeys, options: HistoryOptions) -> Self {
        let rows = (0..items.len() as u32).map(ItemId);
        let events = tempfile::spooled_tempfile_in(options.memory, options.folder);
        Self {
            items: items.iter().zip(rows).collect(),
            catalogue: items.len(),
            unknown_items: options.unknown_items,
            unknown_skipped: 0,
            users: IndexSet::new(),
            counts: Vec::new(),
            events: BufWriter::new(events),
            len: 0,
            has: None,
            has_parts: false,
            order: options.users,
        }
    }

    /// Adds the events of a file. `file` is its name, for its ending and for errors.
    ///
    /// # Errors
    ///
    /// Those of [`HistoriesBuilder::push`], and if the format cannot be told, or a record cannot
    /// be read or lacks a field.
    pub fn read<'b>(
        &mut self,
        file: &str,
        input: impl Into<Input<'b>>,
        options: &EventOptions,
    ) -> Result<()> {
        self.read_rows(Part::Train, file, input.into(), options)
    }

    /// Adds the events of the file with one part of a split. The rows are the parts one after the
    /// other, whatever the times, and [`Split::given`](crate::Split::given) knows where they end.
    ///
    /// # Errors
    ///
    /// Those of [`HistoriesBuilder::read`].
    pub fn read_part<'b>(
        &mut self,
        part: Part,
        file: &str,
        input: impl Into<Input<'b>>,
        options: &EventOptions,
    ) -> Result<()> {
        self.has_parts = true;
        self.read_rows(part, file, input.into(), options)
    }

    fn read_rows(
        &mut self,
        part: Part,
        file: &str,
        input: Input<'_>,
        options: &EventOptions,
    ) -> Result<()> {
        events::read(file, input, options, &mut |place, event| {
            self.add(file, place, part, event)
        })
    }

    /// Adds an event.
    ///
    /// # Errors
    ///
    /// If its item is unknown (and these are not skipped), if it lacks a time or a rating that
    /// earlier events have or has one that they lack, if its rating is not finite, or if the
    /// temporary file cannot be written.
    pub fn push(&mut self, event: Event<'_>) -> Result<()> {
        let (unit, number) = ("event", self.len as u64 + self.unknown_skipped + 1);
        self.add("events", Place { unit, number }, Part::Train, event)
    }

    fn add(&mut self, file: &str, place: Place, part: Part, event: Event<'_>) -> Result<()> {
        let bad = |problem| Error::Record {
            file: file.to_owned(),
            place,
            problem,
        };
        let Some(&item) = self.items.get(event.item) else {
            if self.unknown_items == UnknownItems::Error {
                let problem = format!(
                    "the item {:?} is not in the catalogue; skip unknown items, or add it",
                    event.item
                );
                return Err(bad(problem));
            }
            self.unknown_skipped += 1;
            return Ok(());
        };
        self.check(&event).map_err(bad)?;
        let user = self.user(event.user).map_err(bad)?;
        let counts = &mut self.counts[user as usize];
        if counts.iter().map(|&count| u64::from(count)).sum::<u64>() == u64::from(u32::MAX) {
            return Err(bad(format!(
                "more than 2^32 - 1 events of {:?}",
                event.user
            )));
        }
        counts[part as usize] += 1;
        let event = Spilled {
            user,
            part: part as u8,
            item,
            micros: event.micros.unwrap_or_default(),
            rating: event.rating.unwrap_or_default(),
        };
        self.len += 1;
        event.write(&mut self.events).map_err(Error::Spill)
    }

    fn check(&mut self, event: &Event<'_>) -> std::result::Result<(), String> {
        if let Some(rating) = event.rating.filter(|rating| !rating.is_finite()) {
            return Err(format!("the rating is {rating}, not finite"));
        }
        let has = [event.micros.is_some(), event.rating.is_some()];
        let expected = *self.has.get_or_insert(has);
        for (at, what) in ["time", "rating"].iter().enumerate() {
            match (has[at], expected[at]) {
                (false, true) => return Err(format!("no {what}, but the events before have one")),
                (true, false) => return Err(format!("a {what}, but the events before have none")),
                _ => {}
            }
        }
        Ok(())
    }

    fn user(&mut self, key: &str) -> std::result::Result<u32, String> {
        let user = match self.users.get_index_of(key) {
            Some(user) => user,
            None => {
                self.counts.push([0; 3]);
                self.users.insert_full(key.into()).0
            }
        };
        u32::try_from(user).map_err(|_| "more than 2^32 users".to_owned())
    }

    /// The histories of all events given.
    ///
    /// # Errors
    ///
    /// If there are none, or the temporary file cannot be read.
    pub fn finish(self) -> Result<Histories> {
        let order = match self.order {
            UserOrder::ByKey => by_key(&self.users),
            UserOrder::AsTheyCome => (0..self.users.len()).collect(),
        };
        let users = ItemKeys::new(order.iter().map(|&user| &self.users[user]))
            .map_err(|_| Error::Histories("there are no events".into()))?;
        drop((self.users, self.items));

        // For each user and part the place of the next event.
        let mut next = vec![[0; 3]; order.len()];
        let mut offsets = vec![0];
        let mut end = 0;
        for &user in &order {
            for (next, count) in next[user].iter_mut().zip(self.counts[user]) {
                *next = end;
                end += count as usize;
            }
            offsets.push(end);
        }

        let mut events = Columns::new(self.len, self.has.unwrap_or_default());
        let mut file = reread(self.events).map_err(Error::Spill)?;
        for _ in 0..self.len {
            let spilled = Spilled::read(&mut file).map_err(Error::Spill)?;
            let next = &mut next[spilled.user as usize][spilled.part as usize];
            events.put(*next, spilled.item, spilled.micros, spilled.rating);
            *next += 1;
        }

        let mut scratch = Scratch::default();
        for (&user, &start) in order.iter().zip(&offsets) {
            let [train_end, valid_end, end] = next[user];
            for part in [start..train_end, train_end..valid_end, valid_end..end] {
                events.sort(part, &mut scratch);
            }
        }
        for time in events.times.iter_mut().flatten() {
            *time = time.div_euclid(1_000_000);
        }
        let ends = |&user: &usize| {
            let [train, valid, _] = self.counts[user];
            [train, train + valid]
        };
        Ok(Histories {
            users,
            offsets,
            events,
            given: self.has_parts.then(|| order.iter().map(ends).collect()),
            catalogue: self.catalogue,
            unknown_skipped: self.unknown_skipped,
        })
    }
}

/// The places of the users in ascending order of their keys: of numbers, if all are.
fn by_key(users: &IndexSet<Box<str>>) -> Vec<usize> {
    let number = |user: &usize| users[*user].parse::<u64>().ok();
    let mut order: Vec<usize> = (0..users.len()).collect();
    if order.iter().all(|user| number(user).is_some()) {
        order.sort_by_cached_key(|user| (number(user), &users[*user]));
    } else {
        order.sort_unstable_by_key(|user| &users[*user]);
    }
    order
}

fn reread(events: BufWriter<SpooledTempFile>) -> io::Result<impl BufRead> {
    let mut file = events
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// An event between reading and sorting.
struct Spilled {
    user: u32,
    part: u8,
    item: ItemId,
    micros: i64,
    rating: f32,
}

impl Spilled {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.user.to_le_bytes())?;
        out.write_all(&[self.part])?;
        out.write_all(&self.item.0.to_le_bytes())?;
        out.write_all(&self.micros.to_le_bytes())?;
        out.write_all(&self.rating.to_le_bytes())
    }

    fn read(input: &mut impl Read) -> io::Result<Self> {
        Ok(Self {
            user: u32::from_le_bytes(array(input)?),
            part: u8::from_le_bytes(array(input)?),
            item: ItemId(u32::from_le_bytes(array(input)?)),
            micros: i64::from_le_bytes(array(input)?),
            rating: f32::from_le_bytes(array(input)?),
        })
    }
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}
