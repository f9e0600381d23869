//! `berth-provider`: parse, run, print what went wrong, answer with an exit code.

use std::process::ExitCode;

use clap::Parser;
use provider::cli::Cli;

fn main() -> ExitCode {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return fail("another TLS provider was installed before ours; this is a defect of ours");
    }
    let cli = Cli::parse();
    let runtime = match cli.runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime does not start: {error}")),
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => code,
        Err(error) => fail(&market::sentence::of(&error)),
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a failed verb, also when no log was started")]
fn fail(sentence: &str) -> ExitCode {
    eprintln!("berth-provider: {sentence}");
    ExitCode::FAILURE
}
