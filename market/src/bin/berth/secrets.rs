//! The values of secrets that a document only names: read from files, held to the document, handed to whom they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use manifests::extension::Extension;
use manifests::manifest::{Group, Manifest};
use market::api::Secrets;

use crate::exit::Ending;

/// Reads the files. One line break at a file's end belongs to the file, not to the value.
pub(crate) fn read(files: &[(String, PathBuf)]) -> anyhow::Result<Secrets> {
    let mut secrets = BTreeMap::new();
    for (name, path) in files {
        let wrong = |problem: String| {
            Ending::error(Ending::USAGE, format!("the secret {name}: {}: {problem}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not text in UTF-8".to_owned()))?;
        let value =
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        secrets.insert(name.clone(), value.to_owned());
    }
    Ok(Secrets(secrets))
}

/// Refuses values that the document has no use for and, where `all` are needed, a document that lacks some.
pub(crate) fn fit(secrets: &Secrets, manifest: &Manifest, all: bool) -> anyhow::Result<()> {
    let wanted: BTreeSet<&str> = manifest.0.iter().flat_map(names).collect();
    let refuse = |sentence: String| Err(Ending::error(Ending::USAGE, sentence));
    if let Some(unknown) = secrets.0.keys().find(|name| !wanted.contains(name.as_str())) {
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let names = if wanted.is_empty() { "none".to_owned() } else { wanted.join(", ") };
        return refuse(format!("the document has no secret {unknown} under secretRef; it names {names}"));
    }
    if let Some(missing) = wanted.into_iter().find(|name| all && !secrets.0.contains_key(*name)) {
        return refuse(format!(
            "the document names the secret {missing}: give it with --secret {missing}=FILE"
        ));
    }
    Ok(())
}

/// Those that a group of the document uses: nobody else's provider gets to know them.
pub(crate) fn of_group(secrets: &Secrets, group: &Group) -> Secrets {
    let wanted = names(group).filter_map(|name| secrets.0.get_key_value(name));
    Secrets(wanted.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn names(group: &Group) -> impl Iterator<Item = &str> {
    let extensions = group.services.iter().filter_map(|service| service.x_berth.as_ref());
    extensions.flat_map(Extension::secret_names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
version: "2.0"
services:
  web: {image: nginx, expose: [{port: 80, to: [{global: true}]}], x-berth: {secretRef: {A: one, B: two}}}
  db: {image: postgres, expose: [{port: 5432, to: [{service: web}]}], x-berth: {secretRef: {C: three}}}
profiles:
  compute:
    small: {resources: {cpu: {units: 0.1}, memory: {size: 128Mi}, storage: {size: 128Mi}}}
  placement:
    east: {pricing: {small: {denom: uact, amount: 1}}}
    west: {pricing: {small: {denom: uact, amount: 1}}}
deployment:
  web: {east: {profile: small, count: 1}}
  db: {west: {profile: small, count: 1}}
"#;

    fn secrets(names: &[&str]) -> Secrets {
        Secrets(names.iter().map(|name| ((*name).to_owned(), format!("value of {name}"))).collect())
    }

    #[test]
    fn each_provider_gets_what_its_group_names_and_nothing_else_is_taken() {
        let manifest = manifests::parse(DOCUMENT).expect("a document").manifest;
        let all = secrets(&["one", "two", "three"]);
        fit(&all, &manifest, true).expect("all there");
        fit(&secrets(&["two"]), &manifest, false).expect("one to change");
        let missing = fit(&secrets(&["one", "three"]), &manifest, true).expect_err("one missing").to_string();
        assert!(missing.contains("--secret two=FILE"), "{missing}");
        let unknown = fit(&secrets(&["four"]), &manifest, false).expect_err("unknown").to_string();
        assert!(unknown.contains("no secret four") && unknown.contains("one, three, two"), "{unknown}");
        let group = |name: &str| of_group(&all, manifest.group(name).expect("a group"));
        assert_eq!((group("east"), group("west")), (secrets(&["one", "two"]), secrets(&["three"])));
        assert!(!format!("{all:?}").contains("value"));
    }

    #[test]
    fn a_value_is_its_file_without_the_last_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |text: &[u8]| {
            let path = folder.path().join("value");
            std::fs::write(&path, text).expect("written");
            read(&[("db".to_owned(), path)]).map(|secrets| secrets.0["db"].clone())
        };
        for (text, value) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", "")] {
            assert_eq!(file(text.as_bytes()).expect("read"), value);
        }
        assert!(file(b"\xff").expect_err("no text").to_string().contains("the secret db"));
    }
}
