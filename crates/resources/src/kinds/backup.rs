//! Backup.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{Decode, FreeList, FreeObject, Place, Required, enumeration, object};
use crate::job::{CompressionAlgorithm, NameMatcher, NamePattern};
use crate::kinds::plugin::PluginSpec;
use crate::kinds::{CredentialsSource, LocalReference, exactly_one};
use crate::node::Node;
use crate::scalar::{Interval, Name, Size, TopicName, Whole};

object! {
    /// `spec` of a Backup.
    BackupSpec {
        /// The EventHub that is read.
        "source" => source: Name,
        /// The Storage that is written.
        "sink" => sink: Name,
        /// `false` is paused; true where it is not given.
        "enabled" => enabled: Option<bool>,
        /// Topics named one by one.
        "streams" => streams: Vec<StreamSpec>,
        /// Topics by pattern.
        "topicSelectors" => topic_selectors: Option<TopicSelectorsSpec>,
        /// Outer compression.
        "compression" => compression: Option<CompressionConfig>,
        /// When a segment is closed.
        "segmentRolloverTriggers" => rollover: Option<RolloverSpec>,
        /// Bytes gathered per partition before they are written to a file.
        "writeBufferSize" => write_buffer_size: Option<Size>,
        /// How many pods share the work. One process does all of it.
        "workGroup" => work_group: Option<WorkGroupSpec>,
        /// How lag is looked at.
        "lagMonitor" => lag_monitor: Option<LagMonitorSpec>,
        /// Metrics of a pod.
        "monitoring" => monitoring: Option<MonitoringSpec>,
        /// The plugin chain.
        "plugins" => plugins: Vec<PluginSpec>,
        /// Credentials for the EventHub.
        "sourceCredentialsFrom" => source_credentials: Option<CredentialsSource>,
        /// Credentials for the Storage.
        "sinkCredentialsFrom" => sink_credentials: Option<CredentialsSource>,
        /// Client properties over those of the EventHub.
        "sourceAdditionalProps" => source_properties: BTreeMap<String, String>,
        /// A storage has none.
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
    check check_backup
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
    /// One of `streams`.
    StreamSpec {
        /// The topic.
        "topic" => topic: TopicName,
        /// `false` leaves it out, also where a matcher takes it; true where it is not given.
        "enabled" => enabled: Option<bool>,
    }
}

object! {
    /// `topicSelectors`.
    TopicSelectorsSpec {
        /// What is taken.
        "matchers" => matchers: Required<Vec<TopicMatcher>>,
        /// What is not; wins.
        "excludeMatchers" => exclude_matchers: Vec<TopicMatcher>,
    }
}

object! {
    /// A matcher of topics.
    TopicMatcher {
        /// How the name is matched.
        "name" => name: MatcherName,
    }
}

object! {
    /// Exactly one of three kinds of patterns.
    MatcherSpec {
        /// Equal.
        "literal" => literal: Option<String>,
        /// Searched.
        "regex" => regex: Option<String>,
        /// Shell pattern of the whole name.
        "glob" => glob: Option<String>,
    }
    check check_matcher
}

fn check_matcher(spec: &MatcherSpec, at: &mut Place<'_>) {
    let keys = [
        ("literal", spec.literal.is_some()),
        ("regex", spec.regex.is_some()),
        ("glob", spec.glob.is_some()),
    ];
    exactly_one(&keys, at);
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

    fn outline(path: &str, out: &mut Vec<String>) {
        MatcherSpec::outline(path, out);
    }
}

object! {
    /// `compression`.
    CompressionConfig {
        /// The algorithm.
        "algorithm" => algorithm: AlgorithmName,
        /// Its level.
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
    /// `segmentRolloverTriggers`.
    RolloverSpec {
        /// Size.
        "size" => size: Option<Size>,
        /// Age.
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
    /// `workGroup`.
    WorkGroupSpec {
        /// Pods.
        "workers" => workers: Whole<1, 16>,
        /// Another spread.
        "seed" => seed: Option<Whole<0, 2_147_483_647>>,
    }
}

object! {
    /// `lagMonitor`.
    LagMonitorSpec {
        /// Between two looks.
        "refreshInterval" => refresh_interval: Option<Interval>,
        /// Of one request.
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
    /// `monitoring`.
    MonitoringSpec {
        /// On where it is not given.
        "enabled" => enabled: Option<bool>,
        /// Pod.
        "extraArgs" => extra_args: Vec<String>,
        /// Pod.
        "extraEnvVars" => extra_env_vars: Option<FreeList>,
        /// Pod.
        "resources" => resources: Option<FreeObject>,
    }
}
