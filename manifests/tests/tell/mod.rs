//! Figures of a test that passes, written past the test harness, which would keep them to itself.

use std::fmt::Arguments;
use std::io::Write;

/// What was counted or measured.
pub(crate) fn counted(line: Arguments<'_>) {
    write(format_args!("COUNTED: {line}"));
}

/// What was not tested, because something is not there.
pub(crate) fn left_out(line: Arguments<'_>) {
    write(format_args!("LEFT OUT: {line}"));
}

fn write(line: Arguments<'_>) {
    writeln!(std::io::stdout(), "{line}").expect("standard output is there");
}
