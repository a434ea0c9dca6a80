//! Delivery marks: how far each sender has come, so that an operator can change a sender's configuration without a gap.
//!
//! A mark is the range of sample timestamps that were acknowledged, and when the last of them was, for one (sender, token,
//! entry, replica, address). It moves only once the request is durable. Marks live in memory: they begin anew with the
//! process, and 16,384 are kept. When there are more, the sender with the most of them loses the one that was delivered to longest ago:
//! a sender may have as many as it has pods, entries and tokens, and takes none from those that have fewer. So a mark says "this much has come"; that there is none says nothing.
//!
//! **Which process of a sender it was** is told twice. The address is that of the connection, so it fails behind a proxy. The
//! replica is the label `prometheus_replica`: the Prometheus Operator makes it an external label with the pod's name, and
//! can be told to leave it out. Prometheus adds external labels to series that have no label of that name
//! (`storage/remote/queue_manager.go`, `processExternalLabels`: "the value in b wins") and relabels afterwards. So federated
//! series keep the replica that they were scraped with, and a request may hold several. Hence the replica of a request is
//! that of a few of its series, if they agree, and else none: no answer is better than another pod's name. A request
//! with nothing but federated series still names a replica that did not send it. **Match a mark by its address first,
//! by its replica only where no pod has the address.**

mod recent;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use promarchive_api::tokens_file::Holder;
use promarchive_api::{Delivery, MOST_DELIVERIES};
use recent::Recent;

use super::fair::Sender;
use crate::core::Delivered;

/// Longest name of an entry, in bytes.
const LONGEST_ENTRY_BYTES: usize = 64;
/// Longest replica, in bytes: no pod has a longer name.
const LONGEST_REPLICA_BYTES: usize = 253;

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

/// The name of an entry, if it is one: letters, digits and `._/-`, at most 64 of them.
pub(super) fn entry(given: &[u8]) -> Box<str> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"._/-".contains(byte);
    let named = given.len() <= LONGEST_ENTRY_BYTES && given.iter().all(valid);
    str::from_utf8(given).ok().filter(|_| named).unwrap_or_default().into()
}

/// How many marks an answer may have at most, by the query of its request; `limit` has to be a number.
pub(super) fn limit(query: Option<&str>) -> Result<usize, std::num::ParseIntError> {
    let mut parts = query.unwrap_or_default().split('&');
    parts.find_map(|part| part.strip_prefix("limit=")).map_or(Ok(usize::MAX), str::parse)
}

/// The replica, if it can be the name of anything: short, and without what an answer would have to escape.
fn replica(given: Box<str>) -> Box<str> {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
    if given.len() <= LONGEST_REPLICA_BYTES && given.chars().all(is_plain) { given } else { Box::default() }
}

/// What tells the marks of one sender apart, in the order in which they are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
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
    recent: Recent,
    /// Number of the delivery: the clock may stand still, or go back.
    turn: u64,
}

/// The marks of one sender.
#[derive(Debug, Default)]
struct OfSender {
    marks: BTreeMap<Arc<Key>, Mark>,
    /// The same, the one that was delivered to longest ago first.
    by_turn: BTreeMap<u64, Arc<Key>>,
}

impl OfSender {
    fn record(&mut self, key: Key, Delivered { first, newest, .. }: &Delivered, now: i64, turn: u64) {
        let key = match self.marks.get_key_value(&key) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(key),
        };
        let mark = self.marks.entry(Arc::clone(&key)).or_insert_with(|| Mark {
            first: *first,
            newest: *newest,
            last_delivered: now,
            recent: Recent::default(),
            turn,
        });
        self.by_turn.remove(&mark.turn);
        self.by_turn.insert(turn, key);
        (mark.first, mark.newest) = (mark.first.min(*first), mark.newest.max(*newest));
        (mark.last_delivered, mark.turn) = (now, turn);
        mark.recent.record(*first, now);
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.by_turn.pop_first() {
            self.marks.remove(&key);
        }
    }

    /// When its least recent mark was delivered to.
    fn oldest_turn(&self) -> Option<u64> {
        self.by_turn.first_key_value().map(|(turn, _)| *turn)
    }

    /// When its most recent mark was delivered to.
    fn newest_turn(&self) -> Option<u64> {
        self.by_turn.last_key_value().map(|(turn, _)| *turn)
    }

    /// The `most` marks that were delivered to last, in their order.
    fn list(&self, most: usize) -> impl Iterator<Item = (&Key, &Mark)> {
        let skipped = self.marks.len().saturating_sub(most);
        let from = self.by_turn.keys().nth(skipped).copied().unwrap_or(u64::MAX);
        self.marks.iter().filter(move |(_, mark)| mark.turn >= from).map(|(key, mark)| (&**key, mark))
    }
}

/// The marks of one process.
#[derive(Debug)]
pub(super) struct Marks {
    senders: HashMap<Arc<str>, OfSender>,
    count: usize,
    turn: u64,
    most: usize,
}

impl Default for Marks {
    fn default() -> Self {
        Self::bounded(MOST_DELIVERIES)
    }
}

impl Marks {
    fn bounded(most: usize) -> Self {
        Self { senders: HashMap::new(), count: 0, turn: 0, most }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Something has become durable; `now` is milliseconds since the epoch.
    pub(super) fn record(&mut self, source: Source, mut delivered: Delivered, now: i64) {
        let Source { holder, entry, address } = source;
        let replica = replica(std::mem::take(&mut delivered.replica));
        self.turn += 1;
        let sender = self.senders.entry(holder.name).or_default();
        let before = sender.marks.len();
        sender.record(Key { token: holder.token, entry, replica, address }, &delivered, now, self.turn);
        self.count += sender.marks.len() - before;
        if self.count > self.most {
            self.make_room();
        }
    }

    /// Who has the most makes room; of several, the one whose mark is the least recent.
    fn make_room(&mut self) {
        let least_recent = |of: &OfSender| std::cmp::Reverse(of.oldest_turn());
        let most = self.senders.iter_mut().max_by_key(|(_, of)| (of.marks.len(), least_recent(of)));
        let Some((name, of)) = most else { return };
        of.drop_oldest();
        self.count -= 1;
        if of.marks.is_empty() {
            let name = Arc::clone(name);
            self.senders.remove(&name);
        }
    }

    /// Marks by sender, token, entry, replica and address: all, or the most recent ones of each sender, in equal shares, if there are
    /// more than `limit`. With more senders than that, one mark of each of those that delivered last.
    pub(super) fn list(&self, limit: usize) -> Vec<Delivery> {
        let share = share(self.senders.values().map(|of| of.marks.len()).collect(), limit);
        let mut senders: Vec<_> = self.senders.iter().collect();
        if share == 0 {
            senders.sort_unstable_by_key(|(_, of)| std::cmp::Reverse(of.newest_turn()));
            senders.truncate(limit);
        }
        senders.sort_unstable_by_key(|(name, _)| *name);
        let of_sender = |(name, of): (&Arc<str>, &OfSender)| -> Vec<Delivery> {
            of.list(share.max(1)).map(|(key, mark)| delivery(name, key, mark)).collect()
        };
        senders.into_iter().flat_map(of_sender).collect()
    }
}

fn delivery(sender: &str, key: &Key, mark: &Mark) -> Delivery {
    Delivery {
        sender: sender.to_owned(),
        token: key.token.to_string(),
        entry: key.entry.to_string(),
        replica: key.replica.to_string(),
        address: key.address.to_string(),
        first: mark.first,
        newest: mark.newest,
        last_delivered: mark.last_delivered,
        oldest: mark.recent.oldest(),
    }
}

/// The largest number of marks of each sender, of which there are `counts`, so that all together are at most `limit`.
fn share(mut counts: Vec<usize>, limit: usize) -> usize {
    counts.sort_unstable();
    let (mut left, mut senders) = (limit, counts.len());
    for count in counts {
        let share = left / senders.max(1);
        if count > share {
            return share;
        }
        left -= count;
        senders -= 1;
    }
    usize::MAX
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
            oldest: vec![],
        };
        assert_eq!(marks.list(usize::MAX), [mark("", "10.0.0.2", 1, 1, 400), mark("r", "10.0.0.1", -1, 9, 200)]);
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
        for n in 0..20_000_u32 {
            let address = n.to_be_bytes();
            marks.record(source("loud", address), delivered(1, 1, ""), 0);
        }
        let list = marks.list(usize::MAX);
        assert_eq!(list.len(), MOST_DELIVERIES);
        assert_eq!(list.iter().filter(|mark| mark.sender == "quiet").count(), 1);
        assert!(list.iter().any(|mark| mark.address == "0.0.78.31"), "the newest of the loud one is kept");
        // Others that come later get their room from the loud one.
        for n in 0..100 {
            marks.record(source("late", [10, 0, 0, n]), delivered(1, 1, ""), 0);
        }
        let list = marks.list(usize::MAX);
        assert_eq!(list.iter().filter(|mark| mark.sender == "late").count(), 100);
        assert_eq!(list.len(), MOST_DELIVERIES);
    }

    #[test]
    fn five_hundred_pods_with_two_entries_and_two_tokens_are_all_kept() {
        let mut marks = Marks::default();
        for (token, entry) in [("old", "e1"), ("old", "e2"), ("new", "e1"), ("new", "e2")] {
            for pod in 0..500_u32 {
                let [.., high, low] = pod.to_be_bytes();
                let mut source = source("agents", [10, 0, high, low]);
                (source.holder.token, source.entry) = (token.into(), entry.into());
                marks.record(source, delivered(1, 1, &format!("prom-agent-{pod}")), 0);
            }
        }
        assert_eq!(marks.list(usize::MAX).len(), 2_000);
        // Another sender with fewer has all of its own in an answer that is cut, and this one the most recent.
        marks.record(source("small", [10, 1, 0, 1]), delivered(1, 1, ""), 0);
        let list = marks.list(501);
        assert_eq!((list.len(), list.last().unwrap().sender.as_str()), (501, "small"));
        assert!(list.iter().all(|mark| mark.sender == "small" || (mark.token == "new" && mark.entry == "e2")));
    }

    #[test]
    fn a_request_may_say_how_many_marks_it_wants() {
        for (query, wanted) in [
            (None, Some(usize::MAX)),
            (Some(""), Some(usize::MAX)),
            (Some("a=b&limit=7"), Some(7)),
            (Some("limit=many"), None),
        ] {
            assert_eq!(limit(query).ok(), wanted, "{query:?}");
        }
    }

    #[test]
    fn with_a_limit_those_that_delivered_last_are_listed() {
        let mut marks = Marks::default();
        for (now, sender) in ["a", "b", "c", "b"].into_iter().enumerate() {
            let address = [10, 0, 0, u8::try_from(now).unwrap()];
            marks.record(source(sender, address), delivered(1, 2, "r"), 1_000);
        }
        let listed = |limit| marks.list(limit).into_iter().map(|mark| (mark.sender, mark.address)).collect::<Vec<_>>();
        let mark = |sender: &str, address: u8| (sender.to_owned(), format!("10.0.0.{address}"));
        assert_eq!(listed(0), []);
        assert_eq!(listed(1), [mark("b", 3)]);
        assert_eq!(listed(2), [mark("b", 3), mark("c", 2)]);
        assert_eq!(listed(3), [mark("a", 0), mark("b", 3), mark("c", 2)]);
    }

    #[test]
    fn equal_shares_are_as_large_as_they_can_be() {
        for (counts, limit, wanted) in [
            (vec![], 5, usize::MAX),
            (vec![2, 3], 5, usize::MAX),
            (vec![2, 3], 4, 2),
            (vec![10, 1, 10], 9, 4),
            (vec![1, 1, 1], 2, 0),
        ] {
            assert_eq!(share(counts.clone(), limit), wanted, "{counts:?} {limit}");
        }
    }

    #[test]
    fn no_mark_is_longer_than_is_said() {
        let mut marks = Marks::default();
        let mut source = source(&"\"".repeat(128), [10, 0, 0, 1]);
        source.address = "abcd:abcd:abcd:abcd:abcd:abcd:abcd:abcd".parse().unwrap();
        (source.holder.token, source.entry) = ("01234567".into(), "e".repeat(64).into());
        for now in 0..300_i64 {
            let low = i64::MIN + 1_000_000;
            marks.record(source.clone(), delivered(low, i64::MAX, &"r".repeat(253)), low + now * 1_000);
        }
        let list = marks.list(usize::MAX);
        assert_eq!((list.len(), list[0].oldest.len()), (1, 6));
        let length = serde_json::to_string(&list[0]).unwrap().len();
        assert!(length <= promarchive_api::LONGEST_DELIVERY_BYTES, "{length}");
        for wrong in ["r".repeat(254), "a\nb".to_owned(), "a\"b".to_owned()] {
            assert_eq!(&*replica(wrong.into()), "");
        }
    }

    #[test]
    fn there_is_an_end_to_senders_too() {
        let mut marks = Marks::bounded(4096);
        for n in 0..5000 {
            marks.record(source(&format!("{n:04}"), [10, 0, 0, 1]), delivered(1, 1, ""), 0);
        }
        let list = marks.list(usize::MAX);
        assert_eq!((list.len(), list[0].sender.as_str()), (4096, "0904"));
        assert_eq!(marks.senders.len(), 4096);
    }

    /// Marks as a list in the order of their last delivery.
    #[derive(Default)]
    struct Model(Vec<Delivery>);

    impl Model {
        fn record(&mut self, sender: &str, address: u8, first: i64, newest: i64, now: i64, most: usize) {
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
                oldest: vec![],
            });
            mark.first = mark.first.min(first);
            mark.newest = mark.newest.max(newest);
            mark.last_delivered = now;
            self.0.push(mark);
            if self.0.len() > most {
                let of = |sender: &str| self.0.iter().filter(|mark| mark.sender == sender).count();
                let largest = self.0.iter().map(|mark| of(&mark.sender)).max().unwrap();
                let at = self.0.iter().position(|mark| of(&mark.sender) == largest).unwrap();
                self.0.remove(at);
            }
        }
    }

    proptest! {
        #[test]
        fn the_least_recent_of_the_sender_with_the_most_goes_and_nothing_else_is_lost(
            most in 1_usize..12,
            steps in prop::collection::vec((0..4_u8, 0..6_u8, -9..9_i64, 0..9_i64, any::<i8>()), 0..60),
        ) {
            let (mut marks, mut model) = (Marks::bounded(most), Model::default());
            for (sender, address, first, length, now) in steps {
                let (sender, now) = (sender.to_string(), i64::from(now));
                marks.record(source(&sender, [10, 0, 0, address]), delivered(first, first + length, "r"), now);
                model.record(&sender, address, first, first + length, now, most);
                let mut wanted = model.0.clone();
                wanted.sort_by(|a, b| (&a.sender, &a.address).cmp(&(&b.sender, &b.address)));
                // What came in the last while has tests of its own.
                let list = marks.list(usize::MAX).into_iter().map(|mark| Delivery { oldest: vec![], ..mark });
                prop_assert_eq!(list.collect::<Vec<_>>(), wanted);
            }
        }
    }
}
