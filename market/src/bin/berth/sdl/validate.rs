//! `berth sdl validate`: would a provider take these documents?

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use manifests::Deployment;
use manifests::problem::{Problem, Warning};
use serde::Serialize;

use crate::exit::Ending;
use crate::output;
use crate::sdl::reading::Faithfulness;
use crate::sdl::{report, source};

/// Check documents, and say what is wrong where.
///
/// Every problem of a document is told, the one that stands in the way first: its kind, its place in the tree and in the text,
/// and what to write instead. What is accepted but hardly meant, such as a misspelt key, is a warning. Values of env and
/// credentials are never shown.
///
/// With --output json, one line for each file on standard output:
/// {"file","accept","version","errors":[{"kind","path","line","column","message"}]}, where version is the digest of the
/// manifest that the document stands for, and kind never changes its meaning. A file that cannot be read is refused with kind
/// "io", without path and place.
///
/// Exit codes: 0 all are accepted, 1 one is refused or cannot be read, 2 wrong usage.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Validate {
    /// The documents, in SDL; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
    /// Tell also where stricter readers, such as the web console of the other network, would refuse or wonder.
    #[arg(long)]
    advise: bool,
    #[command(flatten)]
    faithfulness: Faithfulness,
}

const EXAMPLES: &str = "Examples:
  berth sdl validate deploy.yaml
  berth sdl validate --output json *.yaml | jq 'select(.accept | not)'";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// The answer to one document, as programs read it.
#[derive(Serialize)]
struct Answer<'a> {
    file: String,
    accept: bool,
    /// The digest of the manifest in hex, if there is one.
    version: Option<String>,
    errors: Vec<Refusal<'a>>,
}

#[derive(Serialize)]
struct Refusal<'a> {
    kind: &'static str,
    path: &'a str,
    line: u32,
    column: u32,
    message: &'a str,
}

pub(super) fn run(validate: &Validate) -> anyhow::Result<()> {
    let mut refused = 0;
    for path in &validate.files {
        let bytes = match source::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                refused += 1;
                match validate.output {
                    Format::Json => output::result(serde_json::to_string(&unread(path, &error.to_string()))?),
                    Format::Text => output::problem(&error),
                }
                continue;
            }
        };
        let verdict = validate.faithfulness.read(&bytes);
        refused += usize::from(verdict.is_err());
        match validate.output {
            Format::Json => output::result(serde_json::to_string(&answer(path, &verdict))?),
            Format::Text => output::result(told(path, &bytes, &verdict, validate.advise)),
        }
    }
    match (refused, validate.files.len()) {
        (0, _) => Ok(()),
        (1, 1) => Err(Ending::error(Ending::REFUSED, "the document is refused")),
        (refused, all) => {
            let are = if refused == 1 { "is" } else { "are" };
            Err(Ending::error(Ending::REFUSED, format!("{refused} of {all} documents {are} refused")))
        }
    }
}

/// The answer to a file that is no document, because nothing can be read of it.
fn unread<'a>(path: &Path, message: &'a str) -> Answer<'a> {
    let errors = vec![Refusal { kind: "io", path: "", line: 0, column: 0, message }];
    Answer { file: path.display().to_string(), accept: false, version: None, errors }
}

fn answer<'a>(path: &'a Path, verdict: &'a Result<Deployment, Vec<Problem>>) -> Answer<'a> {
    let file = path.display().to_string();
    match verdict {
        Ok(deployment) => {
            let version = Some(hex::encode(deployment.manifest.digest().0));
            Answer { file, accept: true, version, errors: Vec::new() }
        }
        Err(problems) => {
            let refusal = |problem: &'a Problem| Refusal {
                kind: problem.kind.as_str(),
                path: &problem.path,
                line: problem.line,
                column: problem.column,
                message: &problem.message,
            };
            Answer { file, accept: false, version: None, errors: problems.iter().map(refusal).collect() }
        }
    }
}

fn told(path: &Path, bytes: &[u8], verdict: &Result<Deployment, Vec<Problem>>, advise: bool) -> String {
    let file = source::name(path);
    match verdict {
        Ok(deployment) => {
            let mut warnings = deployment.warnings.clone();
            if advise {
                // What the language itself wonders at is told once.
                let advice = manifests::advise(bytes).into_iter();
                let known = |advice: &Warning| warnings.iter().any(|warning| warning.path == advice.path);
                let more: Vec<Warning> = advice.filter(|advice| !known(advice)).collect();
                warnings.extend(more);
            }
            let mut text =
                format!("{file}: accepted, version {}\n", hex::encode(deployment.manifest.digest().0));
            text.push_str(&report::warnings(&file, bytes, &warnings));
            // Between what is told of one file and the next stands an empty line, where it is more than a line.
            if warnings.is_empty() { text.trim_end().to_owned() } else { text }
        }
        Err(problems) => report::problems(&file, bytes, problems),
    }
}
