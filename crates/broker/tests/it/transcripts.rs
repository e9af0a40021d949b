//! What is kept of a script: its answers as text, one line each.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use armory_broker::Broker;
use kafka_protocol::error::ParseResponseErrorCode;

use crate::scripts;
use crate::wire::Wire;

/// The answers so far.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    text: String,
}

impl Transcript {
    pub(crate) fn heading(&mut self, heading: &str) {
        let blank = if self.text.is_empty() { "" } else { "\n" };
        writeln!(self.text, "{blank}# {heading}").expect("strings can be written to");
    }

    pub(crate) fn line(&mut self, what: &str, answer: impl std::fmt::Display) {
        writeln!(self.text, "{what}: {answer}").expect("strings can be written to");
    }
}

/// An error code with its name.
pub(crate) fn error(code: i16) -> String {
    match code.err() {
        None => "ok".to_owned(),
        Some(error) => format!("{error:?} ({code})"),
    }
}

/// Plays a script to a broker.
pub(crate) async fn play(script: scripts::Name, bootstrap: &str) -> String {
    let mut wire = Wire::connect(bootstrap).await;
    let mut transcript = Transcript::default();
    script.play(&mut wire, &mut transcript).await;
    transcript.text
}

pub(crate) fn path(script: scripts::Name) -> PathBuf {
    let file = format!("{}.txt", script.file());
    Path::new("tests/transcripts").join(file)
}

#[track_caller]
pub(crate) fn compare(script: scripts::Name, played: &str) {
    let path = path(script);
    let kept = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = (1..).zip(kept.lines().zip(played.lines()));
    let differences: String = lines
        .filter(|(_, (kept, played))| kept != played)
        .map(|(number, (kept, played))| format!("{number}\n- {kept}\n+ {played}\n"))
        .collect();
    let path = path.display();
    assert!(
        differences.is_empty(),
        "{path}: - Kafka, + here\n{differences}"
    );
    assert_eq!(kept.lines().count(), played.lines().count(), "{path}");
}

async fn check(script: scripts::Name) {
    let broker = Broker::start().await.expect("a port is free");
    let played = play(script, &broker.bootstrap()).await;
    compare(script, &played);
}

#[tokio::test]
async fn produce_is_judged_as_by_kafka() {
    check(scripts::Name::Produce).await;
}

#[tokio::test]
async fn producers_are_remembered_as_by_kafka() {
    check(scripts::Name::Producers).await;
}

#[tokio::test]
async fn fetch_is_answered_as_by_kafka() {
    check(scripts::Name::Fetch).await;
}

#[tokio::test]
async fn fetch_sessions_go_as_with_kafka() {
    check(scripts::Name::Sessions).await;
}

#[tokio::test]
async fn offsets_are_found_as_by_kafka() {
    check(scripts::Name::Offsets).await;
}

#[tokio::test]
async fn topics_are_administered_as_by_kafka() {
    check(scripts::Name::Topics).await;
}
