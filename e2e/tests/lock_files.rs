//! Lock files say what is wanted, never where somebody once fetched it from.

use std::fs;

use e2e::workspace;

#[test]
fn the_contracts_lock_file_holds_no_resolved_address() {
    let text = fs::read_to_string(workspace::root().join("market/contracts/package-lock.json")).unwrap();
    let lock: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = lock["packages"].as_object().unwrap();
    assert!(packages.len() > 1, "the lock file lists no package");
    for (name, package) in packages {
        assert!(
            package.get("resolved").is_none(),
            "{name} is resolved: install with --omit-lockfile-registry-resolved"
        );
        assert!(name.is_empty() || package.get("integrity").is_some(), "{name} has no integrity");
    }
}

#[test]
fn crates_come_from_the_default_registry_by_its_usual_name() {
    let text = fs::read_to_string(workspace::root().join("Cargo.lock")).unwrap();
    let sources: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert!(!sources.is_empty(), "the lock file names no source");
    for source in sources {
        assert_eq!(source, "\"registry+https://github.com/rust-lang/crates.io-index\"");
    }
}

#[test]
fn configuration_files_of_package_clients_name_no_registry() {
    for file in ["market/contracts/.npmrc", ".cargo/config.toml"] {
        if let Ok(text) = fs::read_to_string(workspace::root().join(file)) {
            assert!(!text.contains("://"), "{file} names an address");
        }
    }
}
