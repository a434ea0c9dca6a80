//! Events on archives, for `kubectl describe`. Written when something changed, never while all is well.

use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use promarchive_api::metrics_archive::MetricsArchiveStatus;
use tracing::warn;

use crate::kubernetes::cache::Source;
use crate::names::ArchiveName;
use crate::process::Since;

/// Longest text of an Event.
const LONGEST_NOTE: usize = 900;
/// A recorder remembers every Event for six minutes. After so many it is replaced: some Events are then counted anew.
const REMEMBERED: usize = 256;

pub(crate) struct Events {
    client: Client,
    /// What writes them, and how many it has written.
    recorder: Mutex<(Recorder, usize)>,
    said: Since<ArchiveName, String>,
}

impl Events {
    /// For the operator.
    pub(crate) fn new(client: Client) -> Self {
        Self { recorder: Mutex::new((recorder(&client), 0)), client, said: Since::default() }
    }

    /// Forgets an archive that is gone.
    pub(crate) fn forget(&self, archive: &ArchiveName) {
        self.said.end(archive);
    }

    fn recorder(&self) -> Recorder {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if recorder.1 == REMEMBERED {
            *recorder = (self::recorder(&self.client), 0);
        }
        recorder.1 += 1;
        recorder.0.clone()
    }

    /// Writes one. An Event that cannot be written is no fault of the archive.
    pub(crate) async fn write(&self, archive: &DynamicObject, warning: bool, reason: &str, action: &str, note: String) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note.chars().take(LONGEST_NOTE).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder().publish(&event, &reference(archive)).await {
            warn!(reason, error = %crate::process::chain(&error), "cannot write an Event");
        }
    }

    /// Writes a warning, unless it was the last one about this object.
    pub(crate) async fn say_once(&self, archive: &DynamicObject, reason: &str, note: String) {
        let name = ArchiveName::new(archive.namespace().unwrap_or_default(), archive.name_any());
        let note: String = note.chars().take(LONGEST_NOTE).collect();
        if self.said.said(&name).as_ref() != Some(&note) {
            self.said.renew(name, note.clone());
            self.write(archive, true, reason, "Reconcile", note).await;
        }
    }
}

fn recorder(client: &Client) -> Recorder {
    let reporter = Reporter { controller: "promarchive-operator".into(), instance: None };
    Recorder::new(client.clone(), reporter)
}

/// The object that an Event is about; what a list answers says nothing of its kind.
fn reference(archive: &DynamicObject) -> ObjectReference {
    archive.object_ref(&Source::Archive.resource())
}

/// What changed between two statuses, one line for each: reason, text, and whether it is a warning.
pub(crate) fn changes(before: &MetricsArchiveStatus, after: &MetricsArchiveStatus) -> Vec<(String, String, bool)> {
    use promarchive_api::metrics_archive::{ConditionStatus, ConditionType, Reason};
    let mut changes = Vec::new();
    let is_deleting = after.conditions.iter().any(|condition| condition.reason == Reason::Deleting);
    for condition in &after.conditions {
        let was = before.conditions.iter().find(|was| was.type_ == condition.type_);
        let is_news = was.is_none_or(|was| was.status != condition.status || was.reason != condition.reason);
        // The first look finds everything missing, which nobody needs to be told.
        let is_start = was.is_none() && condition.status != ConditionStatus::True;
        // What is deleted is said once, by Ready.
        let is_told_otherwise = matches!(condition.type_, ConditionType::Reconciling | ConditionType::Stalled)
            || (is_deleting && condition.type_ != ConditionType::Ready);
        if is_news && !is_start && !is_told_otherwise {
            let warning = !is_deleting
                && condition.status == ConditionStatus::False
                && was.is_some_and(|was| was.status == ConditionStatus::True);
            let text = format!("{:?} is {:?}: {}", condition.type_, condition.status, condition.message);
            changes.push((condition.reason.to_string(), text, warning));
        }
    }
    changes
}
