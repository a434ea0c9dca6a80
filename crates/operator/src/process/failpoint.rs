//! Points between two steps, at which a test ends the process: what it leaves must be what the next start mends.
//!
//! Compiled in only with the feature `failpoints`. `PROMARCHIVE_OPERATOR_FAILPOINT=<name>` ends the process, as SIGKILL
//! would, the first time that the point is reached.

macro_rules! points {
    ($($(#[doc = $doc:literal])* $variant:ident => $name:literal,)*) => {
        /// A point between two steps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum FailPoint { $($(#[doc = $doc])* $variant,)* }

        impl FailPoint {
            #[cfg(feature = "failpoints")]
            const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

points! {
    /// The finalizer is on, nothing else is there.
    AfterHold => "after-hold",
    /// The Secrets are written, the objects are not.
    AfterSecrets => "after-secrets",
    /// The objects are applied, no Prometheus is patched.
    AfterApply => "after-apply",
    /// A Prometheus is about to be patched.
    BeforePatch => "before-patch",
    /// A Prometheus is patched, nobody knows.
    AfterPatch => "after-patch",
    /// The status is about to be written.
    BeforeStatus => "before-status",
    /// An entry of a deleted archive is about to be taken out.
    BeforeRemoval => "before-removal",
    /// It is out.
    AfterRemoval => "after-removal",
    /// Nothing comes any more; the last flush is not done.
    BeforeLastFlush => "before-last-flush",
    /// All is done but to take the finalizer off.
    BeforeRelease => "before-release",
}

/// Ends the process if a test asked for it here.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(point: FailPoint) {
    if std::env::var("PROMARCHIVE_OPERATOR_FAILPOINT").is_ok_and(|name| name == point.name()) {
        eprintln!("fail point {}", point.name());
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_: FailPoint) {}
