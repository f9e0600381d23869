use std::path::Path;

use super::*;

#[test]
fn layout_is_made_one_and_comments_stay_with_what_they_speak_of() {
    let before = "\
# about all
version:   '2.0'   # why 2.0
services:
    web:   # the site
        # its image
        image:    nginx
        env:


        - A=1 # first
        # - B=2


        - \"C=#3\"
        # the last word on env
        expose: [ {port: 80 , to: [{global:   true}]} ]
      # at the end of services
profiles: {}
# the very end
";
    let after = "\
# about all
version: '2.0'  # why 2.0

services:
  web:  # the site
    # its image
    image: nginx
    env:
      - A=1  # first
      # - B=2

      - \"C=#3\"
    # the last word on env
    expose: [{port: 80, to: [{global: true}]}]
  # at the end of services

profiles: {}
# the very end
";
    assert_eq!(format(before).as_deref(), Ok(after));
    assert_eq!(format(after).as_deref(), Ok(after));
}

#[test]
fn scalars_keep_their_value_whatever_their_style() {
    let before = "\
a:
        literal: |   # kept
               one
                 two

               three

        kept: |+
             x


        indented: |2-
             y
        folded: >-
            b
            c

              d
        plain: several
            words

            long
        quoted: \"x \\
              y

          z\"
        anchor: &one   v
        map: &m
          k: *one
        <<: *m
        list:
        - - 1
          - 2
        -
          k: v
        - !!str 5
        - &s [1, 2]
        - !!map {a, b: c}
";
    let after = format(before).expect("laid out");
    assert!(after.starts_with("a:\n  literal: |  # kept\n    one\n      two\n\n    three\n"), "{after}");
    assert!(after.contains("  list:\n    - - 1\n      - 2\n    - k: v\n    - !!str 5\n"), "{after}");
    assert_eq!(format(&after).as_deref(), Ok(after.as_str()));
}

#[test]
fn long_or_broken_brackets_become_lines() {
    let long = format!("a: [{}]\n", ["abcdefghij"; 12].join(", "));
    assert_eq!(format(&long).as_deref(), Ok(format!("a:\n{}", "  - abcdefghij\n".repeat(12)).as_str()));
    let broken = "a: {b: [1, # one\n  2], # two\n c: {}\n}\n";
    assert_eq!(format(broken).as_deref(), Ok("a:\n  b:\n    - 1  # one\n    - 2  # two\n  c: {}\n"));
}

#[test]
fn line_ends_and_the_marker_are_made_one() {
    assert_eq!(
        format("# c\r\n---   # d\r\nversion: 2.0\r\na: |\r\n  x\r\n\r\n\r\n").as_deref(),
        Ok("# c\n---  # d\nversion: 2.0\n\na: |\n  x\n")
    );
    assert_eq!(format("a: 1").as_deref(), Ok("a: 1\n"));
    assert_eq!(format("a: |\n  x").as_deref().ok(), None, "a last line without an end is part of the value");
}

#[test]
fn what_cannot_be_laid_out_is_left_alone() {
    for text in [
        "%YAML 1.1\n---\na: 1\n",
        "a: 1\n---\nb: 2\n",
        "? a\n: 1\n",
        "a: &x # c\n  1\n",
        "[1]\n",
        "{[1]: 2}\n",
    ] {
        assert!(format(text).is_err(), "{text}");
    }
}

/// Every document of the collection that is YAML, with where it stands.
fn collection() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    if !folder.is_dir() {
        println!("LEFT OUT: {} is not there, so nothing of it was tested", folder.display());
        return Vec::new();
    }
    let (mut found, mut folders) = (Vec::new(), vec![folder]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("readable").path();
            let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned());
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.display().to_string();
            match ending.as_deref() {
                Some("yaml" | "yml") => {
                    found.push((name, std::fs::read_to_string(&path).expect("text")));
                }
                Some("json") if name.contains("/edge/") => {
                    let cases: serde_json::Value =
                        serde_json::from_str(&std::fs::read_to_string(&path).expect("text")).expect("JSON");
                    for case in cases.as_array().expect("a list") {
                        let text = case["sdl"].as_str().expect("a text").to_owned();
                        found.push((format!("{name} {}", case["id"]), text));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn documents_of_the_collection_keep_digest_and_comments_and_settle_at_once() {
    let (mut done, mut left) = (0, Vec::new());
    for (name, text) in collection() {
        if matches!(manifests::parse(&text), Err(problems) if problems[0].kind == manifests::problem::ErrorKind::YamlSyntax)
        {
            continue;
        }
        match format(&text) {
            Ok(formatted) => {
                assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "{name} does not settle");
                done += 1;
            }
            Err(why) => left.push(format!("{name}: {why}")),
        }
    }
    println!("{done} documents laid out, {} left alone:\n{}", left.len(), left.join("\n"));
    let real: Vec<&String> = left.iter().filter(|name| name.contains("/awesome/")).collect();
    assert!(real.is_empty(), "real documents were left alone: {real:#?}");
    assert!(done == 0 || left.len() * 20 < done, "too many were left alone");
}

/// The text with something done to its lines: one taken out, doubled, indented by one more, or cut.
fn mutated(text: &str, seed: usize) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = seed.wrapping_mul(7919) % lines.len().max(1);
    match (seed % 6, lines.get(at).cloned()) {
        (0, Some(_)) => drop(lines.remove(at)),
        (1, Some(line)) => lines.insert(at, line),
        (2, Some(line)) => lines[at] = format!(" {line}"),
        (3, Some(line)) => lines[at] = line.chars().take(line.chars().count() / 2).collect(),
        (4, Some(line)) => lines[at] = format!("{line} # added"),
        (_, Some(line)) => lines[at] = format!("{line}\n\n\n# alone\n  # deeper\n"),
        (_, None) => {}
    }
    let end = if seed.is_multiple_of(5) { "" } else { "\n" };
    format!("{}{end}", lines.join(if seed.is_multiple_of(7) { "\r\n" } else { "\n" }))
}

#[test]
fn mangled_documents_are_laid_out_or_left_alone_and_settle_at_once() {
    let (mut done, mut left, mut broken) = (0, 0, 0);
    let real = collection().into_iter().filter(|(name, _)| name.contains("/awesome/"));
    for (index, (name, text)) in real.enumerate() {
        for seed in (index..).step_by(13).take(2) {
            let text = mutated(&text, seed);
            let verdict = manifests::parse(&text);
            if matches!(verdict, Err(problems) if problems[0].kind == manifests::problem::ErrorKind::YamlSyntax)
            {
                broken += 1;
                continue;
            }
            match format(&text) {
                Ok(formatted) => {
                    assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "{name} {seed}\n{text}");
                    done += 1;
                }
                Err(Untouched::Unusual { what, .. }) => {
                    // A doubled first line is the one way in which these mutations get there.
                    assert_eq!(what, "another document follows, which nobody reads", "{name} {seed}\n{text}");
                    left += 1;
                }
                Err(why) => panic!("{name} {seed}: {why}\n{text}"),
            }
        }
    }
    println!("{done} mangled documents laid out, {left} left alone, {broken} no YAML");
}
