//! From what somebody wrote to what can be built. Pure; whatever passes here cannot fail later for its form.
//!
//! The schema refuses most of this earlier, but an object may have been stored under an older one.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::core::Selector;
use promarchive_api::metrics_archive::{
    AccessMode, DeletionPolicy, MetricsArchive, MetricsArchiveSpec, Mode, NetworkPolicyMode, PrometheusKind,
    PrometheusSelection, RemoteWriteSettings, Scheduling, TlsMode,
};
use promarchive_api::{ByteSize, LabelColumns, SenderLabel, Timespan};
use serde_json::{Value, json};

use crate::build::short_hash;
use crate::entry::ArchiveName;
use crate::quantity;
use crate::receiver_pod::{ReceiverPod, receiver_pod};

const LONGEST_NAME: usize = 52;
/// What is stored may be longer; a message need not be.
const LONGEST_ID: usize = 63;
const LEAST_MEMORY_BYTES: u64 = 512 << 20;
const DEFAULT_MEMORY: &str = "2Gi";
const MOST_WAL_BYTES: u64 = 8 << 30;
const LEAST_WAL_BYTES: u64 = 64 << 20;
const DEFAULT_DRAIN: Timespan = Timespan::from_secs(120);
const LONGEST_DRAIN: Timespan = Timespan::from_secs(3600);
const LEAST_PAST: Timespan = Timespan::from_secs(86_400);
const LONGEST_PAST: Timespan = Timespan::from_secs(100 * 365 * 86_400);
const FLUSH_INTERVALS: std::ops::RangeInclusive<Timespan> = Timespan::from_millis(100)..=Timespan::from_secs(86_400);

/// What is wrong in a spec: where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct Invalid {
    field: String,
    fault: String,
}

pub(crate) fn invalid(field: impl Into<String>, fault: impl Into<String>) -> Invalid {
    Invalid { field: field.into(), fault: fault.into() }
}

/// An archive that can be built.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Namespace and name.
    pub id: ArchiveName,
    /// Its uid.
    pub uid: String,
    /// Where its tables go.
    pub claim: Claim,
    /// Its receiver.
    pub receiver: Receiver,
    /// Whose samples it keeps.
    pub selections: Vec<Selection>,
    /// What becomes of a claim that was made.
    pub deletion_policy: DeletionPolicy,
    /// Value of the annotation that asks for new tokens.
    pub rotation: String,
    /// Value of the annotation that asks for a new certificate authority.
    pub new_authority: String,
}

impl Archive {
    /// Whether it chooses objects of `kind`, be there any or not.
    pub fn asks_for(&self, kind: PrometheusKind) -> bool {
        self.selections.iter().any(|selection| selection.kind == kind)
    }
}

/// The volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A claim of somebody's.
    Existing(String),
    /// A claim that the operator makes.
    New {
        /// As written.
        size: String,
        /// Storage class, or the cluster's default.
        storage_class: Option<String>,
        /// How many may have it.
        access_mode: AccessMode,
    },
}

/// The receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Whether senders use TLS.
    pub tls: TlsMode,
    /// None: the receiver's default.
    pub flush_interval: Option<Timespan>,
    /// Budget of the WAL.
    pub wal_max_bytes: ByteSize,
    /// None: the receiver's default.
    pub label_columns: Option<LabelColumns>,
    /// Label that names the sender.
    pub sender_label: Option<SenderLabel>,
    /// How old samples may be; none: as old as can be.
    pub max_past: Option<Timespan>,
    /// Of the container.
    pub resources: Value,
    /// The receiver's own budget of memory.
    pub memory_limit: ByteSize,
    /// On which nodes.
    pub scheduling: Scheduling,
    /// Whether a NetworkPolicy is made.
    pub network_policy: NetworkPolicyMode,
    /// What its pod has besides, and who else reaches it.
    pub pod: ReceiverPod,
}

impl Receiver {
    /// With every default, of an archive whose spec cannot be read.
    pub fn unknown(tls: TlsMode) -> Self {
        Self {
            tls,
            flush_interval: None,
            wal_max_bytes: ByteSize(MOST_WAL_BYTES),
            label_columns: None,
            sender_label: None,
            max_past: None,
            resources: Value::Null,
            memory_limit: ByteSize(LEAST_MEMORY_BYTES),
            scheduling: Scheduling::default(),
            network_policy: NetworkPolicyMode::None,
            pod: ReceiverPod::default(),
        }
    }
}

/// Some Prometheus objects.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Name of the item.
    pub id: String,
    /// Their kind.
    pub kind: PrometheusKind,
    /// Which of them.
    pub target: Target,
    /// Where.
    pub namespaces: Vec<String>,
    /// Who writes the entry.
    pub mode: Mode,
    /// How long a removal waits.
    pub drain_timeout: Timespan,
    /// Settings of the entry.
    pub remote_write: RemoteWriteSettings,
}

/// By what objects are chosen.
#[derive(Clone, Debug)]
pub enum Target {
    /// One name.
    Name(String),
    /// Labels.
    Labels(Selector),
}

/// Checks all of `archive`.
pub fn validate(archive: &MetricsArchive) -> Result<Archive, Invalid> {
    let meta = &archive.metadata;
    let id = ArchiveName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    if !id.is_valid() {
        return Err(invalid(
            "metadata.name",
            format!(
                "must be at most {LONGEST_NAME} characters of a-z, 0-9 and -, and begin with a letter: make an archive of another name"
            ),
        ));
    }
    let spec = &archive.spec;
    let claim = claim(spec)?;
    let annotation = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name));
    // Of whatever length: it is kept in Secrets of other namespaces.
    let request = |name: &str| annotation(name).map(|text| short_hash(text.as_bytes())).unwrap_or_default();
    Ok(Archive {
        receiver: receiver(spec, &claim)?,
        claim,
        selections: selections(spec, &id.namespace)?,
        deletion_policy: spec.deletion_policy,
        rotation: request(crate::names::ROTATE_TOKENS),
        new_authority: request(crate::names::ROTATE_CERTIFICATES),
        uid: meta.uid.clone().unwrap_or_default(),
        id,
    })
}

fn claim(spec: &MetricsArchiveSpec) -> Result<Claim, Invalid> {
    let field = "spec.storage.persistentVolume";
    let volume = spec.storage.persistent_volume.as_ref();
    let volume = volume.ok_or_else(|| invalid("spec.storage", "names no storage: give persistentVolume"))?;
    match (&volume.size, &volume.existing_claim) {
        // It becomes a part of a path that the API server is asked for.
        (None, Some(name)) if !is_object_name(name) => {
            Err(invalid(format!("{field}.existingClaim"), "is no name of a claim: want a-z, 0-9, - and ."))
        }
        (None, Some(name)) => Ok(Claim::Existing(name.clone())),
        (Some(size), None) => {
            quantity::bytes(size)
                .ok_or_else(|| invalid(format!("{field}.size"), format!("\"{size}\" is no size, such as 100Gi")))?;
            Ok(Claim::New {
                size: size.clone(),
                storage_class: volume.storage_class_name.clone(),
                access_mode: volume.access_mode.unwrap_or_default(),
            })
        }
        _ => Err(invalid(field, "give either size, for a new claim, or existingClaim")),
    }
}

/// A DNS subdomain, as Kubernetes wants names of most kinds.
pub(crate) fn is_object_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn receiver(spec: &MetricsArchiveSpec, claim: &Claim) -> Result<Receiver, Invalid> {
    let given = &spec.receiver;
    let flush_interval =
        given.flush_interval.as_deref().map(|text| timespan("spec.receiver.flushInterval", text)).transpose()?;
    if flush_interval.is_some_and(|interval| !FLUSH_INTERVALS.contains(&interval)) {
        return Err(invalid("spec.receiver.flushInterval", "must be from 100ms to 1d"));
    }
    let wal_max_bytes = match &given.wal_max_bytes {
        Some(text) => text.parse().map_err(|e| invalid("spec.receiver.walMaxBytes", format!("{e}")))?,
        None => default_wal(claim),
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

fn default_wal(claim: &Claim) -> ByteSize {
    let volume = match claim {
        Claim::New { size, .. } => quantity::bytes(size),
        Claim::Existing(_) => None,
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

fn selections(spec: &MetricsArchiveSpec, own: &str) -> Result<Vec<Selection>, Invalid> {
    let mut ids = HashSet::new();
    let items = spec.prometheuses.iter().map(|item| {
        if !ids.insert(item.id.as_str()) {
            return Err(invalid(
                "spec.prometheuses",
                format!("two items have the id \"{}\"", item.id.chars().take(LONGEST_ID).collect::<String>()),
            ));
        }
        selection(item, own)
    });
    items.collect()
}

fn selection(item: &PrometheusSelection, own: &str) -> Result<Selection, Invalid> {
    let id: String = item.id.chars().take(LONGEST_ID).collect();
    let field = format!("spec.prometheuses[{id}]");
    let target = match (&item.name, &item.selector) {
        (Some(name), None) => Target::Name(name.clone()),
        (None, Some(selector)) => Target::Labels(
            selector.clone().try_into().map_err(|e| invalid(format!("{field}.selector"), format!("{e}")))?,
        ),
        _ => return Err(invalid(field, "give either name or selector")),
    };
    let drain_timeout = match &item.drain_timeout {
        Some(text) => timespan(&format!("{field}.drainTimeout"), text)?,
        None => DEFAULT_DRAIN,
    };
    if drain_timeout > LONGEST_DRAIN {
        return Err(invalid(format!("{field}.drainTimeout"), "must be 1h or less"));
    }
    let namespaces = if item.namespaces.is_empty() { vec![own.to_owned()] } else { item.namespaces.clone() };
    Ok(Selection {
        id: item.id.clone(),
        kind: item.kind,
        target,
        namespaces,
        mode: item.mode,
        drain_timeout,
        remote_write: item.remote_write.clone(),
    })
}

fn timespan(field: &str, text: &str) -> Result<Timespan, Invalid> {
    text.parse().map_err(|e: promarchive_api::TimespanError| invalid(field, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(spec: Value) -> MetricsArchive {
        serde_json::from_value(json!({
            "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
            "metadata": {"name": "lab", "namespace": "team", "uid": "u"}, "spec": spec,
        }))
        .unwrap()
    }

    fn volume(size: &str) -> Value {
        json!({"persistentVolume": {"size": size}})
    }

    fn fault(spec: Value) -> String {
        validate(&archive(spec)).unwrap_err().to_string()
    }

    #[test]
    fn defaults_follow_the_volume_and_the_memory() {
        let small = validate(&archive(json!({"storage": volume("8Gi")}))).unwrap();
        assert_eq!(small.receiver.wal_max_bytes, ByteSize(2 << 30));
        assert_eq!(small.receiver.memory_limit, ByteSize(1 << 30));
        let large = validate(&archive(
            json!({"storage": volume("1Ti"), "receiver": {"resources": {"limits": {"memory": "8Gi"}}}}),
        ))
        .unwrap();
        assert_eq!(large.receiver.wal_max_bytes, ByteSize(8 << 30));
        assert_eq!(large.receiver.memory_limit, ByteSize(4 << 30));
    }

    #[test]
    fn a_selection_is_of_the_archives_own_namespace_unless_it_says_more() {
        let spec = json!({"storage": volume("8Gi"), "prometheuses": [
            {"id": "a", "name": "k8s"}, {"id": "b", "selector": {}, "namespaces": ["x", "y"]}]});
        let archive = validate(&archive(spec)).unwrap();
        assert_eq!(archive.selections[0].namespaces, ["team"]);
        assert_eq!(archive.selections[1].namespaces, ["x", "y"]);
        assert!(matches!(&archive.selections[1].target, Target::Labels(all) if all.selects_all()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |key: &str, value: Value| {
            let mut spec = json!({"storage": volume("8Gi")});
            spec[key] = value;
            spec
        };
        let existing = |name: &str| json!({"storage": {"persistentVolume": {"existingClaim": name}}});
        for (spec, wants) in [
            (json!({"storage": {}}), "spec.storage: names no storage"),
            (json!({"storage": volume("big")}), "spec.storage.persistentVolume.size: \"big\""),
            (json!({"storage": {"persistentVolume": {"size": "1Gi", "existingClaim": "c"}}}), "either size"),
            (existing("../secrets/c"), "spec.storage.persistentVolume.existingClaim: is no name"),
            (existing("c?watch=1"), "existingClaim: is no name"),
            (existing("c."), "existingClaim: is no name"),
            (existing(""), "existingClaim: is no name"),
            (with("receiver", json!({"flushInterval": "2d"})), "spec.receiver.flushInterval: must be"),
            (with("receiver", json!({"walMaxBytes": "1Ki"})), "spec.receiver.walMaxBytes: must be"),
            (with("receiver", json!({"maxPast": "1h"})), "spec.receiver.maxPast: must be from 1d"),
            (with("receiver", json!({"senderLabel": "le"})), "spec.receiver.senderLabel: the label le has another"),
            (
                with("receiver", json!({"labelColumns": ["value"]})),
                "spec.receiver.labelColumns: label column \"value\"",
            ),
            (with("receiver", json!({"resources": {"limits": {"memory": "64Mi"}}})), "limits.memory: \"64Mi\""),
            (with("prometheuses", json!([{"id": "a", "name": "x"}, {"id": "a", "name": "y"}])), "two items"),
            (with("prometheuses", json!([{"id": "a"}])), "spec.prometheuses[a]: give either"),
            (
                with("prometheuses", json!([{"id": "a", "name": "x", "drainTimeout": "2h"}])),
                "spec.prometheuses[a].drainTimeout",
            ),
            (
                with(
                    "prometheuses",
                    json!([{"id": "a", "selector": {"matchExpressions": [{"key": "k", "operator": "Near"}]}}]),
                ),
                "spec.prometheuses[a].selector",
            ),
        ] {
            let fault = fault(spec);
            assert!(fault.contains(wants), "{fault}\nwants {wants}");
        }
    }
}
