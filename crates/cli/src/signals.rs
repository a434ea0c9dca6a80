//! SIGTERM, SIGINT, and SIGHUP.

use std::future::Future;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Exit code of a program that its user interrupts.
const INTERRUPTED: i32 = 130;

/// Resolves at the first signal to stop. A second one ends the program at once: what was acknowledged is in the WAL.
///
/// Signals are caught from the call on, not from the first poll.
pub(crate) fn stop() -> io::Result<impl Future<Output = ()> + Send> {
    let mut signals = vec![signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    // The terminal has gone. Under nohup the signal is ignored, and stays so.
    if !is_hangup_ignored() {
        signals.push(signal(SignalKind::hangup())?);
    }
    Ok(async move {
        any(&mut signals).await;
        info!("stopping: finishing requests, then committing; a second signal stops immediately");
        tokio::spawn(async move {
            any(&mut signals).await;
            warn!("stopped by a second signal; acknowledged samples are in the write-ahead log");
            std::process::exit(INTERRUPTED);
        });
    })
}

async fn any(signals: &mut [Signal]) {
    let mut come: Vec<_> = signals.iter_mut().map(|signal| Box::pin(signal.recv())).collect();
    std::future::poll_fn(|context| {
        let one = come.iter_mut().any(|signal| signal.as_mut().poll(context).is_ready());
        if one { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Whether whoever started this process had it ignore SIGHUP, as nohup does.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is that of signal 1, SIGHUP.
    mask.is_some_and(|mask| mask & 1 == 1)
}
