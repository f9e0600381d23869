//! A tenant's secrets reach the container and nothing else: no log, error, metric, answer or file tells them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::addresses::NODE;
use e2e::story::provider::Provider;
use e2e::story::tenant::{Said, Tenant};
use e2e::story::world::World;
use e2e::{kubectl, visitor, workspace};
use manifests::order::LeaseId;
use market::At;
use market::client::GatewayClient;

const PATIENCE: Duration = Duration::from_secs(60);
const HOST: &str = "canary.example.test";
const ACCOUNT: &str = "canary-keeper";
const REFERRED: &str = "canary-token";

/// What nobody but the container and its registry may learn.
struct Secrets {
    environment: String,
    password: String,
    /// What the document only names.
    referred: String,
}

impl Secrets {
    fn planted() -> Self {
        let word = || hex::encode(rand::random::<[u8; 12]>());
        Self {
            environment: format!("env{}", word()),
            password: format!("pass{}", word()),
            referred: format!("ref{}", word()),
        }
    }

    /// Every spelling in which one of them could be met.
    fn spellings(&self) -> Vec<String> {
        let login = format!("{ACCOUNT}:{}", self.password);
        let plain = [&self.environment, &self.password, &self.referred, &login];
        let encoded = plain.map(|text| STANDARD.encode(text));
        let hexadecimal = plain.map(hex::encode);
        plain.into_iter().cloned().chain(encoded).chain(hexadecimal).collect()
    }

    /// The demo's document with these in it.
    fn document(&self) -> Result<String> {
        let demo = workspace::root().join("e2e/documents/web.yaml");
        let text = fs::read_to_string(&demo).with_context(|| format!("failed to read {}", demo.display()))?;
        let (greeting, image) =
            ("Hello from a datacenter with room to spare", "    image: berthdemo/hello:1.0\n");
        ensure!(text.contains(greeting) && text.contains(image), "the demo's document reads differently");
        let password = &self.password;
        let login = format!(
            "{image}    credentials: {{host: docker.io, username: {ACCOUNT}, password: {password}}}\n    \
             x-berth: {{secretRef: {{TOKEN: {REFERRED}}}}}\n"
        );
        Ok(text
            .replace(greeting, &self.environment)
            .replace(image, &login)
            .replace("hello.example.test", HOST))
    }
}

/// What was heard from everybody, each with where.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn note(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    fn said(&mut self, place: &str, said: &Said) {
        self.note(place, format!("{}{}", said.telling, said.result));
    }

    /// Where one of these words was heard.
    fn places_of(&self, words: &[String]) -> Vec<String> {
        let guilty = self.0.iter().filter(|(_, text)| words.iter().any(|word| text.contains(word)));
        guilty.map(|(place, _)| place.clone()).collect()
    }
}

/// The files of a folder and of those in it whose bytes hold one of these words.
fn files_with(folder: &Path, words: &[String]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries {
        let path = entry.context("failed to list a folder")?.path();
        if path.is_dir() {
            found.extend(files_with(&path, words)?);
        } else if path.is_file() {
            let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            let holds = |word: &String| bytes.windows(word.len()).any(|window| window == word.as_bytes());
            found.extend(words.iter().any(holds).then_some(path));
        }
    }
    Ok(found)
}

/// The container and its registry do have the secrets.
async fn arrived(secrets: &Secrets) -> Result<()> {
    let page = visitor::page(NODE, HOST, "/", PATIENCE).await?;
    ensure!(page.contains(&secrets.environment), "the container has not been given its environment:\n{page}");
    let selector = ["--selector", "berth.dev/lease", "--output"];
    let mut question = vec!["get", "secrets", "--all-namespaces"];
    question.extend(selector);
    question.push(r"jsonpath={.items[*].data.\.dockerconfigjson}");
    let logins = kubectl::run(&question).await?;
    let logins = STANDARD.decode(logins.trim()).context("the cluster has no login, or several")?;
    let logins = String::from_utf8_lossy(&logins);
    ensure!(logins.contains(&secrets.password), "the cluster has another login");
    let field = format!("jsonpath={{.items[*].data.{REFERRED}}}");
    *question.last_mut().context("a question ends with what it asks for")? = &field;
    let referred = STANDARD.decode(kubectl::run(&question).await?.trim())?;
    ensure!(referred == secrets.referred.as_bytes(), "the container has been given another secret");
    Ok(())
}

/// Sends manifests that the gateway must refuse: one that was not ordered, and one that breaks off behind the secrets.
async fn refused(world: &World, tenant: &Tenant, lease: LeaseId, secrets: &Secrets) -> Result<Vec<String>> {
    let registered = world.chain.lease(lease, At::Latest).await?.context("no such lease")?.provider;
    let provider = world.chain.provider(registered, At::Latest).await?.context("no such provider")?;
    let domain = world.chain.gateway_domain();
    let uri = world.chain.gateway_uri(&provider).await?.context("it said nowhere where its gateway is")?;
    let gateway = GatewayClient::of(&provider, &uri, domain)?;
    let other = secrets.document()?.replace("LOG_LEVEL=info", "LOG_LEVEL=debug");
    let other = manifests::parse(other).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let other = other.manifest.canonical_json();
    let broken = other.get(..other.len() - 3).context("a manifest is longer")?.to_vec();
    let mistyped = String::from_utf8(other.clone())?.replace("\"count\":1", "\"count\":\"one\"").into_bytes();
    let wallet = tenant.account.wallet()?;
    let mut words = Vec::new();
    for manifest in [other, broken, mistyped] {
        let answer = gateway.send_manifest(&wallet, lease, &manifest).await;
        let error = answer.err().context("the gateway took a manifest that nobody ordered")?;
        words.push(format!("{error:?} {:#}", anyhow::Error::from(error.clone())));
    }
    Ok(words)
}

/// All that a tenant can ask and get wrong, and all that an operator can look at, written down.
async fn asked(
    world: &World,
    provider: &Provider,
    tenant: &Tenant,
    secrets: &Secrets,
    documents: &Path,
) -> Result<Heard> {
    let mut heard = Heard::default();
    let document = documents.join("canary.yaml");
    fs::write(&document, secrets.document()?).context("failed to write the document")?;
    let value = documents.join("value");
    fs::write(&value, &secrets.referred).context("failed to write the secret's value")?;
    let said = tenant.up(&document, "canary", &["--deposit", "5"]).await?;
    ensure!(said.code != 0, "berth went on without a secret that the document names");
    heard.said("berth up without the secret", &said);
    let secret = format!("{REFERRED}={}", value.display());
    let said = tenant.up(&document, "canary", &["--deposit", "5", "--secret", &secret]).await?;
    heard.said("berth up", &said);
    said.well()?;
    arrived(secrets).await?;
    let lease = tenant.lease("canary").await?;

    let changed = documents.join("changed.yaml");
    fs::write(&changed, secrets.document()?.replace("LOG_LEVEL=info", "LOG_LEVEL=debug"))?;
    let mistaken = documents.join("mistaken.yaml");
    fs::write(&mistaken, secrets.document()?.replace("host: docker.io", "host: ''"))?;
    let torn = documents.join("torn.yaml");
    fs::write(&torn, secrets.document()?.replace("username:", "username: ["))?;
    for (path, why) in [(&changed, "another document"), (&mistaken, "a mistake"), (&torn, "no YAML")] {
        let said = tenant.up(path, "canary", &["--deposit", "5"]).await?;
        ensure!(said.code != 0, "berth took {why}");
        heard.said(&format!("berth up with {why}"), &said);
    }
    for (number, words) in refused(world, tenant, lease, secrets).await?.into_iter().enumerate() {
        heard.note(format!("the gateway's refusal {number}"), words);
    }
    let questions: [&[&str]; 6] = [
        &["status", "canary"],
        &["status", "canary", "--output", "json"],
        &["logs", "canary"],
        &["ls"],
        &["balance"],
        &["price", document.to_str().context("the path is no text")?],
    ];
    for question in questions {
        heard.said(&format!("berth {}", question.join(" ")), &tenant.berth(question).await?);
    }
    heard.note("metrics", provider.metrics().await?);
    heard.note("berth-provider explain", provider.explain(lease).await?);
    let said = tenant.berth(&["down", "canary"]).await?;
    heard.said("berth down", &said);
    said.well()?;
    Ok(heard)
}

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test canary"]
async fn a_tenants_secrets_reach_the_container_and_nothing_else() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let world = World::open("canary").await.unwrap();
    let (provider, tenant) = tokio::try_join!(world.provider(), world.tenant(0)).unwrap();
    let mut agent = provider.agent().unwrap();
    let talkative = [("BERTH_LOG", "info,provider=trace,market=trace,manifests=trace")];
    let mut daemon = provider.run_with(&talkative).await.unwrap();
    let secrets = Secrets::planted();
    let documents = tempfile::tempdir().unwrap();

    let heard = asked(&world, &provider, &tenant, &secrets, documents.path()).await.unwrap();
    let spellings = secrets.spellings();
    assert_eq!(heard.places_of(&spellings), Vec::<String>::new());
    assert_eq!(files_with(&world.folder, &spellings).unwrap(), Vec::<PathBuf>::new());
    // The search does find what is there.
    assert!(!heard.places_of(&["canary".to_owned()]).is_empty());
    for (name, word) in [
        ("provider.yaml", "passwordFile".to_owned()),
        ("provider.db", "SQLite format".to_owned()),
        ("provider.log", "provider::".to_owned()),
    ] {
        let found = files_with(&world.folder, &[word]).unwrap();
        assert!(found.iter().any(|path| path.ends_with(name)), "{name} was not searched: {found:?}");
    }
    daemon.kill().await.unwrap();
    agent.kill().await.unwrap();
}
