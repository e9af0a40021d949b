//! Golden cases: files that are refused, with every message, and files that are accepted, with their jobs.
//!
//! A case of `tests/refused` is a folder with `input.yaml` and `error.txt`, one of `tests/accepted` one with `input.yaml` and
//! `jobs.json`. `BLESS=1 cargo test -p armory-resources --test golden` writes what comes out instead of comparing it.

use std::fs;
use std::path::{Path, PathBuf};

use armory_resources::job::{Secret, StorageLocation};
use armory_resources::{Bindings, Jobs, Problems, Resource, ResourceSet};

fn cases(folder: &str) -> Vec<PathBuf> {
    let root = Path::new("tests").join(folder);
    let mut cases: Vec<PathBuf> = fs::read_dir(root)
        .expect("the folder of cases is there")
        .map(|entry| entry.expect("the folder can be listed").path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn read(case: &Path) -> ResourceSet {
    let text = fs::read_to_string(case.join("input.yaml")).expect("every case has an input.yaml");
    ResourceSet::read([("input.yaml", text.as_str())])
}

/// What every case is bound to, unless it is about a missing binding.
fn bindings() -> Bindings {
    let mut bindings = Bindings::default();
    bindings.add_claim("disk=/data/disk").expect("a binding");
    bindings
        .add_claim("plugins-pvc=/data/plugins")
        .expect("a binding");
    bindings
        .add_secret("keys/from-file=/run/secrets/keys")
        .expect("a binding");
    bindings
}

/// The jobs of the kind that the file has, as JSON with notes.
fn jobs(set: &ResourceSet) -> Result<String, Problems> {
    fn text<T: serde::Serialize>(jobs: &Jobs<T>) -> String {
        let notes: Vec<String> = jobs.notes.iter().map(ToString::to_string).collect();
        let all = serde_json::json!({"jobs": jobs.jobs, "paused": jobs.paused, "notes": notes});
        serde_json::to_string_pretty(&all).expect("jobs can be serialised") + "\n"
    }
    let is_restore = |resource: &Resource| matches!(resource, Resource::Restore(_));
    if set.resources().any(|(_, resource)| is_restore(resource)) {
        set.restore_jobs(&bindings()).map(|jobs| text(&jobs))
    } else {
        set.backup_jobs(&bindings()).map(|jobs| text(&jobs))
    }
}

#[track_caller]
fn check(file: &Path, actual: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, actual).expect("the case can be written");
        return;
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; BLESS=1 writes it anew\n--- expected\n{expected}\n--- actual\n{actual}",
        file.display()
    );
}

#[test]
fn refused() {
    for case in cases("refused") {
        let problems = match jobs(&read(&case)) {
            Err(problems) => problems,
            Ok(jobs) => panic!("{} is accepted:\n{jobs}", case.display()),
        };
        check(&case.join("error.txt"), &format!("{problems}\n"));
    }
}

#[test]
fn accepted() {
    for case in cases("accepted") {
        let jobs = jobs(&read(&case))
            .unwrap_or_else(|problems| panic!("{} is refused:\n{problems}", case.display()));
        check(&case.join("jobs.json"), &jobs);
    }
}

/// What users copy first is sound, all of it together.
#[test]
fn the_examples_of_the_guide_are_sound() {
    let folder = Path::new("../../docs/guide/kubernetes/examples");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the examples are there") {
        let path = entry.expect("the folder can be listed").path();
        let text = fs::read_to_string(&path).expect("an example can be read");
        files.push((path.display().to_string(), text));
    }
    let set = ResourceSet::read(files.iter().map(|(name, text)| (&**name, &**text)));
    let mut bindings = Bindings::default();
    for claim in ["archive", "plugins"] {
        bindings
            .add_claim(&format!("{claim}=/data/{claim}"))
            .expect("a binding");
    }
    for key in [
        "s3-keys/id",
        "s3-keys/secret",
        "kafka/username",
        "kafka/password",
        "kafka/ca.crt",
    ] {
        bindings
            .add_secret(&format!("{key}=/secrets/{key}"))
            .expect("a binding");
    }
    let backups = set
        .backup_jobs(&bindings)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((backups.jobs.len(), backups.notes), (3, Vec::new()));
    let restores = set
        .restore_jobs(&bindings)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((restores.jobs.len(), restores.notes), (2, Vec::new()));
}

/// A Secret among the documents is used, wins over nothing that is bound, and is not shown.
#[test]
fn secrets_of_documents_are_read() {
    let text = r#"
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {name: b1}
spec:
  source: hub
  sink: bucket
  streams: [{topic: a}]
  sinkCredentialsFrom: {credentialsRef: {name: aws}}
---
apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {name: hub}
spec: {kafka: {properties: {bootstrap.servers: "localhost:9092"}}}
---
apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {name: bucket}
spec: {s3: {bucket: archive}}
---
apiVersion: kannika.io/v1alpha
kind: Credentials
metadata: {name: aws}
spec:
  aws:
    accessKeyIdFrom: {secretKeyRef: {name: keys, key: id}}
    secretAccessKeyFrom: {secretKeyRef: {name: keys, key: from-file}}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {id: b3Zlcg==, from-file: bm90IHVzZWQ=}
stringData: {id: wins}
"#;
    let jobs = ResourceSet::read([("input.yaml", text)])
        .backup_jobs(&bindings())
        .expect("the set is sound");
    let StorageLocation::S3 { credentials, .. } = &jobs.jobs[0].storage else {
        panic!("{:?}", jobs.jobs[0].storage)
    };
    let credentials = credentials.as_ref().expect("there are credentials");
    assert_eq!(credentials.access_key_id, Secret::Inline("wins".into()));
    assert_eq!(
        credentials.secret_access_key,
        Secret::File("/run/secrets/keys".into()),
        "a bound file comes before a document"
    );
    assert!(!format!("{jobs:?}").contains("wins"));
}
