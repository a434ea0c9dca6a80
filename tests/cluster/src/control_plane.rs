//! etcd, the API server, the controller manager, the scheduler, and DNS: how each is called.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use crate::error::Result;
use crate::layout::{Layout, write};
use crate::network::{API_SERVER, NODE_ADDRESS, SERVICE_RANGE};
use crate::part::Part;

/// A database that may be lost with the machine, but not with the process.
const ETCD: [&str; 7] = [
    "--listen-client-urls=http://127.0.0.1:2379",
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--listen-peer-urls=http://127.0.0.1:2380",
    "--listen-metrics-urls=http://203.0.113.10:2381",
    "--unsafe-no-fsync",
    // Tests fill it with as much as tenants may.
    "--quota-backend-bytes=17179869184",
    "--log-level=warn",
];

const API_SERVER_FLAGS: [&str; 11] = [
    "--etcd-servers=http://127.0.0.1:2379",
    "--secure-port=6443",
    "--bind-address=0.0.0.0",
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--kubelet-preferred-address-types=InternalIP",
    "--allow-privileged=true",
    "--profiling=false",
    // An answer is sent when its line is in the file: whoever has the answer finds the line.
    "--audit-log-mode=blocking",
    "--audit-log-format=json",
];

/// Writes the files that the flags below name.
pub(crate) fn configure(layout: &Layout) -> Result<()> {
    let audit = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    });
    write(&layout.configuration("audit.json"), audit.to_string())?;
    let kubeconfig = layout.kubeconfig();
    let corefile = format!(
        ".:53 {{
  bind {NODE_ADDRESS}
  errors
  ready {NODE_ADDRESS}:8181
  cache 5
  kubernetes cluster.local in-addr.arpa {{
    endpoint {API_SERVER}
    kubeconfig {}
  }}
}}
",
        kubeconfig.display()
    );
    write(&layout.configuration("Corefile"), corefile)
}

/// The arguments of one of these parts.
pub(crate) fn arguments(part: Part, layout: &Layout) -> Vec<OsString> {
    match part {
        Part::Etcd => [&ETCD.map(OsString::from)[..], &[flag("data-dir", &layout.etcd())]].concat(),
        Part::ApiServer => api_server(layout),
        Part::ControllerManager => [
            as_administrator(layout),
            vec![
                flag("root-ca-file", &layout.pki("ca.crt")),
                flag("service-account-private-key-file", &layout.pki("service-accounts.key")),
                "--use-service-account-credentials=true".into(),
                // It asks so much at its start that its own limits are most of the time to ready.
                "--kube-api-qps=500".into(),
                "--kube-api-burst=1000".into(),
            ],
        ]
        .concat(),
        Part::Scheduler => as_administrator(layout),
        Part::Dns => vec!["-conf".into(), layout.configuration("Corefile").into()],
        Part::Node | Part::Containerd | Part::Kubelet | Part::Proxy => Vec::new(),
    }
}

fn api_server(layout: &Layout) -> Vec<OsString> {
    let files = [
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("client-ca-file", "ca.crt"),
        ("service-account-key-file", "service-accounts.pub"),
        ("service-account-signing-key-file", "service-accounts.key"),
        ("kubelet-client-certificate", "admin.crt"),
        ("kubelet-client-key", "admin.key"),
        ("kubelet-certificate-authority", "ca.crt"),
    ];
    let mut arguments: Vec<OsString> = API_SERVER_FLAGS.map(OsString::from).to_vec();
    arguments.extend(files.map(|(name, file)| flag(name, &layout.pki(file))));
    arguments.push(format!("--advertise-address={NODE_ADDRESS}").into());
    arguments.push(format!("--service-cluster-ip-range={SERVICE_RANGE}").into());
    arguments.push(flag("audit-policy-file", &layout.configuration("audit.json")));
    arguments.push(flag("audit-log-path", &layout.audit_log()));
    arguments
}

/// Its own server asks the API server who a caller is, so that Prometheus can scrape it with a token.
fn as_administrator(layout: &Layout) -> Vec<OsString> {
    let kubeconfig = layout.kubeconfig();
    let mut arguments: Vec<OsString> = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .map(|name| flag(name, &kubeconfig))
        .to_vec();
    arguments.push("--leader-elect=false".into());
    arguments
}

/// `--name=path`
pub(crate) fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(path);
    flag
}
