//! Bad input is told apart from a bad command, says what and where, and changes nothing.

mod desk;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use desk::{DIM, Desk, ITEMS, catalogue, key};

const TRAIN: &str = "train bad.npy --preset rk-means --levels 3 --codes 16 --out model";

#[test]
fn embeddings_that_cannot_be_used_are_refused() {
    let desk = Desk::new();
    let refused = |part: &str| {
        let message = desk.fails(1, TRAIN);
        assert!(message.contains(part), "{message}");
        assert!(message.contains("bad.npy"), "{message}");
        assert!(!desk.path("model").exists());
    };
    let mut rows = catalogue();
    rows[17][3] = f32::NAN;
    desk.write_embeddings("bad.npy", &rows);
    refused("embedding of item 17: value NaN in column 3");

    let whole = desk.read("emb.npy");
    desk.write("bad.npy", &whole[..whole.len() - 100]);
    refused("the header tells of 120 x 16 values of 4 bytes, but the file has only");
    desk.write("bad.npy", &whole[..50]);
    refused("bad .npy header");
    desk.write("bad.npy", "");
    refused("cannot read embeddings");

    desk.write_embeddings("bad.npy", &[]);
    refused("the embeddings have no rows");

    desk.write("bad.npy", &whole);
    desk.write_keys("bad.npy", (0..ITEMS).map(|item| key(item / 2)));
    refused("items 0 and 1 have the same key \"item-0\"");
    desk.write_keys("bad.npy", (1..ITEMS).map(key));
    refused("has 120 rows, but there are 119 item keys");
    desk.write("bad.npy.keys.json", "{}");
    refused("is not a list of keys");
}

#[test]
fn one_item_is_a_catalogue() {
    let desk = Desk::new();
    desk.write_embeddings("bad.npy", &catalogue()[..1]);
    desk.ok(TRAIN);
    desk.ok("index bad.npy --model model --out index.safetensors");
    let (report, ok) = desk.json("check index.safetensors --embeddings bad.npy --model model");
    assert!(ok);
    assert_eq!(report["unique"], 1);
}

#[test]
fn what_does_not_fit_is_told_with_both_numbers() {
    let desk = Desk::new();
    desk.index();
    let narrow: Vec<Vec<f32>> = catalogue()
        .iter()
        .map(|row| row[..DIM / 2].to_vec())
        .collect();
    desk.write_embeddings("narrow.npy", &narrow);
    desk.write_embeddings("few.npy", &catalogue()[..ITEMS - 1]);
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 4 --out small");
    for (arguments, part) in [
        (
            "index narrow.npy --model model --out other",
            "narrow.npy: dimension of the embeddings (the model was trained on another): got 8, \
             expected 16",
        ),
        (
            "check index.safetensors --embeddings few.npy",
            "there are 119 embeddings, but the index has 120 items",
        ),
        (
            "check index.safetensors --embeddings emb.npy --model small",
            "the model has 4 x 4 x 4 codes, the index 16 x 16 x 16",
        ),
        (
            "index few.npy --draft index.safetensors --out other",
            "it has 120 items, but there are 119 embeddings",
        ),
        (
            "index emb.npy --model small --out other",
            "120 items do not fit the 64 free slots of 64 (4 x 4 x 4, 1 item(s) a path",
        ),
    ] {
        let message = desk.fails(1, arguments);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_damaged_index_is_an_error_and_no_panic() {
    let desk = Desk::new();
    desk.index();
    let whole = desk.read("index.safetensors");
    for length in [7, whole.len() / 2, whole.len() - 1] {
        desk.write("bad.safetensors", &whole[..length]);
        for command in ["check", "verify", "inspect"] {
            let message = desk.fails(1, &format!("{command} bad.safetensors"));
            assert!(message.contains("bad.safetensors"), "{message}");
        }
    }
    // The length of the header, the header, and what comes after it.
    for place in [0, 9, whole.len() * 2 / 3, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        desk.write("bad.safetensors", bytes);
        desk.fails(1, "check bad.safetensors");
        desk.fails(1, "verify bad.safetensors");
    }
    // It reads only what it shows, so it may miss the damage.
    desk.run("inspect bad.safetensors");
}

#[test]
fn a_changed_model_or_embedding_file_does_not_verify() {
    let desk = Desk::new();
    desk.index();
    let mut model = desk.read("model/model.safetensors");
    *model.last_mut().expect("bytes") ^= 1;
    desk.write("model/model.safetensors", model);
    let message = desk.fails(1, "verify model");
    assert!(message.contains("model.safetensors"), "{message}");
    desk.write("model/manifest.json", r#"{"outputs": {"../emb.npy": ""}}"#);
    desk.fails(1, "verify model");
}

#[test]
fn outputs_that_cannot_be_written_are_told_and_the_old_ones_kept() {
    let desk = Desk::new();
    desk.index();
    let old = desk.read("index.safetensors");
    let files = desk.files();

    for arguments in [
        "index emb.npy --model model --out none/index",
        "train emb.npy --out none/model",
        "export index.safetensors --format csv --out none/codes.csv",
        "import index.safetensors --out none/index",
    ] {
        let message = desk.fails(1, arguments);
        assert!(
            message.starts_with("error: cannot write none/"),
            "{message}"
        );
        assert!(message.contains("No such file or directory"), "{message}");
    }
    let message = desk.fails(1, "index emb.npy --model model --out model");
    assert!(
        message.contains("cannot write model: it is not a file"),
        "{message}"
    );
    let message = desk.fails(1, "train emb.npy --out .");
    assert!(message.contains("semid did not write it"), "{message}");

    desk.fails(1, "index none.npy --model model --out index.safetensors");
    desk.fails(1, "index emb.npy --model none --out index.safetensors");
    desk.fails(1, "import emb.npy --out index.safetensors");
    desk.fails(1, "export emb.npy --format csv --out index.safetensors");
    assert!(desk.read("index.safetensors") == old);
    assert_eq!(desk.files(), files);
}

#[test]
fn a_folder_without_permission_is_told() {
    let desk = Desk::new();
    desk.index();
    let closed = desk.path("closed");
    fs::create_dir(&closed).expect("folder");
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).expect("permissions");
    if File::create(closed.join("probe")).is_ok() {
        println!("this user may write everywhere: not tested");
        return;
    }
    let message = desk.fails(1, "index emb.npy --model model --out closed/index");
    assert!(
        message.contains("cannot write closed/index: Permission denied"),
        "{message}"
    );
}

/// A limit on the size of files stands for a disk that is full.
#[test]
fn a_full_disk_leaves_the_old_output() {
    let desk = Desk::new();
    desk.index();
    let (index, model) = (
        desk.read("index.safetensors"),
        desk.read("model/model.safetensors"),
    );
    let files = desk.files();
    for arguments in [
        "index emb.npy --model model --out index.safetensors --assigner suffix",
        "train emb.npy --preset rk-means --levels 4 --codes 16 --out model",
    ] {
        let semid = desk.semid(arguments);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
            .arg(semid.get_program())
            .args(semid.get_args())
            .current_dir(desk.path(""));
        let output = limited.output().expect("sh");
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with("error: cannot write "), "{message}");
        assert!(message.contains("File too large"), "{message}");
    }
    assert!(desk.read("index.safetensors") == index);
    assert!(desk.read("model/model.safetensors") == model);
    assert_eq!(desk.files(), files);
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_printed_is_an_error() {
    let desk = Desk::new();
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let output = desk
        .semid("inspect emb.npy")
        .stdout(full)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        message.starts_with("error: cannot write to stdout: "),
        "{message}"
    );
}

#[test]
fn a_device_that_is_not_there_is_told() {
    if tch::Cuda::is_available() {
        println!("there is a CUDA device: not tested");
        return;
    }
    let desk = Desk::new();
    let message = desk.fails(1, "train emb.npy --epochs 1 --device cuda --out model");
    assert!(message.contains("sees no CUDA device"), "{message}");
    let message = desk.fails(
        2,
        "train emb.npy --preset rk-means --device cuda --out model",
    );
    assert!(message.contains("k-means runs on the CPU"), "{message}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let desk = Desk::new();
    let files = desk.files();
    for (arguments, part) in [
        ("", "Usage: semid"),
        ("bogus", "unrecognized subcommand 'bogus'"),
        ("train emb.npy", "--out <MODEL>"),
        (
            "train emb.npy --out m --set colour=3",
            "--set colour: there is no such setting",
        ),
        (
            "train emb.npy --out m --set batch_size",
            "expected NAME=VALUE",
        ),
        (
            "train emb.npy --out m --set batch_size=big",
            "expected usize",
        ),
        (
            "train emb.npy --out m --codes 0",
            "setting `codes`: got 0, expected 1 to 65536",
        ),
        (
            "train emb.npy --out m --device gpu",
            "--device gpu: expected cpu or cuda:N",
        ),
        ("index emb.npy --out i", "--model <MODEL>"),
        (
            "index emb.npy --model m --draft d --out i",
            "cannot be used with",
        ),
        ("check i --model m", "--embeddings <EMB>"),
        ("check i --gate unique", "expected NAME>=LIMIT"),
        ("export i --format xml --out o", "invalid value 'xml'"),
        ("inspect emb.npy --threads 0", "invalid value '0'"),
    ] {
        let output = desk.run(arguments);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(
            output.status.code(),
            Some(2),
            "semid {arguments}: {message}"
        );
        assert!(message.contains(part), "semid {arguments}: {message}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(desk.files(), files);
}
