//! SIGTERM and SIGINT.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Exit code of a program that its user interrupts.
const INTERRUPTED: i32 = 130;

/// Resolves at the first signal to stop. A second one ends the program at once: what was acknowledged is in the WAL.
///
/// Signals are caught from the call on, not from the first poll.
pub(crate) fn stop() -> io::Result<impl Future<Output = ()> + Send> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    Ok(async move {
        any(&mut signals).await;
        info!("stopping: finishing requests, then committing; a second signal ends at once");
        tokio::spawn(async move {
            any(&mut signals).await;
            warn!("ended by a second signal; what was acknowledged is in the write-ahead log");
            std::process::exit(INTERRUPTED);
        });
    })
}

async fn any([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
