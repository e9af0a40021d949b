//! The APIs that armory calls, the versions that it knows of each, and what a broker says it knows.
//!
//! All messages come from `kafka-protocol`, which is generated from Kafka's own schemas. A version is raised here
//! only after its meaning was checked and tested, not because the schema has it.

use std::collections::HashMap;

use kafka_protocol::messages::{
    ApiVersionsResponse, ConsumerGroupDescribeRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeProducersRequest,
    FetchRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, SaslAuthenticateRequest,
    SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Request, VersionRange};

use crate::Error;
use crate::error::BrokerName;

/// A request that armory sends.
pub(crate) trait Api: Request {
    /// Kafka's name of the API.
    const NAME: &'static str;
    /// The versions that armory knows (inclusive).
    const KNOWN: VersionRange;

    /// For how many milliseconds the broker asks the client to send it nothing (KIP-219).
    fn throttle_ms(answer: &Self::Response) -> i32;
}

macro_rules! apis {
    ($($request:ty, $name:literal, $min:literal ..= $max:literal $(, $never:ident)?;)*) => {
        $(
            impl Api for $request {
                const NAME: &'static str = $name;
                const KNOWN: VersionRange = VersionRange { min: $min, max: $max };

                fn throttle_ms(answer: &Self::Response) -> i32 {
                    apis!(@throttle answer $($never)?)
                }
            }
        )*
    };
    (@throttle $answer:ident) => { $answer.throttle_time_ms };
    (@throttle $answer:ident unthrottled) => {{ let _ = $answer; 0 }};
}

// Oldest brokers: Kafka 2.1 (OffsetForLeaderEpoch 2, Fetch 7 for its sessions). Topic ids need Metadata 10 and Fetch 13.
apis! {
    ProduceRequest, "Produce", 3..=13;
    FetchRequest, "Fetch", 7..=17;
    ListOffsetsRequest, "ListOffsets", 2..=9;
    MetadataRequest, "Metadata", 4..=13;
    CreateTopicsRequest, "CreateTopics", 2..=7;
    DeleteTopicsRequest, "DeleteTopics", 1..=6;
    DeleteRecordsRequest, "DeleteRecords", 0..=2;
    InitProducerIdRequest, "InitProducerId", 0..=4;
    OffsetForLeaderEpochRequest, "OffsetForLeaderEpoch", 2..=4;
    DescribeConfigsRequest, "DescribeConfigs", 1..=4;
    IncrementalAlterConfigsRequest, "IncrementalAlterConfigs", 0..=1;
    DescribeProducersRequest, "DescribeProducers", 0..=0;
    FindCoordinatorRequest, "FindCoordinator", 1..=3;
    ListGroupsRequest, "ListGroups", 1..=5;
    DescribeGroupsRequest, "DescribeGroups", 1..=5;
    ConsumerGroupDescribeRequest, "ConsumerGroupDescribe", 0..=0;
    OffsetFetchRequest, "OffsetFetch", 3..=7;
    OffsetCommitRequest, "OffsetCommit", 3..=8;
    // Before SaslHandshake 1, a mechanism's messages came without Kafka's frames.
    SaslHandshakeRequest, "SaslHandshake", 1..=1, unthrottled;
    SaslAuthenticateRequest, "SaslAuthenticate", 0..=2, unthrottled;
}

/// The first Fetch version that names topics by id (KIP-516).
pub(crate) const FETCH_BY_TOPIC_ID: i16 = 13;
/// The first Produce version that names topics by id (KIP-516).
pub(crate) const PRODUCE_BY_TOPIC_ID: i16 = 13;

/// The versions of each API that one broker knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerVersions {
    by_key: HashMap<i16, VersionRange>,
}

impl BrokerVersions {
    pub(crate) fn from_answer(answer: &ApiVersionsResponse) -> BrokerVersions {
        let by_key = answer.api_keys.iter().map(|api| {
            let range = VersionRange {
                min: api.min_version,
                max: api.max_version,
            };
            (api.api_key, range)
        });
        BrokerVersions {
            by_key: by_key.collect(),
        }
    }

    /// The newest version of an API that both sides know, `newest` at the most.
    pub(crate) fn choose<R: Api>(&self, newest: i16, broker: &BrokerName) -> Result<i16, Error> {
        let ours = VersionRange {
            min: R::KNOWN.min,
            max: R::KNOWN.max.min(newest),
        };
        let theirs = self.by_key.get(&R::KEY);
        let common = theirs
            .map(|theirs| ours.intersect(theirs))
            .filter(|common| !common.is_empty());
        common
            .map(|common| common.max)
            .ok_or_else(|| Error::UnsupportedVersion {
                broker: broker.clone(),
                api: R::NAME,
                ours: range_text(&ours).into(),
                theirs: theirs
                    .map_or_else(|| "not at all".into(), |theirs| range_text(theirs).into()),
            })
    }
}

fn range_text(range: &VersionRange) -> String {
    if range.min == range.max {
        format!("version {}", range.min)
    } else {
        format!("versions {} to {}", range.min, range.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::api_versions_response::ApiVersion;

    fn versions(of: &[(i16, i16, i16)]) -> BrokerVersions {
        let keys = of.iter().map(|(key, min, max)| {
            ApiVersion::default()
                .with_api_key(*key)
                .with_min_version(*min)
                .with_max_version(*max)
        });
        BrokerVersions::from_answer(&ApiVersionsResponse::default().with_api_keys(keys.collect()))
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        let broker = BrokerName::from(1);
        let new = versions(&[(FetchRequest::KEY, 4, 99)]);
        assert_eq!(new.choose::<FetchRequest>(i16::MAX, &broker).unwrap(), 17);
        assert_eq!(new.choose::<FetchRequest>(12, &broker).unwrap(), 12);
        let old = versions(&[(FetchRequest::KEY, 0, 11)]);
        assert_eq!(old.choose::<FetchRequest>(i16::MAX, &broker).unwrap(), 11);
    }

    #[test]
    fn no_common_version_is_an_error_that_names_both_ranges() {
        let broker = BrokerName::from(1);
        let ancient = versions(&[(FetchRequest::KEY, 0, 4)]);
        assert_eq!(
            ancient
                .choose::<FetchRequest>(i16::MAX, &broker)
                .unwrap_err()
                .to_string(),
            "broker 1 speaks Fetch versions 0 to 4 and armory versions 7 to 17; use a broker of a version that both know"
        );
        let error = ancient
            .choose::<DescribeProducersRequest>(i16::MAX, &broker)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "broker 1 speaks DescribeProducers not at all and armory version 0; use a broker of a version that both know"
        );
    }

    #[test]
    fn every_version_that_armory_knows_is_in_the_schema() {
        fn check<R: Api>() {
            let common = R::KNOWN.intersect(&R::VERSIONS);
            assert_eq!(common, R::KNOWN, "{}", R::NAME);
            assert_eq!(
                common,
                R::KNOWN.intersect(&<R::Response as kafka_protocol::protocol::Message>::VERSIONS)
            );
        }
        check::<ProduceRequest>();
        check::<FetchRequest>();
        check::<ListOffsetsRequest>();
        check::<MetadataRequest>();
        check::<CreateTopicsRequest>();
        check::<DeleteTopicsRequest>();
        check::<DeleteRecordsRequest>();
        check::<InitProducerIdRequest>();
        check::<OffsetForLeaderEpochRequest>();
        check::<DescribeConfigsRequest>();
        check::<IncrementalAlterConfigsRequest>();
        check::<DescribeProducersRequest>();
        check::<FindCoordinatorRequest>();
        check::<ListGroupsRequest>();
        check::<DescribeGroupsRequest>();
        check::<ConsumerGroupDescribeRequest>();
        check::<OffsetFetchRequest>();
        check::<OffsetCommitRequest>();
        check::<SaslHandshakeRequest>();
        check::<SaslAuthenticateRequest>();
    }
}
