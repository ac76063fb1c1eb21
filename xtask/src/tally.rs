//! Counts tests in the output of the test runners.

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u32,
    /// Tests that failed, timed out or crashed.
    pub(crate) failed: u32,
}

impl Tally {
    /// One check that passed or failed.
    pub(crate) fn of(success: bool) -> Self {
        Self { passed: u32::from(success), failed: u32::from(!success) }
    }

    /// Adds the counts of `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Sums up the closing lines of `cargo test`, one for each test binary.
pub(crate) fn of_cargo_test(output: &str) -> Tally {
    let mut tally = Tally::default();
    for line in output.lines().filter(|line| line.starts_with("test result: ")) {
        tally.passed += number_before(line, "passed");
        tally.failed += number_before(line, "failed");
    }
    tally
}

/// Reads the summary line of `cargo nextest run`.
///
/// Nextest leaves out the words whose count is 0. A test that times out is counted apart from
/// those that failed; both failed.
pub(crate) fn of_nextest(output: &str) -> Tally {
    let Some(line) = output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))
    else {
        return Tally::default();
    };
    let failed = ["failed", "exec", "timed"].map(|word| number_before(line, word));
    Tally { passed: number_before(line, "passed"), failed: failed.iter().sum() }
}

/// The number right before `word`, 0 where the word does not occur.
fn number_before(line: &str, word: &str) -> u32 {
    let words: Vec<&str> =
        line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_is_summed_over_binaries() {
        let output = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished\n\
            test result: FAILED. 5 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(of_cargo_test(output), Tally { passed: 7, failed: 3 });
        assert_eq!(of_cargo_test("error: could not compile"), Tally::default());
    }

    #[test]
    fn nextest_is_read_from_its_summary() {
        let passed = "     Summary [   0.4s] 12 tests run: 12 passed (1 slow), 3 skipped\n";
        assert_eq!(of_nextest(passed), Tally { passed: 12, failed: 0 });
        let failed = "     Summary [   9.8s] 9 tests run: 5 passed, 2 failed, 1 exec failed, \
            1 timed out, 0 skipped\n        FAIL [   0.1s] linecard-wire ipv4::tests::short\n";
        assert_eq!(of_nextest(failed), Tally { passed: 5, failed: 4 });
        assert_eq!(of_nextest("error: could not compile"), Tally::default());
    }
}
