//! `berth sdl` as people and programs run it: the binary, files, exit codes.

#![expect(clippy::print_stdout, reason = "the counts are what a reader of the test run looks for")]

mod berth;
mod convert;
mod fmt;
mod init;
mod inspect;
mod schema;
mod validate;
