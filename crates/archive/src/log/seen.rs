//! What a log has been seen to hold, advanced by reading only the commits that came after it.
//!
//! A writer asks a table before each commit which version it has, and how far its own WAL is in it. Both are in the newest commits alone.
//! So they are kept, and a load asks the store for two names: whether the version that was seen is still there, and whether there is a next
//! one. Neither a listing nor the files of the table are needed for that, however many there are.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::log::listing::commit_name;
use crate::log::{LogError, TableProtocol, Version};
use crate::store::Root;

/// One version, as far as commits need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Which.
    pub(super) version: Version,
    /// What the table asks of its writers.
    pub(super) protocol: TableProtocol,
    /// The table's properties.
    pub(super) properties: BTreeMap<String, String>,
    /// Last positions of the writers that were asked for, or that have committed since the kernel read the log.
    pub(super) positions: BTreeMap<String, Option<u64>>,
    /// Counts how often the kernel has read the log: what is known of one reading may be wrong of another.
    pub(super) reading: u64,
}

/// What became of what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advanced {
    /// The newest version.
    To(Seen),
    /// The log must be read anew: it is not the one that was seen, or has what only the kernel understands.
    Anew,
}

impl Seen {
    /// Goes on to the newest version of the table.
    pub(super) async fn advance(mut self, root: &Root) -> Result<Advanced, LogError> {
        // A log that was restored or removed has lost it: what follows must not be built upon that.
        if !root.has(&commit_name(self.version)).await? {
            return Ok(Advanced::Anew);
        }
        loop {
            let next = self.version + 1;
            let Some(commit) = root.read_if_there(&commit_name(next)).await? else { return Ok(Advanced::To(self)) };
            let Some(positions) = positions_of(&commit) else { return Ok(Advanced::Anew) };
            self.positions.extend(positions.into_iter().map(|(writer, position)| (writer, Some(position))));
            self.version = next;
        }
    }
}

/// The positions that a commit sets; none if it is not one of ours, or changes the table itself.
fn positions_of(commit: &Bytes) -> Option<BTreeMap<String, u64>> {
    let mut positions = BTreeMap::new();
    for line in commit.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let action: Value = serde_json::from_slice(line).ok()?;
        let (kind, value) = action.as_object()?.iter().next()?;
        match kind.as_str() {
            "txn" => {
                let (writer, position) = (value.get("appId")?.as_str()?, value.get("version")?.as_u64()?);
                positions.insert(writer.to_owned(), position);
            }
            "add" | "remove" | "commitInfo" => {}
            _ => return None,
        }
    }
    Some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_ours_tells_its_position_and_others_are_left_to_the_kernel() {
        let of = |text: &str| positions_of(&Bytes::from(text.to_owned()));
        let ours = "{\"commitInfo\":{}}\n{\"txn\":{\"appId\":\"w\",\"version\":7}}\n{\"add\":{\"path\":\"x\"}}\n";
        assert_eq!(of(ours), Some(BTreeMap::from([("w".to_owned(), 7)])));
        assert_eq!(of("{\"remove\":{}}\n"), Some(BTreeMap::new()));
        for foreign in
            ["{\"protocol\":{}}\n", "{\"metaData\":{}}\n", "{\"domainMetadata\":{}}\n", "no json\n", "[]\n", "{}\n"]
        {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }
}
