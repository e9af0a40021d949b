//! Plugin chains.

use std::path::PathBuf;

use super::Resolver;
use super::builtin::builtin;
use crate::decode::Place;
use crate::job::{
    BuiltinPlugin, NameMatcher, PluginEntry, PluginErrorAction, PluginErrorPolicy, PluginLimits,
    PluginSource, PluginStopRule,
};
use crate::kinds::plugin::{ErrorActionName, ErrorPolicySpec, LimitsSpec, PluginSpec};
use crate::problem::suggestion;
use crate::set::Document;

/// Where a chain runs: it decides which builtin plugins there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Backup,
    Restore,
}

impl<'a> Resolver<'a> {
    /// The entries of a chain; `path` leads to the list.
    pub(super) fn plugins(
        &mut self,
        document: &'a Document,
        path: &[&str],
        specs: &[PluginSpec],
        direction: Direction,
    ) -> Vec<PluginEntry> {
        let bindings = self.bindings;
        self.at(document, path, |at| {
            specs
                .iter()
                .enumerate()
                .filter_map(|(index, spec)| {
                    at.within(index, |at| {
                        entry(spec, direction, &|claim| bindings.claim(claim), at)
                    })
                })
                .collect()
        })
    }
}

fn entry(
    spec: &PluginSpec,
    direction: Direction,
    claim: &dyn Fn(&str) -> Option<PathBuf>,
    at: &mut Place<'_>,
) -> Option<PluginEntry> {
    let error_policy = policy(spec.error_policy.as_ref());
    let limits = limits(spec.limits.as_ref());
    let selectors = selectors(spec);
    let config = spec.spec.as_ref().map(|spec| spec.0.clone());
    if let Some(name) = &spec.name {
        let builtin = is_builtin(&name.0, direction, at)
            .then(|| builtin(&name.0, config.as_ref(), at))
            .flatten()?;
        return Some(PluginEntry {
            label: name.0.clone(),
            source: PluginSource::Builtin(builtin),
            spec: None,
            selectors,
            error_policy,
            limits,
        });
    }
    let wasi = spec.wasi.as_ref()?;
    if wasi.claim.0.is_empty() {
        return None;
    }
    let Some(folder) = claim(&wasi.claim.0) else {
        let name = &wasi.claim.0;
        at.within_keys(&["wasiPluginRef", "claimName"], |at| {
            at.problem(format!(
                "no folder is bound to the claim {name}, add --claim {name}=DIR"
            ));
        });
        return None;
    };
    let path = &wasi.path.0;
    Some(PluginEntry {
        label: path.join("/"),
        source: PluginSource::Wasi {
            file: path.iter().fold(folder, |folder, name| folder.join(name)),
            wit_version: wasi.wit_version.0.clone(),
        },
        spec: config,
        selectors,
        error_policy,
        limits,
    })
}

/// On which topics an entry runs.
fn selectors(spec: &PluginSpec) -> Vec<NameMatcher> {
    let selectors = match (&spec.topic_selectors, &spec.topic_selector) {
        (Some(selectors), _) => selectors,
        (None, Some(alias)) => &alias.0,
        (None, None) => return Vec::new(),
    };
    selectors
        .iter()
        .map(|matcher| matcher.name.0.clone())
        .collect()
}

/// Whether there is such a builtin plugin here. Reports where there is none.
fn is_builtin(name: &str, direction: Direction, at: &mut Place<'_>) -> bool {
    if name.is_empty() {
        return false;
    }
    let message = if !BuiltinPlugin::NAMES.contains(&name) {
        format!(
            "there is no builtin plugin {name:?}{}",
            suggestion(name, BuiltinPlugin::NAMES)
        )
    } else if direction == Direction::Backup {
        format!("the builtin plugin {name} works in a Restore only")
    } else {
        return true;
    };
    at.problem_at("name", message);
    false
}

fn policy(spec: Option<&ErrorPolicySpec>) -> PluginErrorPolicy {
    let mut policy = PluginErrorPolicy::default();
    let Some(spec) = spec else { return policy };
    let cells = [
        (spec.rejected, &mut policy.rejected),
        (spec.error, &mut policy.error),
        (spec.fault, &mut policy.fault),
        (spec.header_key_not_utf8, &mut policy.header_key_not_utf8),
    ];
    for (chosen, cell) in cells {
        match chosen {
            None => {}
            Some(ErrorActionName::Fail) => *cell = PluginErrorAction::Fail,
            Some(ErrorActionName::Drop) => *cell = PluginErrorAction::Drop,
            Some(ErrorActionName::DeadLetter) => *cell = PluginErrorAction::DeadLetter,
            Some(ErrorActionName::PassThrough) => *cell = PluginErrorAction::PassThrough,
        }
    }
    let stop_rule = spec.max_failures.zip(spec.window);
    policy.stop_rule = stop_rule.map(|(max_failures, window)| PluginStopRule {
        max_failures: max_failures.0.unsigned_abs(),
        window: window.0.unsigned_abs(),
    });
    policy
}

fn limits(spec: Option<&LimitsSpec>) -> PluginLimits {
    let mut limits = PluginLimits::default();
    let Some(spec) = spec else { return limits };
    if let Some(memory) = spec.memory {
        limits.memory = memory.0;
    }
    if let Some(timeout) = spec.record_timeout {
        limits.record_timeout = timeout.0;
    }
    if let Some(timeout) = spec.init_timeout {
        limits.init_timeout = timeout.0;
    }
    let sizes = [
        (spec.returned_record, &mut limits.returned_record),
        (spec.component, &mut limits.component),
        (spec.log_line, &mut limits.log_line),
    ];
    for (given, limit) in sizes {
        if let Some(size) = given {
            *limit = size.0;
        }
    }
    if let Some(lines) = spec.log_lines_per_second {
        limits.log_lines_per_second = lines.0.unsigned_abs();
    }
    limits
}
