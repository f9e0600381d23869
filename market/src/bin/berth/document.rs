//! From the tenant's document to what is posted: manifest, specs, price limits.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use manifests::group::{GroupSpec, Requirements};
use manifests::manifest::Manifest;
use manifests::money::Rate;
use manifests::order::Hash;
use manifests::price::{Decimal, ExchangeRate, PriceError};
use manifests::resources::Attribute;
use manifests::terms::{Award, Terms};
use market::call::{class_hash, keccak256};

use crate::contexts::Mapping;
use crate::exit::Ending;
use crate::sdl::reading::Faithfulness;
use crate::sdl::report;

/// A document, ready to be ordered.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) manifest: Manifest,
    pub(crate) groups: Vec<WantedGroup>,
    /// What it asks for that cannot be ordered here, each in a sentence.
    pub(crate) unserved: Vec<String>,
    /// What its author should know.
    pub(crate) warnings: Vec<String>,
}

/// One order to be posted.
#[derive(Debug)]
pub(crate) struct WantedGroup {
    pub(crate) name: String,
    /// What the document says it pays: amount and currency per block of the network the language comes from.
    pub(crate) said: String,
    pub(crate) max_rate: Rate,
    /// Seconds of notice that a provider must promise.
    pub(crate) min_reclaim: u32,
    /// Seconds after its posting in which bids are taken, if the lowest of them wins.
    pub(crate) award: Option<u64>,
    pub(crate) spec: String,
    pub(crate) class: Hash,
}

impl WantedGroup {
    pub(crate) fn spec_hash(&self) -> Hash {
        keccak256(self.spec.as_bytes())
    }
}

impl Wanted {
    /// What all groups pay together at most.
    pub(crate) fn max_rate(&self) -> anyhow::Result<Rate> {
        let sum = self.groups.iter().try_fold(Rate::ZERO, |sum, group| sum.checked_add(group.max_rate));
        sum.ok_or_else(|| {
            Ending::error(Ending::USAGE, "the placements together cost more than the market can pay")
        })
    }
}

/// Reads a document and what the context makes of it.
pub(crate) fn read(
    path: &Path,
    faithfulness: Faithfulness,
    mapping: &Mapping,
    max_price: Option<Rate>,
    strict: bool,
) -> anyhow::Result<Wanted> {
    let bytes = std::fs::read(path).map_err(|error| {
        Ending::error(Ending::USAGE, format!("{} cannot be read: {error}", path.display()))
    })?;
    let document = faithfulness.read(&bytes).map_err(|problems| {
        let file = path.display().to_string();
        let told = report::problems(&file, &bytes, &problems);
        Ending::error(Ending::USAGE, format!("{file} is refused\n{}", told.trim_end()))
    })?;
    let mut warnings: Vec<String> = document.warnings.iter().map(ToString::to_string).collect();
    let mut unchecked = BTreeSet::new();
    let mut groups = Vec::new();
    let mut unserved = Vec::new();
    for (group, terms) in document.groups.iter().zip(&document.terms) {
        groups.push(wanted(group, terms, mapping, max_price, &mut unchecked)?);
        unserved.extend(unserved_award(group, terms, mapping));
        if !terms.regions.is_empty() || terms.max_latency.is_some() {
            warnings.push(format!(
                "placement {}: wishes for regions and latency are not looked at yet",
                group.name
            ));
        }
    }
    if strict && !unchecked.is_empty() {
        let list: Vec<String> = unchecked.into_iter().collect();
        let sentence = format!(
            "{}: nobody checks these requirements on this market: {}; leave them out, or translate them in the context",
            path.display(),
            list.join(", ")
        );
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    warnings.extend(unchecked.iter().map(|need| {
        format!("requirement {need} is passed on to providers, but nobody vouches for it on this market")
    }));
    Ok(Wanted { manifest: document.manifest, groups, unserved, warnings })
}

/// What of its award cannot be had. The lowest bid wins unseen, so that nobody would hold the winner against requirements.
fn unserved_award(group: &GroupSpec, terms: &Terms, mapping: &Mapping) -> Option<String> {
    let name = &group.name;
    match terms.award {
        Award::Manual => terms.deadline.map(|_| {
            format!(
                "placement {name}: without award: lowest nothing happens at the deadline: leave it out, and say with \
                 --wait how long bids are taken"
            )
        }),
        Award::Lowest => {
            let mut requirements = group.to_order_spec().requirements;
            translate(&mut requirements, mapping, &mut BTreeSet::new());
            let Requirements { signed_by, attributes } = requirements;
            let auditors = [signed_by.all_of, signed_by.any_of].into_iter().flatten().flatten().count();
            (auditors + attributes.map_or(0, |attributes| attributes.len()) > 0).then(|| {
                format!(
                    "placement {name}: award: lowest takes whoever asks least, and nobody would hold it against \
                     attributes and signedBy: leave these out, or choose among the bids yourself (award: manual)"
                )
            })
        }
    }
}

fn wanted(
    group: &GroupSpec,
    terms: &Terms,
    mapping: &Mapping,
    max_price: Option<Rate>,
    unchecked: &mut BTreeSet<String>,
) -> anyhow::Result<WantedGroup> {
    let max_rate = match max_price {
        Some(rate) => rate,
        None => document_rate(group, mapping)?,
    };
    if max_rate == Rate::ZERO {
        let sentence =
            format!("placement \"{}\" pays nothing: write a price, or give --max-price", group.name);
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    let mut spec = group.to_order_spec();
    translate(&mut spec.requirements, mapping, unchecked);
    let bytes = spec.to_bytes().map_err(|error| Ending::error(Ending::USAGE, error.to_string()))?;
    let spec = String::from_utf8(bytes).context("the group spec is JSON and so is text")?;
    let said: Vec<String> =
        group.resources.iter().map(|unit| format!("{} × {}", unit.count, short(unit.price.amount))).collect();
    let said = format!("({}) {} a block", said.join(" + "), group.denom().unwrap_or("uact"));
    let min_reclaim = u32::try_from(terms.min_reclaim.unwrap_or_default().as_secs())
        .map_err(|_| Ending::error(Ending::USAGE, "the wanted notice is far too long"))?;
    let class = class_hash(&class(group));
    let award = match terms.award {
        Award::Lowest => terms.deadline.map(|deadline| deadline.as_secs()),
        Award::Manual => None,
    };
    Ok(WantedGroup { name: group.name.clone(), said, max_rate, min_reclaim, award, spec, class })
}

fn document_rate(group: &GroupSpec, mapping: &Mapping) -> anyhow::Result<Rate> {
    let rate = match group.denom() {
        Some(denom) if denom != "uact" => match mapping.exchange_rates.get(denom) {
            Some(dollars) => group.max_rate_down_at(&exchange_rate(denom, dollars)?),
            None => Err(PriceError::NeedsExchangeRate { group: group.name.clone(), denom: denom.to_owned() }),
        },
        _ => group.max_rate_down(),
    };
    rate.map_err(|error| {
        let remedy = match &error {
            PriceError::NeedsExchangeRate { denom, .. } => {
                format!(" (--max-price 0.50/h, or `berth context add … --exchange-rate {denom}=DOLLARS`)")
            }
            PriceError::TooLarge { .. } => String::new(),
        };
        Ending::error(Ending::USAGE, format!("{error}{remedy}"))
    })
}

/// What a million of a currency is worth.
pub(crate) fn exchange_rate(denom: &str, dollars: &str) -> anyhow::Result<ExchangeRate> {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, ""));
    let padded = format!("\"{whole}.{fraction:0<18}\"");
    let dollars: Decimal = serde_json::from_str(&padded).map_err(|_| {
        let sentence = format!("the exchange rate of {denom} is \"{dollars}\"; write dollars as 0.55");
        Ending::error(Ending::USAGE, sentence)
    })?;
    Ok(ExchangeRate { denom: denom.to_owned(), dollars })
}

/// Puts our words for those of another network. What has no translation stays and is noted.
fn translate(requirements: &mut Requirements, mapping: &Mapping, unchecked: &mut BTreeSet<String>) {
    let mut ours = |theirs: String| match mapping.translate.get(&theirs) {
        Some(ours) => (!ours.is_empty()).then(|| ours.clone()),
        None => {
            unchecked.insert(theirs.clone());
            Some(theirs)
        }
    };
    for auditors in [&mut requirements.signed_by.all_of, &mut requirements.signed_by.any_of] {
        *auditors = auditors.take().map(|names| names.into_iter().filter_map(&mut ours).collect());
    }
    requirements.attributes = requirements.attributes.take().map(|attributes| {
        let kept = attributes.into_iter().filter_map(|Attribute { key, value }| {
            let ours = ours(format!("{key}={value}"))?;
            let (key, value) = ours.split_once('=').unwrap_or((ours.as_str(), ""));
            Some(Attribute::new(key, value))
        });
        let mut kept: Vec<Attribute> = kept.collect();
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        kept
    });
}

/// The class by which providers may filter orders: the one GPU model that is asked for, `gpu` for several, otherwise `cpu`.
fn class(group: &GroupSpec) -> String {
    let wanted: Vec<_> =
        group.resources.iter().map(|unit| &unit.resource.gpu).filter(|gpu| gpu.units.0 > 0).collect();
    let models: BTreeSet<&str> =
        wanted.iter().flat_map(|gpu| &gpu.attributes).map(|attribute| attribute.key.as_str()).collect();
    match (wanted.is_empty(), models.len(), models.first().map(|key| key.split('/').collect::<Vec<_>>())) {
        (true, ..) => "cpu".to_owned(),
        (false, 1, Some(parts)) => match parts[..] {
            ["vendor", vendor, "model", model, "ram", ram, ..] => format!("gpu/{vendor}/{model}/{ram}"),
            ["vendor", vendor, "model", model, ..] if model != "*" => format!("gpu/{vendor}/{model}"),
            _ => "gpu".to_owned(),
        },
        _ => "gpu".to_owned(),
    }
}

/// A decimal without the zeros at its end.
fn short(amount: Decimal) -> String {
    amount.to_string().trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
version: "2.0"
services:
  web: {image: nginx, expose: [{port: 80, to: [{global: true}]}]}
profiles:
  compute:
    web:
      resources:
        cpu: {units: 0.1}
        memory: {size: 64Mi}
        storage: {size: 64Mi}
        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: h100, ram: 80Gi, interface: sxm}]}}}
  placement:
    far:
      attributes: {host: akash, region: eu-west}
      signedBy: {anyOf: [akash1aaa, akash1bbb]}
      pricing: {web: {denom: DENOM, amount: 12.5}}
deployment:
  web: {far: {profile: web, count: 2}}
"#;

    fn read_text(
        text: &str,
        mapping: &Mapping,
        max_price: Option<Rate>,
        strict: bool,
    ) -> anyhow::Result<Wanted> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        read(file.path(), Faithfulness::default(), mapping, max_price, strict)
    }

    #[test]
    fn a_document_becomes_orders_with_their_limits() {
        let wanted =
            read_text(&DOCUMENT.replace("DENOM", "uact"), &Mapping::default(), None, false).expect("read");
        let [group] = &wanted.groups[..] else { panic!("{wanted:?}") };
        assert_eq!(group.max_rate.scaled(), 25 * 1_000_000_000_000 / 6117);
        assert_eq!(group.said, "(2 × 12.5) uact a block");
        assert_eq!(group.class, class_hash("gpu/nvidia/h100/80Gi"));
        assert_eq!(group.spec_hash(), manifests::group::spec_hash(group.spec.as_bytes()));
        assert!(!group.spec.contains("12.5"), "the price is nobody's business: {}", group.spec);
        assert_eq!(wanted.warnings.len(), 4, "{:?}", wanted.warnings);
    }

    #[test]
    fn a_refused_document_is_shown_with_the_line_and_a_caret() {
        let text = DOCUMENT.replace("DENOM", "uact").replace("size: 64Mi", "size: 64mb");
        let error = read_text(&text, &Mapping::default(), None, false).expect_err("refused").to_string();
        assert!(
            error.contains("error[quantity-malformed]")
                && error.contains(
                    "size: 64mb}
   |                        ^^^^
"
                ),
            "{error}"
        );
    }

    #[test]
    fn notice_is_ordered_for_each_placement_and_what_cannot_be_is_said() {
        let text = DOCUMENT.replace("DENOM", "uact");
        let read = |text: &str| read_text(text, &Mapping::default(), None, false).expect("read");
        let plain = read(&text);
        assert_eq!((plain.groups[0].min_reclaim, plain.unserved.len()), (0, 0));
        let window = read(&format!("{text}reclamation: {{min_window: 1h}}\n"));
        assert_eq!(window.groups[0].min_reclaim, 3600);
        let extended = text.replace(
            "    far:\n",
            "    far:\n      x-berth: {award: lowest, deadline: 5m, minReclaim: 2h, regions: [eu]}\n",
        );
        let extended = read(&extended);
        assert_eq!(extended.groups[0].min_reclaim, 7200);
        assert_eq!(extended.groups[0].award, Some(300));
        let [why] = &extended.unserved[..] else { panic!("{:?}", extended.unserved) };
        assert!(why.contains("signedBy"), "nobody looks at the winner: {why}");
        let free = text.replace("      attributes: {host: akash, region: eu-west}\n", "");
        let free = free.replace("      signedBy: {anyOf: [akash1aaa, akash1bbb]}\n", "");
        let free =
            read(&free.replace("    far:\n", "    far:\n      x-berth: {award: lowest, deadline: 5m}\n"));
        assert_eq!((free.groups[0].award, free.unserved.len()), (Some(300), 0), "{:?}", free.unserved);
        let idle = read(&text.replace("    far:\n", "    far:\n      x-berth: {deadline: 5m}\n"));
        assert_eq!((idle.groups[0].award, idle.unserved.len()), (None, 1), "{:?}", idle.unserved);
        assert!(
            extended.warnings.iter().any(|warning| warning.contains("regions")),
            "{:?}",
            extended.warnings
        );
    }

    #[test]
    fn other_currencies_need_an_exchange_rate_or_a_limit() {
        let text = DOCUMENT.replace("DENOM", "uakt");
        let error = read_text(&text, &Mapping::default(), None, false).expect_err("no rate");
        assert!(error.to_string().contains("--max-price"), "{error}");
        let limit = Rate::new(77).expect("small");
        let limited = read_text(&text, &Mapping::default(), Some(limit), false).expect("limited");
        assert_eq!(limited.groups[0].max_rate, limit);
        let mut mapping = Mapping::default();
        mapping.exchange_rates.insert("uakt".to_owned(), "0.5".to_owned());
        let priced = read_text(&text, &mapping, None, false).expect("priced");
        assert_eq!(priced.groups[0].max_rate.scaled(), 25 * 1_000_000_000_000 / 6117 / 2);
        assert!(exchange_rate("uakt", "half").is_err());
    }

    #[test]
    fn strict_refuses_what_nobody_checks_unless_it_is_translated() {
        let text = DOCUMENT.replace("DENOM", "uact");
        let error = read_text(&text, &Mapping::default(), None, true).expect_err("unchecked");
        assert!(
            error.to_string().contains("akash1aaa") && error.to_string().contains("host=akash"),
            "{error}"
        );
        let mut mapping = Mapping::default();
        for (theirs, ours) in
            [("akash1aaa", "0xaa"), ("akash1bbb", ""), ("host=akash", ""), ("region=eu-west", "zone=7")]
        {
            mapping.translate.insert(theirs.to_owned(), ours.to_owned());
        }
        let wanted = read_text(&text, &mapping, None, true).expect("translated");
        let spec = &wanted.groups[0].spec;
        assert!(spec.contains("0xaa") && spec.contains("zone") && !spec.contains("akash"), "{spec}");
        assert_eq!(wanted.warnings, Vec::<String>::new());
    }
}
