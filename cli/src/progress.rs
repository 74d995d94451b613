use indicatif::{ProgressBar, ProgressStyle};

use crate::console::Console;

const STYLE: &str = "{msg} [{bar:30}] {human_pos}/{human_len} ({eta} left)";

/// A bar on stderr of `steps` steps, which shows nothing unless a person watches.
/// It vanishes when it is dropped or finished.
pub(crate) fn bar(console: &Console, what: &'static str, steps: usize) -> ProgressBar {
    if !console.is_watched() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(STYLE).expect("the template is well formed");
    ProgressBar::new(steps as u64)
        .with_style(style.progress_chars("=> "))
        .with_message(what)
}
