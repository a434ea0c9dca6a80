//! What the program says when it is started wrongly: what is wrong, where, and what was probably meant; in one line, with exit code 2, or 1
//! when the fault is not in what it was told. And `promarchive flush`, which asks a running receiver.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use promarchive_model::Protocol::V1;
use promarchive_pipeline::receiver::CONTROL_SOCKET;
use promarchive_tests::program::{Program, Receiver, now_ms, promarchive};
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;

/// Exit code and what it says. A program that does not end by itself took what it should have refused.
fn run(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(promarchive());
    command.args(arguments).current_dir(directory).env_clear();
    let mut program = Program::start(&mut command, directory.join("log"));
    let status = program.wait_for_end();
    (status.code().unwrap(), program.log())
}

#[test]
fn a_wrong_flag() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, parts) in [
        (&["receive", "--archive", "a", "--flush-intervall", "5m"][..], ["--flush-intervall", "--flush-interval"]),
        (&["receive", "--archive", "a", "--wal-max-byte", "5Gi"], ["--wal-max-byte", "--wal-max-bytes"]),
        (&["recieve", "--archive", "a"], ["recieve", "receive"]),
        (&["receive", "--archive", "a", "--flush-interval", "5 parsecs"], ["--flush-interval", "5 parsecs"]),
        (&["receive", "--archive", "a", "--wal-max-bytes", "many"], ["--wal-max-bytes", "many"]),
        (&["receive", "--archive", "a", "--listen", "localhost"], ["--listen", "localhost"]),
        (&["receive", "--archive", "a", "--label-columns", "job,JOB"], ["--label-columns", "JOB"]),
        (&["receive", "--archive", "a", "--max-future", "1h"], ["1h", "1d"]),
        (&["receive", "--archive", "a", "--max-past", "1h"], ["1h", "1d"]),
        (&["receive", "--archive", "a", "--sender-label", "__name__"], ["--sender-label", "invalid label name"]),
        (&["receive", "--archive", "a", "--sender-label", "sender"], ["senderLabel", "--tokens"]),
    ] {
        let (code, said) = run(directory.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{arguments:?}: {said}");
        assert!(!directory.path().join("a").exists(), "{arguments:?}: nothing is made before all is checked");
    }
}

#[test]
fn a_label_column_with_a_dot() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["receive", "--archive", "a", "--listen", "127.0.0.1:0", "--label-columns", "pod,k8s.pod.name"];
    let (code, said) = run(directory.path(), &flags);
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert_eq!(code, 1, "{said}");
    for part in ["\"k8s.pod.name\" contains a dot", "DuckDB", r#"labels->>'$."k8s.pod.name"'"#, "\"k8s_pod_name\""] {
        assert!(error.contains(part), "{part}: {said}");
    }
    for made in ["a", "a.wal"] {
        assert!(!directory.path().join(made).exists(), "{made} was made before all was checked");
    }
}

#[test]
fn a_label_column_that_later_tables_need() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["receive", "--archive", "a", "--listen", "127.0.0.1:0", "--label-columns", "pod,Min"];
    let (code, said) = run(directory.path(), &flags);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("label column \"Min\" has the name of a column of the tables of downsampled samples"),
        "{said}"
    );
    assert!(!directory.path().join("a").exists(), "it was made before all was checked");

    // An archive of an earlier version has it.
    let mut receiver = Receiver::start(&["--label-columns", "pod"]);
    assert!(receiver.terminate().success());
    for table in ["samples", "histograms", "exemplars", "metadata"] {
        let created = receiver.archive().join(table).join("_delta_log/00000000000000000000.json");
        let text = fs::read_to_string(&created).unwrap();
        assert_ne!(text, text.replace("pod", "min"));
        fs::write(&created, text.replace("pod", "min")).unwrap();
    }
    let mut receiver = Receiver::start_in(receiver.into_directory(), &[], &[]);
    let says = "the archive has a label column \"min\", which is also a column of the tables of downsampled samples";
    assert!(receiver.log().contains(says), "{}", receiver.log());
    assert!(receiver.terminate().success());
}

#[test]
fn a_wrong_configuration_file() {
    let directory = tempfile::tempdir().unwrap();
    for (text, parts) in [
        ("archive: a\nflushIntervall: 5m\n", ["c.yaml:2:1", "flushIntervall", "did you mean \"flushInterval\""]),
        ("archive: a\n\nwal-max-bytes: 5Gi\n", ["c.yaml:3:1", "wal-max-bytes", "did you mean \"walMaxBytes\""]),
        ("archive: a\nflushInterval: soon\n", ["c.yaml:2:", "flushInterval", "soon"]),
        ("archive: a\nlisten: [127.0.0.1:0]\n", ["c.yaml:2:", "listen", ""]),
        ("archive: a\nlabelColumns: [job, \"a b\"]\n", ["c.yaml:2:", "labelColumns", "a b"]),
        ("archive: a\narchive: b\n", ["c.yaml:2:1", "archive", ""]),
        ("archive: [\n", ["c.yaml:", "", ""]),
        ("- archive\n", ["c.yaml:", "", ""]),
    ] {
        fs::write(directory.path().join("c.yaml"), text).unwrap();
        let (code, said) = run(directory.path(), &["receive", "--config", "c.yaml"]);
        assert_eq!(code, 2, "{text:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{text:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{text:?}: {said}");
        assert!(!directory.path().join("a").exists(), "{text:?}");
    }
}

#[test]
fn a_damaged_tokens_file() {
    let directory = tempfile::tempdir().unwrap();
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    for (text, place, parts) in [
        ("prometheus-a secret-token\n".to_owned(), "tokens:1: ", "64 hexadecimal digits"),
        (format!("# ours\nprometheus-a {hash}\nprometheus-b\n"), "tokens:3: ", "NAME SHA256 ROLES"),
        (format!("prometheus-a {}\n", &hash[1..]), "tokens:1: ", "64 hexadecimal digits"),
        (format!("a {hash}\nb {hash}\n"), "tokens:2: ", "the hash is the same as on line 1"),
        (format!("a {hash} admin\n"), "tokens:1: ", "valid roles are write, push, read, runs and operate"),
        ("# nobody\n".to_owned(), "tokens: ", "the file has no tokens"),
        (String::new(), "tokens: ", "the file has no tokens"),
    ] {
        fs::write(directory.path().join("tokens"), &text).unwrap();
        let (code, said) =
            run(directory.path(), &["receive", "--archive", "a", "--listen", "127.0.0.1:0", "--tokens", "tokens"]);
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(code != 0 && error.contains(place) && error.contains(parts), "{code} {text:?}: {said}");
        assert!(!said.contains("secret-token"), "what may be a token is not told: {said}");
    }
    let (code, said) = run(directory.path(), &["receive", "--archive", "a", "--tokens", "no/such/file"]);
    assert!(code != 0 && said.contains("no/such/file"), "{code}: {said}");
}

#[test]
fn an_archive_that_another_receiver_has() {
    let receiver = Receiver::start(&[]);
    let archive = receiver.archive();
    let (code, said) =
        run(receiver.directory(), &["receive", "--archive", archive.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1, "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains(archive.to_str().unwrap()), "{said}");
}

#[test]
fn a_path_that_cannot_be_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(root.join("a/wal"), root.join("link")).unwrap();
    let long = ["--listen", "127.0.0.1:0"];
    for (arguments, wants) in [
        (&["--archive", "a\\b/archive"][..], "backslash"),
        (&["--archive", "a\tb/archive"], "control character"),
        (&["--archive", "a%41/archive"], "hexadecimal"),
        (&["--archive", "~/archive"], "~ is not expanded"),
        (&["--archive", "file:/archive"], "use file:///absolute/path"),
        (&["--archive", "a", "--wal", "~/wal"], "~ is not expanded"),
        (&["--archive", "a", "--wal", "file:///wal"], "a URL is not allowed here"),
        (&["--archive", "a", "--tokens", "~/tokens"], "~ is not expanded"),
        (&["--archive", "a", "--wal", "link"], "is inside the archive"),
    ] {
        let mut command = Command::new(promarchive());
        command.arg("receive").args(arguments).args(long).current_dir(&root).env_clear();
        let mut program = Program::start(&mut command, directory.path().join("log"));
        let (code, said) = (program.wait_for_end().code(), program.log());
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(wants), "{arguments:?}: {said}");
        let made: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(made, ["link"], "{arguments:?}");
    }
    for (yaml, wants) in
        [("archive: ~/a\n", "~ is not expanded"), ("archive: ~\n", "~ alone"), ("archive: file:/x\n", "file:///")]
    {
        fs::write(directory.path().join("c.yaml"), yaml).unwrap();
        let (code, said) = run(directory.path(), &["receive", "--config", "c.yaml"]);
        assert!(code == 2 && said.contains(wants), "{yaml}: {said}");
    }
}

#[test]
fn a_path_with_parents_or_strange_characters_works_and_says_which_readers_stumble() {
    for (archive, strange) in [("x/../archive", ""), ("../beside", ""), ("my data/x=y/ü#/archive", "' ' '#' '=' 'ü'")]
    {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("here")).unwrap();
        let given = directory.path().join("here").join(archive);
        let receiver = Receiver::start_at(&given);
        let sent = Request::of([Series::metric("up").sample(1_700_000_000_000, 1.0)]);
        let mut wanted = Tables::default();
        assert_eq!(receiver.write(V1, &sent).status, 204);
        wanted.add(V1, &sent);
        receiver.flush();
        wanted.assert_equals(&Tables::read(Reader::DuckDb, &given));
        let log = receiver.log();
        assert_eq!(log.contains("Polars and Daft cannot read"), !strange.is_empty(), "{log}");
        assert!(log.contains(strange), "{log}");
    }
}

/// strace makes the system calls fail as such a file system does.
#[test]
fn a_file_system_that_cannot_do_it_is_named_once_and_ends_it() {
    for (call, errno, wants) in [
        ("link,linkat", "EPERM", "cannot make a hard link ("),
        ("flock", "EOPNOTSUPP", "cannot lock a file ("),
        ("fsync", "EINVAL", "sync a directory ("),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", &format!("--trace={call}"), &format!("--inject={call}:error={errno}")]);
        command.arg(promarchive()).args(["receive", "--archive", "a", "--listen", "127.0.0.1:0"]);
        command.current_dir(directory.path()).env_clear();
        let mut program = Program::start(&mut command, directory.path().join("log"));
        let (code, said) = (program.wait_for_end().code(), program.log());
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((code, errors.len()), (Some(1), 1), "{call}: {said}");
        assert!(errors[0].contains("the file system of the ") && errors[0].contains(wants), "{call}: {said}");
        assert!(!said.contains("cannot start yet"), "{call} was tried again: {said}");
    }
}

/// As in a pod: no token, and no other program than the receiver's own.
#[test]
fn the_receivers_user_may_flush_without_a_token() {
    let receiver = Receiver::start(&[]);
    let wal = receiver.directory().join("archive.wal");
    let (archive, socket) = (receiver.archive(), wal.join(CONTROL_SOCKET));
    let flush = |arguments: &[&str]| {
        let output = Command::new(promarchive()).arg("flush").args(arguments).env_clear().output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code().unwrap(), said)
    };
    let sample = |value: f64| Request::of([Series::metric("kept").sample(now_ms(), value)]);
    assert_eq!(receiver.write(V1, &sample(1.0)).status, 204);
    let (code, [report, said]) = flush(&["--archive", archive.to_str().unwrap(), "--output", "json"]);
    assert_eq!(code, 0, "{said}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["tables"]["samples"]["rows"], 1, "{report}");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600, "for the receiver's user alone");

    // A socket that a killed receiver left, and the next one takes its place.
    let directory = receiver.into_directory();
    let (code, [_, said]) = flush(&["--wal", wal.to_str().unwrap()]);
    assert!(code == 1 && said.contains("no receiver is running with") && said.contains("--config"), "{code} {said}");
    let receiver = Receiver::start_in(directory, &[], &[]);
    assert_eq!(receiver.write(V1, &sample(2.0)).status, 204);
    let config = receiver.directory().join("receiver.yaml");
    fs::write(&config, format!("archive: {}\nwal: {}\n", archive.display(), wal.display())).unwrap();
    let (code, [table, said]) = flush(&["--config", config.to_str().unwrap()]);
    assert!(code == 0 && table.contains("samples") && table.contains("SIZE"), "{code} {table} {said}");

    let (code, [_, said]) = flush(&["--wal", receiver.directory().join("nowhere").to_str().unwrap()]);
    assert!(code == 1 && said.contains("no receiver is running with") && said.lines().count() == 1, "{code} {said}");
    let (code, [_, said]) = flush(&[]);
    assert!(code == 2 && said.contains("--config"), "{code} {said}");
}
