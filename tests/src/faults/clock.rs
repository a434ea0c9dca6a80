//! A clock that a test sets, below the real program.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::preload::library;

/// The time of day of the programs that are started with its environment.
#[derive(Debug)]
pub struct SettableClock {
    file: PathBuf,
}

impl SettableClock {
    /// It is the real one until it is set. The file must not be there yet; its directory must.
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// What a program is to be started with.
    ///
    /// # Panics
    /// Without a C compiler.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", library("clock").display().to_string()), ("CLOCK", self.file.display().to_string())]
    }

    /// It stands still at these milliseconds since 1970.
    pub fn set(&self, ms: i64) -> io::Result<()> {
        // In one step: a reader never sees half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, ms.to_string())?;
        fs::rename(new, &self.file)
    }

    /// It is the real one again.
    pub fn unset(&self) -> io::Result<()> {
        fs::remove_file(&self.file)
    }
}
