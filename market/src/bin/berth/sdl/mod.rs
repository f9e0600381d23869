//! `berth sdl`: write, check and understand documents. Pure work on files: no chain, no context, no network.

mod convert;
mod example;
mod explain;
mod fmt;
mod init;
mod layout;
mod outline;
pub(crate) mod reading;
mod render;
pub(crate) mod report;
mod schema;
mod source;
mod validate;

use clap::Subcommand;

/// What to do with documents.
#[derive(Debug, Subcommand)]
pub(crate) enum SdlVerb {
    Init(init::Init),
    Validate(validate::Validate),
    Explain(explain::Explain),
    Fmt(fmt::Fmt),
    Convert(convert::Convert),
    Render(render::Render),
    Schema(schema::Schema),
}

pub(crate) fn run(verb: SdlVerb) -> anyhow::Result<()> {
    match verb {
        SdlVerb::Init(init) => init::run(&init),
        SdlVerb::Validate(validate) => validate::run(&validate),
        SdlVerb::Explain(explain) => explain::run(&explain),
        SdlVerb::Fmt(fmt) => fmt::run(&fmt),
        SdlVerb::Convert(convert) => convert::run(&convert),
        SdlVerb::Render(render) => render::run(&render),
        SdlVerb::Schema(schema) => schema::run(&schema),
    }
}
