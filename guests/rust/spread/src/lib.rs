//! A restore plugin that spreads the records of a topic over another number of partitions.
//!
//! Its configuration says how many:
//!
//! ```yaml
//! spec:
//!   no_partition: 12
//! ```
//!
//! Where a record goes depends on the partition and the offset that it came from, and on nothing else: a restore that is run
//! again sends it to the same place. Records with the same key do not stay together.

use std::num::NonZeroI32;
use std::sync::OnceLock;

use serde::Deserialize;

wit_bindgen::generate!({
    path: "../../../wit/0.1",
    world: "wasi-restore-plugin",
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The number of partitions to spread over.
    no_partition: NonZeroI32,
}

/// Set by `init`, read by the other two. An instance is initialised once.
static CONFIG: OnceLock<Config> = OnceLock::new();

struct Spread;

impl Guest for Spread {
    fn init(_ctx: Context, cfg: Option<String>) -> Result<(), String> {
        let text = cfg.ok_or("no configuration; set spec.no_partition to the number of partitions")?;
        let config: Config =
            serde_yaml_ng::from_str(&text).map_err(|error| format!("invalid configuration: {error}"))?;
        if config.no_partition.is_negative() {
            return Err(format!("invalid configuration: no_partition is {}, below 1", config.no_partition));
        }
        CONFIG.set(config).map_err(|_| "init was called twice".to_string())
    }

    fn update_target_topic_requirements(_req: TargetTopicRequirements) -> TargetTopicRequirements {
        let config = CONFIG.get().expect("init is called first");
        TargetTopicRequirements { no_partitions: config.no_partition.get() as u64 }
    }

    fn transform(mut rec: KafkaRecord) -> Outcome {
        let Some(config) = CONFIG.get() else {
            return Outcome::Error("transform was called before init".to_string());
        };
        let (Some(partition), Some(offset)) = (rec.partition, rec.offset) else {
            return Outcome::Error("the record does not say where it came from".to_string());
        };
        // Neighbours go to different partitions, and partitions do not all begin with the same one.
        let spread = (i64::from(partition) + offset).rem_euclid(i64::from(config.no_partition.get()));
        rec.partition = Some(spread as i32);
        Outcome::Accepted(rec)
    }
}

export!(Spread);
