//! The memory that requests in flight may take, given out before it is taken.
//!
//! Two budgets, one for bodies and one for what they decompress to and are decoded to, rows of about the same size. A request may wait for the second while it holds of
//! the first, and nobody waits the other way round, so that they cannot wait for each other.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::settings::HttpSettings;

/// A body that is to be longer is admitted as a whole before any of it is read; a shorter one as it comes. So those that wait for the
/// rest of what others hold wait for small ones only, and a client that is stuck holds no more than twice what it has sent.
const LONG_BODY_BYTES: u64 = 1 << 20;
/// What is admitted of a body before any of it is read.
const FIRST_BYTES: u64 = 16 << 10;

/// The budgets; waiting requests are served in the order in which they came.
pub(super) struct Admission {
    bodies: Arc<Semaphore>,
    long_bodies: Arc<Semaphore>,
    decoded: Arc<Semaphore>,
    decoded_bytes: u64,
    patience: Duration,
    in_flight_bytes: Gauge,
}

/// Nothing became free in time: the request is to come again later.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes of requests are in flight")]
pub(super) struct Busy;

/// So many bytes of a budget, given back when dropped.
pub(super) struct Charge {
    permit: OwnedSemaphorePermit,
    in_flight_bytes: Gauge,
}

impl Admission {
    /// Splits `settings.in_flight_bytes` in the proportion of the longest body and the longest decompressed body, each
    /// budget enough for two of its longest. Of that for bodies, one half is for long ones, if there can be any.
    pub(super) fn new(settings: &HttpSettings, in_flight_bytes: Gauge) -> Self {
        let (body, decoded) = (u128::from(settings.max_request_bytes), u128::from(settings.max_decoded_bytes));
        let whole = u128::from(settings.in_flight_bytes);
        let bodies = (whole * body / (body + decoded).max(1)).max(2 * body);
        let decoded = whole.saturating_sub(bodies).max(2 * decoded);
        let long_bodies = if settings.max_request_bytes > LONG_BODY_BYTES { bodies / 2 } else { 0 };
        Self {
            bodies: Arc::new(Semaphore::new(permits(bodies - long_bodies))),
            long_bodies: Arc::new(Semaphore::new(permits(long_bodies))),
            decoded: Arc::new(Semaphore::new(permits(decoded))),
            decoded_bytes: u64::try_from(decoded).unwrap_or(u64::MAX),
            patience: settings.timeouts.admission,
            in_flight_bytes,
        }
    }

    /// Waits for what must be free before the first byte of a body is read that is to have `bytes`.
    pub(super) async fn body(&self, bytes: u64) -> Result<Charge, Busy> {
        if bytes > LONG_BODY_BYTES {
            self.take(&self.long_bodies, bytes).await
        } else {
            self.take(&self.bodies, bytes.min(FIRST_BYTES)).await
        }
    }

    /// Waits until a body's charge is for `bytes`, if it is for less.
    pub(super) async fn grow(&self, charge: &mut Charge, bytes: usize) -> Result<(), Busy> {
        let more = u64::try_from(bytes.saturating_sub(charge.permit.num_permits())).unwrap_or(u64::MAX);
        if more > 0 {
            charge.merge(self.take(charge.permit.semaphore(), more).await?);
        }
        Ok(())
    }

    /// Waits for what a body takes that decompresses to `bytes`: twice that, and at most the whole budget.
    pub(super) async fn decoded(&self, bytes: u64) -> Result<Charge, Busy> {
        self.take(&self.decoded, bytes.saturating_mul(2).min(self.decoded_bytes)).await
    }

    async fn take(&self, budget: &Arc<Semaphore>, bytes: u64) -> Result<Charge, Busy> {
        let bytes = u32::try_from(bytes).map_err(|_| Busy)?;
        match timeout(self.patience, Arc::clone(budget).acquire_many_owned(bytes)).await {
            Ok(Ok(permit)) => {
                self.in_flight_bytes.inc_by(i64::from(bytes));
                Ok(Charge { permit, in_flight_bytes: self.in_flight_bytes.clone() })
            }
            Ok(Err(_)) | Err(_) => Err(Busy),
        }
    }
}

fn permits(bytes: u128) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

impl Charge {
    /// Takes over what another charge on the same budget has.
    fn merge(&mut self, mut other: Self) {
        if let Some(permit) = other.permit.split(other.permit.num_permits()) {
            self.permit.merge(permit);
        }
    }

    /// Gives back what is over `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes);
        if let Some(surplus) = self.permit.split(surplus) {
            self.in_flight_bytes.dec_by(i64::try_from(surplus.num_permits()).unwrap_or(i64::MAX));
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.in_flight_bytes.dec_by(i64::try_from(self.permit.num_permits()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = LONG_BODY_BYTES + 1;

    /// Two long bodies, the size of two long ones for short bodies, four for what they become.
    fn admission(gauge: &Gauge) -> Admission {
        let mut settings = HttpSettings {
            max_request_bytes: 2 * LONG,
            max_decoded_bytes: 2 * LONG,
            in_flight_bytes: 8 * LONG,
            ..HttpSettings::default()
        };
        settings.timeouts.admission = Duration::from_millis(20);
        Admission::new(&settings, gauge.clone())
    }

    #[tokio::test]
    async fn what_is_given_out_stays_in_the_budget() {
        let gauge = Gauge::default();
        let admission = admission(&gauge);
        let first = admission.body(LONG).await.unwrap();
        let mut second = admission.body(LONG).await.unwrap();
        assert!(admission.body(LONG).await.is_err());
        assert_eq!(gauge.get(), 2 * LONG as i64);

        second.shrink_to(40);
        assert_eq!(gauge.get(), LONG as i64 + 40);
        assert!(admission.body(LONG).await.is_err(), "forty bytes are missing");
        drop((first, second));
        assert_eq!(gauge.get(), 0);
        assert!(admission.body(2 * LONG).await.is_ok());
    }

    #[tokio::test]
    async fn short_bodies_do_not_wait_for_long_ones_and_are_charged_as_they_come() {
        let gauge = Gauge::default();
        let admission = admission(&gauge);
        let _long = admission.body(2 * LONG).await.unwrap();
        let mut stuck = Vec::new();
        for _ in 0..100 {
            stuck.push(admission.body(LONG_BODY_BYTES).await.unwrap());
        }
        let mut charge = admission.body(10).await.unwrap();
        assert_eq!(gauge.get(), 2 * LONG as i64 + 100 * FIRST_BYTES as i64 + 10);
        admission.grow(&mut charge, 5).await.unwrap();
        admission.grow(&mut charge, 100_000).await.unwrap();
        assert_eq!(gauge.get(), 2 * LONG as i64 + 100 * FIRST_BYTES as i64 + 100_000);
        assert!(admission.grow(&mut charge, 2 * LONG as usize).await.is_err());
        drop((charge, stuck));
        assert_eq!(gauge.get(), 2 * LONG as i64);
    }

    #[tokio::test]
    async fn bodies_and_what_they_become_do_not_wait_for_each_other() {
        let gauge = Gauge::default();
        let admission = admission(&gauge);
        let _bodies = admission.body(2 * LONG).await.unwrap();
        let _one = admission.decoded(LONG).await.unwrap();
        let _two = admission.decoded(LONG).await.unwrap();
        assert!(admission.decoded(1).await.is_err());
    }

    #[tokio::test]
    async fn the_longest_body_gets_the_whole_budget_of_what_it_becomes() {
        let admission = admission(&Gauge::default());
        let _longest = admission.decoded(2 * LONG).await.unwrap();
        assert!(admission.decoded(1).await.is_err());
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        let gauge = Gauge::default();
        let mut admission = admission(&gauge);
        admission.patience = Duration::from_secs(10);
        let held = admission.body(2 * LONG).await.unwrap();
        let admission = Arc::new(admission);
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.body(LONG).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiting.await.unwrap());
        assert_eq!(gauge.get(), 0);
    }
}
