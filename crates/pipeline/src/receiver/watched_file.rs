//! Reading a file that is looked at again and again: tokens, certificate, key.
//!
//! Whoever can change such a file must not be able to stop the looking: a named pipe would hold up the reader for good, and what was
//! taken back in the file would stay in force. Links are followed: Kubernetes mounts a Secret's files as links.

use std::io::{self, Read};
use std::path::Path;

use promarchive_directory::{Unreadable, open_to_read};

/// The most that such a file may hold.
const MOST_BYTES: u64 = 1 << 20;

/// The whole file. Blocks, and never for long.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (file, _) = open_to_read(path).map_err(|unreadable| match unreadable {
        Unreadable::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidInput, other),
    })?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the file has more than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_plain_files_of_a_bounded_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let error = |name: &str| read(&at(name)).unwrap_err().to_string();
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read(&at("link")).unwrap(), b"text");
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        for name in ["pipe", "device", "."] {
            assert!(error(name).contains("not a regular file"), "{name}");
        }
        File::create(at("large")).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(error("large").contains("more than 1048576 bytes"));
        assert!(error("missing").contains("No such file"));
    }
}
