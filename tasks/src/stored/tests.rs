use serde_json::json;

use super::*;

fn provenance() -> Value {
    json!({ "task": "sequential", "template": "en/sequential/next-1", "part": "train",
            "epoch": 0, "sample": 3, "user": "ann", "reads": [0, 2], "target": 2, "horizon": 4 })
}

/// Prompt, answer and rejected answers of the only row.
fn read(row: Value) -> [String; 3] {
    let line = format!("{row}\n");
    let mut rows = Vec::new();
    read_rows("a.jsonl", line.as_bytes().into(), |place, row| {
        assert_eq!(place, Place::line(1));
        assert_eq!(row.provenance.user.as_deref(), Some("ann"));
        assert_eq!(row.provenance.reads, Some([0, 2]));
        rows.push([row.prompt, row.answer, row.rejected].map(str::to_owned));
        Ok(())
    })
    .expect("a row");
    let [row] = rows.try_into().expect("one row");
    row
}

#[test]
fn every_format_is_read() {
    let turns = |role: &str, text: &str, names: [&str; 3]| {
        let turn = |name: &str, words: &str| json!({ role: name, text: words });
        json!([
            turn(names[0], "Be brief."),
            turn(names[1], "Next?"),
            turn(names[2], "<a_1>")
        ])
    };
    let chat = turns("role", "content", ["system", "user", "assistant"]);
    let part = |words: &str| json!([{ "type": "text", "text": words }]);
    let parts = json!([{ "role": "user", "content": part("Next?") },
                       { "role": "assistant", "content": part("<a_1>") }]);
    for mut row in [
        json!({ "prompt": "Next?", "completion": "<a_1>" }),
        json!({ "messages": chat }),
        json!({ "messages": parts.to_string(), "uuid": "1", "source": "sequential" }),
        json!({ "conversations": turns("from", "value", ["system", "human", "gpt"]) }),
        json!({ "text": "<|user|>Next?<a_1>", "prompt_text": "<|user|>Next?" }),
        json!({ "instruction": "Next?", "input": "", "output": "<a_1>", "system": "" }),
        json!({ "prompt": "Next?", "chosen": "<a_1>", "rejected": "<a_2>" }),
        json!({ "prompt": "Next?", "chosen": "<a_1>", "rejected": ["<a_2>", "<a_3>"] }),
        json!({ "prompt": "Next?", "ground_truth": "<a_1>", "target_codes": [1] }),
        json!({ "prompt": [{ "role": "user", "content": "Next?" }], "ability": "recommend",
                "reward_model": { "style": "rule", "ground_truth": "<a_1>" } }),
    ] {
        let object = row.as_object_mut().expect("an object");
        object.insert("provenance".into(), provenance());
        let [prompt, answer, _] = read(row.clone());
        assert!(prompt.ends_with("Next?"), "{row}");
        assert_eq!(answer, "<a_1>", "{row}");

        row["provenance"] = provenance().to_string().into();
        assert_eq!(read(row)[0], prompt);
    }
    let row =
        json!({ "fields": { "history": "<a_2>", "item": "<a_1>" }, "provenance": provenance() });
    assert_eq!(read(row), ["", "<a_2>\n<a_1>", ""]);
    let row =
        json!({ "history_item_sid": "['<a_2>']", "item_sid": "<a_1>", "provenance": provenance() });
    assert_eq!(read(row), ["['<a_2>']", "<a_1>", ""]);
}

#[test]
fn every_container_is_read() {
    let row = json!({ "prompt": "Next?", "completion": "<a_1>", "provenance": provenance() });
    let lines = format!("{row}\n{row}\n");
    let zst = zstd::encode_all(lines.as_bytes(), 1).expect("compressed");
    let quoted = provenance().to_string().replace('"', "\"\"");
    let csv = format!("prompt,completion,provenance\nNext?,<a_1>,\"{quoted}\"\n");
    for (file, bytes, rows) in [
        ("a.jsonl", lines.as_bytes(), 2),
        ("a.jsonl.zst", &zst, 2),
        ("a.csv", csv.as_bytes(), 1),
    ] {
        let mut read = 0;
        read_rows(file, bytes.into(), |_, row| {
            assert_eq!((row.prompt, row.answer), ("Next?", "<a_1>"));
            read += 1;
            Ok(())
        })
        .expect(file);
        assert_eq!(read, rows, "{file}");
    }
}

#[test]
fn what_is_no_row_is_told_with_its_place() {
    let good = json!({ "prompt": "a", "completion": "b", "provenance": provenance() }).to_string();
    let zst = zstd::encode_all(format!("{good}\n").repeat(999).as_bytes(), 1).expect("compressed");
    let line = |second: &str| format!("{good}\n{second}\n").into_bytes();
    let mut wrong = provenance();
    wrong["reads"] = json!([0, -2]);
    for (file, bytes, expected) in [
        (
            "a.jsonl",
            line("prompt"),
            "a.jsonl, line 2: column 1: expected value",
        ),
        (
            "a.jsonl",
            line("[]"),
            "a.jsonl, line 2: column 0: invalid type: sequence, expected a row",
        ),
        (
            "a.jsonl",
            line("\u{0}\u{1}"),
            "a.jsonl, line 2: column 1: expected value",
        ),
        (
            "a.jsonl",
            line(r#"{"prompt": "a", "completion": "b"}"#),
            "a.jsonl, line 2: the row has no provenance",
        ),
        (
            "a.jsonl",
            line(&json!({ "prompt": "a", "provenance": provenance() }).to_string()),
            "a.jsonl, line 2: the row has no answer",
        ),
        (
            "a.jsonl",
            line(&json!({ "completion": "b", "provenance": wrong }).to_string()),
            "a.jsonl, line 2: column",
        ),
        (
            "a.jsonl",
            line(&json!({ "completion": "b", "provenance": wrong.to_string() }).to_string()),
            "a.jsonl, line 2: provenance: invalid value",
        ),
        (
            "a.jsonl",
            good[..40].into(),
            "a.jsonl, line 1: column 40: EOF",
        ),
        (
            "a.jsonl.zst",
            zst[..zst.len() - 9].into(),
            "a.jsonl.zst, line ",
        ),
        (
            "a.csv",
            b"prompt,completion\na\n".to_vec(),
            "a.csv, line 2: ",
        ),
        #[cfg(feature = "parquet")]
        (
            "a.parquet",
            b"PAR1 and what not".to_vec(),
            "a.parquet: not readable as Parquet: ",
        ),
    ] {
        let read = read_rows(file, bytes.as_slice().into(), |_, _| Ok(()));
        let error = read.expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
