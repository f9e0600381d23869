//! `berth sdl validate`.

use serde_json::{Value, json};

use crate::berth::{Folder, expected, fixtures};

const ACCEPTED: &str = r#"
version: "2.0"
services:
  web:
    image: nginx
    env: [TOKEN=hunter2]
    expose: [{port: 80, to: [{global: true}]}]
profiles:
  compute:
    web: {resources: {cpu: {units: 0.1}, memory: {size: 64Mi}, storage: {size: 64Mi}}}
  placement:
    here: {pricing: {web: {denom: uact, amount: 1000}}}
deployment:
  web: {here: {profile: web, count: 1}}
"#;

#[test]
fn every_real_document_gets_the_expected_answer() {
    let Some(folder) = fixtures("awesome") else { return };
    let expected = expected(&folder);
    assert!(expected.len() >= 231, "only {} documents are there", expected.len());
    let names: Vec<String> = expected.iter().map(|(path, _)| path.display().to_string()).collect();
    let mut arguments = vec!["validate", "--output", "json"];
    arguments.extend(names.iter().map(String::as_str));
    let ended = Folder::new().sdl(&arguments);
    let lines: Vec<Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(lines.len(), expected.len());
    let (mut accepted, mut refused) = (0, 0);
    for ((name, (_, expected)), line) in names.iter().zip(&expected).zip(&lines) {
        let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
        assert_eq!(keys.len(), 4, "{line}");
        assert_eq!(line["file"], json!(name));
        assert_eq!(line["accept"], expected["accept"], "{name}");
        if expected["accept"] == true {
            accepted += 1;
            assert_eq!(line["version"], expected["version"], "{name}");
            assert_eq!(line["errors"], json!([]), "{name}");
        } else {
            refused += 1;
            assert_eq!(line["version"], Value::Null, "{name}");
            assert_eq!(line["errors"][0]["kind"], expected["error"], "{name}");
        }
    }
    println!("{accepted} accepted with the same version, {refused} refused for the same reason");
    assert_eq!(ended.code, 1, "{}", ended.err);
}

#[test]
fn the_exit_code_tells_accepted_refused_and_wrong_usage_apart() {
    let folder = Folder::with(&[("good.yaml", ACCEPTED), ("bad.yaml", "version: \"2.0\"\n")]);
    assert_eq!(folder.sdl(&["validate", "good.yaml"]).code, 0);
    assert_eq!(folder.sdl(&["validate", "good.yaml", "bad.yaml"]).code, 1);
    assert_eq!(folder.sdl(&["validate"]).code, 2);
    assert_eq!(folder.sdl(&["validate", "--output", "xml", "good.yaml"]).code, 2);
    let missing = folder.sdl(&["validate", "--output", "json", "good.yaml", "missing.yaml", "bad.yaml"]);
    assert_eq!(missing.code, 1);
    let answers: Vec<Value> =
        missing.out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let accepted: Vec<&Value> = answers.iter().map(|answer| &answer["accept"]).collect();
    assert_eq!(accepted, [true, false, false], "each has its answer: {}", missing.out);
    let unread = &answers[1]["errors"][0];
    assert_eq!((unread["kind"].as_str(), unread["line"].as_u64()), (Some("io"), Some(0)));
    let message = unread["message"].as_str().expect("told");
    assert!(message.contains("missing.yaml cannot be read"), "{message}");

    let missing = folder.sdl(&["validate", "missing.yaml", "good.yaml"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("missing.yaml cannot be read"), "{}", missing.err);
    assert!(missing.out.contains("good.yaml: accepted"), "{}", missing.out);
}

#[test]
fn a_refusal_names_kind_path_and_place_of_every_problem() {
    let text = ACCEPTED.replace("port: 80", "port: eighty").replace("size: 64Mi}, s", "size: 64mb}, s");
    let ended = Folder::new().sdl_reading(&["validate", "--output", "json", "-"], &text);
    let answer: Value = serde_json::from_str(&ended.out).expect("one object");
    let kinds: Vec<&str> =
        answer["errors"].as_array().expect("a list").iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["yaml-type", "quantity-malformed"]);
    let first = &answer["errors"][0];
    assert_eq!(first["path"], "services.web.expose[0].port");
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(7), Some(21)));
    assert_eq!(first.as_object().expect("an object").len(), 5);
    assert_eq!((answer["accept"].clone(), answer["version"].clone()), (json!(false), Value::Null));
}

#[test]
fn people_see_the_line_and_a_caret_under_the_place() {
    let folder = Folder::with(&[("web.yaml", &ACCEPTED.replace("port: 80", "port: eighty"))]);
    let ended = folder.sdl(&["validate", "web.yaml"]);
    assert_eq!(ended.code, 1);
    // The place, the line with what is wrong underlined, and the remedy.
    let told = "  --> web.yaml:7:21 at services.web.expose[0].port\n  |\n\
                7 |     expose: [{port: eighty, to: [{global: true}]}]\n  |                     ^^^^^^\n  = write ";
    assert!(ended.out.starts_with("error[yaml-type]: "), "{}", ended.out);
    assert!(ended.out.contains(told), "{}", ended.out);
}

#[test]
fn no_value_of_env_or_credentials_is_shown_whatever_is_wrong() {
    let secret = "hunter2";
    let broken = [
        ACCEPTED.replace("env: [TOKEN=hunter2]", "env: [9BAD=hunter2, {TOKEN: hunter2}]"),
        ACCEPTED.replace("env: [TOKEN=hunter2]", "env: hunter2"),
        ACCEPTED.replace("env: [TOKEN=hunter2]", "env: [\"hunter2"),
        ACCEPTED.replace("env: [TOKEN=hunter2]", "env:\n    - hunter2: : [\n"),
        ACCEPTED.replace("image: nginx", "image: \"\"\n    credentials: {password: hunter2}"),
        ACCEPTED.replace("image: nginx", "image: nginx\n    credentials: [hunter2]"),
        format!("{{{}", ACCEPTED.replace('\n', " ")),
    ];
    for text in broken {
        for output in ["text", "json"] {
            let ended = Folder::new().sdl_reading(&["validate", "--output", output, "-"], &text);
            assert_eq!(ended.code, 1, "{text}");
            let told = format!("{}{}", ended.out, ended.err);
            assert!(!told.contains(secret), "{text}\n{told}");
        }
    }
}

#[test]
fn garbage_is_refused_and_not_choked_on() {
    let folder = Folder::new();
    folder.write("bytes", [0u8, 255, 254, 1, 2, 3].repeat(1000));
    folder.write("long", vec![b'a'; 3 << 20]);
    folder.write("deep", "[".repeat(100_000));
    folder.write("bomb", {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, before) in "bcdefghij".chars().zip("abcdefghi".chars()) {
            let list = vec![format!("*{before}"); 9].join(", ");
            text.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        format!(
            "version: \"2.0\"\ninclude:\n{}",
            text.lines().map(|l| format!("  - {{{l}}}\n")).collect::<String>()
        )
    });
    for name in ["bytes", "long", "deep", "bomb"] {
        for output in ["text", "json"] {
            let ended = folder.sdl(&["validate", "--output", output, name]);
            assert_eq!(ended.code, 1, "{name}: {}", ended.err);
            assert!(ended.out.len() < 5_000, "{name}: {}", ended.out.len());
            assert!(!ended.err.contains("panicked"), "{name}: {}", ended.err);
        }
    }
}

#[test]
fn reading_leniently_accepts_what_the_console_of_the_other_network_does() {
    let Some(folder) = fixtures("awesome") else { return };
    let (mut accepted, mut refused) = (0, 0);
    for (path, expected) in expected(&folder) {
        if expected["accept"] == true || expected["js_accept"] != true {
            continue;
        }
        let name = path.display().to_string();
        assert_eq!(Folder::new().sdl(&["validate", &name]).code, 1, "{name}");
        let lenient = Folder::new().sdl(&["validate", "--lenient", &name]);
        if expected["error"] == "no-global-service" {
            assert_eq!(lenient.code, 1, "{name}: {}", lenient.out);
            refused += 1;
        } else {
            assert_eq!(lenient.code, 0, "{name}: {}", lenient.out);
            assert!(lenient.out.contains("warning: "), "{name}: {}", lenient.out);
            let rendered = Folder::new().sdl(&["render", "--lenient", &name]);
            assert_eq!(rendered.code, 0, "{name}: {}", rendered.err);
            accepted += 1;
        }
    }
    println!("{accepted} more documents accepted leniently, {refused} not");
    assert!(accepted >= 10, "only {accepted} documents were there");
}

#[test]
fn advice_is_given_on_request_and_changes_no_answer() {
    let text = ACCEPTED.replace("version: \"2.0\"", "version: 2.0");
    let folder = Folder::with(&[("app.yaml", &text)]);
    let plain = folder.sdl(&["validate", "app.yaml"]);
    assert!(plain.code == 0 && !plain.out.contains("warning: "), "{}", plain.out);
    let advised = folder.sdl(&["validate", "--advise", "app.yaml"]);
    assert!(advised.code == 0 && advised.out.contains("app.yaml:2:10 at version"), "{}", advised.out);
    assert!(!advised.out.contains("hunter2"), "{}", advised.out);
}
