//! What a store can do of all that an archive needs of it, for people who want to know before they use it.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use promarchive_model::environment::Entropy;

use super::scratch::Scratch;
use super::{Effort, ProbeError, Store};
use crate::log::LogError;
use crate::store::diagnosis;

const FIRST: &str = "promarchive check-store";
const SECOND: &str = "replaced";

/// One thing that an archive needs, and whether the store can do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A stable word for it.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// Why not, if the store cannot do it.
    pub result: Result<(), String>,
}

/// Tries all of it, and removes what was put. A store to which nothing can be put is asked for nothing else.
pub async fn examine(store: &Store, effort: Effort, entropy: &dyn Entropy) -> Vec<Check> {
    let mut scratch = Scratch::new(store, entropy);
    let name = scratch.name("object");
    let mut checks = Vec::new();
    let mut add = |name, what, result: Result<(), String>| {
        let works = result.is_ok();
        checks.push(Check { name, what, result });
        works
    };
    if add("put", "an object is put, and read as it was put", put_and_read(&scratch, &name, FIRST).await) {
        add("range", "a part of an object is read", range(&scratch, &name).await);
        add("list", "an object is listed as soon as it is there", list(&scratch).await);
        add("replace", "an object is replaced, and the new one is read", put_and_read(&scratch, &name, SECOND).await);
        let in_turn = scratch.in_turn().await;
        if add("conditional-put", "of two puts of one name, one after the other, one succeeds", told(in_turn)) {
            let at_once = scratch.at_once(effort).await;
            add("conditional-put-race", "of many puts of one name at the same time, one succeeds", told(at_once));
        }
        add("delete", "objects are deleted", scratch.remove().await);
    } else {
        // It may be there all the same.
        scratch.clear().await;
    }
    checks
}

fn told(proved: Result<(), ProbeError>) -> Result<(), String> {
    proved.map_err(|error| match error {
        ProbeError::Weak { weakness, .. } => weakness.to_string(),
        ProbeError::Log(error) => error.to_string(),
    })
}

async fn put_and_read(scratch: &Scratch, name: &str, text: &'static str) -> Result<(), String> {
    let put = scratch.root().put(name, Bytes::from_static(text.as_bytes())).await;
    put.map_err(|error: LogError| error.to_string())?;
    let read = scratch.root().read_at_most(name, text.len() as u64).await.map_err(|error| error.to_string())?;
    if read.as_deref() == Some(text.as_bytes()) { Ok(()) } else { Err("something else is read".to_owned()) }
}

async fn range(scratch: &Scratch, name: &str) -> Result<(), String> {
    let part = 2..7;
    let wants = FIRST.as_bytes().get(2..7).unwrap_or_default();
    let read = scratch.store().objects().get_range(&scratch.root().place(name), part).await;
    let read = read.map_err(|error| diagnosis::told(&error))?;
    if read == wants { Ok(()) } else { Err("something else is read".to_owned()) }
}

async fn list(scratch: &Scratch) -> Result<(), String> {
    let names = scratch.root().names_in(scratch.directory()).await.map_err(|error| error.to_string())?;
    if names == ["object"] { Ok(()) } else { Err(format!("the listing has {} objects instead of one", names.len())) }
}
