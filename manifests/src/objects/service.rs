//! How a service is found: by its name inside the cluster, and by ports of the nodes from outside.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service as KubeService, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::manifest::{Expose, Proto, Service};
use crate::objects::{Frame, RenderError, labels, unsupported};

/// The Service under the tenant's name for everything exposed, and one of node ports for what is global but not HTTP.
pub(super) fn services(frame: &Frame<'_>, service: &Service) -> Result<Vec<KubeService>, RenderError> {
    let all: Vec<&Expose> = service.expose.iter().collect();
    let mut services = Vec::new();
    for (exposed, kind, name) in [
        (all, "ClusterIP", service.name.clone()),
        (node_ports(service), "NodePort", format!("{}-ports", service.name)),
    ] {
        if exposed.is_empty() {
            continue;
        }
        if name.len() > 63 {
            return Err(unsupported(
                service,
                "its name is too long for open ports: use at most 57 characters",
            ));
        }
        services.push(KubeService {
            metadata: frame.metadata_of(service, name),
            spec: Some(ServiceSpec {
                type_: Some(kind.to_owned()),
                selector: Some(labels::selector(&frame.short_id, &service.name)),
                ports: Some(ports(service, &exposed)?),
                ..ServiceSpec::default()
            }),
            ..KubeService::default()
        });
    }
    Ok(services)
}

/// What is reached from outside by a port of the nodes.
pub(super) fn node_ports(service: &Service) -> Vec<&Expose> {
    service.expose.iter().filter(|expose| expose.global && !expose.is_shared_http()).collect()
}

/// One port for each visible port and protocol; several audiences of one port are one port here.
fn ports(service: &Service, exposed: &[&Expose]) -> Result<Vec<ServicePort>, RenderError> {
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
