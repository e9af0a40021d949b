//! The suites that are cargo's own business: formatting, lints, dependencies, tests.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use armory_testkit::kubernetes::Suite;
use armory_testkit::{Kafka, KafkaOptions, cache, kafka};
use regex::Regex;

use crate::commands::{self, cargo};
use crate::guests;
use crate::setup::{DENY, NEXTEST};
use crate::suites::{Counts, Options};

/// Every file is as rustfmt would write it.
pub(crate) fn fmt() -> Result<Counts> {
    single(cargo().args(["fmt", "--all", "--check"]))
}

/// No lint fires, in any target with any feature.
pub(crate) fn clippy(options: &Options) -> Result<Counts> {
    let mut command = cargo();
    command.args(["clippy", "--locked", "--all-targets", "--all-features"]);
    select_packages(&mut command, options);
    single(command.args(["--", "--deny", "warnings"]))
}

/// Every dependency has a licence and a source that `deny.toml` allows.
pub(crate) fn deny() -> Result<Counts> {
    let mut command = Command::new(DENY.path()?);
    command.current_dir(commands::root());
    command.args(["--workspace", "--all-features", "--locked"]);
    single(command.args([
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// Unit and integration tests, with one Kafka broker and one Kubernetes cluster for all tests that can share them.
pub(crate) fn tests(options: &Options) -> Result<Counts> {
    let mut build = nextest(options)?;
    commands::run(build.arg("--no-run"))?;

    // The cluster is started by the first test that needs it, and ends with the run.
    let _cluster = match options.fast {
        true => None,
        false => Some(Suite::begin()?),
    };
    let broker = if options.fast {
        None
    } else {
        // Now rather than inside a test, which would be taken for hanging while it compiles Rust's standard library or waits
        // for a registry.
        guests::run()?;
        Some(start_broker()?)
    };
    // nextest keeps its reports below the workspace, wherever the target folder is.
    let report = commands::root().join("target/nextest/default/junit.xml");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let mut command = nextest(options)?;
    if let Some(broker) = &broker {
        command.env(kafka::SHARED, broker.bootstrap());
        command.env("ARMORY_KAFKA_LIB", kafka::fetch::jars()?);
        command.env("ARMORY_CACHE", cache::root()?);
    }
    let status = command.args(&options.filters).status()?;
    let counts = junit_counts(&fs::read_to_string(&report).with_context(|| {
        format!(
            "the test runner ended ({status}) without a report in {}",
            report.display()
        )
    })?)?;
    if !status.success() && counts.failed == 0 {
        bail!("the test runner failed ({status})");
    }
    Ok(counts)
}

fn start_broker() -> Result<Kafka> {
    let options = KafkaOptions {
        heap: "1g".to_owned(),
        ..KafkaOptions::default()
    };
    Kafka::start(options).context("cannot start the broker that tests share")
}

fn nextest(options: &Options) -> Result<Command> {
    let mut command = Command::new(NEXTEST.path()?);
    command.current_dir(commands::root());
    command.args(["nextest", "run", "--locked"]);
    if !options.fast {
        command.arg("--all-features");
    }
    select_packages(&mut command, options);
    Ok(command)
}

/// The examples in the API documentation; nextest cannot run them.
pub(crate) fn doctests(options: &Options) -> Result<Counts> {
    let mut command = cargo();
    command.args(["test", "--locked", "--doc", "--no-fail-fast"]);
    if !options.fast {
        command.arg("--all-features");
    }
    select_packages(&mut command, options);
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let counts = libtest_counts(&text);
    if !output.status.success() && counts.failed == 0 {
        bail!(
            "the documentation's examples do not build ({})",
            output.status
        );
    }
    Ok(counts)
}

pub(crate) fn select_packages(command: &mut Command, options: &Options) {
    if options.packages.is_empty() {
        command.arg("--workspace");
    }
    for package in &options.packages {
        command.args(["--package", package]);
    }
}

/// Runs a command that is one check.
pub(crate) fn single(command: &mut Command) -> Result<Counts> {
    Ok(Counts::single(command.status()?.success()))
}

/// Reads the sums on the root element of a JUnit report.
fn junit_counts(report: &str) -> Result<Counts> {
    let root = Regex::new("<testsuites[^>]*>")?;
    let root = root
        .find(report)
        .context("the report has no <testsuites>")?
        .as_str();
    let number = |attribute: &str| -> Result<u64> {
        let pattern = Regex::new(&format!("\\b{attribute}=\"([0-9]+)\""))?;
        let found = pattern
            .captures(root)
            .with_context(|| format!("no {attribute} in {root}"))?;
        Ok(found[1].parse()?)
    };
    let failed = number("failures")? + number("errors")?;
    Ok(Counts {
        passed: number("tests")? - failed,
        failed,
    })
}

/// Adds up the `test result:` lines of libtest.
fn libtest_counts(output: &str) -> Counts {
    let line = Regex::new("(?m)^test result: .* ([0-9]+) passed; ([0-9]+) failed;")
        .expect("the pattern is valid");
    let mut counts = Counts::default();
    for found in line.captures_iter(output) {
        counts.passed += found[1].parse::<u64>().unwrap_or(0);
        counts.failed += found[2].parse::<u64>().unwrap_or(0);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_from_the_root_of_the_report() -> Result<()> {
        let report = r#"<?xml version="1.0"?>
            <testsuites name="nextest-run" tests="12" failures="2" errors="1" time="3.2">
            <testsuite name="a" tests="12" failures="9" errors="9"></testsuite></testsuites>"#;
        assert_eq!(
            junit_counts(report)?,
            Counts {
                passed: 9,
                failed: 3
            }
        );
        assert!(junit_counts("").is_err());
        Ok(())
    }

    #[test]
    fn result_lines_of_all_crates_add_up() {
        let output = "test result: ok. 3 passed; 0 failed; 0 ignored\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(
            libtest_counts(output),
            Counts {
                passed: 4,
                failed: 2
            }
        );
    }
}
