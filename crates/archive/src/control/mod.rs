//! Control records: what processes that work on one archive leave for each other beside the tables.
//!
//! ```text
//! _promarchive/<kind>/<subject>/<number, 20 digits>.json
//!
//!   {"kind":"horizon","number":7,"time":1764500000000,"record":{…}}    the record
//!   {"xxh3":"<32 hexadecimal digits>"}                                 XXH3-128 of the line above, without its end
//! ```
//!
//! A record is put if no other has its number, and is never changed. The one with the highest number counts; who puts it removes older ones.
//! So a store needs nothing but a conditional put, and one that allows few writes a second to a name, as Google's does, is enough. A record
//! that was changed or cut off is an error that names it. Users read about them in `docs/reference/control-records.md`.

mod horizon;
mod proved;

use std::marker::PhantomData;

pub use horizon::Horizon;
use promarchive_model::chain;
pub use proved::Proved;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::file::checksum;
use crate::log::{LogError, Put};
use crate::store::{Root, Store};

/// The directory of the records in an archive.
pub const CONTROL_DIRECTORY: &str = "_promarchive";

/// The most that a record may have, in bytes.
pub const MOST_BYTES: u64 = 1 << 20;
/// Old records that one [`Records::trim`] removes. A process leaves one or two; thousands can only be somebody else's, and nobody is to wait for
/// them.
const MOST_REMOVED: usize = 64;
const ADVICE: &str = "remove it: promarchive writes a new one when needed";

/// What a record says.
pub trait Record: Serialize + DeserializeOwned {
    /// The directory of its kind.
    const KIND: &'static str;
}

/// A record as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<R> {
    kind: String,
    /// Its number: one more than the one before.
    pub number: u64,
    /// When it was put, milliseconds since the epoch.
    pub time: i64,
    /// What it says.
    pub record: R,
}

#[derive(Serialize, Deserialize)]
struct Checksum {
    xxh3: String,
}

/// The records of one kind about one subject.
#[derive(Clone, Debug)]
pub struct Records<R> {
    root: Root,
    subject: String,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Records<R> {
    /// Those about `subject`, a name of letters, digits, `-` and `_`.
    pub fn about(store: &Store, subject: &str) -> Self {
        Self { root: store.root_of(CONTROL_DIRECTORY), subject: subject.to_owned(), record: PhantomData }
    }

    fn directory(&self) -> String {
        format!("{}/{}", R::KIND, self.subject)
    }

    fn name(&self, number: u64) -> String {
        format!("{}/{number:020}.json", self.directory())
    }

    /// The numbers that are there, in order.
    async fn numbers(&self) -> Result<Vec<u64>, LogError> {
        let names = self.root.names_in(&self.directory()).await?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number of the newest one; none if there is none.
    pub async fn newest_number(&self) -> Result<Option<u64>, LogError> {
        Ok(self.numbers().await?.pop())
    }

    /// The newest one; none if there is none.
    pub async fn newest(&self) -> Result<Option<Numbered<R>>, LogError> {
        // Who puts a newer one removes this one: look again.
        for _ in 0..3 {
            let Some(number) = self.newest_number().await? else { return Ok(None) };
            let name = self.name(number);
            let Some(bytes) = self.root.read_at_most(&name, MOST_BYTES).await? else { continue };
            let refused = |problem: String| LogError::Refused {
                place: self.root.name_of(&name),
                problem: format!("the control record {problem}"),
                advice: ADVICE,
            };
            let found = parse::<R>(&bytes).map_err(refused)?;
            if found.number != number || found.kind != R::KIND {
                return Err(refused("belongs to another path".to_owned()));
            }
            return Ok(Some(found));
        }
        Err(LogError::Store {
            place: self.root.name_of(&self.directory()),
            cause: "the control records keep changing while they are read".into(),
        })
    }

    /// Puts a record under a number that is one more than the newest; [`Put::Taken`] if another has it by now. It is durable when this returns.
    pub async fn put(&self, number: u64, time: i64, record: R) -> Result<Put, LogError> {
        let numbered = Numbered { kind: R::KIND.to_owned(), number, time, record };
        let text = text(&numbered).map_err(|cause| LogError::Store { place: self.name(number), cause })?;
        let name = self.name(number);
        let put = self.root.put_if_absent(&name, text.into()).await?;
        // A process that was killed may have left new directories behind whose names are not durable.
        self.root.sync_directory_of(&name).await?;
        Ok(put)
    }

    /// Removes those before `number`, the oldest first. If there are more than [`MOST_REMOVED`], or one cannot be removed now, the next call
    /// goes on.
    pub async fn trim(&self, number: u64) -> Result<(), LogError> {
        for old in self.numbers().await?.into_iter().filter(|&old| old < number).take(MOST_REMOVED) {
            self.root.delete(&self.name(old)).await?;
        }
        Ok(())
    }
}

/// About whom there are records of a kind.
pub async fn subjects<R: Record>(store: &Store) -> Result<Vec<String>, LogError> {
    store.root_of(CONTROL_DIRECTORY).directories_in(R::KIND).await
}

/// What is wrong with an object below the directory of the control records; none if it is a record that this version can read, or one of a kind
/// of a later version that is whole.
pub fn fault(path: &str, bytes: &[u8]) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let number = if let [_, _, name] = parts.as_slice() { number_of(name) } else { None };
    match (number, parse::<serde_json::Value>(bytes)) {
        (None, _) => Some("has an invalid file name".to_owned()),
        (_, Err(problem)) => Some(problem),
        (Some(number), Ok(found)) => {
            let kind = path.split('/').next() == Some(found.kind.as_str());
            (number != found.number || !kind).then(|| "belongs to another path".to_owned())
        }
    }
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    digits.parse().ok().filter(|_| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn text<R: Serialize>(record: &Numbered<R>) -> Result<String, String> {
    let line = serde_json::to_string(record).map_err(|e| e.to_string())?;
    let sum = Checksum { xxh3: format!("{:032x}", checksum(line.as_bytes())) };
    let sum = serde_json::to_string(&sum).map_err(|e| e.to_string())?;
    Ok(format!("{line}\n{sum}\n"))
}

fn parse<R: DeserializeOwned>(bytes: &[u8]) -> Result<Numbered<R>, String> {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let (Some(line), Some(sum)) = (lines.next(), lines.next()) else { return Err("is cut off".to_owned()) };
    let sum: Checksum = serde_json::from_slice(sum).map_err(|_| "is cut off".to_owned())?;
    if sum.xxh3 != format!("{:032x}", checksum(line)) {
        return Err("does not match its checksum".to_owned());
    }
    serde_json::from_slice(line).map_err(|e| format!("cannot be parsed: {}", chain(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Location;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Note(String);

    impl Record for Note {
        const KIND: &'static str = "note";
    }

    fn stores() -> (tempfile::TempDir, [Store; 2]) {
        let directory = tempfile::tempdir().unwrap();
        let memory = std::sync::Arc::new(object_store::memory::InMemory::new());
        let on_disk = Store::open(Location::at(directory.path()).unwrap()).unwrap();
        (directory, [on_disk, Store::over(Location::in_memory().unwrap(), memory)])
    }

    #[tokio::test]
    async fn the_newest_record_counts_and_older_ones_go() {
        let (_directory, stores) = stores();
        for store in stores {
            let records = Records::<Note>::about(&store, "a");
            assert_eq!(records.newest().await.unwrap(), None);
            assert_eq!(subjects::<Note>(&store).await.unwrap(), Vec::<String>::new());
            for number in 1..=3 {
                let note = Note(format!("{number}"));
                assert_eq!(records.put(number, 5, note.clone()).await.unwrap(), Put::Done);
                // The same again is the same record.
                assert_eq!(records.put(number, 5, note).await.unwrap(), Put::Done);
                assert_eq!(records.put(number, 6, Note("other".into())).await.unwrap(), Put::Taken);
            }
            let newest = records.newest().await.unwrap().unwrap();
            assert_eq!((newest.number, newest.time, newest.record), (3, 5, Note("3".into())));
            records.trim(3).await.unwrap();
            assert_eq!(records.numbers().await.unwrap(), [3]);
            Records::<Note>::about(&store, "b").put(1, 5, Note("b".into())).await.unwrap();
            assert_eq!(subjects::<Note>(&store).await.unwrap(), ["a", "b"]);
        }
    }

    #[tokio::test]
    async fn nobody_waits_until_thousands_of_old_records_are_gone() {
        let (directory, [store, _]) = stores();
        let records = Records::<Note>::about(&store, "a");
        records.put(1000, 5, Note("newest".into())).await.unwrap();
        for number in 0..2 * MOST_REMOVED {
            std::fs::write(directory.path().join(format!("_promarchive/note/a/{number:020}.json")), "").unwrap();
        }
        for left in [MOST_REMOVED, 0] {
            records.trim(1000).await.unwrap();
            assert_eq!(records.numbers().await.unwrap().len(), left + 1);
        }
        assert_eq!(records.newest().await.unwrap().unwrap().record, Note("newest".into()));
    }

    #[tokio::test]
    async fn a_record_that_is_not_whole_is_refused_by_name() {
        let (directory, [store, _]) = stores();
        let records = Records::<Note>::about(&store, "a");
        records.put(1, 5, Note("text".into())).await.unwrap();
        let file = directory.path().join("_promarchive/note/a/00000000000000000001.json");
        let whole = std::fs::read_to_string(&file).unwrap();
        let longest = usize::try_from(MOST_BYTES).unwrap();
        for (text, problem) in [
            (whole.replace("text", "test"), "match its checksum"),
            (whole[..whole.len() - 5].to_owned(), "cut off"),
            (String::new(), "cut off"),
            (" ".repeat(longest + 1), "but at most"),
            (
                text(&Numbered { kind: "note".into(), number: 2, time: 5, record: Note("x".into()) }).unwrap(),
                "another path",
            ),
            (text(&Numbered { kind: "note".into(), number: 1, time: 5, record: 7 }).unwrap(), "cannot be parsed"),
        ] {
            std::fs::write(&file, &text).unwrap();
            let error = records.newest().await.unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(file.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn what_is_no_record_is_told() {
        let whole = text(&Numbered { kind: "note".into(), number: 1, time: 5, record: Note("x".into()) }).unwrap();
        assert_eq!(fault("note/a/00000000000000000001.json", whole.as_bytes()), None);
        for path in [
            "note/a/b/00000000000000000001.json",
            "note/a/1.json",
            "note/a/00000000000000000002.json",
            "other/a/00000000000000000001.json",
        ] {
            assert!(fault(path, whole.as_bytes()).is_some(), "{path}");
        }
        assert!(fault("note/a/00000000000000000001.json", b"{}").is_some());
    }
}
