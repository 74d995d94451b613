use super::List;

/// How often each item of a catalogue is recommended: `[N]`, expected over the orders of the items
/// that share an ID.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    times: Vec<f64>,
    /// The probability that no list has it.
    missed: Vec<f64>,
}

impl Exposure {
    /// The exposure of the rows `0..items` by the first `k` places of all lists. Other rows are
    /// not of the catalogue.
    pub fn of<'l>(lists: impl IntoIterator<Item = &'l List>, k: usize, items: usize) -> Self {
        let (mut times, mut missed) = (vec![0.0; items], vec![1.0; items]);
        for list in lists {
            for (start, size, rows) in list.places().take_while(|&(start, ..)| start < k) {
                let share = size.min(k - start) as f64 / size as f64;
                for row in rows.start as usize..items.min(rows.end as usize) {
                    times[row] += share;
                    missed[row] *= 1.0 - share;
                }
            }
        }
        Self { times, missed }
    }

    /// The share of the catalogue that is recommended to anybody.
    pub fn coverage(&self) -> f64 {
        let shown: f64 = self.missed.iter().map(|missed| 1.0 - missed).sum();
        shown / self.missed.len().max(1) as f64
    }

    /// The Gini coefficient of the exposure of all items: 0 if all are recommended equally often,
    /// towards 1 if it is always the same one. 0 if nothing is recommended.
    pub fn gini(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable_by(f64::total_cmp);
        let all: f64 = times.iter().sum();
        let weighted: f64 = times
            .iter()
            .zip(1..)
            .map(|(t, rank)| t * f64::from(rank))
            .sum();
        let items = times.len() as f64;
        if all == 0.0 {
            return 0.0;
        }
        (2.0 * weighted / (items * all) - (items + 1.0) / items).max(0.0)
    }

    /// The mean self-information of what is recommended, in bits: `-log2((c + 1) / (C + N))` for
    /// an item with `c` of all `C` training events (Zhou et al., 2010; the one is added so that
    /// items without an event have a finite novelty). `None` if nothing is recommended.
    pub fn novelty(&self, events: &[u64]) -> Option<f64> {
        let all: u64 = events.iter().sum();
        let all = all as f64 + events.len() as f64;
        let bits = |count: u64| -((count as f64 + 1.0) / all).log2();
        let shown: f64 = self.times.iter().sum();
        let novel = self
            .times
            .iter()
            .zip(events)
            .map(|(t, &count)| t * bits(count));
        (shown > 0.0).then(|| novel.sum::<f64>() / shown)
    }
}
