//! The daemon reads the configuration that the chart makes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use provider::config::Config;
use serde_json::Value;

use crate::helm;

/// What the secrets hold that the chart names.
fn secret(name: &str) -> Option<String> {
    Some(match name {
        "BERTH_PROVIDER" => "0x00000000000000000000000000000000000000aa".to_owned(),
        "BERTH_CHAIN_RPC" => "https://user:password@chain.example".to_owned(),
        "BERTH_DATABASE" => "postgres://user:password@database:5432/berth".to_owned(),
        _ => return None,
    })
}

/// The configuration that these values make, with the variables of the daemon's container.
fn configuration(values: &Path) -> Result<Config> {
    let objects = helm::rendered(values)?;
    let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
    let config = of("ConfigMap").context("no ConfigMap")?;
    let text = config.pointer("/data/provider.yaml").and_then(Value::as_str).context("no configuration")?;
    let daemon = of("Deployment").context("no Deployment")?;
    let container = &daemon["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().context("no variables")?;
    let told: Vec<&Value> = variables.iter().filter(|variable| variable["name"] != "BERTH_LOG").collect();
    let config = Config::parse(text, |name| {
        let variable = told.iter().find(|variable| variable["name"] == name)?;
        match variable["value"].as_str() {
            Some(value) => Some(value.to_owned()),
            None => secret(name),
        }
    })?;
    ensure!(!format!("{config:?}").contains("password@"), "credentials are shown");
    Ok(config)
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn the_daemon_reads_what_the_chart_makes_of_every_file_of_values() {
    for values in helm::values().unwrap() {
        let config = configuration(&values).unwrap_or_else(|error| panic!("{}: {error:#}", values.display()));
        assert_eq!(config.cluster.namespace, helm::RELEASE.0, "{}", values.display());
        let role = config.cluster.lease_role.expect("there is one");
        assert_eq!(
            (role.name.as_str(), role.service_account.as_str()),
            ("berth-provider.berth-system.leases", "berth-provider")
        );
    }
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn what_is_not_said_is_the_daemons_own_default() {
    let values = helm::values().unwrap();
    let five = values.iter().find(|path| path.ends_with("five-values.yaml")).unwrap();
    let config = configuration(five).unwrap();
    let bare = "
provider: '0x00000000000000000000000000000000000000aa'
database: sqlite:///var/lib/berth/provider.db
dataKeyFile: /var/lib/berth/data.key
chain: {rpc: 'http://chain.example:8545', chainId: 31337, market: '0x00000000000000000000000000000000000000bb'}
wallet: {keystore: /run/secrets/berth/wallet/operator.json, passwordFile: /run/secrets/berth/wallet/operator.password}
cluster: {namespace: berth-system, serviceAccount: berth-provider, leaseRole: berth-provider.berth-system.leases}
ingress: {domain: apps.provider.example, gateway: {name: tenants, namespace: berth-system}}
gateway: {listen: '[::]:8443', publicUri: 'https://provider.apps.provider.example:8443', tlsDir: /var/lib/berth/tls}
metrics: {listen: '[::]:9090'}
pricing: {cpuThread: '1.60', memoryGiB: '0.80', ephemeralGiB: '0.02', endpoint: '0.05'}
";
    assert_eq!(config, Config::parse(bare, |_| None).unwrap());
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn the_daemon_is_started_anew_for_other_settings_and_not_for_another_tariff() {
    let values = helm::values().unwrap();
    let five = values.iter().find(|path| path.ends_with("five-values.yaml")).unwrap();
    let daemon = |change: &str| {
        let output = helm::template(&["--values", &five.to_string_lossy(), "--set-string", change]).unwrap();
        let objects = helm::objects(&output.stdout).unwrap();
        let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap().clone();
        (of("ConfigMap")["data"].clone(), of("Deployment"))
    };
    let (before, template) = daemon("pricing.cpuThread=1.60");
    let (after, same) = daemon("pricing.cpuThread=1.70");
    assert_ne!(before, after);
    assert_eq!(template, same);
    assert_eq!(daemon("policy.attributes.region=eu").1, template);
    assert_ne!(daemon("chain.staleAfter=90s").1, template);
}
