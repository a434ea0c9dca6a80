//! Group commit: one thread writes and syncs for all requests that wait, then buffers their rows, then answers them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use promarchive_archive::store::Reserve;
use promarchive_model::failpoint::{self, Sabotage};
use tokio::sync::oneshot;

use super::fair::Exit;
use super::health::{Health, Part};
use super::metrics::{Metrics, PositionLabel};
use super::tryout::Tryout;
use crate::core::{CommitGroupError, Core, Resolved};

/// Requests in a group, at most.
const GROUP_REQUESTS: usize = 1024;
/// Bytes of bodies in a group, after which no more are added.
const GROUP_BYTES: usize = 32 << 20;
/// How late a sabotaged receiver writes.
const SABOTAGE_LAG: Duration = Duration::from_millis(20);

/// A request that waits to be durable.
#[derive(Debug)]
pub(super) struct Waiting {
    pub resolved: Resolved,
    /// Who waits.
    pub reply: oneshot::Sender<Result<(), String>>,
}

pub(super) struct Committer {
    /// Where the rows go.
    pub core: Arc<Core>,
    /// Space for a flush on a full disk.
    pub reserve: Arc<Reserve>,
    pub health: Arc<Health>,
    /// Told how much could not be written.
    pub tryout: Arc<Tryout>,
    pub metrics: Arc<Metrics>,
}

impl Committer {
    /// Takes groups until no more can come, senders by turns. Runs on a thread of its own: it blocks on the disk. Nothing is written that
    /// the archive's disk might have no space for.
    pub(super) fn run(&self, waiting: &Exit<Waiting>) {
        let mut group = Vec::new();
        let mut replies = Vec::new();
        while let Some(first) = waiting.wait() {
            let mut bytes = first.resolved.body.len();
            group.push(first.resolved);
            replies.push(first.reply);
            while group.len() < GROUP_REQUESTS && bytes < GROUP_BYTES {
                let Some(next) = waiting.next() else { break };
                bytes += next.resolved.body.len();
                group.push(next.resolved);
                replies.push(next.reply);
            }
            if failpoint::sabotaged(Sabotage::AckBeforeWrite) {
                answer(&mut replies, &Ok(()));
                std::thread::sleep(SABOTAGE_LAG);
            }
            let result = if self.reserve.fits_flush_of(self.core.wal_bytes().saturating_add(bytes as u64)) {
                self.commit(&mut group, bytes as u64)
            } else {
                Err("the archive's disk may not have enough space for more data before the next flush".to_owned())
            };
            answer(&mut replies, &result);
            group.clear();
        }
    }

    fn commit(&self, group: &mut [Resolved], bytes: u64) -> Result<(), String> {
        let started = Instant::now();
        let committed = self.core.commit_group(group);
        let exemplar = committed.as_ref().ok().map(|positions| PositionLabel { position: positions.end().get() });
        let took = started.elapsed().as_secs_f64();
        self.metrics.wal_sync_duration_seconds.observe(took, exemplar, Some(SystemTime::now()));
        self.metrics.wal_syncs.inc();
        match committed {
            Ok(_) => {
                self.tryout.works();
                self.health.works(Part::Wal);
                Ok(())
            }
            Err(error) => {
                self.metrics.wal_append_failures.inc();
                let reason = match &error {
                    CommitGroupError::Wal(error) => promarchive_model::chain(error),
                    CommitGroupError::Replaying => error.to_string(),
                };
                self.tryout.failed(bytes);
                self.health.fault(Part::Wal, reason.clone());
                Err(reason)
            }
        }
    }
}

fn answer(replies: &mut Vec<oneshot::Sender<Result<(), String>>>, result: &Result<(), String>) {
    for reply in replies.drain(..) {
        // Nobody waits any more when the client has gone; its request is durable all the same.
        let _ = reply.send(result.clone());
    }
}
