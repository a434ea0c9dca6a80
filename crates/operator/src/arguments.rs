//! The command line.

use std::net::SocketAddr;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use promarchive_api::Timespan;
use promarchive_operator::kubernetes::scope::Scope;

/// Runs archives for Prometheus: custom resources to receivers, and entries in remoteWrite.
#[derive(Debug, Parser)]
#[command(name = "promarchive-operator", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What is logged: error, warn, info, debug, trace, or rules such as promarchive_operator=debug,warn.
    #[arg(long, global = true, env = "PROMARCHIVE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep every MetricsArchive of the cluster as it should be.
    #[command(
        after_help = "Example, outside a pod:\n  promarchive-operator run --lease-namespace promarchive \\\n    --receiver-image ghcr.io/promarchive/promarchive:0.1.0"
    )]
    Run(Run),
    /// Print the CustomResourceDefinition as YAML.
    #[command(after_help = "Example:\n  promarchive-operator crd | kubectl apply --server-side -f -")]
    Crd,
    /// Take every entry and finalizer out that the operator has put into other objects. Data stays.
    #[command(
        after_help = "Example, after the operator was uninstalled by force:\n  promarchive-operator remove --timeout 60s"
    )]
    Remove(Remove),
    /// Check that the cluster is ready for archives.
    #[command(
        after_help = "Example:\n  promarchive-operator check --operator-url http://promarchive-operator.promarchive:8080"
    )]
    Check(Check),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Image of the receivers; it has the program /promarchive.
    #[arg(long, env = "PROMARCHIVE_RECEIVER_IMAGE")]
    pub receiver_image: String,
    /// When the kubelet pulls it.
    #[arg(long, env = "PROMARCHIVE_RECEIVER_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub receiver_image_pull_policy: String,
    /// Namespaces to work in, with commas between them; all of them if none is given.
    #[arg(long, env = "PROMARCHIVE_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Address and port of health and metrics. With [::] it listens on all addresses of both families, as far as there are any.
    #[arg(long, env = "PROMARCHIVE_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// Group that owns the receivers' volumes; `none` where the platform chooses it, as OpenShift does.
    #[arg(long, env = "PROMARCHIVE_FS_GROUP", default_value = "65532")]
    pub fs_group: FsGroup,
    /// Namespace of the operator: of its Lease, and of its pod, which receivers let in.
    #[arg(long, env = "POD_NAMESPACE")]
    pub lease_namespace: String,
    /// Name of this process among several.
    #[arg(long, env = "POD_NAME", default_value_t = format!("process-{}", std::process::id()))]
    pub identity: String,
    /// Whether admission policies hold the operator to what it is for. If they are required and not in force, the operator changes
    /// nothing, and is not ready.
    #[arg(long, env = "PROMARCHIVE_ADMISSION_POLICIES", default_value = "required", value_parser = ["required", "none"])]
    pub admission_policies: String,
    /// How often it looks whether they are in force.
    #[arg(long, env = "PROMARCHIVE_ADMISSION_CHECK_INTERVAL", default_value = "1m", hide = true)]
    pub admission_check_interval: Timespan,
    /// How long two entries run side by side, at least, when the settings of one change.
    #[arg(long, env = "PROMARCHIVE_OVERLAP", default_value = "3m", hide = true)]
    pub overlap: Timespan,
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Longest time that it takes.
    #[arg(long, default_value = "60s")]
    pub timeout: Timespan,
    /// Namespaces to work in, with commas between them; all of them if none is given.
    #[arg(long, env = "PROMARCHIVE_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// The operator's own Deployment, which is deleted first.
    #[arg(long, requires = "operator_namespace")]
    pub operator_deployment: Option<String>,
    /// Its namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    pub operator_namespace: Option<String>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Where the operator serves its health.
    #[arg(long)]
    pub operator_url: String,
    /// Namespace in which a small archive is tried, without making it.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// How the result is written.
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    pub output: String,
}

/// A group, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FsGroup(pub Option<i64>);

impl FromStr for FsGroup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|group| Self(Some(group)))
                .map_err(|_| format!("\"{text}\" is neither a number nor `none`")),
        }
    }
}

/// The scope that the namespaces say.
pub(crate) fn scope(namespaces: &[String]) -> Scope {
    let names = namespaces.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let names: std::collections::BTreeSet<String> = names.collect();
    if names.is_empty() { Scope::Cluster } else { Scope::Namespaces(names) }
}
