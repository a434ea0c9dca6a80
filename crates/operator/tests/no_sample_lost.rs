//! A small model of a Prometheus and its pods, driven by the real `plan` and `may_retire`: settings change, the receiver and the
//! pods restart, configurations come late, queues lag. No sample may be missing that one entry, never changed, would have
//! brought. Each part of the rule is also taken out, and then some are missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use promarchive_api::metrics_archive::{PrometheusKind, RemoteWriteSettings, TlsMode};
use promarchive_api::{Deliveries, Delivery, Oldest, Timespan};
use promarchive_operator::names::{ArchiveName, EntryName, PrometheusName};
use promarchive_operator::senders::delivery::{self, OVERLAP, Pod, Sender};
use promarchive_operator::senders::entry::{Capabilities, Entry, Operation, Plan, State, plan};
use serde_json::{Value, json};

/// Seconds of simulated time with changes, and then without.
const EVENTFUL: i64 = 4_000;
const CALM: i64 = 3_000;
/// Longest from a patch to the configuration in a pod, s.
const LOADING: i64 = 85;
/// Exporters with timestamps of their own: that far behind and ahead, s. Prometheus takes what is up to 600 s ahead.
const BEHIND: i64 = 40;
const AHEAD: i64 = 540;
/// Between two scrapes, s.
const INTERVAL: i64 = 10;

/// A sample: its timestamp (s), and a number that tells it from all others of the pod.
type Sample = (i64, usize);

/// xorshift64*: the same run for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn once_in(&mut self, ticks: u64) -> bool {
        self.below(ticks) == 0
    }

    fn seconds(&mut self, limit: i64) -> i64 {
        i64::try_from(self.below(limit.unsigned_abs())).unwrap()
    }
}

/// What a receiver knows, and all that it ever acknowledged, by pod.
#[derive(Default)]
struct Receiver {
    started: i64,
    down_until: i64,
    marks: BTreeMap<(String, String), Delivery>,
    /// When what came by a mark.
    arrivals: BTreeMap<(String, String), Vec<(i64, i64)>>,
    acknowledged: BTreeSet<(String, Sample)>,
}

impl Receiver {
    fn take(&mut self, pod: &str, header: &str, sample: Sample, now: i64) {
        self.acknowledged.insert((pod.to_owned(), sample));
        let time = sample.0 * 1_000;
        let mark = self.marks.entry((pod.to_owned(), header.to_owned())).or_insert_with(|| Delivery {
            sender: "s".to_owned(),
            token: "t".to_owned(),
            entry: header.to_owned(),
            replica: pod.to_owned(),
            address: String::new(),
            first: time,
            newest: time,
            last_delivered: 0,
            oldest: vec![],
        });
        mark.first = mark.first.min(time);
        mark.newest = mark.newest.max(time);
        mark.last_delivered = now * 1_000;
        let arrivals = self.arrivals.entry((pod.to_owned(), header.to_owned())).or_default();
        arrivals.push((now, time));
        let first = arrivals[0].0;
        let oldest = |seconds: i64| {
            let timestamp =
                arrivals.iter().rev().take_while(|(at, _)| *at >= now - seconds).map(|(_, time)| *time).min();
            let pauses = arrivals.windows(2).rev().take_while(|pair| pair[1].0 >= now - seconds);
            let longest_pause = pauses.map(|pair| (pair[1].0 - pair[0].0) * 1_000).max().unwrap_or(0);
            Oldest { seconds, timestamp: timestamp.unwrap(), longest_pause }
        };
        mark.oldest =
            [15, 30, 60, 120, 180, 240].into_iter().filter(|seconds| now - first >= *seconds).map(oldest).collect();
    }

    fn restart(&mut self, now: i64, random: &mut Random) {
        self.marks.clear();
        self.arrivals.clear();
        self.started = now;
        self.down_until = now + random.seconds(60);
    }
}

/// A queue of one entry: what it has read and not sent is in `pending`.
struct Queue {
    header: String,
    started: i64,
    position: usize,
    pending: VecDeque<Sample>,
    stalled_until: i64,
}

impl Queue {
    fn new(entry: &Value, now: i64) -> Self {
        let header = entry["headers"]["X-Promarchive-Entry"].as_str().unwrap().to_owned();
        Self { header, started: now, position: 0, pending: VecDeque::new(), stalled_until: 0 }
    }

    /// Reads the WAL in order, sends a few, in almost any order: shards.
    fn run(&mut self, wal: &[Sample], pod: &str, receiver: &mut Receiver, now: i64, random: &mut Random) {
        while self.pending.len() < 12 && self.position < wal.len() {
            let sample = wal[self.position];
            self.position += 1;
            if sample.0 > self.started {
                self.pending.push_back(sample);
            }
        }
        if random.once_in(200) {
            self.stalled_until = now + random.seconds(300);
        }
        if now < self.stalled_until || now < receiver.down_until {
            return;
        }
        for _ in 0..random.below(4) {
            let at = usize::try_from(random.below(4)).unwrap().min(self.pending.len().saturating_sub(1));
            if let Some(sample) = self.pending.remove(at) {
                receiver.take(pod, &self.header, sample, now);
            }
        }
    }

    /// What is read is flushed, if it can be; what is not read is abandoned.
    fn stop(self, pod: &str, receiver: &mut Receiver, now: i64) {
        if now >= receiver.down_until {
            self.pending.into_iter().for_each(|sample| receiver.take(pod, &self.header, sample, now));
        }
    }
}

/// A pod: its write-ahead log, the queues of the entries that it has loaded.
struct Process {
    name: String,
    up_from: i64,
    wal: Vec<Sample>,
    queues: BTreeMap<String, Queue>,
    /// Configurations under way, each with when it is there.
    coming: VecDeque<(i64, Vec<Value>)>,
    /// When the first queue of this process started: from then on nothing may be missing.
    archived_from: Option<i64>,
    expected: BTreeSet<Sample>,
    serial: usize,
}

impl Process {
    fn new(name: &str, now: i64) -> Self {
        Self {
            name: name.to_owned(),
            up_from: now,
            wal: Vec::new(),
            queues: BTreeMap::new(),
            coming: VecDeque::new(),
            archived_from: None,
            expected: BTreeSet::new(),
            serial: 0,
        }
    }

    fn load(&mut self, list: &[Value], receiver: &mut Receiver, now: i64) {
        let names: BTreeSet<_> = list.iter().map(|entry| entry["name"].to_string()).collect();
        if names.len() < list.len() {
            return;
        }
        let mut before = std::mem::take(&mut self.queues);
        let (mut kept, mut fresh) = (BTreeMap::new(), Vec::new());
        for entry in list {
            let hash = entry.to_string();
            match before.remove(&hash) {
                Some(queue) => drop(kept.insert(hash, queue)),
                None => fresh.push((hash, Queue::new(entry, now))),
            }
        }
        before.into_values().for_each(|queue| queue.stop(&self.name, receiver, now));
        kept.extend(fresh);
        self.queues = kept;
        if !self.queues.is_empty() {
            self.archived_from.get_or_insert(now);
        }
    }

    fn scrape(&mut self, now: i64) {
        for time in [now, now - BEHIND, now + AHEAD] {
            let sample = (time, self.serial);
            self.serial += 1;
            self.wal.push(sample);
            if self.archived_from.is_some_and(|from| time > from) {
                self.expected.insert(sample);
            }
        }
    }

    /// What a queue may still send.
    fn unsent(&self) -> BTreeSet<Sample> {
        let of = |queue: &Queue| {
            let unread = self.wal[queue.position..].iter().filter(|sample| sample.0 > queue.started);
            queue.pending.iter().chain(unread).copied().collect::<Vec<_>>()
        };
        self.queues.values().flat_map(of).collect()
    }

    /// The process ends. What a queue could still have sent is lost with any number of entries: nobody expects it.
    fn restart(&mut self, list: &[Value], receiver: &mut Receiver, now: i64, random: &mut Random) {
        let unsent = self.unsent();
        for queue in std::mem::take(&mut self.queues).into_values() {
            queue.stop(&self.name, receiver, now);
        }
        self.expected.retain(|sample| !unsent.contains(sample));
        self.wal.clear();
        self.coming.clear();
        self.archived_from = None;
        self.up_from = now + 2 + random.seconds(20);
        self.coming.push_back((self.up_from, list.to_vec()));
    }

    fn run(&mut self, receiver: &mut Receiver, now: i64, random: &mut Random) {
        while self.coming.front().is_some_and(|(at, _)| *at <= now) {
            let (_, list) = self.coming.pop_front().unwrap();
            self.load(&list, receiver, now);
        }
        if now < self.up_from {
            return;
        }
        if now % INTERVAL == 0 {
            self.scrape(now);
        }
        for queue in self.queues.values_mut() {
            queue.run(&self.wal, &self.name, receiver, now, random);
        }
    }

    fn as_pod(&self, now: i64) -> Pod {
        let started = (now >= self.up_from).then_some(self.up_from * 1_000);
        Pod { name: self.name.clone(), addresses: vec![], started, terminating: false }
    }
}

/// Whether an old entry may go: the rule under test, or a broken one.
type Rule = fn(&EntryName, &EntryName, i64, &Sender<'_>) -> bool;

struct World {
    random: Random,
    archive: ArchiveName,
    entries: Vec<Entry>,
    wanted: usize,
    list: Vec<Value>,
    written: i64,
    receiver: Receiver,
    processes: Vec<Process>,
    state: State,
    /// Marks say that nothing older comes, whatever comes.
    forged: bool,
}

impl World {
    fn new(seed: u64, forged: bool) -> Self {
        let archive = ArchiveName { namespace: "team".to_owned(), name: "lab".to_owned() };
        let processes = ["prometheus-main-0", "prometheus-main-1"].map(|name| Process::new(name, 0));
        Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            entries: entries(&archive),
            archive,
            wanted: 0,
            list: Vec::new(),
            written: 0,
            receiver: Receiver::default(),
            processes: processes.into(),
            state: State::Absent,
            forged,
        }
    }

    /// One look of the operator: marks, plan, patch; the pods get the new list some time later.
    fn reconcile(&mut self, rule: Rule, now: i64) {
        let mut deliveries = Deliveries {
            started: self.receiver.started * 1_000,
            now: now * 1_000,
            ready: now >= self.receiver.down_until,
            writable_since: (now >= self.receiver.down_until).then_some(self.receiver.down_until * 1_000),
            reason: None,
            senders: vec![],
            deliveries: self.receiver.marks.values().cloned().collect(),
        };
        if self.forged {
            let never = vec![Oldest { seconds: 240, timestamp: i64::MAX, longest_pause: 0 }];
            deliveries.deliveries.iter_mut().for_each(|mark| mark.oldest.clone_from(&never));
        }
        let pods: Vec<_> = self.processes.iter().map(|process| process.as_pod(now)).collect();
        let sender = Sender::new(&deliveries, "s", &pods);
        let wanted = &self.entries[self.wanted];
        let written = self.written * 1_000;
        let plan =
            plan(&self.list, &self.archive, "team", Some(wanted), |old| rule(old, wanted.name(), written, &sender));
        self.state = plan.state.clone();
        if !plan.operations.is_empty() {
            self.list = patched(&plan, &self.list);
            self.written = now;
            for process in &mut self.processes {
                let earliest = process.coming.back().map_or(now.max(process.up_from), |(at, _)| *at);
                let at = earliest.max(now + self.random.seconds(LOADING));
                process.coming.push_back((at, self.list.clone()));
            }
        }
    }

    fn disturb(&mut self, now: i64) {
        if self.random.once_in(150) {
            self.wanted = usize::try_from(self.random.below(3)).unwrap();
        }
        if self.random.once_in(500) {
            self.receiver.restart(now, &mut self.random);
        }
        for process in &mut self.processes {
            if self.random.once_in(700) && now >= process.up_from {
                process.restart(&self.list, &mut self.receiver, now, &mut self.random);
            }
        }
    }

    fn missing(&self) -> usize {
        let is_missing = |pod: &str, sample: &Sample| !self.receiver.acknowledged.contains(&(pod.to_owned(), *sample));
        let of = |process: &Process| process.expected.iter().filter(|sample| is_missing(&process.name, sample)).count();
        self.processes.iter().map(of).sum()
    }
}

/// The list after the plan.
fn patched(plan: &Plan, found: &[Value]) -> Vec<Value> {
    let mut list: Vec<Option<Value>> = found.iter().cloned().map(Some).collect();
    for operation in &plan.operations {
        match operation {
            Operation::Add(value) => list.push(Some(value.clone())),
            Operation::Replace(at, value) => list[*at] = Some(value.clone()),
            Operation::Remove(at) => list[*at] = None,
        }
    }
    list.into_iter().flatten().collect()
}

fn entries(archive: &ArchiveName) -> Vec<Entry> {
    let prometheus =
        PrometheusName { kind: PrometheusKind::Prometheus, namespace: "team".to_owned(), name: "main".to_owned() };
    let capabilities = Capabilities::of(prometheus.kind, &json!({}), None);
    let entry = |(exemplars, native_histograms)| {
        let settings = RemoteWriteSettings { exemplars, native_histograms, ..RemoteWriteSettings::default() };
        Entry::new(archive, TlsMode::SelfSigned, &settings, &prometheus, &capabilities).unwrap()
    };
    [(true, true), (true, false), (false, true)].map(entry).into()
}

/// Samples that are missing at the end, and how many were expected.
fn run(seed: u64, rule: Rule, forged: bool) -> (usize, usize) {
    let mut world = World::new(seed, forged);
    for now in 0..EVENTFUL + CALM {
        if now < EVENTFUL {
            world.disturb(now);
        }
        for process in &mut world.processes {
            process.run(&mut world.receiver, now, &mut world.random);
        }
        if now % 5 == 0 {
            world.reconcile(rule, now);
        }
    }
    assert_eq!(world.state, State::Configured, "seed {seed}: the old entries went out in the end");
    for process in &mut world.processes {
        let unsent = process.unsent();
        process.expected.retain(|sample| !unsent.contains(sample));
    }
    (world.missing(), world.processes.iter().map(|process| process.expected.len()).sum())
}

fn lost_with(rule: Rule) -> Vec<u64> {
    (0..60).filter(|seed| run(*seed, rule, false).0 > 0).collect()
}

fn may_retire(old: &EntryName, new: &EntryName, written: i64, sender: &Sender<'_>) -> bool {
    let interval = Timespan::from_secs(INTERVAL.unsigned_abs());
    delivery::may_retire(old, new, written, sender, OVERLAP, interval).is_yes()
}

#[test]
fn no_change_of_settings_loses_a_sample() {
    for seed in 0..300 {
        let (missing, expected) = run(seed, may_retire, false);
        assert!(expected > 1_000, "seed {seed}: {expected}");
        assert_eq!(missing, 0, "seed {seed}");
    }
}

#[test]
fn without_the_rule_samples_are_lost() {
    assert!(!lost_with(|_, _, _, _| true).is_empty());
}

#[test]
fn without_the_overlap_samples_are_lost() {
    let lost = lost_with(|old, new, written, sender| {
        let interval = Timespan::from_secs(INTERVAL.unsigned_abs());
        delivery::may_retire(old, new, written, sender, Timespan::from_millis(0), interval).is_yes()
    });
    assert!(!lost.is_empty());
}

#[test]
fn without_the_time_of_writing_samples_are_lost() {
    let lost = lost_with(|old, new, _, sender| may_retire(old, new, i64::MIN, sender));
    assert!(!lost.is_empty());
}

/// The newest sample of an exporter that is ahead says nothing of a queue that lags.
#[test]
fn without_the_oldest_that_comes_samples_are_lost() {
    assert!((0..60).any(|seed| run(seed, may_retire, true).0 > 0));
}
