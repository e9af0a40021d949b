//! A backup plugin that hands every record back as it came: it shows what a call costs, and nothing else.

wit_bindgen::generate!({
    path: "../../../wit/0.1",
    world: "wasi-backup-plugin",
});

struct Identity;

impl Guest for Identity {
    fn init(_ctx: Context, _cfg: Option<String>) -> Result<(), String> {
        Ok(())
    }

    fn transform(rec: KafkaRecord) -> Outcome {
        Outcome::Accepted(rec)
    }
}

export!(Identity);
