//! What anybody can make in a namespace of their own cannot take the operator's memory or its port.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Case;
use crate::place::{PATIENCE, Place, named};
use crate::suite::{Suite, eventually};

/// With an operator of their own.
pub(crate) const IN_ORDER: &[Case] = &[
    ("crowd::objects_do_not_fill_the_memory", objects_do_not_fill_the_memory),
    ("crowd::connections_do_not_hold_the_port", connections_do_not_hold_the_port),
];

/// What the operator may have resident with a thousand hostile objects of each kind (`docs/reference/operator.md`).
const MOST_KIB: u64 = 128 << 10;
/// ConfigMaps, and objects of each other kind, when nothing else is asked for.
const FEW: (usize, usize) = (60, 8);
/// So many of each kind are nearly as large as can be; the others are a tenth of that, or the API server needs more memory than test
/// machines have.
const LARGE: usize = 100;

/// `PROMARCHIVE_CROWD` asks for so many of each kind.
fn counts() -> (usize, usize) {
    let asked = std::env::var("PROMARCHIVE_CROWD").ok().and_then(|text| text.parse().ok());
    asked.map_or(FEW, |count| (count, count))
}

/// So much of something for the object of this number.
fn share(at: usize, most: usize) -> usize {
    if at < LARGE { most } else { most / 10 }
}

/// As much as annotations can have.
fn annotations(at: usize) -> Value {
    json!({"theirs": "x".repeat(share(at, 250 << 10))})
}

/// A hostile object of each kind, made in its own namespace.
fn hostile(at: usize) -> Vec<Value> {
    let namespace = format!("hostile-{at}");
    let object = |kind: &str, version: &str, name: &str, body: Value| {
        let mut object = body;
        object["kind"] = json!(kind);
        object["apiVersion"] = json!(version);
        let labels =
            json!({"app.kubernetes.io/managed-by": "promarchive-operator", "app.kubernetes.io/instance": name});
        object["metadata"] =
            json!({"name": name, "namespace": namespace, "labels": labels, "annotations": annotations(at)});
        object
    };
    let many = |each: fn(usize) -> Value, count: usize| (0..count).map(each).collect::<Vec<_>>();
    let entries = json!(many(|at| json!({"url": format!("https://{at}.example.org")}), share(at, 4_000)));
    let pod = json!({"labels": {"a": "b"}, "annotations": {"theirs": "x".repeat(share(at, 100 << 10))}});
    let container = json!({"name": "c", "image": "i"});
    let secret: serde_json::Map<_, _> =
        (0..share(at, 3_000)).map(|key| (format!("theirs-{key}"), json!("eHh4".repeat(60)))).collect();
    vec![
        object(
            "MetricsArchive",
            "promarchive.dev/v1alpha1",
            "theirs",
            json!({"spec": {"paused": true,
            "storage": {"persistentVolume": {"size": "1Gi"}},
            "receiver": {"resources": {"limits": {"memory": "1Gi"}}}}}),
        ),
        object(
            "Prometheus",
            "monitoring.coreos.com/v1",
            "theirs",
            json!({"spec": {"remoteWrite": entries,
            "externalLabels": {"a": "x".repeat(share(at, 200 << 10))}}}),
        ),
        object(
            "PrometheusAgent",
            "monitoring.coreos.com/v1alpha1",
            "theirs",
            json!({"spec": {"remoteWrite": entries}}),
        ),
        object("Secret", "v1", "promarchive-remote-write", json!({"data": secret})),
        object("Service", "v1", "theirs", json!({"spec": {"clusterIP": "None", "ports": [{"port": 1}]}})),
        object("ServiceAccount", "v1", "theirs", json!({})),
        object(
            "NetworkPolicy",
            "networking.k8s.io/v1",
            "theirs",
            json!({"spec": {"podSelector": {},
            "ingress": [{"from": many(|at| json!({"ipBlock": {"cidr": format!("192.0.2.{}/32", at % 250)}}), share(at, 4_000))}]}}),
        ),
        object(
            "PersistentVolumeClaim",
            "v1",
            "theirs",
            json!({"spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        object(
            "Deployment",
            "apps/v1",
            "theirs",
            json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": pod, "spec": {"containers": [container]}}}}),
        ),
        object(
            "PodMonitor",
            "monitoring.coreos.com/v1",
            "theirs",
            json!({"spec": {"selector": {},
            "podMetricsEndpoints": many(|at| json!({"port": format!("p{at}")}), share(at, 4_000))}}),
        ),
    ]
}

/// A ConfigMap of nearly the largest size, with our label.
fn config_map(at: usize) -> Value {
    let labels = json!({"app.kubernetes.io/managed-by": "promarchive-operator", "app.kubernetes.io/instance": "lab"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"theirs": "x".repeat(share(at, 950 << 10))},
        "metadata": {"name": format!("theirs-{at}"), "namespace": "hostile", "labels": labels}})
}

/// A pod that says that it is one of a Prometheus.
fn pod(at: usize) -> Value {
    let labels = json!({"operator.prometheus.io/name": "main", "app.kubernetes.io/name": "prometheus"});
    json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "prometheus", "image": "none"}]},
        "metadata": {"name": format!("theirs-{at}"), "namespace": "hostile", "labels": labels, "annotations": annotations(at)}})
}

/// Does it for each number, some at a time.
fn for_each(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            work(at);
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
}

fn objects_do_not_fill_the_memory(suite: &Suite) {
    let (config_maps, others) = counts();
    let place = Place::new(suite, "hostile");
    place.prometheus("main", None);
    place.archive("lab", json!([named("main")]));
    place.entry("main", "lab");
    let before = suite.operator_memory();
    let start = Instant::now();
    for_each(config_maps, |at| drop(suite.api.create(config_map(at)).unwrap()));
    for_each(others, |at| {
        let metadata = json!({"name": format!("hostile-{at}"), "annotations": annotations(at)});
        suite.api.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).unwrap();
        hostile(at).into_iter().for_each(|object| {
            let (kind, name) = (object["kind"].clone(), object["metadata"]["namespace"].clone());
            // The API server has a limit for what one request may have, and the test must not be about it.
            assert!(object.to_string().len() < 1_400_000, "{kind}");
            suite.api.create(object).unwrap_or_else(|refused| panic!("{kind} in {name}: {refused:?}"));
        });
        suite.api.create(pod(at)).unwrap();
    });
    eprintln!("{config_maps} ConfigMaps and {others} objects of each other kind in {:?}", start.elapsed());
    let look = |what: &str| {
        let now = suite.operator_memory();
        eprintln!("{what}: {} KiB resident, {} KiB at most; before: {} KiB", now.resident, now.peak, before.resident);
        assert!(now.peak < MOST_KIB, "{what}: {now:?}");
    };
    // It has seen all of them: what comes after is seen, too.
    place.archive("late", json!([named("main")]));
    place.entry("main", "late");
    look("while they come");
    // One that starts reads all of it at once.
    suite.end_operator();
    suite.start_operator();
    place.archive("later", json!([named("main")]));
    place.entry("main", "later");
    look("after a start");
    // With all of it there, nothing is written to what is as it should be.
    let quiet = || suite.record.writes("hostile").into_iter().filter(|write| !write.contains("/events")).count();
    let mut writes = quiet();
    eventually("a second without a write", PATIENCE, || {
        thread::sleep(Duration::from_secs(3));
        let now = quiet();
        if std::mem::replace(&mut writes, now) == now { Ok(()) } else { Err(format!("{now} writes")) }
    });
    look("after a while");
    ["lab", "late", "later"].iter().for_each(|archive| place.delete_archive(archive, 90));
    for_each(others, |at| suite.api.delete("prometheuses", &format!("hostile-{at}"), "theirs"));
    for_each(others, |at| suite.api.delete("namespaces", "", &format!("hostile-{at}")));
    suite.api.delete("namespaces", "", "hostile");
}

/// From 127.0.0.`last`, which is as good as any address of the network 127.0.0.0/8.
async fn connect(to: SocketAddr, last: u8) -> std::io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0))?;
    socket.connect(to).await
}

fn blocking(runtime: &tokio::runtime::Runtime, to: SocketAddr, last: u8) -> std::io::Result<TcpStream> {
    let stream = runtime.block_on(connect(to, last))?.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Sends a request and gives the first line of the answer; an empty one if there is none.
fn ask(runtime: &tokio::runtime::Runtime, to: SocketAddr, last: u8, request: &str) -> String {
    let Ok(mut stream) = blocking(runtime, to, last) else { return String::new() };
    let mut answer = String::new();
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

const PROBE: &str = "GET /-/healthy HTTP/1.1\r\nHost: operator\r\n\r\n";
const GOOD: &str = "HTTP/1.1 200 OK";

fn connections_do_not_hold_the_port(suite: &Suite) {
    raise_open_files();
    let to = suite.operator_address();
    let held = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        eventually("a first answer", PATIENCE, || match ask(&runtime, to, 2, PROBE) {
            answer if answer == GOOD => Ok(()),
            answer => Err(answer),
        });
        // Half of them say nothing, the other half begin a request.
        let mut streams: Vec<TcpStream> = (0..2_000)
            .map(|at| {
                let mut stream = blocking(&runtime, to, 1).unwrap();
                if at % 2 == 0 {
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: operator\r\nX-Half: ");
                }
                stream
            })
            .collect();
        for last in [2, 3, 1] {
            assert_eq!(ask(&runtime, to, last, PROBE), GOOD, "from 127.0.0.{last}");
        }
        // Others, too, one by one, with all of these still open at this end.
        let connections = suite.operator_connections();
        assert!(connections <= 256, "{connections} connections");
        let start = Instant::now();
        for stream in &mut streams {
            // Closed or cut off; a timeout would be an error, too, but of another kind.
            match stream.read(&mut [0; 1024]).map(drop) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
            }
        }
        eprintln!("all of them ended within {:?}", start.elapsed());
        let long = format!("GET /-/healthy HTTP/1.1\r\nHost: operator\r\nX-Long: {}\r\n\r\n", "x".repeat(64 << 10));
        assert_ne!(ask(&runtime, to, 4, &long), GOOD, "a head of 64 KiB");
        let body = "POST /metrics HTTP/1.1\r\nHost: operator\r\nContent-Length: 1000000000\r\n\r\n";
        assert_eq!(ask(&runtime, to, 4, body), "HTTP/1.1 405 Method Not Allowed");
        for path in ["/-/ready", "/metrics"] {
            assert_eq!(ask(&runtime, to, 4, &PROBE.replace("/-/healthy", path)), GOOD, "{path}");
        }
    };
    suite.cluster.inside(held).unwrap();
    let now = suite.operator_memory();
    assert!(now.peak < MOST_KIB, "{now:?}");
}

/// As many files as the machine lets this process have.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
