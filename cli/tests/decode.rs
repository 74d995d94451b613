//! `semid decode` and `semid bench decode`: a model's logits in, items out.

mod desk;

use desk::{Desk, ITEMS};
use insta::assert_snapshot;
use npyz::WriterBuilder;
use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use serde_json::{Value, json};

/// Six items of two levels with four codes; `sofa` has `<a_1><b_2>`.
const IDS: &str = "key,c0,c1\nlamp,0,0\ndesk,0,1\nsofa,1,2\nbed,2,0\nrug,2,1\nvase,3,3\n";

/// Two requests, by level: the first wants `<a_2>`, then `<b_0>`; the second `<a_1>` and `<b_2>`.
const LOGITS: [[[f32; 4]; 2]; 2] = [
    [[1.0, 0.0, 2.0, 0.5], [-1.0, 4.0, 0.0, 0.0]],
    [[3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 5.0, 0.0]],
];

/// A desk with `small.safetensors`, the index of [`IDS`], and `logits.npy`.
fn small() -> Desk {
    let desk = Desk::new();
    desk.write("small.csv", IDS);
    desk.ok("import small.csv --codes 4 --out small.safetensors");
    desk.write("logits.npy", npy(&LOGITS));
    desk
}

/// A `.npy` of f32 `[L, requests, V]`.
fn npy<const R: usize, const V: usize>(logits: &[[[f32; V]; R]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut npy = npyz::WriteOptions::<f32>::new()
        .default_dtype()
        .shape(&[logits.len() as u64, R as u64, V as u64])
        .writer(&mut bytes)
        .begin_nd()
        .expect("header");
    let values = logits.as_flattened().as_flattened();
    npy.extend(values.iter().copied()).expect("rows");
    npy.finish().expect("as many as the header tells");
    bytes
}

/// The keys that one request was answered with.
fn keys(request: &Value) -> Vec<&str> {
    let hits = request["hits"].as_array().expect("hits");
    hits.iter()
        .map(|hit| hit["key"].as_str().expect("a key"))
        .collect()
}

/// `logit - ln(sum(exp(row)))`.
fn log_probability(row: &[f32], column: usize) -> f64 {
    let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
    f64::from(row[column]) - sum.ln()
}

const DECODE: &str = "decode small.safetensors --scores logits.npy";

#[test]
fn logits_become_items() {
    let desk = small();
    assert_snapshot!(desk.ok(&format!("{DECODE} -k 3")), @"
    request  rank       score  ID          key
          0     1     -0.9862  <a_2><b_0>  bed
          0     2     -1.9862  <a_0><b_0>  lamp
          0     3     -1.9862  <a_2><b_1>  rug
          1     1     -0.0625  <a_1><b_2>  sofa
          1     2     -9.0625  <a_2><b_0>  bed
          1     3     -9.0625  <a_2><b_1>  rug
    request 0: exact; 5 rows scored
    request 1: exact; 5 rows scored
    ");

    let (report, ok) = desk.json(&format!("{DECODE} -k 1"));
    assert!(ok);
    let score = log_probability(&LOGITS[0][1], 1) + log_probability(&LOGITS[1][1], 2);
    let hit = &report["requests"][1]["hits"][0];
    let got = hit["score"].as_f64().expect("a score");
    assert!((got - score).abs() < 1e-5, "{got}, expected {score}");
    let expected = json!({ "key": "sofa", "item": 2, "codes": [1, 2], "score": hit["score"] });
    assert_eq!(*hit, expected);
    let names = |value: &Value| {
        let object = value.as_object().expect("an object");
        object.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&report), ["requests"]);
    let request = &report["requests"][0];
    assert_eq!(names(request), ["hits", "exact", "gap", "rows"]);
    assert_eq!(names(hit), ["key", "item", "codes", "score"]);
}

#[test]
fn one_beam_is_not_sure_until_it_is_exact() {
    let desk = small();
    // All first codes but the last are about equally likely; only `<b_2>` can follow well.
    desk.write(
        "logits.npy",
        npy(&[[[1.0, 0.9, 0.8, 0.0]], [[0.0, 0.0, 4.0, 0.0]]]),
    );
    let narrow = format!("{DECODE} -k 1 --beams 1");
    let (report, _) = desk.json(&narrow);
    let request = &report["requests"][0];
    assert_eq!(keys(request), ["lamp"]);
    assert_eq!(request["exact"], false);
    assert!(request["gap"].as_f64() > Some(0.0), "{request}");
    let told = desk.ok(&narrow);
    assert!(
        told.contains("not exact, a missed item may score 3.9535 higher"),
        "{told}"
    );

    for proven in ["--beams 4", "--beams 2,4", "--beams 1 --exact 100"] {
        let (report, _) = desk.json(&format!("{DECODE} -k 1 {proven}"));
        let request = &report["requests"][0];
        assert_eq!(keys(request), ["sofa"], "{proven}");
        assert_eq!(request["exact"], true, "{proven}");
        assert_eq!(request["gap"], 0.0, "{proven}");
    }
}

#[test]
fn only_allowed_items_are_found() {
    let desk = small();
    desk.write("keys.txt", "vase\r\n\nrug\n");
    desk.write("none.txt", "");
    for (filter, expected) in [
        ("--allow vase,rug", &["rug", "vase"][..]),
        ("--allow @keys.txt", &["rug", "vase"]),
        ("--deny bed,lamp,vase", &["rug", "desk", "sofa"]),
        ("--allow @none.txt", &[]),
    ] {
        let (report, ok) = desk.json(&format!("{DECODE} {filter}"));
        assert!(ok);
        let mut found = keys(&report["requests"][0]);
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{filter}");
    }
    let told = desk.ok(&format!("{DECODE} --allow @none.txt"));
    assert!(told.contains("request 0: no item may be given"), "{told}");
}

#[test]
fn tokens_of_a_model_are_found_by_its_tokenizer() {
    let desk = small();
    // <a_c> is token 8 - c, <b_c> is token 1 + c; no item has <b_3> but `vase`.
    let token = |name: &str, code: usize, id: usize| json!({ "id": id, "content": format!("<{name}_{code}>") });
    let added = (0..4).flat_map(|code| [token("a", code, 8 - code), token("b", code, 1 + code)]);
    let added: Vec<Value> = added.collect();
    let mut tokenizer = json!({ "model": { "vocab": { "the": 0 } }, "added_tokens": added });
    desk.write("tokenizer.json", tokenizer.to_string());
    // The same wishes as those of `LOGITS`, among tokens that stand for other things.
    let mut logits = [[[0.0; 10]; 2]; 2];
    for (request, code) in (0..2).flat_map(|request| (0..4).map(move |code| (request, code))) {
        logits[0][request][8 - code] = LOGITS[0][request][code];
        logits[1][request][1 + code] = LOGITS[1][request][code];
    }
    desk.write("logits.npy", npy(&logits));
    let decode = format!("{DECODE} --token-map tokenizer.json");
    let best = |arguments: &str| {
        let (report, _) = desk.json(&format!("{decode} {arguments}"));
        let hit = &report["requests"][1]["hits"][0];
        assert_eq!(hit["key"], "sofa");
        hit["score"].as_f64().expect("a score")
    };
    let of = |columns: [std::ops::Range<usize>; 2]| -> f64 {
        let places = [8 - 1, 1 + 2];
        let levels = (0..2).map(|level| {
            let row = &logits[level][1];
            let columns = columns[level].clone();
            let sum: f64 = row[columns].iter().map(|&x| f64::from(x).exp()).sum();
            f64::from(row[places[level]]) - sum.ln()
        });
        levels.sum()
    };
    for (normalizer, expected) in [
        ("", of([0..10, 0..10])),
        ("--normalizer full-vocab", of([0..10, 0..10])),
        ("--normalizer semantic-id-vocab", of([1..9, 1..9])),
        ("--normalizer level", of([5..9, 1..5])),
    ] {
        let got = best(normalizer);
        assert!(
            (got - expected).abs() < 1e-5,
            "{normalizer}: {got}, {expected}"
        );
    }

    tokenizer["added_tokens"]
        .as_array_mut()
        .expect("a list")
        .pop();
    desk.write("tokenizer.json", tokenizer.to_string());
    let message = desk.fails(1, &decode);
    assert!(
        message.contains("tokenizer.json: 1 tokens are missing, among them [\"<b_3>\"]"),
        "{message}"
    );
}

/// Of level 0, with 2 codes, only the first columns are read.
#[test]
fn levels_may_differ_and_ids_may_end() {
    let desk = Desk::new();
    let space = CodeSpace::new(vec![2, 4]).expect("sizes");
    // The second level of `p` is its end.
    let codes = CodeMatrix::new([0, 4, 0, 3, 1, 0].map(Code).to_vec(), 2).expect("rows");
    let items = ItemKeys::new(["p", "q", "r"]).expect("keys");
    let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("test", ().into()));
    let index = ItemIndex::build(&space, &codes, &items, 1, info).expect("an index");
    desk.write("small.safetensors", index.bytes());

    let unread = f32::NAN;
    desk.write(
        "logits.npy",
        npy(&[[[2.0, 0.0, unread, unread]], [[0.0, 0.0, 0.0, 1.0]]]),
    );
    let (report, _) = desk.json(DECODE);
    let request = &report["requests"][0];
    assert_eq!(
        keys(request),
        ["p", "q", "r"],
        "without a logit, ending is free"
    );

    desk.write(
        "logits.npy",
        npy(&[
            [[2.0, 0.0, f32::NEG_INFINITY, unread, unread]],
            [[0.0, 0.0, 0.0, 1.0, 0.5]],
        ]),
    );
    let (report, _) = desk.json(DECODE);
    let request = &report["requests"][0];
    assert_eq!(keys(request), ["q", "p", "r"]);
}

#[test]
fn halves_are_read_as_well() {
    let desk = small();
    let singles = desk.json(DECODE);
    let values = LOGITS.as_flattened().as_flattened();
    let halves = values.iter().flat_map(|&logit| half(logit).to_le_bytes());
    let mut bytes = b"\x93NUMPY\x01\x00\x4e\x00".to_vec();
    let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2, 4), }";
    bytes.extend(format!("{header:77}\n").bytes());
    bytes.extend(halves);
    desk.write("logits.npy", bytes);
    assert_eq!(desk.json(DECODE), singles);
}

/// IEEE half precision of a value that it can hold, normal or 0.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    match (bits >> 23) & 0xff {
        0 => sign,
        exponent => sign | ((exponent - 112) << 10) as u16 | (bits >> 13) as u16 & 0x3ff,
    }
}

#[test]
fn logits_that_do_not_fit_are_refused() {
    let desk = small();
    let refused = |logits: Vec<u8>, part: &str| {
        desk.write("logits.npy", logits);
        let message = desk.fails(1, DECODE);
        assert!(message.starts_with("error: logits.npy: "), "{message}");
        assert!(message.contains(part), "{message}");
    };
    let nan = [[[0.0; 4]; 2], [[0.0; 4], [0.0, 0.0, f32::NAN, 0.0]]];
    refused(
        npy(&nan),
        "level 1, request 1, column 2: got the logit NaN, expected a number",
    );
    refused(
        npy(&[[[0.0; 4]; 2]; 3]),
        "got logits of shape [3, 2, 4], so 3 levels; expected 2",
    );
    refused(
        npy(&[[[0.0; 9]; 2]; 2]),
        "got logits of shape [2, 2, 9], so 9 columns; expected 4, the codes of a level, or 5",
    );
    refused(
        npy(&[[[f32::NEG_INFINITY; 4]; 2]; 2]),
        "all logits that the normalizer sums over are -inf",
    );
    let whole = npy(&LOGITS);
    refused(
        whole[..whole.len() - 1].to_vec(),
        "the header tells of 2 x 2 x 4 values of 4 bytes, but the file has 63 bytes",
    );
    refused(b"not numpy".to_vec(), "bad .npy header");
    refused(desk.read("emb.npy"), "got logits of shape [120, 16]");
}

#[test]
fn wrong_usage_is_told_from_bad_data() {
    let desk = small();
    for (arguments, status, part) in [
        ("--normalizer full-vocab", 2, "without --token-map"),
        ("--beams 0", 2, "invalid value '0'"),
        ("-k 0", 2, "invalid value '0'"),
        ("--length-penalty -1", 2, "length penalty: got -1"),
        ("--allow bed --deny rug", 2, "cannot be used with"),
        ("--allow bed,chair", 1, "no item with the key \"chair\""),
        ("--allow @none.txt", 1, "cannot read none.txt"),
        ("--token-map small.csv", 1, "small.csv: bad tokenizer.json"),
    ] {
        let message = desk.fails(status, &format!("{DECODE} {arguments}"));
        assert!(message.contains(part), "{arguments}: {message}");
    }
}

#[test]
fn an_index_shows_its_tree() {
    let desk = small();
    let told = desk.ok("inspect small.safetensors");
    let tree = told.lines().skip_while(|line| !line.starts_with("level"));
    assert_snapshot!(tree.take(4).collect::<Vec<_>>().join("\n"), @"
    level      nodes  mean fan-out  max fan-out  single child
        0          4          4.00            4         0.0 %
        1          6          1.50            2        50.0 %
    bytes an item: tree 5.00, item tables 8.00, keys 15.67
    ");
    let (report, _) = desk.json("inspect small.safetensors");
    let level = json!({
        "nodes": 6, "mean_fan_out": 1.5, "max_fan_out": 2, "single_child": 0.5
    });
    assert_eq!(report["tree"]["levels"][1], level);
    // 4 + 6 codes and 5 offsets; two ranks an item; 22 letters, and 12 bytes for each key.
    assert_eq!(report["tree"]["bytes_per_item"]["tree"], 30.0 / 6.0);
    assert_eq!(report["tree"]["bytes_per_item"]["items"], 8.0);
    assert_eq!(report["tree"]["bytes_per_item"]["keys"], 12.0 + 22.0 / 6.0);
}

#[test]
fn steps_of_a_search_are_timed() {
    let desk = Desk::new();
    desk.index();
    for (catalogue, items, levels) in [
        ("index.safetensors --vocab 48", ITEMS, 3),
        ("--items 500 --levels 4 --codes 8 --vocab 100", 500, 4),
    ] {
        let (report, ok) = desk.json(&format!(
            "bench decode {catalogue} --batch 2 --beams 5 --threads 1"
        ));
        assert!(ok);
        assert_eq!(report["items"], items);
        assert_eq!(report["levels"], levels);
        assert_eq!((&report["batch"], &report["beams"]), (&json!(2), &json!(5)));
        assert_eq!(report["threads"], 1);
        for kind in ["full_vocab", "level_only", "constraint"] {
            let steps = report["step_seconds"][kind].as_array().expect("steps");
            assert_eq!(steps.len(), levels, "{kind}");
            assert!(steps.iter().all(Value::is_f64), "{kind}: {steps:?}");
        }
        for name in [
            "codes",
            "vocab",
            "build_seconds",
            "open_seconds",
            "bytes_per_item",
        ] {
            assert!(report[name].is_number(), "{name}");
        }
    }
    for (arguments, part) in [
        ("", "<INDEX|--items <N>>"),
        ("index.safetensors --items 5", "cannot be used with"),
        ("index.safetensors --vocab 47", "expected at least 48"),
        (
            "--items 9 --levels 2 --codes 4",
            "at most half of the 16 IDs",
        ),
    ] {
        let message = desk.fails(2, &format!("bench decode {arguments}"));
        assert!(message.contains(part), "{arguments}: {message}");
    }
}
