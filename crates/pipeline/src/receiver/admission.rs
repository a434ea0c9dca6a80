//! The memory that requests in flight may take, given out before it is taken.
//!
//! Two budgets, one for bodies and one for what they decompress to and are decoded to, rows of about the same size. A request may wait for the second while it holds of
//! the first, and nobody waits the other way round, so that they cannot wait for each other. Of each budget a sender gets half at most, or one
//! request.

use std::sync::Arc;
use std::time::Duration;

use promarchive_api::receiver_settings::HttpSettings;
use prometheus_client::metrics::gauge::Gauge;

use super::fair::{Budget, Sender, Share};
use super::metrics::gauge;

/// A body that is to be longer is admitted as a whole before any of it is read; a shorter one as it comes. So those that wait for the
/// rest of what others hold wait for small ones only, and a client that is stuck holds no more than twice what it has sent.
const LONG_BODY_BYTES: u64 = 1 << 20;
/// What is admitted of a body before any of it is read.
const FIRST_BYTES: u64 = 16 << 10;

/// The budgets; waiting requests are served in the order in which they came.
pub(super) struct Admission {
    bodies: Arc<Budget>,
    long_bodies: Arc<Budget>,
    decoded: Arc<Budget>,
    decoded_bytes: u64,
    patience: Duration,
    in_flight_bytes: Gauge,
}

/// Nothing became free in time: the request is to come again later.
#[derive(Debug, thiserror::Error)]
#[error("the requests in flight use too much memory; try again later")]
pub(super) struct Busy;

/// So many bytes of a budget, given back when dropped.
pub(super) struct Charge {
    budget: Arc<Budget>,
    share: Share,
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
        let budget = |bytes: u128| Arc::new(Budget::new(usize::try_from(bytes).unwrap_or(usize::MAX)));
        Self {
            bodies: budget(bodies - long_bodies),
            long_bodies: budget(long_bodies),
            decoded: budget(decoded),
            decoded_bytes: u64::try_from(decoded).unwrap_or(u64::MAX),
            patience: settings.timeouts.admission,
            in_flight_bytes,
        }
    }

    /// Waits for what must be free before the first byte of a body is read that is to have `bytes`.
    pub(super) async fn body(&self, sender: &Sender, bytes: u64) -> Result<Charge, Busy> {
        if bytes > LONG_BODY_BYTES {
            self.take(&self.long_bodies, sender, bytes).await
        } else {
            self.take(&self.bodies, sender, bytes.min(FIRST_BYTES)).await
        }
    }

    /// Waits until a body's charge is for `bytes`, if it is for less.
    pub(super) async fn grow(&self, charge: &mut Charge, bytes: usize) -> Result<(), Busy> {
        let before = charge.share.amount();
        charge.budget.grow(&mut charge.share, bytes, self.patience).await.ok_or(Busy)?;
        self.in_flight_bytes.inc_by(gauge(charge.share.amount() - before));
        Ok(())
    }

    /// Waits for what a body takes that decompresses to `bytes`: twice that, and at most the whole budget.
    pub(super) async fn decoded(&self, sender: &Sender, bytes: u64) -> Result<Charge, Busy> {
        self.take(&self.decoded, sender, bytes.saturating_mul(2).min(self.decoded_bytes)).await
    }

    /// Waits for what a long answer takes until its client has read it, out of the budget for what requests are decoded to.
    pub(super) async fn answer(&self, sender: &Sender, bytes: u64) -> Result<Charge, Busy> {
        self.take(&self.decoded, sender, bytes.min(self.decoded_bytes / 2)).await
    }

    async fn take(&self, budget: &Arc<Budget>, sender: &Sender, bytes: u64) -> Result<Charge, Busy> {
        let bytes = usize::try_from(bytes).map_err(|_| Busy)?;
        let share = budget.take(sender, bytes, self.patience).await.ok_or(Busy)?;
        self.in_flight_bytes.inc_by(gauge(bytes));
        Ok(Charge { budget: Arc::clone(budget), share, in_flight_bytes: self.in_flight_bytes.clone() })
    }
}

impl Charge {
    /// Gives back what is over `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.in_flight_bytes.dec_by(gauge(self.share.shrink_to(bytes)));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.in_flight_bytes.dec_by(gauge(self.share.amount()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = LONG_BODY_BYTES + 1;

    fn a() -> Sender {
        Sender::Named("a".into())
    }

    fn b() -> Sender {
        Sender::Named("b".into())
    }

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
        let first = admission.body(&a(), LONG).await.unwrap();
        let mut second = admission.body(&b(), LONG).await.unwrap();
        assert!(admission.body(&b(), LONG).await.is_err());
        assert_eq!(gauge.get(), 2 * LONG as i64);

        second.shrink_to(40);
        assert_eq!(gauge.get(), LONG as i64 + 40);
        assert!(admission.body(&b(), LONG).await.is_err(), "forty bytes are missing");
        drop((first, second));
        assert_eq!(gauge.get(), 0);
        assert!(admission.body(&b(), 2 * LONG).await.is_ok());
    }

    #[tokio::test]
    async fn short_bodies_do_not_wait_for_long_ones_and_are_charged_as_they_come() {
        let gauge = Gauge::default();
        let admission = admission(&gauge);
        let _long = admission.body(&a(), 2 * LONG).await.unwrap();
        let mut stuck = Vec::new();
        for _ in 0..50 {
            stuck.push(admission.body(&a(), LONG_BODY_BYTES).await.unwrap());
            stuck.push(admission.body(&b(), LONG_BODY_BYTES).await.unwrap());
        }
        let mut charge = admission.body(&a(), 10).await.unwrap();
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
        let _bodies = admission.body(&a(), 2 * LONG).await.unwrap();
        let _one = admission.decoded(&a(), LONG).await.unwrap();
        let _two = admission.decoded(&b(), LONG).await.unwrap();
        assert!(admission.decoded(&b(), 1).await.is_err());
    }

    #[tokio::test]
    async fn the_longest_body_gets_the_whole_budget_of_what_it_becomes() {
        let admission = admission(&Gauge::default());
        let _longest = admission.decoded(&a(), 2 * LONG).await.unwrap();
        assert!(admission.decoded(&b(), 1).await.is_err());
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        let gauge = Gauge::default();
        let mut admission = admission(&gauge);
        admission.patience = Duration::from_secs(10);
        let held = admission.body(&a(), 2 * LONG).await.unwrap();
        let admission = Arc::new(admission);
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.body(&b(), LONG).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiting.await.unwrap());
        assert_eq!(gauge.get(), 0);
    }
}
