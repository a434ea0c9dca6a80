//! Group commit: one thread writes and syncs for all requests that wait, then buffers their rows, then answers them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::core::{Accepted, CommitGroupError, Core};
use super::fair::Exit;
use super::health::{Health, Part};
use super::metrics::{Metrics, PositionLabel};
use super::reserve::Reserve;
use crate::failpoint::{self, Sabotage};

/// Requests in a group, at most.
const GROUP_REQUESTS: usize = 1024;
/// Bytes of bodies in a group, after which no more are added.
const GROUP_BYTES: usize = 32 << 20;
/// How late a sabotaged receiver writes.
const SABOTAGE_LAG: Duration = Duration::from_millis(20);

/// A request that waits to be durable.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The request.
    pub accepted: Accepted,
    /// Who waits.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// Takes groups until no more can come, senders by turns. Runs on a thread of its own: it blocks on the disk. Nothing is written that the archive's disk
/// might have no space for.
pub(super) fn run(core: &Arc<Core>, reserve: &Reserve, waiting: &Exit<Waiting>, health: &Health, metrics: &Metrics) {
    let mut group = Vec::new();
    let mut replies = Vec::new();
    while let Some(first) = waiting.wait() {
        let mut bytes = first.accepted.body.len();
        group.push(first.accepted);
        replies.push(first.reply);
        while group.len() < GROUP_REQUESTS && bytes < GROUP_BYTES {
            let Some(next) = waiting.next() else { break };
            bytes += next.accepted.body.len();
            group.push(next.accepted);
            replies.push(next.reply);
        }
        if failpoint::sabotaged(Sabotage::AckBeforeWrite) {
            answer(&mut replies, &Ok(()));
            std::thread::sleep(SABOTAGE_LAG);
        }
        let result = if reserve.fits_flush_of(core.wal_bytes().saturating_add(bytes as u64)) {
            commit(core, &mut group, health, metrics)
        } else {
            Err("the archive's disk may have no space for more than what waits for the next flush".to_owned())
        };
        answer(&mut replies, &result);
        group.clear();
    }
}

fn answer(replies: &mut Vec<oneshot::Sender<Result<(), String>>>, result: &Result<(), String>) {
    for reply in replies.drain(..) {
        // Nobody waits any more when the client has gone; its request is durable all the same.
        let _ = reply.send(result.clone());
    }
}

fn commit(core: &Core, group: &mut [Accepted], health: &Health, metrics: &Metrics) -> Result<(), String> {
    let started = Instant::now();
    let committed = core.commit_group(group);
    let exemplar = committed.as_ref().ok().map(|positions| PositionLabel { position: positions.end().get() });
    metrics.wal_sync_duration_seconds.observe(started.elapsed().as_secs_f64(), exemplar, Some(SystemTime::now()));
    metrics.wal_syncs.inc();
    match committed {
        Ok(_) => {
            health.works(Part::Wal);
            Ok(())
        }
        Err(error) => {
            metrics.wal_append_failures.inc();
            let reason = match &error {
                CommitGroupError::Wal(error) => crate::table::chain(error),
                CommitGroupError::Replaying => error.to_string(),
            };
            health.fault(Part::Wal, reason.clone());
            Err(reason)
        }
    }
}
