//! A backup plugin that keeps records out of the archive: those that have a header of the configured key.
//!
//! ```yaml
//! spec:
//!   header: internal
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
    /// The key of the header that marks a record.
    header: String,
}

/// Set by `init`, read by `transform`. An instance is initialised once.
static CONFIG: OnceLock<Config> = OnceLock::new();

struct RejectMarked;

impl Guest for RejectMarked {
    fn init(_ctx: Context, cfg: Option<String>) -> Result<(), String> {
        let text = cfg.ok_or("no configuration; set spec.header to the key of the header that marks a record")?;
        let config = serde_yaml_ng::from_str(&text).map_err(|error| format!("invalid configuration: {error}"))?;
        CONFIG.set(config).map_err(|_| "init was called twice".to_string())
    }

    fn transform(rec: KafkaRecord) -> Outcome {
        let Some(config) = CONFIG.get() else {
            return Outcome::Error("transform was called before init".to_string());
        };
        if rec.headers.iter().any(|header| header.key == config.header) {
            return Outcome::Rejected(rec);
        }
        Outcome::Accepted(rec)
    }
}

export!(RejectMarked);
