//! The library that stands between the program and the C library: compiled once, and told what to do by its environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::preload::library;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It fails with this errno, and nothing is done.
    Error(i32),
    /// It is done, and fails with this errno all the same.
    After(i32),
    /// It writes half of what it is given.
    Half,
    /// It takes so many milliseconds longer.
    Slow(u32),
    /// It is done, and the process is killed.
    Kill,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(number) => write!(f, "error {number}"),
            Self::After(number) => write!(f, "after {number}"),
            Self::Half => f.write_str("half"),
            Self::Slow(ms) => write!(f, "slow {ms}"),
            Self::Kill => f.write_str("kill"),
        }
    }
}

/// A kind of call on a kind of file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// `sync`, `write`, `create`, … as in `file_calls.c`.
    pub name: String,
    /// Paths below the root, with `*` for what differs from run to run.
    pub paths: String,
}

impl Call {
    /// A kind of call on the files that match.
    pub fn new(name: &str, paths: &str) -> Self {
        Self { name: name.to_owned(), paths: paths.to_owned() }
    }

    /// From a line of the notes.
    fn of_note(note: &str) -> Option<Self> {
        let (name, path) = note.strip_prefix("! ").unwrap_or(note).split_once(' ')?;
        Some(Self { name: name.to_owned(), paths: kind_of(path) })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.paths)
    }
}

/// The path with `*` for the table's name and for every number in it: what is done for one table is done for each.
fn kind_of(path: &str) -> String {
    const TABLES: [&str; 4] = ["samples", "histograms", "exemplars", "metadata"];
    let differs = |word: &str| TABLES.contains(&word) || word.contains(|character: char| character.is_ascii_digit());
    let words = path.split_inclusive(|character: char| !character.is_alphanumeric() && character != '_');
    let kind = |word: &str| {
        let end = word.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(word.len());
        let (word, separator) = word.split_at(end);
        format!("{}{separator}", if differs(word) { "*" } else { word })
    };
    words.map(kind).collect()
}

/// The calls of a run and how often each came, from its notes.
pub fn calls_of(notes: &str) -> BTreeMap<Call, u64> {
    let mut calls = BTreeMap::new();
    for call in notes.lines().filter_map(Call::of_note) {
        *calls.entry(call).or_default() += 1;
    }
    calls
}

/// Calls that fare badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind.
    pub call: Call,
    /// The first that is struck, from 1.
    pub first: u64,
    /// The last; none: all from the first on.
    pub last: Option<u64>,
    /// What becomes of them.
    pub action: Action,
}

impl Fault {
    /// One call, the n-th of its kind.
    pub fn once(call: Call, nth: u64, action: Action) -> Self {
        Self { call, first: nth, last: Some(nth), action }
    }

    /// All calls of a kind.
    pub fn always(call: Call, action: Action) -> Self {
        Self { call, first: 1, last: None, action }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, first, last, action } = self;
        write!(f, "{call} {first} {} {action}", last.unwrap_or(0))
    }
}

/// A run's faults, notes and journal.
#[derive(Debug)]
pub struct FaultyCalls {
    notes: PathBuf,
    journal: Option<PathBuf>,
    environment: Vec<(&'static str, OsString)>,
}

impl FaultyCalls {
    /// Calls on files below `root` (which holds nothing else that matters), with notes beside it under `name`.
    ///
    /// # Panics
    /// Without a C compiler.
    pub fn new(root: &Path, name: &str, faults: &[Fault]) -> Self {
        let notes = root.with_file_name(format!("{name}.notes"));
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let environment = vec![
            ("LD_PRELOAD", library("file_calls").into()),
            ("FAULT_ROOT", root.into()),
            ("FAULT_NOTES", notes.clone().into()),
            ("FAULTS", faults.join("\n").into()),
        ];
        Self { notes, journal: None, environment }
    }

    /// With a journal, which goes on where an earlier run's of the same file ended.
    pub fn with_journal(mut self, file: PathBuf) -> Self {
        self.environment.push(("FAULT_JOURNAL", file.clone().into()));
        self.journal = Some(file);
        self
    }

    /// What the program is to be started with.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        self.environment.clone()
    }

    /// The notes of all calls so far.
    pub fn notes(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.notes).unwrap_or_default()).into_owned()
    }

    /// The calls that were struck so far.
    pub fn struck(&self) -> BTreeMap<Call, u64> {
        let notes = self.notes();
        calls_of(&notes.lines().filter(|note| note.starts_with("! ")).collect::<Vec<_>>().join("\n"))
    }
}
