//! A training that is killed goes on where it was, and an interrupted one leaves no litter.

mod desk;

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use desk::Desk;

const TRAIN: &str = "train emb.npy --levels 3 --codes 16 --epochs 150 --set patience=150";

/// A training under way that has written a checkpoint, a new one if there was one.
fn started(desk: &Desk, arguments: &str) -> Child {
    let checkpoint = || desk.path("model.checkpoint").metadata()?.modified();
    let old = checkpoint().ok();
    let mut child = desk
        .semid(arguments)
        .env("SEMID_CHECKPOINT_SECONDS", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let start = Instant::now();
    while checkpoint().ok() == old {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint");
        assert_eq!(
            child.try_wait().expect("a child"),
            None,
            "it ended too early"
        );
        sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_killed_training_ends_in_the_same_model() {
    let desk = Desk::new();
    desk.ok(&format!("{TRAIN} --out whole"));

    let resume = format!("{TRAIN} --out model --resume");
    for _ in 0..2 {
        let mut child = started(&desk, &resume);
        child.kill().expect("it runs");
        assert_eq!(child.wait().expect("it ends").code(), None, "killed");
        assert!(!desk.path("model").exists(), "half a model");
    }
    desk.ok(&resume);
    assert!(!desk.path("model.checkpoint").exists());
    for file in ["model.safetensors", "config.json", "epochs.jsonl"] {
        let [whole, model] =
            ["whole", "model"].map(|folder| desk.read(&format!("{folder}/{file}")));
        assert!(whole == model, "{file} differs");
    }
}

#[test]
fn a_killed_encoding_goes_on_where_it_was() {
    let desk = Desk::new();
    let value = |row: usize, at: usize| ((row * 8 + at) as u32).wrapping_mul(2_654_435_761) as f32;
    let rows: Vec<Vec<f32>> = (0..70_000)
        .map(|row| (0..8).map(|at| value(row, at)).collect())
        .collect();
    desk.write_embeddings("many.npy", &rows);
    desk.ok("train many.npy --preset rk-means --codes 64 --out model");
    let index = "index many.npy --model model --out";
    desk.ok(&format!("{index} whole.safetensors"));

    let journal = desk.path("killed.safetensors.encoding");
    let written = || journal.metadata().map_or(0, |file| file.len());
    let mut child = desk.semid(&format!("{index} killed.safetensors"));
    let mut child = child.stderr(Stdio::null()).spawn().expect("it starts");
    // The header takes less than the first rows.
    while written() < 100_000 {
        assert_eq!(
            child.try_wait().expect("a child"),
            None,
            "it ended too early"
        );
        sleep(Duration::from_millis(1));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(!desk.path("killed.safetensors").exists(), "half an index");

    // What was not written whole is done again.
    let kept = desk.read("killed.safetensors.encoding");
    desk.write("killed.safetensors.encoding", &kept[..kept.len() - 7]);
    desk.ok(&format!("{index} killed.safetensors"));
    assert!(!journal.exists());
    assert!(desk.read("killed.safetensors") == desk.read("whole.safetensors"));

    // Of other settings, nothing is kept.
    desk.write("killed.safetensors.encoding", &kept);
    desk.ok(&format!("{index} killed.safetensors --beams 1"));
    desk.ok(&format!("{index} whole.safetensors --beams 1"));
    assert!(desk.read("killed.safetensors") == desk.read("whole.safetensors"));
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let desk = Desk::new();
    let mut child = started(&desk, &format!("{TRAIN} --out model"));
    child.kill().expect("it runs");
    child.wait().expect("it ends");

    let resume = format!("{TRAIN} --out model --resume");
    let message = desk.fails(1, &format!("{resume} --seed 7"));
    assert!(message.contains("model.checkpoint"), "{message}");

    let checkpoint = desk.read("model.checkpoint");
    desk.write("model.checkpoint", &checkpoint[..checkpoint.len() / 2]);
    let message = desk.fails(1, &resume);
    assert!(message.contains("model.checkpoint"), "{message}");
}

#[test]
fn an_interrupt_leaves_the_old_model_and_no_temporary_files() {
    let desk = Desk::new();
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --out model");
    let (old, mut files) = (desk.read("model/model.safetensors"), desk.files());

    let mut child = started(&desk, &format!("{TRAIN} --out model"));
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));

    assert!(desk.read("model/model.safetensors") == old);
    files.push("model.checkpoint".to_owned());
    files.sort();
    assert_eq!(desk.files(), files);
}
