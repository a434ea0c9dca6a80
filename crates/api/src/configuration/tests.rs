use super::*;
use crate::{ByteSize, Timespan};

fn error(text: &str) -> String {
    Configuration::from_yaml("receiver.yaml", text).unwrap_err().to_string()
}

const EVERYTHING: &str = "\
archive: file:///data/archive
archiveAccess: Everyone
listen: 0.0.0.0:9201
wal: /data/wal
walMaxBytes: 2Gi
flushInterval: 1m30s
flushBytes: 100MB
memoryLimit: 1073741824
maxFuture: 2d
maxPast: 30d
tokens: /etc/promarchive/tokens
unknownTokens: Retry
senderLabel: sender
tlsCert: /tls/tls.crt
tlsKey: /tls/tls.key
labelColumns: [namespace, pod]
dedupHorizon: 10m
insecure: false
maxRequestBytes: 16Mi
maxDecodedBytes: 16Mi
maxConnectionsPerAddress: 100
shutdownGrace: 20s
";

#[test]
fn every_field_is_read_and_read_back() {
    let config = Configuration::from_yaml("receiver.yaml", EVERYTHING).unwrap();
    assert_eq!(config.receive.wal_max_bytes, Some(ByteSize(2 << 30)));
    assert_eq!(config.receive.memory_limit, Some(ByteSize(1 << 30)));
    assert_eq!(config.receive.flush_interval, Some(Timespan::from_secs(90)));
    assert_eq!(config.archive.label_columns.as_ref().unwrap().names(), ["namespace", "pod"]);
    let written = config.to_receiver_yaml();
    assert_eq!(Configuration::from_yaml("again", &written).unwrap(), config, "{written}");
    assert_eq!(written.lines().filter(|line| !line.starts_with("- ")).count(), 22, "every field is written: {written}");
}

#[test]
fn an_empty_file_sets_nothing() {
    for text in ["", "---\n", "# nothing\n", "{}", "listen:\nwal:\n"] {
        assert_eq!(Configuration::from_yaml("f", text).unwrap(), Configuration::default(), "{text:?}");
    }
}

#[test]
fn a_wrong_field_has_its_place_and_the_nearest_valid_one() {
    assert_eq!(
        error("archive: a\n\nflushIntervall: 5m\n"),
        "receiver.yaml:3:1: unknown field \"flushIntervall\"; did you mean \"flushInterval\"?"
    );
    assert_eq!(
        error("flush_interval: 5m\n"),
        "receiver.yaml:1:1: unknown field \"flush_interval\"; did you mean \"flushInterval\"?"
    );
    assert!(error("zzz: 1\n").contains("valid fields are archive, archiveAccess, labelColumns, listen, wal,"));
}

#[test]
fn a_wrong_value_has_its_field_and_place() {
    for (text, wants) in [
        ("archive: a\nflushInterval: 5\n", "receiver.yaml:2:1: flushInterval: "),
        ("archive: a\nflushInterval: 5 minutes\n", "receiver.yaml:2:1: flushInterval: invalid duration \"5 minutes\""),
        ("memoryLimit: lots\n", "receiver.yaml:1:1: memoryLimit: invalid size \"lots\""),
        ("memoryLimit: -5\n", "receiver.yaml:1:1: memoryLimit: "),
        ("listen: here\n", "receiver.yaml:1:1: listen: invalid address \"here\""),
        (
            "archive: s4://bucket\n",
            "receiver.yaml:1:1: archive: invalid archive \"s4://bucket\": unsupported URL scheme",
        ),
        ("unknownTokens: Drop\n", "receiver.yaml:1:1: unknownTokens: invalid value \"Drop\" for unknown tokens"),
        ("archiveAccess: 0644\n", "receiver.yaml:1:1: archiveAccess: "),
        ("archiveAccess: all\n", "receiver.yaml:1:1: archiveAccess: invalid archive access \"all\""),
        ("maxConnectionsPerAddress: many\n", "receiver.yaml:1:1: maxConnectionsPerAddress: "),
        ("senderLabel: __name__\n", "receiver.yaml:1:1: senderLabel: invalid label name \"__name__\""),
        ("wal: w\nlabelColumns: [pod, value]\n", "receiver.yaml:2:1: labelColumns: label column \"value\""),
        ("archive: a\narchive: b\n", "receiver.yaml:2:1: field \"archive\" is given twice"),
        ("archive: [\n", "receiver.yaml:"),
        ("- archive\n", "receiver.yaml:1:1: "),
    ] {
        let error = error(text);
        assert!(error.starts_with(wants), "{text:?}\n   {error}\nwants {wants}");
        assert!(!error.contains('\n') && !error.contains(" at line"), "{error}");
    }
}

/// The same settings, those of the receiver in their section.
fn in_sections(text: &str) -> String {
    let shared = |line: &&str| line.starts_with("archive") || line.starts_with("labelColumns");
    let (above, below): (Vec<&str>, Vec<&str>) = text.lines().partition(shared);
    format!("{}\nreceive:\n  {}\n", above.join("\n"), below.join("\n  "))
}

#[test]
fn a_section_says_the_same_as_the_top_level() {
    let text = in_sections(EVERYTHING);
    assert!(text.contains("receive:\n  listen: "), "{text}");
    let config = Configuration::from_yaml("new", &text).unwrap();
    assert_eq!(config, Configuration::from_yaml("old", EVERYTHING).unwrap());
    for empty in ["receive:\n", "archive:\nreceive: {}\n", "receive: {listen: }\n"] {
        assert_eq!(Configuration::from_yaml("f", empty).unwrap(), Configuration::default(), "{empty:?}");
    }
}

#[test]
fn a_fault_in_a_section_has_its_place() {
    let memory = "compact:\n  memoryLimit: 1\nreceive:\n  memoryLimit: lots\n";
    assert!(error(memory).starts_with("receiver.yaml:1:1: unknown field \"compact\""), "{}", error(memory));
    for (text, wants) in [
        (
            "archive: a\nreceive:\n  # 5m\n  flushIntervall: 5m\n",
            "receiver.yaml:4:3: receive: unknown field \"flushIntervall\"; did you mean \"flushInterval\"?",
        ),
        (
            "receive:\n    wal: w\n    flushInterval: soon\n",
            "receiver.yaml:3:5: receive.flushInterval: invalid duration \"soon\"",
        ),
        (
            "receive:\n  wal: a\n  wal: b\n",
            "receiver.yaml:3:3: receive: field \"wal\" is given twice: remove one of them",
        ),
        ("receive: {}\nreceive: {}\n", "receiver.yaml:2:1: field \"receive\" is given twice: remove one of them"),
        (
            "receive:\n  wal: w\n  archive: a\n",
            "receiver.yaml:3:3: receive: unknown field \"archive\"; this setting is for all commands: move it to the \
             top level",
        ),
        (
            "archive: a\nlisten: 127.0.0.1:1\nreceive:\n  wal: w\n",
            "receiver.yaml:2:1: field \"listen\" is at the top level, but the file has a section \"receive\": move \
             the field",
        ),
        ("recieve: {}\n", "receiver.yaml:1:1: unknown field \"recieve\"; did you mean \"receive\"?"),
        ("receive: [a]\n", "receiver.yaml:1:"),
        ("receive: {flushInterval: soon}\n", "receiver.yaml:1:"),
        ("receive: {flushInterval: soon}\n", "receiver.yaml:1:"),
        (
            "receive:\n  archiveAccess: Group\n",
            "receiver.yaml:2:3: receive: unknown field \"archiveAccess\"; this setting is",
        ),
    ] {
        let error = error(text);
        assert!(error.starts_with(wants), "{text:?}\n   {error}\nwants {wants}");
        assert!(!error.contains('\n') && !error.contains(" at line"), "{error}");
    }
}

#[test]
fn a_value_has_its_place_in_either_form() {
    let place = |text: &str, table: &str, field: &str| ConfigFile::parse("f", text).unwrap().place(table, field);
    assert_eq!(place("archive: a\n\nwal: w\n", "receive", "wal"), "f:3:1");
    let sections = "\u{feff}# wal: none\nreceive:\n  listen: localhost:1\n  \"wal\": w\narchive: a\n";
    assert_eq!(place(sections, "receive", "wal"), "f:4:3");
    assert_eq!(place(sections, "archive", "archive"), "f:5:1");
    assert_eq!(place("receive: {wal: w}\n", "receive", "wal"), "f");
}

/// As it is in a ConfigMap: it must go on to work, and a text that changes restarts the receiver.
#[test]
fn what_an_operator_of_an_earlier_version_wrote_is_written_again() {
    let written = "archive: /var/lib/promarchive/archive\nlisten: 0.0.0.0:9201\nwal: /var/lib/promarchive/wal\nwalMaxBytes: 512Mi\n\
                   flushInterval: 1m\nmemoryLimit: 512Mi\nmaxPast: 30d\ntokens: /etc/promarchive/tokens\nunknownTokens: Retry\n\
                   senderLabel: sender\ntlsCert: /etc/promarchive-tls/tls.crt\ntlsKey: /etc/promarchive-tls/tls.key\n\
                   labelColumns:\n- namespace\n- pod\n";
    assert_eq!(Configuration::from_yaml("receiver.yaml", written).unwrap().to_receiver_yaml(), written);
}
