//! Who reaches whom, as cyclonus reads the network policies of leases, is what their documents ask for and nothing else.
//!
//! What is expected comes from the documents' exposures and from a list of places on the network, not from the policies.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::workspace;
use manifests::manifest::{Expose, Group, Proto, Service};
use manifests::objects::{LeaseContext, labels, render};
use manifests::order::LeaseId;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::stage;

/// The documents whose leases stand beside each other.
const DOCUMENTS: [&str; 9] = [
    "web",
    "shop",
    "game",
    "mail",
    "database-cluster",
    "leased-address-web",
    "leased-address-shared",
    "reads-its-logs",
    "web-two-ports",
];

/// Places outside of all leases that pods may want to reach, each with a port and whether they may.
const OUTSIDE: [(&str, u16, Proto, bool); 37] = [
    ("8.8.8.8", 443, Proto::Tcp, true),
    ("1.1.1.1", 53, Proto::Udp, true),
    ("93.184.215.14", 25, Proto::Tcp, true),
    ("172.15.255.255", 80, Proto::Tcp, true),
    ("172.32.0.1", 80, Proto::Tcp, true),
    ("100.63.255.255", 80, Proto::Tcp, true),
    ("100.128.0.1", 80, Proto::Tcp, true),
    ("2606:4700:4700::1111", 443, Proto::Tcp, true),
    ("2a00:1450:4001:82a::200e", 443, Proto::Udp, true),
    // The DNS server of the provider, for DNS; it is no closed address here.
    ("192.0.2.1", 53, Proto::Udp, true),
    // The cloud's metadata.
    ("169.254.169.254", 80, Proto::Tcp, false),
    ("169.254.170.2", 80, Proto::Tcp, false),
    ("fd00:ec2::254", 80, Proto::Tcp, false),
    ("64:ff9b::a9fe:a9fe", 80, Proto::Tcp, false),
    ("2002:a9fe:a9fe::1", 80, Proto::Tcp, false),
    // Nodes, by private and by public addresses.
    ("10.0.0.5", 10250, Proto::Tcp, false),
    ("172.16.0.1", 22, Proto::Tcp, false),
    ("172.31.255.254", 22, Proto::Tcp, false),
    ("192.168.1.1", 22, Proto::Tcp, false),
    ("198.51.100.7", 10250, Proto::Tcp, false),
    ("198.51.100.7", 53, Proto::Udp, false),
    ("2001:db8::7", 10250, Proto::Tcp, false),
    // The API server, inside and out.
    ("10.96.0.1", 443, Proto::Tcp, false),
    ("203.0.113.1", 6443, Proto::Tcp, false),
    ("203.0.113.1", 22, Proto::Tcp, false),
    // What is local, shared, reserved, or leads around the list.
    ("127.0.0.1", 80, Proto::Tcp, false),
    ("0.0.0.1", 80, Proto::Tcp, false),
    ("100.64.0.1", 80, Proto::Tcp, false),
    ("100.127.255.254", 80, Proto::Tcp, false),
    ("198.18.0.1", 80, Proto::Tcp, false),
    ("224.0.0.1", 5353, Proto::Udp, false),
    ("255.255.255.255", 67, Proto::Udp, false),
    ("::1", 80, Proto::Tcp, false),
    ("fe80::1", 80, Proto::Tcp, false),
    ("fc00::1", 80, Proto::Tcp, false),
    ("ff02::1", 5353, Proto::Udp, false),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", 80, Proto::Tcp, false),
];

/// One end of a connection.
#[derive(Clone)]
struct Peer {
    /// For sentences.
    name: String,
    ip: String,
    /// Namespace, its labels and the pod's.
    pod: Option<(String, Value, Value)>,
    /// Of which lease and service.
    service: Option<(usize, String)>,
}

impl Peer {
    fn outside(ip: &str) -> Self {
        Self { name: ip.to_owned(), ip: ip.to_owned(), pod: None, service: None }
    }

    fn pod(name: &str, ip: &str, namespace: &str, labels: Value) -> Self {
        let of_namespace = json!({"kubernetes.io/metadata.name": namespace});
        let pod = Some((namespace.to_owned(), of_namespace, labels));
        Self { name: name.to_owned(), ip: ip.to_owned(), pod, service: None }
    }

    fn json(&self) -> Value {
        let internal = self.pod.as_ref().map(|(namespace, of_namespace, labels)| {
            json!({"Namespace": namespace, "NamespaceLabels": of_namespace, "PodLabels": labels})
        });
        json!({"IP": self.ip, "Internal": internal})
    }
}

/// A lease on the network.
struct Lease {
    context: LeaseContext,
    group: Group,
}

/// A connection, and whether it must be possible.
struct Connection {
    from: Peer,
    to: Peer,
    port: u16,
    proto: Proto,
    allowed: bool,
}

/// Two leases of every document, so that each has a stranger that looks just like it.
fn leases() -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    for (number, document) in DOCUMENTS.iter().flat_map(|document| [document; 2]).enumerate() {
        let path = workspace::root().join(format!("manifests/tests/golden/{document}.sdl.yaml"));
        let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let parsed = manifests::parse(&text).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let group = parsed.manifest.0.into_iter().next().context("the document has no group")?;
        let id = LeaseId { dseq: 5000 + u64::try_from(number)?, ..stage::LEASE };
        leases.push(Lease { context: stage::lease(id, &group), group });
    }
    Ok(leases)
}

fn pods(leases: &[Lease]) -> Vec<Peer> {
    let mut pods = Vec::new();
    for (number, lease) in leases.iter().enumerate() {
        for (place, service) in lease.group.services.iter().enumerate() {
            let labels = json!({
                "app.kubernetes.io/managed-by": "berth",
                labels::LEASE: lease.context.short_id(),
                labels::SERVICE: service.name,
            });
            let name = format!("{} of lease {number}", service.name);
            let pod = Peer::pod(
                &name,
                &format!("10.244.{number}.{}", place + 2),
                &lease.context.namespace(),
                labels,
            );
            pods.push(Peer { service: Some((number, service.name.clone())), ..pod });
        }
    }
    pods
}

/// Whether the document lets this peer connect to the port of a service.
fn may_enter(from: &Peer, lease: usize, service: &Service, port: u16, proto: Proto) -> bool {
    let inside = from.service.as_ref().is_some_and(|(own, _)| *own == lease);
    let from_gateway =
        from.ip == "192.0.2.1" || from.pod.as_ref().is_some_and(|pod| pod.0 == "berth-gateway");
    let lets_in = |expose: &Expose| {
        let http = expose.proto == Proto::Tcp && expose.visible_port() == 80 && expose.ip.is_empty();
        match (expose.global, http) {
            (true, false) => true,
            (true, true) => inside || from_gateway,
            (false, _) if expose.service.is_empty() => inside,
            (false, _) => inside && from.service.as_ref().is_some_and(|(_, name)| *name == expose.service),
        }
    };
    let here = |expose: &&Expose| expose.port == u32::from(port) && expose.proto == proto;
    service.expose.iter().filter(here).any(lets_in)
}

/// All connections that are asked about.
fn connections(leases: &[Lease]) -> Vec<Connection> {
    let pods = pods(leases);
    let dns = Peer::pod("the cluster's DNS", "10.244.99.2", "kube-system", json!({"k8s-app": "kube-dns"}));
    let callers = [
        Peer::pod("the gateway", "10.244.99.3", "berth-gateway", json!({"app": "envoy"})),
        Peer::pod("another namespace's pod", "10.244.99.4", "default", json!({"app": "something"})),
        dns.clone(),
        Peer::outside("192.0.2.1"),
        Peer::outside("8.8.8.8"),
        Peer::outside("2606:4700:4700::1111"),
        Peer::outside("10.0.0.5"),
    ];
    let mut asked = Vec::new();
    for to in &pods {
        let Some((lease, name)) = &to.service else { continue };
        let Some(service) = leases[*lease].group.service(name) else { continue };
        let mut ports: Vec<(u16, Proto)> =
            vec![(22, Proto::Tcp), (80, Proto::Tcp), (53, Proto::Udp), (8080, Proto::Tcp)];
        ports.extend(
            service.expose.iter().filter_map(|expose| Some((u16::try_from(expose.port).ok()?, expose.proto))),
        );
        ports.sort_unstable();
        ports.dedup();
        for (port, proto) in ports {
            for from in pods.iter().chain(&callers) {
                // Pods of a lease go out to their own lease only: others have private addresses.
                let may_leave = from.service.as_ref().is_none_or(|(own, _)| own == lease);
                let allowed = may_leave && may_enter(from, *lease, service, port, proto);
                asked.push(Connection { from: from.clone(), to: to.clone(), port, proto, allowed });
            }
        }
    }
    for from in &pods {
        let Some((lease, name)) = &from.service else { continue };
        let service = leases[*lease].group.service(name);
        let asks = service
            .and_then(|service| service.params.as_ref())
            .is_some_and(|params| params.permissions.is_some());
        for (ip, port, proto, allowed) in OUTSIDE {
            let allowed = allowed || (asks && (ip, port) == ("203.0.113.1", 6443));
            asked.push(Connection { from: from.clone(), to: Peer::outside(ip), port, proto, allowed });
        }
        for (port, proto, allowed) in
            [(53, Proto::Udp, true), (53, Proto::Tcp, true), (9153, Proto::Tcp, false)]
        {
            asked.push(Connection { from: from.clone(), to: dns.clone(), port, proto, allowed });
        }
        for to in &callers[..2] {
            asked.push(Connection {
                from: from.clone(),
                to: to.clone(),
                port: 80,
                proto: Proto::Tcp,
                allowed: false,
            });
        }
    }
    asked
}

/// What cyclonus says of each connection under these policies.
async fn verdicts(policies: &[Value], asked: &[Connection]) -> Result<Vec<bool>> {
    let folder = tempfile::tempdir()?;
    let (policy_path, traffic_path) =
        (folder.path().join("policies.json"), folder.path().join("traffic.json"));
    let list = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": policies});
    fs::write(&policy_path, list.to_string())?;
    let traffic: Vec<Value> = asked
        .iter()
        .map(|connection| {
            json!({
                "Source": connection.from.json(),
                "Destination": connection.to.json(),
                "ResolvedPort": connection.port,
                "ResolvedPortName": "",
                "Protocol": connection.proto.to_string(),
            })
        })
        .collect();
    fs::write(&traffic_path, json!(traffic).to_string())?;
    let output = Command::new("cyclonus")
        .args(["analyze", "--mode", "query-traffic", "--policy-path"])
        .arg(&policy_path)
        .arg("--traffic-path")
        .arg(&traffic_path)
        .output()
        .await
        .context("failed to start cyclonus")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cyclonus failed: {words}");
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let rows = text.lines().filter(|line| line.contains("is allowed?"));
    let verdicts: Vec<bool> = rows.map(|row| row.contains("true")).collect();
    ensure!(
        verdicts.len() == asked.len(),
        "cyclonus judged {} of {} connections",
        verdicts.len(),
        asked.len()
    );
    Ok(verdicts)
}

fn policies(leases: &[Lease]) -> Result<Vec<Value>> {
    let mut policies = Vec::new();
    for lease in leases {
        let objects = render(&lease.group, &lease.context, &stage::settings())?;
        policies.extend(
            objects.items.into_iter().filter(|item| item.kind == "NetworkPolicy").map(|item| item.body),
        );
    }
    Ok(policies)
}

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test objects"]
async fn pods_reach_what_their_document_asks_for_and_nothing_else() {
    reach().await.unwrap();
}

async fn reach() -> Result<()> {
    let leases = leases()?;
    let asked = connections(&leases);
    let policies = policies(&leases)?;
    let verdicts = verdicts(&policies, &asked).await?;
    let mut wrong = Vec::new();
    for (connection, verdict) in asked.iter().zip(&verdicts) {
        if connection.allowed != *verdict {
            let Connection { from, to, port, proto, allowed } = connection;
            let (is, should) = if *allowed { ("closed", "open") } else { ("open", "closed") };
            wrong.push(format!("{} to {}:{port}/{proto} is {is} and should be {should}", from.name, to.name));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} connections: {:#?}",
        wrong.len(),
        asked.len(),
        &wrong[..wrong.len().min(40)]
    );

    // It does judge: without the policies everything is open.
    let sample: Vec<Connection> = connections(&leases[..1]);
    let open = self::verdicts(&[], &sample).await?;
    ensure!(open.iter().all(|verdict| *verdict), "without policies something is closed");
    println!(
        "cyclonus: {} connections among {} leases under {} policies are as their documents say, {} open and {} closed",
        asked.len(),
        leases.len(),
        policies.len(),
        verdicts.iter().filter(|verdict| **verdict).count(),
        verdicts.iter().filter(|verdict| !**verdict).count()
    );
    Ok(())
}
