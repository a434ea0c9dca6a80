//! The receiver.

use k8s_openapi::api::core::v1::ResourceRequirements;
use promarchive_api::bounds::{self, in_pods};
use promarchive_api::metrics_archive::MetricsArchiveSpec;
use promarchive_api::{ByteSize, LabelColumns, SenderLabel};
use serde_json::{Value, json};

use super::archive::{Claim, Receiver, Storage};
use super::invalid::{Invalid, invalid, timespan, within};
use super::receiver_pod::receiver_pod;
use crate::kubernetes::quantity;

pub(super) fn receiver(spec: &MetricsArchiveSpec, storage: &Storage) -> Result<Receiver, Invalid> {
    let given = &spec.receiver;
    let span = |bounds: bounds::Bounds<_>, text: Option<&str>| {
        let field = format!("spec.receiver.{}", bounds.setting);
        let given = text.map(|text| timespan(&field, text)).transpose()?;
        given.map(|given| within(&field, &bounds, given)).transpose()
    };
    let flush_interval = span(bounds::FLUSH_INTERVAL, given.flush_interval.as_deref())?;
    let max_past = span(bounds::MAX_PAST, given.max_past.as_deref())?;
    let wal_max_bytes = match &given.wal_max_bytes {
        Some(text) => text.parse().map_err(|e| invalid("spec.receiver.walMaxBytes", format!("{e}")))?,
        None => default_wal(storage),
    };
    within("spec.receiver.walMaxBytes", &in_pods::WAL_MAX_BYTES, wal_max_bytes)?;
    let sender_label = given.sender_label.as_deref().map(str::parse::<SenderLabel>).transpose();
    let label_columns = given.label_columns.clone().map(LabelColumns::new).transpose();
    let (resources, memory_limit) = resources(given.resources.as_ref())?;
    Ok(Receiver {
        tls: given.tls,
        flush_interval,
        wal_max_bytes,
        label_columns: label_columns.map_err(|e| invalid("spec.receiver.labelColumns", e.to_string()))?,
        sender_label: sender_label.map_err(|e| invalid("spec.receiver.senderLabel", e.to_string()))?,
        max_past,
        resources,
        memory_limit,
        scheduling: given.scheduling.clone().unwrap_or_default(),
        network_policy: given.network_policy,
        pod: receiver_pod(given)?,
    })
}

fn default_wal(storage: &Storage) -> ByteSize {
    let volume = match storage {
        Storage::Volume(Claim::New { size, .. }) => quantity::bytes(size),
        Storage::Volume(Claim::Existing(_)) => None,
    };
    // A WAL that could fill the volume would leave no room for the tables that empty it.
    let (least, most) = (in_pods::WAL_MAX_BYTES.least, in_pods::WAL_MAX_BYTES.or_default(None));
    volume.map_or(most, |bytes| ByteSize(bytes / 4).clamp(least, most))
}

/// Resources of the container, and the budget that the receiver gives itself: half of the limit, because a flush works beside it.
fn resources(given: Option<&ResourceRequirements>) -> Result<(Value, ByteSize), Invalid> {
    let field = "spec.receiver.resources";
    let least = in_pods::CONTAINER_MEMORY.least;
    let usual = in_pods::CONTAINER_MEMORY.or_default(None).to_string();
    let default = json!({"requests": {"cpu": "100m", "memory": least}, "limits": {"memory": usual}});
    let resources = match given {
        Some(given) => serde_json::to_value(given).map_err(|e| invalid(field, e.to_string()))?,
        None => default,
    };
    let limit = resources.pointer("/limits/memory").and_then(Value::as_str).unwrap_or(&usual);
    let bytes = quantity::bytes(limit).filter(|bytes| in_pods::CONTAINER_MEMORY.contain(ByteSize(*bytes)));
    let bytes = bytes.ok_or_else(|| {
        invalid(
            format!("{field}.limits.memory"),
            format!("invalid memory limit \"{limit}\"; expected a quantity of at least {least}"),
        )
    })?;
    Ok((resources, ByteSize(bytes / 2)))
}
