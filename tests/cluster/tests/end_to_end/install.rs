//! The chart on a cluster with a node, the Prometheus Operator, and images of the programs under test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, thread};

use promarchive_cluster::{Cluster, Image, Options, Shape};

use crate::site::{PATIENCE, make_namespace, not_yet};

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Namespace and name of the release.
pub(crate) const RELEASE: &str = "promarchive";
/// The tag that the chart names by itself, and that of an upgrade.
pub(crate) const TAGS: [&str; 2] = [env!("CARGO_PKG_VERSION"), "next"];

/// A cluster with everything but archives. Says what the operator said if the test panics.
pub(crate) struct Installed(pub(crate) Cluster);

impl Installed {
    pub(crate) fn start() -> Self {
        let cluster = Cluster::start(&Options::new(Shape::Node)).unwrap();
        for (count, access_mode) in [(7, "ReadWriteOncePod"), (2, "ReadWriteOnce")] {
            cluster.local_volumes(count, access_mode, "100Gi").unwrap();
        }
        for tag in TAGS {
            cluster.load(&image(tag)).unwrap();
        }
        cluster.install_prometheus_operator().unwrap();
        let installed = Self(cluster);
        installed.install();
        installed
    }

    pub(crate) fn install(&self) {
        let cluster = &self.0;
        // Its pods are as harmless as pods can be.
        make_namespace(cluster, RELEASE, "restricted");
        self.helm(&["install", RELEASE, &chart(), "--wait", "--timeout=60s"]);
        // Hidden, because no one has a use for less than the default but a test.
        let deployment = format!("deployment/{RELEASE}-operator");
        let overlap = ["set", "env", &deployment, "--namespace", RELEASE, "PROMARCHIVE_OVERLAP=15s"];
        cluster.kubectl(overlap).unwrap();
        self.operator_is_rolled_out();
    }

    /// Waits until the newest pod of the operator works, and not one before it.
    pub(crate) fn operator_is_rolled_out(&self) {
        let cluster = &self.0;
        let deployment = format!("deployment/{RELEASE}-operator");
        cluster.kubectl(["rollout", "status", &deployment, "--namespace", RELEASE, "--timeout=60s"]).unwrap();
        let get = |words: &[&str]| cluster.kubectl([&["get", "--namespace", RELEASE], words].concat());
        let works = cluster.wait_for("the operator has the Lease", PATIENCE, || {
            let pods = get(&["pods", "--selector=app.kubernetes.io/component=operator", "--output=name"])?;
            let holder = get(&["lease", "promarchive-operator", "--output=jsonpath={.spec.holderIdentity}"])?;
            match pods.trim().strip_prefix("pod/") == Some(&holder) {
                true => Ok(()),
                false => Err(not_yet(format!("{holder} has it, of {pods}"))),
            }
        });
        works.unwrap();
    }

    /// Runs helm in the release's namespace; what it prints.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        let mut command = self.0.command("helm");
        let output = command.args(arguments).args(["--namespace", RELEASE]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let deployment = format!("deployment/{RELEASE}-operator");
        for words in [
            &["get", "metricsarchives,pods,prometheuses,prometheusagents", "--all-namespaces", "--output=wide"][..],
            &["logs", &deployment, "--namespace", RELEASE, "--tail=100"],
            &[
                "get",
                "metricsarchives",
                "--all-namespaces",
                "--output=jsonpath={range .items[*]}{.metadata.name} {.status}{'\\n'}{end}",
            ],
        ] {
            let text = self.0.kubectl(words).unwrap_or_else(|error| error.to_string());
            eprintln!("--- kubectl {words:?}\n{text}");
        }
    }
}

pub(crate) fn chart() -> String {
    format!("{ROOT}/charts/promarchive")
}

/// As the project's own image: both programs, and who runs them.
fn image(tag: &str) -> Image {
    let [receiver, operator] = ["PROMARCHIVE_BIN", "PROMARCHIVE_OPERATOR_BIN"].map(|variable| {
        PathBuf::from(env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set; `make test` sets it")))
    });
    let image = Image::new(&format!("ghcr.io/promarchive/promarchive:{tag}")).user("65532:65532").label("tag", tag);
    let image = image.file("/etc/passwd", 0o644, Path::new(&format!("{ROOT}/scripts/image.passwd"))).unwrap();
    let image = image.file("/promarchive", 0o755, &receiver).and_then(|image| image.libraries_of(&receiver));
    let image = image.and_then(|image| image.file("/promarchive-operator", 0o755, &operator));
    image.and_then(|image| image.libraries_of(&operator)).unwrap().entrypoint(&["/promarchive"])
}
