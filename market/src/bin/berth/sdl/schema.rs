//! `berth sdl schema`: the language as editors understand it.

use std::path::PathBuf;

use clap::Args;

use crate::sdl::source;

/// The schema, written by hand.
const SCHEMA: &str = include_str!("sdl.schema.json");

/// Print the JSON schema of documents, for completion and hints in editors.
///
/// It is of draft 7, which the YAML language server and with it most editors read. It knows all keys with their meaning and
/// refuses values that no provider would take. What ties two places of a document together, such as a service that is not
/// there, only `berth sdl validate` sees.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Schema {
    /// Where to write it; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Overwrite the file if it is there.
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "Examples:
  berth sdl schema --file sdl.schema.json

  and as the first line of a document:
  # yaml-language-server: $schema=./sdl.schema.json";

pub(super) fn run(schema: &Schema) -> anyhow::Result<()> {
    source::write_new(&schema.file, SCHEMA, schema.force)
}
