//! `cargo xtask test`: the suites, one after another, and what came of them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{checks, docs, setup};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only this suite (may be given several times)
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<Suite>,
    /// Leave out what needs other programs: no setup, and no tests behind the feature `real`
    #[arg(long)]
    pub(crate) fast: bool,
    /// Check and test only this crate (may be given several times)
    #[arg(short = 'p', long = "package", value_name = "CRATE")]
    pub(crate) packages: Vec<String>,
    /// Run only the tests whose names contain one of these
    #[arg(last = true, value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
}

/// A group of checks with one verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// The code is formatted
    Fmt,
    /// Clippy finds nothing, in any target with any feature
    Clippy,
    /// Dependencies: licences, sources, bans
    Deny,
    /// Unit and integration tests
    Tests,
    /// The examples in the API documentation
    Doctests,
    /// The documentation: API pages build, links lead somewhere
    Docs,
}

/// How many of a suite's checks passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// The counts of a suite that is a single check.
    pub(crate) fn single(passed: bool) -> Counts {
        Counts {
            passed: passed.into(),
            failed: (!passed).into(),
        }
    }
}

struct Outcome {
    suite: Suite,
    counts: Counts,
    took: Duration,
}

/// Runs the suites that `options` ask for; true when all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let suites: Vec<Suite> = Suite::value_variants()
        .iter()
        .copied()
        .filter(|suite| options.suites.is_empty() || options.suites.contains(suite))
        .collect();
    if suites.contains(&Suite::Tests) && !options.fast {
        setup::run()?;
    }
    let mut outcomes = Vec::new();
    for suite in suites {
        eprintln!("\n== {} ==", name(suite));
        let started = Instant::now();
        let counts = match run_suite(suite, options) {
            Ok(counts) => counts,
            Err(error) => {
                eprintln!("error: {error:#}");
                Counts::single(false)
            }
        };
        outcomes.push(Outcome {
            suite,
            counts,
            took: started.elapsed(),
        });
    }
    report(&outcomes)
}

fn run_suite(suite: Suite, options: &Options) -> Result<Counts> {
    match suite {
        Suite::Fmt => checks::fmt(),
        Suite::Clippy => checks::clippy(options),
        Suite::Deny => checks::deny(),
        Suite::Tests => checks::tests(options),
        Suite::Doctests => checks::doctests(options),
        Suite::Docs => docs::check(options),
    }
}

/// Prints a line per suite and the sum as the last line.
fn report(outcomes: &[Outcome]) -> Result<bool> {
    println!();
    let mut sum = Counts::default();
    for Outcome {
        suite,
        counts,
        took,
    } in outcomes
    {
        let Counts { passed, failed } = *counts;
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "{:<9} {verdict:<7} {passed:>5} passed {failed:>3} failed {:>7.1} s",
            name(*suite),
            took.as_secs_f64(),
        );
        sum.passed += passed;
        sum.failed += failed;
    }
    if sum == Counts::default() {
        bail!("nothing was tested");
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    Ok(sum.failed == 0)
}

fn name(suite: Suite) -> String {
    let value = suite.to_possible_value().expect("no suite is hidden");
    value.get_name().to_owned()
}
