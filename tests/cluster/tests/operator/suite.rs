//! What all cases share: one control plane, one operator, the stand-in for the kubelet, and a record of what happened.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use promarchive_cluster::{Cluster, Options, Shape};

use crate::api::Api;
use crate::kubelet::Kubelet;
use crate::process::{Memory, Operator};
use crate::record::Record;
use crate::{schema, upgrade};

/// The root of the repository.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Shared by all cases.
pub(crate) struct Suite {
    pub(crate) api: Arc<Api>,
    pub(crate) kubelet: Arc<Kubelet>,
    pub(crate) record: Arc<Record>,
    /// What the admission policies let receivers run.
    pub(crate) receiver_image: String,
    pub(crate) operator_kubeconfig: PathBuf,
    pub(crate) removal_kubeconfig: PathBuf,
    operator: Mutex<Option<Operator>>,
    kubelet_thread: Option<JoinHandle<()>>,
    pub(crate) cluster: Arc<Cluster>,
}

impl Suite {
    pub(crate) fn start() -> Self {
        let cluster = Arc::new(Cluster::start(&Options::new(Shape::ControlPlane)).unwrap());
        cluster.install_prometheus_kinds().unwrap();
        let api = Arc::new(Api::new(&cluster));
        // Before the operator is there, and under a definition that lets anything in.
        schema::store_what_is_wrong(&cluster);
        upgrade::store_what_earlier_versions_left(&cluster, &api);
        for part in ["default", "remove"] {
            cluster.kubectl(["apply", "--server-side", "--kustomize", &format!("{ROOT}/config/{part}")]).unwrap();
        }
        cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).unwrap();
        // The operator runs as a process; its Deployment and its Job would only wait for a node.
        let image =
            "--output=jsonpath={.spec.template.spec.containers[0].env[?(@.name=='PROMARCHIVE_RECEIVER_IMAGE')].value}";
        let image = cluster.kubectl(["get", "deployment", "promarchive-operator", "--namespace=promarchive", image]);
        cluster.kubectl(["delete", "deployment,job", "--all", "--namespace=promarchive"]).unwrap();
        let kubelet = Arc::new(Kubelet::new(cluster.clone(), api.clone()));
        let record = Record::start(&api, cluster.audit_log());
        let kubeconfig = |account: &str| cluster.service_account_kubeconfig("promarchive", account).unwrap();
        let mut suite = Self {
            operator_kubeconfig: kubeconfig("promarchive-operator"),
            removal_kubeconfig: kubeconfig("promarchive-removal"),
            receiver_image: image.unwrap(),
            api,
            kubelet,
            record,
            operator: Mutex::new(None),
            kubelet_thread: None,
            cluster,
        };
        assert!(!suite.receiver_image.is_empty(), "no image of the receivers in config/operator");
        let (cluster, kubelet) = (suite.cluster.clone(), suite.kubelet.clone());
        suite.kubelet_thread = Some(thread::spawn(move || cluster.inside(|| kubelet.run()).unwrap()));
        suite
    }

    /// Starts the operator that cases share.
    pub(crate) fn start_operator(&self) {
        *self.operator.lock().unwrap() = Some(Operator::run(self, "shared", &[], None));
    }

    /// What the operator that cases share takes of the memory.
    pub(crate) fn operator_memory(&self) -> Memory {
        self.operator.lock().unwrap().as_ref().unwrap().memory()
    }

    /// Where it serves its health.
    pub(crate) fn operator_address(&self) -> SocketAddr {
        self.operator.lock().unwrap().as_ref().unwrap().address
    }

    /// How many connections to that it has.
    pub(crate) fn operator_connections(&self) -> usize {
        self.operator.lock().unwrap().as_ref().unwrap().connections()
    }

    /// Ends it as a power cut would, and its Lease, so that the next one need not wait.
    pub(crate) fn end_operator(&self) {
        *self.operator.lock().unwrap() = None;
        self.api.delete("leases", "promarchive", "promarchive-operator");
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        self.kubelet.end();
        if let Some(thread) = self.kubelet_thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks until the answer is good; panics with the last one.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, seconds: u64, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(last) if start.elapsed() > Duration::from_secs(seconds) => {
                panic!("not within {seconds} s: {what}; last: {last}")
            }
            Err(_) => sleep(Duration::from_millis(100)),
        }
    }
}

/// Asks for a while; panics if the answer is ever bad.
#[track_caller]
pub(crate) fn always(what: &str, seconds: impl Into<f64>, mut ask: impl FnMut() -> Result<(), String>) {
    let (start, time) = (Instant::now(), Duration::from_secs_f64(seconds.into()));
    while start.elapsed() < time {
        if let Err(bad) = ask() {
            panic!("{what}, for {:?} only: {bad}", start.elapsed());
        }
        sleep(Duration::from_millis(100));
    }
}
