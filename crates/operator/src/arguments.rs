//! The command line.

use std::net::SocketAddr;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use promarchive_api::Timespan;
use promarchive_operator::kubernetes::scope::Scope;

/// Operator for archives of Prometheus: runs a receiver for each MetricsArchive and manages remoteWrite entries.
#[derive(Debug, Parser)]
#[command(name = "promarchive-operator", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Log level: error, warn, info, debug, trace, or rules such as promarchive_operator=debug,warn.
    #[arg(long, global = true, env = "PROMARCHIVE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator.
    #[command(
        after_help = "Example, outside a pod:\n  promarchive-operator run --lease-namespace promarchive \\\n    --receiver-image ghcr.io/promarchive/promarchive:0.1.0"
    )]
    Run(Run),
    /// Print the CustomResourceDefinition as YAML.
    #[command(after_help = "Example:\n  promarchive-operator crd | kubectl apply --server-side -f -")]
    Crd,
    /// Remove all entries and finalizers that the operator has added to other objects. Data is kept.
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
    /// Image of the receivers; it must contain the program /promarchive.
    #[arg(long, env = "PROMARCHIVE_RECEIVER_IMAGE")]
    pub receiver_image: String,
    /// Pull policy for this image.
    #[arg(long, env = "PROMARCHIVE_RECEIVER_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub receiver_image_pull_policy: String,
    /// Namespaces to watch, separated by commas; all namespaces if none is given.
    #[arg(long, env = "PROMARCHIVE_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Address and port of the health and metrics endpoints. [::] listens on all IPv4 and IPv6 addresses.
    #[arg(long, env = "PROMARCHIVE_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// fsGroup of the receivers' pods; `none` if the platform sets it, for example OpenShift.
    #[arg(long, env = "PROMARCHIVE_FS_GROUP", default_value = "65532")]
    pub fs_group: FsGroup,
    /// Namespace of the operator's Lease and pod. Receivers allow connections from this namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    pub lease_namespace: String,
    /// Identity of this process in the leader election.
    #[arg(long, env = "POD_NAME", default_value_t = format!("process-{}", std::process::id()))]
    pub identity: String,
    /// Whether admission policies that restrict the operator are required. If they are required and not in force, the operator
    /// changes nothing and is not ready.
    #[arg(long, env = "PROMARCHIVE_ADMISSION_POLICIES", default_value = "required", value_parser = ["required", "none"])]
    pub admission_policies: String,
    /// How often the operator checks whether the policies are in force.
    #[arg(long, env = "PROMARCHIVE_ADMISSION_CHECK_INTERVAL", default_value = "1m", hide = true)]
    pub admission_check_interval: Timespan,
    /// Minimum time for which the old and the new entry exist together after a change of settings.
    #[arg(long, env = "PROMARCHIVE_OVERLAP", default_value = "3m", hide = true)]
    pub overlap: Timespan,
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Maximum time that the command may take.
    #[arg(long, default_value = "60s")]
    pub timeout: Timespan,
    /// Namespaces to watch, separated by commas; all namespaces if none is given.
    #[arg(long, env = "PROMARCHIVE_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Deployment of the operator, which is deleted first.
    #[arg(long, requires = "operator_namespace")]
    pub operator_deployment: Option<String>,
    /// Namespace of this Deployment.
    #[arg(long, env = "POD_NAMESPACE")]
    pub operator_namespace: Option<String>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// URL of the operator's health endpoint.
    #[arg(long)]
    pub operator_url: String,
    /// Namespace for a dry-run creation of a small archive.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Output format.
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
                .map_err(|_| format!("invalid group \"{text}\"; expected a number or `none`")),
        }
    }
}

/// The scope that the namespaces say.
pub(crate) fn scope(namespaces: &[String]) -> Scope {
    let names = namespaces.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let names: std::collections::BTreeSet<String> = names.collect();
    if names.is_empty() { Scope::Cluster } else { Scope::Namespaces(names) }
}
