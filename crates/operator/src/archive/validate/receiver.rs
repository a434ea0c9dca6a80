//! The receiver.

use k8s_openapi::api::core::v1::ResourceRequirements;
use promarchive_api::metrics_archive::MetricsArchiveSpec;
use promarchive_api::{ByteSize, LabelColumns, SenderLabel, Timespan};
use serde_json::{Value, json};

use super::archive::{Claim, LEAST_MEMORY_BYTES, MOST_WAL_BYTES, Receiver, Storage};
use super::invalid::{Invalid, invalid, timespan};
use super::receiver_pod::receiver_pod;
use crate::kubernetes::quantity;

const DEFAULT_MEMORY: &str = "2Gi";
const LEAST_WAL_BYTES: u64 = 64 << 20;
const LEAST_PAST: Timespan = Timespan::from_secs(86_400);
const LONGEST_PAST: Timespan = Timespan::from_secs(100 * 365 * 86_400);
const FLUSH_INTERVALS: std::ops::RangeInclusive<Timespan> = Timespan::from_millis(100)..=Timespan::from_secs(86_400);

pub(super) fn receiver(spec: &MetricsArchiveSpec, storage: &Storage) -> Result<Receiver, Invalid> {
    let given = &spec.receiver;
    let flush_interval =
        given.flush_interval.as_deref().map(|text| timespan("spec.receiver.flushInterval", text)).transpose()?;
    if flush_interval.is_some_and(|interval| !FLUSH_INTERVALS.contains(&interval)) {
        return Err(invalid("spec.receiver.flushInterval", "must be from 100ms to 1d"));
    }
    let wal_max_bytes = match &given.wal_max_bytes {
        Some(text) => text.parse().map_err(|e| invalid("spec.receiver.walMaxBytes", format!("{e}")))?,
        None => default_wal(storage),
    };
    if wal_max_bytes.0 < LEAST_WAL_BYTES {
        return Err(invalid("spec.receiver.walMaxBytes", "must be 64Mi or more"));
    }
    let sender_label = given.sender_label.as_deref().map(str::parse::<SenderLabel>).transpose();
    let max_past = given.max_past.as_deref().map(|text| timespan("spec.receiver.maxPast", text)).transpose()?;
    if max_past.is_some_and(|past| !(LEAST_PAST..=LONGEST_PAST).contains(&past)) {
        return Err(invalid("spec.receiver.maxPast", "must be from 1d to 36500d"));
    }
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
    ByteSize(volume.map_or(MOST_WAL_BYTES, |bytes| (bytes / 4).clamp(LEAST_WAL_BYTES, MOST_WAL_BYTES)))
}

/// Resources of the container, and the budget that the receiver gives itself: half of the limit, because a flush works beside it.
fn resources(given: Option<&ResourceRequirements>) -> Result<(Value, ByteSize), Invalid> {
    let field = "spec.receiver.resources";
    let default = json!({"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": DEFAULT_MEMORY}});
    let resources = match given {
        Some(given) => serde_json::to_value(given).map_err(|e| invalid(field, e.to_string()))?,
        None => default,
    };
    let limit = resources.pointer("/limits/memory").and_then(Value::as_str).unwrap_or(DEFAULT_MEMORY);
    let bytes = quantity::bytes(limit).filter(|bytes| *bytes >= LEAST_MEMORY_BYTES).ok_or_else(|| {
        invalid(format!("{field}.limits.memory"), format!("\"{limit}\" is no amount of 512Mi or more"))
    })?;
    Ok((resources, ByteSize(bytes / 2)))
}
