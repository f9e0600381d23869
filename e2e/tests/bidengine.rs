//! Orders on a real chain against a real cluster: each is answered with a reason that an operator and a tenant can act on.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::story::direct::{Direct, Wanted};
use e2e::story::provider::Provider;
use e2e::story::tenant::NO_BIDS;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{deployment, workspace};
use manifests::group::spec_hash;
use manifests::money::{Amount, Rate};
use manifests::order::{Hash, OrderId};
use market::At;
use market::api::Answer;
use market::call::Call;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A document of ours with pieces of its text replaced.
fn document(of: &str, replaced: &[(&str, &str)]) -> Result<String> {
    let mut text = fs::read_to_string(workspace::root().join("e2e/documents").join(of))?;
    for (from, to) in replaced {
        ensure!(text.contains(from), "{of} holds no {from:?}");
        text = text.replace(from, to);
    }
    Ok(text)
}

/// A provider with its node's agent, once it sells the node's GPUs.
async fn opened(world: &World) -> Result<(Provider, [e2e::process::Process; 2])> {
    let provider = world.provider().await?;
    let agent = provider.agent()?;
    let daemon = provider.run().await?;
    until("the provider to sell the node's GPUs", PATIENCE, async || {
        let inventory: Value = json(&provider, &["inventory", "--output", "json"]).await?;
        let nodes = inventory["nodes"].as_object().context("there are no nodes")?;
        let free: u64 = nodes
            .values()
            .filter_map(|node| node["gpus"].as_object())
            .flat_map(|gpus| gpus.values().filter_map(Value::as_u64))
            .sum();
        ensure!(free == 4, "{free} are free");
        Ok(())
    })
    .await?;
    Ok((provider, [agent, daemon]))
}

/// What a verb of the operator's wrote, and whether it ended well.
async fn said(provider: &Provider, arguments: &[&str]) -> Result<(bool, String)> {
    let output = provider.command(arguments)?.output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(errors.is_empty() || !text.is_empty(), "{arguments:?}: {errors}");
    Ok((output.status.success(), text))
}

async fn json(provider: &Provider, arguments: &[&str]) -> Result<Value> {
    let (_, text) = said(provider, arguments).await?;
    serde_json::from_str(&text).with_context(|| format!("{arguments:?} wrote no JSON: {text}"))
}

async fn decided(tenant: &Direct, order: OrderId) -> Result<Answer> {
    until("the provider's decision", PATIENCE, async || {
        let answer = tenant.gateway.decision(&tenant.wallet, order).await?.answer;
        ensure!(answer != Answer::Undecided, "it has not decided");
        Ok(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test bidengine"]
async fn every_answer_can_be_explained_and_replayed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    explained().await.unwrap();
}

async fn explained() -> Result<()> {
    let world = World::open("explained").await?;
    let (provider, _running) = opened(&world).await?;
    let tenant = Direct::of(&world, &world.accounts.tenants[0]).await?;
    let one_gpu = document("gpu.yaml", &[])?;
    let wanted = Wanted::of(&one_gpu)?;
    let account = tenant.deploy(1, wanted.manifest.digest(), Amount(60_000_000)).await?;

    // Won.
    let won = account.order(1, 1);
    tenant.order(won, &wanted).await?;
    let bid = tenant.bid(won).await?;
    tenant.accept(won, &bid).await?;

    // Lost to a rival that asks the least there is.
    let lost = account.order(2, 1);
    tenant.order(lost, &wanted).await?;
    tenant.bid(lost).await?;
    undercut(&world, &tenant, lost, &wanted).await?;

    // Declined, each for another reason.
    let declines = [
        ("resources_gpu_model", document("gpu.yaml", &[("model: h100", "model: a100")])?),
        (
            "resources_gpu_count",
            document("gpu.yaml", &[("units: 1\n", "units: 8\n"), ("amount: 10000", "amount: 90000")])?,
        ),
        ("resources_cpu", document("gpu.yaml", &[("units: 500m", "units: 300")])?),
        ("price_above_max", document("gpu.yaml", &[("amount: 10000", "amount: 100")])?),
        ("resources_storage", document("gpu.yaml", &[("size: 1Gi", "size: 30Ti")])?),
    ];
    let mut orders = BTreeMap::new();
    for (gseq, (code, text)) in (3..).zip(&declines) {
        let order = account.order(gseq, 1);
        tenant.order(order, &Wanted::of(text)?).await?;
        let Answer::Declined { code: told, why } = decided(&tenant, order).await? else {
            anyhow::bail!("{code}: it bid")
        };
        ensure!(told == *code, "{code}: declined for {told}: {why}");
        orders.insert(*code, order);
    }

    let explain = async |order: OrderId, words: &[&str]| -> Result<()> {
        until("explain to say how the order ended", PATIENCE, async || {
            let text = provider.explain(order).await?;
            for word in words.iter().chain(&["gives the same", "milli-cpu"]) {
                ensure!(text.contains(word), "explain does not say {word:?}:\n{text}");
            }
            Ok(())
        })
        .await
    };
    explain(won, &["bid $", "gpu nvidia/h100/80Gi/sxm", "taken by the lease"]).await?;
    explain(lost, &["bid $", "released: another provider won the order"]).await?;
    for (code, order) in &orders {
        explain(*order, &["declined", code]).await?;
    }

    let listed = said(&provider, &["orders", "--output", "json"]).await?.1;
    let listed: Vec<Value> = listed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let outcome = |order: OrderId| {
        let line = listed.iter().find(|line| line["order"] == order.to_string());
        line.and_then(|line| line["outcome"].as_str()).unwrap_or("is not listed")
    };
    ensure!(outcome(won).starts_with("won") && outcome(lost).starts_with("lost"), "{listed:?}");
    ensure!(listed.len() == 7, "{listed:?}");
    Ok(())
}

/// Another provider bids the least that there is, and the tenant takes it.
async fn undercut(world: &World, tenant: &Direct, order: OrderId, wanted: &Wanted) -> Result<()> {
    let account = world.accounts.tenants.last().context("the bench has tenants")?;
    let (rival, stake) = (account.address, Amount(1_000_000_000));
    let sender = deployment::sender(world.chain.clone(), account.wallet()?);
    let register = Call::Register {
        operator: rival,
        payout: rival,
        uri: "https://rival.example.test:8443".to_owned(),
        spki_hash: Hash([7; 32]),
        stake,
    };
    let bid = Call::PlaceBid {
        order,
        provider: rival,
        spec_hash: spec_hash(&wanted.spec.to_bytes()?),
        rate: Rate::new(1)?,
        expires_at: world.chain.head().await?.timestamp + 600,
        reclaim: 0,
        min_bill: 0,
    };
    for (what, call) in [
        ("let the registry take the rival's stake", &Call::ApproveRegistry { amount: stake }),
        ("register the rival", &register),
        ("bid for little", &bid),
    ] {
        deployment::send(&sender, what, call).await?;
    }
    let placed = world.chain.bid(order, rival, At::Latest).await?.context("the rival has no bid")?;
    let accept = Call::AcceptBid { order, provider: rival, terms_hash: placed.terms_hash() };
    tenant.call(&accept).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test bidengine"]
async fn tenants_and_operators_learn_the_same_answer_before_anything_is_ordered() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    asked_before().await.unwrap();
}

async fn asked_before() -> Result<()> {
    let world = World::open("asked-before").await?;
    let (provider, _running) = opened(&world).await?;
    let tenant = world.tenant(0).await?;
    let path = |name: &str, text: &str| -> Result<String> {
        let path = world.folder.join(name);
        fs::write(&path, text)?;
        path.to_str().map(str::to_owned).context("a path of ours is text")
    };
    let fits = path("fits.yaml", &document("gpu.yaml", &[])?)?;
    let too_large = [("units: 1\n", "units: 8\n"), ("amount: 10000", "amount: 90000")];
    let too_large = path("too-large.yaml", &document("gpu.yaml", &too_large)?)?;

    // The tenant asks every provider, and believes the signature.
    let told = tenant.berth(&["check", &fits, "--output", "json"]).await?.well()?;
    let told: Value = serde_json::from_str(&told)?;
    let quote = &told["placements"][0]["answers"][0]["quote"];
    ensure!(quote["answer"] == "bid" && quote["gpus"][0] == "1 × h100-80Gi-sxm", "{told}");
    let refused = tenant.berth(&["check", &too_large]).await?;
    ensure!(refused.code == NO_BIDS && refused.result.contains("resources_gpu_count"), "{refused:?}");

    // The operator asks by the same words: of the cluster, and of files alone.
    let priced = json(&provider, &["price", &fits, "--output", "json"]).await?;
    ensure!(priced[0]["rate"] == quote["rate"], "{priced} is not what the tenant was told: {quote}");
    let inventory = path("inventory.json", &said(&provider, &["inventory", "--output", "json"]).await?.1)?;
    let config = provider.config().to_str().context("a path of ours is text")?;
    let offline = |order| {
        ["decide", "--inventory", &inventory, "--tariff", config, "--order", order, "--output", "json"]
    };
    let decided = json(&provider, &offline(&fits)).await?;
    ensure!(decided[0]["rate"] == quote["rate"] && decided[0]["decision"] == "bid", "{decided}");
    let decided = json(&provider, &offline(&too_large)).await?;
    ensure!(decided[0]["reason"]["reason"] == "resources_gpu_count", "{decided}");

    // What was told is what is bid.
    tenant.up(std::path::Path::new(&fits), "app", &["--deposit", "50"]).await?.well()?;
    let lease = tenant.lease("app").await?;
    let record = world.chain.lease(lease, At::Latest).await?.context("there is no lease")?;
    ensure!(
        serde_json::to_value(record.rate)? == quote["rate"],
        "the lease pays {}, told was {quote}",
        record.rate
    );
    until("a card to be shown with its lease", PATIENCE, async || {
        let cards = json(&provider, &["gpus", "--output", "json"]).await?;
        let cards = cards.as_array().context("it is no list")?;
        let held = cards.iter().filter(|card| card["lease"].is_string()).count();
        ensure!(cards.len() == 4 && held == 1, "{held} of {} are held", cards.len());
        Ok(())
    })
    .await?;
    let why = said(&provider, &["inventory", "--why", e2e::addresses::NODE_NAME]).await?.1;
    ensure!(why.contains("it has") && why.contains("lease ") && why.contains("left"), "{why}");

    // Maintenance keeps new orders away, and says so to whoever asks.
    said(&provider, &["maintenance", "on", "--note", "new switches"]).await?;
    until("the provider to be in maintenance", PATIENCE, async || {
        let refused = tenant.berth(&["check", &fits]).await?;
        ensure!(refused.code == NO_BIDS && refused.result.contains("maintenance"), "{refused:?}");
        Ok(())
    })
    .await?;
    said(&provider, &["maintenance", "off"]).await?;
    until("the provider to take orders again", PATIENCE, async || {
        tenant.berth(&["check", &fits]).await?.well().map(drop)
    })
    .await?;
    tenant.berth(&["down", "app"]).await?.well()?;
    Ok(())
}
