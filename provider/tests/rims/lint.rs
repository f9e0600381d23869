//! What holds for every metric, tried on what a daemon really tells.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Words of units that are no base units, and of types, which a name does not say.
const NEVER: [&str; 14] = [
    "milliseconds",
    "minutes",
    "hours",
    "days",
    "ms",
    "percent",
    "kilobytes",
    "megabytes",
    "mib",
    "gib",
    "counter",
    "gauge",
    "histogram",
    "seconds_total_seconds",
];

/// Words of what takes time, in names that therefore say in which unit.
const TIMES: [&str; 8] = ["duration", "latency", "age", "wait", "remaining", "runway", "timestamp", "lag"];

/// Labels that would have a value for every tenant.
const TENANTS: [&str; 8] = ["tenant", "owner", "lease", "lease_id", "order", "dseq", "hostname", "host"];

/// Refuses a scrape in which a metric is not named, helped or labelled as all are.
pub(crate) fn lint(scrape: &str) {
    let (mut helps, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    for line in scrape.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name, help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kinds.insert(name, kind);
        } else if let Some((_, labels)) = line.rsplit_once('}').and_then(|(series, _)| series.split_once('{'))
        {
            for label in labels.split("\",").filter_map(|pair| pair.split('=').next()) {
                assert!(!TENANTS.contains(&label), "a tenant in a label: {line}");
            }
        }
    }
    assert!(kinds.len() > 10, "that is no scrape of ours:\n{scrape}");
    for (name, kind) in kinds {
        let words: Vec<&str> = name.split('_').collect();
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.starts_with("berth_") && name.bytes().all(is_plain), "{name} is not snake case of ours");
        assert!(
            words.iter().all(|word| !word.is_empty()),
            "{name} has two underscores together or at its end"
        );
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(
            !words.iter().any(|word| NEVER.contains(word)),
            "{name} has no base unit, or a type, in its name"
        );
        if words.iter().any(|word| TIMES.contains(word)) {
            assert!(name.ends_with("_seconds") || name.ends_with("_blocks"), "{name} does not say its unit");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name} does not say its unit");
        }
        let help = helps.get(name).copied().unwrap_or_default();
        let begins = help.starts_with(|first: char| first.is_ascii_uppercase() || first.is_ascii_digit());
        assert!(
            begins && help.ends_with('.') && help.contains(' '),
            "the help of {name} is no sentence: {help}"
        );
    }
    ask_promtool(scrape);
}

/// Prometheus' own tool, where it is there.
#[expect(clippy::print_stdout, reason = "what was left out has to be seen")]
fn ask_promtool(scrape: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        println!("LEFT OUT: promtool is not there, so what it says of the metrics was not heard");
        return;
    };
    promtool.stdin.take().expect("piped").write_all(scrape.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool says {}", String::from_utf8_lossy(&said));
}

#[test]
fn a_metric_that_breaks_a_rule_is_refused() {
    let fine: String =
        (0..12).map(|number| family(&format!("berth_{number}s"), "gauge", "Just a number.", "")).collect();
    lint(&fine);
    for (what, family) in [
        ("another prefix", family("other_things", "gauge", "Just a number.", "")),
        ("a counter without _total", family("berth_things", "counter", "Just a number.", "")),
        ("a gauge with _total", family("berth_things_total", "gauge", "Just a number.", "")),
        ("no base unit", family("berth_things_minutes", "gauge", "Just a number.", "")),
        ("no unit", family("berth_age", "gauge", "Just a number.", "")),
        ("no sentence", family("berth_things", "gauge", "number", "")),
        ("a tenant", family("berth_things", "gauge", "Just a number.", "{state=\"a\",tenant=\"0x1\"}")),
        ("an upper-case letter", family("berth_Things", "gauge", "Just a number.", "")),
    ] {
        let scrape = format!("{fine}{family}");
        assert!(std::panic::catch_unwind(|| lint(&scrape)).is_err(), "{what} is taken");
    }
}

fn family(name: &str, kind: &str, help: &str, labels: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} 1\n")
}
