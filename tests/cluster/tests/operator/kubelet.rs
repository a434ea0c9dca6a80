//! The only stand-in: what a provisioner of volumes, a kubelet and a proxy do, for the receivers' pods alone.
//!
//! There is no node, but there are the real controllers, so a Deployment gets a pod, which waits for ever. For each
//! receiver's pod this one provides the volume, brings ConfigMap and Secret into files, starts the real receiver on the
//! address of the Service, and says in the pod's status whether it is ready; the rest follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::ByteString;
use promarchive_cluster::Cluster;
use serde_json::{Value, json};

use crate::api::Api;
use crate::process::program;

const STEP: Duration = Duration::from_millis(200);
const PORT: u16 = 9201;

/// Runs receivers until it is told to stop.
pub(crate) struct Kubelet {
    cluster: Arc<Cluster>,
    api: Arc<Api>,
    root: PathBuf,
    /// Namespaces whose receivers do not run.
    down: Mutex<BTreeSet<String>>,
    ends: AtomicBool,
}

struct Receiver {
    process: Child,
    namespace: String,
    pod: String,
    service: String,
    config_map: String,
    /// What the files were made of.
    version: String,
    /// The keys of the Secret that are files, if it mounts one.
    secret_items: Value,
    files: PathBuf,
    address: SocketAddr,
    ready: bool,
    /// Whether its pod has no other container. One that there is ends at once, again and again.
    is_alone: bool,
}

impl Kubelet {
    pub(crate) fn new(cluster: Arc<Cluster>, api: Arc<Api>) -> Self {
        let root = cluster.directory().join("receivers");
        Self { cluster, api, root, down: Mutex::default(), ends: AtomicBool::new(false) }
    }

    /// The receivers of this namespace do not run until [`Self::up`].
    pub(crate) fn down(&self, namespace: &str) {
        self.down.lock().unwrap().insert(namespace.to_owned());
    }

    pub(crate) fn up(&self, namespace: &str) {
        self.down.lock().unwrap().remove(namespace);
    }

    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// To be called in the cluster's network.
    pub(crate) fn run(&self) {
        let mut receivers: BTreeMap<String, Receiver> = BTreeMap::new();
        while !self.ends.load(Ordering::Relaxed) {
            self.step(&mut receivers);
            std::thread::sleep(STEP);
        }
        receivers.values_mut().for_each(Receiver::kill);
    }

    fn step(&self, receivers: &mut BTreeMap<String, Receiver>) {
        let down = self.down.lock().unwrap().clone();
        let pods = self.api.list("pods", "", "app.kubernetes.io/component=receiver");
        let stays = |pod: &&Value| {
            pod["metadata"]["deletionTimestamp"].is_null() && !down.contains(text(&pod["metadata"]["namespace"]))
        };
        let staying: BTreeMap<&str, &Value> =
            pods.iter().filter(stays).map(|pod| (text(&pod["metadata"]["uid"]), pod)).collect();
        let services = self.api.list("services", "", "app.kubernetes.io/managed-by=promarchive-operator");
        receivers.retain(|uid, receiver| {
            let goes_on = staying.contains_key(uid.as_str())
                && services.iter().all(|service| receiver.may_stay_beside(service))
                && receiver.process.try_wait().unwrap().is_none();
            if !goes_on {
                receiver.kill();
                self.report(receiver, false);
            }
            goes_on
        });
        for (uid, pod) in staying {
            if !receivers.contains_key(uid)
                && let Some(receiver) = self.start(pod)
            {
                receivers.insert(uid.to_owned(), receiver);
            }
        }
        let config_maps = self.api.list("configmaps", "", "app.kubernetes.io/managed-by=promarchive-operator");
        let secrets = self.api.list("secrets", "", "app.kubernetes.io/managed-by=promarchive-operator");
        for receiver in receivers.values_mut() {
            let its = config_maps.iter().find(|map| {
                map["metadata"]["name"] == receiver.config_map.as_str()
                    && map["metadata"]["namespace"] == receiver.namespace.as_str()
            });
            if let Some(its) = its.filter(|its| its["metadata"]["resourceVersion"] != receiver.version.as_str()) {
                receiver.refresh(its);
            }
            let mut its = secrets.iter().filter(|one| one["metadata"]["namespace"] == receiver.namespace.as_str());
            if let Some(its) = its.next() {
                let _ = secret_files(its, &receiver.secret_items, &receiver.files.join("tls"));
            }
            // The real probe asks for more, but so does the operator before it patches anything.
            if !receiver.ready && TcpStream::connect(receiver.address).is_ok() {
                receiver.ready = true;
                self.report(receiver, true);
            }
        }
    }

    /// `None` while something that it needs is not there, as a pod waits.
    fn start(&self, pod: &Value) -> Option<Receiver> {
        let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        let files = self.root.join(text(&pod["metadata"]["uid"]));
        let service = format!("{}-receiver", text(&pod["metadata"]["labels"]["app.kubernetes.io/instance"]));
        let found = self.api.get("services", namespace, &service)?;
        let address = format!("{}:{PORT}", text(&found["spec"]["clusterIP"])).parse::<SocketAddr>().ok()?;
        let mut data = None;
        let mut config_map = None;
        let mut secret_items = Value::Null;
        for volume in pod["spec"]["volumes"].as_array()? {
            if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                data = Some(self.volume(namespace, claim)?);
            } else if let Some(name) = volume["configMap"]["name"].as_str() {
                config_map = Some(self.api.get("configmaps", namespace, name)?);
            } else if let Some(name) = volume["secret"]["secretName"].as_str() {
                secret_items = volume["secret"]["items"].clone();
                secret_files(&self.api.get("secrets", namespace, name)?, &secret_items, &files.join("tls"))?;
            }
        }
        let (data, config_map) = (data?, config_map?);
        // Its own address, because all receivers are in one network.
        let here = |text: &str| {
            text.replace("/var/lib/promarchive", &data.to_string_lossy())
                .replace("/etc/promarchive-tls", &files.join("tls").to_string_lossy())
                .replace("/etc/promarchive", &files.join("config").to_string_lossy())
                .replace(&format!("0.0.0.0:{PORT}"), &address.to_string())
        };
        let directory = files.join("config");
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(data.join("archive")).unwrap();
        for (file, content) in config_map["data"].as_object()? {
            fs::write(directory.join(file), here(text(content))).unwrap();
        }
        // There already after a restart.
        let _ = self.cluster.command("ip").args(["addr", "add", &format!("{}/32", address.ip()), "dev", "lo"]).output();
        let containers = pod["spec"]["containers"].as_array()?;
        let receiver = containers.iter().find(|container| container["name"] == "receiver")?;
        let arguments = receiver["args"].as_array()?.iter().map(|argument| here(text(argument)));
        let log = fs::File::options().create(true).append(true).open(files.join("log")).unwrap();
        let mut command = self.cluster.command(program("PROMARCHIVE_BIN"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Some(Receiver {
            process: command.spawn().unwrap(),
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            service,
            config_map: text(&config_map["metadata"]["name"]).to_owned(),
            version: text(&config_map["metadata"]["resourceVersion"]).to_owned(),
            secret_items,
            files,
            address,
            ready: false,
            is_alone: containers.len() == 1,
        })
    }

    /// The directory behind a claim, when it is bound. A volume is made for it, as a provisioner would.
    fn volume(&self, namespace: &str, claim: &str) -> Option<PathBuf> {
        let found = self.api.get("persistentvolumeclaims", namespace, claim)?;
        let name = format!("{namespace}.{claim}.{}", text(&found["metadata"]["uid"]));
        let directory = self.root.join(&name);
        if found["status"]["phase"] == "Bound" {
            return Some(directory);
        }
        fs::create_dir_all(&directory).unwrap();
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": found["spec"]["resources"]["requests"]["storage"]},
                "accessModes": found["spec"]["accessModes"],
                "claimRef": {"namespace": namespace, "name": claim, "uid": found["metadata"]["uid"]},
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": directory},
            },
        });
        let _ = self.api.create(volume);
        // Else the controller finds it with its next round of 15 s only.
        let patch = json!({"spec": {"volumeName": name}});
        let _ = self.api.merge("persistentvolumeclaims", namespace, claim, patch);
        None
    }

    /// The pod may be gone.
    fn report(&self, receiver: &Receiver, ready: bool) {
        let ready = if ready && receiver.is_alone { "True" } else { "False" };
        let conditions = ["Ready", "ContainersReady"].map(|type_| json!({"type": type_, "status": ready}));
        let patch = json!({"status": {"phase": "Running", "conditions": conditions}});
        let _ = self.api.merge_status("pods", &receiver.namespace, &receiver.pod, patch);
    }
}

impl Receiver {
    /// A Service that is made again gets another address, and its former one goes to somebody else.
    fn may_stay_beside(&self, service: &Value) -> bool {
        let metadata = &service["metadata"];
        let is_its = metadata["namespace"] == self.namespace.as_str() && metadata["name"] == self.service.as_str();
        is_its == (service["spec"]["clusterIP"] == self.address.ip().to_string())
    }

    /// Tokens change while it runs; whoever changes its configuration changes the pod, too.
    fn refresh(&mut self, config_map: &Value) {
        let (path, new) = (self.files.join("config/tokens"), self.files.join("config/tokens.new"));
        fs::write(&new, text(&config_map["data"]["tokens"])).unwrap();
        fs::rename(new, path).unwrap();
        text(&config_map["metadata"]["resourceVersion"]).clone_into(&mut self.version);
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Secret's keys as files, those that have changed.
fn secret_files(secret: &Value, items: &Value, directory: &Path) -> Option<()> {
    fs::create_dir_all(directory).unwrap();
    for item in items.as_array()? {
        let bytes: ByteString = serde_json::from_value(secret["data"][text(&item["key"])].clone()).ok()?;
        let path = directory.join(text(&item["path"]));
        if fs::read(&path).ok().as_ref() != Some(&bytes.0) {
            fs::write(path, bytes.0).unwrap();
        }
    }
    Some(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
