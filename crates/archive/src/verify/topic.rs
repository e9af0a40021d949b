//! Verifying a topic: its documents, then its partitions.

use std::collections::{BTreeSet, HashMap};

use super::{Depth, Finding, FindingKind, Progress, VerifyReport};
use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::heads::ChainEnd;
use crate::layout;
use crate::names::{PartitionKey, TopicId, TopicKey};

impl Archive {
    pub(super) async fn verify_topic(
        &self,
        topic: &str,
        depth: Depth,
        heads: &HashMap<PartitionKey, ChainEnd>,
        report: &mut VerifyReport,
        progress: &mut (impl FnMut(&Progress) + Send),
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
                self.verify_partition(&key, depth, heads.get(&key), report, progress)
                    .await?;
                report.checked.partitions += 1;
                progress(&report.checked);
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
        let genesis = self.read_genesis(key).await;
        if let Some(None) = report.note(FindingKind::Document, genesis)?
            && !self.partitions(key).await?.is_empty()
        {
            let place = layout::genesis(key);
            report.findings.push(Finding::new(
                FindingKind::Document,
                place,
                "it is missing, but the topic has partitions",
            ));
        }
        for name in self.snapshot_names(key).await? {
            let snapshot = self.read_snapshot(key, &name).await;
            report.note(FindingKind::Document, snapshot)?;
        }
        Ok(())
    }

    async fn verify_partition(
        &self,
        key: &PartitionKey,
        depth: Depth,
        head: Option<&ChainEnd>,
        report: &mut VerifyReport,
        progress: &mut (impl FnMut(&Progress) + Send),
    ) -> Result<(), ArchiveError> {
        let lineages = self.lineages_there(key).await?;
        for lineage in &lineages {
            let end = self
                .verify_lineage(key, *lineage, depth, report, progress)
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
