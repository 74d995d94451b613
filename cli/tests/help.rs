//! The manual, so that a change of it is seen when it is reviewed.

use std::process::{Command, Stdio};

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_semid"))
        .args(command)
        .arg("--help")
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The commands that the overview lists.
fn commands(overview: &str) -> Vec<&str> {
    overview
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect()
}

/// The pages of a command and of those below it.
fn pages(command: &[&str], manual: &mut Vec<String>) {
    let page = help(command);
    let name = [&["semid"], command].concat().join(" ");
    manual.push(format!("$ {name} --help\n{page}"));
    for part in commands(&page) {
        pages(&[command, &[part]].concat(), manual);
    }
}

#[test]
fn the_manual_is_the_reviewed_one() {
    let mut manual = Vec::new();
    pages(&[], &mut manual);
    assert!(manual.len() > 5, "{manual:?}");
    insta::assert_snapshot!("manual", manual.join("\n"));
}
