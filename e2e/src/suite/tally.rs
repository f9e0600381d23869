//! Counting what passed and failed, from what test runners write.

use std::fmt;
use std::ops::AddAssign;

/// What came of a part, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// The part could not be run here, and that is not held against it.
    pub not_run: bool,
}

impl Tally {
    /// Of a check that has no tests of its own: it passed or it failed.
    pub(super) fn of_one(ended_well: bool) -> Self {
        Self { passed: u64::from(ended_well), failed: u64::from(!ended_well), ..Self::default() }
    }

    /// The sum of all `test result:` lines that cargo's tests write. Tests that a file marks for the bench are left
    /// out where they are not run, because they are counted where they are.
    pub(super) fn of_cargo_tests(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines().filter_map(|line| line.trim().strip_prefix("test result: ")) {
            tally.passed += number_before(line, " passed");
            tally.failed += number_before(line, " failed");
        }
        tally
    }

    /// The steps of the check of the contracts, each one line: `contracts: ok      formatted (0.1 s)`. One that could not be
    /// run here is neither.
    pub(super) fn of_steps(output: &str) -> Self {
        let count = |word: &str| output.lines().filter(|line| line.trim().starts_with(word)).count() as u64;
        Self { passed: count("contracts: ok "), failed: count("contracts: FAILED "), ..Self::default() }
    }

    /// What forge says about all suites at the end: `93 tests passed, 0 failed, 0 skipped (93 total tests)`.
    pub(super) fn of_forge(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines().filter(|line| line.contains(" total tests)")) {
            tally.passed += number_before(line, " tests passed") + number_before(line, " test passed");
            tally.failed += number_before(line, " failed");
            tally.skipped += number_before(line, " skipped");
        }
        tally
    }

    /// The tally as it is, or with one failure if the runner ended badly without counting any, or ran nothing.
    pub(super) fn or_failed(mut self, ended_well: bool) -> Self {
        if self.failed == 0 && (!ended_well || self.passed == 0) {
            self.failed = 1;
        }
        self
    }
}

/// What tests that passed had to say: figures, and what they left out. Each line once.
pub(super) fn spoken(output: &str) -> Vec<&str> {
    let mut spoken = Vec::new();
    let mut speaks = false;
    for line in output.lines().map(str::trim) {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            speaks = true;
        } else if line.is_empty() {
            speaks = false;
        } else if (speaks
            || line.starts_with("LEFT OUT: ")
            || line.starts_with("COUNTED: ")
            || line.starts_with("contracts: "))
            && !spoken.contains(&line)
        {
            spoken.push(line);
        }
    }
    spoken
}

fn number_before(line: &str, word: &str) -> u64 {
    let digits =
        |text: &str| text.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    line.split_once(word).and_then(|(before, _)| digits(before)).unwrap_or(0)
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_test_programs_add_up() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\n\
                      test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        let tally = Tally::of_cargo_tests(output);
        assert_eq!((tally.passed, tally.failed), (12, 3));
    }

    #[test]
    fn a_step_that_was_not_run_is_neither_passed_nor_failed() {
        let output = "contracts: ok      formatted (0.1 s)\ncontracts: NOT RUN slither (0.1 s)\n\
                      contracts: FAILED  nothing to lint (2.0 s)\ncontracts: 1 checks FAILED; 1 NOT RUN";
        let tally = Tally::of_steps(output);
        assert_eq!((tally.passed, tally.failed), (1, 1));
    }

    #[test]
    fn suites_of_forge_are_counted() {
        let output = "contracts: ok      tests hold (17.1 s)\ncontracts:         Ran 11 test suites in 4.04s (9.15s CPU time): \
                      93 tests passed, 2 failed, 1 skipped (96 total tests)";
        let tally = Tally::of_forge(output);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (93, 2, 1));
    }

    #[test]
    fn a_runner_that_dies_before_it_counts_has_failed() {
        assert_eq!(Tally::of_cargo_tests("error: could not compile").or_failed(false).failed, 1);
    }

    #[test]
    fn a_runner_that_runs_nothing_has_failed() {
        let nothing = Tally::of_cargo_tests("test result: ok. 0 passed; 0 failed; 27 filtered out");
        assert_eq!(nothing.or_failed(true).failed, 1);
    }

    #[test]
    fn what_passing_tests_say_is_told_once() {
        let output = "test a ... ok\n\nsuccesses:\n\n---- a stdout ----\n231 of 231 as expected\n\n---- b stdout ----\n\
                      231 of 231 as expected\n\nsuccesses:\n    a\n    b\nLEFT OUT: a folder\n\
                      COUNTED: 9\n";
        assert_eq!(spoken(output), ["231 of 231 as expected", "LEFT OUT: a folder", "COUNTED: 9"]);
    }

    #[test]
    fn the_closing_line_is_plain() {
        let tally = Tally { passed: 3, ..Tally::default() };
        assert_eq!(tally.to_string(), "3 passed, 0 failed");
    }
}
