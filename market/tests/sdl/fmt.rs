//! `berth sdl fmt`.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;

use crate::berth::{Folder, expected, fixtures};

const LOOSE: &str = "version:   \"2.0\" # level\nservices:\n    web:\n        image: nginx\n";
const TIDY: &str = "version: \"2.0\"  # level\n\nservices:\n  web:\n    image: nginx\n";

#[test]
fn a_file_is_laid_out_in_place_and_its_rights_and_links_stay() {
    let folder = Folder::with(&[("app.yaml", LOOSE)]);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path("app.yaml"), private).expect("set");
    symlink("app.yaml", folder.path("link.yaml")).expect("linked");
    let ended = folder.sdl(&["fmt", "link.yaml"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{}", ended.err);
    assert_eq!(folder.read("app.yaml"), TIDY);
    let mode = std::fs::metadata(folder.path("app.yaml")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(folder.path("link.yaml").is_symlink());
    let names = std::fs::read_dir(folder.path(".")).expect("a folder").count();
    assert_eq!(names, 2, "nothing is left beside the file");
}

#[test]
fn checking_names_what_would_change_and_writes_nothing() {
    let folder = Folder::with(&[("loose.yaml", LOOSE), ("tidy.yaml", TIDY)]);
    let ended = folder.sdl(&["fmt", "--check", "loose.yaml", "tidy.yaml"]);
    assert_eq!((ended.code, ended.out.as_str()), (1, "loose.yaml\n"), "{}", ended.err);
    assert_eq!(folder.read("loose.yaml"), LOOSE);
    assert_eq!(folder.sdl(&["fmt", "--check", "tidy.yaml"]).code, 0);
}

#[test]
fn standard_input_is_laid_out_onto_standard_output() {
    let ended = Folder::new().sdl_reading(&["fmt", "-"], LOOSE);
    assert_eq!((ended.code, ended.out.as_str()), (0, TIDY), "{}", ended.err);
}

#[test]
fn what_cannot_be_laid_out_is_named_and_stays_while_the_others_are_done() {
    let folder = Folder::with(&[
        ("broken.yaml", "services: [\n"),
        ("two.yaml", "a: 1\n---\nb: 2\n"),
        ("app.json", "{\"version\": \"2.0\"}"),
        ("loose.yaml", LOOSE),
    ]);
    let ended = folder.sdl(&["fmt", "broken.yaml", "two.yaml", "app.json", "loose.yaml"]);
    assert_eq!(ended.code, 1);
    for name in ["broken.yaml", "two.yaml", "app.json"] {
        assert!(ended.err.contains(&format!("{name} is left as it is: ")), "{}", ended.err);
    }
    assert!(ended.err.contains("error[yaml-syntax]"), "{}", ended.err);
    assert_eq!(folder.read("two.yaml"), "a: 1\n---\nb: 2\n");
    assert_eq!(folder.read("loose.yaml"), TIDY);
    assert_eq!(folder.sdl(&["fmt", "missing.yaml"]).code, 2);
}

#[test]
fn real_documents_keep_their_version_and_every_comment() {
    let Some(from) = fixtures("awesome") else { return };
    let folder = Folder::new();
    let mut documents = expected(&from);
    documents.retain(|(_, expected)| expected["error"] != "yaml-syntax");
    let names: Vec<String> = documents
        .iter()
        .map(|(path, _)| path.file_name().expect("a file").to_string_lossy().into_owned())
        .collect();
    for ((path, _), name) in documents.iter().zip(&names) {
        folder.write(name, std::fs::read(path).expect("readable"));
    }
    let run = |verb: &[&str]| {
        let arguments: Vec<&str> = verb.iter().copied().chain(names.iter().map(String::as_str)).collect();
        folder.sdl(&arguments)
    };
    let formatted = run(&["fmt"]);
    assert_eq!(formatted.code, 0, "{}", formatted.err);
    let checked = run(&["fmt", "--check"]);
    assert_eq!((checked.code, checked.out.as_str()), (0, ""), "{}", checked.err);
    let answers = run(&["validate", "--output", "json"]);
    let mut comments = 0;
    for (((path, expected), name), line) in documents.iter().zip(&names).zip(answers.out.lines()) {
        let answer: Value = serde_json::from_str(line).expect("an object");
        let version = if expected["accept"] == true { &expected["version"] } else { &Value::Null };
        assert_eq!(&answer["version"], version, "{name}");
        let after = folder.read(name);
        let before = std::fs::read_to_string(path).expect("text");
        // Lines of comments only, which no scalar of these documents looks like but in block scalars.
        for comment in before.lines().map(str::trim).filter(|line| line.starts_with('#')) {
            comments += 1;
            assert!(after.contains(comment), "{name}: {comment:?} is lost");
        }
    }
    println!("{} documents keep their version, {comments} lines of comments are there", names.len());
    assert!(names.len() >= 228 && comments > 100, "{} documents, {comments} comments", names.len());
}
