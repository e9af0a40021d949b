//! Restore.

use std::collections::BTreeMap;

use crate::decode::{Decode, FreeList, FreeObject, Place, enumeration, object};
use crate::job::Incarnation;
use crate::kinds::plugin::PluginSpec;
use crate::kinds::{CredentialsSource, LocalReference};
use crate::node::{Node, Value};
use crate::scalar::{DateTime, Name, Offset, PartitionNumber, TopicName, Whole};

object! {
    /// `spec` of a Restore.
    RestoreSpec {
        /// The Storage that is read.
        "source" => source: Name,
        /// The EventHub that is written.
        "sink" => sink: Name,
        /// Starts it in Kubernetes.
        "enabled" => enabled: Option<bool>,
        /// What is restored, and how.
        "config" => config: Option<RestoreConfig>,
        /// Another place for `config.plugins`.
        "plugins" => plugins: Option<Vec<PluginSpec>>,
        /// Credentials for the Storage.
        "sourceCredentialsFrom" => source_credentials: Option<CredentialsSource>,
        /// Credentials for the EventHub.
        "sinkCredentialsFrom" => sink_credentials: Option<CredentialsSource>,
        /// A storage has none.
        "sourceAdditionalProps" => source_properties: BTreeMap<String, String>,
        /// Client properties over those of the EventHub.
        "sinkAdditionalProps" => sink_properties: BTreeMap<String, String>,
        /// For people.
        "description" => description: Option<String>,
        /// Pod.
        "affinity" => affinity: Option<FreeObject>,
        /// Pod.
        "annotations" => annotations: BTreeMap<String, String>,
        /// Pod.
        "extraArgs" => extra_args: Vec<String>,
        /// Pod.
        "extraEnvVars" => extra_env_vars: Option<FreeList>,
        /// Pod.
        "imagePullSecrets" => image_pull_secrets: Vec<LocalReference>,
        /// Pod.
        "labels" => labels: BTreeMap<String, String>,
        /// Pod.
        "nodeSelector" => node_selector: BTreeMap<String, String>,
        /// Pod.
        "resources" => resources: Option<FreeObject>,
        /// Pod.
        "serviceAccountName" => service_account_name: Option<String>,
        /// Pod.
        "tolerations" => tolerations: Option<FreeList>,
    }
    check check_restore
}

fn check_restore(spec: &RestoreSpec, at: &mut Place<'_>) {
    let in_config = spec
        .config
        .as_ref()
        .is_some_and(|config| config.plugins.is_some());
    if spec.plugins.is_some() && in_config {
        at.problem_at(
            "plugins",
            "is another place for spec.config.plugins, give only one of them",
        );
    }
}

object! {
    /// `config`.
    RestoreConfig {
        /// The mapping.
        "topics" => topics: Option<Vec<TopicSpec>>,
        /// The mapping as it was written before there was `topics`.
        "mapping" => mapping: Option<BTreeMap<String, OldTopicSpec>>,
        /// Which records.
        "filters" => filters: Option<FiltersSpec>,
        /// Before there was `filters`.
        "restoreFromDateTime" => from_date_time: Option<DateTime>,
        /// Before there was `filters`.
        "restoreUntilDateTime" => until_date_time: Option<DateTime>,
        /// A header for the original offset.
        "legacyOffsetHeader" => legacy_offset_header: Option<Name>,
        /// Topics at a time.
        "parallelism" => parallelism: Option<Whole<1, { u32::MAX as i64 }>>,
        /// Producers at a time; 0 is any number.
        "maxProducers" => max_producers: Option<Whole<0, { u32::MAX as i64 }>>,
        /// A map of schema ids.
        "schemaMappingFrom" => schema_mapping: Option<SchemaMappingSource>,
        /// The plugin chain.
        "plugins" => plugins: Option<Vec<PluginSpec>>,
        /// How the console made the mapping.
        "topicMappingStrategy" => strategy: Option<MappingStrategy>,
        /// What the console put before target names.
        "prefix" => prefix: Option<String>,
        /// What the console put behind target names.
        "suffix" => suffix: Option<String>,
    }
    check check_config
}

fn check_config(config: &RestoreConfig, at: &mut Place<'_>) {
    if config.topics.is_some() && config.mapping.is_some() {
        at.problem_at(
            "mapping",
            "cannot be given beside topics, give only one of them",
        );
    }
    if config.strategy != Some(MappingStrategy::AllAtOnce) {
        for (key, value) in [("prefix", &config.prefix), ("suffix", &config.suffix)] {
            if value.is_some() {
                at.problem_at(key, "goes with topicMappingStrategy: allAtOnce only");
            }
        }
    }
    for (index, topic) in config.topics.iter().flatten().enumerate() {
        let same = |other: &TopicSpec| {
            (&other.source, &other.target, &other.snapshot)
                == (&topic.source, &topic.target, &topic.snapshot)
        };
        let before = &config.topics.as_deref().unwrap_or_default()[..index];
        if !topic.source.0.is_empty() && before.iter().any(same) {
            let (source, target) = (&topic.source.0, &topic.target.0);
            at.within_keys(&["topics"], |at| {
                at.problem_at(index, format!("{source} into {target} is already listed"));
            });
        }
    }
    for source in config.mapping.iter().flatten().map(|(source, _)| source) {
        if let Err(message) = crate::scalar::check_topic_name(source) {
            at.within_keys(&["mapping", source], |at| at.problem(message));
        }
    }
}

enumeration! {
    /// `topicMappingStrategy`.
    MappingStrategy {
        /// No mapping.
        None = "none",
        /// All topics, with affixes.
        AllAtOnce = "allAtOnce",
        /// One by one.
        Advanced = "advanced",
    }
}

object! {
    /// One of `topics`.
    TopicSpec {
        /// Topic in the archive.
        "source" => source: TopicName,
        /// Topic to write.
        "target" => target: TopicName,
        /// Skip the checks.
        "disablePreflightChecks" => disable_preflight: Option<bool>,
        /// Which incarnation.
        "snapshot" => snapshot: Option<SnapshotSpec>,
        /// Only these.
        "partitions" => partitions: Option<Vec<PartitionSpec>>,
    }
    check check_topic
}

fn check_topic(topic: &TopicSpec, at: &mut Place<'_>) {
    let partitions = topic.partitions.as_deref().unwrap_or_default();
    if topic.partitions.is_some() && partitions.is_empty() {
        at.problem_at(
            "partitions",
            "is empty, leave it out to restore all partitions",
        );
    }
    for (index, partition) in partitions.iter().enumerate() {
        let number = partition.number;
        if partitions[..index]
            .iter()
            .any(|other| other.number == number)
        {
            at.within_path(
                &["partitions".into(), index.into(), "number".into()],
                |at| {
                    at.problem(format!("partition {} is already listed", number.0));
                },
            );
        }
    }
}

object! {
    /// `snapshot`.
    SnapshotSpec {
        /// Its number.
        "version" => version: SnapshotVersion,
    }
}

/// `latest`, `1` or `"v1"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotVersion(pub Incarnation);

impl SnapshotVersion {
    fn read(node: &Node) -> Option<Incarnation> {
        let number = match &node.value {
            Value::Text(text) if text == "latest" => return Some(Incarnation::Latest),
            Value::Text(text) => text.strip_prefix('v').unwrap_or(text).parse().ok()?,
            Value::Integer(number) => u32::try_from(*number).ok()?,
            _ => return None,
        };
        (number >= 1).then_some(Incarnation::Version(number))
    }
}

impl Decode for SnapshotVersion {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        SnapshotVersion(SnapshotVersion::read(node).unwrap_or_else(|| {
            at.expected("latest, or a version like 1 or v1", node);
            Incarnation::Latest
        }))
    }

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} int-or-string"));
    }
}

object! {
    /// One of `partitions`.
    PartitionSpec {
        /// The partition.
        "number" => number: PartitionNumber,
        /// First offset, inclusive.
        "restoreFromOffset" => from: Option<Offset>,
        /// Last offset, inclusive.
        "restoreUntilOffset" => until: Option<Offset>,
    }
    check check_partition
}

fn check_partition(partition: &PartitionSpec, at: &mut Place<'_>) {
    check_offsets(partition.from, partition.until, at);
}

fn check_offsets(from: Option<Offset>, until: Option<Offset>, at: &mut Place<'_>) {
    if let (Some(Whole(from)), Some(Whole(until))) = (from, until)
        && until < from
    {
        at.problem_at(
            "restoreUntilOffset",
            format!("{until} is before restoreFromOffset {from}; both are inclusive"),
        );
    }
}

object! {
    /// One of `mapping`.
    OldTopicSpec {
        /// Topic to write.
        "target" => target: TopicName,
        /// Skip the checks.
        "disablePreflightChecks" => disable_preflight: Option<bool>,
        /// Only these.
        "partitions" => partitions: Option<OldPartitions>,
    }
}

object! {
    /// The value of one of `mapping.….partitions`.
    OldPartitionSpec {
        /// First offset, inclusive.
        "restoreFromOffset" => from: Option<Offset>,
        /// Last offset, inclusive.
        "restoreUntilOffset" => until: Option<Offset>,
    }
    check check_old_partition
}

fn check_old_partition(partition: &OldPartitionSpec, at: &mut Place<'_>) {
    check_offsets(partition.from, partition.until, at);
}

/// Partitions by number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OldPartitions(pub BTreeMap<i32, OldPartitionSpec>);

impl Decode for OldPartitions {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let by_text = BTreeMap::<String, OldPartitionSpec>::decode(node, at);
        if matches!(node.value, Value::Map(_)) && by_text.is_empty() {
            at.problem("is empty, leave it out to restore all partitions");
        }
        let mut by_number = BTreeMap::new();
        for (text, partition) in by_text {
            match text.parse::<i32>() {
                // `00` and `0` would be one partition.
                Ok(number) if number >= 0 && number.to_string() == text => {
                    by_number.insert(number, partition);
                }
                _ => at.problem_at(text.as_str(), "is not the number of a partition"),
            }
        }
        OldPartitions(by_number)
    }

    fn outline(path: &str, out: &mut Vec<String>) {
        <BTreeMap<String, OldPartitionSpec>>::outline(path, out);
    }
}

object! {
    /// `filters`.
    FiltersSpec {
        /// By timestamp.
        "time" => time: Option<TimeFilterSpec>,
    }
}

object! {
    /// `filters.time`.
    TimeFilterSpec {
        /// From and to.
        "absolute" => absolute: Option<AbsoluteTimeSpec>,
        /// By what the target would expire.
        "retention" => retention: Option<RetentionFilterSpec>,
    }
}

object! {
    /// `filters.time.absolute`.
    AbsoluteTimeSpec {
        /// Inclusive.
        "fromDateTime" => from: Option<DateTime>,
        /// Exclusive.
        "toDateTime" => to: Option<DateTime>,
    }
}

object! {
    /// `filters.time.retention`.
    RetentionFilterSpec {
        /// What is left out.
        "policies" => policies: Vec<RetentionFilterPolicy>,
    }
}

enumeration! {
    /// One of `filters.time.retention.policies`.
    RetentionFilterPolicy {
        /// What the target topic would expire.
        ApplyTargetTopicRetention = "ApplyTargetTopicRetention",
    }
}

object! {
    /// `schemaMappingFrom`.
    SchemaMappingSource {
        /// A ConfigMap.
        "configMapKeyRef" => config_map: Option<ConfigMapKey>,
    }
}

object! {
    /// `configMapKeyRef`.
    ConfigMapKey {
        /// Its key.
        "key" => key: Name,
        /// Its name.
        "name" => name: Name,
        /// It may be missing.
        "optional" => optional: Option<bool>,
    }
}
