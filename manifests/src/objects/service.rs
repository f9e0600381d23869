//! How a service is found: by its name inside the cluster, by ports of the nodes and by leased addresses from outside.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service as KubeService, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::manifest::{Expose, Group, Proto, Service};
use crate::objects::{AddressPool, Frame, RenderError, labels, unsupported};

/// The Service under the tenant's name for everything exposed, one of node ports for what is global but not HTTP, and one for
/// each leased address.
pub(super) fn services(
    frame: &Frame<'_>,
    group: &Group,
    service: &Service,
) -> Result<Vec<KubeService>, RenderError> {
    let mut services = Vec::new();
    if !service.expose.is_empty() {
        services.push(found_by(frame, service, service.name.clone(), "ClusterIP", &service.expose)?);
    }
    let node_ports = node_ports(service);
    if !node_ports.is_empty() {
        let name = labels::second_name(&service.name, "ports");
        services.push(found_by(frame, service, name, "NodePort", node_ports)?);
    }
    for (number, endpoint) in endpoints(service) {
        services.push(at_address(frame, group, service, number, endpoint)?);
    }
    Ok(services)
}

/// A Service of one type for some of the exposures. Whatever the type, the pods' own readiness decides, and connections are
/// not tied to a pod.
fn found_by<'e>(
    frame: &Frame<'_>,
    service: &Service,
    name: String,
    kind: &str,
    exposed: impl IntoIterator<Item = &'e Expose>,
) -> Result<KubeService, RenderError> {
    let from_outside = kind != "ClusterIP";
    Ok(KubeService {
        metadata: frame.metadata_of(service, name),
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            selector: Some(labels::selector(&frame.short_id, &service.name)),
            ports: Some(ports(service, exposed)?),
            internal_traffic_policy: Some("Cluster".to_owned()),
            external_traffic_policy: from_outside.then(|| "Cluster".to_owned()),
            publish_not_ready_addresses: Some(false),
            session_affinity: Some("None".to_owned()),
            ..ServiceSpec::default()
        }),
        ..KubeService::default()
    })
}

/// The Service that gets a leased address. Services that name the same endpoint share it.
fn at_address(
    frame: &Frame<'_>,
    group: &Group,
    service: &Service,
    number: u32,
    endpoint: &str,
) -> Result<KubeService, RenderError> {
    let Some(pool) = &frame.settings.address_pool else {
        return Err(unsupported(service, "leased IP addresses are not offered"));
    };
    let AddressPool { load_balancer_class, annotations, sharing_annotation } = pool;
    let exposed = service.expose.iter().filter(|expose| expose.endpoint() == Some((number, endpoint)));
    let name = labels::second_name(&service.name, &format!("ip{number}"));
    let mut object = found_by(frame, service, name, "LoadBalancer", exposed)?;
    let spec = object.spec.get_or_insert_default();
    spec.load_balancer_class.clone_from(load_balancer_class);
    spec.allocate_load_balancer_node_ports = Some(false);
    let own = object.metadata.annotations.get_or_insert_default();
    own.extend(annotations.clone());
    own.insert(labels::ENDPOINT.to_owned(), number.to_string());
    let sharers = group.services.iter().filter(|other| endpoints(other).contains_key(&number)).count();
    match sharing_annotation {
        Some(annotation) => {
            own.insert(annotation.clone(), format!("{}-{number}", frame.short_id));
        }
        None if sharers > 1 => {
            let what =
                format!("the leased IP {endpoint} is shared with another service, which is not offered");
            return Err(unsupported(service, what));
        }
        None => {}
    }
    Ok(object)
}

/// What is reached from outside by a port of the nodes.
pub(super) fn node_ports(service: &Service) -> Vec<&Expose> {
    service.expose.iter().filter(|expose| expose.global && !expose.is_shared_http()).collect()
}

/// The leased addresses of a service: the numbers of their endpoints with their names.
pub(super) fn endpoints(service: &Service) -> BTreeMap<u32, &str> {
    service.expose.iter().filter_map(Expose::endpoint).collect()
}

/// One port for each visible port and protocol; several audiences of one port are one port here.
fn ports<'e>(
    service: &Service,
    exposed: impl IntoIterator<Item = &'e Expose>,
) -> Result<Vec<ServicePort>, RenderError> {
    let mut targets: BTreeMap<(i32, Proto), i32> = BTreeMap::new();
    for expose in exposed {
        let visible = port(service, expose.visible_port())?;
        let target = port(service, expose.port)?;
        if *targets.entry((visible, expose.proto)).or_insert(target) != target {
            let what = format!("two of its ports are exposed as {visible}/{}", expose.proto);
            return Err(unsupported(service, what));
        }
    }
    let port = |((visible, proto), target): ((i32, Proto), i32)| ServicePort {
        name: Some(format!("{visible}-{}", proto.to_string().to_lowercase())),
        port: visible,
        target_port: Some(IntOrString::Int(target)),
        protocol: Some(proto.to_string()),
        ..ServicePort::default()
    };
    Ok(targets.into_iter().map(port).collect())
}

/// A port as Kubernetes counts them. The language sets no upper bound for the visible one.
pub(super) fn port(service: &Service, number: u32) -> Result<i32, RenderError> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(i32::from(port)),
        _ => Err(unsupported(service, format!("there is no port {number}: ports are 1 to 65535"))),
    }
}
