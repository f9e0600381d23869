//! Who may know whom: reads every Cargo.toml and every `use` of the workspace and holds the arrows between crates and the one
//! room of each outside word. A broken arrow is named by the sentence that forbids it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// The names a crate lists as what it is built from; what only its tests use is not counted.
fn dependencies(name: &str) -> BTreeSet<String> {
    let text =
        fs::read_to_string(workspace().join(name).join("Cargo.toml")).expect("every crate has a Cargo.toml");
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = matches!(line, "[dependencies]" | "[build-dependencies]");
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            names.insert(line[..end].to_owned());
        }
    }
    assert!(!names.is_empty(), "{name} lists nothing; this test cannot read its Cargo.toml");
    names
}

/// Source files below a folder, relative to it.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder of the workspace") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).expect("below it").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {}", folder.display());
    found
}

/// The code of a file: without comments and without its unit tests, which stand at its end.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the code names a crate: `word::` that is not the end of a longer name or path.
fn names(code: &str, word: &str) -> bool {
    let pattern = format!("{word}::");
    code.match_indices(&pattern).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let is_path_end = code[..at].ends_with("crate::") || code[..at].ends_with("super::");
        !is_path_end
            && before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_' && letter != ':')
            || code[..at].ends_with("use ::")
    })
}

fn our_crates() -> BTreeSet<String> {
    ["manifests", "bidengine", "market", "provider", "e2e"].map(str::to_owned).into()
}

#[test]
fn crates_know_each_other_only_along_the_diamond() {
    let allowed: [(&str, &[&str], &str); 5] = [
        ("manifests", &[], "manifests knows nobody"),
        ("bidengine", &["manifests"], "bidengine knows manifests only; market is a sibling it does not know"),
        ("market", &["manifests"], "market knows manifests only; bidengine is a sibling it does not know"),
        ("provider", &["manifests", "bidengine", "market"], "provider knows manifests, bidengine and market"),
        ("e2e", &["manifests", "bidengine", "market", "provider"], "nobody knows e2e"),
    ];
    for (name, allowed, sentence) in allowed {
        for known in dependencies(name).intersection(&our_crates()) {
            assert!(allowed.contains(&known.as_str()), "{name} lists {known}, but: {sentence}");
        }
    }
}

#[test]
fn each_crate_lists_only_words_of_its_own_world() {
    let has = |name: &str, words: &[&str], sentence: &str| {
        for listed in dependencies(name) {
            let forbidden = words.iter().any(|word| {
                listed == *word || word.strip_suffix('*').is_some_and(|start| listed.starts_with(start))
            });
            assert!(!forbidden, "{name} lists {listed}, but: {sentence}");
        }
    };
    let runtimes = ["tokio*", "futures", "async-*", "reqwest", "kube", "sqlx", "axum", "ethers*", "rand"];
    has("manifests", &runtimes, "the two pure crates list no runtime");
    has("bidengine", &runtimes, "the two pure crates list no runtime");
    has("provider", &["ethers*"], "the daemon does not list ethers: its types never leave market");
    has("market", &["kube", "k8s-openapi", "sqlx", "axum"], "the tenant's side lists neither kube nor sqlx");
}

#[test]
fn the_pure_crates_do_no_io_and_read_no_clock() {
    let world = [
        "std::fs",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "std::process",
        "std::env",
        "std::thread",
        "SystemTime",
        "Instant::now",
    ];
    for name in ["manifests", "bidengine"] {
        for (file, text) in sources(&workspace().join(name).join("src")) {
            for word in world {
                assert!(
                    !code(&text).contains(word),
                    "{name}/src/{file} says {word}, but: manifests and bidengine do no IO, read no clock, spawn nothing"
                );
            }
        }
    }
}

#[test]
fn each_outside_word_has_one_room_in_the_provider() {
    let rooms: [(&str, &[&str], &str); 11] = [
        ("sqlx", &["store/"], "sqlx lives in store/"),
        ("axum", &["gateway/"], "axum lives in gateway/"),
        (
            "hyper",
            &["gateway/", "inventory/calls.rs"],
            "HTTP as such lives in gateway/, and calls to the API server are listened in on in inventory/calls.rs",
        ),
        ("tokio_rustls", &["gateway/"], "TLS for tenants lives in gateway/"),
        ("nvml_wrapper", &["inventory/gpus"], "NVML lives in inventory/gpus.rs"),
        (
            "kube",
            &["inventory/", "leases/", "leader.rs"],
            "the kube client lives in inventory/, leases/ and leader.rs",
        ),
        (
            "k8s_openapi",
            &["inventory/", "leases/", "leader.rs"],
            "Kubernetes types live in inventory/, leases/ and leader.rs",
        ),
        ("tonic", &["inventory/podresources"], "the kubelet's socket lives in inventory/podresources.rs"),
        (
            "reqwest",
            &["pricing/", "check/ways_in.rs", "wildcard/"],
            "who tells prices is asked in pricing/, visitors are played in check/ and wildcard/",
        ),
        ("nix", &["pricing/hook.rs"], "programs of the operator are started and ended in pricing/hook.rs"),
        ("prometheus", &["metrics/", "inventory/agent/metrics.rs"], "prometheus lives in metrics/"),
    ];
    for (file, text) in sources(&workspace().join("provider/src")) {
        let code = code(&text);
        for (word, homes, sentence) in rooms {
            let at_home = homes.iter().any(|home| file.starts_with(home));
            assert!(at_home || !names(&code, word), "provider/src/{file} names {word}, but: {sentence}");
        }
    }
}

#[test]
fn ethereum_types_stay_in_the_market() {
    for name in ["manifests", "bidengine", "provider", "e2e"] {
        for (file, text) in sources(&workspace().join(name).join("src")) {
            for word in ["ethers_core", "ethers_contract", "ethers_signers"] {
                assert!(
                    !names(&code(&text), word),
                    "{name}/src/{file} names {word}, but: no type of the Ethereum library leaves market"
                );
            }
        }
    }
}

#[test]
fn this_test_sees_a_word_where_it_stands_and_not_where_it_does_not() {
    assert!(names("use sqlx::Row;", "sqlx"));
    assert!(names("let x = sqlx::query(q);", "sqlx"));
    assert!(names("use ::kube::Client;", "kube"));
    assert!(!names("use crate::kube::x;", "kube"));
    assert!(!names("use mykube::x;", "kube"));
    assert!(!names(&code("// sqlx::query\nfn f() {}\n#[cfg(test)]\nmod tests { use sqlx::Row; }"), "sqlx"));
}
