//! The entry that an archive wants in a Prometheus.

use promarchive_api::ENTRY_HEADER;
use promarchive_api::metrics_archive::{MessageVersion, RemoteWriteSettings, TlsMode};
use serde_json::{Map, Value, json};

use super::{Capabilities, RefusedSettings, refusal};
use crate::names::{ArchiveName, EntryName, PrometheusName, RECEIVER_PORT, SECRET_NAME, ca_key};

/// The entry that an archive wants in one Prometheus, and its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    name: EntryName,
    value: Value,
    notes: Vec<Note>,
}

/// What the settings ask for and this Prometheus cannot do; its text is for the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// The CRD would drop `messageVersion`.
    #[error("messageVersion V2.0 is not used: the CRD in the cluster is older than Prometheus Operator 0.78")]
    MessageVersionNotInCrd,
    /// The Prometheus would not know `protobuf_message`.
    #[error("messageVersion V2.0 is not used: it needs Prometheus 2.54 or newer")]
    MessageVersionNotInPrometheus,
    /// Exemplars cannot be sent.
    #[error("exemplars are not sent: they need Prometheus 2.27 or newer, and Prometheus Operator 0.50 or newer")]
    NoExemplars,
    /// Native histograms cannot be sent.
    #[error(
        "native histograms are not sent: they need Prometheus 2.40 or newer, and Prometheus Operator 0.66 or newer"
    )]
    NoNativeHistograms,
}

impl Entry {
    /// The entry of `archive` for `prometheus`.
    ///
    /// # Errors
    ///
    /// If Prometheus would refuse the settings, and with them its whole configuration, or if they would take too much of it.
    pub fn new(
        archive: &ArchiveName,
        tls: TlsMode,
        settings: &RemoteWriteSettings,
        prometheus: &PrometheusName,
        capabilities: &Capabilities,
    ) -> Result<Self, RefusedSettings> {
        refusal::check(settings, capabilities, archive.namespace != prometheus.namespace)?;
        let mut notes = Vec::new();
        let mut fields = Map::new();
        destination(&mut fields, archive, tls, prometheus);
        contents(&mut fields, settings, capabilities, &mut notes);
        queue(&mut fields, settings, capabilities);

        let name = EntryName::of(archive, &canonical(&Value::Object(fields.clone())));
        fields.insert("name".to_owned(), name.to_string().into());
        fields.insert("headers".to_owned(), json!({ ENTRY_HEADER: name.header() }));
        Ok(Self { name, value: Value::Object(fields), notes })
    }

    /// Its name, which tells it from every entry with other fields.
    pub fn name(&self) -> &EntryName {
        &self.name
    }

    /// The element of `spec.remoteWrite`.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// What was asked for and is not in it.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

fn destination(fields: &mut Map<String, Value>, archive: &ArchiveName, tls: TlsMode, prometheus: &PrometheusName) {
    let host = archive.host();
    let scheme = match tls {
        TlsMode::SelfSigned => "https",
        TlsMode::Disabled => "http",
    };
    let token = json!({"name": SECRET_NAME, "key": prometheus.token_key(archive)});
    fields.insert("url".to_owned(), format!("{scheme}://{host}:{RECEIVER_PORT}/api/v1/write").into());
    fields.insert("authorization".to_owned(), json!({"type": "Bearer", "credentials": token}));
    if tls == TlsMode::SelfSigned {
        let authority = json!({"secret": {"name": SECRET_NAME, "key": ca_key(archive)}});
        fields.insert("tlsConfig".to_owned(), json!({"ca": authority, "serverName": host}));
    }
}

/// What is sent. What an old Prometheus or CRD does not know is left out: the CRD drops it, and we would add it for ever; the
/// Prometheus Operator leaves it out with a warning at every sync.
fn contents(
    fields: &mut Map<String, Value>,
    settings: &RemoteWriteSettings,
    capabilities: &Capabilities,
    notes: &mut Vec<Note>,
) {
    let mut switch = |field: &str, wanted: bool, known: bool, note: Note| {
        if known {
            fields.insert(field.to_owned(), wanted.into());
        } else if wanted {
            notes.push(note);
        }
    };
    let exemplars = capabilities.fields.exemplars && !capabilities.is_before((2, 27));
    switch("sendExemplars", settings.exemplars, exemplars, Note::NoExemplars);
    let histograms = capabilities.fields.native_histograms && !capabilities.is_before((2, 40));
    switch("sendNativeHistograms", settings.native_histograms, histograms, Note::NoNativeHistograms);

    match message_version(settings.message_version, capabilities) {
        Ok(Some(version)) => drop(fields.insert("messageVersion".to_owned(), version.into())),
        Ok(None) => {}
        Err(note) => notes.push(note),
    }
    if !settings.write_relabel_configs.is_empty() {
        fields.insert("writeRelabelConfigs".to_owned(), json!(settings.write_relabel_configs));
    }
}

/// `None` is Prometheus's default, V1.0. `Auto` is V2.0 only where that restarts nothing: from 3.4 on.
fn message_version(wanted: MessageVersion, capabilities: &Capabilities) -> Result<Option<&'static str>, Note> {
    let in_crd = capabilities.fields.message_version;
    let in_prometheus = !capabilities.is_before((2, 54));
    match wanted {
        MessageVersion::Auto if in_crd && capabilities.is_surely((3, 4)) => Ok(Some("V2.0")),
        MessageVersion::Auto => Ok(None),
        MessageVersion::V1 => Ok((in_crd && in_prometheus).then_some("V1.0")),
        MessageVersion::V2 if !in_crd => Err(Note::MessageVersionNotInCrd),
        MessageVersion::V2 if !in_prometheus => Err(Note::MessageVersionNotInPrometheus),
        MessageVersion::V2 => Ok(Some("V2.0")),
    }
}

/// `retryOnRateLimit` (Prometheus 2.26): a 429, of a proxy for example, is a wait and not a loss.
fn queue(fields: &mut Map<String, Value>, settings: &RemoteWriteSettings, capabilities: &Capabilities) {
    let mut queue = json!(settings.queue.clone().unwrap_or_default());
    if let Value::Object(queue) = &mut queue {
        if capabilities.fields.retry_on_rate_limit && !capabilities.is_before((2, 26)) {
            queue.insert("retryOnRateLimit".to_owned(), true.into());
        }
        if !queue.is_empty() {
            fields.insert("queueConfig".to_owned(), Value::Object(std::mem::take(queue)));
        }
    }
}

/// JSON without spaces, keys in order: the same bytes whichever map `serde_json` is built with.
fn canonical(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let write = |(name, value): (&String, &Value)| format!("{}:{}", json!(name), canonical(value));
            format!("{{{}}}", join(fields.into_iter().map(write).collect()))
        }
        Value::Array(items) => format!("[{}]", join(items.iter().map(canonical).collect())),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use promarchive_api::metrics_archive::{PrometheusKind, Queue, RelabelRule};

    use super::*;

    fn entry(settings: &RemoteWriteSettings, tls: TlsMode, version: &str, message_version_in_crd: bool) -> Entry {
        let archive = ArchiveName { namespace: "monitoring".to_owned(), name: "lab".to_owned() };
        let prometheus =
            PrometheusName { kind: PrometheusKind::Prometheus, namespace: "team".to_owned(), name: "k8s".to_owned() };
        let mut capabilities = Capabilities::of(prometheus.kind, &json!({ "version": version }), None);
        capabilities.fields.message_version = message_version_in_crd;
        Entry::new(&archive, tls, settings, &prometheus, &capabilities).unwrap()
    }

    /// What released versions have written. If this fails, do not change the expectation: every sender of every
    /// archive would have to be given a second queue.
    #[test]
    fn no_release_changes_an_existing_entrys_bytes() {
        let plain = entry(&RemoteWriteSettings::default(), TlsMode::SelfSigned, "v3.16.0", true);
        assert_eq!(canonical(plain.value()), include_str!("golden/plain.json").trim());

        let settings = RemoteWriteSettings {
            message_version: MessageVersion::V1,
            exemplars: false,
            native_histograms: true,
            write_relabel_configs: vec![RelabelRule {
                source_labels: vec!["__name__".to_owned(), "job".to_owned()],
                separator: Some(String::new()),
                regex: Some("up|\"node\"_.*é".to_owned()),
                ..serde_json::from_value(json!({"action": "keep"})).unwrap()
            }],
            queue: Some(Queue {
                capacity: Some(20_000),
                min_shards: Some(2),
                max_shards: Some(8),
                max_samples_per_send: Some(5_000),
                batch_send_deadline: Some("1s".to_owned()),
            }),
        };
        let full = entry(&settings, TlsMode::Disabled, "v2.54.0", true);
        assert_eq!(canonical(full.value()), include_str!("golden/full.json").trim());
        assert_eq!(full.notes(), []);
    }

    #[test]
    fn version_2_is_used_only_where_it_survives_and_restarts_nothing() {
        use MessageVersion::{Auto, V1, V2};
        for (wanted, version, in_crd, expected, note) in [
            (Auto, "3.4.0", true, Some("V2.0"), None),
            (Auto, "3.3.9", true, None, None),
            (Auto, "", true, None, None),
            (Auto, "3.4.0", false, None, None),
            (V2, "2.54.0", true, Some("V2.0"), None),
            (V2, "", true, Some("V2.0"), None),
            (V2, "2.53.0", true, None, Some(Note::MessageVersionNotInPrometheus)),
            (V2, "3.4.0", false, None, Some(Note::MessageVersionNotInCrd)),
            (V1, "3.4.0", true, Some("V1.0"), None),
            (V1, "2.44.0", true, None, None),
            (V1, "3.4.0", false, None, None),
        ] {
            let settings = RemoteWriteSettings { message_version: wanted, ..RemoteWriteSettings::default() };
            let entry = entry(&settings, TlsMode::SelfSigned, version, in_crd);
            let found = entry.value().get("messageVersion").and_then(Value::as_str);
            assert_eq!((found, entry.notes().first().copied()), (expected, note), "{wanted:?} {version} {in_crd}");
        }
    }

    #[test]
    fn an_old_prometheus_gets_what_it_knows_and_the_notes_say_what_is_missing() {
        let settings = RemoteWriteSettings::default();
        let old = entry(&settings, TlsMode::SelfSigned, "2.25.0", true);
        for field in ["sendExemplars", "sendNativeHistograms", "messageVersion", "queueConfig"] {
            assert_eq!(old.value().get(field), None, "{field}");
        }
        assert_eq!(old.notes(), [Note::NoExemplars, Note::NoNativeHistograms]);
        assert_ne!(old.name(), entry(&settings, TlsMode::SelfSigned, "2.53.0", true).name());
    }

    #[test]
    fn other_settings_are_another_name_and_the_same_ones_the_same() {
        let settings = RemoteWriteSettings::default();
        let other = RemoteWriteSettings { exemplars: false, ..settings.clone() };
        let name = |settings| entry(settings, TlsMode::SelfSigned, "", true).name().clone();
        assert_eq!(name(&settings), name(&settings));
        assert_ne!(name(&settings), name(&other));
    }
}
