//! Who may be connected: so many in all, so many from one address. When all slots are taken, the one that has waited longest for
//! a request is given up for the new one, so that no number of idle connections keeps a probe out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections at a time.
const SLOTS: usize = 256;
/// Of these, from one address. The probes of a node and a few that scrape need less.
const OF_ONE_ADDRESS: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct Slots {
    taken: Arc<Mutex<Taken>>,
    most: usize,
    most_of_one: usize,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By the order in which they came.
    all: HashMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    address: IpAddr,
    /// A request has come.
    busy: bool,
    give_up: Arc<Notify>,
}

/// One slot. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    taken: Arc<Mutex<Taken>>,
    number: u64,
    give_up: Arc<Notify>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { taken: Arc::default(), most: SLOTS, most_of_one: OF_ONE_ADDRESS }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    /// A slot for a connection from `address`; none if all are taken by requests that are being answered.
    pub(super) fn take(&self, address: IpAddr) -> Option<Slot> {
        let mut taken = lock(&self.taken);
        let of_address = taken.all.values().filter(|guest| guest.address == address).count();
        if of_address >= self.most_of_one {
            taken.give_up_oldest(|guest| guest.address == address)?;
        } else if taken.all.len() >= self.most {
            taken.give_up_oldest(|_| true)?;
        }
        let (number, give_up) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.all.insert(number, Guest { address, busy: false, give_up: give_up.clone() });
        Some(Slot { taken: self.taken.clone(), number, give_up })
    }
}

impl Taken {
    /// The oldest one that waits, among these, has to go.
    fn give_up_oldest(&mut self, among: impl Fn(&Guest) -> bool) -> Option<()> {
        let waiting = self.all.iter().filter(|(_, guest)| !guest.busy && among(guest));
        let oldest = waiting.map(|(number, _)| *number).min()?;
        let guest = self.all.remove(&oldest)?;
        guest.give_up.notify_one();
        Some(())
    }
}

impl Slot {
    /// A request has come.
    pub(super) fn set_busy(&self) {
        if let Some(guest) = lock(&self.taken).all.get_mut(&self.number) {
            guest.busy = true;
        }
    }

    /// Resolves when somebody else has the slot.
    pub(super) async fn given_up(&self) {
        self.give_up.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.taken).all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn slots() -> Slots {
        Slots { most: 4, most_of_one: 2, ..Slots::default() }
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    async fn is_given_up(slot: &Slot) -> bool {
        tokio::time::timeout(Duration::from_millis(1), slot.given_up()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_takes_slots_only_from_itself() {
        let slots = slots();
        let other = slots.take(address(2)).unwrap();
        let (first, second) = (slots.take(address(1)).unwrap(), slots.take(address(1)).unwrap());
        let third = slots.take(address(1)).unwrap();
        assert!(is_given_up(&first).await, "the one that has waited longest");
        assert!(!is_given_up(&second).await && !is_given_up(&third).await && !is_given_up(&other).await);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_slots_are_taken_the_oldest_that_waits_goes() {
        let slots = slots();
        let all: Vec<Slot> = (1..=4).map(|last| slots.take(address(last)).unwrap()).collect();
        all[0].set_busy();
        let new = slots.take(address(5)).unwrap();
        assert!(!is_given_up(&all[0]).await, "it is being answered");
        assert!(is_given_up(&all[1]).await && !is_given_up(&all[2]).await && !is_given_up(&new).await);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_answered_are_not_cut_off_and_leave_their_slots() {
        let slots = slots();
        let all: Vec<Slot> = (1..=4).map(|last| slots.take(address(last)).unwrap()).collect();
        all.iter().for_each(Slot::set_busy);
        assert!(slots.take(address(5)).is_none());
        drop(all);
        assert!(slots.take(address(5)).is_some());
    }
}
