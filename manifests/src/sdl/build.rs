//! Groups, services and resource units out of what `deployment` reaches.

use std::collections::BTreeMap;

use super::document::{Coin, Compute, Deploy, Document, Level, Placement, Service};
use super::expose::{self, EndpointNumbers, Exposed};
use super::ties;
use crate::group::{GroupSpec, Requirements, ResourceUnit, SignedBy};
use crate::manifest::{self, Credentials, EnvVar, Group, Manifest, Mount, Params, Permissions, Tee, TeeKind};
use crate::price::{Decimal, Price};
use crate::problem::{ErrorKind, Problem, shown};
use crate::resources::{Attribute, Cpu, Endpoint, Gpu, Memory, Quantity, Resources, Volume};
use crate::rules::MAX_MANIFEST_BYTES;

/// What is deployed, resolved as far as it can be.
#[derive(Default)]
pub(crate) struct Plan<'d, 't> {
    /// By name of the placement; one for every placement that `deployment` names.
    pub(crate) groups: BTreeMap<&'t str, PlannedGroup<'d, 't>>,
    /// Problems of services whose profile is unknown: nothing of them is built, so these are told behind the checks.
    pub(crate) behind: Vec<Problem>,
}

#[derive(Default)]
pub(crate) struct PlannedGroup<'d, 't> {
    pub(crate) placement: Option<&'d Placement<'t>>,
    pub(crate) units: Vec<PlannedUnit<'d, 't>>,
    pub(crate) services: Vec<PlannedService<'d, 't>>,
    /// Whether something in it could not be resolved.
    pub(crate) incomplete: bool,
    tee: Option<TeeKind>,
    /// Units that services of the same profile share.
    shared: BTreeMap<&'t str, usize>,
}

pub(crate) struct PlannedUnit<'d, 't> {
    pub(crate) profile: &'t str,
    pub(crate) compute: &'d Compute<'t>,
    pub(crate) price: &'d Coin<'t>,
    pub(crate) count: u32,
    pub(crate) endpoints: Vec<Endpoint>,
    /// How many of them, from the first, were sorted when a service joined the unit.
    sorted_endpoints: usize,
}

pub(crate) struct PlannedService<'d, 't> {
    pub(crate) name: &'t str,
    pub(crate) service: &'d Service<'t>,
    pub(crate) expose: Vec<Exposed>,
    tee: Option<TeeKind>,
    /// `None` where its profile is unknown.
    compute: Option<&'d Compute<'t>>,
    /// `None` where its profile or its price is unknown. Then it is there to be checked, not to become a manifest.
    unit: Option<usize>,
    count: u32,
}

/// How much of the manifest is written in a step.
const BYTES_PER_STEP: usize = 64;

/// Resolves what is deployed. Unknown names are left for the semantic checks to report.
pub(crate) fn plan<'d, 't>(
    document: &'d Document<'t>,
    problems: &mut Vec<Problem>,
    steps: &mut usize,
) -> Plan<'d, 't> {
    let numbers = EndpointNumbers::of(document);
    let mut plan = Plan::default();
    let mut size = 0usize;
    for (name, placements) in &document.deployment {
        let service = document.services.get(name);
        // A problem of the service itself is told once, however often it is deployed.
        let (mut reported, mut reported_behind) = (false, false);
        for (placement_name, deploy) in placements {
            let placement = document.placement.get(placement_name);
            let compute = document.compute.get(deploy.profile);
            let group = plan.groups.entry(placement_name).or_default();
            group.placement = placement;
            let Some(service) = service else {
                group.incomplete = true;
                continue;
            };
            let tee = compute.and_then(|compute| tee(name, service, compute, deploy, group, problems));
            let added = expected_size(service);
            size = size.saturating_add(added);
            *steps = steps.saturating_add(added / BYTES_PER_STEP);
            if size > MAX_MANIFEST_BYTES {
                let message = format!(
                    "the manifest would be larger than {MAX_MANIFEST_BYTES} bytes: deploy less in one document"
                );
                let path = format!("deployment.{name}.{placement_name}");
                problems.push(Problem::at(ErrorKind::ManifestTooLarge, path, deploy.mark, message));
                return Plan::default();
            }
            let mut own_problems = Vec::new();
            let expose = expose::entries(name, service, &numbers, &mut own_problems);
            let (reported, told) = match compute {
                Some(_) => (&mut reported, &mut *problems),
                None => (&mut reported_behind, &mut plan.behind),
            };
            if !*reported {
                *reported = !own_problems.is_empty();
                told.append(&mut own_problems);
            }
            let coin = placement.and_then(|placement| placement.pricing.get(deploy.profile)?.as_ref());
            let unit = match (compute, coin) {
                (Some(compute), Some(coin)) => {
                    Some(group.unit(document.level, compute, coin, deploy, &expose))
                }
                _ => {
                    group.incomplete = true;
                    None
                }
            };
            let count = deploy.count;
            group.services.push(PlannedService { name, service, expose, tee, compute, unit, count });
        }
    }
    plan
}

impl<'d, 't> PlannedGroup<'d, 't> {
    /// The unit of a service: a new one, or at the newer level the one that its profile already has here.
    fn unit(
        &mut self,
        level: Level,
        compute: &'d Compute<'t>,
        price: &'d Coin<'t>,
        deploy: &'d Deploy<'t>,
        expose: &[Exposed],
    ) -> usize {
        let endpoints = expose::endpoints(expose.iter().map(|exposed| &exposed.entry));
        let shared = match level {
            Level::V2_0 => None,
            Level::V2_1 => self.shared.get(deploy.profile).copied(),
        };
        if let Some(index) = shared {
            let unit = &mut self.units[index];
            // A count that does not fit is far above what a group may have in total.
            unit.count = unit.count.saturating_add(deploy.count);
            unit.endpoints.extend(endpoints);
            // A list in order is left as it is, so only what is not known to be in order needs a look.
            let unknown = &unit.endpoints[unit.sorted_endpoints.saturating_sub(1)..];
            if !unknown.is_sorted_by_key(|endpoint| endpoint.sequence_number) {
                ties::sort(&mut unit.endpoints, |a, b| a.sequence_number < b.sequence_number);
            }
            unit.sorted_endpoints = unit.endpoints.len();
            return index;
        }
        let (profile, count) = (deploy.profile, deploy.count);
        self.units.push(PlannedUnit { profile, compute, price, count, endpoints, sorted_endpoints: 0 });
        let index = self.units.len() - 1;
        self.shared.insert(deploy.profile, index);
        index
    }
}

/// About how many bytes of JSON the service adds to the manifest.
fn expected_size(service: &Service<'_>) -> usize {
    let lists = [&service.command, &service.args].into_iter().flatten().flatten().map(|text| text.len() + 3);
    let env = service.env.iter().flatten().map(|text| text.len() + 3);
    let expose = service.expose.iter().map(|expose| {
        let hosts: usize = expose.accept.iter().flatten().map(|host| host.len() + 3).sum();
        let cases: usize = expose.http_options.next_cases.iter().map(|case| case.len() + 3).sum();
        (250 + hosts + cases).saturating_mul(expose.to.len().max(1))
    });
    let texts = lists.chain(env).chain(expose).fold(0usize, usize::saturating_add);
    let extension = service.extension.as_ref().map_or(0, |extension| extension.json_bytes);
    texts.saturating_add(400 + service.image.len() + extension)
}

fn tee(
    name: &str,
    service: &Service<'_>,
    compute: &Compute<'_>,
    deploy: &Deploy<'_>,
    group: &mut PlannedGroup<'_, '_>,
    problems: &mut Vec<Problem>,
) -> Option<TeeKind> {
    let text = service.params.as_ref().map(|params| params.tee).filter(|text| !text.is_empty())?;
    let path = format!("services.{name}.params.tee");
    let mut wrong = |kind, message| problems.push(Problem::at(kind, path.clone(), text.mark, message));
    let kind = match *text {
        "cpu" => TeeKind::Cpu,
        "cpu-gpu" => TeeKind::CpuGpu,
        other => {
            let message =
                format!("{} is no trusted execution environment: write cpu or cpu-gpu", shown(other));
            wrong(ErrorKind::TeeUnsupported, message);
            return None;
        }
    };
    let gpus = compute.gpu.as_ref().map_or(0, |gpu| *gpu.units);
    if kind == TeeKind::CpuGpu && gpus == 0 {
        let message = format!(
            "cpu-gpu needs GPUs, and compute profile {} has none: add gpu to it, or write cpu",
            shown(deploy.profile)
        );
        wrong(ErrorKind::TeeNeedsGpu, message);
    }
    match group.tee {
        Some(other) if other != kind => {
            let message =
                format!("another service of this placement asks for {}: use one for all", other.as_str());
            wrong(ErrorKind::TeeConflict, message);
        }
        _ => group.tee = Some(kind),
    }
    Some(kind)
}

impl Plan<'_, '_> {
    /// The manifest and the group specs. Parts that the checks refuse are filled with zeros.
    pub(crate) fn assemble(&self, level: Level) -> (Manifest, Vec<GroupSpec>) {
        let mut manifest = Vec::with_capacity(self.groups.len());
        let mut specs = Vec::with_capacity(self.groups.len());
        for (name, group) in &self.groups {
            let services = group.services.iter().map(|service| service.assemble(level)).collect();
            manifest.push(Group { name: (*name).to_owned(), services });
            let unit = |(index, unit): (usize, &PlannedUnit<'_, '_>)| ResourceUnit {
                resource: resources(index, Some(unit.compute), unit.endpoints.clone()),
                count: unit.count,
                price: Price { denom: unit.price.denom.to_owned(), amount: Decimal(unit.price.amount) },
            };
            specs.push(GroupSpec {
                name: (*name).to_owned(),
                requirements: group
                    .placement
                    .map(|placement| requirements(placement, group.tee))
                    .unwrap_or_default(),
                resources: group.units.iter().enumerate().map(unit).collect(),
            });
        }
        (Manifest(manifest), specs)
    }
}

impl PlannedService<'_, '_> {
    fn assemble(&self, level: Level) -> manifest::Service {
        let service = self.service;
        let expose: Vec<_> = self.expose.iter().map(|exposed| exposed.entry.clone()).collect();
        let env = service.env.as_ref();
        manifest::Service {
            name: self.name.to_owned(),
            image: service.image.value.to_owned(),
            command: service.command.as_deref().map(owned),
            args: service.args.as_deref().map(owned),
            env: env.map(|env| env.iter().map(|item| EnvVar(item.value.to_owned())).collect()),
            resources: resources(
                self.unit.unwrap_or_default(),
                self.compute,
                expose::endpoints(expose.iter()),
            ),
            count: self.count,
            expose,
            params: self.params(),
            credentials: self.credentials(level),
            // What it asks for can only be held to a profile that is known.
            x_berth: self.compute.and(service.extension.as_ref()).map(|extension| extension.read.clone()),
        }
    }

    fn params(&self) -> Option<Params> {
        let params = self.service.params.as_ref()?;
        let mount = |(name, mount): (&&str, &super::document::Mount<'_>)| Mount {
            name: (*name).to_owned(),
            mount: mount.mount.value.to_owned(),
            read_only: mount.read_only,
        };
        let storage: Vec<Mount> = params.storage.iter().map(mount).collect();
        Some(Params {
            storage: (!storage.is_empty()).then_some(storage),
            permissions: params.permissions.as_deref().map(|read| Permissions { read: owned(read) }),
            tee: self.tee.map(|kind| Tee { kind, attestation: true }),
        })
    }

    /// The older level copies credentials as they stand but loses the e-mail; the newer one trims them.
    fn credentials(&self, level: Level) -> Option<Credentials> {
        let credentials = self.service.credentials.as_ref()?;
        let keep = |text: &str| match level {
            Level::V2_0 => text.to_owned(),
            Level::V2_1 => text.trim().to_owned(),
        };
        Some(Credentials {
            host: keep(credentials.host),
            email: if level == Level::V2_0 { String::new() } else { keep(credentials.email) },
            username: keep(credentials.username),
            password: keep(credentials.password),
        })
    }
}

fn requirements(placement: &Placement<'_>, tee: Option<TeeKind>) -> Requirements {
    let mut attributes: Vec<_> =
        placement.attributes.iter().map(|(key, value)| Attribute::new(*key, *value)).collect();
    if let Some(tee) = tee {
        attributes.push(Attribute::new("tee/type", tee.as_str()));
        // Stable: an attribute of the same key in the document stays before ours.
        attributes.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Requirements {
        signed_by: SignedBy {
            all_of: placement.all_of.as_deref().map(owned),
            any_of: placement.any_of.as_deref().map(owned),
        },
        attributes: (!attributes.is_empty()).then_some(attributes),
    }
}

fn resources(unit: usize, compute: Option<&Compute<'_>>, endpoints: Vec<Endpoint>) -> Resources {
    let cpu = compute.and_then(|compute| compute.cpu.as_ref());
    let gpu = compute.and_then(|compute| compute.gpu.as_ref());
    Resources {
        id: u32::try_from(unit + 1).expect("a document of bounded length has fewer units"),
        cpu: Cpu {
            units: Quantity(cpu.map_or(0, |cpu| *cpu.units)),
            attributes: cpu
                .map(|cpu| cpu.arch.iter().map(|arch| Attribute::new("arch", *arch)).collect())
                .unwrap_or_default(),
        },
        memory: Memory { size: Quantity(compute.and_then(|compute| compute.memory).map_or(0, |size| *size)) },
        storage: compute.map(volumes).unwrap_or_default(),
        gpu: Gpu {
            units: Quantity(gpu.map_or(0, |gpu| *gpu.units)),
            attributes: gpu.map(|gpu| gpu.attributes.clone()).unwrap_or_default(),
        },
        endpoints,
    }
}

/// Volumes by size; among equals those without attributes first, then ephemeral ones, both in reverse of the document's
/// order, then persistent ones by name.
fn volumes(compute: &Compute<'_>) -> Vec<Volume> {
    let mut ordered: Vec<_> = compute.storage.iter().rev().collect();
    ordered.sort_by_key(|volume| {
        let persistent = volume.attributes.persistent;
        (*volume.size, persistent, if persistent == Some(true) { volume.name } else { "" })
    });
    let stored = |volume: &super::document::Volume<'_>| {
        let class = volume.attributes.class.map(|class| Attribute::new("class", class));
        let persistent =
            volume.attributes.persistent.map(|value| Attribute::new("persistent", value.to_string()));
        Volume {
            name: volume.name.to_owned(),
            size: Quantity(*volume.size),
            attributes: class.into_iter().chain(persistent).collect(),
        }
    };
    ordered.into_iter().map(stored).collect()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
