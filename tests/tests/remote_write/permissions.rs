//! Who may read the files that a receiver makes.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use promarchive_model::Protocol::V2;
use promarchive_tests::program::Receiver;
use promarchive_tests::request::{Request, Series};

use crate::T;

/// The permissions of directories and of files below this one, itself included; what is promarchive's own business left out.
fn permissions(root: &Path) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut directories, mut files) = (BTreeSet::new(), BTreeSet::new());
    let mut left = vec![root.to_path_buf()];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let mode = found.permissions().mode() & 0o777;
        if found.is_dir() {
            directories.insert(mode);
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.file_name().unwrap().to_str().unwrap().starts_with(".promarchive.") {
            files.insert(mode);
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    (directories, files)
}

/// What the receivers of these tests inherit, whatever the tests were started with.
fn usual_umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}

fn only(mode: u32) -> BTreeSet<u32> {
    BTreeSet::from([mode])
}

#[test]
fn others_cannot_read_the_wal_nor_the_archive_unless_it_is_said_so() {
    usual_umask();
    for (flags, directories, files) in [
        (&[][..], 0o750, 0o640),
        (&["--archive-access", "owner"], 0o700, 0o600),
        (&["--archive-access", "group"], 0o750, 0o640),
        (&["--archive-access", "everyone"], 0o755, 0o644),
    ] {
        let receiver = Receiver::start(flags);
        receiver.write(V2, &Request::of([Series::metric("up").sample(T, 1.0)]));
        receiver.flush();
        receiver.write(V2, &Request::of([Series::metric("up").sample(T + 1, 1.0)]));
        assert_eq!(permissions(&receiver.archive()), (only(directories), only(files)), "{flags:?}");
        assert_eq!(permissions(&receiver.archive().with_extension("wal")), (only(0o700), only(0o600)), "{flags:?}");
        assert!(!receiver.log().contains("WARN"), "{}", receiver.log());
    }
}

#[test]
fn directories_that_are_there_keep_their_permissions_and_an_open_wal_is_told() {
    usual_umask();
    let directory = tempfile::tempdir().unwrap();
    for name in ["archive", "archive.wal"] {
        DirBuilder::new().mode(0o755).create(directory.path().join(name)).unwrap();
    }
    let receiver = Receiver::start_in(directory, &[], &[]);
    receiver.write(V2, &Request::of([Series::metric("up").sample(T, 1.0)]));
    receiver.flush();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let wal = receiver.archive().with_extension("wal");
    assert_eq!((mode(&receiver.archive()), mode(&wal)), (0o755, 0o755));
    assert_eq!(permissions(&wal).1, only(0o600));
    assert_eq!(permissions(&receiver.archive().join("samples")), (only(0o750), only(0o640)));
    assert!(receiver.log().contains("chmod o-rwx"), "{}", receiver.log());
}
