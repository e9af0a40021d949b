//! What the operator has a worker do: a file with one job.

mod common;

use std::fs;

use armory_resources::job::{
    BackupJob, JobFile, KafkaEndpoint, RestoreJob, StorageLocation, TopicMapping, TopicSelection,
    WorkGroup,
};
use common::cluster::{Cluster, records};
use common::{done, run};
use serde_json::Value;

fn storage() -> StorageLocation {
    StorageLocation::Folder {
        path: "archive".into(),
    }
}

fn backup(cluster: &Cluster) -> BackupJob {
    let topics = TopicSelection {
        streams: vec!["orders".to_owned()],
        ..TopicSelection::default()
    };
    let source = KafkaEndpoint::from_bootstrap(cluster.bootstrap());
    BackupJob {
        work_group: Some(WorkGroup {
            workers: 2,
            seed: 7,
        }),
        ..BackupJob::new("shop.nightly", source, storage(), topics)
    }
}

#[test]
fn a_job_from_a_file_there_and_back() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.topic("orders", 4, 10);
    let job = JobFile::backup(backup(&cluster)).to_json().expect("JSON");
    fs::write(folder.join("backup.json"), job).expect("written");
    // Both workers of the group, as a StatefulSet's pods: Kubernetes puts the pod's number in.
    let mut taken = 0;
    for worker in ["0/2", "1/2"] {
        let arguments = ["backup", "--job", "backup.json", "--once", "-o", "json"];
        let more = ["--worker", worker, "--group-generation", "1"];
        let out = done(folder, &[&arguments[..], &more].concat());
        let out: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(out[0]["name"], "shop.nightly");
        taken += out[0]["records"].as_u64().expect("a number");
    }
    assert_eq!(taken, 40);

    let sink = KafkaEndpoint::from_bootstrap(cluster.bootstrap());
    let mapping = TopicMapping::new("orders", "copy");
    let job = RestoreJob {
        create_topics: true,
        ..RestoreJob::new("shop.r1", storage(), sink, vec![mapping])
    };
    let job = JobFile::restore(job).to_json().expect("JSON");
    fs::write(folder.join("restore.json"), job).expect("written");
    done(
        folder,
        &["restore", "--job", "restore.json", "--report", "reports"],
    );
    assert!(
        folder.join("reports/restores").is_dir(),
        "the report is there"
    );
    let copy = records(&cluster, folder, "copy", "other");
    assert_eq!(copy.len(), 40);
}

#[test]
fn a_file_that_is_not_the_job_is_told() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let job = JobFile::backup(backup(&cluster)).to_json().expect("JSON");
    fs::write(folder.join("backup.json"), &job).expect("written");
    let newer = job.replace("\"take_over\"", "\"take_under\"");
    fs::write(folder.join("newer.json"), newer).expect("written");
    for (arguments, words) in [
        (
            &["restore", "--job", "backup.json"][..],
            "--job backup.json: it is the job of a backup",
        ),
        (&["backup", "--job", "newer.json"], "take_under"),
        (
            &["backup", "--job", "absent.json"],
            "cannot read absent.json",
        ),
        (
            &["backup", "--job", "backup.json", "--worker", "0/3"],
            "has 2 workers",
        ),
        (
            &["backup", "--job", "backup.json", "-f", "a.yaml"],
            "cannot be used with",
        ),
        (
            &["backup", "--job", "backup.json", "--claim", "a=b"],
            "cannot be used with",
        ),
        (
            &["backup", "--job", "backup.json", "--topic", "a"],
            "cannot be used with",
        ),
        (
            &["backup", "--job", "backup.json", "--worker", "$(ORDINAL)/2"],
            "INDEX/WORKERS",
        ),
    ] {
        let ran = run(folder, arguments);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains(words), "{words} is not in {}", ran.err);
    }
}
