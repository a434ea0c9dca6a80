use std::path::Path;

use super::*;

const GIB: u64 = 1 << 30;

fn resolve(yaml: &str) -> Result<Settings, SettingsError> {
    Settings::resolve(Configuration::from_yaml("test", yaml).unwrap())
}

#[test]
fn an_archive_is_enough() {
    let settings = resolve("archive: ./archive").unwrap();
    assert_eq!(settings.wal, Path::new("./archive.wal"));
    assert_eq!(settings.http, HttpSettings::default());
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:9201");
    assert_eq!(settings.label_columns, None);
    assert_eq!(settings.flush_bytes, 128 * MIB);
    assert_eq!(settings.dedup_horizon, Duration::from_secs(600));
    assert_eq!(settings.wal_max_bytes, 8 * GIB);
    assert_eq!(settings.http.in_flight_bytes, 256 * MIB);
}

#[test]
fn the_wal_is_beside_the_archive() {
    for (archive, wal) in [("a", "a.wal"), ("a/", "a.wal"), ("/x/y/a", "/x/y/a.wal"), ("file:///x/a", "/x/a.wal")] {
        assert_eq!(resolve(&format!("archive: {archive}")).unwrap().wal, Path::new(wal), "{archive}");
    }
    let here = std::env::current_dir().unwrap();
    let beside = here.with_file_name(format!("{}.wal", here.file_name().unwrap().to_str().unwrap()));
    assert_eq!(resolve("archive: .").unwrap().wal, beside);
    assert!(matches!(resolve("archive: /"), Err(SettingsError::NoPlaceForWal { .. })));
}

#[test]
fn an_archive_in_a_bucket_needs_a_wal_on_this_machine() {
    let error = resolve("archive: s3://lab/a").unwrap_err();
    assert!(error.to_string().contains("name one with --wal"), "{error}");
    assert_eq!(resolve("archive: s3://lab/a\nwal: w").unwrap().wal, Path::new("w"));
}

#[test]
fn the_wal_is_never_inside_the_archive() {
    for wal in ["a", "a/wal", "./a/samples", "b/../a/x"] {
        assert!(
            matches!(resolve(&format!("archive: a\nwal: {wal}")), Err(SettingsError::WalInArchive { .. })),
            "{wal}"
        );
    }
    assert!(matches!(resolve("archive: w/a\nwal: w"), Err(SettingsError::ArchiveInWal { .. })));
    assert!(resolve("archive: a\nwal: a/../b").is_ok());
    assert!(resolve("archive: a\nwal: ab").is_ok());
}

#[test]
fn links_do_not_hide_that_the_wal_is_inside_the_archive() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    std::fs::create_dir_all(at("archive/deep/er")).unwrap();
    std::fs::create_dir_all(at("elsewhere")).unwrap();
    std::os::unix::fs::symlink(at("archive"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("archive/deep/er"), at("into")).unwrap();
    std::os::unix::fs::symlink(at("elsewhere"), at("archive/out")).unwrap();
    let check = |archive: &str, wal: &str| check_apart(&at(archive), &at(wal));
    for (archive, wal) in [
        ("archive", "link"),
        ("archive", "link/wal"),
        ("archive", "link/not/there/yet"),
        ("link", "archive/wal"),
        ("link/new", "archive/new/wal"),
        // As the kernel walks it, and not by its letters: up from where the link points to.
        ("archive", "into/../wal"),
        ("archive", "not/there/../../link/wal"),
    ] {
        assert!(matches!(check(archive, wal), Err(SettingsError::WalInArchive { .. })), "{archive} {wal}");
    }
    assert!(matches!(check("link/new/archive", "archive/new"), Err(SettingsError::ArchiveInWal { .. })));
    for (archive, wal) in [("archive", "archive/out"), ("link", "wal"), ("archive/deep", "into/../../wal")] {
        assert!(check(archive, wal).is_ok(), "{archive} {wal}");
    }
}

#[test]
fn the_horizon_grows_with_the_flush_interval() {
    assert_eq!(resolve("archive: a\nflushInterval: 10m").unwrap().dedup_horizon, Duration::from_secs(1200));
    assert_eq!(resolve("archive: a\nmemoryLimit: 256Mi").unwrap().flush_bytes, 32 * MIB);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (yaml, wants) in [
        ("wal: w", "--archive"),
        ("tlsCert: c", "tlsCert is set, but tlsKey is not"),
        ("tlsKey: c", "tlsKey is set, but tlsCert is not"),
        ("listen: 0.0.0.0:9201", "--insecure-allow-unauthenticated"),
        ("listen: '[::]:9201'", "--tokens FILE"),
        ("listen: 10.0.0.1:1\ninsecure: false", "10.0.0.1:1"),
        ("unknownTokens: Retry", "unknownTokens is Retry, but there is no tokens file"),
        ("senderLabel: sender", "senderLabel is set, but without a tokens file"),
        ("maxPast: 23h", "maxPast is 23h, but must be 1d to"),
        ("maxFuture: 23h", "maxFuture is 23h, but must be 1d to"),
        ("memoryLimit: 100Mi", "memoryLimit is 100Mi, but must be at least 256Mi"),
        ("flushBytes: 600Mi", "flushBytes is 600Mi, but must be 1 byte to 256Mi"),
        ("flushBytes: 0", "flushBytes"),
        ("maxRequestBytes: 2Gi", "maxRequestBytes is 2Gi, but must be 1Ki to 63Mi"),
        ("maxDecodedBytes: 0", "maxDecodedBytes"),
        ("walMaxBytes: 1", "walMaxBytes is 1B, but must be at least 1Mi"),
        ("flushInterval: 0s", "flushInterval is 0s, but must be 100ms to 1d"),
        ("dedupHorizon: 9m", "dedupHorizon is 9m, but must be at least 10m (two flush intervals)"),
        ("maxConnectionsPerAddress: 0", "maxConnectionsPerAddress is 0, but must be 1 to 1024"),
        ("maxConnectionsPerAddress: 1025", "maxConnectionsPerAddress is 1025, but must be 1 to 1024"),
        ("shutdownGrace: 0", "shutdownGrace"),
    ] {
        let yaml = if yaml.starts_with("wal: ") { yaml.to_owned() } else { format!("archive: a\n{yaml}") };
        let yaml = yaml.replace("shutdownGrace: 0", "shutdownGrace: 0s");
        let error = resolve(&yaml).unwrap_err().to_string();
        assert!(error.contains(wants), "{yaml}\n{error}");
    }
}

#[test]
fn listening_to_the_world_needs_tokens_or_consent() {
    for more in ["tokens: t", "insecure: true"] {
        assert!(resolve(&format!("archive: a\nlisten: 0.0.0.0:1\n{more}")).is_ok(), "{more}");
    }
    for listen in ["127.0.0.1:1", "127.9.9.9:1", "'[::1]:1'", "'[::ffff:127.0.0.1]:1'"] {
        assert!(resolve(&format!("archive: a\nlisten: {listen}")).is_ok(), "{listen}");
    }
}
