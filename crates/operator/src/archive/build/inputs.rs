//! What the objects depend on besides the archive.

use std::collections::{BTreeMap, BTreeSet};

use promarchive_api::tokens_file::TokenLine;

use crate::archive::credentials::SenderToken;

/// What the operator was told about all receivers.
#[derive(Clone, Debug)]
pub struct ReceiverDefaults {
    /// Image of the receiver.
    pub image: String,
    /// When the kubelet pulls it.
    pub pull_policy: String,
    /// Group that owns the volume's files; none where the platform chooses it.
    pub fs_group: Option<i64>,
    /// Namespace of the operator itself, which must reach every receiver.
    pub operator_namespace: String,
}

/// What the objects depend on besides the archive.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// About all receivers.
    pub defaults: &'a ReceiverDefaults,
    /// Tokens by the sender's name.
    pub senders: &'a BTreeMap<String, SenderToken>,
    /// Lines of the tokens file of senders that are leaving.
    pub carried: &'a [TokenLine],
    /// The tokens that the operator itself may show.
    pub operator_tokens: &'a [&'a str],
    /// Namespaces of the senders.
    pub sender_namespaces: &'a BTreeSet<String>,
    /// The size that the claim has already; it never shrinks.
    pub claim_size: Option<&'a str>,
    /// Uid of the archive that the claim was or is made for, if it is known.
    pub claim_made_for: Option<&'a str>,
    /// Whether the receiver may mount the claim. If not, neither claim nor Deployment is made or changed.
    pub may_mount: bool,
    /// Whether the Service has an IPv6 address.
    pub ipv6: bool,
    /// Whether PodMonitors are known to the cluster.
    pub pod_monitors: bool,
    /// Entries to paste, by the name of the Prometheus, for mode Manual.
    pub snippets: &'a BTreeMap<String, String>,
}
