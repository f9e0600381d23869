//! Whether what is there has a price, and whether somebody could rent it.

use anyhow::{Context, anyhow, bail, ensure};
use manifests::decision::Decision;
use manifests::order::Address;

use super::report::Report;
use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::Inventory;
use crate::operator::asked;
use crate::operator::price::at_any_price;
use crate::pricing::Pricing;

/// What almost every provider can serve: one small web server.
const SAMPLE: &str = "
version: '2.0'
services:
  web:
    image: nginx:1
    expose: [{port: 80, as: 80, to: [{global: true}]}]
profiles:
  compute:
    web: {resources: {cpu: {units: 0.5}, memory: {size: 512Mi}, storage: {size: 1Gi}}}
  placement:
    here: {pricing: {web: {denom: uact, amount: 1000000}}}
deployment:
  web: {here: {profile: web, count: 1}}
";

pub(super) async fn check(config: &Config, inventory: &Inventory, clock: &Clock, report: &mut Report) {
    gpus(config, inventory, clock, report);
    volumes(config, inventory, report);
    report.tell("addresses", addresses(config));
    report.tell("sample order", sample(config, inventory, clock).await);
}

/// A line for what is sold, and one for each thing that is not.
fn gpus(config: &Config, inventory: &Inventory, clock: &Clock, report: &mut Report) {
    let offers = match inventory.offers(clock.now()) {
        Ok(offers) => offers,
        Err(blind) => return report.tell("GPUs", Err(blind.into())),
    };
    let currency = config.pricing.tariff.currency().unwrap_or("USD");
    let mut told = Vec::new();
    for (node, pool) in
        offers.pools.iter().flat_map(|(node, pools)| pools.iter().map(move |pool| (node, pool)))
    {
        match config.pricing.tariff.gpu_price(&pool.gpu) {
            Some(price) => told.push(format!("{} on {node} at {price} {currency} a month", pool.gpu)),
            None => report.tell(
                "GPUs",
                Err(anyhow!(
                    "{} on node {node} has no price, so it is never sold: add a line for it under pricing.gpu",
                    pool.gpu
                )),
            ),
        }
    }
    for finding in offers.findings {
        report.warn("GPUs", finding);
    }
    report.tell("GPUs", Ok(if told.is_empty() { "none is sold".to_owned() } else { told.join(", ") }));
}

/// As [`gpus`].
fn volumes(config: &Config, inventory: &Inventory, report: &mut Report) {
    let classes = match inventory.storage_classes() {
        Ok(classes) => classes,
        Err(blind) => return report.tell("volumes", Err(blind.into())),
    };
    for finding in classes.findings {
        report.tell("volumes", Err(anyhow!(finding)));
    }
    let mut told = Vec::new();
    for (word, class) in &classes.offered {
        if config.pricing.tariff.sells_storage(word) {
            let grows = if class.expandable { "can grow" } else { "cannot grow" };
            told.push(format!("{word} from StorageClass {}, which {grows}", class.name));
        } else {
            let why = format!(
                "volumes of class {word} have no price, so they are never sold: add {word} under pricing.storageGiB"
            );
            report.tell("volumes", Err(anyhow!(why)));
        }
    }
    if !classes.ignored.is_empty() {
        let ignored = classes.ignored.into_iter().collect::<Vec<_>>().join(", ");
        report.warn("volumes", format!("not named in cluster.storageClasses, and so not sold: {ignored}"));
    }
    report.tell("volumes", Ok(if told.is_empty() { "none are sold".to_owned() } else { told.join(", ") }));
}

fn addresses(config: &Config) -> anyhow::Result<String> {
    let Some(pool) = &config.cluster.address_pool else { return Ok("none are leased".to_owned()) };
    ensure!(
        config.pricing.tariff.leases_addresses(),
        "leased addresses have no price, so none is ever leased: add ip under pricing"
    );
    Ok(format!("{} are leased", pool.addresses))
}

/// What would be decided on an order that asks for little.
async fn sample(config: &Config, inventory: &Inventory, clock: &Clock) -> anyhow::Result<String> {
    let now = clock.now();
    let groups = asked::parse(SAMPLE.as_bytes(), Address([1; 20]), now)?;
    let pricing = Pricing::look(config).await?;
    let decided = at_any_price(&pricing, &inventory.capacity(&[], now), groups, now).await;
    let decided = decided.into_iter().next().context("the sample has one group")?;
    match decided.decision {
        Decision::Bid { rate, .. } => Ok(format!(
            "half a core, 512 MiB and a web address would be bid on at {} a month of 730 hours",
            rate.monthly_up()
        )),
        Decision::Decline { reason } => bail!(
            "half a core, 512 MiB and a web address would be declined: {reason} ({}); `berth-provider inventory` and \
             `berth-provider price` say more",
            reason.code()
        ),
    }
}
