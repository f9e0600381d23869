//! What of `http_options` an HTTPRoute of the Gateway API carries.

use manifests::manifest::{Expose, Group, HttpOptions};

use crate::output::result;

/// Tells it for every port of the group that is served over HTTP.
pub(super) fn tell(group: &Group) {
    for service in &group.services {
        for expose in service.expose.iter().filter(|expose| expose.is_shared_http()) {
            let (carried, left) = carriage(expose);
            result(format_args!("\nHTTP OPTIONS of {} at port {}", service.name, expose.port));
            result(format_args!("  carried by its route: {carried}"));
            for option in left {
                result(format_args!("  not carried: {option}"));
            }
        }
    }
}

/// What the route says, and what it has no words for.
fn carriage(expose: &Expose) -> (String, Vec<String>) {
    let options = &expose.http_options;
    let HttpOptions {
        max_body_size,
        read_timeout,
        send_timeout,
        next_tries,
        next_timeout,
        next_cases,
        proxy_buffer_size,
    } = options;
    let carried = if *read_timeout < HttpOptions::default().read_timeout {
        format!("read_timeout, as a limit of {read_timeout} ms on the whole answer")
    } else {
        "no limit on how long an answer takes; a read_timeout below 60000 would set one".to_owned()
    };
    let mut left = vec![
        format!("max_body_size {max_body_size}: the Gateway API has no limit of bodies, so none is set"),
        format!("send_timeout {send_timeout}: the Gateway API tells no writing from reading"),
        format!(
            "next_tries {next_tries}, next_timeout {next_timeout}, next_cases {}: a request goes to one replica",
            next_cases.join(" ")
        ),
    ];
    if *proxy_buffer_size > 0 {
        left.push(format!("proxy_buffer_size {proxy_buffer_size}: buffers are the proxy's own matter"));
    }
    (carried, left)
}
