//! A queue into which senders put and out of which they are served by turns: one request of each that has any.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Sender;

/// Items by sender, served by turns.
#[derive(Debug)]
struct Turns<T> {
    waiting: HashMap<Sender, VecDeque<T>>,
    /// Senders with items, the next one first.
    order: VecDeque<Sender>,
    length: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), order: VecDeque::new(), length: 0 }
    }
}

impl<T> Turns<T> {
    /// Adds an item, if there is room: in `most` altogether, half of it for one sender.
    fn push(&mut self, sender: &Sender, item: T, most: usize) -> Result<(), T> {
        let own = self.waiting.get(sender).map_or(0, VecDeque::len);
        if self.length >= most || own >= most.div_ceil(2) {
            return Err(item);
        }
        if own == 0 {
            self.order.push_back(sender.clone());
        }
        self.waiting.entry(sender.clone()).or_default().push_back(item);
        self.length += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        let sender = self.order.pop_front()?;
        let items = self.waiting.get_mut(&sender)?;
        let item = items.pop_front()?;
        self.length -= 1;
        if items.is_empty() {
            self.waiting.remove(&sender);
        } else {
            self.order.push_back(sender);
        }
        Some(item)
    }
}

#[derive(Debug)]
struct State<T> {
    turns: Turns<T>,
    open: bool,
}

#[derive(Debug)]
struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    most: usize,
}

impl<T> Queue<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where items go in. The queue ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Entrance<T>(Arc<Queue<T>>);

/// Where they come out. What waits is dropped with it.
#[derive(Debug)]
pub(crate) struct Exit<T>(Arc<Queue<T>>);

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Too many wait, of this sender or of all.
    Full,
    /// Nobody takes them out any more.
    Closed,
}

/// A queue of `most` items, half of them of one sender.
pub(crate) fn queue<T>(most: usize) -> (Entrance<T>, Exit<T>) {
    let state = Mutex::new(State { turns: Turns::default(), open: true });
    let queue = Arc::new(Queue { state, changed: Condvar::new(), most });
    (Entrance(Arc::clone(&queue)), Exit(queue))
}

impl<T> Entrance<T> {
    pub(crate) fn put(&self, sender: &Sender, item: T) -> Result<(), NotTaken> {
        let Self(queue) = self;
        let mut state = queue.state();
        if !state.open {
            return Err(NotTaken::Closed);
        }
        state.turns.push(sender, item, queue.most).map_err(|_| NotTaken::Full)?;
        drop(state);
        queue.changed.notify_one();
        Ok(())
    }
}

impl<T> Drop for Entrance<T> {
    fn drop(&mut self) {
        self.0.state().open = false;
        self.0.changed.notify_one();
    }
}

impl<T> Exit<T> {
    /// The next item, if one waits.
    pub(crate) fn next(&self) -> Option<T> {
        self.0.state().turns.pop()
    }

    /// Waits for the next item; none when no more will come. Blocks the thread.
    pub(crate) fn wait(&self) -> Option<T> {
        let Self(queue) = self;
        let mut state = queue.state();
        loop {
            if let Some(item) = state.turns.pop() {
                return Some(item);
            }
            if !state.open {
                return None;
            }
            state = queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Exit<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open = false;
        state.turns = Turns::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(name: &str) -> Sender {
        Sender::Named(name.into())
    }

    #[test]
    fn senders_take_turns_however_many_items_one_has() {
        let (entrance, exit) = queue(100);
        let (flood, a, b) = (sender("flood"), sender("a"), sender("b"));
        (0..5).for_each(|n| entrance.put(&flood, ("flood", n)).unwrap());
        entrance.put(&a, ("a", 0)).unwrap();
        entrance.put(&b, ("b", 0)).unwrap();
        entrance.put(&a, ("a", 1)).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| exit.next()).collect();
        let want = [("flood", 0), ("a", 0), ("b", 0), ("flood", 1), ("a", 1), ("flood", 2), ("flood", 3), ("flood", 4)];
        assert_eq!(order, want);
    }

    #[test]
    fn a_sender_fills_half_of_it() {
        let (entrance, exit) = queue(4);
        let (flood, honest, third) = (sender("flood"), sender("honest"), sender("third"));
        let put = |sender| entrance.put(sender, ());
        assert_eq!([put(&flood), put(&flood), put(&flood)], [Ok(()), Ok(()), Err(NotTaken::Full)]);
        assert_eq!([put(&honest), put(&honest), put(&third)], [Ok(()), Ok(()), Err(NotTaken::Full)]);
        exit.next().unwrap();
        assert_eq!(put(&flood), Ok(()));
    }

    #[test]
    fn it_ends_with_either_side() {
        let (entrance, exit) = queue(4);
        entrance.put(&sender("a"), 1).unwrap();
        let waiting = std::thread::spawn(move || (exit.wait(), exit.wait(), exit.wait()));
        entrance.put(&sender("a"), 2).unwrap();
        drop(entrance);
        assert_eq!(waiting.join().unwrap(), (Some(1), Some(2), None));

        let (entrance, exit) = queue(4);
        let dropped = Arc::new(());
        entrance.put(&sender("a"), Arc::clone(&dropped)).unwrap();
        drop(exit);
        assert_eq!(Arc::strong_count(&dropped), 1, "who waits for an answer is told");
        assert_eq!(entrance.put(&sender("a"), dropped), Err(NotTaken::Closed));
    }
}
