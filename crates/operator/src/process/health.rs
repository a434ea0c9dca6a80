//! How far the process is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// How far the process is.
#[derive(Debug, Default)]
pub struct Health {
    started: AtomicBool,
    working: AtomicBool,
    /// Why it is about to end.
    dead: Mutex<Option<String>>,
    unguarded: Mutex<Option<String>>,
}

impl Health {
    /// It has a way to the API server, and waits for the Lease or works.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// It has the Lease and has seen everything once.
    pub fn set_working(&self) {
        self.working.store(true, Ordering::Relaxed);
    }

    /// Whether it has the Lease and has seen everything once.
    pub fn is_working(&self) -> bool {
        self.working.load(Ordering::Relaxed)
    }

    /// What is wrong with the admission policies, if something is.
    pub fn set_unguarded(&self, fault: Option<String>) {
        *self.unguarded.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// It cannot go on.
    pub fn set_dead(&self, reason: String) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    /// Why it is not ready, if it is not. One that waits for the Lease is ready: it would take over.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if dead.is_some() {
            return dead;
        }
        if !self.started.load(Ordering::Relaxed) {
            return Some("not connected to the API server yet".to_owned());
        }
        self.unguarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
