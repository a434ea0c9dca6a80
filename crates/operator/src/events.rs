//! Events on archives, for `kubectl describe`. Written when something changed, never while all is well.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use promarchive_api::metrics_archive::MetricsArchiveStatus;
use tracing::warn;

use crate::cache::Source;
use crate::context::Since;

/// Writes Events.
pub struct Events {
    recorder: Recorder,
    said: Since<String, String>,
}

impl Events {
    /// For the operator.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "promarchive-operator".into(), instance: None };
        Self { recorder: Recorder::new(client, reporter), said: Since::default() }
    }

    /// Writes one. An Event that cannot be written is no fault of the archive.
    pub async fn write(&self, archive: &DynamicObject, warning: bool, reason: &str, action: &str, note: String) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note.chars().take(900).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &reference(archive)).await {
            warn!(reason, error = %crate::cache::chain(&error), "an Event could not be written");
        }
    }

    /// Writes a warning, unless it was the last one about this object.
    pub async fn say_once(&self, archive: &DynamicObject, reason: &str, note: String) {
        let uid = archive.metadata.uid.clone().unwrap_or_default();
        if self.said.said(&uid).as_ref() != Some(&note) {
            self.said.renew(uid, note.clone());
            self.write(archive, true, reason, "Reconcile", note).await;
        }
    }
}

/// The object that an Event is about; what a list answers says nothing of its kind.
fn reference(archive: &DynamicObject) -> ObjectReference {
    archive.object_ref(&Source::Archive.resource())
}

/// What changed between two statuses, one line for each: reason, text, and whether it is a warning.
pub fn changes(before: &MetricsArchiveStatus, after: &MetricsArchiveStatus) -> Vec<(String, String, bool)> {
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
