//! The program as people start it: flags, environment, file, exit codes, signals.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

fn promarchive(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promarchive"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = promarchive(arguments, environment).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn help_has_an_example_units_defaults_and_variables() {
    let (code, out, err) = run(&["receive", "--help"], &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "promarchive receive --archive ./archive",
        "remote_write:",
        "[default: 5m]",
        "PROMARCHIVE_FLUSH_INTERVAL",
        "8Gi",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

#[test]
fn help_of_check_store_has_an_example_and_its_cost() {
    let (code, out, _) = run(&["check-store", "--help"], &[]);
    assert_eq!(code, Some(0));
    for part in ["promarchive check-store s3://bucket/archive", "350 requests", "Exit codes: 0", "[default: table]"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

#[test]
fn wrong_usage_is_named_and_ends_with_2() {
    let tls = ["receive", "--archive", "a", "--tls-cert", "c"];
    for (arguments, environment, wants) in [
        (&["receive", "--flush-intervall", "5m"][..], &[][..], "'--flush-interval'"),
        (&["receve"], &[], "'receive'"),
        (&[], &[], "Usage:"),
        (&["receive"], &[], "error: no archive is set: use --archive"),
        (&["receive", "--archive", "s4://b"], &[], "unsupported URL scheme"),
        (&["receive", "--archive", "s3://b"], &[], "name one with --wal"),
        (&["receive", "--archive", "a", "--listen", "0.0.0.0:1"], &[], "--insecure-allow-unauthenticated"),
        (&["receive", "--archive", "a", "--flush-interval", "5"], &[], "invalid duration \"5\""),
        (&["receive", "--archive", "a", "--wal", "a/wal"], &[], "is inside the archive"),
        (&tls, &[], "error: tlsCert is set, but tlsKey is not"),
        (&["receive", "--archive", "a", "--config", "/no/such"], &[], "error: /no/such: cannot read the configuration"),
        (&["receive", "--archive", "a", "--log-level", "a=b=c"], &[], "error: invalid --log-level \"a=b=c\""),
        (&["receive"], &[("PROMARCHIVE_FLUSH_BYTES", "x")], "environment variable PROMARCHIVE_FLUSH_BYTES"),
        (&["receive", "--archive", "a"], &[("PROMARCHIVE_TOKENS", "")], "environment variable PROMARCHIVE_TOKENS"),
        (&["inspect"], &[], "<ARCHIVE|--archive <DIRECTORY|URL>>"),
        (&["upgrade"], &[], "<ARCHIVE|--archive <DIRECTORY|URL>>"),
        (&["upgrade", "/no/such"], &[], "no archive found"),
        (&["check-store"], &[], "<URL>"),
        (&["check-store", "/tmp"], &[], "is a directory"),
        (&["check-store", "s3://b"], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], "AWS_ALLOW_HTTP=true"),
        (&["check-store", "s3://b"], &[("AWS_ENDPOINT_URL", "https://storage.googleapis.com")], "gs://b"),
        (&["inspect", "s3://b"], &[("AWS_ENDPOINT_URL", "https://storage.googleapis.com")], "gs://b"),
        (&["verify", "a", "--output", "yaml"], &[], "possible values: table, json"),
    ] {
        let (code, out, err) = run(arguments, environment);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}\n{err}");
        assert!(err.contains(wants), "{arguments:?}\n{err}");
    }
}

#[test]
fn a_wal_inside_the_archive_is_found_behind_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path).to_str().unwrap().to_owned();
    fs::create_dir(at("archive")).unwrap();
    symlink(at("archive"), at("link")).unwrap();
    for (archive, wal, wants) in [
        (at("archive"), at("link/wal"), "is inside the archive"),
        (at("link"), at("archive/new/wal"), "is inside the archive"),
        (at("link/new/archive"), at("archive/new"), "is inside the WAL directory"),
    ] {
        let (code, _, err) = run(&["receive", "--listen", "127.0.0.1:0", "--archive", &archive, "--wal", &wal], &[]);
        assert!(code == Some(2) && err.contains(wants), "{archive} {wal}: {err}");
    }
    assert_eq!(fs::read_dir(at("archive")).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_wrong_file_is_named_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("receiver.yaml");
    fs::write(&file, "archive: a\nflushIntervall: 5m\n").unwrap();
    let (code, _, err) = run(&["receive", "--config", file.to_str().unwrap()], &[]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("receiver.yaml:2:1: unknown field \"flushIntervall\"; did you mean \"flushInterval\"?"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
}

/// Of flag, variable and file the same wrong value: the error says which of them it comes from.
#[test]
fn a_wrong_value_is_named_with_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.yaml");
    let new = directory.path().join("new.yaml");
    fs::write(&old, "archive: a\n\nflushInterval: 2d\n").unwrap();
    fs::write(&new, "archive: a\nreceive:\n  # Too long.\n  flushInterval: 2d\n").unwrap();
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let variable = ("PROMARCHIVE_FLUSH_INTERVAL", "2d");
    let bound = "error: flushInterval is 2d, but must be 100ms to 1d (set ";
    for (arguments, environment, wants) in [
        (&["--archive", "a", "--flush-interval", "2d"][..], &[][..], format!("{bound}by --flush-interval)")),
        (&["--archive", "a"], &[variable], format!("{bound}by the environment variable PROMARCHIVE_FLUSH_INTERVAL)")),
        (&["--config", old], &[], format!("{bound}in {old}:3:1)")),
        (&["--config", new], &[], format!("{bound}in {new}:4:3)")),
        // What goes over it is at fault, and not what it goes over.
        (&["--config", old], &[("PROMARCHIVE_FLUSH_INTERVAL", "3d")], "PROMARCHIVE_FLUSH_INTERVAL)".to_owned()),
        (
            &["--config", old, "--flush-interval=4d"],
            &[variable],
            "is 4d, but must be 100ms to 1d (set by --flush-int".to_owned(),
        ),
        (&["--config", old, "--flush-interval", "1m", "--wal", "a/w"], &[], "(wal is set by --wal)".to_owned()),
        (&["--config", old, "--flush-interval", "1m", "--listen=[::]:1"], &[], "(set by --listen)".to_owned()),
        // Without a value of its own there is nothing to name.
        (
            &["--archive", "a", "--memory-limit", "1Gi", "--flush-bytes", "1Gi"],
            &[],
            "(set by --flush-bytes)".to_owned(),
        ),
        (&["--archive", "a", "--max-decoded-bytes", "1Gi"], &[], "decrease these two\n".to_owned()),
    ] {
        let arguments: Vec<&str> = ["receive"].iter().chain(arguments).copied().collect();
        let (code, _, err) = run(&arguments, environment);
        assert_eq!(code, Some(2), "{arguments:?}\n{err}");
        assert!(err.contains(&wants) && err.lines().count() == 1, "{arguments:?}\n{err}\nwants {wants}");
    }
}

#[test]
fn a_path_that_is_no_text_is_refused_by_name() {
    let mut command = promarchive(&["receive", "--archive", "a", "--wal"], &[]);
    let Output { status, stderr, .. } = command.arg(OsStr::from_bytes(b"/tmp/\xff")).output().unwrap();
    let err = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(2) && err.contains("set by --wal") && err.lines().count() == 1, "{err}");
}

/// A receiver that is ended when the test is.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The address in the line "listening on http://…", and the log after it.
fn address(receiver: &mut Receiver) -> (String, BufReader<ChildStderr>) {
    let mut log = BufReader::new(receiver.0.stderr.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "ended before it listened");
        if let Some((_, address)) = line.split_once("listening on http://") {
            return (address.trim().to_owned(), log);
        }
    }
}

#[test]
fn flag_over_environment_over_file() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let archive = format!("archive: {}\n", archive.display());
    let flat = file("flat.yaml", format!("{archive}listen: 127.0.0.3:0\nshutdownGrace: 5s\n"));
    let section = file("section.yaml", format!("{archive}receive:\n  listen: 127.0.0.3:0\n  shutdownGrace: 5s\n"));
    let flat = ("PROMARCHIVE_CONFIG", flat.as_str());
    let section = ("PROMARCHIVE_CONFIG", section.as_str());
    let variable = ("PROMARCHIVE_LISTEN", "127.0.0.2:0");
    for (flags, environment, wants) in [
        (&["receive"][..], &[flat][..], "127.0.0.3:"),
        (&["receive"], &[flat, variable], "127.0.0.2:"),
        (&["receive", "--listen", "127.0.0.1:0"], &[flat, variable], "127.0.0.1:"),
        (&["receive"], &[section], "127.0.0.3:"),
        (&["receive"], &[section, variable], "127.0.0.2:"),
        (&["receive", "--listen", "127.0.0.1:0"], &[section, variable], "127.0.0.1:"),
    ] {
        let child = promarchive(flags, environment).stderr(Stdio::piped()).spawn().unwrap();
        let mut receiver = Receiver(child);
        let (address, _log) = address(&mut receiver);
        assert!(address.starts_with(wants), "{address}");
    }
}

/// The answer to GET on a connection of its own.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks whether it is ready until the answer holds this text.
fn until_ready_says(address: &str, text: &str) {
    let mut answer = String::new();
    for _ in 0..400 {
        answer = get(address, "/-/ready");
        if answer.contains(text) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(answer.contains(text), "it never says {text:?}, but {answer}");
}

#[test]
fn no_file_is_written_through_a_link() {
    for (name, of_wal) in [
        (".promarchive.reserve", false),
        (".promarchive.lock", false),
        ("lock", true),
        ("writer", true),
        ("archive", true),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (archive, victim) = (directory.path().join("archive"), directory.path().join("victim"));
        let parent = if of_wal { directory.path().join("archive.wal") } else { archive.clone() };
        fs::create_dir(&parent).unwrap();
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, parent.join(name)).unwrap();

        let arguments = ["receive", "--listen", "127.0.0.1:0", "--archive", archive.to_str().unwrap()];
        let mut receiver = Receiver(promarchive(&arguments, &[]).stderr(Stdio::piped()).spawn().unwrap());
        let (address, _log) = address(&mut receiver);
        until_ready_says(&address, &format!("{} is a symbolic link", parent.join(name).display()));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        // It goes on by itself when the link is gone.
        fs::remove_file(parent.join(name)).unwrap();
        until_ready_says(&address, "HTTP/1.1 200 OK");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
}

#[test]
fn few_open_files_leave_some_for_the_tables() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 200; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_promarchive")]);
    command.args(["receive", "--listen", "127.0.0.1:0", "--archive", archive.to_str().unwrap()]);
    let mut receiver = Receiver(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(receiver.0.stderr.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        line
    };
    let told = "at most 68 connections are possible, because this process can open only 200 files";
    while !line().contains(told) {}
    let address = loop {
        if let Some((_, address)) = line().split_once("listening on http://") {
            break address.trim().to_owned();
        }
    };
    until_ready_says(&address, "HTTP/1.1 200 OK");
    let crowd: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut flush = TcpStream::connect(&address).unwrap();
    flush
        .write_all(b"POST /-/flush HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    flush.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    until_ready_says(&address, "HTTP/1.1 200 OK");
    drop(crowd);
    drop(receiver);
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("cannot accept"), "{rest}");
}

#[test]
fn a_signal_ends_it_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    for name in ["TERM", "INT", "HUP"] {
        // Whoever runs the tests may ignore hangups, and processes inherit that.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_promarchive"), "receive", "--listen", "127.0.0.1:0"]);
        command.arg("--archive").arg(&archive).env_clear().stderr(Stdio::piped());
        let mut receiver = Receiver(command.spawn().unwrap());
        let (address, mut log) = address(&mut receiver);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

        let process = receiver.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &process]).status().unwrap().success());
        assert_eq!(receiver.0.wait().unwrap().code(), Some(0), "SIG{name}");
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("stopping") && !rest.contains('\u{1b}'), "{rest}");
    }
}

#[test]
fn under_nohup_a_hangup_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_promarchive")).args(["receive", "--listen", "127.0.0.1:0", "--archive"]);
    command.arg(&archive).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut receiver = Receiver(command.spawn().unwrap());
    let (address, _log) = address(&mut receiver);
    until_ready_says(&address, "HTTP/1.1 200 OK");
    let process = receiver.0.id().to_string();
    for (signal, ends) in [("HUP", false), ("TERM", true)] {
        assert!(Command::new("kill").args(["-s", signal, &process]).status().unwrap().success());
        // It answers as before: a signal that ends it is seen before the next request.
        assert!(ends || get(&address, "/-/ready").starts_with("HTTP/1.1 200 OK"), "SIG{signal}");
    }
    assert_eq!(receiver.0.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_an_error_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(&["receive", "--listen", &address, "--archive", archive.to_str().unwrap()], &[]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains(&format!("error: cannot listen on {address}")) && err.contains("choose another port"),
        "{err}"
    );
}

#[test]
fn an_answer_that_nobody_reads_ends_the_program_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("a");
    let arguments = ["receive", "--listen", "127.0.0.1:0", "--archive", archive.to_str().unwrap()];
    let mut receiver = Receiver(promarchive(&arguments, &[]).stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(receiver.0.stderr.take().unwrap());
    assert!(log.lines().any(|line| line.unwrap().contains(" ready ")), "it ended before it was ready");
    drop(receiver);
    for command in ["inspect", "verify", "upgrade"] {
        let mut child = promarchive(&[command, archive.to_str().unwrap()], &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap()), (Some(141), String::new()));
    }
}
