//! Ports: published ones are reached from outside, exposed ones by the other services.

use serde_yaml::Value;

use super::notes::{Notes, Place};
use super::{list, mapping};

/// Most ports that a range stands for.
const MAX_RANGE: u32 = 100;

/// One way into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    container: u32,
    /// On the machine that runs it; `None` for any.
    published: Option<u32>,
    udp: bool,
    /// Whether only that machine itself reaches it.
    local: bool,
}

/// The `expose` list of a service. Others reach it by the container's ports, which needs an entry of its own where it is
/// published under another number; `alone` says that there are no others.
pub(super) fn expose(service: &Place<'_>, alone: bool, notes: &mut Notes) -> Value {
    let mut entries: Vec<Value> = Vec::new();
    let mut inner: Vec<(u32, bool)> = Vec::new();
    let mut add = |entry: Value| {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    };
    for place in service.get("ports").map(|ports| ports.elements()).unwrap_or_default() {
        let Some(ports) = published(&place, notes) else {
            notes.left(&place, "it is not read as a port: write [published:]container[/protocol]");
            continue;
        };
        for port in ports {
            let proto = if port.udp { Value::from("udp") } else { Value::Null };
            if port.local {
                notes.left(
                    &place,
                    "there is no machine of its own: other services reach the port, nobody outside does",
                );
                inner.push((port.container, port.udp));
                continue;
            }
            let visible = port.published.filter(|published| *published != port.container);
            let as_port = visible.map_or(Value::Null, Value::from);
            let to = list(vec![mapping([("global", Value::from(true))])]);
            add(mapping([
                ("port", Value::from(port.container)),
                ("as", as_port),
                ("proto", proto),
                ("to", to),
            ]));
            if visible.is_some() && !alone {
                inner.push((port.container, port.udp));
            }
            if !port.udp && port.published.unwrap_or(port.container) != 80 {
                let how = format!(
                    "port {} is reached at a port of the provider's choice; for HTTP under a host name write as: 80",
                    port.container
                );
                notes.assumed(&place, "way in", &how);
            }
        }
    }
    for place in service.get("expose").map(|ports| ports.elements()).unwrap_or_default() {
        let text = place.text().unwrap_or_default();
        let (number, udp) = protocol(&text).unwrap_or(("", false));
        match range(number) {
            Some((from, to)) => inner.extend((from..=to).map(|port| (port, udp))),
            None => notes.left(&place, "it is not read as a port"),
        }
    }
    for (port, udp) in inner {
        let proto = if udp { Value::from("udp") } else { Value::Null };
        add(mapping([("port", Value::from(port)), ("proto", proto)]));
    }
    list(entries)
}

fn published(place: &Place<'_>, notes: &mut Notes) -> Option<Vec<Port>> {
    if place.value.is_mapping() { long(place, notes).map(|port| vec![port]) } else { short(&place.text()?) }
}

/// `[[address:]published:]container[/protocol]`, numbers or ranges.
fn short(text: &str) -> Option<Vec<Port>> {
    let (text, udp) = protocol(text)?;
    // An address may be IPv6 in brackets.
    let (address, text) = match text.rfind(']') {
        Some(end) => (Some(&text[..=end]), text.get(end + 2..)?),
        None if text.matches(':').count() == 2 => {
            let (address, rest) = text.split_once(':')?;
            (Some(address), rest)
        }
        None => (None, text),
    };
    let local = address
        .is_some_and(|address| address.starts_with("127.") || matches!(address, "[::1]" | "localhost"));
    let (published, container) = match text.split_once(':') {
        Some((published, container)) => (Some(published), container),
        None => (None, text),
    };
    let (from, to) = range(container)?;
    let first = match published.filter(|published| !published.is_empty()) {
        Some(published) => {
            let (first, last) = range(published)?;
            // A range for one port leaves the choice to the machine.
            if last - first == to - from {
                Some(first)
            } else if from == to {
                None
            } else {
                return None;
            }
        }
        None => None,
    };
    let port =
        |container| Port { container, published: first.map(|first| first + container - from), udp, local };
    Some((from..=to).map(port).collect())
}

fn long(place: &Place<'_>, notes: &mut Notes) -> Option<Port> {
    let text = |key: &str| place.get(key).and_then(|value| value.text());
    let container = text("target")?.parse().ok().filter(|port| (1..=65535).contains(port))?;
    let published = match text("published") {
        Some(published) => Some(range(&published)?.0),
        None => None,
    };
    for (key, value) in place.entries() {
        match key.as_str() {
            "target" | "published" | "protocol" | "host_ip" => {}
            "name" | "app_protocol" => notes.left(&value, "it is a remark"),
            "mode" => notes.left(&value, "every port is reached at the provider's entrance"),
            _ => notes.left(&value, "the language has no word for it"),
        }
    }
    let local = text("host_ip").is_some_and(|address| address.starts_with("127.") || address == "::1");
    let udp = match text("protocol").as_deref() {
        None | Some("tcp") => false,
        Some("udp") => true,
        Some(_) => return None,
    };
    Some(Port { container, published, udp, local })
}

/// A text without its protocol, and whether that is UDP.
fn protocol(text: &str) -> Option<(&str, bool)> {
    match text.split_once('/') {
        None => Some((text, false)),
        Some((text, "tcp")) => Some((text, false)),
        Some((text, "udp")) => Some((text, true)),
        Some(_) => None,
    }
}

/// A port or a range of them, not too many.
fn range(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    let fits = (1..=65535).contains(&from) && (from..=65535).contains(&to) && to - from < MAX_RANGE;
    fits.then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(container: u32, published: Option<u32>) -> Port {
        Port { container, published, udp: false, local: false }
    }

    #[test]
    fn ports_are_read_in_all_their_short_forms() {
        assert_eq!(short("80"), Some(vec![port(80, None)]));
        assert_eq!(short("8080:80"), Some(vec![port(80, Some(8080))]));
        assert_eq!(short("0.0.0.0:8080:80/tcp"), Some(vec![port(80, Some(8080))]));
        assert_eq!(short("127.0.0.1:1:2"), Some(vec![Port { local: true, ..port(2, Some(1)) }]));
        assert_eq!(short("[::1]:1:2"), Some(vec![Port { local: true, ..port(2, Some(1)) }]));
        assert_eq!(short("53:53/udp"), Some(vec![Port { udp: true, ..port(53, Some(53)) }]));
        assert_eq!(short("9000-9001:80-81"), Some(vec![port(80, Some(9000)), port(81, Some(9001))]));
        assert_eq!(short("9000-9010:80"), Some(vec![port(80, None)]));
        for wrong in ["", "web", "80/sctp", "1-65535", "0", "70000", "1-2:3-9"] {
            assert_eq!(short(wrong), None, "{wrong}");
        }
    }
}
