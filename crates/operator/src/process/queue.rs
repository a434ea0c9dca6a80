//! Which key is looked at, and when: at once when something changed, again after what the last look asked for, and after a failure with a
//! growing pause. A key stands for an object. No key is looked at twice at a time. The workers are shared between namespaces, so that none
//! waits for the keys of another one. What others may cause as often as they like asks with a longer pause ([`Haste::Later`]).

mod share;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// A look mostly waits for answers.
const WORKERS: usize = 64;
/// What one look writes asks for the next one.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
/// Between two looks that others cause.
const PAUSE_FOR_OTHERS: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is looked at.
pub(crate) trait Key: Clone + Ord + Hash + Send + 'static {
    /// Whose it is. The workers are shared between namespaces.
    fn namespace(&self) -> &str;
}

/// What one look asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another look after this time.
    After(Duration),
    /// It could not be done; another look after a pause that grows.
    Retry,
    /// Nothing: it is gone.
    Forget,
}

/// How soon a key is looked at after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// At once. Two looks still have a short pause between them.
    Soon,
    /// At once if the last look was some seconds ago, else then. For changes that others can make as often as they like.
    Later,
}

/// Asks for looks.
#[derive(Clone, Debug)]
pub(crate) struct Trigger<K> {
    sender: UnboundedSender<()>,
    pending: Pending<K>,
}

/// What is asked for and not taken up yet: each key once, however often it is asked for.
type Pending<K> = Arc<Mutex<BTreeMap<K, Haste>>>;

impl<K: Key> Trigger<K> {
    /// Asks for a look at `key`.
    pub(crate) fn ask(&self, key: K, haste: Haste) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = pending.is_empty();
        pending.entry(key).and_modify(|asked| *asked = haste.min(*asked)).or_insert(haste);
        if is_first {
            // Nobody listens any more only when the operator ends.
            let _ = self.sender.send(());
        }
    }
}

#[derive(Debug)]
pub(crate) struct Asked<K> {
    receiver: UnboundedReceiver<()>,
    pending: Pending<K>,
}

/// Both ends.
pub(crate) fn queue<K: Key>() -> (Trigger<K>, Asked<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let pending = Pending::<K>::default();
    (Trigger { sender, pending: pending.clone() }, Asked { receiver, pending })
}

#[derive(Default)]
struct Slot {
    running: bool,
    /// What the last look asked for.
    due: Option<Instant>,
    /// When somebody asked first since the last look began.
    soon: Option<Instant>,
    later: Option<Instant>,
    failures: u32,
    ended: Option<Instant>,
}

impl Slot {
    fn ask(&mut self, haste: Haste, now: Instant) {
        let asked = match haste {
            Haste::Soon => &mut self.soon,
            Haste::Later => &mut self.later,
        };
        asked.get_or_insert(now);
    }

    /// When the next look begins. One that failed is looked at again soon, but not at every change of something else.
    fn due(&self) -> Option<Instant> {
        let pause = if self.failures > 0 { FIRST_PAUSE } else { LEAST_PAUSE };
        let after = |asked: Option<Instant>, pause| {
            asked.map(|asked: Instant| self.ended.map_or(asked, |ended| asked.max(ended + pause)))
        };
        let asked = [after(self.soon, pause), after(self.later, PAUSE_FOR_OTHERS)];
        asked.into_iter().chain([self.due]).flatten().min()
    }

    fn begin(&mut self) {
        self.running = true;
        (self.due, self.soon, self.later) = (None, None, None);
    }
}

impl<K: Key> Asked<K> {
    fn take(&self) -> BTreeMap<K, Haste> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at keys with `look` for as long as anybody can ask.
    #[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "their ends are waited for here"))]
    pub(crate) async fn work<F, L>(mut self, look: L)
    where
        F: Future<Output = Next> + Send + 'static,
        L: Fn(K) -> F,
    {
        let mut slots: HashMap<K, Slot> = HashMap::new();
        let mut running = JoinSet::new();
        loop {
            let now = Instant::now();
            let mut due: Vec<(Instant, K)> = slots
                .iter()
                .filter(|(_, slot)| !slot.running)
                .filter_map(|(key, slot)| Some((slot.due()?, key.clone())))
                .collect();
            due.sort_unstable();
            let due_now = due.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key);
            let looked_at = slots.iter().filter(|(_, slot)| slot.running).map(|(key, _)| key);
            for key in share::turns(due_now, looked_at, WORKERS) {
                slots.entry(key.clone()).or_default().begin();
                let looking = look(key.clone());
                running.spawn(async move {
                    // A panic must not take the key out of the queue for ever.
                    let next = tokio::spawn(looking).await.unwrap_or(Next::Retry);
                    (key, next)
                });
            }
            let wake = due.iter().map(|(at, _)| *at).find(|at| *at > now);
            let sleep = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                asked = self.receiver.recv() => match asked {
                    Some(()) => self.take().into_iter().for_each(|(one, haste)| slots.entry(one).or_default().ask(haste, Instant::now())),
                    None => return,
                },
                Some(done) = running.join_next() => {
                    if let Ok((key, next)) = done {
                        settle(&mut slots, key, next);
                    }
                }
                () = sleep => {}
            }
        }
    }
}

fn settle<K: Key>(slots: &mut HashMap<K, Slot>, key: K, next: Next) {
    let slot = slots.entry(key.clone()).or_default();
    let now = Instant::now();
    slot.running = false;
    slot.ended = Some(now);
    match next {
        Next::After(pause) => {
            slot.failures = 0;
            slot.due = Some(now + pause);
        }
        Next::Retry => {
            let pause = FIRST_PAUSE.saturating_mul(1 << slot.failures.min(6)).min(LONGEST_PAUSE);
            slot.failures += 1;
            slot.due = Some(now + pause);
        }
        // Somebody may have asked meanwhile, because it is there again.
        Next::Forget => {
            if slot.due().is_none() {
                slots.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Namespace and name.
    type Name = (&'static str, String);

    impl Key for Name {
        fn namespace(&self) -> &str {
            self.0
        }
    }

    type Log = Arc<Mutex<Vec<(String, Duration)>>>;

    fn key(name: &str) -> Name {
        ("n", name.to_owned())
    }

    fn start(answer: impl Fn(&str, usize) -> (Duration, Next) + Send + Sync + 'static) -> (Trigger<Name>, Log) {
        let (trigger, asked) = queue();
        let log = Log::default();
        let (seen, begin, answer) = (log.clone(), Instant::now(), Arc::new(answer));
        tokio::spawn(asked.work(move |(_, name): Name| {
            let count = {
                let mut seen = seen.lock().unwrap();
                seen.push((name.clone(), begin.elapsed()));
                seen.iter().filter(|(seen, _)| *seen == name).count()
            };
            let (takes, next) = answer(&name, count);
            async move {
                tokio::time::sleep(takes).await;
                next
            }
        }));
        (trigger, log)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn many_questions_at_once_are_one_look_and_one_while_looking_is_another() {
        let (trigger, log) = start(|_, _| (SECOND, Next::After(SECOND * 100)));
        for _ in 0..5 {
            trigger.ask(key("a"), Haste::Soon);
        }
        tokio::time::sleep(SECOND / 2).await;
        trigger.ask(key("a"), Haste::Soon);
        trigger.ask(key("a"), Haste::Soon);
        tokio::time::sleep(SECOND * 10).await;
        assert_eq!(log.lock().unwrap().iter().map(|(_, at)| at.as_secs()).collect::<Vec<_>>(), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_a_million_times_is_remembered_once() {
        let (trigger, asked) = queue();
        for at in 0..1_000_000 {
            trigger.ask(key(if at % 2 == 0 { "a" } else { "b" }), Haste::Soon);
        }
        assert_eq!((asked.receiver.len(), asked.take().len()), (1, 2));
        trigger.ask(key("a"), Haste::Soon);
        assert_eq!((asked.receiver.len(), asked.take().len()), (2, 1), "what comes later is heard");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_pause_longer_and_longer_and_others_go_on() {
        let (trigger, log) =
            start(
                |name, _| {
                    if name == "bad" { (Duration::ZERO, Next::Retry) } else { (SECOND, Next::After(SECOND * 30)) }
                },
            );
        trigger.ask(key("bad"), Haste::Soon);
        trigger.ask(key("good"), Haste::Soon);
        tokio::time::sleep(SECOND * 200).await;
        let log = log.lock().unwrap();
        let at = |name: &str| log.iter().filter(|(of, _)| of == name).map(|(_, at)| at.as_secs()).collect::<Vec<_>>();
        assert_eq!(at("bad"), [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        assert_eq!(at("good"), [0, 31, 62, 93, 124, 155, 186]);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_elsewhere_do_not_make_a_failing_archive_busy() {
        let (trigger, log) = start(|_, _| (Duration::ZERO, Next::Retry));
        for _ in 0..100 {
            trigger.ask(key("bad"), Haste::Soon);
            tokio::time::sleep(SECOND / 10).await;
        }
        let looks = log.lock().unwrap().len();
        assert!((9..=11).contains(&looks), "{looks} looks in 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn changes_by_others_make_nobody_busy_and_hold_up_no_change_of_ours() {
        let (trigger, log) = start(|_, _| (Duration::ZERO, Next::After(SECOND * 1000)));
        for at in 0..220 {
            trigger.ask(key("a"), Haste::Later);
            if at == 210 {
                trigger.ask(key("a"), Haste::Soon);
            }
            tokio::time::sleep(SECOND / 10).await;
        }
        let at = log.lock().unwrap().iter().map(|(_, at)| at.as_secs()).collect::<Vec<_>>();
        assert_eq!(at, [0, 5, 10, 15, 20, 21]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_forgotten_and_a_panic_is_not() {
        let (trigger, log) = start(|name, count| {
            assert!(name == "gone" || count > 1, "once");
            (Duration::ZERO, if name == "gone" { Next::Forget } else { Next::After(SECOND * 1000) })
        });
        trigger.ask(key("gone"), Haste::Soon);
        tokio::time::sleep(SECOND * 100).await;
        assert_eq!(log.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_archive_holds_up_nobody() {
        let (trigger, log) =
            start(
                |name, _| if name == "slow" { (SECOND * 1000, Next::Forget) } else { (Duration::ZERO, Next::Forget) },
            );
        trigger.ask(key("slow"), Haste::Soon);
        trigger.ask(key("quick"), Haste::Soon);
        tokio::time::sleep(SECOND).await;
        assert_eq!(log.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_full_of_slow_archives_holds_up_no_other_namespace() {
        let (trigger, log) = start(|name, _| match name {
            "quick" => (Duration::ZERO, Next::Forget),
            _ => (SECOND * 100, Next::Retry),
        });
        (0..1000).for_each(|at| trigger.ask(("crowd", format!("slow-{at}")), Haste::Soon));
        tokio::time::sleep(SECOND * 10).await;
        trigger.ask(key("quick"), Haste::Soon);
        tokio::time::sleep(SECOND).await;
        let at = log.lock().unwrap().iter().find(|(name, _)| name == "quick").map(|(_, at)| at.as_secs());
        assert_eq!(at, Some(10));
    }
}
