//! The parts of the suite, in the order in which they run: what fails fast comes first.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::tally::Tally;
use crate::tools::{SLITHER, Tools};
use crate::workspace;

/// One part.
pub(super) struct Part {
    pub name: &'static str,
    pub work: Work,
}

/// Where a part runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Outside, on the sources.
    Check,
    /// The test file of the part's name, outside, on the sources and with the tools.
    CheckWithTools,
    /// The test file of the part's name, inside the bench that stories share.
    StoryOnTheBench,
    /// The test file of the part's name, outside, because it starts benches of its own.
    StoryAboutBenches,
}

impl Work {
    /// Whether a bench is started for it.
    pub(super) fn needs_root(self) -> bool {
        matches!(self, Self::StoryOnTheBench | Self::StoryAboutBenches)
    }
}

/// The tests that need no bench.
const UNIT: &str = "unit";
/// Those of them that are about the chain: a part of its own for those who ask for the chain alone.
const CHAIN_UNIT: &str = "chain_unit";

/// All parts whose name holds one of `filters`, or all, each test once.
pub(super) fn chosen(filters: &[String]) -> Vec<Part> {
    let is_chosen =
        |part: &Part| filters.is_empty() || filters.iter().any(|filter| part.name.contains(filter.as_str()));
    let mut parts: Vec<Part> = all().into_iter().filter(is_chosen).collect();
    if parts.iter().any(|part| part.name == UNIT) {
        parts.retain(|part| part.name != CHAIN_UNIT);
    }
    parts
}

/// All parts.
pub(super) fn all() -> Vec<Part> {
    let checks =
        ["fmt", "clippy", "doc", "deny", "advisories", "contracts", "manifests_unit", UNIT, CHAIN_UNIT];
    let stories = [
        "admission",
        "gateway",
        "bad_input",
        "bidengine",
        "chain",
        "gpus",
        "lease",
        "lent",
        "engines",
        "manifests",
        "objects",
        "stranger",
        "volumes",
        "canary",
        "restart",
        "operators",
        // Last: taking hundreds of leases away again takes as long as running them, and nobody comes after.
        "inventory",
    ];
    let with_tools = ["chart"];
    let about_benches = ["bench_leaves_nothing"];
    let checks = checks.map(|name| Part { name, work: Work::Check });
    let stories = stories.map(|name| Part { name, work: Work::StoryOnTheBench });
    let with_tools = with_tools.map(|name| Part { name, work: Work::CheckWithTools });
    let about_benches = about_benches.map(|name| Part { name, work: Work::StoryAboutBenches });
    checks.into_iter().chain(with_tools).chain(stories).chain(about_benches).collect()
}

impl Part {
    /// The commands of a check; `long` ones where chance tests.
    pub(super) fn check(&self, tools: &Tools, long: bool) -> Result<Vec<Command>> {
        let cargo = |arguments: &[&str]| -> Result<Command> {
            let mut cargo = workspace::cargo()?;
            cargo.args(arguments);
            Ok(cargo)
        };
        // The crate of documents by itself, so that `cargo e2e test manifests` is about documents and nothing else.
        let unit = |packages: &[&str]| -> Result<Command> {
            let mut test = cargo(&["test", "--all-features", "--no-fail-fast"])?;
            test.args(packages).args(["--", "--show-output"]);
            if long {
                test.env("BERTH_KILL_CYCLES", "1000");
            }
            Ok(test)
        };
        let deny = |checks: &[&str]| {
            let mut deny = Command::new(tools.program("cargo-deny", "cargo-deny"));
            deny.current_dir(workspace::root())
                .args(["--locked", "--config", ".deny.toml", "check"])
                .args(checks);
            deny
        };
        Ok(match self.name {
            "fmt" => vec![cargo(&["fmt", "--all", "--check"])?],
            "clippy" => {
                let mut clippy =
                    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--all-features"])?;
                clippy.args(["--", "--deny", "warnings"]);
                vec![clippy]
            }
            "doc" => {
                let mut doc = cargo(&["doc", "--quiet", "--workspace", "--no-deps"])?;
                doc.env("RUSTDOCFLAGS", "--deny warnings");
                vec![doc]
            }
            "deny" => vec![deny(&["bans", "licenses", "sources"])],
            "advisories" => vec![deny(&["advisories"])],
            "contracts" => {
                let mut npm = Command::new("npm");
                npm.current_dir(workspace::root().join("market/contracts")).args(["run", "check"]);
                if long {
                    npm.args(["--", "--long"]);
                }
                if tools.has(SLITHER) {
                    npm.env("SLITHER", tools.program(SLITHER, "slither"));
                }
                // The same contracts beside a model of them: a hundred calls a run, which take two seconds.
                let runs = if long { "200" } else { "20" };
                // With the packages that the tests of all crates are built with, so that nothing is built twice.
                let mut model = cargo(&["test", "--all-features", "--workspace", "--exclude", "manifests"])?;
                model
                    .args(["--test", "chain", "model::", "--", "--show-output"])
                    .env("BERTH_MODEL_RUNS", runs);
                vec![npm, model]
            }
            "manifests_unit" => vec![unit(&["--package", "manifests"])?],
            UNIT => vec![unit(&["--workspace", "--exclude", "manifests"])?],
            CHAIN_UNIT => {
                let of_the_chain = ["--test", "chain", "--test", "stories"];
                vec![unit(&[&["--workspace", "--exclude", "manifests"], &of_the_chain[..]].concat())?]
            }
            other => anyhow::bail!("{other} is no check"),
        })
    }

    /// What came of the part, by what its commands wrote.
    pub(super) fn tally(&self, ended_well: bool, output: &str) -> Tally {
        match (self.work, self.name) {
            (Work::Check, "advisories")
                if !ended_well && output.contains("failed to fetch advisory database") =>
            {
                Tally { not_run: true, ..Tally::default() }
            }
            (Work::Check, "contracts") => {
                let mut tally = Tally::of_forge(output);
                tally += Tally::of_steps(output);
                tally += Tally::of_cargo_tests(output);
                tally.or_failed(ended_well)
            }
            (Work::Check, UNIT | CHAIN_UNIT | "manifests_unit")
            | (Work::CheckWithTools | Work::StoryOnTheBench | Work::StoryAboutBenches, _) => {
                Tally::of_cargo_tests(output).or_failed(ended_well)
            }
            (Work::Check, _) => Tally::of_one(ended_well),
        }
    }
}

/// Builds the test file `name` of this crate and answers where its program lies.
pub(super) fn test_program(name: &str) -> Result<PathBuf> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["test", "--quiet"]).args(workspace::selection(true)).args(["--test", name, "--no-run"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.output().context("failed to start cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_ours = workspace::root().join("e2e/Cargo.toml");
    let mut programs = messages.filter(|message| {
        // Another crate may have a test file of this name.
        message["target"]["name"] == name
            && message["manifest_path"].as_str().is_some_and(|path| of_ours == Path::new(path))
    });
    let program = programs.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.with_context(|| format!("cargo names no program for the test file {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filters: &[&str]) -> Vec<&'static str> {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        chosen(&filters).iter().map(|part| part.name).collect()
    }

    #[test]
    fn a_test_is_run_once_however_parts_are_chosen() {
        assert_eq!(names(&["chain"]), [CHAIN_UNIT, "chain"]);
        assert_eq!(names(&["chain", "unit"]), ["manifests_unit", UNIT, "chain"]);
        assert!(names(&[]).contains(&UNIT) && !names(&[]).contains(&CHAIN_UNIT));
        assert_eq!(names(&["no such part"]), [""; 0]);
    }
}
