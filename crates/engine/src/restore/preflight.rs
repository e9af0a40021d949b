//! Holding a plan against the target: whether it can take what the archive holds, and keep it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use armory_kafka::{Client, ErrorCode, Metadata, NewTopic, OffsetSpec, TopicFilter, TopicMetadata};
use armory_resources::job::RestoreJob;

use super::plan::{Plan, TopicPlan};
use crate::EngineError;

/// What a broker of Kafka takes at the most by default (`message.max.bytes`).
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// How long a cluster may take until every broker knows of a new topic.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// The target of one topic, as it stands.
#[derive(Debug, Clone)]
pub(crate) struct TargetTopic {
    pub(crate) meta: TopicMetadata,
    pub(crate) max_message_bytes: usize,
    /// Whether this restore created it: its configuration is the one that a target is created with.
    pub(crate) created: bool,
}

/// Settings under which nothing of a restore is lost or changed, whatever the age of its records.
const SAFE: [(&str, &str); 6] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

/// Finds or creates the target of every topic. `partitions` is what each needs, in the order of the plan.
pub(crate) async fn targets(
    client: &Client,
    job: &RestoreJob,
    plan: &Plan,
    partitions: &[i32],
) -> Result<(Metadata, Vec<TargetTopic>), EngineError> {
    let mut backoff = armory_kafka::Backoff::default();
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        match find_or_create(client, job, plan, partitions).await {
            // A run that was killed, or a request whose answer was lost, had just created it, and the metadata does not show it yet.
            Err(EngineError::Kafka(error))
                if (error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS)
                    || (error.is_retriable() && !error.is_certain()))
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            outcome => return outcome,
        }
    }
}

async fn find_or_create(
    client: &Client,
    job: &RestoreJob,
    plan: &Plan,
    partitions: &[i32],
) -> Result<(Metadata, Vec<TargetTopic>), EngineError> {
    let names = target_names(plan);
    let metadata = client.metadata(TopicFilter::Names(&names)).await?;
    let exists = |name: &str| find(&metadata, name).is_some();
    let missing: Vec<usize> = (0..names.len())
        .filter(|index| !exists(&names[*index]))
        .collect();

    // Everything that can be refused is refused before the first topic is created.
    let mut problems: Vec<String> = Vec::new();
    if !job.create_topics {
        problems.extend(missing.iter().map(|index| {
            format!("the target topic {} does not exist; create it, or let the restore create it with --create-topics", names[*index])
        }));
    }
    let existing: Vec<String> = names.iter().filter(|name| exists(name)).cloned().collect();
    let configs = configs_of(client, &existing).await?;
    for (index, topic) in plan.topics.iter().enumerate() {
        let Some(meta) = find(&metadata, &names[index]) else {
            continue;
        };
        problems.extend(check_partitions(topic, meta, partitions[index]));
        if !topic.mapping.disable_preflight {
            problems.extend(check_configs(
                topic,
                &configs[&names[index]].values,
                job.allow_expiry,
                now_ms(),
            ));
        }
    }
    if !problems.is_empty() {
        return Err(EngineError::Preflight { problems });
    }

    if !missing.is_empty() {
        let topics: Vec<NewTopic> = missing
            .iter()
            .map(|index| new_topic(&plan.topics[*index], partitions[*index]))
            .collect();
        client.create_topics(&topics, false).await?;
    }
    let metadata = settled(client, &names).await?;
    let targets = describe(client, job, plan, &metadata).await?;
    Ok((metadata, targets))
}

/// The targets as they are, if all of them are there; they are not held against the plan.
pub(crate) async fn existing(
    client: &Client,
    job: &RestoreJob,
    plan: &Plan,
) -> Result<Option<(Metadata, Vec<TargetTopic>)>, EngineError> {
    let names = target_names(plan);
    let metadata = client.metadata(TopicFilter::Names(&names)).await?;
    if !names.iter().all(|name| find(&metadata, name).is_some()) {
        return Ok(None);
    }
    let targets = describe(client, job, plan, &metadata).await?;
    Ok(Some((metadata, targets)))
}

fn target_names(plan: &Plan) -> Vec<String> {
    let names = plan.topics.iter().map(|topic| &topic.mapping.target);
    names.cloned().collect()
}

fn find<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a TopicMetadata> {
    let mut topics = metadata.topics.iter();
    topics.find(|topic| topic.name == name && topic.error.is_none())
}

/// Describes targets that are all there.
async fn describe(
    client: &Client,
    job: &RestoreJob,
    plan: &Plan,
    metadata: &Metadata,
) -> Result<Vec<TargetTopic>, EngineError> {
    let configs = configs_of(client, &target_names(plan)).await?;
    let describe = |topic: &TopicPlan| {
        let name = &topic.mapping.target;
        let TopicConfigs { values, own } = &configs[name];
        let max = values
            .get("max.message.bytes")
            .and_then(|value| value.parse().ok());
        TargetTopic {
            meta: find(metadata, name).expect("it was looked for").clone(),
            max_message_bytes: max.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
            // Not only by this run: one that was killed before it could begin its report has created it just so.
            created: job.create_topics && *own == safe_configs(topic),
        }
    };
    Ok(plan.topics.iter().map(describe).collect())
}

/// Metadata in which every topic is there and every partition has a leader: a new topic takes a moment.
async fn settled(client: &Client, names: &[String]) -> Result<Metadata, EngineError> {
    let mut backoff = armory_kafka::Backoff::default();
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        let metadata = client.metadata(TopicFilter::Names(names)).await?;
        let unsettled: Vec<&str> = names
            .iter()
            .filter(|name| {
                find(&metadata, name).is_none_or(|topic| {
                    topic
                        .partitions
                        .iter()
                        .any(|partition| partition.leader.is_none())
                })
            })
            .map(String::as_str)
            .collect();
        if unsettled.is_empty() {
            return Ok(metadata);
        }
        if Instant::now() > deadline {
            let problems = unsettled.iter().map(|name| format!("the target topic {name} has partitions without a leader; see to its brokers")).collect();
            return Err(EngineError::Preflight { problems });
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// The configuration of a topic.
#[derive(Debug)]
struct TopicConfigs {
    /// What holds for it, by default or not.
    values: BTreeMap<String, String>,
    /// What was set on the topic itself.
    own: BTreeMap<String, String>,
}

async fn configs_of(
    client: &Client,
    names: &[String],
) -> Result<BTreeMap<String, TopicConfigs>, EngineError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let described = client.describe_topic_configs(names).await?;
    let configs = described.into_iter().map(|(name, entries)| {
        let of = |own: bool| {
            entries
                .iter()
                .filter(|(_, entry)| !(own && entry.is_default))
                .filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?)))
                .collect()
        };
        let configs = TopicConfigs {
            values: of(false),
            own: of(true),
        };
        (name, configs)
    });
    Ok(configs.collect())
}

fn new_topic(topic: &TopicPlan, partitions: i32) -> NewTopic {
    NewTopic {
        name: topic.mapping.target.clone(),
        partitions,
        replication_factor: None,
        configs: safe_configs(topic),
    }
}

/// The configuration of a target that this program creates, while it is restored.
fn safe_configs(topic: &TopicPlan) -> BTreeMap<String, String> {
    let mut configs: BTreeMap<String, String> = SAFE
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    // The archived limit may have been lowered after larger batches were written.
    let archived = topic
        .configs
        .get("max.message.bytes")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    let largest = topic
        .partitions
        .iter()
        .map(|partition| partition.largest_batch())
        .max()
        .unwrap_or(0)
        .max(archived);
    // A batch that has to be compressed anew may come out a little larger.
    let largest = largest + largest / 8;
    if largest > DEFAULT_MAX_MESSAGE_BYTES as u64 {
        let largest = largest.min(i32::MAX as u64);
        configs.insert("max.message.bytes".to_owned(), largest.to_string());
    }
    configs
}

/// The changes that give a target what its source had, now that everything is in it: what to set, and which of our own settings to remove.
pub(crate) fn archived_configs(topic: &TopicPlan) -> (BTreeMap<String, String>, Vec<String>) {
    let delete = SAFE
        .iter()
        .map(|(name, _)| *name)
        .chain(["max.message.bytes"])
        .filter(|name| !topic.configs.contains_key(*name))
        .map(str::to_owned)
        .collect();
    (topic.configs.clone(), delete)
}

fn check_partitions(topic: &TopicPlan, meta: &TopicMetadata, needed: i32) -> Option<String> {
    let has = i32::try_from(meta.partitions.len()).unwrap_or(i32::MAX);
    (has < needed).then(|| {
        format!(
            "the target topic {} has {has} partitions and {} needs {needed}; add partitions, or restore into another topic",
            meta.name, topic.mapping.source
        )
    })
}

/// Settings of an existing target that would refuse, change or remove restored records.
fn check_configs(
    topic: &TopicPlan,
    configs: &BTreeMap<String, String>,
    allow_expiry: bool,
    now: i64,
) -> Vec<String> {
    let target = &topic.mapping.target;
    let number = |name: &str| {
        configs
            .get(name)
            .and_then(|value| value.parse::<i64>().ok())
    };
    let timestamps = topic
        .partitions
        .iter()
        .filter_map(|partition| partition.timestamps())
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let mut problems = Vec::new();
    if !allow_expiry {
        if let (Some(retention), Some((oldest, _))) =
            (number("retention.ms").filter(|ms| *ms >= 0), timestamps)
            && oldest < now.saturating_sub(retention)
        {
            problems.push(format!(
                "the target topic {target} keeps records for {retention} ms, and the archive has records from {}: they would vanish right after the restore; \
                 set retention.ms=-1 for the time of the restore, or pass --allow-expiry",
                time(oldest)
            ));
        }
        let bytes: u64 = topic
            .partitions
            .iter()
            .map(|partition| partition.stored_bytes())
            .max()
            .unwrap_or(0);
        if let Some(retention) = number("retention.bytes").filter(|bytes| *bytes >= 0)
            && bytes > retention.unsigned_abs()
        {
            problems.push(format!(
                "the target topic {target} keeps {retention} bytes a partition, and the archive has {bytes}; set retention.bytes=-1 for the time of the restore, or pass --allow-expiry"
            ));
        }
        if configs
            .get("cleanup.policy")
            .is_some_and(|policy| policy.contains("compact"))
        {
            problems.push(format!(
                "the target topic {target} is compacted: older records of a key would be removed, and records without a key refused; set cleanup.policy=delete for the time of the restore, or pass --allow-expiry"
            ));
        }
    }
    if configs
        .get("message.timestamp.type")
        .is_some_and(|kind| kind == "LogAppendTime")
    {
        problems.push(format!(
            "the target topic {target} has message.timestamp.type=LogAppendTime: its broker would replace every timestamp by the time of the restore; set it to CreateTime"
        ));
    }
    if let Some((oldest, newest)) = timestamps {
        for (limit, beyond, when) in [
            (
                "message.timestamp.before.max.ms",
                now.saturating_sub(oldest),
                oldest,
            ),
            (
                "message.timestamp.after.max.ms",
                newest.saturating_sub(now),
                newest,
            ),
        ] {
            if let Some(max) = number(limit)
                && beyond > max
            {
                problems.push(format!(
                    "the target topic {target} refuses records of {} ({limit}={max}); raise it for the time of the restore",
                    time(when)
                ));
            }
        }
    }
    let largest = topic
        .partitions
        .iter()
        .map(|partition| partition.largest_batch())
        .max()
        .unwrap_or(0);
    if let Some(max) = number("max.message.bytes")
        && largest > max.unsigned_abs()
    {
        problems.push(format!(
            "the target topic {target} takes batches of at most {max} bytes (max.message.bytes), and the archive has one of {largest}; raise it to {largest}"
        ));
    }
    problems
}

/// The problem of a target that holds something although this restore never wrote to it.
pub(crate) async fn check_empty(
    client: &Client,
    targets: &[TargetTopic],
    plan: &Plan,
) -> Result<BTreeMap<(String, i32), i64>, EngineError> {
    let partitions: Vec<(String, i32)> = targets
        .iter()
        .flat_map(|target| {
            target
                .meta
                .partitions
                .iter()
                .map(|partition| (target.meta.name.clone(), partition.index))
        })
        .collect();
    let starts = client
        .list_offsets(&partitions, OffsetSpec::Earliest)
        .await?;
    let ends = client.list_offsets(&partitions, OffsetSpec::Latest).await?;
    let mut problems = Vec::new();
    let mut offsets = BTreeMap::new();
    for name in partitions {
        match (starts.get(&name), ends.get(&name)) {
            (Some(Ok(start)), Some(Ok(end))) => {
                let unchecked = plan
                    .topics
                    .iter()
                    .any(|topic| topic.mapping.target == name.0 && topic.mapping.disable_preflight);
                if end.offset > start.offset && !unchecked {
                    problems.push(format!(
                        "the target {}-{} is not empty (offsets {} to {}) and this restore has not written to it; restore into an empty topic",
                        name.0, name.1, start.offset, end.offset
                    ));
                }
                offsets.insert(name, end.offset);
            }
            _ => problems.push(format!(
                "the target {}-{} has no leader that answers; see to its brokers",
                name.0, name.1
            )),
        }
    }
    if problems.is_empty() {
        Ok(offsets)
    } else {
        Err(EngineError::Preflight { problems })
    }
}

pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond() + armory_failpoints::clock_shift_ms()
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| format!("{ms} ms since the epoch"),
        |time| time.to_string(),
    )
}
