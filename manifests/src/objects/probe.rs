//! What the kubelet asks a container to know whether it works.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::extension::{Action, Probe, Scheme};

/// The probe. It asks the pod itself and nobody else: a host cannot be named.
pub(super) fn probe(probe: &Probe) -> core::Probe {
    let Probe {
        action,
        initial_delay_seconds,
        period_seconds,
        timeout_seconds,
        success_threshold,
        failure_threshold,
    } = probe;
    let number = |number: u32| Some(i32::try_from(number).unwrap_or(i32::MAX));
    let port = |port: u32| IntOrString::Int(i32::try_from(port).unwrap_or_default());
    let mut asked = core::Probe {
        initial_delay_seconds: number(initial_delay_seconds.get()),
        period_seconds: number(period_seconds.get()),
        timeout_seconds: number(timeout_seconds.get()),
        success_threshold: number(success_threshold.get()),
        failure_threshold: number(failure_threshold.get()),
        ..core::Probe::default()
    };
    match action {
        Action::HttpGet(get) => {
            asked.http_get = Some(core::HTTPGetAction {
                path: Some(get.path.clone()),
                port: port(get.port.get()),
                scheme: Some(
                    match get.scheme {
                        Scheme::Http => "HTTP",
                        Scheme::Https => "HTTPS",
                    }
                    .to_owned(),
                ),
                ..core::HTTPGetAction::default()
            });
        }
        Action::TcpSocket(socket) => {
            asked.tcp_socket = Some(core::TCPSocketAction {
                port: port(socket.port.get()),
                ..core::TCPSocketAction::default()
            });
        }
        Action::Exec(exec) => {
            asked.exec = Some(core::ExecAction { command: Some(exec.command.clone()) });
        }
    }
    asked
}
