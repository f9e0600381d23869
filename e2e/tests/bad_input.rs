//! What people get wrong: each ends with one sentence that names the place and what to do, and a code that is not zero.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use e2e::kubectl;
use e2e::story::provider::Provider;
use e2e::story::tenant::Tenant;
use e2e::story::world::World;
use serde_yaml::Value;

/// What is wrong, what is changed of settings that are right, and the words that the sentence must hold.
struct Mistake<'a> {
    what: &'a str,
    change: Change<'a>,
    words: &'a [&'a str],
}

enum Change<'a> {
    /// A variable of the environment, which overrides the file.
    Variable(&'a str, String),
    /// Another file.
    File(&'a Path),
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The sentence with which a program ended that should not have ended well.
fn sentence(what: &str, output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{what}: it ended well");
    ensure!(output.status.code().is_some(), "{what}: it was killed: {said}");
    let last = said.lines().last().with_context(|| format!("{what}: it said nothing"))?;
    for debris in ["panicked", "RUST_BACKTRACE", "stack backtrace", "Error {", "Some("] {
        ensure!(!said.contains(debris), "{what}: {debris} is for us, not for people: {said}");
    }
    Ok(last.to_owned())
}

async fn refused(provider: &Provider, database: &Path, mistake: &Mistake<'_>) -> Result<()> {
    let what = mistake.what;
    let mut command = match &mistake.change {
        Change::Variable(name, value) => {
            let mut command = provider.command(&["run"])?;
            command.env(name, value);
            command
        }
        Change::File(config) => {
            let mut command = provider.command(&["run"])?;
            command.arg("--config").arg(config);
            command
        }
    };
    if !matches!(mistake.change, Change::Variable("BERTH_DATABASE", _)) {
        command.env("BERTH_DATABASE", format!("sqlite://{}", database.display()));
    }
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), command.kill_on_drop(true).output());
    let output = ended.await.with_context(|| format!("{what}: the daemon went on"))??;
    let sentence = sentence(what, &output)?;
    eprintln!("{what}: {sentence}");
    for word in mistake.words {
        ensure!(sentence.contains(word), "{what}: {word:?} is not in {sentence:?}");
    }
    Ok(())
}

/// A kubeconfig for this cluster with other credentials.
fn kubeconfig_of(world: &World, user: &Value, name: &str) -> Result<PathBuf> {
    let mut config: Value = serde_yaml::from_str(&fs::read_to_string(&world.access.kubeconfig)?)?;
    config["users"][0]["user"] = user.clone();
    let path = world.folder.join(format!("{name}.kubeconfig"));
    fs::write(&path, serde_yaml::to_string(&config)?)?;
    Ok(path)
}

async fn nobody_in_particular() -> Result<Value> {
    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: nobody, namespace: default}}";
    kubectl::apply(account).await?;
    let token = kubectl::run(&["create", "token", "nobody"]).await?;
    Ok(serde_yaml::from_str(&format!("token: {}", token.trim()))?)
}

async fn every_mistake_of_an_operator(world: &World, provider: &Provider) -> Result<()> {
    let settings = fs::read_to_string(provider.config())?;
    let misspelt = world.folder.join("misspelt.yaml");
    fs::write(&misspelt, format!("{settings}\nescorw: {{withdrawEvery: 5s}}\n"))?;
    let missing = world.folder.join("missing.yaml");
    let broken = world.folder.join("broken.yaml");
    fs::write(&broken, format!("{settings}\nbids: [\n"))?;

    let other = &world.accounts.tenants[0];
    let taken = TcpListener::bind((world.access.gateway.ip(), 0))?;
    let taken = taken.local_addr()?.to_string();
    let taken_words = [taken.as_str(), "gateway"];
    let unknown = kubeconfig_of(world, &serde_yaml::from_str("token: nobody-knows-this")?, "unknown")?;
    let powerless = kubeconfig_of(world, &nobody_in_particular().await?, "powerless")?;
    let database = world.folder.join("notes.txt");
    fs::write(&database, "this is a letter to a friend, and by no means a database of anything at all")?;

    let variable =
        |what, name, value: String, words| Mistake { what, change: Change::Variable(name, value), words };
    let file = |what, path, words| Mistake { what, change: Change::File(path), words };
    let mistakes = [
        file("no configuration", &missing, &["missing.yaml"]),
        file("YAML that ends early", &broken, &["broken.yaml"]),
        file("an unknown key", &misspelt, &["misspelt.yaml", "escorw"]),
        variable(
            "a duration without a unit",
            "BERTH_ESCROW_WITHDRAW_EVERY",
            "5".into(),
            &["BERTH_ESCROW_WITHDRAW_EVERY"],
        ),
        variable("no key file", "BERTH_WALLET_KEYSTORE", text(&missing), &["missing.yaml"]),
        variable("a key file that is none", "BERTH_WALLET_KEYSTORE", text(&broken), &["broken.yaml"]),
        variable(
            "another key's password",
            "BERTH_WALLET_PASSWORD_FILE",
            text(&other.password_file),
            &["operator.json"],
        ),
        variable("nobody at the RPC", "BERTH_CHAIN_RPC", "http://127.0.0.1:9".into(), &["127.0.0.1:9"]),
        variable(
            "a chain beside the one of the addresses file",
            "BERTH_CHAIN_CHAIN_ID",
            "1".into(),
            &["chain.chainId", "chain.addresses", "leave one"],
        ),
        variable(
            "a market beside the one of the addresses file",
            "BERTH_CHAIN_MARKET",
            format!("0x{:040x}", 0xbeef),
            &["chain.market", "chain.addresses", "leave one"],
        ),
        variable(
            "another provider",
            "BERTH_PROVIDER",
            other.address.to_string(),
            &["correct provider in the configuration", "as operator"],
        ),
        variable(
            "a file that is no database",
            "BERTH_DATABASE",
            format!("sqlite://{}", database.display()),
            &["notes.txt"],
        ),
        variable("a port in use", "BERTH_GATEWAY_LISTEN", taken.clone(), &taken_words),
        variable(
            "no kubeconfig",
            "BERTH_CLUSTER_KUBECONFIG",
            text(&missing),
            &["missing.yaml", "cluster.kubeconfig"],
        ),
        variable(
            "a cluster that does not know us",
            "BERTH_CLUSTER_KUBECONFIG",
            text(&unknown),
            &["does not let us in", "kubeconfig"],
        ),
        variable(
            "a cluster that lets us do nothing",
            "BERTH_CLUSTER_KUBECONFIG",
            text(&powerless),
            &["may not", "list nodes", "role"],
        ),
        variable(
            "a misspelt place to die",
            "BERTH_FAIL_POINT",
            "bid_singed".into(),
            &["bid_singed", "bid_signed"],
        ),
    ];
    let mut faults = Vec::new();
    for (number, mistake) in mistakes.iter().enumerate() {
        let database = world.folder.join(format!("mistake-{number}.db"));
        faults.extend(refused(provider, &database, mistake).await.err().map(|fault| format!("{fault:#}")));
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

async fn every_mistake_of_a_tenant(world: &World, tenant: &Tenant) -> Result<()> {
    let document = world.folder.join("app.yaml");
    let path = document.to_str().context("a path is text")?;
    for (what, text, words) in [
        ("YAML that ends early", "version: \"2.0\"\nservices: [", &["app.yaml"][..]),
        ("an unknown key", "version: \"2.0\"\nservcies: {}\n", &["app.yaml", "servcies"]),
        ("no document", "", &["app.yaml"]),
    ] {
        fs::write(&document, text)?;
        let said = tenant.berth(&["up", path, "--yes"]).await?;
        eprintln!("{what}: {}", said.telling.trim_end());
        ensure!(said.code > 0 && !said.telling.contains("panicked"), "{what}: it ended with {}", said.code);
        for word in words {
            ensure!(said.telling.contains(word), "{what}: {word:?} is not in {:?}", said.telling);
        }
    }
    for arguments in [&["status", "nothing"][..], &["down", "nothing"], &["up", "/nowhere.yaml", "--yes"]] {
        let said = tenant.berth(arguments).await?;
        eprintln!("berth {}: {}", arguments.join(" "), said.telling.trim_end());
        ensure!(said.code > 0 && said.telling.lines().count() == 1, "berth {arguments:?}: {said:?}");
        ensure!(said.telling.contains(arguments[1]), "{:?} does not name {}", said.telling, arguments[1]);
    }
    let spent = world.chain.token_balance(tenant.account.address, market::At::Latest).await?;
    ensure!(spent == e2e::deployment::TENANTS_MONEY, "a mistake cost the tenant money: {spent} is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test bad_input"]
async fn every_mistake_is_answered_by_one_sentence_with_the_place_and_the_remedy() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let world = World::open("bad-input").await.unwrap();
    let provider = world.provider().await.unwrap();
    every_mistake_of_an_operator(&world, &provider).await.unwrap();
    let tenant = world.tenant(1).await.unwrap();
    every_mistake_of_a_tenant(&world, &tenant).await.unwrap();
}
