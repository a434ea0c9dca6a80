//! The program's answers on standard output.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::process::{Command, Stdio};

fn crd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promarchive-operator"));
    command.arg("crd").stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// `crd > file` on a full disk must not look as if the file were whole.
#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = crd().stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write to standard output: No space left on device"), "{said}");
}

#[test]
fn an_answer_that_nobody_reads_ends_the_program_quietly() {
    let mut child = crd().stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(141), String::new()));
}
