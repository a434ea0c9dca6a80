//! docs/how-to/read-an-archive-in-a-cluster.md, as it stands there: its commands, the rights that they need, and its pods that
//! read while the receiver writes.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::{env, fs};

use promarchive_cluster::{Cluster, Result};
use serde_json::{Value, json};

use crate::Clock;
use crate::page::Page;
use crate::site::{PATIENCE, Site, make_namespace, not_yet, volume_of};
use crate::{reader_image, samples_arrive};

/// The namespace of the page.
const BESIDE: &str = "monitoring";
/// In place of it, for an archive of which the claim is `ReadWriteMany`.
const SHARED: &str = "shared";
/// Somebody of whom the cluster knows nothing but the name.
const CAROL: &str = "--as=carol --as-group=system:authenticated";
/// Somebody of the group that the page's RoleBinding names.
const DAVE: &str = "--as=dave --as-group=on-call --as-group=system:authenticated";
/// Somebody without any right.
const STRANGER: &str = "--as=nobody";

/// The page, and the two archives that it describes.
pub(crate) struct Reading<'a> {
    page: Page,
    cluster: &'a Cluster,
    /// A claim that is `ReadWriteOnce`: whoever reads is on the same node.
    beside: Site<'a>,
}

impl<'a> Reading<'a> {
    /// Applies what the receiver needs to begin.
    pub(crate) fn create(cluster: &'a Cluster) -> Self {
        let page = Page::how_to("read-an-archive-in-a-cluster");
        make_namespace(cluster, BESIDE, "restricted");
        let beside = Site::around(cluster, BESIDE, 1, page.block("accessMode: ReadWriteOnce}"));
        Self { page, cluster, beside }
    }

    /// All that is on the page and that this cluster can show.
    pub(crate) fn is_as_the_page_says(&self, clock: &Clock) {
        self.cluster.load(&reader_image::busybox().unwrap()).unwrap();
        let shared = self.shared();
        self.cluster.load(&reader_image::reader().unwrap()).unwrap();
        clock.says("the readers' images are loaded");
        samples_arrive(clock, &self.beside);
        self.people_look_and_flush();
        clock.says("people look, check and flush, if they may");
        self.a_pod_reads_beside_the_receiver();
        clock.says("a pod reads beside the receiver");
        self.a_pod_reads_while_the_receiver_is_stopped();
        clock.says("a pod reads while the receiver is stopped");
        samples_arrive(clock, &shared);
        self.two_pods_read(&shared);
        clock.says("two pods read a shared volume");
    }

    /// The scheduler starts no second pod with a claim of the default kind, and says so.
    pub(crate) fn nobody_reads_a_claim_of_one_pod(&self, site: &Site<'_>) {
        self.apply_reader(site, "reader", "lab-archive");
        let waiting = self.cluster.wait_for("the scheduler's word", PATIENCE, || {
            let pod = site.get("pod/reader")?;
            assert_ne!(pod["status"]["phase"], "Running", "{pod}");
            match pod["status"]["conditions"].as_array().into_iter().flatten().next() {
                Some(condition) if condition["status"] == "False" => Ok(condition["message"].clone()),
                _ => Err(not_yet(pod["status"].to_string())),
            }
        });
        let waiting = waiting.unwrap();
        assert!(waiting.as_str().is_some_and(|message| message.contains("ReadWriteOncePod")), "{waiting}");
    }

    /// The pod that has waited until then starts, and finds everything.
    pub(crate) fn somebody_reads_what_the_receiver_left(&self, site: &Site<'_>) {
        self.is_ready(site, "reader");
        let query = self.page.command("/examples/query.py").replace(BESIDE, site.namespace);
        assert!(rows(&self.shell("", &query).unwrap()) > Some(0));
    }

    /// The archive of the page on the claim of the page, of which the folders are made as another page says.
    fn shared(&self) -> Site<'a> {
        self.cluster.local_volumes(1, "ReadWriteMany", "100Gi").unwrap();
        // The Job that makes the folders is root.
        make_namespace(self.cluster, SHARED, "baseline");
        let objects = self.page.block("accessModes: [ReadWriteMany]");
        let (claim, archive) = objects.split_once("---\n").expect("a claim and an archive");
        let ours = claim.replace("storageClassName: shared-files", "storageClassName: local");
        assert_ne!(ours, claim);
        self.cluster.apply(&ours.replace(BESIDE, SHARED)).unwrap();
        let prepare = Page::how_to("use-a-claim-that-exists");
        self.cluster.apply(&prepare.block("kind: Job").replace(BESIDE, SHARED)).unwrap();
        let complete = ["wait", "--for=condition=Complete", "job/prepare", "--timeout=120s", "--namespace", SHARED];
        self.cluster.kubectl(complete).unwrap();
        Site::around(self.cluster, SHARED, 1, &archive.replace(BESIDE, SHARED))
    }

    fn people_look_and_flush(&self) {
        let commands = ["/promarchive inspect", "/promarchive verify", "/promarchive flush"];
        let commands = commands.map(|command| self.page.command(command));
        let view = ["create", "rolebinding", "looks", "--clusterrole=view", "--user=carol"];
        self.beside.kubectl(&view).unwrap();
        self.cluster.apply(self.page.block("kind: Role\n")).unwrap();
        for command in commands {
            for person in [STRANGER, CAROL] {
                let refused = self.shell(person, command).unwrap_err();
                assert!(refused.contains("orbidden"), "{person}: {command}: {refused}");
            }
            let said = self.shell(DAVE, command).unwrap_or_else(|error| panic!("{command}: {error}"));
            assert!(said.contains("samples") || said.contains("ok"), "{command}: {said}");
        }
        for more in [
            "kubectl get secrets -n monitoring",
            "kubectl delete pod reader -n monitoring",
            "kubectl get metricsarchive lab -n monitoring",
            "kubectl exec -n shared deployment/lab-receiver -- /promarchive inspect /var/lib/promarchive/archive",
        ] {
            let refused = self.shell(DAVE, more).unwrap_err();
            assert!(refused.contains("orbidden"), "{more}: {refused}");
        }
    }

    fn a_pod_reads_beside_the_receiver(&self) {
        self.cluster.apply(self.page.block("name: reader, namespace")).unwrap();
        self.is_ready(&self.beside, "reader");
        self.sees_what_is_flushed(&self.beside, "reader");
        cannot_write(&self.beside, "reader");
        self.copies_it("reader");
    }

    /// What another page says about volumes without snapshots.
    fn a_pod_reads_while_the_receiver_is_stopped(&self) {
        let page = Page::how_to("back-up-and-restore");
        let commands = page.block("kubectl scale deployment lab-receiver");
        let (stop, start) = commands.split_once("# Run a pod").expect("a remark between stop and start");
        self.shell("", stop).unwrap();
        self.apply_reader(&self.beside, "copier", "lab-archive");
        self.is_ready(&self.beside, "copier");
        self.copies_it("copier");
        self.beside.kubectl(&["delete", "pod/copier", "--now"]).unwrap();
        assert_eq!(self.beside.get("deployment/lab-receiver").unwrap()["spec"]["replicas"], 0, "it is paused");
        self.shell("", &format!("#{start}")).unwrap();
        let runs = self.cluster.wait_for("the receiver runs again", PATIENCE, || {
            match self.beside.receiver_pod()?["status"]["containerStatuses"][0]["ready"] == true {
                true => Ok(()),
                false => Err(not_yet("it is not ready")),
            }
        });
        runs.unwrap();
    }

    /// Its files are of the receiver's own group, because Kubernetes changes nothing in a claim of somebody else.
    fn two_pods_read(&self, shared: &Site<'_>) {
        let tables = volume_of(self.cluster, SHARED, "big-disk").join("archive/samples");
        let owner = fs::metadata(&tables).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (65532, 65532), "{}", tables.display());
        let readers = ["reader", "reader-too"];
        for reader in readers {
            self.apply_reader(shared, reader, "big-disk");
        }
        for reader in readers {
            self.is_ready(shared, reader);
            self.sees_what_is_flushed(shared, reader);
            cannot_write(shared, reader);
        }
    }

    /// The page's pod in another namespace, with another claim, and without the affinity that only one node needs.
    fn apply_reader(&self, site: &Site<'_>, name: &str, claim: &str) {
        let make = ["create", "--dry-run=client", "--output=json", "--filename=-"];
        let pod = self.cluster.kubectl_with_input(&make, self.page.block("name: reader, namespace")).unwrap();
        let mut pod: Value = serde_json::from_str(&pod).unwrap();
        pod["metadata"] = json!({"name": name, "namespace": site.namespace});
        let spec = pod["spec"].as_object_mut().unwrap();
        spec.remove("affinity").expect("an affinity on the page");
        let source = spec.get_mut("volumes").and_then(|volumes| volumes.get_mut(0)).expect("a volume on the page");
        source["persistentVolumeClaim"]["claimName"] = json!(claim);
        self.cluster.apply(&pod.to_string()).unwrap();
    }

    fn is_ready(&self, site: &Site<'_>, pod: &str) {
        let waited = site.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=60s"]);
        waited.unwrap_or_else(|error| panic!("{error}\n{}", self.cluster.kubectl(["get", "events", "-A"]).unwrap()));
    }

    /// Whoever reads has as many rows as the receiver's `inspect` tells, and more after another flush.
    fn sees_what_is_flushed(&self, site: &Site<'_>, reader: &str) {
        let there = |command: &str| command.replace(BESIDE, site.namespace);
        let flush = there(self.page.command("/promarchive flush"));
        let inspect = format!("{} --output json", there(self.page.command("/promarchive inspect")));
        let query = there(self.page.command("/examples/query.py")).replace(" reader ", &format!(" {reader} "));
        let mut before = 0;
        for round in 0..2 {
            let same = self.cluster.wait_for("as many rows as the receiver has", PATIENCE, || {
                self.shell("", &flush).map_err(not_yet)?;
                let seen = rows(&self.shell("", &query).map_err(not_yet)?);
                let told: Value = serde_json::from_str(&self.shell("", &inspect).map_err(not_yet)?).unwrap();
                let tables = told["tables"].as_array().into_iter().flatten();
                let samples =
                    tables.filter(|table| table["table"] == "samples").find_map(|table| table["rows"].as_u64());
                match samples == seen && seen > Some(before) {
                    true => Ok(seen.unwrap_or_default()),
                    false => Err(not_yet(format!("round {round}: {seen:?} of {samples:?} rows, and {before} before"))),
                }
            });
            before = same.unwrap();
        }
    }

    /// What `kubectl cp` brings is an archive.
    fn copies_it(&self, reader: &str) {
        let copy = self.page.command("kubectl cp").replace(" reader:", &format!(" {reader}:"));
        let verified = self.cluster.wait_for("a copy that was made while nothing was flushed", PATIENCE, || {
            let directory = self.cluster.directory().join("copied");
            drop(fs::remove_dir_all(&directory));
            fs::create_dir(&directory).unwrap();
            self.shell("", &format!("cd {}; {copy}", directory.display())).map_err(not_yet)?;
            let mut verify = Command::new(env::var_os("PROMARCHIVE_BIN").expect("make sets it"));
            verify.args(["verify", "--output", "json"]).arg(directory.join("archive"));
            let output = verify.stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() { Ok(said) } else { Err(not_yet(said)) }
        });
        let verified: Value = serde_json::from_str(&verified.unwrap()).unwrap();
        assert_eq!(verified["ok"], true, "{verified}");
    }

    /// Runs a line of the page as somebody; what it prints.
    fn shell(&self, person: &str, line: &str) -> std::result::Result<String, String> {
        let script = format!("kubectl() {{ command kubectl {person} \"$@\"; }}\n{line}\n");
        let output = self.cluster.command("sh").args(["-ec", &script]).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// The one number in the table that DuckDB draws.
fn rows(drawn: &str) -> Option<u64> {
    drawn.split(['│', '\n']).find_map(|cell| cell.trim().parse().ok())
}

/// Neither the tables nor the log of the receiver: that is not in sight at all.
fn cannot_write(site: &Site<'_>, reader: &str) {
    let exec = |words: &[&str]| -> Result<String> { site.kubectl(&[&["exec", reader, "--"], words].concat()) };
    let seen = exec(&["ls", "-A", "/archive"]).unwrap();
    assert!(seen.lines().any(|name| name == "samples") && !seen.contains("wal"), "{seen}");
    for path in ["/archive/mine", "/archive/samples/mine", "/archive/samples/_delta_log/00000000000000009999.json"] {
        let refused = exec(&["touch", path]).unwrap_err().to_string();
        assert!(refused.contains("Read-only file system"), "{path}: {refused}");
    }
}
