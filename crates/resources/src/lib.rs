//! The resources of `kannika.io/v1alpha` as the command line and the operator read them, and the pure rules that
//! turn them into jobs.
//!
//! A user describes a backup in a few YAML documents: a Backup or a Restore, the EventHub (Kafka cluster) and the
//! Storage that it names, Credentials where they are needed. This crate reads such documents, tells everything
//! that is wrong with them at once, each with its path, and resolves them into [`job::BackupJob`] and
//! [`job::RestoreJob`]: plain data with every reference followed and every default filled in. The engine takes
//! nothing else. Nothing here connects to anything, and no key is ever ignored: one that is not understood, or
//! whose behaviour does not exist yet, is an error.

mod bindings;
mod crd;
mod decode;
pub mod job;
pub mod kinds;
mod matcher;
mod node;
mod path;
mod problem;
mod resolve;
pub mod scalar;
mod schema;
mod set;

pub use bindings::{BindingError, Bindings, Needs, pod};
pub use crd::{CRD_KINDS, crds, outline, reference};
pub use decode::{AnyObject, Kept, Required};
pub use problem::{LONGEST_SENTENCE, Problem, Problems};
pub use resolve::Jobs;
pub use set::{API_VERSION, Resource, ResourceSet};
