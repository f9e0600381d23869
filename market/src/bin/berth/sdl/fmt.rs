//! `berth sdl fmt`: one layout for all documents.

use std::path::{Path, PathBuf};

use clap::Args;
use manifests::problem::ErrorKind;

use crate::exit::Ending;
use crate::output;
use crate::sdl::outline::text_of;
use crate::sdl::{layout, report, source};

/// Lay documents out in one way, in place.
///
/// Two blanks a level, lists indented, at most one empty line at a time and one between sections. Scalars, the order of keys
/// and all comments stay what they are. Before a file is written the result is read again: it must have the same digest and
/// the same comments, otherwise the file is left alone and named. Documents that are refused for what they say can be laid
/// out too; ones that are no YAML cannot.
///
/// Exit codes: 0 done, 1 a file was left alone, or with --check would change, 2 wrong usage or a file that cannot be read.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Fmt {
    /// The documents, in SDL; - reads standard input and prints the result.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write nothing; name the files that would change, and end with 1 if there are any.
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = "Examples:
  berth sdl fmt deploy.yaml
  berth sdl fmt --check *.yaml
  berth sdl fmt - < deploy.yaml";

pub(super) fn run(fmt: &Fmt) -> anyhow::Result<()> {
    let (mut changes, mut last) = (0, None);
    for path in &fmt.files {
        match one(path, fmt.check) {
            Ok(changed) => changes += usize::from(changed),
            Err(error) => {
                if let Some(before) = last.replace(error) {
                    output::problem(&before);
                }
            }
        }
    }
    match last {
        Some(error) => Err(error),
        None if fmt.check && changes > 0 => {
            Err(Ending::error(Ending::REFUSED, format!("{changes} of {} would change", fmt.files.len())))
        }
        None => Ok(()),
    }
}

/// Lays out one file; whether it was, or would be, changed.
fn one(path: &Path, check: bool) -> anyhow::Result<bool> {
    let bytes = source::read(path)?;
    let name = source::name(path);
    let left = |why: &str| Ending::error(Ending::REFUSED, format!("{name} is left as it is: {why}"));
    if path.extension().is_some_and(|ending| ending == "json") {
        return Err(left("it is JSON, and the layout is YAML's"));
    }
    if let Err(problems) = manifests::parse(&bytes)
        && let Some(first) = problems.first()
        && matches!(
            first.kind,
            ErrorKind::YamlSyntax | ErrorKind::DocumentTooLarge | ErrorKind::DocumentEmpty
        )
    {
        output::progress(report::problems(&name, &bytes, &problems).trim_end());
        return Err(left("it cannot be read"));
    }
    let text = text_of(&bytes).ok_or_else(|| left("it is not in UTF-8"))?;
    let formatted = layout::format(text).map_err(|why| left(&why.to_string()))?;
    let changed = formatted.as_bytes() != bytes;
    match (check, source::is_stream(path)) {
        (true, _) if changed => output::result(&name),
        (true, _) => {}
        (false, true) => output::result(formatted.trim_end_matches('\n')),
        (false, false) if changed => source::replace(path, &formatted)?,
        (false, false) => {}
    }
    Ok(changed)
}
