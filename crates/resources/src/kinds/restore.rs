//! Restore.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::decode::{Decode, Place, enumeration, object};
use crate::job::Incarnation;
use crate::kinds::CredentialsSource;
use crate::kinds::plugin::PluginSpec;
use crate::kinds::pod::PodFields;
use crate::node::{Node, Value};
use crate::scalar::{DateTime, Name, Offset, PartitionNumber, TopicName, Whole};

object! {
    /// A restore writes topics of an archive into a Kafka cluster, once.
    RestoreSpec {
        /// The name of the Storage that is read.
        "source" => source: Name,
        /// The name of the EventHub that is written.
        "sink" => sink: Name,
        /// Whether the restore runs; `false` stops it, and it can go on later where it was.
        "enabled" => enabled: Option<bool> {"default": false},
        /// What is restored, and how.
        "config" => config: Option<RestoreConfig>,
        /// Another place for `config.plugins`; only one of them can be given.
        "plugins" => plugins: Option<Vec<PluginSpec>> {"maxItems": 64},
        /// Credentials for the Storage: of the kind `aws`, `gcp` or `azureContainerToken`, as the storage needs them.
        "sourceCredentialsFrom" => source_credentials: Option<CredentialsSource>,
        /// Credentials for the EventHub: of the kind `sasl` or `mTls`.
        "sinkCredentialsFrom" => sink_credentials: Option<CredentialsSource>,
        /// Refused where it is not empty: a storage has no such properties.
        "sourceAdditionalProps" => source_properties: BTreeMap<String, String>,
        /// Properties of the client that come over those of the EventHub, for example `acks`.
        "sinkAdditionalProps" => sink_properties: BTreeMap<String, String>,
        ..pod: PodFields,
    }
    check check_restore
    rule "!has(self.plugins) || !has(self.config) || !has(self.config.plugins)" => "plugins is another place for config.plugins, give only one of them"
}

impl RestoreSpec {
    /// Is it to run in a cluster? Not where the key is absent.
    pub fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }

    /// Does it say what is to be restored?
    pub fn has_mappings(&self) -> bool {
        self.config.as_ref().is_some_and(|config| {
            let topics = config
                .topics
                .as_ref()
                .is_some_and(|topics| !topics.is_empty());
            topics
                || config
                    .mapping
                    .as_ref()
                    .is_some_and(|mapping| !mapping.is_empty())
        })
    }

    /// The ConfigMap and its key that schema ids are mapped by.
    pub fn schema_mapping(&self) -> Option<&ConfigMapKey> {
        let config = self.config.as_ref()?;
        config.schema_mapping.as_ref()?.config_map.as_ref()
    }
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
    /// What is restored, and how.
    RestoreConfig {
        /// The topics that are restored, each with the topic that is written.
        "topics" => topics: Option<Vec<TopicSpec>>,
        /// Deprecated, use `topics`: topics of the archive, each with the topic that is written.
        "mapping" => mapping: Option<BTreeMap<String, OldTopicSpec>>,
        /// Which records are restored. Default: all.
        "filters" => filters: Option<FiltersSpec>,
        /// Deprecated, use `filters.time.absolute.fromDateTime`, which wins where both are given: records from this time on
        /// (inclusive), as RFC 3339.
        "restoreFromDateTime" => from_date_time: Option<DateTime>,
        /// Deprecated, use `filters.time.absolute.toDateTime`, which wins where both are given: records before this time
        /// (exclusive), as RFC 3339.
        "restoreUntilDateTime" => until_date_time: Option<DateTime>,
        /// The name of a header that every record gets, with its offset in the archived topic in decimal. Default: none.
        "legacyOffsetHeader" => legacy_offset_header: Option<Name>,
        /// How many topics are written at a time, at least 1. Default: all of them.
        "parallelism" => parallelism: Option<Whole<1, { u32::MAX as i64 }>>,
        /// How many connections write to each broker at a time; 0 is one for each partition, up to 64. Default: 2.
        "maxProducers" => max_producers: Option<Whole<0, { u32::MAX as i64 }>>,
        /// A map from schema ids of the archived cluster to those of the target.
        "schemaMappingFrom" => schema_mapping: Option<SchemaMappingSource>,
        /// Plugins that records pass through before they are written, in this order.
        "plugins" => plugins: Option<Vec<PluginSpec>> {"maxItems": 64},
        /// How a console made `topics`: a note that changes nothing.
        "topicMappingStrategy" => strategy: Option<MappingStrategy>,
        /// What a console put before the names of targets: a note that changes nothing. Goes with
        /// `topicMappingStrategy: allAtOnce` only.
        "prefix" => prefix: Option<String>,
        /// What a console put behind the names of targets: a note that changes nothing. Goes with
        /// `topicMappingStrategy: allAtOnce` only.
        "suffix" => suffix: Option<String>,
    }
    check check_config
    rule "!has(self.topics) || !has(self.mapping)" => "mapping cannot be given beside topics, give only one of them"
    rule "(!has(self.prefix) && !has(self.suffix)) || (has(self.topicMappingStrategy) && self.topicMappingStrategy == 'allAtOnce')" => "prefix and suffix go with topicMappingStrategy: allAtOnce only"
    rule "!has(self.restoreFromDateTime) || !has(self.restoreUntilDateTime) || self.restoreFromDateTime < self.restoreUntilDateTime" => "restoreUntilDateTime must be after restoreFromDateTime"
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
    /// A topic that is restored.
    TopicSpec {
        /// The name of the topic in the archive.
        "source" => source: TopicName,
        /// The name of the topic that is written. It is created where it is not there, and must be empty where it is.
        "target" => target: TopicName,
        /// Whether this topic goes without the checks before the restore. Then it is not created either. Default: false.
        "disablePreflightChecks" => disable_preflight: Option<bool>,
        /// Which of several topics that had the name one after another. Default: the latest.
        "snapshot" => snapshot: Option<SnapshotSpec>,
        /// The partitions that are restored, at least one. Default: all of them.
        "partitions" => partitions: Option<Vec<PartitionSpec>> {"minItems": 1},
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
    /// Which of several topics that had a name one after another: a deleted topic that was created again is another one.
    SnapshotSpec {
        /// `latest`, or the number of the topic, from 1 on: `1` or `v1`.
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
            Value::Text(text) => {
                let digits = text.strip_prefix('v').unwrap_or(text);
                // A sign would be taken, too.
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse().ok().filter(|_| is_number)?
            }
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

    fn schema() -> Json {
        json!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": "^(latest|v?[0-9]+)$",
        })
    }
}

object! {
    /// A partition that is restored.
    PartitionSpec {
        /// The number of the partition, from 0 on.
        "number" => number: PartitionNumber,
        /// The first offset that is restored, inclusive. Default: the first one that is archived.
        "restoreFromOffset" => from: Option<Offset>,
        /// The last offset that is restored, inclusive. Default: the last one that is archived.
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
    /// The topic that is written.
    OldTopicSpec {
        /// The name of the topic that is written.
        "target" => target: TopicName,
        /// Whether this topic goes without the checks before the restore. Then it is not created either. Default: false.
        "disablePreflightChecks" => disable_preflight: Option<bool>,
        /// The partitions that are restored by their numbers, at least one. Default: all of them.
        "partitions" => partitions: Option<OldPartitions>,
    }
}

object! {
    /// Which records of a partition are restored.
    OldPartitionSpec {
        /// The first offset that is restored, inclusive. Default: the first one that is archived.
        "restoreFromOffset" => from: Option<Offset>,
        /// The last offset that is restored, inclusive. Default: the last one that is archived.
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

    fn schema() -> Json {
        let mut schema = <BTreeMap<String, OldPartitionSpec>>::schema();
        schema["minProperties"] = 1.into();
        schema
    }
}

object! {
    /// Which records are restored.
    FiltersSpec {
        /// By the timestamps of records.
        "time" => time: Option<TimeFilterSpec>,
    }
}

object! {
    /// Which records are restored, by their timestamps.
    TimeFilterSpec {
        /// Records between two times.
        "absolute" => absolute: Option<AbsoluteTimeSpec>,
        /// Records that the target would keep.
        "retention" => retention: Option<RetentionFilterSpec>,
    }
}

object! {
    /// Records between two times.
    AbsoluteTimeSpec {
        /// Records from this time on (inclusive), as RFC 3339: `2026-01-01T00:00:00Z`.
        "fromDateTime" => from: Option<DateTime>,
        /// Records before this time (exclusive), as RFC 3339.
        "toDateTime" => to: Option<DateTime>,
    }
    rule "!has(self.fromDateTime) || !has(self.toDateTime) || self.fromDateTime < self.toDateTime" => "toDateTime must be after fromDateTime"
}

object! {
    /// Records that the target would keep.
    RetentionFilterSpec {
        /// `ApplyTargetTopicRetention` leaves out records that the target topic would expire at once.
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
    /// A map from schema ids to schema ids.
    SchemaMappingSource {
        /// A key of a ConfigMap of the same namespace, whose text is a YAML object: `{7: 42}`.
        "configMapKeyRef" => config_map: Option<ConfigMapKey>,
    }
}

object! {
    /// A key of a ConfigMap.
    ConfigMapKey {
        /// The key.
        "key" => key: Name,
        /// The name of the ConfigMap.
        "name" => name: Name,
        /// Whether ConfigMap or key may be missing; then ids are not mapped. Default: false.
        "optional" => optional: Option<bool>,
    }
}
