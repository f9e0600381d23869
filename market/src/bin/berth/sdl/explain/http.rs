//! What of `http_options` the routes of a group carry, told from the routes themselves.

use manifests::manifest::{Expose, Group, HttpOptions};
use manifests::objects::{Object, Objects};
use serde_json::Value;

use crate::output::result;

/// Tells it for every port of the group that is served over HTTP.
pub(super) fn tell(group: &Group, objects: &Objects) {
    for service in &group.services {
        for expose in service.expose.iter().filter(|expose| expose.is_shared_http()) {
            let name = format!("{}.{}", service.name, expose.port);
            let route = objects.items.iter().find(|object| object.kind == "HTTPRoute" && object.name == name);
            let Some(route) = route else { continue };
            result(format_args!("\nHTTP OPTIONS of {} at port {}", service.name, expose.port));
            result(format_args!("  carried by HTTPRoute {name}: {}", carried(route)));
            for option in left(expose) {
                result(format_args!("  not carried: {option}"));
            }
        }
    }
}

/// What the route sets beside where it leads.
fn carried(route: &Object) -> String {
    let timeouts = route.body["spec"]["rules"][0]["timeouts"].as_object();
    let limit = |(key, limit): (&String, &Value)| match limit.as_str() {
        Some("0s") | None => None,
        Some(limit) => Some(format!("timeouts.{key} {limit}")),
    };
    let limits: Vec<String> = timeouts.into_iter().flatten().filter_map(limit).collect();
    if limits.is_empty() {
        let most = HttpOptions::default().read_timeout;
        format!("no limit of time; a read_timeout below {most} becomes one on the whole answer")
    } else {
        format!("{}, from read_timeout", limits.join(", "))
    }
}

/// Options that the Gateway API has no words for.
fn left(expose: &Expose) -> Vec<String> {
    let HttpOptions {
        max_body_size,
        read_timeout: _,
        send_timeout,
        next_tries,
        next_timeout,
        next_cases,
        proxy_buffer_size,
    } = &expose.http_options;
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
    left
}
