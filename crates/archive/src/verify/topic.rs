//! Verifying a topic: its documents, then its partitions.

use std::collections::{BTreeSet, HashMap};

use super::lineage::Reading;
use super::{Finding, FindingKind, VerifyReport};
use crate::archive::Archive;
use crate::catalog::Genesis;
use crate::error::ArchiveError;
use crate::heads::ChainEnd;
use crate::layout;
use crate::names::{PartitionKey, TopicId, TopicKey};

impl Archive {
    pub(super) async fn verify_topic(
        &self,
        topic: &str,
        reading: &Reading,
        heads: &HashMap<PartitionKey, ChainEnd>,
        report: &mut VerifyReport,
        progress: &mut (impl FnMut(&VerifyReport) + Send),
    ) -> Result<(), ArchiveError> {
        let claimed = self.read_claims(topic).await;
        report.note(FindingKind::Document, claimed)?;
        let mut ids = BTreeSet::new();
        for directory in [layout::topic_dir(topic), layout::manifests_of_name(topic)] {
            for name in self.storage().list(&directory).await?.directories {
                match name.parse::<TopicId>() {
                    Ok(id) => {
                        ids.insert(id);
                    }
                    Err(_) => report.findings.push(Finding::new(
                        FindingKind::Leftover,
                        format!("{directory}/{name}"),
                        "it is no topic id",
                    )),
                }
            }
        }
        for id in ids {
            let key = TopicKey::new(topic, id);
            self.verify_topic_documents(&key, report).await?;
            for partition in self.partitions(&key).await? {
                let key = key.partition(partition);
                self.verify_partition(&key, reading, heads.get(&key), report, progress)
                    .await?;
                report.checked.partitions += 1;
                progress(report);
            }
        }
        // A partition that vanished altogether.
        for (key, head) in heads.iter().filter(|(key, _)| key.topic.topic == topic) {
            if self.lineages_there(key).await?.is_empty() {
                report.findings.push(missing_end(head, 0));
            }
        }
        Ok(())
    }

    async fn verify_topic_documents(
        &self,
        key: &TopicKey,
        report: &mut VerifyReport,
    ) -> Result<(), ArchiveError> {
        self.verify_genesis(key, report).await?;
        for name in self.snapshot_names(key).await? {
            let snapshot = self.read_snapshot(key, &name).await;
            report.note(FindingKind::Document, snapshot)?;
        }
        Ok(())
    }

    /// The genesis, if it can be read.
    pub(super) async fn verify_genesis(
        &self,
        key: &TopicKey,
        report: &mut VerifyReport,
    ) -> Result<Option<Genesis>, ArchiveError> {
        let genesis = self.read_genesis(key).await;
        let read = report.note(FindingKind::Document, genesis)?;
        if let Some(None) = read
            && !self.partitions(key).await?.is_empty()
        {
            let place = layout::genesis(key);
            let message = "it is missing, but the topic has partitions";
            report
                .findings
                .push(Finding::new(FindingKind::Document, place, message));
        }
        Ok(read.flatten())
    }

    async fn verify_partition(
        &self,
        key: &PartitionKey,
        reading: &Reading,
        head: Option<&ChainEnd>,
        report: &mut VerifyReport,
        progress: &mut (impl FnMut(&VerifyReport) + Send),
    ) -> Result<(), ArchiveError> {
        let lineages = self.lineages_there(key).await?;
        for lineage in &lineages {
            let end = self
                .verify_lineage(key, *lineage, reading, report, progress)
                .await?;
            if let (Some(head), Some(end)) = (head, end)
                && head.lineage == *lineage
                && head.next > end
            {
                report.findings.push(missing_end(head, end));
            }
        }
        if let Some(head) = head
            && !lineages.is_empty()
            && !lineages.contains(&head.lineage)
        {
            report.findings.push(missing_end(head, 0));
        }
        Ok(())
    }
}

fn missing_end(head: &ChainEnd, end: i64) -> Finding {
    let place = layout::manifest(&head.partition, head.lineage, head.base);
    let message = format!(
        "a head hint knows of commits up to offset {}, but the chain ends at {end}",
        head.next
    );
    Finding::new(FindingKind::MissingEnd, place, message).at(end)
}
