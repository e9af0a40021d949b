//! `cargo xtask bench plugins`: what plugins of every language cost, in one table.
//!
//! The figures are those of `armory plugin bench`; here are the components, and the table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use armory_testkit::guests::{self, Language, World};
use serde_json::Value;

use crate::commands::root;

/// A component to measure.
struct Contestant {
    name: String,
    component: PathBuf,
    /// Where it takes one.
    config: Option<PathBuf>,
}

/// One that hands records back as they came, and what authors begin a backup's plugin with in every language.
fn contestants() -> Result<Vec<Contestant>> {
    let mut contestants = vec![Contestant {
        name: "Rust, identity".to_owned(),
        component: guests::build_rust("identity-backup")?,
        config: None,
    }];
    let examples = root().join("guests");
    let rust = (guests::build_rust("drop-header")?, "rust/drop-header");
    let mut templates = vec![(Language::Rust, rust)];
    for (language, folder) in [
        (Language::Python, "python/backup"),
        (Language::Go, "go/backup"),
        (Language::Javascript, "javascript/backup"),
    ] {
        templates.push((language, (guests::build(language, World::Backup)?, folder)));
    }
    contestants.extend(
        templates
            .into_iter()
            .map(|(language, (component, folder))| Contestant {
                name: language.to_string(),
                component,
                config: Some(examples.join(folder).join("config.yaml"))
                    .filter(|file| file.is_file()),
            }),
    );
    Ok(contestants)
}

/// Measures with the binary `armory`, and prints the table as Markdown; `options` are those of `armory plugin bench`.
pub(crate) fn run(armory: &Path, options: &[String]) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let mut measured = Vec::new();
    for Contestant {
        name,
        component,
        config,
    } in contestants()?
    {
        // A cache of its own, so that compiling is measured, too.
        let mut command = Command::new(armory);
        command
            .current_dir(root())
            .env("XDG_CACHE_HOME", cache.path())
            .args(["plugin", "bench", "-o", "json"])
            .args(options)
            .arg(&component);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let output = command.output().context("cannot run armory")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("cannot measure {}: {errors}", component.display());
        }
        let view = serde_json::from_slice(&output.stdout).context("it printed no JSON")?;
        measured.push((name, view));
    }
    print!("{}", table(&measured)?);
    Ok(())
}

/// A row for every plugin: nanoseconds a record by size and headers, and what the component takes besides.
fn table(measured: &[(String, Value)]) -> Result<String> {
    let Some((_, first)) = measured.first() else {
        bail!("nothing was measured");
    };
    let rows = |view: &Value| view["rows"].as_array().cloned().unwrap_or_default();
    let kinds = rows(first);
    let mut text = String::from("| ns a record |");
    for kind in &kinds {
        let _ = write!(text, " {} |", kind["records"].as_str().unwrap_or_default());
    }
    text.push_str(
        " all cores, × one | compile, ms | from the cache, ms | start, ms | memory, MiB | growth in 10,000 calls, KiB | not accepted |\n|---|",
    );
    text.push_str(&"---:|".repeat(kinds.len() + 7));
    text.push('\n');
    for (name, view) in measured {
        let _ = write!(text, "| {name} |");
        for row in rows(view) {
            let _ = write!(text, " {:.0} |", row["nsPerRecord"].as_f64().unwrap_or(0.0));
        }
        let speedup = view["parallel"]["timesOne"].as_f64().unwrap_or(0.0);
        let _ = write!(text, " {speedup:.2} |");
        for name in ["compileMs", "loadMs", "startMs"] {
            match view[name].as_f64() {
                Some(time) => _ = write!(text, " {time:.2} |"),
                None => text.push_str(" – |"),
            }
        }
        let bytes = |name: &str| view["memory"][name].as_f64().unwrap_or(0.0);
        let memory = bytes("atEndBytes") / f64::from(1 << 20);
        let growth = bytes("growthPer10000CallsBytes") / f64::from(1 << 10);
        let failed = view["memory"]["notAccepted"].as_u64().unwrap_or(0);
        let _ = writeln!(text, " {memory:.1} | {growth:.0} | {failed} |");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_rows() {
        let view = |ns: f64, compile: Value| {
            serde_json::json!({
                "rows": [{"records": "0 B, 0 headers", "nsPerRecord": ns}, {"records": "1.0 KiB, 6 headers", "nsPerRecord": 2.0 * ns}],
                "compileMs": compile, "loadMs": 0.4, "startMs": 0.02,
                "parallel": {"timesOne": 1.9},
                "memory": {"notAccepted": 0, "atEndBytes": 1_572_864, "growthPer10000CallsBytes": 65536}
            })
        };
        let measured = [
            ("Rust".to_owned(), view(700.0, 20.5.into())),
            ("Python".to_owned(), view(20000.0, Value::Null)),
        ];
        assert_eq!(
            table(&measured).unwrap(),
            "| ns a record | 0 B, 0 headers | 1.0 KiB, 6 headers | all cores, × one | compile, ms | from the cache, ms | start, ms | memory, MiB | growth in 10,000 calls, KiB | not accepted |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n\
             | Rust | 700 | 1400 | 1.90 | 20.50 | 0.40 | 0.02 | 1.5 | 64 | 0 |\n\
             | Python | 20000 | 40000 | 1.90 | – | 0.40 | 0.02 | 1.5 | 64 | 0 |\n"
        );
    }
}
