//! The certificate authority of an archive and the receiver's certificate: what is stored of them, and when they are made anew. Pure.
//!
//! No certificate is ever read back: what has to be known of it stands beside it.
//!
//! A new authority does not replace the present one at once: senders must know it before the receiver shows a certificate
//! of it. So there are three steps. Each is what the Secret holds, and each one ends by a proof:
//!
//! ```text
//! announced   ca.crt holds the present certificate and the next one; the receiver's certificate is of the present authority
//!     │       proof: every pod of every sender has shown a token that was made with this ca.crt, and ANNOUNCED has passed
//! changed     ca.crt holds the new certificate and the former one; the receiver's certificate is of the new authority
//!     │       proof: the receiver has shown this certificate to the operator
//! settled     ca.crt holds the new certificate alone
//! ```
//!
//! A token and `ca.crt` reach a Prometheus by two files, so a token proves little about the moment. [`ANNOUNCED`] is several times what
//! a kubelet takes for the other file. A sender that does not come along (it is paused, or its pods hang) holds the change up for as
//! long as it is a sender: the present authority goes on.

use rcgen::KeyPair;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::SecretData;
use super::certificates::{Pair, issue, new_authority};
use crate::names::ArchiveName;

/// For how long senders hold both certificates, at least, before the receiver shows one of the new authority.
pub(crate) const ANNOUNCED: Duration = Duration::minutes(10);
/// Half of its time: senders that do not come along for years must not make it end.
const NEW_AUTHORITY_AFTER: Duration = Duration::days(5 * 365);
/// Long before the end, so that an operator that stands still for months does no harm.
const NEW_CERTIFICATE_AFTER: Duration = Duration::days(180);

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot create a certificate for {archive}: {source}")]
pub struct CertificateError {
    archive: ArchiveName,
    source: rcgen::Error,
}

/// How far the certificates that senders are to know have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Not into every sender's Secret.
    Partial,
    /// Into every sender's Secret.
    Secrets,
    /// And every pod has shown the token that came with them.
    Pods,
}

/// What is known of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// Which request for a new authority there is; empty: none.
    pub request: &'a str,
    /// The certificates by which the receiver was last known, if it answered.
    pub answered: Option<&'a str>,
    pub now: OffsetDateTime,
}

/// Certificates of one archive, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// It issues the receiver's certificate.
    issuing: Pair,
    /// When a new one is due, RFC 3339; versions before this one noted nothing.
    ca_renew: Option<String>,
    /// Which request for a new authority the newest one answers.
    request: String,
    /// How many authorities there were before the newest one.
    generation: u64,
    step: Step,
    tls: Option<Pair>,
    tls_renew: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Settled,
    Announced { next: Pair, since: String },
    Changed { former: String },
}

impl Authority {
    /// What the Secret of the archive's own namespace holds, brought one step further if that is due; what is missing or broken is made anew.
    pub(crate) fn next(
        archive: &ArchiveName,
        data: &SecretData,
        known: Known<'_>,
        reach: impl Fn(&Self) -> Reach,
    ) -> Result<Self, CertificateError> {
        let made = || -> Result<Self, rcgen::Error> {
            let mut authority = match Self::read(archive, data) {
                Some(found) => found.step_on(archive, known, reach)?,
                None => Self::new(archive, data, known)?,
            };
            if authority.tls.is_none() || is_past(&authority.tls_renew, known.now) {
                authority.tls = Some(issue(archive, &authority.issuing.key, known.now)?);
                authority.tls_renew = after(known.now, NEW_CERTIFICATE_AFTER);
                authority.ca_renew.get_or_insert_with(|| after(known.now, NEW_AUTHORITY_AFTER));
            }
            Ok(authority)
        };
        made().map_err(|source| CertificateError { archive: archive.clone(), source })
    }

    fn new(archive: &ArchiveName, data: &SecretData, known: Known<'_>) -> Result<Self, rcgen::Error> {
        Ok(Self {
            issuing: new_authority(archive, known.now)?,
            ca_renew: None,
            request: known.request.to_owned(),
            generation: text(archive, data, "ca.generation").and_then(|text| text.parse().ok()).unwrap_or(0),
            step: Step::Settled,
            tls: None,
            tls_renew: String::new(),
        })
    }

    fn step_on(
        mut self,
        archive: &ArchiveName,
        known: Known<'_>,
        reach: impl Fn(&Self) -> Reach,
    ) -> Result<Self, rcgen::Error> {
        match self.step {
            Step::Settled if self.is_due(known) => {
                self.step = Step::Announced { next: new_authority(archive, known.now)?, since: at(known.now) };
                known.request.clone_into(&mut self.request);
                self.generation = self.generation.saturating_add(1);
            }
            Step::Announced { .. } => return Ok(self.change_if_known(known.now, reach)),
            Step::Changed { .. } if known.answered == Some(self.issuing.crt.as_str()) => self.step = Step::Settled,
            Step::Settled | Step::Changed { .. } => {}
        }
        Ok(self)
    }

    fn change_if_known(mut self, now: OffsetDateTime, reach: impl Fn(&Self) -> Reach) -> Self {
        let reached = reach(&self);
        let Step::Announced { next, since } = &mut self.step else { return self };
        if reached == Reach::Partial {
            *since = at(now);
        }
        // Somebody may have written any time there.
        let end = OffsetDateTime::parse(since, &Rfc3339).ok().and_then(|since| since.checked_add(ANNOUNCED));
        if end.is_none() {
            *since = at(now);
        } else if reached == Reach::Pods && end.is_some_and(|end| now >= end) {
            let former = std::mem::replace(&mut self.issuing, next.clone()).crt;
            self.step = Step::Changed { former };
            self.ca_renew = Some(after(now, NEW_AUTHORITY_AFTER));
            self.tls = None;
        }
        self
    }

    fn is_due(&self, known: Known<'_>) -> bool {
        let is_asked = !known.request.is_empty() && known.request != self.request;
        is_asked || self.ca_renew.as_deref().is_some_and(|renew| is_past(renew, known.now))
    }

    /// Whether a change of the authority is under way, or due: then the Secret is to be read from the API server itself.
    pub(crate) fn is_changing(archive: &ArchiveName, data: &SecretData, known: Known<'_>) -> bool {
        Self::read(archive, data).is_some_and(|found| found.step != Step::Settled || found.is_due(known))
    }

    /// What senders know the receiver by: one certificate, or two while the authority changes.
    pub(crate) fn bundle(&self) -> String {
        let Pair { crt, .. } = &self.issuing;
        match &self.step {
            Step::Settled => crt.clone(),
            Step::Announced { next, .. } => format!("{crt}{}", next.crt),
            Step::Changed { former } => format!("{crt}{former}"),
        }
    }

    /// The certificates by which the receiver may be known, those that prove more first.
    pub(crate) fn roots(&self) -> Vec<String> {
        match &self.step {
            Step::Changed { .. } => vec![self.issuing.crt.clone(), self.bundle()],
            Step::Settled | Step::Announced { .. } => vec![self.bundle()],
        }
    }

    /// The request for new tokens that senders' tokens answer: a new authority asks for new tokens, too, as a proof that it is known.
    pub(crate) fn token_request(&self, rotation: &str) -> String {
        match self.generation {
            0 => rotation.to_owned(),
            generation => format!("{rotation}.{generation}"),
        }
    }

    /// For an Event.
    pub(crate) fn news(&self, before: Option<&Self>) -> Option<&'static str> {
        let before = &before?.step;
        match (&self.step, before) {
            (Step::Announced { .. }, Step::Settled) => {
                Some("all senders get a new certificate authority and new tokens")
            }
            (Step::Changed { .. }, Step::Announced { .. }) => {
                Some("all senders have the new certificate authority: the receiver gets a certificate from it")
            }
            (Step::Settled, Step::Changed { .. }) => Some(
                "the receiver uses a certificate of the new authority: the previous authority is no longer trusted",
            ),
            _ => None,
        }
    }

    /// What `data` holds; none if the authority is not complete.
    pub(crate) fn read(archive: &ArchiveName, data: &SecretData) -> Option<Self> {
        let text = |what: &str| text(archive, data, what);
        let pair = |crt: &str, key: &str| Some(Pair { crt: text(crt)?, key: text(key)? });
        let is_good = |pair: &Pair| KeyPair::from_pem(&pair.key).is_ok();
        let mut issuing = pair("ca.crt", "ca.key").filter(is_good)?;
        let next = pair("ca.next.crt", "ca.next.key").filter(is_good);
        let step = match (next.zip(text("ca.next.since")), text("ca.former.crt")) {
            (Some((next, since)), _) => Step::Announced { next, since },
            (None, Some(former)) => Step::Changed { former },
            (None, None) => Step::Settled,
        };
        let beside = match &step {
            Step::Settled => None,
            Step::Announced { next, .. } => Some(&next.crt),
            Step::Changed { former } => Some(former),
        };
        if let Some(alone) = beside.and_then(|beside| issuing.crt.strip_suffix(beside.as_str())) {
            issuing.crt = alone.to_owned();
        }
        Some(Self {
            issuing,
            ca_renew: text("ca.renew"),
            request: text("ca.rotation").unwrap_or_default(),
            generation: text("ca.generation").and_then(|text| text.parse().ok()).unwrap_or(0),
            step,
            tls: pair("tls.crt", "tls.key"),
            tls_renew: text("tls.renew").unwrap_or_default(),
        })
    }

    /// Puts all of it into `data`, for the archive's own namespace.
    pub(crate) fn write(&self, archive: &ArchiveName, data: &mut SecretData) {
        let mut put = |what: &str, text: &str| data.insert(archive.secret_key(what), text.as_bytes().to_vec());
        put("ca.crt", &self.bundle());
        put("ca.key", &self.issuing.key);
        put("tls.renew", &self.tls_renew);
        if let Some(tls) = &self.tls {
            put("tls.crt", &tls.crt);
            put("tls.key", &tls.key);
        }
        if let Some(renew) = &self.ca_renew {
            put("ca.renew", renew);
        }
        if !self.request.is_empty() {
            put("ca.rotation", &self.request);
        }
        if self.generation > 0 {
            put("ca.generation", &self.generation.to_string());
        }
        match &self.step {
            Step::Settled => {}
            Step::Announced { next, since } => {
                put("ca.next.crt", &next.crt);
                put("ca.next.key", &next.key);
                put("ca.next.since", since);
            }
            Step::Changed { former } => drop(put("ca.former.crt", former)),
        }
    }
}

fn text(archive: &ArchiveName, data: &SecretData, what: &str) -> Option<String> {
    data.get(&archive.secret_key(what)).and_then(|bytes| String::from_utf8(bytes.clone()).ok())
}

fn at(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

fn after(now: OffsetDateTime, time: Duration) -> String {
    at(now + time)
}

/// What cannot be read is past.
fn is_past(text: &str, now: OffsetDateTime) -> bool {
    OffsetDateTime::parse(text, &Rfc3339).map_or(true, |time| now >= time)
}

#[cfg(test)]
mod tests;
