//! The lines that problems point at: the caret stands at the text, and no line shows a secret.

use manifests::{Excerpt, Source, parse};

fn excerpts(text: &str) -> Vec<Excerpt> {
    let source = Source::new(text.as_bytes());
    let problems = parse(text).expect_err("the document is wrong");
    problems.iter().filter_map(|problem| source.excerpt(problem)).collect()
}

fn only(text: &str) -> Excerpt {
    let mut excerpts = excerpts(text);
    assert_eq!(excerpts.len(), 1, "{excerpts:?}");
    excerpts.remove(0)
}

/// The text under the caret.
fn pointed(excerpt: &Excerpt) -> String {
    excerpt.line.chars().skip(excerpt.caret).take(excerpt.width).collect()
}

#[test]
fn the_caret_stands_under_the_offending_text() {
    let excerpt =
        only("version: '2.0'\nservices:\n  \u{fc}b\u{e9}r:\n    expose:\n    - port: eighty # or so\n");
    assert_eq!(excerpt.line, "    - port: eighty # or so");
    assert_eq!(pointed(&excerpt), "eighty");
    assert_eq!(excerpt.text.as_deref(), Some("eighty"));

    let excerpt = only("version: '2.0'\r\nnothing: 1\r\n");
    assert_eq!((excerpt.line.as_str(), pointed(&excerpt).as_str()), ("nothing: 1", "nothing"));
}

#[test]
fn a_long_line_is_shown_around_the_place() {
    let text = format!("{{version: '2.0', include: [{}], nothing: 1, services: {{}}}}", "abc, ".repeat(2000));
    let excerpt = only(&text);
    assert_eq!(pointed(&excerpt), "nothing");
    assert!(excerpt.line.chars().count() <= 120, "{excerpt:?}");
}

#[test]
fn no_line_shows_a_secret() {
    // The problem is elsewhere on the line, before or after; in the secret itself; behind an alias; or it is that the
    // text cannot be read at all.
    for text in [
        "version: '2.0'\nservices: {web: {env: [A=canary, 'B=canary'], expose: [{port: eighty}]}}\n",
        "version: '2.0'\nservices: {web: {expose: [{port: eighty}], env: [A=canary], credentials: {password: canary}}}\n",
        "version: '2.0'\nservices:\n  web:\n    env: canary\n",
        "version: '2.0'\nservices:\n  web:\n    env:\n      - canary: [canary]\n",
        "version: '2.0'\nservices:\n  web:\n    env:\n      - - |\n         canary\n         canary\n",
        "version: '2.0'\nservices:\n  web:\n    credentials: {host: [canary]}\n",
        "version: '2.0'\nservices:\n  web:\n    x-berth: {secretRef: {A: [canary]}}\n",
        "version: '2.0'\nservices: {web: {args: &a [A=canary], env: *a, command: x}}\n",
        "version: '2.0'\nservices: {web: {environment: {A: canary}, command: x}}\n",
        "version: '2.0'\nservices:\n  web:\n    env:\n      - \"A=canary\n",
        "version: '2.0'\nservices:\n  web:\n    env: [A=canary, ]]\n",
        "version: '2.0'\nservices: {web: {image: ], env: [A=canary]}}\n",
        "version: '2.0'\nservices: {web: {env: [A=canary], image: ]}}\n",
        "version: '2.0'\nservices:\n  web:\n    env:\n    - A=canary\n   - B=canary\n",
        "version: '2.0'\nservices:\n  web:\n    env: {A=canary: {B=canary\n",
        "version: '2.0'\nservices:\n  web:\n    credentials:\n      password: canary: canary\n",
        "version: '2.0'\nservices:\n  web:\n    credentials:\n      password: @canary\n",
    ] {
        let source = Source::new(text.as_bytes());
        let problems = parse(text).expect_err(text);
        for problem in &problems {
            assert!(!problem.to_string().contains("canary"), "{text}{problem}");
            let excerpt = source.excerpt(problem);
            assert!(!format!("{excerpt:?}").contains("canary"), "{text}{excerpt:?}");
        }
        // And wherever else somebody might look.
        for line in 0..12 {
            for column in 0..120 {
                // The anchor is no secret where it stands, only where it is used.
                let excerpt = source.excerpt_at(line, column);
                assert!(!format!("{excerpt:?}").contains("canary"), "{text}{line}:{column} {excerpt:?}");
            }
        }
    }
}

#[test]
fn any_bytes_and_any_place_will_do() {
    for bytes in [&b""[..], b"\xff\xfe", b"\xff", b"a", b"\n", &[b'['; 5000], "\u{e9}\u{2028}x: ]".as_bytes()]
    {
        let source = Source::new(bytes);
        for place in [0, 1, 2, 3, u32::MAX] {
            for other in [0, 1, 2, 3, u32::MAX] {
                drop(source.excerpt_at(place, other));
            }
        }
    }
    let huge = vec![b'x'; manifests::MAX_DOCUMENT_BYTES + 1];
    assert_eq!(Source::new(&huge).excerpt_at(1, 1).map(|excerpt| excerpt.line), Some(String::new()));
}
