//! `armory crds`

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

/// Print the CustomResourceDefinitions of the Kubernetes resources
///
/// They are what `kubectl apply` needs before it takes Backups, Restores and the other resources, and what `kubectl explain` shows. The
/// Helm chart brings the same. They carry an annotation for Helm to keep them when a release is uninstalled, because users'
/// resources would go with them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory crds | kubectl apply --server-side -f -
  armory crds --kind Backup
  armory crds -o json > crds.json")]
pub(crate) struct CrdsArguments {
    /// Only that of one kind
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    pub(crate) kind: Option<String>,

    /// How they are printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: CrdsFormat,
}

/// `-o` of `armory crds`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CrdsFormat {
    /// YAML, a document each.
    #[default]
    Yaml,
    /// JSON: a List, or the one of `--kind`.
    Json,
    /// A reference of every kind and field for people, not only of `--kind`.
    Markdown,
}

fn kinds() -> PossibleValuesParser {
    armory_resources::CRD_KINDS.into()
}
