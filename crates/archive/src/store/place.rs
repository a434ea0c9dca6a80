//! Which directory can hold an archive, and which tools can read it there.

use std::io;
use std::path::{Component, Path, PathBuf};

use object_store::path::Path as StorePath;
use url::Url;

/// The absolute path. A `..` leads out of the directory that the path before it names, links followed.
pub fn without_parents(path: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    if !whole.components().any(|component| component == Component::ParentDir) {
        return Ok(whole);
    }
    let mut directory = PathBuf::new();
    for component in whole.components() {
        if component == Component::ParentDir {
            // What does not exist yet is no link.
            directory = directory.canonicalize().unwrap_or(directory);
            directory.pop();
        } else {
            directory.push(component);
        }
    }
    Ok(directory)
}

/// Why no archive can be in this directory; the path is absolute, without `..`.
pub(crate) fn fault(directory: &Path) -> Option<&'static str> {
    let Some(text) = directory.to_str() else { return Some("the path is not UTF-8; choose another name") };
    // The Delta kernel decodes the URLs of listed files once more.
    let escape =
        |bytes: &[u8]| matches!(bytes, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    if text.contains('\\') {
        return Some("the path contains a backslash, which would be read as a slash; choose another name");
    }
    if text.chars().any(char::is_control) {
        return Some("the path contains a control character, such as a tab or a line feed; choose another name");
    }
    if text.as_bytes().windows(3).any(escape) {
        return Some(
            "the path contains % followed by two hexadecimal digits, which would be decoded to another path; choose \
             another name",
        );
    }
    (!is_listed_as_itself(directory)).then_some("the path changes when it is written as a URL; choose another name")
}

/// Whether a file below the directory is found again by the URL that a listing makes of its path in the store.
fn is_listed_as_itself(directory: &Path) -> bool {
    let Ok(path) = StorePath::from_absolute_path(directory) else { return false };
    let Ok(mut url) = Url::from_directory_path(directory) else { return false };
    url.set_path(&format!("/{path}"));
    url.to_file_path().is_ok_and(|found| found == directory)
}

/// What in the path some readers of Delta tables stumble over, for people: Polars (2.1) and Daft decode URLs one time too few, and take
/// `x=y` for a partition.
pub(crate) fn hurdle_for_readers(directory: &Path) -> Option<String> {
    let text = directory.to_string_lossy();
    let encoded = |character: &char| !character.is_ascii() || " \"#<>?`{}%=".contains(*character);
    let mut found: Vec<char> = text.chars().filter(encoded).collect();
    found.sort_unstable();
    found.dedup();
    let named: Vec<String> = found.into_iter().map(|character| format!("'{character}'")).collect();
    (!named.is_empty()).then(|| named.join(" "))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn parents_are_taken_out_as_the_system_would() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("real/inner")).unwrap();
        symlink(root.join("real/inner"), root.join("link")).unwrap();
        for (given, wants) in [
            ("link/../archive", "real/archive"),
            ("real/../archive", "archive"),
            ("new/../archive", "archive"),
            ("real/./inner/../../archive/", "archive"),
            ("link/archive", "link/archive"),
        ] {
            assert_eq!(without_parents(&root.join(given)).unwrap(), root.join(wants), "{given}");
        }
        assert_eq!(without_parents(Path::new("/../../a")).unwrap(), Path::new("/a"));
    }

    #[test]
    fn what_would_be_another_path_is_refused() {
        for (directory, wants) in [
            ("/a\\b/archive", "backslash"),
            ("/a\tb/archive", "control character"),
            ("/a\nb", "control character"),
            ("/a%41/archive", "hexadecimal"),
            ("/C|/a", "written as a URL"),
        ] {
            assert!(fault(Path::new(directory)).unwrap().contains(wants), "{directory:?}");
        }
        for directory in ["/a b/c", "/a#b", "/a{b}", "/ü", "/x=y", "/a%b", "/a?b", "/C:/a", "/~/a", "/a'\"b"] {
            assert_eq!(fault(Path::new(directory)), None, "{directory}");
        }
    }

    #[test]
    fn hurdles_are_named_once_each() {
        assert_eq!(hurdle_for_readers(Path::new("/data/A-z_0.9+,@:;!$&'()*~^|[]/archive")), None);
        assert_eq!(hurdle_for_readers(Path::new("/my data/a b/x=y/ü#")).as_deref(), Some("' ' '#' '=' 'ü'"));
    }
}
