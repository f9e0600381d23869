//! [`Document`] → [`Deployment`]: the checks in the language's order, around building groups and manifest.
//!
//! Problems are collected; the first is the one that the order of checks demands. Where a name could not be resolved,
//! what follows from that is not reported again; what a service has wrong by itself is.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::Deployment;
use super::build::{self, Plan, PlannedGroup, PlannedUnit};
use super::document::{Compute, Credentials, Deploy, Document, Level, Service, TermWishes};
use super::duration;
use super::reader::MAX_TOLD;
use crate::price::Decimal;
use crate::problem::{ErrorKind, Mark, Problem, Warning, shown};
use crate::rules::{self, Part, Places};
use crate::terms::Terms;

/// Checks a document and builds what it stands for.
pub(crate) fn validate(
    document: &Document<'_>,
    mut warnings: Vec<Warning>,
    steps: &mut usize,
) -> Result<Deployment, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut plan = build::plan(document, &mut problems, steps);
    if problems.iter().any(|problem| problem.kind == ErrorKind::ManifestTooLarge) {
        return Err(problems);
    }
    let reclamation = check_reclamation(document, &mut problems);
    check_meaning(document, &mut problems);
    check_groups(&plan, &mut problems);
    problems.append(&mut plan.behind);
    let (manifest, groups) = plan.assemble(document.level);
    let complete = !manifest.0.is_empty() && !plan.groups.values().any(|group| group.incomplete);
    rules::check(&manifest, &Located(plan.groups.values().collect()), complete, &mut problems);
    warn_of_loose_ends(document, &mut warnings);
    warnings.truncate(MAX_TOLD);
    if !problems.is_empty() {
        return Err(distinct(problems));
    }
    let terms = plan.groups.values().map(|group| terms(group, reclamation)).collect();
    Ok(Deployment { manifest, groups, terms, reclamation, warnings })
}

fn terms(group: &PlannedGroup<'_, '_>, reclamation: Option<Duration>) -> Terms {
    let Some(TermWishes { award, deadline, min_reclaim, regions, max_latency }) =
        group.placement.map(|placement| &placement.wishes)
    else {
        return Terms::default();
    };
    Terms {
        award: *award,
        deadline: *deadline,
        min_reclaim: min_reclaim.or(reclamation),
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        max_latency: *max_latency,
    }
}

/// A service that is deployed twice has its problems once.
fn distinct(problems: Vec<Problem>) -> Vec<Problem> {
    let mut seen = HashSet::new();
    let mut first =
        |problem: &Problem| seen.insert((problem.kind, problem.path.clone(), problem.message.clone()));
    problems.into_iter().filter(|problem| first(problem)).take(MAX_TOLD).collect()
}

fn check_reclamation(document: &Document<'_>, problems: &mut Vec<Problem>) -> Option<Duration> {
    let text = document.reclamation?;
    let (kind, says) = match duration::nanoseconds(&text).map(u64::try_from) {
        Some(Ok(nanoseconds)) if nanoseconds > 0 => return Some(Duration::from_nanos(nanoseconds)),
        Some(_) => (ErrorKind::ReclamationNotPositive, "is no time at all"),
        None => (ErrorKind::ReclamationMalformed, "is no duration"),
    };
    let message = format!("{} {says}: write a number with h, m or s, as 24h", shown(&text));
    problems.push(Problem::at(kind, "reclamation.min_window".to_owned(), text.mark, message));
    None
}

/// Whether what `deployment` reaches is there and fits together.
fn check_meaning<'t>(document: &Document<'t>, problems: &mut Vec<Problem>) {
    check_endpoint_declarations(document, problems);
    let mut used_endpoints = BTreeSet::new();
    let mut leased_ports = HashSet::new();
    for (name, placements) in &document.deployment {
        for (placement, deploy) in placements {
            let compute = document.compute.get(deploy.profile);
            check_names(document, name, placement, deploy, problems);
            let Some(service) = document.services.get(name) else { continue };
            if let Some(credentials) = &service.credentials {
                check_credentials(name, credentials, problems);
            }
            check_leased_ips(document, name, service, &mut used_endpoints, &mut leased_ports, problems);
            if let Some(compute) = compute {
                check_mounts(document.level, name, service, compute, problems);
            }
        }
    }
    for (name, endpoint) in &document.endpoints {
        if !used_endpoints.contains(name) {
            let message = format!(
                "endpoint {} is not used by a deployed service: use it as ip, or remove it",
                shown(name)
            );
            problems.push(Problem::at(
                ErrorKind::EndpointUnused,
                format!("endpoints.{name}"),
                endpoint.mark,
                message,
            ));
        }
    }
}

fn check_endpoint_declarations(document: &Document<'_>, problems: &mut Vec<Problem>) {
    for (name, endpoint) in &document.endpoints {
        let mut wrong = |kind, message| {
            problems.push(Problem::at(kind, format!("endpoints.{name}"), endpoint.mark, message));
        };
        if !is_endpoint_name(name) {
            let message = format!(
                "{} cannot name an endpoint: use two or more lower-case letters, digits, - and _, a letter first",
                shown(name)
            );
            wrong(ErrorKind::EndpointNameInvalid, message);
        }
        match endpoint.kind {
            "ip" => {}
            "" => {
                wrong(ErrorKind::EndpointKindMissing, "the endpoint has no kind: write kind: ip".to_owned());
            }
            kind => {
                let message = format!("{} is no kind of endpoint: write kind: ip", shown(kind));
                wrong(ErrorKind::EndpointKindUnknown, message);
            }
        }
    }
}

/// `[a-z]+[a-z0-9_-]+` in full.
fn is_endpoint_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn check_names(
    document: &Document<'_>,
    name: &str,
    placement: &str,
    deploy: &Deploy<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut wrong = |kind, message| {
        problems.push(Problem::at(kind, format!("deployment.{name}.{placement}"), deploy.mark, message));
    };
    let profile = deploy.profile;
    if !document.compute.contains_key(profile) {
        let message =
            format!("compute profile {} is not defined: add it under profiles.compute", shown(profile));
        return wrong(ErrorKind::ComputeProfileUnknown, message);
    }
    let Some(found) = document.placement.get(placement) else {
        let message =
            format!("placement {} is not defined: add it under profiles.placement", shown(placement));
        return wrong(ErrorKind::PlacementProfileUnknown, message);
    };
    if !matches!(found.pricing.get(profile), Some(Some(_))) {
        let message = format!(
            "placement {} has no price for {}: add one under its pricing",
            shown(placement),
            shown(profile)
        );
        return wrong(ErrorKind::PricingMissing, message);
    }
    if !document.services.contains_key(name) {
        let message = format!("service {} is not defined: add it under services", shown(name));
        wrong(ErrorKind::ServiceUnknown, message);
    }
}

fn check_credentials(name: &str, credentials: &Credentials<'_>, problems: &mut Vec<Problem>) {
    for (key, text, kind) in [
        ("host", credentials.host, ErrorKind::CredentialsHostMissing),
        ("username", credentials.username, ErrorKind::CredentialsUsernameMissing),
        ("password", credentials.password, ErrorKind::CredentialsPasswordMissing),
    ] {
        if text.trim().is_empty() {
            let path = format!("services.{name}.credentials");
            let message = format!("the credentials have no {key}: write it, or remove the credentials");
            problems.push(Problem::at(kind, path, credentials.mark, message));
        }
    }
}

fn check_leased_ips<'t>(
    document: &Document<'t>,
    name: &str,
    service: &Service<'t>,
    used: &mut BTreeSet<&'t str>,
    ports: &mut HashSet<(&'t str, u32, &'t str)>,
    problems: &mut Vec<Problem>,
) {
    for (index, expose) in service.expose.iter().enumerate() {
        for to in expose.to.iter().filter(|to| !to.ip.is_empty()) {
            let mut wrong = |kind, message| {
                problems.push(Problem::at(
                    kind,
                    format!("services.{name}.expose[{index}].to"),
                    to.mark,
                    message,
                ));
            };
            let ip = shown(to.ip);
            if !to.global {
                wrong(ErrorKind::IpNotGlobal, format!("leased IP {ip} needs global: true beside it"));
            }
            if document.endpoints.contains_key(to.ip) {
                used.insert(to.ip);
            } else {
                let message = format!("endpoint {ip} is not declared: add it under endpoints with kind: ip");
                wrong(ErrorKind::IpEndpointUnknown, message);
            }
            // The texts are compared as written: an omitted protocol and `tcp` do not collide.
            if !ports.insert((to.ip, *expose.external, *expose.proto)) {
                let message =
                    format!("the same external port of {ip} is used twice: write another port under as");
                wrong(ErrorKind::IpPortConflict, message);
            }
        }
    }
}

fn check_mounts(
    level: Level,
    name: &str,
    service: &Service<'_>,
    compute: &Compute<'_>,
    problems: &mut Vec<Problem>,
) {
    let volumes: BTreeMap<&str, _> = compute.storage.iter().map(|volume| (volume.name, volume)).collect();
    let mounts = service.params.as_ref().map(|params| &params.storage);
    let listed: Vec<_> = mounts.into_iter().flatten().collect();
    let mut wrong = |kind, volume: &str, mark, message| {
        let path = format!("services.{name}.params.storage.{volume}");
        problems.push(Problem::at(kind, path, mark, message));
    };
    let texts = listed.iter().map(|(name, mount)| (**name, *mount.mount));
    rules::check_mounts(texts, |name| volumes.contains_key(name), &mut |kind, index, message| {
        let (name, mount) = listed[index];
        let mark = if kind == ErrorKind::ParamsVolumeUnknown { mount.mark } else { mount.mount.mark };
        wrong(kind, name, mark, message);
    });
    for (name, mount) in listed {
        let in_memory = volumes.get(name).is_some_and(|volume| volume.attributes.class == Some("ram"));
        if level == Level::V2_1 && mount.read_only && in_memory {
            let message = "a volume of class ram begins empty, so it cannot be read-only: leave readOnly out"
                .to_owned();
            wrong(ErrorKind::RamReadonly, name, mount.mark, message);
        }
    }
    let persistent = compute.storage.iter().find(|volume| volume.attributes.persistent == Some(true));
    if let (Level::V2_0, Some(volume), true) =
        (level, persistent, mounts.is_none_or(|mounts| mounts.is_empty()))
    {
        let message = format!(
            "persistent volume {} is mounted nowhere: add it under params.storage",
            shown(volume.name)
        );
        problems.push(Problem::at(
            ErrorKind::PersistentUnmounted,
            format!("services.{name}"),
            service.mark,
            message,
        ));
    }
}

/// An inclusive range of a resource.
struct Range {
    least: u64,
    most: u64,
    unit: &'static str,
    kind: ErrorKind,
}

const CPU: Range =
    Range { least: 10, most: 384_000, unit: "thousandths of a core", kind: ErrorKind::CpuOutOfRange };
const GPU: Range = Range { least: 0, most: 24, unit: "GPUs", kind: ErrorKind::GpuOutOfRange };
const MEMORY: Range =
    Range { least: 1 << 20, most: 2 << 40, unit: "bytes", kind: ErrorKind::MemoryOutOfRange };
const VOLUME: Range =
    Range { least: 5 << 20, most: 32 << 40, unit: "bytes", kind: ErrorKind::StorageOutOfRange };

/// The largest price of a unit, in units of 10^-18.
const MAX_PRICE: u128 = 10_000_000 * Decimal::ONE;

fn check_groups<'t>(plan: &Plan<'_, 't>, problems: &mut Vec<Problem>) {
    if plan.groups.is_empty() {
        let message =
            "nothing is deployed: write under deployment which service goes to which placement".to_owned();
        problems.push(Problem::at(ErrorKind::NoGroups, "deployment".to_owned(), Mark::default(), message));
    }
    let denom_of = |group: &PlannedGroup<'_, 't>| group.units.first().map(|unit| unit.price.denom);
    let first_denom = plan.groups.values().find_map(denom_of);
    for (name, group) in &plan.groups {
        let group_denom = denom_of(group);
        let mark = group.placement.map(|placement| placement.mark).unwrap_or_default();
        let path = format!("profiles.placement.{name}");
        if let Some(unit) = group.units.iter().find(|unit| Some(unit.price.denom) != group_denom) {
            let message = format!(
                "prices in {} and others stand in one placement: use one currency",
                shown(unit.price.denom)
            );
            problems.push(Problem::at(
                ErrorKind::DenomMixedInGroup,
                format!("{path}.pricing"),
                mark,
                message,
            ));
        }
        if group_denom.is_some() && group_denom != first_denom {
            let message =
                "another placement is priced in another currency: use one in the whole document".to_owned();
            problems.push(Problem::at(
                ErrorKind::DenomMixedAcrossGroups,
                format!("{path}.pricing"),
                mark,
                message,
            ));
        }
        if name.is_empty() {
            let message = "a placement has no name: give it one".to_owned();
            problems.push(Problem::at(ErrorKind::GroupNameEmpty, path.clone(), mark, message));
        }
        for unit in &group.units {
            check_unit(unit, problems);
        }
        if !group.incomplete {
            check_totals(&path, mark, group, problems);
        }
        for unit in &group.units {
            if unit.price.amount > MAX_PRICE {
                let path = format!("{path}.pricing.{}", unit.profile);
                let message =
                    "the price is above the most that a unit may cost: write at most 10000000".to_owned();
                problems.push(Problem::at(ErrorKind::PriceOverLimit, path, unit.price.mark, message));
            }
        }
    }
}

fn check_unit(unit: &PlannedUnit<'_, '_>, problems: &mut Vec<Problem>) {
    let compute = unit.compute;
    let resources = format!("profiles.compute.{}.resources", unit.profile);
    let mut wrong = |kind, part: &str, mark, message: String| {
        problems.push(Problem::at(kind, format!("{resources}.{part}"), mark, message));
    };
    let out_of = |range: &Range, value: u64| {
        let Range { least, most, unit, .. } = range;
        let outside = !(*least..=*most).contains(&value);
        outside.then(|| {
            format!("{value} {unit} are outside of what one replica may have: write {least} to {most}")
        })
    };
    match &compute.cpu {
        None => wrong(
            ErrorKind::CpuMissing,
            "cpu",
            compute.mark,
            "the profile has no cpu: write cpu with units".to_owned(),
        ),
        Some(cpu) => {
            if let Some(message) = out_of(&CPU, *cpu.units) {
                wrong(CPU.kind, "cpu.units", cpu.units.mark, message);
            }
            if cpu.arch.len() > 1 {
                let message = "arch stands here twice: keep one of them".to_owned();
                wrong(ErrorKind::CpuAttributeKeyInvalid, "cpu.attributes", cpu.units.mark, message);
            }
        }
    }
    if let Some(gpu) = &compute.gpu {
        if let Some(message) = out_of(&GPU, *gpu.units) {
            wrong(GPU.kind, "gpu.units", gpu.units.mark, message);
        }
        if *gpu.units == 0 && !gpu.attributes.is_empty() {
            let message =
                "a GPU model is named but no GPU is asked for: write units above 0, or remove attributes"
                    .to_owned();
            wrong(ErrorKind::GpuAttributesWithoutUnits, "gpu.units", gpu.units.mark, message);
        }
    }
    match compute.memory {
        None => {
            let message = "the profile has no memory: write memory with size".to_owned();
            wrong(ErrorKind::MemoryMissing, "memory", compute.mark, message);
        }
        Some(size) => {
            if let Some(message) = out_of(&MEMORY, *size) {
                wrong(MEMORY.kind, "memory.size", size.mark, message);
            }
        }
    }
    if compute.storage.is_empty() {
        let message = "the profile has no storage: write storage with size".to_owned();
        wrong(ErrorKind::StorageMissing, "storage", compute.mark, message);
    }
    for volume in &compute.storage {
        if let Some(message) = out_of(&VOLUME, *volume.size) {
            wrong(
                VOLUME.kind,
                "storage",
                volume.size.mark,
                format!("volume {} is out of bounds, {message}", shown(volume.name)),
            );
        }
    }
}

fn check_totals(path: &str, mark: Mark, group: &PlannedGroup<'_, '_>, problems: &mut Vec<Problem>) {
    let total = |of: fn(&Compute<'_>) -> u64| {
        group.units.iter().map(|unit| u128::from(of(unit.compute)) * u128::from(unit.count)).sum::<u128>()
    };
    let cpu = total(|compute| compute.cpu.as_ref().map_or(0, |cpu| *cpu.units));
    let gpu = total(|compute| compute.gpu.as_ref().map_or(0, |gpu| *gpu.units));
    let memory = total(|compute| compute.memory.map_or(0, |size| *size));
    for (what, total, least, most, kind) in [
        ("thousandths of a core", cpu, 1, 19_200_000, ErrorKind::TotalCpuOutOfRange),
        ("GPUs", gpu, 0, 1200, ErrorKind::TotalGpuOutOfRange),
        ("bytes of memory", memory, 1, 109_951_162_777_600, ErrorKind::TotalMemoryOutOfRange),
    ] {
        if !(least..=most).contains(&total) {
            let message = format!(
                "all replicas of the placement together ask for {total} {what}: {least} to {most} can be had, so change the profile or count"
            );
            problems.push(Problem::at(kind, path.to_owned(), mark, message));
        }
    }
}

/// Finds the parts of a manifest in the document that it was made from.
struct Located<'p, 'd, 't>(Vec<&'p PlannedGroup<'d, 't>>);

impl Places for Located<'_, '_, '_> {
    fn place(&self, group: usize, service: usize, part: Part) -> (String, Mark) {
        let planned = &self.0[group].services[service];
        let path = format!("services.{}", planned.name);
        match part {
            Part::Name => (path, planned.service.mark),
            Part::Image => (format!("{path}.image"), planned.service.image.mark),
            Part::Env(index) => {
                let mark = planned.service.env.as_ref().map_or(planned.service.mark, |env| env[index].mark);
                (format!("{path}.env[{index}]"), mark)
            }
            Part::Expose(index) => {
                let index = planned.expose[index].index;
                (format!("{path}.expose[{index}]"), planned.service.expose[index].mark)
            }
            Part::Extension(place) => {
                let path = format!("{path}.x-berth.{place}");
                let extension = planned.service.extension.as_ref();
                let mark = extension.map(|extension| extension.mark_of(&path)).unwrap_or_default();
                (path, mark)
            }
        }
    }
}

/// Accepted, but hardly meant.
fn warn_of_loose_ends(document: &Document<'_>, warnings: &mut Vec<Warning>) {
    for (name, service) in &document.services {
        if !document.deployment.contains_key(name) {
            let message = "the service is not deployed anywhere and ignored".to_owned();
            warnings.push(Warning::at(format!("services.{name}"), service.mark, message));
        }
        for (index, expose) in service.expose.iter().enumerate() {
            let targets = expose.to.iter().filter(|to| !to.service.is_empty());
            for to in targets.filter(|to| !document.services.contains_key(to.service)) {
                let message = format!("there is no service {}: nobody can use this entry", shown(to.service));
                warnings.push(Warning::at(format!("services.{name}.expose[{index}].to"), to.mark, message));
            }
        }
    }
}
