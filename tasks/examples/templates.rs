//! What rendering costs: `cargo run --release --example templates`.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use semid_tasks::{Slot, Templates, Values};

/// A history of 20 items, and a description of 500 letters.
struct Sample {
    history: String,
    description: String,
}

impl Values for Sample {
    fn has(&self, _: &Slot) -> bool {
        true
    }

    fn write(&self, slot: &Slot, out: &mut String) {
        out.push_str(match slot {
            Slot::Item => "<a_5><b_1><c_7><d_9>",
            Slot::History => &self.history,
            Slot::Liked => "true",
            Slot::Field(name) if name == "description" => &self.description,
            _ => "Tetris",
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const ROWS: usize = 1_000_000;
    let sample = Sample {
        history: vec!["<a_5><b_1><c_7><d_9>"; 20].join(", "),
        description: "x".repeat(500),
    };
    let mut stdout = io::stdout().lock();
    let start = Instant::now();
    let english = Templates::builtin("en")?;
    writeln!(stdout, "all of one locale: {:.1?}", start.elapsed())?;
    for task in ["sequential", "text-to-item", "fusion", "yes-no"] {
        let (mut row, mut bytes) = (String::new(), 0);
        let start = Instant::now();
        for template in english.of(task).iter().cycle().take(ROWS) {
            row.clear();
            template.prompt.render(&sample, &mut row)?;
            template.answer.render(&sample, &mut row)?;
            bytes += black_box(&row).len();
        }
        let each = start.elapsed() / ROWS as u32;
        writeln!(stdout, "{task}: {each:?} and {} bytes a row", bytes / ROWS)?;
    }
    Ok(())
}
