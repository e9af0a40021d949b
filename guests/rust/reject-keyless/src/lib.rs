//! A restore plugin that leaves out records without a key, which a compacted topic would refuse.

wit_bindgen::generate!({
    path: "../../../wit/0.1",
    world: "wasi-restore-plugin",
});

struct RejectKeyless;

impl Guest for RejectKeyless {
    fn init(_ctx: Context, _cfg: Option<String>) -> Result<(), String> {
        Ok(())
    }

    fn update_target_topic_requirements(req: TargetTopicRequirements) -> TargetTopicRequirements {
        req
    }

    fn transform(rec: KafkaRecord) -> Outcome {
        match rec.key {
            Some(_) => Outcome::Accepted(rec),
            None => Outcome::Rejected(rec),
        }
    }
}

export!(RejectKeyless);
