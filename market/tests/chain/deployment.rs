//! A market is put on a chain, found again, taken up where it was left, and checked.

use manifests::order::{Address, Hash};
use market::deploy::{AddressBook, AddressesError, DeployError, Deployment, Plan, Step, deploy, verify};
use market::rpc::Rpc;
use market::wallet::Wallet;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::anvil::{Anvil, CHAIN_ID, wallet};

fn plan() -> Plan {
    Plan {
        delay: 172_800,
        executors: vec![Address::default()],
        guardian: Address([0x99; 20]),
        treasury: Address([0x88; 20]),
        ..Plan::for_tests(Address([0x77; 20]))
    }
}

async fn look(anvil: &Anvil) -> Deployment {
    Deployment::look(anvil.url(), CHAIN_ID, wallet(0).address(), plan()).await.expect("looked")
}

fn left(deployment: &Deployment) -> Vec<&Step> {
    deployment.steps().iter().filter(|step| !step.done).collect()
}

async fn nonce(anvil: &Anvil) -> Value {
    anvil.ask("eth_getTransactionCount", json!([wallet(0).address(), "latest"])).await
}

#[tokio::test]
async fn looking_sends_nothing_and_names_every_address_before() {
    let Some(anvil) = Anvil::start() else { return };
    let deployment = look(&anvil).await;
    assert_eq!(left(&deployment).len(), 6, "{:?}", deployment.steps());
    let places = *deployment.places();
    assert_eq!(nonce(&anvil).await, json!("0x0"));
    let book = deployment.carry_out(&wallet(0), |_| ()).await.expect("deployed");
    for ((name, place), (_, placed)) in places.named().into_iter().zip(book.contracts.named()) {
        assert_eq!(*place, placed.address, "{name}");
    }
    assert_eq!(nonce(&anvil).await, json!("0x6"));
}

#[tokio::test]
async fn a_deployment_that_stands_is_found_and_nothing_is_sent() {
    let Some(anvil) = Anvil::start() else { return };
    let first = deploy(anvil.url(), CHAIN_ID, &wallet(0), plan()).await.expect("deployed");
    let sent = nonce(&anvil).await;
    anvil.mine().await;
    let again = deploy(anvil.url(), CHAIN_ID, &wallet(0), plan()).await.expect("found");
    assert_eq!(again, first, "the same file, the block included");
    assert_eq!(nonce(&anvil).await, sent);
}

#[tokio::test]
async fn a_deployment_that_was_cut_short_lands_on_the_same_addresses() {
    let Some(anvil) = Anvil::start() else { return };
    let whole = look(&anvil).await;
    let places = *whole.places();
    for steps in 1..6 {
        let snapshot = anvil.ask("evm_snapshot", json!([])).await;
        // The deployer's money ends with this step: what is sent after it finds no taker.
        let cut = look(&anvil).await;
        let (mut told, signer) = (0, wallet(0));
        let key = signer.address();
        let url = anvil.url().to_owned();
        let carried = tokio::time::timeout(
            std::time::Duration::from_secs(30),
            cut.carry_out(&signer, |_| {
                told += 1;
                if told > steps {
                    drain(&url, key);
                }
            }),
        );
        let error = carried.await.expect("in time").expect_err("cut short");
        assert!(matches!(error, DeployError::Send { .. }), "{error}");
        anvil.ask("anvil_setBalance", json!([key, "0x56bc75e2d63100000"])).await;
        let rest = look(&anvil).await;
        assert_eq!(left(&rest).len(), 6 - steps, "after {steps} steps");
        assert_eq!(*rest.places(), places);
        let book = rest.carry_out(&wallet(0), |_| ()).await.expect("finished");
        book.connect(anvil.url()).await.expect("a market");
        anvil.ask("evm_revert", json!([snapshot])).await;
    }
}

/// Takes the account's money away, before the next request goes out.
fn drain(url: &str, key: Address) {
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "anvil_setBalance", "params": [key, "0x0"]});
    let url = url.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            reqwest::Client::new().post(url).json(&question).send().await.expect("sent");
        });
    })
    .join()
    .expect("drained");
}

#[tokio::test]
async fn a_market_is_verified_down_to_code_wiring_and_roles() {
    let Some(anvil) = Anvil::start() else { return };
    let book = deploy(anvil.url(), CHAIN_ID, &wallet(0), plan()).await.expect("deployed");
    let rpc = Rpc::new(anvil.url()).expect("a URL");
    let problems = async |book: &AddressBook| -> Vec<(&'static str, String)> {
        let findings = verify(rpc.clone(), book).await.expect("read");
        let wrong = findings.into_iter().filter_map(|found| Some((found.what, found.verdict.err()?)));
        wrong.collect()
    };
    assert_eq!(problems(&book).await, []);

    // A byte of the code is another: of what the factory created, and of what the market did.
    for part in ["auditors", "registry"] {
        let mut believing = book.clone();
        let placed = match part {
            "auditors" => &mut believing.contracts.auditors,
            _ => &mut believing.contracts.registry,
        };
        let code = anvil.ask("eth_getCode", json!([placed.address, "latest"])).await;
        let code = code.as_str().expect("code");
        let tampered =
            format!("{}{}", &code[..code.len() - 2], if code.ends_with("00") { "01" } else { "00" });
        anvil.ask("anvil_setCode", json!([placed.address, tampered])).await;
        let told = problems(&book).await;
        assert_eq!(told.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [part], "{told:?}");
        // Even a file that knows of that code does not make it ours.
        let address = placed.address;
        placed.code_hash = market::call::keccak256(&hex::decode(&tampered[2..]).expect("hex"));
        let told = problems(&believing).await;
        assert!(told[0].1.contains(&format!("not the {part} of this version")), "{told:?}");
        let look = Deployment::look(anvil.url(), CHAIN_ID, wallet(0).address(), plan()).await;
        let error = look.expect_err("other");
        assert!(matches!(error, DeployError::OtherCode { part: found, .. } if found == part), "{error}");
        anvil.ask("anvil_setCode", json!([address, code])).await;
    }
    assert_eq!(problems(&book).await, []);

    // A role that is not of the plan.
    let mut other = book.clone();
    other.plan.proposers = vec![Address([0x66; 20])];
    let told = problems(&other).await;
    assert!(told.iter().any(|(what, _)| *what == "timelock"), "its address follows from the plan: {told:?}");
}

#[tokio::test]
async fn governance_that_changed_its_roles_is_told() {
    let Some(anvil) = Anvil::start() else { return };
    let book = deploy(anvil.url(), CHAIN_ID, &wallet(0), plan()).await.expect("deployed");
    let (lock, stranger) = (book.contracts.timelock.address, Address([0x55; 20]));
    anvil.ask("anvil_impersonateAccount", json!([lock])).await;
    anvil.ask("anvil_setBalance", json!([lock, "0x56bc75e2d63100000"])).await;
    // grantRole(PROPOSER_ROLE, stranger)
    let role = market::call::keccak256(b"PROPOSER_ROLE").to_string();
    let data = format!("0x2f2ff15d{}{:0>64}", &role[2..], &stranger.to_string()[2..]);
    anvil.ask("eth_sendTransaction", json!([{"from": lock, "to": lock, "data": data}])).await;
    anvil.mine().await;
    let findings = verify(Rpc::new(anvil.url()).expect("a URL"), &book).await.expect("read");
    let told = findings.iter().find(|found| found.what == "governance").expect("looked at");
    let problem = told.verdict.as_ref().expect_err("a stranger may propose");
    assert!(problem.contains(&stranger.to_string()) && problem.contains("may propose"), "{problem}");
}

#[tokio::test]
async fn an_addresses_file_of_another_chain_or_of_other_code_is_refused() {
    let (Some(anvil), Some(empty)) = (Anvil::start(), Anvil::start()) else { return };
    let book = deploy(anvil.url(), CHAIN_ID, &wallet(0), plan()).await.expect("deployed");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("addresses.json");
    book.save(&file).expect("saved");
    let read = AddressBook::load(&file).expect("read");
    assert_eq!(read, book);
    assert_eq!(read.connect(anvil.url()).await.expect("connected").contracts(), book.contracts());

    let error = book.connect(empty.url()).await.expect_err("nothing there");
    assert!(matches!(error, AddressesError::OtherCode { part: "token", .. }), "{error}");
    let text = std::fs::read_to_string(&file).expect("read");
    let elsewhere = text.replace("\"chainId\": 31337", "\"chainId\": 1");
    assert_ne!(elsewhere, text);
    std::fs::write(&file, elsewhere).expect("written");
    let error =
        AddressBook::load(&file).expect("read").connect(anvil.url()).await.expect_err("another chain");
    assert!(matches!(error, AddressesError::OtherChain { book: 1, have: CHAIN_ID }), "{error}");
    for (broken, problem) in [
        (text.replace("\"version\": 1", "\"version\": 2"), "its version is 2"),
        (text.replace("\"timelock\"", "\"timeclock\""), "timeclock"),
        (String::new(), "EOF"),
    ] {
        std::fs::write(&file, broken).expect("written");
        let error = AddressBook::load(&file).expect_err("broken").to_string();
        assert!(error.contains(problem), "{error}");
    }
    let mut mixed = book.clone();
    mixed.contracts.registry = mixed.contracts.params;
    let error = mixed.connect(anvil.url()).await.expect_err("mixed");
    assert!(matches!(error, AddressesError::OtherParts { .. }), "{error}");
    let mut older = book.clone();
    older.contracts.lens = older.contracts.params;
    let error = older.connect(anvil.url()).await.expect_err("the lens of another version");
    assert!(matches!(error, AddressesError::OtherLens { lens } if lens == book.contracts().lens), "{error}");
}

#[tokio::test]
async fn a_chain_without_the_factory_is_told_so() {
    let Some(anvil) = Anvil::start() else { return };
    let factory = "0x4e59b44847b379578588920ca78fbf26c0b4956c";
    anvil.ask("anvil_setCode", json!([factory, "0x"])).await;
    let error = Deployment::look(anvil.url(), CHAIN_ID, wallet(0).address(), plan()).await.expect_err("none");
    assert!(matches!(error, DeployError::NoFactory { .. }), "{error}");
    assert!(error.to_string().contains(factory), "{error}");
}

#[tokio::test]
async fn a_token_that_is_not_there_and_a_foreign_key_are_refused_before_anything_is_sent() {
    let Some(anvil) = Anvil::start() else { return };
    let wrong = Plan { token: Some(Address([1; 20])), ..plan() };
    let error =
        Deployment::look(anvil.url(), CHAIN_ID, wallet(0).address(), wrong).await.expect_err("no token");
    assert!(error.to_string().contains("there is no token at"), "{error}");
    let error = look(&anvil).await.carry_out(&wallet(1), |_| ()).await.expect_err("another key");
    assert!(matches!(error, DeployError::Plan(_)), "{error}");
    assert_eq!(nonce(&anvil).await, json!("0x0"));
}

/// The verb as people use it: look, do, do again, check.
#[tokio::test]
async fn berth_market_deploy_says_does_and_checks() {
    let Some(anvil) = Anvil::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (keystore, password) = (folder.path().join("key.json"), folder.path().join("password"));
    std::fs::write(&password, "hush\n").expect("written");
    let key = Wallet::create(&keystore, &password).expect("made").address();
    anvil.ask("anvil_setBalance", json!([key, "0x56bc75e2d63100000"])).await;
    let file = folder.path().join("addresses.json");
    let chain_id = CHAIN_ID.to_string();
    let deploy = [
        "deploy",
        "--rpc",
        anvil.url(),
        "--chain-id",
        &chain_id,
        "--test-token",
        "--delay",
        "0s",
        "--addresses",
        file.to_str().expect("text"),
        "--keystore",
        keystore.to_str().expect("text"),
        "--password-file",
        password.to_str().expect("text"),
        "--proposer",
        &key.to_string(),
        "--treasury",
        &key.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    let berth = async |arguments: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        let output = command.arg("market").args(arguments).env("HOME", folder.path()).output().await;
        let output = output.expect("started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let with =
        |more: &[&str]| [deploy.clone(), more.iter().map(|text| (*text).to_owned()).collect()].concat();

    let (code, out, err) = berth(&with(&["--dry-run"])).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("would create the market at 0x")
            && out.contains("with it its registry at 0x")
            && out.contains("6 transactions would be sent"),
        "{out}"
    );
    assert!(!file.exists(), "a dry run writes nothing");

    let (code, out, err) = berth(&deploy).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("create the market at 0x") && out.contains("all checked"), "{out}{err}");
    let book = AddressBook::load(&file).expect("written");
    assert!(out.contains(&book.contracts.market.address.to_string()), "{out}");
    let modified = std::fs::metadata(&file).and_then(|data| data.modified()).expect("there");

    let (code, out, err) = berth(&deploy).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("done before: create the market"), "{out}{err}");
    assert_eq!(std::fs::metadata(&file).and_then(|data| data.modified()).expect("there"), modified);

    let (code, _, err) = berth(&with(&["--salt", "another"])).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("of another deployment") && err.contains("--addresses"), "{err}");

    let check = ["verify", "--rpc", anvil.url(), "--addresses", file.to_str().expect("text")];
    let check: Vec<String> = check.map(str::to_owned).to_vec();
    let (code, out, err) = berth(&check).await;
    assert_eq!((code, out.contains("FAIL")), (Some(0), false), "{out}{err}");
    anvil.ask("anvil_setCode", json!([book.contracts.market.address, "0x00"])).await;
    let (code, out, err) = berth(&[check, vec!["--output".to_owned(), "json".to_owned()]].concat()).await;
    assert_eq!(code, Some(1), "{err}");
    let findings: Value = serde_json::from_str(&out).expect("json");
    let market = findings.as_array().expect("a list").iter().find(|found| found["what"] == "market");
    assert!(market.expect("looked at")["verdict"]["Err"].is_string(), "{out}");
    assert_ne!(book.contracts.market.code_hash, Hash::default());
}
