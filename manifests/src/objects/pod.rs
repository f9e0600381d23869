//! The pods of a service: one container with exactly what was bought, on the nodes that were promised, with no more rights
//! than common images need.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, Lifecycle, LifecycleHandler, LocalObjectReference,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext,
    SleepAction,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::extension::{InitContainer, Probe, Probes};
use crate::manifest::Service;
use crate::objects::amounts::quantities;
use crate::objects::environment::{Environment, Environments};
use crate::objects::placement::Share;
use crate::objects::{Frame, Part, RenderError, account, labels, probe, registry_secret, service};

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

/// Seconds that a container has to end by itself.
const GRACE_SECONDS: i64 = 30;
/// Seconds of them before it is told to end, in which the others take over its connections.
const HANDOVER_SECONDS: i64 = 2;

/// What the workload of a share makes pods from.
pub(super) fn template(
    frame: &Frame<'_>,
    part: &Part<'_>,
    share: &Share<'_>,
    environments: &Environments,
) -> Result<PodTemplateSpec, RenderError> {
    let service = part.service;
    let of_service = frame.metadata_of(service, "");
    let mut annotations = of_service.annotations.unwrap_or_default();
    annotations.insert(labels::VARIABLES.to_owned(), environments.fingerprint.clone());
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: of_service.labels,
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(frame, part, share, environments)?),
    })
}

fn pod(
    frame: &Frame<'_>,
    part: &Part<'_>,
    share: &Share<'_>,
    environments: &Environments,
) -> Result<PodSpec, RenderError> {
    let (service, volumes) = (part.service, &part.volumes);
    let has_gpu = service.resources.gpu.units.0 > 0;
    // The vendor's hook cannot work inside a user namespace.
    let own_users = !has_gpu
        && part.nodes.give_user_namespaces(frame)
        && volumes.claims.iter().all(|claim| claim.id_mapped);
    let runtime_class =
        if has_gpu { &frame.settings.gpu_runtime_class } else { &frame.settings.runtime_class };
    let credentials = service.credentials.as_ref();
    Ok(PodSpec {
        affinity: share.affinity(),
        automount_service_account_token: Some(account::asks(service)),
        containers: vec![container(part, &environments.service)?],
        dns_policy: Some("ClusterFirst".to_owned()),
        enable_service_links: Some(false),
        host_ipc: Some(false),
        host_network: Some(false),
        host_pid: Some(false),
        host_users: Some(!own_users),
        init_containers: init_containers(part, environments),
        image_pull_secrets: credentials
            .map(|_| vec![LocalObjectReference { name: registry_secret::name(service) }]),
        restart_policy: Some("Always".to_owned()),
        runtime_class_name: runtime_class.clone(),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        service_account_name: Some(account::name(service).to_owned()),
        share_process_namespace: Some(false),
        termination_grace_period_seconds: Some(grace_seconds(service)),
        topology_spread_constraints: share.spread(frame, service),
        volumes: (!volumes.volumes.is_empty()).then(|| volumes.volumes.clone()),
        ..PodSpec::default()
    })
}

fn grace_seconds(service: &Service) -> i64 {
    let extension = service.x_berth.as_ref();
    let wanted = extension.and_then(|extension| extension.termination_grace_period_seconds);
    wanted.map_or(GRACE_SECONDS, |seconds| i64::from(seconds.get()))
}

fn container(part: &Part<'_>, environment: &Environment) -> Result<Container, RenderError> {
    let service = part.service;
    let probes = service.x_berth.as_ref().map(|extension| &extension.probes);
    let probe = |of: fn(&Probes) -> &Option<Probe>| Some(probe::probe(of(probes?).as_ref()?));
    Ok(Container {
        command: service.command.clone(),
        args: service.args.clone(),
        lifecycle: handover(service),
        ports: container_ports(service)?,
        startup_probe: probe(|probes| &probes.startup),
        readiness_probe: probe(|probes| &probes.readiness),
        liveness_probe: probe(|probes| &probes.liveness),
        ..fenced(part, &service.name, &service.image, environment)
    })
}

/// The containers that run before, each with what the service's own has.
fn init_containers(part: &Part<'_>, environments: &Environments) -> Option<Vec<Container>> {
    let init = &part.service.x_berth.as_ref()?.init_containers;
    let container = |(init, environment): (&InitContainer, &Environment)| Container {
        command: init.command.clone(),
        args: init.args.clone(),
        ..fenced(part, &init.name, &init.image, environment)
    };
    let containers: Vec<Container> = init.iter().zip(&environments.init).map(container).collect();
    (!containers.is_empty()).then_some(containers)
}

/// A container with the resources, rights, volumes and variables that it may have.
fn fenced(part: &Part<'_>, name: &str, image: &str, environment: &Environment) -> Container {
    let volumes = &part.volumes;
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(pull_policy(image, part.service.credentials.is_some()).to_owned()),
        env: Some(environment.variables.clone()),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&part.replica.requests)),
            limits: Some(quantities(&part.replica.limits)),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            }),
            privileged: Some(false),
            proc_mount: Some("Default".to_owned()),
            read_only_root_filesystem: Some(false),
            run_as_non_root: Some(false),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: (!volumes.mounts.is_empty()).then(|| volumes.mounts.clone()),
        ..Container::default()
    }
}

/// Where other replicas can take over, new connections go to them before a container is told to end, if it has the time.
fn handover(service: &Service) -> Option<Lifecycle> {
    let useful = service.count > 1 && !service.expose.is_empty();
    (useful && grace_seconds(service) > 2 * HANDOVER_SECONDS).then(|| Lifecycle {
        pre_stop: Some(LifecycleHandler {
            sleep: Some(SleepAction { seconds: HANDOVER_SECONDS }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    })
}

/// A tag may move, and an image that needs a login must not be had from the node's store without it.
fn pull_policy(image: &str, needs_login: bool) -> &'static str {
    let last = image.rsplit_once('/').map_or(image, |(_, last)| last);
    let moves = !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if moves || needs_login { "Always" } else { "IfNotPresent" }
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
