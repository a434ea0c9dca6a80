//! Writes the status of an archive, and the Events that go with it; nothing if nothing has changed.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch};
use promarchive_api::metrics_archive::{Condition, ConditionStatus, ConditionType, MetricsArchiveStatus, Reason};
use serde_json::json;
use tracing::warn;

use crate::archive::LookError;
use crate::archive::context::Context;
use crate::archive::status::{Findings, status};
use crate::kubernetes::cache::Source;
use crate::kubernetes::events::changes;
use crate::names::{ArchiveName, patch_params};
use crate::process::metrics::METRICS;

pub(crate) async fn write(context: &Context, object: &DynamicObject, found: &Findings) -> Result<(), LookError> {
    // A status of another version may have anything in it.
    let before = object.data.get("status").cloned().unwrap_or_default();
    let before: MetricsArchiveStatus = serde_json::from_value(before).unwrap_or_default();
    let after = status(&before, found, now());
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let is_ready = |one: &Condition| one.type_ == ConditionType::Ready && one.status == ConditionStatus::True;
    METRICS.readiness.judge(ArchiveName::new(namespace.clone(), name.clone()), after.conditions.iter().any(is_ready));
    if after == before {
        return Ok(());
    }
    // A merge patch with every field: what is not there any more is set to null, lists are replaced.
    let fields = ["observedGeneration", "conditions", "matched", "configured", "summary", "store", "prometheuses"];
    let mut patch: serde_json::Map<_, _> =
        fields.map(|field| (field.to_owned(), serde_json::Value::Null)).into_iter().collect();
    if let Ok(serde_json::Value::Object(written)) = serde_json::to_value(&after) {
        patch.extend(written);
    }
    let (requests, patch) = (&context.caches.requests, Patch::Merge(json!({"status": patch})));
    let written = requests.patch_status(Source::Archive, &namespace, &name, &patch_params(), &patch).await;
    match written {
        Ok(()) => {}
        // Deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        // What is stored breaks a rule of a newer definition, and with it every write of it: then an Event is all that can be said.
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let ready = after.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready);
            let text = ready.map(|ready| ready.message.clone()).unwrap_or_default();
            warn!(namespace, name, status.message, "cannot write the status");
            context
                .events
                .say_once(
                    object,
                    Reason::InvalidSpec.as_str(),
                    format!("{text}; the API server refuses the status: {}", status.message),
                )
                .await;
            return Ok(());
        }
        Err(source) => return Err(LookError::Request { what: "write the status", source }),
    }
    for (reason, text, warning) in changes(&before, &after) {
        context.events.write(object, warning, &reason, "Reconcile", text).await;
    }
    Ok(())
}

/// Whole seconds, as Kubernetes keeps them: else what is written is never what is read back.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
