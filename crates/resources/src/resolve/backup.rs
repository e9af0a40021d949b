//! Backups.

use std::time::Duration;

use super::connect::{SINK, SOURCE};
use super::plugin::Direction;
use super::{Resolved, Resolver, job_name};
use crate::job::{
    BackupJob, CompressionAlgorithm, CompressionSpec, NameMatcher, Rollover, TopicSelection,
    WorkGroup,
};
use crate::kinds::backup::BackupSpec;
use crate::set::Document;

impl<'a> Resolver<'a> {
    pub(super) fn backup(
        &mut self,
        document: &'a Document,
        spec: &'a BackupSpec,
    ) -> Resolved<BackupJob> {
        let source = self.kafka(
            document,
            &SOURCE,
            &spec.source.0,
            spec.source_credentials.as_ref(),
            &spec.source_properties,
        );
        let storage = self.storage(
            document,
            &SINK,
            &spec.sink.0,
            spec.sink_credentials.as_ref(),
            &spec.sink_properties,
        );
        let topics = self.topics(document, spec);
        let mut job = BackupJob::new(job_name(document), source, storage, topics);
        job.plugins = self.plugins(
            document,
            &["spec", "plugins"],
            &spec.plugins,
            Direction::Backup,
        );
        job.compression = self.compression(document, spec);
        job.rollover = rollover(spec);
        job.delete_after = document.metadata.delete_after();
        if let Some(size) = spec.write_buffer_size {
            job.write_buffer = size.0;
        }
        job.work_group = spec.work_group.as_ref().map(|group| WorkGroup {
            workers: group.workers.0 as u32,
            seed: group.seed.as_ref().map_or(0, |seed| seed.0 as u32),
        });
        job.metrics = spec.has_metrics();
        if spec.enabled == Some(false) {
            return Resolved::Paused;
        }
        Resolved::Job(job)
    }

    fn topics(&mut self, document: &Document, spec: &BackupSpec) -> TopicSelection {
        let mut selection = TopicSelection::default();
        if let Some(selectors) = &spec.topic_selectors {
            let compiled = |matchers: &[crate::kinds::backup::TopicMatcher]| {
                matchers
                    .iter()
                    .map(|matcher| matcher.name.0.clone())
                    .collect()
            };
            selection.include = compiled(&selectors.matchers.0);
            selection.exclude = compiled(&selectors.exclude_matchers);
        }
        for stream in &spec.streams {
            let topic = stream.topic.0.clone();
            if stream.enabled == Some(false) {
                // Switched off by name: no matcher brings it back.
                selection.exclude.push(NameMatcher::literal(topic));
            } else {
                selection.streams.push(topic);
            }
        }
        if selection.is_empty() {
            let message =
                "nothing to back up, it needs an enabled stream or a matcher in topicSelectors";
            self.problem(document, &["spec", "streams"], message);
        }
        selection
    }

    fn compression(&mut self, document: &Document, spec: &BackupSpec) -> Option<CompressionSpec> {
        let compression = spec.compression.as_ref()?;
        let quality = compression.quality.map(|quality| quality.0 as i32);
        let Some(algorithm) = compression.algorithm.algorithm() else {
            if quality.is_some() {
                let message = "has no effect with the algorithm none";
                self.problem(document, &["spec", "compression", "quality"], message);
            }
            return None;
        };
        // The levels that the libraries take.
        let levels = match algorithm {
            CompressionAlgorithm::Zstd => -7..=22,
            CompressionAlgorithm::Gzip => 0..=9,
            _ => {
                let word = compression.algorithm.word();
                let message = format!("{word} is not supported yet, use zstd, gzip or none");
                self.problem(document, &["spec", "compression", "algorithm"], message);
                return None;
            }
        };
        if let Some(quality) = quality
            && !levels.contains(&quality)
        {
            let (word, least, most) = (compression.algorithm.word(), levels.start(), levels.end());
            let message = format!("{quality} is no level of {word}, it has {least} to {most}");
            self.problem(document, &["spec", "compression", "quality"], message);
        }
        Some(CompressionSpec { algorithm, quality })
    }
}

fn rollover(spec: &BackupSpec) -> Rollover {
    let mut rollover = Rollover::default();
    if let Some(triggers) = &spec.rollover {
        if let Some(size) = triggers.size {
            rollover.size = size.0;
        }
        if let Some(seconds) = triggers.timeout_seconds {
            rollover.timeout = Duration::from_secs(seconds.0.unsigned_abs());
        }
    }
    rollover
}
