//! The cluster's DNS: a process on the node's address, reached by pods through the usual Service.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::addresses::{DNS_SERVICE, NODE};
use crate::parts::Parts;
use crate::process::Process;

/// Names of the outside that lead to the gateway, so that a tenant's host answers inside as it would in the world.
const GATEWAY_ZONES: &str = "test example.com example.org example.net";

/// Starts the server; it answers once it has read the cluster's Services.
pub(crate) fn start(parts: &Parts, kubeconfig: &Path) -> Result<Process> {
    let kubeconfig = kubeconfig.display();
    let corefile = format!(
        "cluster.local {{
    bind {NODE}
    errors
    ready {NODE}:8181
    kubernetes cluster.local {{
        kubeconfig {kubeconfig} bench
        pods insecure
    }}
}}
{GATEWAY_ZONES} {{
    bind {NODE}
    template IN A {{
        answer \"{{{{ .Name }}}} 5 IN A {NODE}\"
    }}
    template IN AAAA {{
        rcode NOERROR
    }}
}}
. {{
    bind {NODE}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"
    );
    let corefile = parts.write("Corefile", corefile)?;
    let mut coredns = parts.command("coredns", "coredns");
    coredns.arg("-conf").arg(corefile);
    parts.start("coredns", &mut coredns)
}

/// The Service by which pods know the server.
pub(crate) fn objects() -> Vec<Value> {
    let ports = |target: bool| {
        ["UDP", "TCP"].map(|protocol| {
            let mut port = json!({"name": protocol.to_lowercase(), "port": 53, "protocol": protocol});
            if target {
                port["targetPort"] = json!(53);
            }
            port
        })
    };
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": DNS_SERVICE, "ports": ports(true)},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "ports": ports(false),
            "endpoints": [{"addresses": [NODE], "conditions": {"ready": true}}],
        }),
    ]
}
