//! A set of documents, as files give it.

use crate::decode::{Decode, DocumentName, Fields, Place};
use crate::kinds::backup::BackupSpec;
use crate::kinds::config_map::ConfigMapDocument;
use crate::kinds::credentials::CredentialsSpec;
use crate::kinds::event_hub::EventHubSpec;
use crate::kinds::metadata::Metadata;
use crate::kinds::restore::RestoreSpec;
use crate::kinds::schema_registry::{
    SchemaRegistryBackupSpec, SchemaRegistryRestoreSpec, SchemaRegistrySpec,
};
use crate::kinds::secret::SecretDocument;
use crate::kinds::storage::StorageSpec;
use crate::node::{Node, Value, parse_documents};
use crate::problem::{Problem, suggestion};

/// The version of all our kinds.
pub const API_VERSION: &str = "kannika.io/v1alpha";

const KINDS: &[&str] = &[
    "Backup",
    "Restore",
    "Storage",
    "EventHub",
    "Credentials",
    "SchemaRegistry",
    "SchemaRegistryBackup",
    "SchemaRegistryRestore",
    "Secret",
    "ConfigMap",
];

/// All documents of one or more files, and what is wrong with their shape.
///
/// Reading never fails: problems are kept, and come out together with those of the references when jobs are
/// made of the set.
#[derive(Debug)]
pub struct ResourceSet {
    pub(crate) documents: Vec<Document>,
    pub(crate) problems: Vec<Problem>,
    files: Vec<String>,
}

/// One document that could be recognised.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) root: Node,
    pub(crate) metadata: Metadata,
    pub(crate) resource: Resource,
}

/// What a document says, by its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// A Backup.
    Backup(Box<BackupSpec>),
    /// A Restore.
    Restore(Box<RestoreSpec>),
    /// A Storage.
    Storage(Box<StorageSpec>),
    /// An EventHub.
    EventHub(Box<EventHubSpec>),
    /// Credentials.
    Credentials(Box<CredentialsSpec>),
    /// A SchemaRegistry.
    SchemaRegistry(Box<SchemaRegistrySpec>),
    /// A SchemaRegistryBackup.
    SchemaRegistryBackup(Box<SchemaRegistryBackupSpec>),
    /// A SchemaRegistryRestore.
    SchemaRegistryRestore(Box<SchemaRegistryRestoreSpec>),
    /// A Secret of Kubernetes.
    Secret(SecretDocument),
    /// A ConfigMap of Kubernetes.
    ConfigMap(ConfigMapDocument),
}

impl Resource {
    /// The kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Resource::Backup(_) => "Backup",
            Resource::Restore(_) => "Restore",
            Resource::Storage(_) => "Storage",
            Resource::EventHub(_) => "EventHub",
            Resource::Credentials(_) => "Credentials",
            Resource::SchemaRegistry(_) => "SchemaRegistry",
            Resource::SchemaRegistryBackup(_) => "SchemaRegistryBackup",
            Resource::SchemaRegistryRestore(_) => "SchemaRegistryRestore",
            Resource::Secret(_) => "Secret",
            Resource::ConfigMap(_) => "ConfigMap",
        }
    }
}

impl Document {
    /// The document's root, to report problems of it.
    pub(crate) fn place<'a>(&'a self, problems: &'a mut Vec<Problem>) -> Place<'a> {
        let name = DocumentName {
            file: &self.file,
            title: &self.title,
        };
        Place::new(name, &self.root, problems)
    }
}

impl ResourceSet {
    /// Reads multi-document YAML: pairs of a file's name (for messages) and its text.
    pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> ResourceSet {
        let mut set = ResourceSet {
            documents: Vec::new(),
            problems: Vec::new(),
            files: Vec::new(),
        };
        for (file, text) in files {
            set.files.push(file.to_owned());
            match parse_documents(text) {
                Ok(roots) => {
                    for (index, root) in roots.into_iter().enumerate() {
                        set.add(file, index, root);
                    }
                }
                Err(message) => set.problems.push(Problem {
                    file: file.to_owned(),
                    line: None,
                    document: String::new(),
                    path: String::new(),
                    message: format!("not YAML: {message}"),
                }),
            }
        }
        set
    }

    /// The documents that could be recognised, as far as they could be read.
    pub fn resources(&self) -> impl Iterator<Item = (&Metadata, &Resource)> {
        self.documents
            .iter()
            .map(|document| (&document.metadata, &document.resource))
    }

    /// The names of the files, for messages.
    pub(crate) fn file_names(&self) -> String {
        self.files.join(", ")
    }

    fn add(&mut self, file: &str, index: usize, root: Node) {
        let title = title(&root, index);
        let mut problems = std::mem::take(&mut self.problems);
        let name = DocumentName {
            file,
            title: &title,
        };
        let mut at = Place::new(name, &root, &mut problems);
        let document = read_document(&root, &mut at).map(|(metadata, resource)| Document {
            file: file.to_owned(),
            title: title.clone(),
            root: root.clone(),
            metadata,
            resource,
        });
        if let Some(document) = document {
            if let Some(first) = self.same_name(&document) {
                let line = first.root.line;
                let place = format!("{}:{line}", first.file);
                document
                    .place(&mut problems)
                    .within_keys(&["metadata", "name"], |at| {
                        at.problem(format!(
                            "this {} is already there, at {place}",
                            document.title
                        ));
                    });
            }
            self.documents.push(document);
        }
        self.problems = problems;
    }

    fn same_name(&self, document: &Document) -> Option<&Document> {
        self.documents.iter().find(|other| {
            other.resource.kind() == document.resource.kind()
                && other.metadata.name == document.metadata.name
                && other.metadata.namespace == document.metadata.namespace
                && !document.metadata.name.0.is_empty()
        })
    }
}

/// `Backup orders`, as far as that can be told.
fn title(root: &Node, index: usize) -> String {
    let text = |node: Option<&Node>| match node.map(|node| &node.value) {
        Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let name = text(
        root.get("metadata")
            .and_then(|metadata| metadata.get("name")),
    );
    match (text(root.get("kind")), name) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        (Some(kind), None) => format!("document {} ({kind})", index + 1),
        _ => format!("document {}", index + 1),
    }
}

fn read_document(root: &Node, at: &mut Place<'_>) -> Option<(Metadata, Resource)> {
    if !matches!(root.value, Value::Map(_)) {
        at.expected("an object with apiVersion, kind, metadata and spec", root);
        return None;
    }
    root.duplicates(&mut Vec::new(), &mut |path| {
        at.within_path(path, |at| at.problem("the key is there twice"));
    });
    let kind = read_kind(root, at)?;
    let version = match kind {
        "Secret" | "ConfigMap" => "v1",
        _ => API_VERSION,
    };
    match root.get("apiVersion").map(|node| &node.value) {
        Some(Value::Text(text)) if text == version => {}
        None | Some(Value::Null) => {
            at.problem_at("apiVersion", format!("missing, expected {version}"))
        }
        Some(_) => {
            let found = root
                .get("apiVersion")
                .map(Node::describe)
                .unwrap_or_default();
            at.problem_at(
                "apiVersion",
                format!("expected {version} for a {kind}, found {found}"),
            );
        }
    }
    let resource = if kind == "Secret" {
        Resource::Secret(SecretDocument::decode(root, at))
    } else if kind == "ConfigMap" {
        Resource::ConfigMap(ConfigMapDocument::decode(root, at))
    } else {
        let fields = Fields::open(
            root,
            &["apiVersion", "kind", "metadata", "spec", "status"],
            at,
        );
        match kind {
            "Backup" => Resource::Backup(Box::new(fields.take("spec", at))),
            "Restore" => Resource::Restore(Box::new(fields.take("spec", at))),
            "Storage" => Resource::Storage(Box::new(fields.take("spec", at))),
            "EventHub" => Resource::EventHub(Box::new(fields.take("spec", at))),
            "SchemaRegistry" => Resource::SchemaRegistry(Box::new(fields.take("spec", at))),
            "SchemaRegistryBackup" => {
                Resource::SchemaRegistryBackup(Box::new(fields.take("spec", at)))
            }
            "SchemaRegistryRestore" => {
                Resource::SchemaRegistryRestore(Box::new(fields.take("spec", at)))
            }
            _ => Resource::Credentials(Box::new(fields.take("spec", at))),
        }
    };
    let metadata = match root.get("metadata") {
        Some(node) => at.within("metadata", |at| Metadata::decode(node, at)),
        None => {
            at.problem_at("metadata", "missing");
            Metadata::default()
        }
    };
    match &resource {
        Resource::Backup(_) => metadata.check_backup(at),
        Resource::Restore(_) => metadata.check_restore(at),
        _ => {}
    }
    Some((metadata, resource))
}

fn read_kind(root: &Node, at: &mut Place<'_>) -> Option<&'static str> {
    let Some(node) = root.get("kind") else {
        at.problem_at(
            "kind",
            format!("missing, expected one of {}", KINDS.join(", ")),
        );
        return None;
    };
    let text = at.within("kind", |at| String::decode(node, at));
    if !matches!(node.value, Value::Text(_)) {
        return None;
    }
    let known = KINDS.iter().find(|kind| **kind == text).copied();
    if known.is_none() {
        at.problem_at(
            "kind",
            format!("unknown kind {text:?}{}", suggestion(&text, KINDS)),
        );
    }
    known
}
