//! Named points between the steps that durability rests on, at which a test kills the process or makes the step fail.
//!
//! Compiled in only with the feature `failpoints`. A test sets `PROMARCHIVE_FAILPOINT=<name>=<action>[:<n>]`, where the
//! action is `kill` (SIGKILL to this process, as a power switch that spares the page cache) or `error` (the step fails with
//! an I/O error), carried out the n-th time (default: first) that the point is reached; `error` stays for every later
//! time when written `errors`. The list of points is generated from the enum below; `scripts/layers.py`
//! finds a point that no code reaches.

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// A point in the write path between two steps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FailPoint { $($(#[$doc])* $variant,)* }

        impl FailPoint {
            #[cfg(feature = "failpoints")]
            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        /// The names of all fail points, in the order in which a request meets them.
        pub const NAMES: &[&str] = &[$($name,)*];
    };
}

points! {
    /// A group of records is assembled, nothing of it is written.
    WalAppend => "wal-append",
    /// The group is written, not synced.
    WalSync => "wal-sync",
    /// The group is synced, nobody has been answered.
    WalSynced => "wal-synced",
    /// A new segment is about to be created.
    WalRotate => "wal-rotate",
    /// A new segment exists, its directory is not synced.
    WalRotated => "wal-rotated",
    /// A flush has taken the memtable, nothing is written.
    FlushStart => "flush-start",
    /// A file is encoded, not put.
    FilePut => "file-put",
    /// A file is put, not committed.
    FilePutDone => "file-put-done",
    /// All files of one table are put, the commit is not.
    CommitPut => "commit-put",
    /// The commit is put.
    CommitPutDone => "commit-put-done",
    /// One table is committed, the next is not.
    TableCommitted => "table-committed",
    /// A checkpoint is about to be written.
    Checkpoint => "checkpoint",
    /// All tables are committed, the WAL is not purged.
    PurgeStart => "purge-start",
    /// One segment is deleted, others are not.
    PurgeSegment => "purge-segment",
    /// All tables are there, the WAL directory does not say so yet.
    ArchiveNote => "archive-note",
    /// Recovery has found a torn tail or damage, and goes on behind it.
    ReplayRepair => "replay-repair",
    /// A record is about to be replayed.
    ReplayRecord => "replay-record",
    /// Replay is complete, the receiver is not ready yet.
    ReplayDone => "replay-done",
}

/// Does what the test asked for at this point; without the feature, nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_point: FailPoint) -> std::io::Result<()> {
    Ok(())
}

/// Does what the test asked for at this point.
#[cfg(feature = "failpoints")]
pub fn reach(point: FailPoint) -> std::io::Result<()> {
    armed::reach(point.name())
}

/// Something that this program must never do. `PROMARCHIVE_SABOTAGE=<name>` makes it do so, to show that the tests would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// `ack-before-write`: senders are answered, and the WAL is written a little later, as by a log that works in the background.
    AckBeforeWrite,
    /// `forget-transaction`: nobody asks the tables what they have been given already.
    ForgetTransaction,
    /// `restart-positions`: new positions follow the WAL alone, whatever the tables have.
    RestartPositions,
}

/// Whether the test asked for it; without the feature, never.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn sabotaged(_sabotage: Sabotage) -> bool {
    false
}

/// Whether the test asked for it.
#[cfg(feature = "failpoints")]
pub fn sabotaged(sabotage: Sabotage) -> bool {
    let name = match sabotage {
        Sabotage::AckBeforeWrite => "ack-before-write",
        Sabotage::ForgetTransaction => "forget-transaction",
        Sabotage::RestartPositions => "restart-positions",
    };
    std::env::var("PROMARCHIVE_SABOTAGE").is_ok_and(|asked_for| asked_for == name)
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    enum Action {
        Kill,
        Error,
        Errors,
    }

    struct Armed {
        name: String,
        action: Action,
        nth: u64,
        reached: AtomicU64,
    }

    fn parse(setting: &str) -> Option<Armed> {
        let (name, action) = setting.split_once('=')?;
        let (action, nth) = action.split_once(':').unwrap_or((action, "1"));
        let action = match action {
            "kill" => Action::Kill,
            "error" => Action::Error,
            "errors" => Action::Errors,
            _ => return None,
        };
        Some(Armed { name: name.to_owned(), action, nth: nth.parse().ok()?, reached: AtomicU64::new(0) })
    }

    pub(super) fn reach(name: &str) -> io::Result<()> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| std::env::var("PROMARCHIVE_FAILPOINT").ok().as_deref().and_then(parse));
        let Some(armed) = armed.as_ref().filter(|armed| armed.name == name) else { return Ok(()) };
        let reached = armed.reached.fetch_add(1, Ordering::SeqCst) + 1;
        match armed.action {
            Action::Kill if reached == armed.nth => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                Ok(())
            }
            Action::Error if reached == armed.nth => Err(io::Error::other(format!("fail point {name}"))),
            Action::Errors if reached >= armed.nth => Err(io::Error::other(format!("fail point {name}"))),
            _ => Ok(()),
        }
    }
}
