//! A budget that is given out in shares: nobody gets more than half of it, but for one request at a time, which may be larger.
//!
//! Who waits for the budget is served in the order of coming. A sender waits for its own half first, so that no more than a half's worth of its
//! requests stands before those of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Sender;

/// Senders that are remembered though they hold nothing.
const IDLE_SENDERS: usize = 1024;

/// Something that runs out.
#[derive(Debug)]
pub(crate) struct Budget {
    whole: Arc<Semaphore>,
    half: usize,
    /// Half of the whole for each sender.
    halves: Mutex<HashMap<Sender, Arc<Semaphore>>>,
}

/// Part of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of_whole: OwnedSemaphorePermit,
    /// At most all of the sender's half.
    of_half: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self { whole: Arc::new(Semaphore::new(size)), half: (size / 2).max(1), halves: Mutex::default() }
    }

    /// Waits for a share, for so long.
    pub(crate) async fn take(&self, sender: &Sender, amount: usize, patience: Duration) -> Option<Share> {
        let half = self.half_of(sender);
        timeout(patience, self.acquire(half, amount.min(self.half), amount)).await.ok().flatten()
    }

    /// Waits until a share is of this amount, if it is of less.
    pub(crate) async fn grow(&self, share: &mut Share, amount: usize, patience: Duration) -> Option<()> {
        let more = amount.saturating_sub(share.amount());
        if more > 0 {
            let of_half = amount.min(self.half).saturating_sub(share.of_half.num_permits());
            let half = Arc::clone(share.of_half.semaphore());
            let grown = timeout(patience, self.acquire(half, of_half, more)).await.ok().flatten()?;
            share.of_whole.merge(grown.of_whole);
            share.of_half.merge(grown.of_half);
        }
        Some(())
    }

    /// None for more than there can ever be.
    async fn acquire(&self, half: Arc<Semaphore>, of_half: usize, of_whole: usize) -> Option<Share> {
        let of_half = half.acquire_many_owned(u32::try_from(of_half).ok()?).await.ok()?;
        let whole = Arc::clone(&self.whole);
        let of_whole = whole.acquire_many_owned(u32::try_from(of_whole).ok()?).await.ok()?;
        Some(Share { of_whole, of_half })
    }

    fn half_of(&self, sender: &Sender) -> Arc<Semaphore> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.len() >= IDLE_SENDERS {
            halves.retain(|_, half| Arc::strong_count(half) > 1);
        }
        Arc::clone(halves.entry(sender.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.half))))
    }
}

impl Share {
    pub(crate) fn amount(&self) -> usize {
        self.of_whole.num_permits()
    }

    /// Gives back what is over an amount; how much that is.
    pub(crate) fn shrink_to(&mut self, amount: usize) -> usize {
        let surplus = self.amount().saturating_sub(amount);
        drop(self.of_whole.split(surplus));
        drop(self.of_half.split(self.of_half.num_permits().saturating_sub(amount)));
        surplus
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(30);

    fn sender(name: &str) -> Sender {
        Sender::Named(name.into())
    }

    #[tokio::test]
    async fn nobody_gets_more_than_half_but_for_one_request() {
        let budget = Budget::new(100);
        let (a, b) = (sender("a"), Sender::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let one = budget.take(&a, 30, SOON).await.unwrap();
        let two = budget.take(&a, 20, SOON).await.unwrap();
        assert!(budget.take(&a, 1, SOON).await.is_none(), "a has its half");
        assert!(budget.take(&b, 50, SOON).await.is_some(), "b has the other one");
        drop((one, two));
        let large = budget.take(&a, 90, SOON).await.unwrap();
        assert!(budget.take(&a, 1, SOON).await.is_none());
        assert!(budget.take(&b, 11, SOON).await.is_none());
        assert!(budget.take(&b, 10, SOON).await.is_some());
        drop(large);
        assert!(budget.take(&a, 101, SOON).await.is_none(), "more than there is");
    }

    #[tokio::test]
    async fn a_share_grows_and_shrinks_in_both() {
        let budget = Budget::new(100);
        let a = sender("a");
        let mut share = budget.take(&a, 10, SOON).await.unwrap();
        budget.grow(&mut share, 40, SOON).await.unwrap();
        budget.grow(&mut share, 5, SOON).await.unwrap();
        assert_eq!(share.amount(), 40);
        assert!(budget.take(&a, 11, SOON).await.is_none());
        assert_eq!(share.shrink_to(15), 25);
        let other = budget.take(&a, 35, SOON).await.unwrap();
        budget.grow(&mut share, 60, SOON).await.ok_or(()).unwrap_err();
        drop(other);
        budget.grow(&mut share, 60, SOON).await.unwrap();
        drop(share);
        assert!(budget.take(&a, 100, SOON).await.is_some(), "all of it is back");
    }

    #[tokio::test]
    async fn who_waits_behind_a_flood_waits_for_half_of_it() {
        let budget = Arc::new(Budget::new(4));
        let (flood, honest) = (sender("flood"), sender("honest"));
        let first = [budget.take(&flood, 1, SOON).await.unwrap(), budget.take(&flood, 1, SOON).await.unwrap()];
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let (budget, flood) = (Arc::clone(&budget), flood.clone());
                tokio::spawn(async move { budget.take(&flood, 1, LATE).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(budget.take(&honest, 2, SOON).await.is_some());
        drop(first);
        waiting.into_iter().for_each(|task| task.abort());
    }

    #[tokio::test]
    async fn senders_that_are_gone_are_forgotten() {
        let budget = Budget::new(2 * IDLE_SENDERS);
        let held = budget.take(&sender("held"), 1, SOON).await.unwrap();
        for n in 0..3 * IDLE_SENDERS {
            budget.take(&sender(&n.to_string()), 1, SOON).await.unwrap();
        }
        let halves = budget.halves.lock().unwrap();
        assert!(halves.len() <= IDLE_SENDERS && halves.contains_key(&sender("held")));
        drop(held);
    }
}
