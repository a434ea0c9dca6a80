//! The libraries that stand between the program and the C library: each compiled once for a test program.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;

/// The library made of the C file of this name, beside this one.
pub(super) fn library(name: &'static str) -> PathBuf {
    static DIRECTORY: OnceLock<TempDir> = OnceLock::new();
    static LIBRARIES: Mutex<Option<HashMap<&str, PathBuf>>> = Mutex::new(None);
    let directory = DIRECTORY.get_or_init(|| tempfile::tempdir().expect("a temporary directory"));
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    libraries.get_or_insert_default().entry(name).or_insert_with(|| compile(name, directory.path())).clone()
}

fn compile(name: &str, directory: &Path) -> PathBuf {
    let library = directory.join(format!("{name}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/faults/{name}.c"));
    let mut command = Command::new("cc");
    command.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    let status = command.status().unwrap_or_else(|error| {
        panic!("cannot start cc: {error}. On Debian or Ubuntu: sudo apt-get install build-essential")
    });
    assert!(status.success(), "{command:?}: {status}");
    library
}
