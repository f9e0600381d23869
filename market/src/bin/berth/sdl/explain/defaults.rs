//! Values of a deployment that its author did not write, and where each comes from.

use std::collections::BTreeSet;

use manifests::Deployment;
use manifests::manifest::{HttpOptions, Service};

use super::written::{Place, Written};

/// A value that nobody wrote.
pub(super) struct Default {
    /// Where it would stand.
    pub(super) path: String,
    pub(super) value: String,
    /// Who says so.
    pub(super) from: &'static str,
}

const LANGUAGE: &str = "the language";
const IMAGE: &str = "the image";
const PROVIDER: &str = "the provider";
const BERTH: &str = "x-berth";

/// All of them, in the order of the document's sections.
pub(super) fn of(deployment: &Deployment, written: &Written<'_>) -> Vec<Default> {
    let mut found = Found(Vec::new());
    let root = written.root();
    let (mut services, mut profiles) = (BTreeSet::new(), BTreeSet::new());
    for group in &deployment.manifest.0 {
        for service in &group.services {
            if services.insert(service.name.as_str()) {
                found.in_service(service, root.under(&["services", &service.name]));
            }
            let deployed = root.under(&["deployment", &service.name, &group.name]);
            found.unless_written(deployed.at("count"), || {
                (format!("deployment.{}.{}.count", service.name, group.name), "0".to_owned(), LANGUAGE)
            });
            profiles.extend(deployed.at("profile").text());
        }
    }
    for profile in profiles {
        found.in_profile(profile, root.under(&["profiles", "compute", profile, "resources"]));
    }
    for group in &deployment.manifest.0 {
        let placement = root.under(&["profiles", "placement", &group.name]);
        let path = format!("profiles.placement.{}", group.name);
        for (key, value) in [("attributes", "none: any provider"), ("signedBy", "nobody need vouch")] {
            found.unless_written(placement.at(key), || (format!("{path}.{key}"), value.to_owned(), LANGUAGE));
        }
        let terms = placement.at("x-berth");
        found.unless_written(terms.at("award"), || {
            (format!("{path}.x-berth.award"), "manual".to_owned(), BERTH)
        });
        found.unless_written(terms.at("deadline"), || {
            (format!("{path}.x-berth.deadline"), "none: berth up --wait says".to_owned(), "berth up")
        });
        found.unless_written(terms.at("minReclaim"), || {
            let window = root.under(&["reclamation", "min_window"]);
            match window.text() {
                Some(window) => {
                    (format!("{path}.x-berth.minReclaim"), window.to_owned(), "reclamation.min_window")
                }
                None => (
                    format!("{path}.x-berth.minReclaim"),
                    "none: a provider may leave at once".to_owned(),
                    BERTH,
                ),
            }
        });
    }
    found.0
}

struct Found(Vec<Default>);

impl Found {
    fn unless_written(&mut self, place: Place<'_>, says: impl FnOnce() -> (String, String, &'static str)) {
        if !place.is_written() {
            let (path, value, from) = says();
            self.0.push(Default { path, value, from });
        }
    }

    fn in_service(&mut self, service: &Service, place: Place<'_>) {
        let path = format!("services.{}", service.name);
        for (key, value) in [("command", "its entry point"), ("args", "its arguments")] {
            self.unless_written(place.at(key), || (format!("{path}.{key}"), value.to_owned(), IMAGE));
        }
        for (index, expose) in place.at("expose").elements().into_iter().enumerate() {
            let path = format!("{path}.expose[{index}]");
            let port = expose.at("port").text().unwrap_or("0").to_owned();
            // Written as 0 it means the same as not written.
            if expose.at("as").text().is_none_or(|text| text == "0") {
                let value = format!("{port}, the same as port");
                self.0.push(Default { path: format!("{path}.as"), value, from: LANGUAGE });
            }
            self.unless_written(expose.at("proto"), || (format!("{path}.proto"), "TCP".to_owned(), LANGUAGE));
            if expose.at("to").elements().is_empty() {
                let value = "services of the same placement".to_owned();
                self.0.push(Default { path: format!("{path}.to"), value, from: LANGUAGE });
            }
            if service.expose.iter().any(|entry| entry.is_shared_http() && entry.port.to_string() == port) {
                self.in_http_options(&path, expose.at("http_options"));
            }
        }
        self.in_extension(&format!("{path}.x-berth"), service, place.at("x-berth"));
        let mounts = service.params.iter().flat_map(|params| params.storage.iter().flatten());
        for mount in mounts {
            let read_only = place.under(&["params", "storage", &mount.name, "readOnly"]);
            self.unless_written(read_only, || {
                (format!("{path}.params.storage.{}.readOnly", mount.name), "false".to_owned(), LANGUAGE)
            });
        }
    }

    fn in_extension(&mut self, path: &str, service: &Service, extension: Place<'_>) {
        for (key, value, from) in [
            ("restartPolicy", "Always", BERTH),
            ("strategy", "one replica after the other", PROVIDER),
            ("terminationGracePeriodSeconds", "30", BERTH),
            ("tmpSize", "no /tmp of its own", BERTH),
        ] {
            self.unless_written(extension.at(key), || (format!("{path}.{key}"), value.to_owned(), from));
        }
        if service.resources.gpu.units.0 > 0 {
            self.unless_written(extension.at("allowGpuSharing"), || {
                (format!("{path}.allowGpuSharing"), "false: its GPUs are its own".to_owned(), BERTH)
            });
        }
        for name in ["startup", "readiness", "liveness"] {
            let (probe, path) = (extension.under(&["probes", name]), format!("{path}.probes.{name}"));
            if !probe.is_written() {
                self.0.push(Default { path, value: "none".to_owned(), from: BERTH });
                continue;
            }
            let get = probe.at("httpGet");
            for (place, key, value) in [(get, "httpGet.path", "/"), (get, "httpGet.scheme", "HTTP")] {
                let written = place.at(key.trim_start_matches("httpGet."));
                if place.is_written() {
                    self.unless_written(written, || (format!("{path}.{key}"), value.to_owned(), BERTH));
                }
            }
            for (key, value) in [
                ("initialDelaySeconds", "0"),
                ("periodSeconds", "10"),
                ("timeoutSeconds", "1"),
                ("successThreshold", "1"),
                ("failureThreshold", "3"),
            ] {
                self.unless_written(probe.at(key), || (format!("{path}.{key}"), value.to_owned(), BERTH));
            }
        }
    }

    fn in_http_options(&mut self, path: &str, options: Place<'_>) {
        let HttpOptions {
            max_body_size,
            read_timeout,
            send_timeout,
            next_tries,
            next_timeout,
            next_cases,
            proxy_buffer_size: _,
        } = HttpOptions::default();
        let all = [
            ("max_body_size", format!("{max_body_size} bytes")),
            ("read_timeout", format!("{read_timeout} ms")),
            ("send_timeout", format!("{send_timeout} ms")),
            ("next_tries", next_tries.to_string()),
            ("next_timeout", format!("{next_timeout} ms: no limit")),
            ("next_cases", next_cases.join(", ")),
            ("proxy_buffer_size", "the provider's choice".to_owned()),
        ];
        for (key, value) in all {
            let option = options.at(key);
            let says_nothing = option.text() == Some("0") && key != "next_timeout";
            if !option.is_written() || says_nothing {
                self.0.push(Default { path: format!("{path}.http_options.{key}"), value, from: LANGUAGE });
            }
        }
    }

    fn in_profile(&mut self, profile: &str, resources: Place<'_>) {
        let path = format!("profiles.compute.{profile}.resources");
        self.unless_written(resources.under(&["gpu", "units"]), || {
            (format!("{path}.gpu.units"), "0".to_owned(), LANGUAGE)
        });
        let gpu = resources.at("gpu");
        let vendor = gpu.under(&["attributes", "vendor"]);
        if vendor.is_written() && vendor.at("nvidia").elements().is_empty() {
            let value = "any NVIDIA model".to_owned();
            self.0.push(Default {
                path: format!("{path}.gpu.attributes.vendor.nvidia"),
                value,
                from: LANGUAGE,
            });
        }
        let storage = resources.at("storage");
        if storage.has_entries() {
            return self.in_volume(&format!("{path}.storage"), storage);
        }
        for (index, volume) in storage.elements().into_iter().enumerate() {
            self.in_volume(&format!("{path}.storage[{index}]"), volume);
        }
    }

    fn in_volume(&mut self, path: &str, volume: Place<'_>) {
        self.unless_written(volume.at("name"), || (format!("{path}.name"), "default".to_owned(), LANGUAGE));
        let attributes = volume.at("attributes");
        self.unless_written(attributes.at("persistent"), || {
            (format!("{path}.attributes.persistent"), "false: gone with its container".to_owned(), LANGUAGE)
        });
        match attributes.at("persistent").text() {
            Some("true") => self.unless_written(attributes.at("class"), || {
                (format!("{path}.attributes.class"), "default".to_owned(), LANGUAGE)
            }),
            Some("on" | "yes") => self.unless_written(attributes.at("class"), || {
                (format!("{path}.attributes.class"), "none".to_owned(), PROVIDER)
            }),
            _ => {}
        }
    }
}
