//! What it costs to write a row: `cargo run --release --example rows`.

#![expect(clippy::print_stdout, reason = "a report on stdout is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use semid_tasks::{ChatTemplate, Container, Part, Provenance, Row, RowFormat, RowWriter};

const ROWS: u32 = 20_000;
const ROUNDS: u32 = 9;

/// Qwen's turns, without its special cases.
const CHAT: &str = r#"{"chat_template": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}"#;

fn main() -> semid_tasks::Result<()> {
    let ids = "<a_105><b_230><c_3><d_75>, ".repeat(20);
    let titles = "\"SUPCO Relay and Capacitor Kit\", ".repeat(17);
    let prose = "A long description, without quotes but with a line's end.\n".repeat(10);
    for format in [
        RowFormat::PromptCompletion,
        RowFormat::Messages,
        RowFormat::Text,
    ] {
        let chat = ChatTemplate::read(CHAT, None, None)?;
        let writer = RowWriter::new(format, Container::Jsonl, 42)?.chat(chat);
        for (name, text) in [("IDs", &ids), ("titles", &titles), ("prose", &prose)] {
            report(&writer, name, text)?;
        }
    }
    Ok(())
}

fn report(writer: &RowWriter, name: &str, text: &str) -> semid_tasks::Result<()> {
    let prompt = format!("Someone has bought these, in this order: {text} Which one is next?");
    let provenance = Provenance {
        task: "sequential".into(),
        template: "en/sequential/next-3".into(),
        part: Part::Train,
        epoch: 0,
        sample: 123_456,
        user: Some("A3JFNDL0X2U".into()),
        reads: Some([3, 23]),
        target: Some(23),
        horizon: Some(25),
        made_at: None,
        stage: None,
        place: None,
    };
    let row = Row {
        system: None,
        prompt: &prompt,
        answer: "<a_27><b_71><c_252><d_231>",
        rejected: &[],
        target: None,
        sequence: None,
        fields: None,
        provenance: &provenance,
    };
    let mut block = Vec::new();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        block.clear();
        for _ in 0..ROWS {
            // About as much as a thread makes before it hands it on.
            if block.len() > 1 << 20 {
                block.clear();
            }
            writer.write(black_box(&row), &mut block)?;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(ROWS));
    }
    block.clear();
    writer.write(&row, &mut block)?;
    println!(
        "{:18} {name:7} {:5} bytes {:6.0} ns a row {:6.2} GB/s",
        writer.format().to_string(),
        block.len(),
        best * 1e9,
        block.len() as f64 / best / 1e9,
    );
    Ok(())
}
