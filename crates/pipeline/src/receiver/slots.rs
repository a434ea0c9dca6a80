//! Which connection may stay: a pure account of all connections, without sockets and clocks.
//!
//! Every connection has a slot from the moment it is accepted. A connection is a *stranger* until one of its requests needed access
//! and got it: with tokens, until it has shown one.
//!
//! | a new connection comes, and | what happens |
//! |---|---|
//! | there is room | it gets a slot |
//! | its address has as many slots as an address may have | one of its own address's makes room |
//! | as many TLS handshakes are in progress as may be | one of them makes room |
//! | all slots are taken | one of any address makes room |
//! | none can make room, because requests are in flight on all of them | it gets a slot for a probe |
//! | all slots for probes are taken, too | one of these makes room |
//!
//! A slot makes room by being closed. Never one with a request in flight; strangers before others; of these, one of the address
//! that has the most of them; of these, the one that has been idle for longest. So whoever opens many connections loses their own.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// How many slots there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// In all, without those for probes.
    pub(super) all: usize,
    pub(super) per_address: usize,
    /// In a TLS handshake.
    pub(super) handshakes: usize,
    pub(super) probes: usize,
}

/// What a connection does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The TLS handshake is in progress.
    Handshake,
    /// No request is in flight; the head of one may be on its way.
    Idle,
    /// A request is in flight.
    Busy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Any request.
    Any,
    Probe,
}

/// The name of a slot, never used twice.
pub(super) type SlotId = u64;

/// What became of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken<T> {
    /// Its slot.
    pub(super) id: SlotId,
    /// What it may be used for.
    pub(super) purpose: Purpose,
    /// Whose connection is to be closed for it; its slot is gone already.
    pub(super) closed: Option<T>,
}

/// All slots that are taken. `T` is whatever the caller closes a connection with.
pub(super) struct Slots<T> {
    limits: Limits,
    /// Goes up with every change: orders the slots by when they became what they are.
    now: u64,
    taken: BTreeMap<SlotId, Slot<T>>,
}

struct Slot<T> {
    origin: IpAddr,
    purpose: Purpose,
    stage: Stage,
    stranger: bool,
    /// When it entered its stage.
    since: u64,
    handle: T,
}

impl<T> Slots<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, now: 0, taken: BTreeMap::new() }
    }

    /// Finds a slot for a new connection. There always is one.
    pub(super) fn take(&mut self, address: IpAddr, stage: Stage, handle: T) -> Taken<T> {
        let origin = origin(address);
        let (purpose, victim) = self.decide(origin, stage);
        let closed = victim.and_then(|id| self.taken.remove(&id)).map(|slot| slot.handle);
        self.now += 1;
        let id = self.now;
        self.taken.insert(id, Slot { origin, purpose, stage, stranger: true, since: id, handle });
        Taken { id, purpose, closed }
    }

    /// What a new connection's slot is for, and which slot makes room for it.
    fn decide(&self, origin: IpAddr, stage: Stage) -> (Purpose, Option<SlotId>) {
        type Choice<'a, T> = &'a dyn Fn(&Slot<T>) -> bool;
        let any = |slot: &Slot<T>| slot.purpose == Purpose::Any;
        let of_origin = |slot: &Slot<T>| any(slot) && slot.origin == origin;
        let handshake = |slot: &Slot<T>| any(slot) && slot.stage == Stage::Handshake;
        let probe = |slot: &Slot<T>| slot.purpose == Purpose::Probe;
        let crowd: Option<Choice<'_, T>> = if self.count(of_origin) >= self.limits.per_address {
            Some(&of_origin)
        } else if stage == Stage::Handshake && self.count(handshake) >= self.limits.handshakes {
            Some(&handshake)
        } else if self.count(any) >= self.limits.all {
            Some(&any)
        } else {
            None
        };
        match crowd.map(|crowd| self.victim(|slot| crowd(slot) && slot.stage != Stage::Busy)) {
            None => (Purpose::Any, None),
            Some(Some(victim)) => (Purpose::Any, Some(victim)),
            Some(None) if self.count(probe) < self.limits.probes => (Purpose::Probe, None),
            Some(None) => (Purpose::Probe, self.victim(probe)),
        }
    }

    fn count(&self, which: impl Fn(&Slot<T>) -> bool) -> usize {
        self.taken.values().filter(|slot| which(slot)).count()
    }

    /// The slot among these that makes room first.
    fn victim(&self, among: impl Fn(&Slot<T>) -> bool) -> Option<SlotId> {
        let strangers = self.taken.values().any(|slot| among(slot) && slot.stranger);
        // Of each origin: how many it has, and the one of them that is idle for longest.
        let mut origins: HashMap<IpAddr, (usize, u64, SlotId)> = HashMap::new();
        for (&id, slot) in self.taken.iter().filter(|(_, slot)| among(slot) && slot.stranger == strangers) {
            let (count, since, oldest) = origins.entry(slot.origin).or_insert((0, slot.since, id));
            *count += 1;
            if slot.since < *since {
                (*since, *oldest) = (slot.since, id);
            }
        }
        let first = |&(count, since, _): &(usize, u64, SlotId)| (count, std::cmp::Reverse(since));
        origins.into_values().max_by_key(first).map(|(.., id)| id)
    }

    /// A connection does something else from now on. Nothing happens if its slot is gone.
    pub(super) fn enter(&mut self, id: SlotId, stage: Stage) {
        self.now += 1;
        if let Some(slot) = self.taken.get_mut(&id) {
            (slot.stage, slot.since) = (stage, self.now);
        }
    }

    /// A request of a connection needed access, and got it.
    pub(super) fn known(&mut self, id: SlotId) {
        if let Some(slot) = self.taken.get_mut(&id) {
            slot.stranger = false;
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, id: SlotId) {
        self.taken.remove(&id);
    }
}

/// Whom a connection is counted for: an IPv4 address, or the 64 bits of an IPv6 address that say which network it is in. The others
/// are up to each machine.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { all: 6, per_address: 3, handshakes: 2, probes: 2 };

    /// Slots of connections in this order: the last part of the address, and what the connection is: a stranger that is `idle`, in a
    /// TLS `handshake` or `busy`, or one that is known, in capital letters. Their names are their numbers, from 0.
    fn slots(connections: &str) -> Slots<usize> {
        let mut slots = Slots::new(Limits { all: 100, per_address: 100, handshakes: 100, ..LIMITS });
        for (name, connection) in connections.split_whitespace().enumerate() {
            let (from, is) = connection.split_once(':').unwrap();
            let stage = match is.to_lowercase().as_str() {
                "handshake" => Stage::Handshake,
                "idle" => Stage::Idle,
                "busy" => Stage::Busy,
                other => panic!("{other}"),
            };
            let id = slots.take(address(from), Stage::Idle, name).id;
            if is.chars().all(char::is_uppercase) {
                slots.known(id);
            }
            slots.enter(id, stage);
        }
        slots.limits = LIMITS;
        slots
    }

    fn address(last: &str) -> IpAddr {
        format!("192.0.2.{last}").parse().unwrap()
    }

    #[test]
    fn who_makes_room() {
        use Purpose::{Any, Probe};
        for (there, from, stage, wanted) in [
            ("", "1", Stage::Idle, (Any, None)),
            ("1:idle 1:idle 2:BUSY 3:BUSY 4:BUSY", "9", Stage::Idle, (Any, None)),
            // An address that has its share makes room itself, whoever else is idle.
            ("2:idle 1:idle 1:idle 1:idle", "1", Stage::Idle, (Any, Some(1))),
            ("2:idle 1:IDLE 1:idle 1:BUSY", "1", Stage::Idle, (Any, Some(2))),
            ("2:idle 1:BUSY 1:IDLE 1:IDLE", "1", Stage::Idle, (Any, Some(2))),
            ("2:idle 1:BUSY 1:busy 1:BUSY", "1", Stage::Idle, (Probe, None)),
            // All is full: strangers first, of the address with the most of them, the longest idle first.
            ("1:IDLE 2:IDLE 3:idle 4:idle 4:idle 5:IDLE", "9", Stage::Idle, (Any, Some(3))),
            ("1:IDLE 2:IDLE 3:idle 4:idle 5:BUSY 5:IDLE", "9", Stage::Idle, (Any, Some(2))),
            ("1:IDLE 2:IDLE 2:IDLE 4:BUSY 4:BUSY 4:IDLE", "9", Stage::Idle, (Any, Some(1))),
            ("1:BUSY 2:BUSY 2:BUSY 4:BUSY 4:BUSY 4:idle", "9", Stage::Idle, (Any, Some(5))),
            ("1:BUSY 2:BUSY 2:BUSY 4:BUSY 4:BUSY 4:busy", "9", Stage::Idle, (Probe, None)),
            // A handshake is a stranger's; too many of them make room among themselves.
            ("1:idle 2:handshake 3:handshake", "9", Stage::Handshake, (Any, Some(1))),
            ("1:idle 2:handshake 3:handshake", "9", Stage::Idle, (Any, None)),
            ("1:idle 2:handshake 3:idle", "9", Stage::Handshake, (Any, None)),
            ("1:IDLE 2:handshake 3:IDLE 4:IDLE 5:IDLE 6:IDLE", "9", Stage::Handshake, (Any, Some(1))),
        ] {
            let taken = slots(there).take(address(from), stage, 99);
            assert_eq!((taken.purpose, taken.closed), wanted, "{there} | {from} {stage:?}");
        }
    }

    #[test]
    fn a_flood_loses_its_own_connections_and_nobody_elses() {
        let mut slots = Slots::new(Limits { all: 100, per_address: 50, handshakes: 20, probes: 4 });
        let mut honest: Vec<SlotId> = Vec::new();
        for n in 1..=5 {
            let id = slots.take(address(&n.to_string()), Stage::Idle, "honest").id;
            slots.known(id);
            honest.push(id);
        }
        for n in 0..10_000_u32 {
            let from = if n % 2 == 0 { 200 } else { 100 + n % 30 };
            let taken = slots.take(address(&from.to_string()), Stage::Idle, "flood");
            assert!(taken.purpose == Purpose::Any && taken.closed != Some("honest"));
            assert!(slots.taken.len() <= 100);
        }
        // One more honest client, while it is a stranger.
        let new = slots.take(address("9"), Stage::Idle, "honest");
        assert_eq!((new.purpose, new.closed), (Purpose::Any, Some("flood")));
        for _ in 0..10_000 {
            assert_eq!(slots.take(address("200"), Stage::Idle, "flood").closed, Some("flood"));
        }
        assert!(honest.iter().chain([&new.id]).all(|id| slots.taken.contains_key(id)));
    }

    #[test]
    fn slots_for_probes_are_extra_and_go_round() {
        let mut slots = slots("1:BUSY 2:BUSY 3:BUSY 4:BUSY 5:BUSY 6:BUSY");
        for (from, name, closed) in
            [("7", 10, None), ("7", 11, None), ("8", 12, Some(10)), ("7", 13, Some(11)), ("9", 14, Some(12))]
        {
            let taken = slots.take(address(from), Stage::Idle, name);
            assert_eq!((taken.purpose, taken.closed), (Purpose::Probe, closed), "{name}");
        }
        assert_eq!(slots.taken.len(), 8);
        // A slot that is free again is for any request.
        slots.leave(1);
        assert_eq!(slots.take(address("7"), Stage::Idle, 0).purpose, Purpose::Any);
    }

    #[test]
    fn an_idle_connection_is_as_old_as_its_last_request() {
        let mut slots = slots("1:IDLE 2:IDLE 3:IDLE 4:IDLE 5:IDLE 6:IDLE");
        slots.enter(1, Stage::Busy);
        slots.enter(1, Stage::Idle);
        assert_eq!(slots.take(address("9"), Stage::Idle, 99).closed, Some(1));
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(origin(address("2001:db8:1:2:3:4:5:6")), origin(address("2001:db8:1:2::9")));
        assert_ne!(origin(address("2001:db8:1:2::9")), origin(address("2001:db8:1:3::9")));
        assert_eq!(origin(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_ne!(origin(address("192.0.2.1")), origin(address("192.0.2.2")));
    }
}
