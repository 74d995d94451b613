use indicatif::ProgressBar;
use semantic_id::{Code, CodeMatrix, Collisions, Distances, ItemId, SemanticId};

use crate::console::Console;
use crate::progress;

/// Distances that tell how far an assigner is: it asks for those of an item once or a few times,
/// and of items that collide only.
pub(crate) struct Watched<'a> {
    distances: &'a dyn Distances,
    bar: ProgressBar,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(distances: &'a dyn Distances, paths: &CodeMatrix, console: &Console) -> Self {
        let colliding = match console.is_watched() {
            true => Collisions::of(paths).items * paths.len() as f64,
            false => 0.0,
        };
        let bar = progress::bar(console, "assigning items that collide", colliding as usize);
        Self { distances, bar }
    }

    /// Clears the bar, before anything else is shown.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Distances for Watched<'_> {
    fn path(&self, item: ItemId, path: &[Code]) -> f32 {
        self.distances.path(item, path)
    }

    fn last_level(&self, item: ItemId, prefix: &[Code], out: &mut [f32]) {
        self.bar.inc(1);
        self.distances.last_level(item, prefix, out);
    }

    fn candidates(&self, item: ItemId, count: usize) -> Vec<(SemanticId, f32)> {
        self.distances.candidates(item, count)
    }

    fn identical(&self, a: ItemId, b: ItemId) -> bool {
        self.distances.identical(a, b)
    }
}
