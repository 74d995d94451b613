use std::ops::Range;

use semantic_id::ItemId;

/// The events of all users, one array a field.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) items: Vec<ItemId>,
    pub(super) times: Option<Vec<i64>>,
    pub(super) ratings: Option<Vec<f32>>,
}

impl Columns {
    pub(super) fn new(len: usize, [has_times, has_ratings]: [bool; 2]) -> Self {
        Self {
            items: vec![ItemId(0); len],
            times: has_times.then(|| vec![0; len]),
            ratings: has_ratings.then(|| vec![0.0; len]),
        }
    }

    pub(super) fn put(&mut self, at: usize, item: ItemId, time: i64, rating: f32) {
        self.items[at] = item;
        if let Some(times) = &mut self.times {
            times[at] = time;
        }
        if let Some(ratings) = &mut self.ratings {
            ratings[at] = rating;
        }
    }

    /// Puts the event of one place also into another.
    pub(super) fn copy(&mut self, from: usize, to: usize) {
        let time = self.times.as_ref().map_or(0, |times| times[from]);
        let rating = self.ratings.as_ref().map_or(0.0, |ratings| ratings[from]);
        self.put(to, self.items[from], time, rating);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.items.truncate(len);
        if let Some(times) = &mut self.times {
            times.truncate(len);
        }
        if let Some(ratings) = &mut self.ratings {
            ratings.truncate(len);
        }
    }

    /// Sorts some events by time; those of one time keep their order.
    pub(super) fn sort(&mut self, range: Range<usize>, scratch: &mut Scratch) {
        let Some(times) = &mut self.times else {
            return;
        };
        let times = &mut times[range.clone()];
        if times.is_sorted() {
            return;
        }
        let Scratch { order, .. } = scratch;
        order.clear();
        order.extend(0..times.len() as u32);
        order.sort_by_key(|&at| times[at as usize]);
        permute(times, order, &mut scratch.times);
        permute(&mut self.items[range.clone()], order, &mut scratch.items);
        if let Some(ratings) = &mut self.ratings {
            permute(&mut ratings[range], order, &mut scratch.ratings);
        }
    }
}

/// Working memory of [`Columns::sort`].
#[derive(Default)]
pub(super) struct Scratch {
    order: Vec<u32>,
    items: Vec<ItemId>,
    times: Vec<i64>,
    ratings: Vec<f32>,
}

fn permute<T: Copy>(values: &mut [T], order: &[u32], scratch: &mut Vec<T>) {
    scratch.clear();
    scratch.extend(order.iter().map(|&at| values[at as usize]));
    values.copy_from_slice(scratch);
}
