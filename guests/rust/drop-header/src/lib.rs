//! A backup plugin that removes one header from every record, so that it never reaches the archive.
//!
//! Its configuration names the header:
//!
//! ```yaml
//! spec:
//!   header: secret
//! ```

use std::sync::OnceLock;

use serde::Deserialize;

wit_bindgen::generate!({
    path: "../../../wit/0.1",
    world: "wasi-backup-plugin",
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The key of the header to remove. Kafka allows several headers with one key: all of them go.
    header: String,
}

/// Set by `init`, read by `transform`. An instance is initialised once.
static CONFIG: OnceLock<Config> = OnceLock::new();

struct DropHeader;

impl Guest for DropHeader {
    fn init(_ctx: Context, cfg: Option<String>) -> Result<(), String> {
        let text = cfg.ok_or("no configuration; set spec.header to the key of the header to remove")?;
        let config = serde_yaml_ng::from_str(&text).map_err(|error| format!("invalid configuration: {error}"))?;
        CONFIG.set(config).map_err(|_| "init was called twice".to_string())
    }

    fn transform(mut rec: KafkaRecord) -> Outcome {
        let Some(config) = CONFIG.get() else {
            return Outcome::Error("transform was called before init".to_string());
        };
        rec.headers.retain(|header| header.key != config.header);
        Outcome::Accepted(rec)
    }
}

export!(DropHeader);
