//! Delivery marks: how far each sender has come, so that an operator can change a sender's configuration without a gap.
//!
//! A mark is the range of sample timestamps that were acknowledged, and when the last of them was, for one (sender, token,
//! entry, replica, address). It moves only once the request is durable. Marks live in memory: they begin anew with the
//! process, and 4096 are kept, 64 of one sender; the one that was delivered to longest ago goes first. So a mark says "this much has come"; that there is none says nothing.
//!
//! **Which process of a sender it was** is told twice. The address is that of the connection, so it fails behind a proxy. The
//! replica is the label `prometheus_replica`: the Prometheus Operator makes it an external label with the pod's name, and
//! can be told to leave it out. Prometheus adds external labels to series that have no label of that name
//! (`storage/remote/queue_manager.go`, `processExternalLabels`: "the value in b wins") and relabels afterwards. So federated
//! series keep the replica that they were scraped with, and a request may hold several. Hence the replica of a request is
//! that of a few of its series, if they agree, and else none: no answer is better than another pod's name. A request
//! with nothing but federated series still names a replica that did not send it. **Match a mark by its address first,
//! by its replica only where no pod has the address.**

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use promarchive_api::Delivery;

use super::fair::Sender;
use super::tokens::Holder;

/// Longest name of an entry, in bytes.
const LONGEST_ENTRY_BYTES: usize = 64;
/// Marks kept.
const MOST: usize = 4096;
/// Marks kept of one sender.
const MOST_PER_SENDER: usize = 64;

/// Who sent a request, and through which entry of its configuration.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Whose token came with it.
    pub(super) holder: Holder,
    /// What it says the entry's name is; empty if nothing valid.
    pub(super) entry: Box<str>,
    /// Where it came from.
    pub(super) address: IpAddr,
}

impl Source {
    /// Whose requests this one counts with.
    pub(super) fn sender(&self) -> Sender {
        let Holder { name, .. } = &self.holder;
        if name.is_empty() { Sender::Address(self.address) } else { Sender::Named(Arc::clone(name)) }
    }
}

/// The samples and native histograms that a request left behind. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The earliest timestamp.
    pub first: i64,
    /// The latest one.
    pub newest: i64,
    /// Their replica; empty if they have none, or not the same.
    pub replica: Box<str>,
}

/// The name of an entry, if it is one: letters, digits and `._/-`, at most 64 of them.
pub(super) fn entry(given: &[u8]) -> Box<str> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"._/-".contains(byte);
    let named = given.len() <= LONGEST_ENTRY_BYTES && given.iter().all(valid);
    str::from_utf8(given).ok().filter(|_| named).unwrap_or_default().into()
}

/// In the order in which marks are listed. The sender comes first: its marks are neighbours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    sender: Arc<str>,
    token: Arc<str>,
    entry: Box<str>,
    replica: Box<str>,
    address: IpAddr,
}

#[derive(Debug)]
struct Mark {
    first: i64,
    newest: i64,
    last_delivered: i64,
    /// Number of the delivery: the clock may stand still, or go back.
    turn: u64,
}

/// The marks of one process.
#[derive(Debug)]
pub(super) struct Marks {
    marks: BTreeMap<Key, Mark>,
    turn: u64,
    most: usize,
    most_per_sender: usize,
}

impl Default for Marks {
    fn default() -> Self {
        Self::bounded(MOST, MOST_PER_SENDER)
    }
}

impl Marks {
    fn bounded(most: usize, most_per_sender: usize) -> Self {
        Self { marks: BTreeMap::new(), turn: 0, most, most_per_sender }
    }

    /// Something has become durable; `now` is milliseconds since the epoch.
    pub(super) fn record(&mut self, source: Source, delivered: Delivered, now: i64) {
        let Source { holder, entry, address } = source;
        let Delivered { first, newest, replica } = delivered;
        let key = Key { sender: holder.name, token: holder.token, entry, replica, address };
        self.turn += 1;
        let turn = self.turn;
        if let Some(mark) = self.marks.get_mut(&key) {
            let (first, newest) = (mark.first.min(first), mark.newest.max(newest));
            *mark = Mark { first, newest, last_delivered: now, turn };
            return;
        }
        self.make_room(&key.sender);
        self.marks.insert(key, Mark { first, newest, last_delivered: now, turn });
    }

    /// So that one more of this sender fits.
    fn make_room(&mut self, sender: &str) {
        let of_sender = |key: &Key| &*key.sender == sender;
        if self.marks.keys().filter(|key| of_sender(key)).count() >= self.most_per_sender {
            self.drop_oldest(of_sender);
        } else if self.marks.len() >= self.most {
            self.drop_oldest(|_| true);
        }
    }

    fn drop_oldest(&mut self, among: impl Fn(&Key) -> bool) {
        let candidates = self.marks.iter().filter(|(key, _)| among(key));
        let oldest = candidates.min_by_key(|(_, mark)| mark.turn).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.marks.remove(&oldest);
        }
    }

    /// All marks, by sender, token, entry, replica and address.
    pub(super) fn list(&self) -> Vec<Delivery> {
        let delivery = |(key, mark): (&Key, &Mark)| Delivery {
            sender: key.sender.to_string(),
            token: key.token.to_string(),
            entry: key.entry.to_string(),
            replica: key.replica.to_string(),
            address: key.address.to_string(),
            first: mark.first,
            newest: mark.newest,
            last_delivered: mark.last_delivered,
        };
        self.marks.iter().map(delivery).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(sender: &str, address: [u8; 4]) -> Source {
        let mut holder = Holder::anybody();
        holder.name = sender.into();
        Source { holder, entry: "e".into(), address: address.into() }
    }

    fn delivered(first: i64, newest: i64, replica: &str) -> Delivered {
        Delivered { first, newest, replica: replica.into() }
    }

    #[test]
    fn a_mark_grows_in_both_directions_and_has_the_time_of_the_last_delivery() {
        let mut marks = Marks::default();
        marks.record(source("a", [10, 0, 0, 1]), delivered(5, 7, "r"), 100);
        marks.record(source("a", [10, 0, 0, 1]), delivered(6, 9, "r"), 300);
        marks.record(source("a", [10, 0, 0, 1]), delivered(-1, 2, "r"), 200);
        marks.record(source("a", [10, 0, 0, 2]), delivered(1, 1, ""), 400);
        let mark = |replica: &str, address: &str, first, newest, last_delivered| Delivery {
            sender: "a".to_owned(),
            token: String::new(),
            entry: "e".to_owned(),
            replica: replica.to_owned(),
            address: address.to_owned(),
            first,
            newest,
            last_delivered,
        };
        assert_eq!(marks.list(), [mark("", "10.0.0.2", 1, 1, 400), mark("r", "10.0.0.1", -1, 9, 200)]);
    }

    #[test]
    fn entries_are_short_and_plain() {
        let longest = "a".repeat(64);
        for good in ["a", "promarchive/monitoring/lab/1a2b3c4d", "A.b_c-9", &longest] {
            assert_eq!(&*entry(good.as_bytes()), good);
        }
        for bad in ["", "a b", "a\"", "\u{e9}", &"a".repeat(65)] {
            assert_eq!(&*entry(bad.as_bytes()), "", "{bad}");
        }
        assert_eq!(&*entry(b"\xff"), "");
    }

    #[test]
    fn one_sender_with_many_addresses_takes_no_room_from_others() {
        let mut marks = Marks::default();
        marks.record(source("quiet", [10, 0, 0, 1]), delivered(1, 1, ""), 0);
        for n in 0..10_000_u32 {
            let address = n.to_be_bytes();
            marks.record(source("loud", address), delivered(1, 1, ""), 0);
        }
        let list = marks.list();
        assert_eq!(list.len(), 65);
        assert_eq!(list.iter().filter(|mark| mark.sender == "quiet").count(), 1);
        assert!(list.iter().any(|mark| mark.address == "0.0.39.15"), "the newest of the loud one is kept");
    }

    #[test]
    fn there_is_an_end_to_senders_too() {
        let mut marks = Marks::default();
        for n in 0..5000 {
            marks.record(source(&format!("{n:04}"), [10, 0, 0, 1]), delivered(1, 1, ""), 0);
        }
        let list = marks.list();
        assert_eq!((list.len(), list[0].sender.as_str()), (4096, "0904"));
    }

    /// Marks as a list in the order of their last delivery.
    #[derive(Default)]
    struct Model(Vec<Delivery>);

    impl Model {
        fn record(&mut self, sender: &str, address: u8, first: i64, newest: i64, now: i64, bounds: (usize, usize)) {
            let address = format!("10.0.0.{address}");
            let known = self.0.iter().position(|mark| mark.sender == sender && mark.address == address);
            let mut mark = known.map(|at| self.0.remove(at)).unwrap_or_else(|| Delivery {
                sender: sender.to_owned(),
                token: String::new(),
                entry: "e".to_owned(),
                replica: "r".to_owned(),
                address,
                first,
                newest,
                last_delivered: now,
            });
            mark.first = mark.first.min(first);
            mark.newest = mark.newest.max(newest);
            mark.last_delivered = now;
            self.0.push(mark);
            let of_sender: Vec<usize> = (0..self.0.len()).filter(|&at| self.0[at].sender == sender).collect();
            if of_sender.len() > bounds.1 {
                self.0.remove(of_sender[0]);
            } else if self.0.len() > bounds.0 {
                self.0.remove(0);
            }
        }
    }

    proptest! {
        #[test]
        fn the_least_recently_delivered_goes_and_nothing_else_is_lost(
            bounds in (1_usize..8, 1_usize..5),
            steps in prop::collection::vec((0..4_u8, 0..6_u8, -9..9_i64, 0..9_i64, any::<i8>()), 0..60),
        ) {
            let (mut marks, mut model) = (Marks::bounded(bounds.0, bounds.1), Model::default());
            for (sender, address, first, length, now) in steps {
                let (sender, now) = (sender.to_string(), i64::from(now));
                marks.record(source(&sender, [10, 0, 0, address]), delivered(first, first + length, "r"), now);
                model.record(&sender, address, first, first + length, now, bounds);
                let mut wanted = model.0.clone();
                wanted.sort_by(|a, b| (&a.sender, &a.address).cmp(&(&b.sender, &b.address)));
                prop_assert_eq!(marks.list(), wanted);
            }
        }
    }
}
