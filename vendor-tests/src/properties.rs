//! How properties are tested that take the kernel.

use proptest::test_runner::{Config, TestRunner, contextualize_config};

/// As many cases, or what `PROPTEST_CASES` says; the same each time if `PROPTEST_RNG_SEED` is set. A case is not
/// made smaller unless `PROPTEST_MAX_SHRINK_ITERS` says how often: each attempt would take seconds.
pub fn runner(cases: u32) -> TestRunner {
    TestRunner::new(contextualize_config(Config {
        cases,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    }))
}
