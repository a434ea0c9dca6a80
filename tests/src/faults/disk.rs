//! What a power cut leaves. The method is that of ALICE (Pillai and others, "All File Systems Are Not Created Equal", OSDI 2014) and
//! CrashMonkey (Mohan and others, "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018): record what the
//! program does to its files, and make from that the states in which a disk may be when power fails.
//!
//! Certain is only what a sync has made so: a file's content by a sync of the file, names in a directory by a sync of the directory,
//! both as they were when the sync began, from when it has succeeded. All else survives or not, each change for itself, and a write perhaps
//! in part. That is what POSIX leaves open, and more than a given file system does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::ledger::Random;

/// A file, by its index in the order in which files were created.
type File = usize;

#[derive(Clone, Debug)]
enum Content {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

/// A change of the names in one directory; full paths below the root.
#[derive(Clone, Debug)]
enum Names {
    Directory(String),
    File { name: String, file: File },
    Rename { from: String, to: String, file: File },
    Remove(String),
}

#[derive(Clone, Debug)]
enum Target {
    File(File),
    Directory(String),
}

#[derive(Clone, Debug)]
enum Event {
    Content(File, Content),
    Names {
        directory: String,
        change: Names,
    },
    /// A sync begins.
    Begin(String, Target),
    /// It has succeeded.
    End(String),
    /// A 204 is about to be sent.
    Acknowledge,
}

/// What a sync is for, by the kind of what it is called on: to pretend that the program does not do it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    /// Of files that were created under a path that contains this.
    File(&'static str),
    /// Of directories whose own name begins like this.
    Directory(&'static str),
}

/// What survives of what is not certain.
#[derive(Debug)]
pub enum Survival<'a> {
    /// Nothing.
    Nothing,
    /// Everything, as when only the process is killed.
    Everything,
    /// Chance decides.
    Chance(&'a mut Random),
}

/// Everything that a program did to the files below a directory, in order.
#[derive(Debug, Default)]
pub struct Journal {
    events: Vec<Event>,
    /// The path under which each file was created.
    created: Vec<String>,
}

/// Files and directories that a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leftover {
    directories: BTreeSet<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Leftover {
    /// Writes it into an empty directory.
    pub fn write_to(&self, root: &Path) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| fs::create_dir_all(root.join(directory)))?;
        self.files.iter().try_for_each(|(path, content)| fs::write(root.join(path), content))
    }

    /// Reads a directory. A socket has nothing in it, and the journal does not know it.
    pub fn read_from(root: &Path) -> io::Result<Self> {
        let (mut found, mut open) = (Self::default(), vec![root.to_path_buf()]);
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                if path.is_dir() {
                    found.directories.insert(name);
                    open.push(path);
                } else if !fs::symlink_metadata(&path)?.file_type().is_socket() {
                    found.files.insert(name, fs::read(path)?);
                }
            }
        }
        Ok(found)
    }

    /// Without the files whose names end like this.
    pub fn without(mut self, end: &str) -> Self {
        self.files.retain(|path, _| !path.ends_with(end));
        self
    }

    /// Where two differ, for a message.
    pub fn difference(&self, other: &Self) -> String {
        let length = |files: &BTreeMap<String, Vec<u8>>, path: &String| files.get(path).map(Vec::len);
        let paths: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        let differ = paths.into_iter().filter(|path| self.files.get(*path) != other.files.get(*path));
        let told = differ
            .map(|path| format!("{path}: {:?} and {:?} bytes", length(&self.files, path), length(&other.files, path)));
        let directories = self.directories.symmetric_difference(&other.directories).cloned();
        told.chain(directories).collect::<Vec<_>>().join("; ")
    }
}

fn directory_of(path: &str) -> String {
    path.rsplit_once('/').map_or(".", |(directory, _)| directory).to_owned()
}

impl Journal {
    /// Reads what `file_calls.c` has written. A line that it does not know is an error: nothing is left out.
    pub fn parse(mut text: &[u8]) -> Result<Self, String> {
        let mut journal = Self::default();
        let mut inodes: HashMap<u64, File> = HashMap::new();
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = text.split_at(end);
            let line = String::from_utf8_lossy(line).into_owned();
            text = rest.get(1..).unwrap_or_default();
            let unknown = || format!("journal: {line}");
            let words: Vec<&str> = line.split(' ').collect();
            let number = |word: &str| word.parse::<u64>().map_err(|_| unknown());
            let file = |inodes: &HashMap<u64, File>, inode: &str| {
                inodes.get(&number(inode)?).copied().ok_or_else(|| format!("journal: {line}: an unknown file"))
            };
            let event = match words[..] {
                ["create", inode, path] => {
                    let file = journal.created.len();
                    inodes.insert(number(inode)?, file);
                    journal.created.push(path.to_owned());
                    names(path, Names::File { name: path.to_owned(), file })
                }
                ["write", inode, offset, count] => {
                    let (offset, count) = (number(offset)? as usize, number(count)? as usize);
                    let (bytes, rest) = text.split_at_checked(count).ok_or_else(unknown)?;
                    text = rest;
                    Event::Content(file(&inodes, inode)?, Content::Write { offset, bytes: bytes.to_vec() })
                }
                ["truncate", inode, length] => {
                    Event::Content(file(&inodes, inode)?, Content::Truncate { length: number(length)? as usize })
                }
                ["link", inode, _, path] => {
                    names(path, Names::File { name: path.to_owned(), file: file(&inodes, inode)? })
                }
                ["rename", inode, from, to] if directory_of(from) == directory_of(to) => {
                    let (from, to_name) = (from.to_owned(), to.to_owned());
                    names(to, Names::Rename { from, to: to_name, file: file(&inodes, inode)? })
                }
                ["unlink", path] => names(path, Names::Remove(path.to_owned())),
                ["mkdir", path] => names(path, Names::Directory(path.to_owned())),
                ["begin", sync, "file", inode] => Event::Begin(sync.to_owned(), Target::File(file(&inodes, inode)?)),
                ["begin", sync, "directory", path] => Event::Begin(sync.to_owned(), Target::Directory(path.to_owned())),
                ["end", sync] => Event::End(sync.to_owned()),
                ["acknowledge"] => Event::Acknowledge,
                _ => return Err(unknown()),
            };
            journal.events.push(event);
        }
        Ok(journal)
    }

    /// How many events there are: moments at which power may fail are 0 to this, each before the event of its number.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many answers 204 were sent, or about to be, before a moment.
    pub fn acknowledged_before(&self, moment: usize) -> usize {
        self.events.iter().take(moment).filter(|event| matches!(event, Event::Acknowledge)).count()
    }

    /// The moments right behind the events that change what is certain or owed: successful syncs and answers.
    pub fn turning_points(&self) -> Vec<usize> {
        let turns = |event: &Event| matches!(event, Event::End(_) | Event::Acknowledge);
        (0..self.len()).filter(|&at| self.events.get(at).is_some_and(turns)).map(|at| at + 1).collect()
    }

    /// The moments right behind the removal of a file whose path contains `part`.
    pub fn removals_of(&self, part: &str) -> Vec<usize> {
        let removes =
            |event: &Event| matches!(event, Event::Names { change: Names::Remove(path), .. } if path.contains(part));
        (0..self.len()).filter(|&at| self.events.get(at).is_some_and(removes)).map(|at| at + 1).collect()
    }

    /// What the disk holds if power fails at `moment`. Syncs of the kinds in `ignored` count for nothing.
    pub fn left_at(&self, moment: usize, mut survival: Survival<'_>, ignored: &[SyncKind]) -> Leftover {
        let certain = self.certain_at(moment, ignored);
        let mut contents: Vec<Vec<u8>> = vec![Vec::new(); self.created.len()];
        let mut names: BTreeMap<String, Option<File>> = BTreeMap::new();
        for (at, event) in self.events.iter().take(moment).enumerate() {
            let survives = certain.contains(&at) || survival.spares();
            match event {
                Event::Content(file, change) => {
                    if let Some(content) = contents.get_mut(*file) {
                        match survives {
                            true => change.apply(content, None),
                            false => change.apply(content, survival.torn()),
                        }
                    }
                }
                Event::Names { change, .. } if survives => change.apply(&mut names),
                _ => {}
            }
        }
        standing(&names, &contents)
    }

    /// The events before `moment` that a sync has made certain.
    fn certain_at(&self, moment: usize, ignored: &[SyncKind]) -> BTreeSet<usize> {
        let mut certain = BTreeSet::new();
        let mut begun: HashMap<&str, (usize, &Target)> = HashMap::new();
        for (at, event) in self.events.iter().take(moment).enumerate() {
            match event {
                Event::Begin(sync, target) => drop(begun.insert(sync, (at, target))),
                Event::End(sync) => {
                    let Some((since, target)) = begun.remove(sync.as_str()) else { continue };
                    if !ignored.iter().any(|kind| self.is_of(target, kind)) {
                        let covered =
                            (0..since).filter(|&at| self.events.get(at).is_some_and(|event| covers(target, event)));
                        certain.extend(covered);
                    }
                }
                _ => {}
            }
        }
        certain
    }

    fn is_of(&self, target: &Target, kind: &SyncKind) -> bool {
        match (target, kind) {
            (Target::File(file), SyncKind::File(part)) => {
                self.created.get(*file).is_some_and(|path| path.contains(part))
            }
            (Target::Directory(path), SyncKind::Directory(start)) => {
                path.rsplit('/').next().is_some_and(|name| name.starts_with(start))
            }
            _ => false,
        }
    }
}

fn names(path: &str, change: Names) -> Event {
    Event::Names { directory: directory_of(path), change }
}

fn covers(target: &Target, event: &Event) -> bool {
    match (target, event) {
        (Target::File(synced), Event::Content(file, _)) => synced == file,
        (Target::Directory(synced), Event::Names { directory, .. }) => synced == directory,
        _ => false,
    }
}

impl Content {
    /// All of it, or so many thousandths of a write.
    fn apply(&self, content: &mut Vec<u8>, part: Option<u64>) {
        match self {
            Self::Write { offset, bytes } => {
                let count = part.map_or(bytes.len(), |part| bytes.len() * part as usize / 1000);
                let end = offset + count;
                if count > 0 && content.len() < end {
                    content.resize(end, 0);
                }
                if let (Some(to), Some(bytes)) = (content.get_mut(*offset..end), bytes.get(..count)) {
                    to.copy_from_slice(bytes);
                }
            }
            Self::Truncate { length } if part.is_none() => content.resize(*length, 0),
            Self::Truncate { .. } => {}
        }
    }
}

impl Names {
    fn apply(&self, names: &mut BTreeMap<String, Option<File>>) {
        match self {
            Self::Directory(name) => drop(names.insert(name.clone(), None)),
            Self::File { name, file } => drop(names.insert(name.clone(), Some(*file))),
            Self::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), Some(*file));
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl Survival<'_> {
    fn spares(&mut self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Chance(random) => random.percent(50),
        }
    }

    /// How much of a write that does not survive whole is there, in thousandths.
    fn torn(&mut self) -> Option<u64> {
        match self {
            Self::Chance(random) => Some(if random.percent(50) { random.below(1000) } else { 0 }),
            Self::Nothing | Self::Everything => Some(0),
        }
    }
}

/// What can be reached: a name in a directory that is not there is gone with it.
fn standing(names: &BTreeMap<String, Option<File>>, contents: &[Vec<u8>]) -> Leftover {
    let mut left = Leftover::default();
    // In the order of paths a directory comes before what is in it.
    for (path, file) in names {
        let directory = directory_of(path);
        if directory != "." && !left.directories.contains(&directory) {
            continue;
        }
        match file {
            None => drop(left.directories.insert(path.clone())),
            Some(file) => drop(left.files.insert(path.clone(), contents.get(*file).cloned().unwrap_or_default())),
        }
    }
    left
}
