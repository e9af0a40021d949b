//! The schemas of the CustomResourceDefinitions against the documents that are accepted, and against what decoding says
//! of the same documents with something wrong in them.

mod checker;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use armory_resources::{Bindings, Problem, ResourceSet};
use checker::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The documents of our kinds in a folder of cases.
fn documents(folder: &str) -> Vec<(String, Value)> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let file = match path.is_dir() {
            true => path.join("input.yaml"),
            false => path,
        };
        documents.extend(read(&file));
    }
    documents.sort_by(|(a, _), (b, _)| a.cmp(b));
    documents
}

fn read(file: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(file).expect("a readable file");
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    documents
        .into_iter()
        .filter(|document| document["apiVersion"] == armory_resources::API_VERSION)
        .map(|document| (file.display().to_string(), document))
        .collect()
}

fn accepted() -> Vec<(String, Value)> {
    let documents = documents("tests/accepted");
    let kinds: std::collections::BTreeSet<&str> = documents
        .iter()
        .filter_map(|(_, document)| document["kind"].as_str())
        .collect();
    assert_eq!(
        kinds.len(),
        8,
        "there is a document of every kind: {kinds:?}"
    );
    documents
}

/// What decoding says of a document, references aside.
fn problems(document: &Value) -> Vec<Problem> {
    let text = document.to_string();
    let set = ResourceSet::read([("document", text.as_str())]);
    match set.backup_jobs(&Bindings::default()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().cloned().collect(),
    }
}

#[test]
fn schemas_are_structural_and_explained() {
    for crd in armory_resources::crds() {
        let name = crd["metadata"]["name"].to_string();
        Schema::of(&crd).check_itself(&name);
    }
}

#[test]
fn accepted_documents_fit_their_schemas() {
    for (file, document) in accepted() {
        let found = Schema::of_kind(&document["kind"]).check(&document);
        assert!(found.is_empty(), "{file}: {found:#?}");
    }
}

#[test]
fn the_examples_of_the_guide_fit_their_schemas() {
    let examples = documents("../../docs/guide/kubernetes/examples");
    assert!(examples.len() >= 8);
    for (file, document) in examples {
        let found = Schema::of_kind(&document["kind"]).check(&document);
        assert!(found.is_empty(), "{file}: {found:#?}");
    }
}

/// A key that nobody knows is refused by the schema where it is refused by decoding, or kept for it.
#[test]
fn unknown_keys_are_unknown_to_both() {
    let mut count = 0;
    for (file, document) in accepted() {
        let schema = Schema::of_kind(&document["kind"]);
        for path in objects(&document["spec"], "/spec") {
            let mut wrong = document.clone();
            let Some(Value::Object(members)) = wrong.pointer_mut(&path) else {
                panic!("{path} is an object")
            };
            members.insert("zzz".to_owned(), json!({}));
            let refused = schema
                .check(&wrong)
                .contains(&format!("{path}/zzz: unknown"));
            let decoded = problems(&wrong);
            let named = decoded
                .iter()
                .any(|p| p.path.ends_with("zzz") && p.message.starts_with("unknown key"));
            let kept = schema.keeps_unknown_keys(&path);
            // There a key that is dropped changes records.
            let is_plugin = path.split('/').rev().nth(1) == Some("plugins");
            let of_plugin = path.ends_with("/errorPolicy") || path.ends_with("/limits");
            let of_plugin = of_plugin && path.contains("/plugins/");
            assert!(kept || !(is_plugin || of_plugin), "{file} {path}");
            assert!(!(refused && kept), "{file} {path}");
            // Maps take any key; what is wrong there is the value, or nothing.
            let is_map = schema.is_map(&path);
            assert!(!is_map || (!refused && !named), "{file} {path}");
            assert!(
                is_map || refused || kept,
                "{file} {path}: the schema prunes a key silently"
            );
            assert!(
                refused <= named,
                "{file} {path}: the schema refuses what decoding takes: {decoded:?}"
            );
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

/// A key that the schema requires is missed by decoding, too; and the other way round, except for what a rule says.
#[test]
fn missing_keys_are_missed_by_both() {
    let mut count = 0;
    for (file, document) in accepted() {
        let schema = Schema::of_kind(&document["kind"]);
        for path in objects(&document["spec"], "/spec") {
            let members = document.pointer(&path).and_then(Value::as_object);
            let keys: Vec<String> = members.expect("an object").keys().cloned().collect();
            for key in keys {
                let mut wrong = document.clone();
                if let Some(Value::Object(members)) = wrong.pointer_mut(&path) {
                    members.remove(&key);
                }
                let required = schema
                    .check(&wrong)
                    .contains(&format!("{path}/{key}: missing"));
                let decoded = problems(&wrong);
                let missed = decoded
                    .iter()
                    .any(|p| p.message.starts_with("missing") && p.path.ends_with(&key));
                assert!(required <= missed, "{file} {path}/{key}: {decoded:?}");
                assert!(
                    missed
                        <= (required
                            || schema.has_rules(&path)
                            || schema.keeps_unknown_keys(&path)),
                    "{file} {path}/{key}: only decoding misses it"
                );
                count += 1;
            }
        }
    }
    assert!(count > 400, "{count}");
}

/// A value of another type is refused by both.
#[test]
fn wrong_types_are_wrong_to_both() {
    for (file, document) in accepted() {
        let schema = Schema::of_kind(&document["kind"]);
        for path in leaves(&document["spec"], "/spec") {
            if schema.keeps_unknown_keys(&path) {
                continue;
            }
            let mut wrong = document.clone();
            *wrong.pointer_mut(&path).expect("it is there") = json!([[]]);
            let refused = !schema.check(&wrong).is_empty();
            let decoded = problems(&wrong);
            let named = decoded.iter().any(|p| p.message.starts_with("expected"));
            assert!(refused && named, "{file} {path}: {refused} {decoded:?}");
        }
    }
}

/// Values of any sort, among them many that are nearly right.
fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,8}",
        "[+-]?[0-9]{1,4}[.]?[0-9]{0,2} ?[kKMGTPEi]{0,2}[bB]?",
        "([0-9]{1,3}(ns|us|ms|s|m|h|d|w|y)){1,3}",
        "[a-z0-9.$_-]{1,12}",
        "v?[+]?[0-9]{1,3}",
        "https?://[a-z0-9.:/]{0,12}",
        "[./\\\\a-z]{1,8}",
        "[a-z]{240,260}",
    ];
    prop_oneof![
        4 => text.prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        2 => (-2_i64..70).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The API server never refuses what decoding takes, whatever stands in a field.
    #[test]
    fn what_decoding_takes_fits_the_schema(which in any::<prop::sample::Index>(), value in any_value()) {
        let leaves = &*LEAVES;
        let (file, document, path) = which.get(leaves);
        let mut other = document.clone();
        *other.pointer_mut(path).expect("it is there") = value.clone();
        if messages(&other) == messages(document) {
            let found = Schema::of_kind(&document["kind"]).check(&other);
            prop_assert!(found.is_empty(), "{file} {path} {value}: {found:?}");
        }
    }
}

/// Every field with a value of every document that is accepted: its file, the document, and where in it.
static LEAVES: LazyLock<Vec<(String, Value, String)>> = LazyLock::new(|| {
    let of = |(file, document): (String, Value)| {
        let paths = leaves(&document["spec"], "/spec").into_iter();
        paths
            .map(|path| (file.clone(), document.clone(), path))
            .collect::<Vec<_>>()
    };
    accepted().into_iter().flat_map(of).collect()
});

fn messages(document: &Value) -> Vec<String> {
    let problems = problems(document).into_iter();
    problems.map(|problem| problem.to_string()).collect()
}

/// What `kubectl` users rely on.
#[test]
fn kinds_are_called_and_listed_as_published() {
    let expected = [
        ("Backup", "backups", "", "all", "Status Age", true),
        ("Credentials", "credentials", "creds", "", "Age", false),
        (
            "EventHub",
            "eventhubs",
            "",
            "",
            "Type Status Age Location",
            true,
        ),
        ("Restore", "restores", "", "", "Status Age", true),
        ("SchemaRegistry", "schemaregistries", "", "", "Age", false),
        (
            "SchemaRegistryBackup",
            "schemaregistrybackups",
            "",
            "",
            "Status Age",
            true,
        ),
        (
            "SchemaRegistryRestore",
            "schemaregistryrestores",
            "",
            "",
            "Status Age",
            true,
        ),
        ("Storage", "storages", "", "", "Status Age Location", true),
    ];
    let words = |list: &Value, key: Option<&str>| {
        let items = list.as_array().into_iter().flatten();
        let words = items.filter_map(|item| key.map_or(item, |key| &item[key]).as_str());
        words.collect::<Vec<_>>().join(" ")
    };
    let crds = armory_resources::crds();
    assert_eq!(crds.len(), expected.len());
    for (crd, (kind, plural, short, categories, columns, has_status)) in crds.iter().zip(expected) {
        let spec = &crd["spec"];
        let version = &spec["versions"][0];
        assert_eq!(crd["metadata"]["name"], format!("{plural}.kannika.io"));
        assert_eq!(
            crd["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
        assert_eq!(
            (&spec["group"], &spec["scope"]),
            (&json!("kannika.io"), &json!("Namespaced"))
        );
        assert_eq!(version["name"], "v1alpha");
        assert_eq!(
            (&spec["names"]["kind"], &spec["names"]["plural"]),
            (&json!(kind), &json!(plural))
        );
        assert_eq!(words(&spec["names"]["shortNames"], None), short, "{kind}");
        assert_eq!(
            words(&spec["names"]["categories"], None),
            categories,
            "{kind}"
        );
        assert_eq!(
            words(&version["additionalPrinterColumns"], Some("name")),
            columns,
            "{kind}"
        );
        assert_eq!(
            version["subresources"].get("status").is_some(),
            has_status,
            "{kind}"
        );
    }
}

/// JSON pointers of all objects below, this one included.
fn objects(value: &Value, path: &str) -> Vec<String> {
    walk(value, path, &Value::is_object)
}

/// JSON pointers of everything below that holds nothing else.
fn leaves(value: &Value, path: &str) -> Vec<String> {
    walk(value, path, &|value| {
        !value.is_object() && !value.is_array()
    })
}

fn walk(value: &Value, path: &str, take: &dyn Fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    if take(value) {
        found.push(path.to_owned());
    }
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                found.extend(walk(inner, &format!("{path}/{key}"), take));
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                found.extend(walk(inner, &format!("{path}/{index}"), take));
            }
        }
        _ => {}
    }
    found
}
