//! From documents to jobs: references are followed, defaults filled in, and what cannot be done yet refused.

mod authenticate;
mod backup;
mod builtin;
mod connect;
mod plugin;
mod restore;

use crate::bindings::Bindings;
use crate::decode::Place;
use crate::job::{BackupJob, RestoreJob};
use crate::problem::{Problem, Problems, near_miss};
use crate::set::{Document, Resource, ResourceSet};

/// The jobs of a set of documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Jobs<T> {
    /// What is to be run, in the order of the documents.
    pub jobs: Vec<T>,
    /// Names of those whose document says `enabled: false`.
    pub paused: Vec<String>,
    /// What is worth knowing and no problem: deprecated keys, and keys that have no effect here.
    pub notes: Vec<Problem>,
}

impl ResourceSet {
    /// What is wrong with the documents one by one, references left alone.
    pub fn check(&self) -> Result<(), Problems> {
        Problems::new(self.problems.clone()).map_or(Ok(()), Err)
    }

    /// Makes a job of every Backup that is enabled. Fails with everything that is wrong with the set.
    pub fn backup_jobs(&self, bindings: &Bindings) -> Result<Jobs<BackupJob>, Problems> {
        Resolver::new(self, bindings).run("Backup", |resolver, document| match &document.resource {
            Resource::Backup(spec) => Some(resolver.backup(document, spec)),
            _ => None,
        })
    }

    /// Makes a job of every Restore that does not say `enabled: false`. Fails with everything that is wrong with the
    /// set.
    pub fn restore_jobs(&self, bindings: &Bindings) -> Result<Jobs<RestoreJob>, Problems> {
        Resolver::new(self, bindings).run("Restore", |resolver, document| {
            match &document.resource {
                Resource::Restore(spec) => Some(resolver.restore(document, spec)),
                _ => None,
            }
        })
    }
}

/// A document made into a job, or switched off.
enum Resolved<T> {
    Job(T),
    Paused,
}

struct Resolver<'a> {
    set: &'a ResourceSet,
    bindings: &'a Bindings,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    fn new(set: &'a ResourceSet, bindings: &'a Bindings) -> Self {
        Resolver {
            set,
            bindings,
            problems: set.problems.clone(),
            notes: Vec::new(),
        }
    }

    fn run<T>(
        mut self,
        kind: &str,
        mut resolve: impl FnMut(&mut Self, &'a Document) -> Option<Resolved<T>>,
    ) -> Result<Jobs<T>, Problems> {
        let mut jobs = Vec::new();
        let mut paused = Vec::new();
        for document in &self.set.documents {
            self.refuse_schema_registries(document);
            match resolve(&mut self, document) {
                Some(Resolved::Job(job)) => jobs.push(job),
                Some(Resolved::Paused) => paused.push(document.metadata.name.0.clone()),
                None => {}
            }
        }
        if jobs.is_empty() && paused.is_empty() && self.problems.is_empty() {
            self.problems.push(Problem {
                file: self.set.file_names(),
                line: None,
                document: String::new(),
                path: String::new(),
                message: format!("there is no {kind} among the documents"),
            });
        }
        match Problems::new(self.problems) {
            Some(problems) => Err(problems),
            None => Ok(Jobs {
                jobs,
                paused,
                notes: self.notes,
            }),
        }
    }

    /// What copies schemas can stand among the documents, and cannot run yet.
    fn refuse_schema_registries(&mut self, document: &Document) {
        let is_enabled = match &document.resource {
            Resource::SchemaRegistryBackup(spec) => spec.is_enabled(),
            Resource::SchemaRegistryRestore(spec) => spec.is_enabled(),
            _ => false,
        };
        if is_enabled {
            let kind = document.resource.kind();
            let message =
                format!("a {kind} does not run yet, set it to false or remove the document");
            self.problem(document, &["spec", "enabled"], message);
        }
    }

    /// Reports a problem of a key of a document.
    fn problem(&mut self, document: &Document, path: &[&str], message: impl Into<String>) {
        document
            .place(&mut self.problems)
            .within_keys(path, |at| at.problem(message));
    }

    /// Notes something about a key of a document.
    fn note(&mut self, document: &Document, path: &[&str], message: impl Into<String>) {
        document
            .place(&mut self.notes)
            .within_keys(path, |at| at.problem(message));
    }

    /// Works at a key of a document.
    fn at<R>(
        &mut self,
        document: &Document,
        path: &[&str],
        work: impl FnOnce(&mut Place<'_>) -> R,
    ) -> R {
        document.place(&mut self.problems).within_keys(path, work)
    }

    /// Follows a reference. What is missing is reported where the reference stands.
    fn find<T>(
        &mut self,
        kind: &str,
        name: &str,
        from: &'a Document,
        path: &[&str],
        pick: impl Fn(&'a Resource) -> Option<&'a T>,
    ) -> Option<(&'a Document, &'a T)> {
        if name.is_empty() {
            // Reported as missing or empty already.
            return None;
        }
        let of_kind: Vec<(&Document, &T)> = self
            .set
            .documents
            .iter()
            .filter_map(|document| pick(&document.resource).map(|found| (document, found)))
            .collect();
        let named = |document: &Document| document.metadata.name.0 == name;
        let here = |document: &Document| document.metadata.namespace == from.metadata.namespace;
        if let Some(found) = of_kind.iter().find(|(d, _)| named(d) && here(d)) {
            return Some(*found);
        }
        let message = match of_kind.iter().find(|(document, _)| named(document)) {
            Some((elsewhere, _)) => format!(
                "the {kind} {name} is in {}, and must be in {} as this document is",
                namespace(elsewhere),
                namespace(from)
            ),
            None => {
                let names: Vec<&str> = of_kind
                    .iter()
                    .filter(|(document, _)| here(document))
                    .map(|(document, _)| document.metadata.name.0.as_str())
                    .collect();
                match near_miss(name, &names) {
                    Some(meant) => format!("there is no {kind} {name}, did you mean {meant}"),
                    None => format!("there is no {kind} {name} among the documents"),
                }
            }
        };
        self.problem(from, path, message);
        None
    }
}

fn namespace(document: &Document) -> String {
    match &document.metadata.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "no namespace".to_owned(),
    }
}

/// The name of a job: it tells writers of an archive apart, so the namespace belongs to it.
fn job_name(document: &Document) -> String {
    let name = &document.metadata.name.0;
    match &document.metadata.namespace {
        Some(namespace) => format!("{namespace}.{name}"),
        None => name.clone(),
    }
}
