//! Documents that people wrote, with the answers that the language gives them.
//!
//! The collection lives beside the workspace. Without it the tests say so loudly and prove nothing; with it every case
//! counts, and a count below the known one fails.

mod tell;

use std::fs;
use std::path::{Path, PathBuf};

use manifests::check::check_all;
use manifests::digest::{canonical_json, plain_json};
use manifests::group::GroupSpec;
use manifests::manifest::Manifest;
use manifests::problem::Problem;
use manifests::{Deployment, Mode, parse};
use serde_json::{Value, json};

/// The collection, if it is there.
fn fixtures(part: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures").join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    tell::left_out(format_args!("{} is not there, so nothing of it was tested", folder.display()));
    None
}

/// What the language answers to a document.
struct Expected<'a>(&'a Value);

enum Verdict {
    Accepted,
    Refused,
}

impl Expected<'_> {
    /// Whether our answer is that one; otherwise what differs.
    fn compare(&self, answer: &Result<Deployment, Vec<Problem>>) -> Result<Verdict, String> {
        let Expected(expected) = self;
        match (answer, expected["accept"].as_bool().expect("accept is a boolean")) {
            (Ok(deployment), true) => self.compare_accepted(deployment).map(|()| Verdict::Accepted),
            (Ok(_), false) => Err(format!("accepted, expected {}", expected["error"])),
            (Err(problems), true) => Err(format!("refused: {}", problems[0])),
            (Err(problems), false) => self.compare_refused(&problems[0]).map(|()| Verdict::Refused),
        }
    }

    fn compare_accepted(&self, deployment: &Deployment) -> Result<(), String> {
        let Expected(expected) = self;
        let mut differences = Vec::new();
        let mut same = |what: &str, ours: Value, theirs: &Value| {
            if ours != *theirs {
                let (ours, theirs) = first_difference(&ours.to_string(), &theirs.to_string());
                differences.push(format!("{what}\n    ours     …{ours}\n    expected …{theirs}"));
            }
        };
        same("manifest", json!(deployment.manifest), &expected["manifest"]);
        same("groups", json!(deployment.groups), &expected["group_specs"]);
        same("digest", json!(hex::encode(deployment.manifest.digest().0)), &expected["version"]);
        let window = deployment.reclamation.map(|window| window.as_nanos() as u64);
        same("reclamation", json!(window), expected.get("reclamation_ns").unwrap_or(&Value::Null));
        let specs: Vec<_> = deployment.groups.iter().map(GroupSpec::to_order_spec).collect();
        if let Err(mismatch) = check_all(&deployment.manifest, &specs) {
            differences.push(format!("the manifest does not pass for what was ordered: {mismatch}"));
        }
        if Manifest::from_json(&deployment.manifest.to_json()).as_ref() != Ok(&deployment.manifest) {
            differences.push("the manifest does not survive its journey as JSON".to_owned());
        }
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n  ")) }
    }

    fn compare_refused(&self, problem: &Problem) -> Result<(), String> {
        if problem.remedy().is_empty() {
            return Err(format!("no remedy in {problem}"));
        }
        let Expected(expected) = self;
        let free = expected["reference_crashes"] == true || expected.get("quirk").is_some();
        let wanted = expected["error"].as_str().expect("error is a text");
        let same = problem.kind.as_str() == wanted;
        if same || free { Ok(()) } else { Err(format!("refused with {problem}, expected {wanted}")) }
    }
}

/// Both texts from a little before they part.
fn first_difference(ours: &str, theirs: &str) -> (String, String) {
    let same = ours.chars().zip(theirs.chars()).take_while(|(a, b)| a == b).count();
    let from = |text: &str| text.chars().skip(same.saturating_sub(80)).take(160).collect();
    (from(ours), from(theirs))
}

/// Outcome of a family of fixtures.
#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, name: &str, text: &[u8], expected: &Value) {
        match Expected(expected).compare(&parse(text)) {
            Ok(Verdict::Accepted) => self.accepted += 1,
            Ok(Verdict::Refused) => self.refused += 1,
            Err(difference) => self.failures.push(format!("{name}: {difference}")),
        }
    }

    fn finish(self, family: &str, known: usize) {
        let Tally { accepted, refused, failures } = self;
        let good = accepted + refused;
        tell::counted(format_args!(
            "{family}: {good} of {} as expected ({accepted} accepted, their manifests, groups and {accepted} hashes compared and equal; {refused} refused with the expected kind)",
            good + failures.len()
        ));
        assert!(failures.is_empty(), "{family}:\n{}", failures.join("\n"));
        assert!(good >= known, "{family}: only {good} cases were found, {known} are known");
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&read(path))
        .unwrap_or_else(|error| panic!("{} is no JSON: {error}", path.display()))
}

/// All files below a folder with an extension, in order.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            found.extend(files(&path, extensions));
        } else if path
            .extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| *wanted == extension))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Folder of fixture documents → folder of the same shape under `expected`.
fn documents(root: &Path, folder: &str) -> Tally {
    let mut tally = Tally::default();
    for path in files(&root.join(folder), &["yaml", "yml"]) {
        let relative = path.strip_prefix(root).expect("below the root");
        // A case is either `case/input.yaml` or `case.yaml`.
        let candidates = [
            root.join("expected").join(relative).with_extension("json"),
            root.join("expected").join(format!("{}.json", relative.display())),
            root.join("expected").join(relative.parent().expect("below the root")).with_extension("json"),
        ];
        let expected = candidates.iter().find(|path| path.is_file());
        let expected = expected.unwrap_or_else(|| panic!("no expected answer for {}", relative.display()));
        tally.add(&relative.display().to_string(), &read(&path), &read_json(expected));
    }
    tally
}

#[test]
fn real_documents_mean_here_what_they_mean_elsewhere() {
    let Some(root) = fixtures("awesome") else { return };
    let mut tally = Tally::default();
    for path in files(&root, &["yaml", "yml"]) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let expected = read_json(&root.join("expected").join(format!("{name}.json")));
        tally.add(&name, &read(&path), &expected);
    }
    tally.finish("real documents", 231);
}

#[test]
fn lenient_reading_accepts_what_tenants_could_deploy_elsewhere_and_says_so() {
    let Some(root) = fixtures("awesome") else { return };
    let (mut more, mut same) = (0, 0);
    for path in files(&root, &["yaml", "yml"]) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let expected = read_json(&root.join("expected").join(format!("{name}.json")));
        let text = read(&path);
        let lenient = manifests::read(&text, Mode::Lenient).outcome;
        match parse(&text) {
            Ok(exact) => {
                let lenient = lenient.unwrap_or_else(|problems| panic!("{name}: {}", problems[0]));
                let named = exact.warnings.iter().any(|warning| warning.message.contains("named default"));
                assert!(named || lenient == exact, "{name} means something else in lenient reading");
                same += 1;
            }
            Err(_) if expected["js_accept"] == true && expected["error"] != "no-global-service" => {
                let deployment = lenient.unwrap_or_else(|problems| panic!("{name}: {}", problems[0]));
                assert!(!deployment.warnings.is_empty(), "{name} is accepted without a warning");
                more += 1;
            }
            Err(_) => {}
        }
    }
    tell::counted(format_args!(
        "lenient reading: {more} more of the real documents accepted, {same} as before"
    ));
    assert!(more >= 13, "only {more} more");
}

#[test]
fn advice_is_given_where_the_stricter_schema_refuses() {
    let (Some(root), Some(real)) = (fixtures("sdl"), fixtures("awesome")) else { return };
    let mut cases = Vec::new();
    for path in files(&real, &["yaml", "yml"]) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        cases.push((
            name.clone(),
            read(&path),
            read_json(&real.join("expected").join(format!("{name}.json"))),
        ));
    }
    for path in files(&root.join("edge"), &["json"]) {
        for case in read_json(&path).as_array().expect("an array of cases") {
            let id = format!("{} ({})", case["id"], case["note"]);
            cases.push((id, case["sdl"].as_str().expect("a text").as_bytes().to_vec(), case.clone()));
        }
    }
    let (mut same, mut different) = (0, Vec::new());
    for (name, text, expected) in cases {
        let advice = manifests::advise(&text);
        match (expected["schema_ok"].as_bool(), advice.first()) {
            // Of a repeated section the schema sees what is left after merging.
            (Some(false), None) if name.contains("V twice") => {}
            (Some(true), Some(advice)) => different.push(format!("{name}: needless: {advice}")),
            (Some(false), None) if expected["accept"] == true => {
                different.push(format!("{name}: nothing was said"));
            }
            (Some(_), _) => same += 1,
            (None, _) => {}
        }
    }
    tell::counted(format_args!("advice: {same} documents as the schema says"));
    assert!(different.is_empty(), "{} otherwise:\n{}", different.len(), different.join("\n"));
    assert!(same >= 850, "only {same}");
}

#[test]
fn the_language_s_own_documents_mean_what_they_should() {
    let Some(root) = fixtures("sdl") else { return };
    for (folder, known) in [("input", 28), ("_testdata", 41), ("js-fixtures", 11)] {
        documents(&root, folder).finish(folder, known);
    }
}

#[test]
fn every_edge_of_the_language_is_met() {
    let Some(root) = fixtures("sdl") else { return };
    let mut all = Tally::default();
    let mut deviations = Vec::new();
    for path in files(&root.join("edge"), &["json"]) {
        for case in read_json(&path).as_array().expect("an array of cases") {
            let id = case["id"].as_str().expect("a case has an id");
            let text = case["sdl"].as_str().expect("a case has a text");
            // Accidents that nobody can rely on; each has a clear answer here instead.
            let ours = match case["quirk"].as_str() {
                Some("cpu-u32-wraparound") => Some("cpu-out-of-range"),
                Some("double-minus-amount") => Some("price-malformed"),
                Some("yaml-1.2-directive-refused") => Some("accepted"),
                _ => None,
            };
            if let Some(ours) = ours {
                let answer = parse(text).map_or_else(|problems| problems[0].kind.as_str(), |_| "accepted");
                assert_eq!(answer, ours, "{id}");
                deviations.push(format!("{id} {ours}"));
                continue;
            }
            all.add(&format!("{id} ({})", case["note"]), text.as_bytes(), case);
        }
    }
    tell::counted(format_args!("edge deviations on purpose: {}", deviations.join(", ")));
    all.finish("edge", 622);
}

#[test]
fn plain_manifests_and_group_specs_equal_the_golden_files_byte_for_byte() {
    let Some(root) = fixtures("sdl") else { return };
    let mut equal = 0;
    for golden in files(&root.join("output-fixtures"), &["json"]) {
        let case =
            golden.parent().expect("in a folder").strip_prefix(root.join("output-fixtures")).expect("below");
        let input = root.join("input").join(case).join("input.yaml");
        let deployment =
            parse(read(&input)).unwrap_or_else(|problems| panic!("{}: {problems:?}", input.display()));
        let ours = match golden.file_name().and_then(|name| name.to_str()) {
            Some("manifest.json") => plain_json(&deployment.manifest),
            Some("group-specs.json") => plain_json(&deployment.groups),
            other => panic!("{other:?} is no golden file"),
        };
        let theirs = without_indentation(&String::from_utf8(read(&golden)).expect("UTF-8"));
        assert_eq!(String::from_utf8(ours).expect("UTF-8"), theirs, "{}", golden.display());
        equal += 1;
    }
    tell::counted(format_args!("golden files: {equal} of 20 equal byte for byte"));
    assert_eq!(equal, 20);
}

/// Undoes an indentation of two spaces: nothing outside of strings is white space afterwards.
fn without_indentation(text: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    text.chars()
        .filter(|character| {
            if in_string {
                in_string = escaped || *character != '"';
                escaped = !escaped && *character == '\\';
                return true;
            }
            in_string = *character == '"';
            !character.is_ascii_whitespace()
        })
        .collect()
}

#[test]
fn the_worked_example_is_reproduced_to_the_byte() {
    let Some(root) = fixtures("sdl") else { return };
    let folder = root.join("example");
    let names: Vec<_> = files(&folder, &["yaml", "yml", "json", "txt", "hash", "sha256", "hex"]);
    tell::counted(format_args!("example: {} files", names.len()));
    let document = names.iter().find(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    let deployment = parse(read(document.expect("a document"))).expect("the example is accepted");
    let contents: Vec<Vec<u8>> = fs::read_dir(&folder)
        .expect("the folder can be read")
        .map(|entry| read(&entry.expect("the entry can be read").path()))
        .collect();
    let digest = hex::encode(deployment.manifest.digest().0);
    for (what, bytes) in [
        ("plain manifest", plain_json(&deployment.manifest)),
        ("sorted manifest", canonical_json(&deployment.manifest)),
        ("group specs", plain_json(&deployment.groups)),
    ] {
        assert!(contents.contains(&bytes), "no file of the example equals our {what}");
    }
    assert!(
        contents.iter().any(|bytes| bytes.trim_ascii() == digest.as_bytes()),
        "no file equals our digest {digest}"
    );
}
