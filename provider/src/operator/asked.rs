//! What is asked for, read from a file: the orders that a tenant's document would become, or one order's spec.

use std::path::Path;

use anyhow::{Context, bail};
use manifests::group::{GroupSpec, OrderSpec};
use manifests::money::Rate;
use manifests::order::{Address, Order, OrderId};
use manifests::terms::Terms;
use market::quote::QuoteRequest;

use crate::quote::unposted;

/// One order that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its group's name in the document.
    pub name: String,
    /// The order, as it would be posted.
    pub order: Order,
    /// What its author should know, such as a price that is in another currency.
    pub notes: Vec<String>,
}

/// Reads a document in SDL, or the spec of one order as JSON. `tenant` would post it at `now`, unix seconds.
///
/// # Errors
/// The file cannot be read, or holds neither; with every problem that a document has.
pub fn read(path: &Path, tenant: Address, now: u64) -> anyhow::Result<Vec<Asked>> {
    let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    parse(&bytes, tenant, now).with_context(|| format!("{} cannot be used", path.display()))
}

/// As [`read`], of what was read already.
pub(crate) fn parse(bytes: &[u8], tenant: Address, now: u64) -> anyhow::Result<Vec<Asked>> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        // What stands on chain is without blanks around it.
        let bytes = bytes.trim_ascii();
        let spec = OrderSpec::from_bytes(bytes).context("it is no order's spec")?;
        let note = "a spec has no price: whatever it costs is taken".to_owned();
        let order = order(1, bytes.to_vec(), Rate::MAX, 0, tenant, now)?;
        return Ok(vec![Asked { name: spec.name, order, notes: vec![note] }]);
    }
    let document = match manifests::parse(bytes) {
        Ok(document) => document,
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("{}", problems.join("\n"));
        }
    };
    let groups = (1..).zip(document.groups.iter().zip(&document.terms));
    groups.map(|(gseq, (group, terms))| of_group(gseq, group, terms, tenant, now)).collect()
}

fn of_group(gseq: u16, group: &GroupSpec, terms: &Terms, tenant: Address, now: u64) -> anyhow::Result<Asked> {
    let spec = group.to_order_spec().to_bytes()?;
    let (max_rate, notes) = match group.max_rate_down() {
        Ok(rate) => (rate, Vec::new()),
        Err(error) => (Rate::MAX, vec![format!("{error}; whatever it costs is taken")]),
    };
    let notice = terms.min_reclaim.unwrap_or_default().as_secs();
    let min_reclaim = u32::try_from(notice).context("the wanted notice is far too long")?;
    let order = order(gseq, spec, max_rate, min_reclaim, tenant, now)?;
    Ok(Asked { name: group.name.clone(), order, notes })
}

fn order(
    gseq: u16,
    spec: Vec<u8>,
    max_rate: Rate,
    min_reclaim: u32,
    tenant: Address,
    now: u64,
) -> anyhow::Result<Order> {
    let spec = String::from_utf8(spec).context("a spec is JSON and so is text")?;
    let asked = QuoteRequest { tenant, spec, max_rate: Some(max_rate), min_reclaim, req_bits: 0 };
    let order = unposted(&asked, now);
    // The groups of a document are told apart.
    Ok(Order { id: OrderId { gseq, ..order.id }, ..order })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
version: "2.0"
services: {web: {image: "example/web:1", expose: [{port: 80, to: [{global: true}]}]}}
profiles:
  compute: {web: {resources: {cpu: {units: 1}, memory: {size: 1Gi}, storage: {size: 1Gi}}}}
  placement: {here: {pricing: {web: {denom: uact, amount: 1000}}}}
deployment: {web: {here: {profile: web, count: 1}}}
"#;

    fn one(text: &str) -> Asked {
        let mut asked = parse(text.as_bytes(), Address([1; 20]), 100).expect("can be read");
        assert_eq!(asked.len(), 1);
        asked.remove(0)
    }

    #[test]
    fn a_document_is_asked_about_as_it_would_be_ordered() {
        let asked = one(DOCUMENT);
        assert_eq!((asked.name.as_str(), asked.order.expires_at), ("here", 3700));
        assert_eq!(asked.order.max_rate, Rate::new(163_478_829_491).expect("small"));
        assert!(asked.notes.is_empty());
        let spec = String::from_utf8(asked.order.spec.clone()).expect("JSON");
        let again = one(&format!("{spec}\n"));
        assert_eq!((again.order.spec_hash, again.order.max_rate), (asked.order.spec_hash, Rate::MAX));
    }

    #[test]
    fn a_price_in_another_currency_is_said_and_does_not_bind() {
        let asked = one(&DOCUMENT.replace("uact", "uakt"));
        assert_eq!(asked.order.max_rate, Rate::MAX);
        assert!(asked.notes[0].contains("uakt"), "{:?}", asked.notes);
    }

    #[test]
    fn what_is_no_document_is_refused_with_every_problem() {
        let broken =
            DOCUMENT.replace("units: 1", "units: x").replace("memory: {size: 1Gi}", "memory: {size: 1Xi}");
        let problem = parse(broken.as_bytes(), Address::default(), 0).expect_err("is broken").to_string();
        assert!(problem.lines().count() >= 2, "{problem}");
        assert!(parse(b"{\"name\": 1}", Address::default(), 0).is_err());
    }
}
