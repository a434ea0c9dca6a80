//! What the receiver reads: its configuration and its tokens file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use promarchive_api::metrics_archive::TlsMode;
use promarchive_api::{ArchiveConfig, Configuration, ReceiveConfig, UnknownTokens};
use serde_json::json;

use super::component::COMPONENT;
use crate::archive::build::inputs::Inputs;
use crate::archive::build::object::{Desired, Part, desired};
use crate::archive::credentials::tokens_file;
use crate::archive::validate::Archive;
use crate::kubernetes::kind::Kind;
use crate::names::RECEIVER_PORT;

/// Where the volume is mounted. The archive is a folder in it, so that a volume with a `lost+found` will do.
pub(super) const DATA_DIR: &str = "/var/lib/promarchive";
/// Where the configuration and the tokens file are mounted.
pub(super) const CONFIG_DIR: &str = "/etc/promarchive";
/// Where certificate and key are mounted.
pub(super) const TLS_DIR: &str = "/etc/promarchive-tls";

/// The receiver's configuration, YAML.
pub(super) fn text(archive: &Archive, inputs: &Inputs<'_>) -> String {
    let any = if inputs.ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let tls = archive.receiver.tls == TlsMode::SelfSigned;
    let configuration = Configuration {
        archive: ArchiveConfig {
            archive: format!("{DATA_DIR}/archive").parse().ok(),
            label_columns: archive.receiver.label_columns.clone(),
            ..ArchiveConfig::default()
        },
        receive: ReceiveConfig {
            wal: Some(PathBuf::from(DATA_DIR).join("wal")),
            listen: Some(SocketAddr::new(any, RECEIVER_PORT)),
            wal_max_bytes: Some(archive.receiver.wal_max_bytes),
            flush_interval: archive.receiver.flush_interval,
            memory_limit: Some(archive.receiver.memory_limit),
            tokens: Some(PathBuf::from(CONFIG_DIR).join("tokens")),
            unknown_tokens: Some(UnknownTokens::Retry),
            tls_cert: tls.then(|| PathBuf::from(TLS_DIR).join("tls.crt")),
            tls_key: tls.then(|| PathBuf::from(TLS_DIR).join("tls.key")),
            max_past: archive.receiver.max_past,
            sender_label: archive.receiver.sender_label.clone(),
            ..ReceiveConfig::default()
        },
    };
    configuration.to_receiver_yaml()
}

pub(super) fn config_map(archive: &Archive, inputs: &Inputs<'_>, config: &str) -> Desired {
    let tokens = tokens_file(&archive.id, inputs.operator_tokens, inputs.senders, inputs.carried);
    let data = json!({"receiver.yaml": config, "tokens": tokens});
    desired(archive, Part::of(COMPONENT), Kind::ConfigMap, archive.id.receiver(), json!({"data": data}))
}
