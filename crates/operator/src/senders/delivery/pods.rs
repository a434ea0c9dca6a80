//! Which marks are whose.

use std::collections::{HashMap, HashSet};

use promarchive_api::metrics_archive::PrometheusKind;
use promarchive_api::{Deliveries, Delivery};

use crate::names::PrometheusName;

/// The start of a container is given in whole seconds, rounded down.
const START_PRECISION: i64 = 1_000;

/// Whether a controller of this kind and name is one that the Prometheus Operator makes for `of`: a StatefulSet for each shard, or
/// the DaemonSet of an agent. Labels alone prove nothing: any pod may have them. Whoever can make pods in the namespace of the
/// Prometheus can name an owner, too; that is as far as this goes.
pub fn is_controller_of(of: &PrometheusName, kind: &str, name: &str) -> bool {
    let prefix = match of.kind {
        PrometheusKind::Prometheus => "prometheus-",
        PrometheusKind::PrometheusAgent => "prom-agent-",
    };
    let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(&of.name)) else { return false };
    let is_shard = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        "StatefulSet" => rest.is_empty() || rest.strip_prefix("-shard-").is_some_and(is_shard),
        "DaemonSet" => of.kind == PrometheusKind::PrometheusAgent && rest.is_empty(),
        _ => false,
    }
}

/// A pod of a Prometheus that exists now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// All its addresses (`status.podIPs`).
    pub addresses: Vec<String>,
    /// When its container `prometheus` last started (`state.running.startedAt`), ms since 1970; `None` while it does not run.
    pub started: Option<i64>,
    /// Whether it has a deletionTimestamp.
    pub terminating: bool,
}

/// One sender in the receiver's answer, with its pods, each of which has its marks.
#[derive(Clone, Debug)]
pub struct Sender<'a> {
    /// The receiver's clock at the answer.
    pub(super) now: i64,
    /// When the receiver's process started.
    pub(super) started: i64,
    /// All pods of that Prometheus: the ones of every shard, also those that start or terminate.
    pub(super) pods: &'a [Pod],
    /// Marks of the sender, of all pods that it ever had.
    pub(super) marks: Vec<&'a Delivery>,
    /// The same by the name of the pod that they are of.
    by_pod: HashMap<&'a str, Vec<&'a Delivery>>,
}

impl<'a> Sender<'a> {
    /// The sender `name` (see [`crate::senders::entry::PrometheusName::sender`]) with all `pods` of that Prometheus.
    pub fn new(deliveries: &'a Deliveries, name: &str, pods: &'a [Pod]) -> Self {
        let marks: Vec<&Delivery> = deliveries.deliveries.iter().filter(|mark| mark.sender == name).collect();
        let names: HashSet<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        // An address that several pods have is that of their node.
        let mut at: HashMap<&str, Option<&str>> = HashMap::new();
        for (address, pod) in pods.iter().flat_map(|pod| pod.addresses.iter().map(move |address| (address, pod))) {
            let name = pod.name.as_str();
            at.entry(address).and_modify(|of| *of = of.filter(|of| *of == name)).or_insert(Some(name));
        }
        let mut by_pod: HashMap<&str, Vec<&Delivery>> = HashMap::new();
        for mark in &marks {
            let by_address = at.get(mark.address.as_str()).copied().flatten();
            if let Some(pod) = by_address.or_else(|| names.get(mark.replica.as_str()).copied()) {
                by_pod.entry(pod).or_default().push(mark);
            }
        }
        Self { now: deliveries.now, started: deliveries.started, pods, marks, by_pod }
    }

    /// Marks of one of its pods, from the process that runs now.
    pub(super) fn marks_of(&self, pod: &Pod) -> impl Iterator<Item = &'a Delivery> {
        let began = pod.began();
        self.marks_of_all_lives(pod).filter(move |mark| {
            // A sample of the process before can be ahead of its time.
            began.is_some_and(|began| mark.newest >= began && mark.last_delivered >= began)
        })
    }

    /// Marks that a pod's name or address has, also of processes before the one that runs now.
    pub(super) fn marks_of_all_lives(&self, pod: &Pod) -> impl Iterator<Item = &'a Delivery> {
        self.by_pod.get(pod.name.as_str()).into_iter().flatten().copied()
    }
}

impl Pod {
    /// From when on a sample is surely of the process that runs now.
    pub(super) fn began(&self) -> Option<i64> {
        self.started.map(|started| started.saturating_add(START_PRECISION))
    }
}

#[cfg(test)]
mod tests {
    use super::super::of_marks;
    use super::*;

    fn pod(name: &str, address: &str, started: i64) -> Pod {
        Pod { name: name.to_owned(), addresses: vec![address.to_owned()], started: Some(started), terminating: false }
    }

    fn mark(replica: &str, address: &str, newest: i64) -> Delivery {
        Delivery {
            sender: "s".to_owned(),
            token: String::new(),
            entry: "e".to_owned(),
            replica: replica.to_owned(),
            address: address.to_owned(),
            first: 0,
            newest,
            last_delivered: newest,
            oldest: vec![],
        }
    }

    fn owner(mark: &Delivery, pods: &[Pod]) -> Vec<usize> {
        let deliveries = of_marks(0, 0, vec![mark.clone()]);
        let sender = Sender::new(&deliveries, "s", pods);
        (0..pods.len()).filter(|at| sender.marks_of(&pods[*at]).next().is_some()).collect()
    }

    #[test]
    fn a_pod_is_whose_controller_made_it() {
        let of = |kind| PrometheusName { kind, namespace: "n".to_owned(), name: "k8s".to_owned() };
        let (server, agent) = (of(PrometheusKind::Prometheus), of(PrometheusKind::PrometheusAgent));
        for name in ["prometheus-k8s", "prometheus-k8s-shard-1", "prometheus-k8s-shard-12"] {
            assert!(is_controller_of(&server, "StatefulSet", name), "{name}");
            assert!(!is_controller_of(&agent, "StatefulSet", name), "{name}");
            for kind in ["DaemonSet", "ReplicaSet", "Job", ""] {
                assert!(!is_controller_of(&server, kind, name), "{kind} {name}");
            }
        }
        for name in [
            "k8s",
            "prometheus-k8",
            "prometheus-k8s2",
            "prometheus-k8s-shard-",
            "prometheus-k8s-shard-a",
            "x-prometheus-k8s",
        ] {
            assert!(!is_controller_of(&server, "StatefulSet", name), "{name}");
        }
        assert!(is_controller_of(&agent, "StatefulSet", "prom-agent-k8s-shard-3"));
        assert!(is_controller_of(&agent, "DaemonSet", "prom-agent-k8s"));
        assert!(!is_controller_of(&agent, "DaemonSet", "prom-agent-k8s-shard-3"));
    }

    #[test]
    fn a_mark_is_that_of_one_pod() {
        let two = [pod("p-0", "10.0.0.1", 5_000), pod("p-1", "10.0.0.2", 5_000)];
        assert_eq!(owner(&mark("p-1", "10.0.0.9", 6_000), &two), [1], "by its label, behind NAT");
        assert_eq!(owner(&mark("", "10.0.0.2", 6_000), &two), [1], "by its address, without the label");
        assert_eq!(owner(&mark("blue", "10.0.0.2", 6_000), &two), [1], "the label says something else");
        assert_eq!(
            owner(&mark("p-0", "10.0.0.2", 6_000), &two),
            [1],
            "the address goes before a label that federated series can carry"
        );
        assert_eq!(owner(&mark("", "10.0.0.9", 6_000), &two), [] as [usize; 0], "NAT without the label");
        assert_eq!(owner(&mark("p-1", "10.0.0.2", 6_000), &two[..1]), [] as [usize; 0], "of a pod that is gone");
        assert_eq!(owner(&mark("p-0", "10.0.0.1", 5_999), &two), [] as [usize; 0], "of the process before");
        let ahead = Delivery { last_delivered: 5_999, ..mark("p-0", "10.0.0.1", 500_000) };
        assert_eq!(owner(&ahead, &two), [] as [usize; 0], "of the process before, and ahead of its time");
    }
}
