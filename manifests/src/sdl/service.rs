//! `services`: images, environment, ports, mounts, registry logins.

use std::collections::BTreeMap;

use super::document::{At, Credentials, Expose, HttpOptions, Mount, Params, Service, To};
use super::extension;
use super::reader::{Entry, Reader};
use super::yaml::NodeId;
use crate::problem::{ErrorKind, shown};

pub(super) fn service<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Service<'t> {
    let mark = entry.key_mark;
    let mut service = Service { mark, image: At { value: "", mark }, ..Service::default() };
    reader.record(entry.value, |reader, field| {
        let node = field.value;
        match field.key {
            "image" => service.image = reader.text(node),
            "command" => service.command = reader.texts(node),
            "args" => service.args = reader.texts(node),
            "env" => service.env = reader.in_secret(|reader| reader.texts_at(node)),
            "expose" => {
                let mut entries = Vec::new();
                reader.list(node, |reader, element| entries.push(expose(reader, element)));
                service.expose = entries;
            }
            "params" => service.params = (!reader.is_null(node)).then(|| params(reader, node)),
            "credentials" => {
                service.credentials =
                    (!reader.is_null(node)).then(|| reader.in_secret(|reader| credentials(reader, field)));
            }
            "dependencies" => reader.list(node, |reader, element| {
                reader.record(element, |reader, field| {
                    if field.key == "service" {
                        reader.text(field.value);
                    }
                    field.key == "service"
                });
            }),
            "x-berth" => service.extension = extension::service(reader, field),
            _ => return false,
        }
        true
    });
    service
}

fn expose<'t>(reader: &mut Reader<'t>, node: NodeId) -> Expose<'t> {
    let mark = reader.mark(node);
    let mut expose =
        Expose { mark, port: At { value: 0, mark }, proto: At { value: "", mark }, ..Expose::default() };
    reader.record(node, |reader, field| {
        let node = field.value;
        match field.key {
            "port" => expose.port = reader.number(node),
            "as" => {
                expose.external = reader.number(node);
                if *expose.external > 65535 {
                    let mark = reader.mark(node);
                    reader.warn(mark, "a port above 65535 cannot be reached: write one from 1 to 65535");
                }
            }
            "proto" => expose.proto = reader.text(node),
            "to" => {
                let mut entries = Vec::new();
                reader.list(node, |reader, element| entries.push(to(reader, element)));
                expose.to = entries;
            }
            "accept" => expose.accept = accept(reader, node),
            "http_options" => expose.http_options = http_options(reader, node),
            _ => return false,
        }
        true
    });
    expose
}

fn to<'t>(reader: &mut Reader<'t>, node: NodeId) -> To<'t> {
    let mut to = To { mark: reader.mark(node), ..To::default() };
    reader.record(node, |reader, field| {
        match field.key {
            "global" => to.global = reader.boolean(field.value),
            "service" => to.service = reader.text(field.value).value,
            "ip" => to.ip = reader.text(field.value).value,
            "http_options" => {
                http_options(reader, field.value);
                reader.warn(field.key_mark, "http_options count only beside port: these are ignored");
            }
            _ => return false,
        }
        true
    });
    to
}

fn accept<'t>(reader: &mut Reader<'t>, node: NodeId) -> Option<Vec<At<&'t str>>> {
    let hosts = reader.texts_at(node)?;
    for host in &hosts {
        if !can_stand_in_a_url(host) {
            let message =
                format!("{} cannot stand in a URL: write a host name such as app.example.com", shown(host));
            reader.problem(ErrorKind::AcceptMalformed, host.mark, message);
        }
    }
    Some(hosts)
}

/// Whether `http://` with the text behind it reads as a request's address.
fn can_stand_in_a_url(text: &str) -> bool {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return false;
    }
    let authority_end = text.find(['/', '?']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(authority_end);
    let path = rest.split('?').next().unwrap_or_default();
    let port = match (authority.rfind('['), authority.rfind(']')) {
        (None, _) => authority.rsplit_once(':').map(|(_, port)| port),
        (Some(open), Some(close)) if open < close => authority[close..].split_once(':').map(|(_, port)| port),
        (Some(_), _) => return false,
    };
    !authority.contains([' ', '#', '^', '|', '{', '}', '\\', '`', '%'])
        && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()))
        && path.split('%').skip(1).all(|escape| {
            matches!(escape.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
        })
}

fn http_options<'t>(reader: &mut Reader<'t>, node: NodeId) -> HttpOptions<'t> {
    let mut options = HttpOptions::default();
    reader.record(node, |reader, field| {
        let node = field.value;
        match field.key {
            "max_body_size" => options.max_body_size = reader.number(node),
            "read_timeout" => options.read_timeout = reader.number(node),
            "send_timeout" => options.send_timeout = reader.number(node),
            "next_tries" => options.next_tries = reader.number(node),
            "next_timeout" => options.next_timeout = reader.number(node),
            "next_cases" => options.next_cases = reader.texts_at(node).unwrap_or_default(),
            "proxy_buffer_size" => options.proxy_buffer_size = reader.number(node),
            _ => return false,
        }
        true
    });
    options
}

fn params<'t>(reader: &mut Reader<'t>, node: NodeId) -> Params<'t> {
    let mut params = Params::default();
    reader.record(node, |reader, field| {
        let node = field.value;
        match field.key {
            "storage" => {
                let mut mounts = BTreeMap::new();
                reader.named(node, |reader, entry| {
                    mounts.insert(entry.key, mount(reader, entry));
                });
                params.storage = mounts;
            }
            "permissions" if reader.is_null(node) => params.permissions = None,
            "permissions" => {
                let mut read = Vec::new();
                reader.record(node, |reader, field| {
                    if field.key == "read" {
                        read = reader.texts(field.value).unwrap_or_default();
                    }
                    field.key == "read"
                });
                params.permissions = Some(read);
            }
            "tee" => params.tee = reader.text(node),
            _ => return false,
        }
        true
    });
    params
}

fn mount<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Mount<'t> {
    let mark = entry.key_mark;
    let mut mount = Mount { mark, mount: At { value: "", mark }, read_only: false };
    reader.record(entry.value, |reader, field| {
        match field.key {
            "mount" => mount.mount = reader.text(field.value),
            "readOnly" => mount.read_only = reader.boolean(field.value),
            _ => return false,
        }
        true
    });
    mount
}

fn credentials<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Credentials<'t> {
    let mut credentials = Credentials { mark: entry.key_mark, ..Credentials::default() };
    reader.record(entry.value, |reader, field| {
        let target = match field.key {
            "host" => &mut credentials.host,
            "email" => &mut credentials.email,
            "username" => &mut credentials.username,
            "password" => &mut credentials.password,
            _ => return false,
        };
        *target = reader.text(field.value).value;
        true
    });
    credentials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_must_fit_into_a_url() {
        for text in ["", "a.com", "a.com:80", "[::1]:80", "a.com/%41?%", "é.com"] {
            assert!(can_stand_in_a_url(text), "{text}");
        }
        for text in ["a b", "a#b", "a:b", "a%41", "[::1", "a.com/%4", "a\u{7f}", "a\tb", "a`"] {
            assert!(!can_stand_in_a_url(text), "{text}");
        }
    }
}
