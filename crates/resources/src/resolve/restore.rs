//! Restores.

use super::connect::{SINK, SOURCE};
use super::plugin::Direction;
use super::{Resolved, Resolver, job_name};
use crate::job::{Incarnation, PartitionRange, RestoreJob, TimeRange, TopicMapping};
use crate::kinds::restore::{RestoreConfig, RestoreSpec, RetentionFilterPolicy, TopicSpec};
use crate::scalar::DateTime;
use crate::set::Document;

impl<'a> Resolver<'a> {
    pub(super) fn restore(
        &mut self,
        document: &'a Document,
        spec: &'a RestoreSpec,
    ) -> Resolved<RestoreJob> {
        let storage = self.storage(
            document,
            &SOURCE,
            &spec.source.0,
            spec.source_credentials.as_ref(),
            &spec.source_properties,
        );
        let sink = self.kafka(
            document,
            &SINK,
            &spec.sink.0,
            spec.sink_credentials.as_ref(),
            &spec.sink_properties,
        );
        let empty = RestoreConfig::default();
        let config = spec.config.as_ref().unwrap_or(&empty);
        let mappings = self.mappings(document, config);
        let mut job = RestoreJob::new(job_name(document), storage, sink, mappings);
        job.time = self.time(document, config);
        job.apply_target_retention = applies_retention(config);
        job.legacy_offset_header = config
            .legacy_offset_header
            .as_ref()
            .map(|name| name.0.clone());
        // Decoded within these ranges.
        job.parallelism = config.parallelism.map(|topics| topics.0 as u32);
        job.max_producers = config.max_producers.map(|producers| producers.0 as u32);
        job.plugins = match (&config.plugins, &spec.plugins) {
            (Some(plugins), _) => {
                let path = ["spec", "config", "plugins"];
                self.plugins(document, &path, plugins, Direction::Restore)
            }
            (None, Some(plugins)) => {
                self.plugins(document, &["spec", "plugins"], plugins, Direction::Restore)
            }
            (None, None) => Vec::new(),
        };
        if let Some(source) = &config.schema_mapping {
            // After those that are listed, so that these see the ids that were archived.
            let mapping = self.schema_mapping(document, source);
            job.plugins.extend(mapping);
        }
        // The operator's rule: a target that is not there is created, unless the mapping goes without checks.
        job.create_topics = true;
        if spec.enabled == Some(false) {
            return Resolved::Paused;
        }
        Resolved::Job(job)
    }

    fn mappings(&mut self, document: &Document, config: &RestoreConfig) -> Vec<TopicMapping> {
        let mappings: Vec<TopicMapping> = match (&config.topics, &config.mapping) {
            (Some(topics), _) => topics.iter().map(mapping).collect(),
            (None, Some(old)) => {
                let path = ["spec", "config", "mapping"];
                self.note(document, &path, "is deprecated, use topics");
                old.iter()
                    .map(|(source, topic)| TopicMapping {
                        disable_preflight: topic.disable_preflight.unwrap_or(false),
                        partitions: topic.partitions.as_ref().map(|partitions| {
                            let range = |(number, spec): (
                                &i32,
                                &crate::kinds::restore::OldPartitionSpec,
                            )| PartitionRange {
                                number: *number,
                                from: spec.from.map(|offset| offset.0),
                                until: spec.until.map(|offset| offset.0),
                            };
                            partitions.0.iter().map(range).collect()
                        }),
                        ..TopicMapping::new(source.clone(), topic.target.0.clone())
                    })
                    .collect()
            }
            (None, None) => Vec::new(),
        };
        if mappings.is_empty() {
            let message = "nothing to restore, it needs a source and a target";
            self.problem(document, &["spec", "config", "topics"], message);
        }
        mappings
    }

    /// The time range. An end in `filters` wins over its deprecated twin.
    fn time(&mut self, document: &Document, config: &RestoreConfig) -> TimeRange {
        let filter = config
            .filters
            .as_ref()
            .and_then(|filters| filters.time.as_ref());
        let absolute = filter.and_then(|time| time.absolute.as_ref());
        let new_from = absolute.and_then(|absolute| absolute.from);
        let new_to = absolute.and_then(|absolute| absolute.to);
        let ends = [
            (
                "restoreFromDateTime",
                config.from_date_time,
                new_from,
                "fromDateTime",
            ),
            (
                "restoreUntilDateTime",
                config.until_date_time,
                new_to,
                "toDateTime",
            ),
        ];
        for (key, old, new, twin) in ends {
            if old.is_some() {
                let instead = format!("filters.time.absolute.{twin}");
                let message = match new {
                    Some(_) => format!("is deprecated and not looked at, {instead} is given"),
                    None => format!("is deprecated, use {instead}"),
                };
                self.note(document, &["spec", "config", key], message);
            }
        }
        let range = TimeRange {
            from_ms: new_from.or(config.from_date_time).map(DateTime::ceil_ms),
            to_ms: new_to.or(config.until_date_time).map(DateTime::ceil_ms),
        };
        if let (Some(from), Some(to)) = (range.from_ms, range.to_ms)
            && to <= from
        {
            let path: &[&str] = match new_to {
                Some(_) => &[
                    "spec",
                    "config",
                    "filters",
                    "time",
                    "absolute",
                    "toDateTime",
                ],
                None => &["spec", "config", "restoreUntilDateTime"],
            };
            self.problem(
                document,
                path,
                "is not after the beginning, no record lies between",
            );
        }
        range
    }
}

/// Whether records that the target would expire are left out.
fn applies_retention(config: &RestoreConfig) -> bool {
    let time = config
        .filters
        .as_ref()
        .and_then(|filters| filters.time.as_ref());
    time.and_then(|time| time.retention.as_ref())
        .is_some_and(|retention| {
            let applies = |policy: &RetentionFilterPolicy| match policy {
                RetentionFilterPolicy::ApplyTargetTopicRetention => true,
            };
            retention.policies.iter().any(applies)
        })
}

fn mapping(topic: &TopicSpec) -> TopicMapping {
    TopicMapping {
        source: topic.source.0.clone(),
        target: topic.target.0.clone(),
        disable_preflight: topic.disable_preflight.unwrap_or(false),
        incarnation: topic
            .snapshot
            .as_ref()
            .map_or(Incarnation::Latest, |snapshot| snapshot.version.0),
        partitions: topic.partitions.as_ref().map(|partitions| {
            let range = |spec: &crate::kinds::restore::PartitionSpec| PartitionRange {
                // Decoded within 0..=i32::MAX.
                number: spec.number.0 as i32,
                from: spec.from.map(|offset| offset.0),
                until: spec.until.map(|offset| offset.0),
            };
            partitions.iter().map(range).collect()
        }),
    }
}
