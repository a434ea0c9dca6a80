//! The entry as text to paste, for the mode `Manual`.

use serde_json::json;

use super::Entry;
use crate::names::{PrometheusName, SECRET_NAME};

/// YAML to paste into `spec` of the Prometheus, with a comment on top.
///
/// # Errors
///
/// If the entry cannot be written as YAML, which no entry of ours is known for.
pub fn snippet(entry: &Entry, prometheus: &PrometheusName) -> Result<String, serde_yaml::Error> {
    let yaml = serde_yaml::to_string(&json!({ "remoteWrite": [entry.value()] }))?;
    let notes: String = entry.notes().iter().map(|note| format!("# Note: {note}.\n")).collect();
    Ok(format!(
        "# Add this to spec of {prometheus}; if remoteWrite already exists, add the item to its list.\n# Token and \
         certificate are in the Secret {SECRET_NAME} in the same namespace, which promarchive maintains.\n# Do not \
         change the entry, especially its name: with any change, Prometheus starts a new queue, which does not send \
         older samples.\n{notes}{yaml}"
    ))
}

#[cfg(test)]
mod tests {
    use promarchive_api::metrics_archive::{MessageVersion, PrometheusKind, RemoteWriteSettings, TlsMode};

    use super::*;
    use crate::names::ArchiveName;
    use crate::senders::entry::Capabilities;

    #[test]
    fn what_is_pasted_is_the_entry() {
        let archive = ArchiveName { namespace: "monitoring".to_owned(), name: "lab".to_owned() };
        let prometheus =
            PrometheusName { kind: PrometheusKind::Prometheus, namespace: "team".to_owned(), name: "k8s".to_owned() };
        let settings = RemoteWriteSettings { message_version: MessageVersion::V2, ..RemoteWriteSettings::default() };
        let capabilities = Capabilities::of(prometheus.kind, &json!({}), None);
        let entry = Entry::new(&archive, TlsMode::SelfSigned, &settings, &prometheus, &capabilities).unwrap();

        let text = snippet(&entry, &prometheus).unwrap();
        let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read, json!({ "remoteWrite": [entry.value()] }));
        assert!(text.starts_with("# Add this to spec of Prometheus team/k8s;"), "{text}");
        assert!(text.contains("# Note: messageVersion V2.0 is not used"), "{text}");
    }
}
