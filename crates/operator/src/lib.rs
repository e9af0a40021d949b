//! The operator: controllers that run backups and restores on Kubernetes.
//!
//! It never touches a record. Of a Backup it makes a StatefulSet, of a Restore a Job, whose pods run the same `armory` with a
//! job that was resolved here, by the same rules as on the command line ([`armory_resources`]). What the pods do and say
//! becomes the status of the resource that they run for.
//!
//! [`world`] watches, and reconciliations read nothing else: an operator that has settled makes no requests but
//! watches and renewals of its lease. They are functions of what is seen; running one twice does nothing the second time.

mod apply;
mod backup;
mod children;
mod claims;
mod context;
mod event_hub;
mod hindrance;
mod kinds;
mod lease;
mod names;
mod pod;
mod progress;
mod reason;
mod registry;
mod resolve;
mod restore;
mod run;
mod status;
mod storage;
mod world;

pub use pod::{Image, PodFields};
pub use run::{Health, OperatorError, Options, run};
pub use world::Scope;
