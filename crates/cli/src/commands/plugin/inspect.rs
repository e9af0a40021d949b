//! `armory plugin inspect`

use std::fmt::Write as _;

use armory_plugins::{Inspection, Limits};
use serde::Serialize;

use super::host;
use crate::args::PluginInspectArguments;
use crate::exit::Exit;
use crate::format::size;
use crate::output;

pub(super) fn run(arguments: &PluginInspectArguments) -> anyhow::Result<Exit> {
    let limits = Limits {
        memory_bytes: usize::try_from(arguments.memory).unwrap_or(usize::MAX),
        ..Limits::default()
    };
    let seen = host()?.inspect(&arguments.file, &limits)?;
    let view = View::new(seen, &limits);
    output::print(arguments.output, &view, View::for_people)?;
    Ok(match view.problems.as_slice() {
        [] => Exit::Done,
        _ => Exit::Failed,
    })
}

/// `-o json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    file: String,
    digest: String,
    bytes: u64,
    bytes_limit: u64,
    /// `backup` or `restore`, by the exports.
    world: String,
    /// Of `kannika:wasi-plugins`; null where the component does not say.
    version: Option<String>,
    imports: Vec<String>,
    exports: Vec<Export>,
    compile_ms: f64,
    /// Null where there is no instance.
    start_ms: Option<f64>,
    start_memory_bytes: Option<u64>,
    memory_limit_bytes: u64,
    /// Why it cannot be a plugin.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Export {
    name: String,
    /// Of a function.
    #[serde(rename = "type")]
    function: Option<String>,
}

impl View {
    fn new(seen: Inspection, limits: &Limits) -> View {
        let mut problems = Vec::new();
        let (mut start_ms, mut start_memory_bytes) = (None, None);
        match seen.start {
            Ok(start) => {
                start_ms = Some(start.time.as_secs_f64() * 1e3);
                match start.memory {
                    Ok(bytes) => start_memory_bytes = Some(bytes),
                    Err(fault) => problems.push(format!("it cannot be started: {fault}")),
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        View {
            file: seen.name,
            digest: seen.digest,
            bytes: seen.bytes,
            bytes_limit: limits.component_bytes,
            world: seen.world.to_string(),
            version: seen.wit_version,
            imports: seen.imports,
            exports: seen
                .exports
                .into_iter()
                .map(|export| Export {
                    name: export.name,
                    function: export.function,
                })
                .collect(),
            compile_ms: seen.compile_time.as_secs_f64() * 1e3,
            start_ms,
            start_memory_bytes,
            memory_limit_bytes: limits.memory_bytes as u64,
            problems,
        }
    }

    fn for_people(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<10} {value}");
        };
        row("file", &self.file);
        let limit = size(self.bytes_limit);
        row("size", &format!("{} of {limit}", size(self.bytes)));
        row("digest", &format!("sha256:{}", self.digest));
        let version = self.version.as_deref().unwrap_or("unknown");
        row(
            "world",
            &format!("{}, kannika:wasi-plugins {version}", self.world),
        );
        row("compile", &milliseconds(self.compile_ms));
        if let (Some(time), Some(bytes)) = (self.start_ms, self.start_memory_bytes) {
            row("start", &milliseconds(time));
            let limit = size(self.memory_limit_bytes);
            row("memory", &format!("{} of {limit}", size(bytes)));
        }
        let mut name = "imports";
        for import in &self.imports {
            row(std::mem::take(&mut name), import);
        }
        name = "exports";
        for export in &self.exports {
            let function = export.function.as_deref().unwrap_or("");
            let line = format!("{}: {function}", export.name);
            row(std::mem::take(&mut name), line.trim_end_matches([':', ' ']));
        }
        match self.problems.as_slice() {
            [] => row("verdict", &format!("a {} plugin", self.world)),
            problems => {
                for problem in problems {
                    row("problem", problem);
                }
            }
        }
        text
    }
}

fn milliseconds(time: f64) -> String {
    let digits = if time < 10.0 { 2 } else { 0 };
    format!("{time:.digits$} ms")
}
