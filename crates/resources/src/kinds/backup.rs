//! Backup.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use crate::decode::{Decode, Kept, Place, Required, enumeration, object};
use crate::job::{CompressionAlgorithm, NameMatcher, NamePattern};
use crate::kinds::CredentialsSource;
use crate::kinds::plugin::PluginSpec;
use crate::kinds::pod::{EnvVarSpec, PodFields, ResourcesSpec};
use crate::node::Node;
use crate::scalar::{Interval, Name, Size, TopicName, Whole};

object! {
    /// A backup copies topics of a Kafka cluster into a storage, continuously.
    BackupSpec {
        /// The name of the EventHub that is read.
        "source" => source: Name,
        /// The name of the Storage that is written.
        "sink" => sink: Name,
        /// Whether the backup runs; `false` pauses it, and it goes on later where it was. Default: true.
        "enabled" => enabled: Option<bool>,
        /// Topics that are named one by one.
        "streams" => streams: Vec<StreamSpec>,
        /// Topics that are chosen by pattern, also those that appear later. Kafka's internal topics are never chosen so.
        "topicSelectors" => topic_selectors: Option<TopicSelectorsSpec>,
        /// How what is stored is compressed, beyond what producers compressed. A change affects new data only. Default:
        /// not at all.
        "compression" => compression: Option<CompressionConfig>,
        /// When a segment is closed. What is in a segment of a remote storage is safe when it is closed.
        "segmentRolloverTriggers" => rollover: Option<RolloverSpec>,
        /// How many bytes are gathered for a partition before they are written to a file, as a number or like `64 KiB`.
        /// Default: 8 KiB.
        "writeBufferSize" => write_buffer_size: Option<Size>,
        /// How many pods share the partitions. Default: one pod has all of them.
        "workGroup" => work_group: Option<WorkGroupSpec>,
        /// How lag is measured, which is how many records are not archived yet.
        "lagMonitor" => lag_monitor: Option<LagMonitorSpec>,
        /// The metrics of a pod.
        "monitoring" => monitoring: Option<MonitoringSpec>,
        /// Plugins that records pass through before they are stored, in this order.
        "plugins" => plugins: Vec<PluginSpec> {"maxItems": 64},
        /// Credentials for the EventHub: of the kind `sasl` or `mTls`.
        "sourceCredentialsFrom" => source_credentials: Option<CredentialsSource>,
        /// Credentials for the Storage: of the kind `aws`, `gcp` or `azureContainerToken`, as the storage needs them.
        "sinkCredentialsFrom" => sink_credentials: Option<CredentialsSource>,
        /// Properties of the client that come over those of the EventHub, for example `group.id`.
        "sourceAdditionalProps" => source_properties: BTreeMap<String, String>,
        /// Refused where it is not empty: a storage has no such properties.
        "sinkAdditionalProps" => sink_properties: BTreeMap<String, String>,
        ..pod: PodFields,
    }
    check check_backup
}

impl BackupSpec {
    /// Is it to run? Also where the key is absent.
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }

    /// Does it select anything: a stream that is not switched off, or a matcher?
    pub fn has_streams(&self) -> bool {
        let selectors = self.topic_selectors.as_ref();
        self.streams
            .iter()
            .any(|stream| stream.enabled != Some(false))
            || selectors.is_some_and(|selectors| !selectors.matchers.0.is_empty())
    }

    /// How many pods share the work, 1 to 16.
    pub fn workers(&self) -> u32 {
        let group = self.work_group.as_ref();
        // Decoded within its range.
        group.map_or(1, |group| group.workers.0 as u32)
    }

    /// Does a pod serve metrics?
    pub fn has_metrics(&self) -> bool {
        let monitoring = self.monitoring.as_ref();
        monitoring.is_none_or(|monitoring| monitoring.enabled != Some(false))
    }
}

fn check_backup(spec: &BackupSpec, at: &mut Place<'_>) {
    for (index, stream) in spec.streams.iter().enumerate() {
        let same = |other: &StreamSpec| other.topic == stream.topic;
        if !stream.topic.0.is_empty() && spec.streams[..index].iter().any(same) {
            let topic = &stream.topic.0;
            at.within_keys(&["streams"], |at| {
                at.problem_at(index, format!("topic {topic} is already listed"));
            });
        }
    }
}

object! {
    /// A topic that is backed up.
    StreamSpec {
        /// The name of the topic.
        "topic" => topic: TopicName,
        /// `false` leaves the topic out, also where a matcher takes it. Default: true.
        "enabled" => enabled: Option<bool>,
    }
}

object! {
    /// Topics by pattern.
    TopicSelectorsSpec {
        /// Topics that are backed up.
        "matchers" => matchers: Required<Vec<TopicMatcher>> {"maxItems": 1000},
        /// Topics that are not; they win over `matchers`. What `streams` names is not touched.
        "excludeMatchers" => exclude_matchers: Vec<TopicMatcher> {"maxItems": 1000},
    }
}

object! {
    /// A matcher of topics.
    TopicMatcher {
        /// How the name of a topic is matched: by exactly one of `literal`, `regex` and `glob`.
        "name" => name: MatcherName,
    }
}

object! {
    /// Exactly one of three kinds of patterns.
    MatcherSpec {
        /// The name itself.
        "literal" => literal: Option<String>,
        /// A regular expression (Rust's `regex`) that is found anywhere in the name: anchor it with `^` and `$`.
        "regex" => regex: Option<String>,
        /// A shell pattern of the whole name: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`.
        "glob" => glob: Option<String>,
    }
    exactly_one ["literal", "regex", "glob"]
}

/// A [`MatcherSpec`], compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct MatcherName(pub NameMatcher);

impl Default for MatcherName {
    fn default() -> Self {
        MatcherName(NameMatcher::literal(""))
    }
}

impl Decode for MatcherName {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let spec = MatcherSpec::decode(node, at);
        let (key, pattern) = match spec {
            MatcherSpec {
                literal: Some(text),
                ..
            } => ("literal", NamePattern::Literal(text)),
            MatcherSpec {
                regex: Some(text), ..
            } => ("regex", NamePattern::Regex(text)),
            MatcherSpec {
                glob: Some(text), ..
            } => ("glob", NamePattern::Glob(text)),
            _ => return MatcherName::default(),
        };
        match NameMatcher::new(pattern) {
            Ok(matcher) => MatcherName(matcher),
            Err(error) => {
                at.problem_at(key, error.to_string());
                MatcherName::default()
            }
        }
    }

    fn schema() -> Json {
        MatcherSpec::schema()
    }
}

object! {
    /// Compression of what is stored.
    CompressionConfig {
        /// The algorithm. `zstd`, `gzip` and `none` work; the others are refused until they do.
        "algorithm" => algorithm: AlgorithmName,
        /// The level: -7 to 22 of `zstd`, 0 to 9 of `gzip`. Default: that of the algorithm.
        "quality" => quality: Option<Whole<{ i32::MIN as i64 }, { i32::MAX as i64 }>>,
    }
}

enumeration! {
    /// `compression.algorithm`.
    AlgorithmName {
        /// zstd
        Zstd = "zstd",
        /// gzip
        Gzip = "gzip",
        /// bzip2
        Bzip2 = "bzip2",
        /// xz
        Xz = "xz",
        /// deflate
        Deflate = "deflate",
        /// brotli
        Brotli = "brotli",
        /// lzma
        Lzma = "lzma",
        /// zlib
        Zlib = "zlib",
        /// No outer compression.
        None = "none",
    }
}

impl AlgorithmName {
    /// The algorithm, where one is meant.
    pub fn algorithm(self) -> Option<CompressionAlgorithm> {
        Some(match self {
            AlgorithmName::None => return None,
            AlgorithmName::Zstd => CompressionAlgorithm::Zstd,
            AlgorithmName::Gzip => CompressionAlgorithm::Gzip,
            AlgorithmName::Bzip2 => CompressionAlgorithm::Bzip2,
            AlgorithmName::Xz => CompressionAlgorithm::Xz,
            AlgorithmName::Deflate => CompressionAlgorithm::Deflate,
            AlgorithmName::Brotli => CompressionAlgorithm::Brotli,
            AlgorithmName::Lzma => CompressionAlgorithm::Lzma,
            AlgorithmName::Zlib => CompressionAlgorithm::Zlib,
        })
    }
}

object! {
    /// When a segment is closed: by what comes first.
    RolloverSpec {
        /// Size in bytes, as a number or like `25 MiB`; at least 1. Default: 128 MiB.
        "size" => size: Option<Size>,
        /// Age in seconds, at least 1. Default: 600.
        "timeoutSeconds" => timeout_seconds: Option<Whole<1, { i64::MAX }>>,
    }
    check check_rollover
}

fn check_rollover(spec: &RolloverSpec, at: &mut Place<'_>) {
    if spec.size == Some(Size(0)) {
        at.problem_at(
            "size",
            "a segment of no bytes never closes, it must be at least 1",
        );
    }
}

object! {
    /// Pods that share the partitions of a backup.
    WorkGroupSpec {
        /// How many pods, 1 to 16. Each partition belongs to one of them.
        "workers" => workers: Whole<1, 16>,
        /// Another seed gives another assignment of partitions to pods. Default: 0.
        "seed" => seed: Option<Whole<0, 2_147_483_647>>,
    }
}

object! {
    /// How lag is measured.
    LagMonitorSpec {
        /// Time between two measurements, like `15s` or `1m30s`; at least 1s. Default: 15s.
        "refreshInterval" => refresh_interval: Option<Interval>,
        /// Time that one request to the cluster may take, like `10s`. Default: 10s.
        "requestTimeout" => request_timeout: Option<Interval>,
    }
    check check_lag_monitor
}

fn check_lag_monitor(spec: &LagMonitorSpec, at: &mut Place<'_>) {
    // A zero stands for a text that was reported already.
    if let Some(Interval(interval)) = spec.refresh_interval
        && interval < Duration::from_secs(1)
        && interval > Duration::ZERO
    {
        at.problem_at("refreshInterval", "is too short, it must be at least 1s");
    }
}

object! {
    /// The metrics of a pod, which it serves itself.
    MonitoringSpec {
        /// `false` turns the metrics off. Default: true.
        "enabled" => enabled: Option<bool>,
        /// Taken, and without effect: there is no other container that they would be for.
        "extraArgs" => extra_args: Vec<String>,
        /// Taken, and without effect: there is no other container that they would be for.
        "extraEnvVars" => extra_env_vars: Option<Kept<Vec<EnvVarSpec>>>,
        /// Taken, and without effect: there is no other container that they would be for.
        "resources" => resources: Option<Kept<ResourcesSpec>>,
    }
}
