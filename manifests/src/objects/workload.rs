//! The Deployment of a service: its containers with exactly what was bought, on the nodes that were promised, with no more
//! rights than common images need.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, LocalObjectReference, NodeAffinity,
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::manifest::Service;
use crate::objects::storage::Volumes;
use crate::objects::{Frame, RenderError, labels, registry_secret, service, unsupported};

/// The resource by which Kubernetes hands out whole GPUs.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";

/// What common images cannot start without: they change owners, drop to another user, bind low ports.
const CAPABILITIES: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "AUDIT_WRITE",
];

/// Variables by which a container would choose devices for itself where the vendor's runtime is the default. They are the
/// device plugin's to set; images carry them too.
const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";
const DEVICE_VARIABLES: [&str; 4] =
    [VISIBLE_DEVICES, "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_IMEX_CHANNELS"];

/// The Deployment. `host` is the name under which the service is served over HTTP, if it is.
pub(super) fn deployment(
    frame: &Frame<'_>,
    service: &Service,
    volumes: Volumes,
    host: Option<&str>,
) -> Result<Deployment, RenderError> {
    let replicas = i32::try_from(service.count)
        .map_err(|_| unsupported(service, format!("{} replicas are too many", service.count)))?;
    let selector = labels::selector(&frame.short_id, &service.name);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::of_service(&frame.short_id, &service.name)),
            annotations: Some(labels::annotations(frame.lease)),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(frame, service, volumes, host)?),
    };
    Ok(Deployment {
        metadata: frame.metadata_of(service, service.name.as_str()),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(1),
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            // The nodes have room for the replicas that were bought and for no other.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(0)),
                    max_unavailable: Some(IntOrString::Int(1)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    })
}

/// What one replica takes, by the names of Kubernetes: `cpu` in thousandths, the rest in bytes or pieces. GPUs are always
/// told, so that a quota says zero too.
pub(super) fn amounts(service: &Service, volumes: &Volumes) -> [(&'static str, u64); 4] {
    let resources = &service.resources;
    [
        ("cpu", resources.cpu.units.0),
        ("memory", resources.memory.size.0.saturating_add(volumes.ram_bytes)),
        ("ephemeral-storage", volumes.ephemeral_bytes),
        (GPU_RESOURCE, resources.gpu.units.0),
    ]
}

fn pod(
    frame: &Frame<'_>,
    service: &Service,
    volumes: Volumes,
    host: Option<&str>,
) -> Result<PodSpec, RenderError> {
    let nodes: BTreeSet<&str> = frame.lease.placement.nodes_of(service.resources.id).into_keys().collect();
    if nodes.is_empty() && service.count > 0 {
        return Err(RenderError::NotPlaced { service: service.name.clone() });
    }
    let has_gpu = service.resources.gpu.units.0 > 0;
    // The vendor's hook cannot work inside a user namespace.
    let own_users = !has_gpu && nodes.iter().all(|node| frame.settings.user_namespace_nodes.contains(*node));
    let credentials = service.credentials.as_ref();
    let container = container(frame, service, &volumes, host)?;
    Ok(PodSpec {
        affinity: on_one_of(&nodes),
        automount_service_account_token: Some(false),
        containers: vec![container],
        enable_service_links: Some(false),
        host_ipc: Some(false),
        host_network: Some(false),
        host_pid: Some(false),
        host_users: own_users.then_some(false),
        image_pull_secrets: credentials
            .map(|_| vec![LocalObjectReference { name: registry_secret::name(service) }]),
        restart_policy: Some("Always".to_owned()),
        runtime_class_name: frame.settings.gpu_runtime_class.clone().filter(|_| has_gpu),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        volumes: (!volumes.volumes.is_empty()).then_some(volumes.volumes),
        ..PodSpec::default()
    })
}

/// Requires one of the nodes. The API takes one name a term, and terms are alternatives.
fn on_one_of(nodes: &BTreeSet<&str>) -> Option<Affinity> {
    let term = |node: &&str| NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![(*node).to_owned()]),
        }]),
        ..NodeSelectorTerm::default()
    };
    let terms: Vec<NodeSelectorTerm> = nodes.iter().map(term).collect();
    (!terms.is_empty()).then(|| Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: terms,
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    })
}

fn container(
    frame: &Frame<'_>,
    service: &Service,
    volumes: &Volumes,
    host: Option<&str>,
) -> Result<Container, RenderError> {
    // Requests equal limits: what was bought is neither overcommitted nor exceeded.
    let amounts: BTreeMap<String, Quantity> = amounts(service, volumes)
        .into_iter()
        .filter(|(_, amount)| *amount > 0)
        .map(|(name, amount)| {
            let text = if name == "cpu" { format!("{amount}m") } else { amount.to_string() };
            (name.to_owned(), Quantity(text))
        })
        .collect();
    Ok(Container {
        name: service.name.clone(),
        image: Some(service.image.clone()),
        image_pull_policy: Some(pull_policy(service).to_owned()),
        command: service.command.clone(),
        args: service.args.clone(),
        env: Some(environment(frame, service, host)),
        ports: container_ports(service)?,
        resources: Some(ResourceRequirements {
            requests: Some(amounts.clone()),
            limits: Some(amounts),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(false),
            run_as_non_root: Some(false),
            ..SecurityContext::default()
        }),
        volume_mounts: (!volumes.mounts.is_empty()).then(|| volumes.mounts.clone()),
        ..Container::default()
    })
}

/// What every container is told about its lease, then its own variables.
fn environment(frame: &Frame<'_>, service: &Service, host: Option<&str>) -> Vec<EnvVar> {
    let lease = frame.lease;
    let mut variables: Vec<(&str, String)> = vec![
        ("BERTH_LEASE", lease.id.to_string()),
        ("BERTH_PROVIDER", lease.provider.to_string()),
        ("BERTH_SERVICE", service.name.clone()),
    ];
    variables.extend(host.map(|host| ("BERTH_HOST", host.to_owned())));
    let own = service.env.iter().flatten();
    variables.extend(own.map(|item| (item.name(), item.value().unwrap_or_default().to_owned())));
    variables.retain(|(name, _)| !DEVICE_VARIABLES.contains(name));
    if service.resources.gpu.units.0 == 0 {
        variables.push((VISIBLE_DEVICES, "void".to_owned()));
    }
    // Server-side apply takes a name once. The last value of a name is the one that a container gets.
    let mut seen = BTreeSet::new();
    let mut last: Vec<EnvVar> = variables
        .into_iter()
        .rev()
        .filter(|(name, _)| seen.insert(name.to_string()))
        .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), value_from: None })
        .collect();
    last.reverse();
    last
}

/// A tag may move, and an image that needs a login must not be had from the node's store without it.
fn pull_policy(service: &Service) -> &'static str {
    let image = service.image.as_str();
    let last = image.rsplit_once('/').map_or(image, |(_, last)| last);
    let moves = !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if moves || service.credentials.is_some() { "Always" } else { "IfNotPresent" }
}

fn container_ports(service: &Service) -> Result<Option<Vec<ContainerPort>>, RenderError> {
    let mut ports: Vec<ContainerPort> = Vec::new();
    for expose in &service.expose {
        let port = ContainerPort {
            container_port: service::port(service, expose.port)?,
            protocol: Some(expose.proto.to_string()),
            ..ContainerPort::default()
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok((!ports.is_empty()).then_some(ports))
}
