//! Looking at an archive that may be damaged: what can be read, and what cannot.

use std::collections::BTreeSet;

use super::{Finding, FindingKind, Severity, VerifyReport};
use crate::archive::Archive;
use crate::catalog::Genesis;
use crate::error::ArchiveError;
use crate::history::HistoryPart;
use crate::layout;
use crate::location::Location;
use crate::manifest::Manifest;
use crate::names::{PartitionKey, TopicId, TopicKey};

/// An incarnation of a topic, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncarnationSurvey {
    /// Which one.
    pub key: TopicKey,
    /// Its number; 0 where neither its genesis nor its claim can be read.
    pub incarnation: u32,
    /// What it was when first seen; nothing where that cannot be read.
    pub genesis: Option<Genesis>,
    /// What is damaged of its own documents.
    pub findings: Vec<Finding>,
}

/// A chain, as far as it can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainSurvey {
    /// The manifests that can be read, ascending; there may be holes between them.
    pub manifests: Vec<Manifest>,
    /// Where it begins; nothing where its fork cannot be read.
    pub start: Option<i64>,
    /// What is damaged: documents, links, segments that are missing or have another size.
    pub findings: Vec<Finding>,
}

impl Archive {
    /// Opens the archive at `location` for looking at it, also where `armory.json` is damaged or missing beside topics: that is
    /// the finding, and the archive's id is then zero.
    pub async fn open_damaged(location: Location) -> Result<(Self, Option<Finding>), ArchiveError> {
        let damage = match Self::open(location.clone()).await {
            Ok(archive) => return Ok((archive, None)),
            Err(ArchiveError::Damaged(damage)) => Finding::damage(FindingKind::Document, *damage),
            Err(error @ ArchiveError::NotAnArchive { .. }) => {
                let archive = Self::without_id(location);
                if archive
                    .storage()
                    .list(layout::MANIFESTS)
                    .await?
                    .directories
                    .is_empty()
                {
                    return Err(error);
                }
                let what = "it is missing, but the archive holds topics";
                return Ok((
                    archive,
                    Some(Finding::new(FindingKind::Document, layout::ARCHIVE, what)),
                ));
            }
            Err(error) => return Err(error),
        };
        Ok((Self::without_id(location), Some(damage)))
    }

    /// Every incarnation of every topic for which `filter` says so, by name and number.
    pub async fn survey_topics(
        &self,
        filter: impl Fn(&str) -> bool + Send,
    ) -> Result<Vec<IncarnationSurvey>, ArchiveError> {
        let mut names = BTreeSet::new();
        for directory in [layout::TOPICS, layout::MANIFESTS] {
            names.extend(self.storage().list(directory).await?.directories);
        }
        let mut all = Vec::new();
        for name in names.iter().filter(|name| filter(name)) {
            let mut ids = BTreeSet::new();
            for directory in [layout::topic_dir(name), layout::manifests_of_name(name)] {
                let listing = self.storage().list(&directory).await?;
                ids.extend(
                    listing
                        .directories
                        .iter()
                        .filter_map(|id| id.parse::<TopicId>().ok()),
                );
            }
            let mut report = VerifyReport::default();
            let claims = self.read_claims(name).await;
            let claims = report
                .note(FindingKind::Document, claims)?
                .unwrap_or_default();
            let mut of_topic = Vec::new();
            for id in ids {
                let key = TopicKey::new(name, id);
                let genesis = self.verify_genesis(&key, &mut report).await?;
                if genesis.is_none() && report.findings.is_empty() {
                    // Nothing was ever written of it.
                    continue;
                }
                let claim = claims.iter().find(|(_, claimed)| *claimed == id);
                let number = genesis.as_ref().map(|genesis| genesis.incarnation);
                of_topic.push(IncarnationSurvey {
                    key,
                    incarnation: number.or(claim.map(|(number, _)| *number)).unwrap_or(0),
                    genesis,
                    findings: std::mem::take(&mut report.findings),
                });
            }
            of_topic.sort_by_key(|survey| survey.incarnation);
            all.extend(of_topic);
        }
        Ok(all)
    }

    /// What can be read of a lineage's chain, with what is recovered of open segments at its end. Segments are not read.
    pub async fn survey_chain(
        &self,
        key: &PartitionKey,
        lineage: u32,
    ) -> Result<ChainSurvey, ArchiveError> {
        key.check()?;
        let mut report = VerifyReport::default();
        let links = self.verify_links(key, lineage, &mut report).await?;
        self.verify_presence(key, lineage, &links.manifests, &mut report)
            .await?;
        let mut findings = report.findings;
        findings.retain(|finding| finding.severity > Severity::Info);
        Ok(ChainSurvey {
            manifests: links.manifests,
            start: links.start,
            findings,
        })
    }

    /// What can be read of a partition's newest history: [`history`](Self::history) with holes, and what is damaged.
    pub async fn survey_history(
        &self,
        key: &PartitionKey,
    ) -> Result<(Vec<HistoryPart>, Vec<Finding>), ArchiveError> {
        let mut parts = Vec::new();
        let mut findings = Vec::new();
        let mut until = i64::MAX;
        for lineage in self.lineages_there(key).await?.into_iter().rev() {
            let chain = self.survey_chain(key, lineage).await?;
            findings.extend(chain.findings);
            let first = chain.manifests.first().map(|manifest| manifest.base);
            let mut older: Vec<_> = chain.manifests;
            older.retain(|manifest| manifest.base < until);
            parts.extend(older.into_iter().rev().map(|manifest| HistoryPart {
                until: manifest.next.min(until),
                manifest,
            }));
            // Without its fork a lineage begins, for all that is known, with its first manifest.
            until = until.min(chain.start.or(first).unwrap_or(until));
        }
        parts.reverse();
        findings.reverse();
        Ok((parts, findings))
    }
}
