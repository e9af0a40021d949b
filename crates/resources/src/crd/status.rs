//! What stands in the status of each kind.

use serde_json::{Map, Value as Json, json};

pub(super) fn backup() -> Json {
    let lag = number("Records that are in the source and not archived yet.");
    let progress = progress(
        "What the pods archived since they started.",
        json!({ "lag": lag }),
    );
    status("a backup", json!({ "progress": progress }))
}

pub(super) fn restore() -> Json {
    let mut keys = run_times();
    keys["run"] = text(
        "Which restore it was that began. A restore that was done never runs again, whatever of this resource changes.",
    );
    let percent = json!({
        "type": "integer",
        "format": "int64",
        "minimum": 0,
        "maximum": 100,
        "description": "How much of it is done, in percent.",
    });
    let total = number("Records that are to be written, as far as that is known.");
    keys["progress"] = progress(
        "How far the restore is.",
        json!({ "recordsTotal": total, "percent": percent }),
    );
    status("a restore", keys)
}

pub(super) fn storage() -> Json {
    let location = text("Where it lies: `s3://…`, `gs://…`, `https://…` or `pvc://…`.");
    status("a storage", json!({ "location": location }))
}

pub(super) fn event_hub() -> Json {
    status(
        "an event hub",
        json!({
            "location": text("Where clients begin to connect: the bootstrap servers."),
            "type": text("What it is: `Kafka`."),
        }),
    )
}

pub(super) fn schema_registry_backup() -> Json {
    status("a backup of a schema registry", json!({}))
}

pub(super) fn schema_registry_restore() -> Json {
    status("a restore of a schema registry", run_times())
}

/// The keys of all, and those of a kind.
fn status(what: &str, keys: Json) -> Json {
    let mut properties = json!({
        "message": text("The state in a word."),
        "conditions": conditions(),
        "observedGeneration": number(
            "The `metadata.generation` that the rest of the status is about: less than that of the resource while a change is not taken up yet.",
        ),
    });
    extend(&mut properties, keys);
    json!({
        "type": "object",
        "description": format!("The state of {what}, written by the operator."),
        "properties": properties,
    })
}

fn run_times() -> Json {
    json!({
        "startTime": time("When it began."),
        "completionTime": time("When it was done."),
    })
}

fn progress(about: &str, more: Json) -> Json {
    let mut properties = json!({
        "records": number("Records that are safe: archived, or restored."),
        "bytes": number("Their bytes."),
        "observed": time("When these numbers were read from the pods."),
    });
    extend(&mut properties, more);
    json!({
        "type": "object",
        "description": format!("{about} It is read from the pods at most once a minute."),
        "properties": properties,
    })
}

fn extend(object: &mut Json, more: Json) {
    if let (Json::Object(object), Json::Object(more)) = (object, more) {
        object.extend::<Map<String, Json>>(more);
    }
}

fn text(description: &str) -> Json {
    json!({ "type": "string", "description": description })
}

fn time(description: &str) -> Json {
    json!({ "type": "string", "format": "date-time", "description": description })
}

fn number(description: &str) -> Json {
    json!({ "type": "integer", "format": "int64", "minimum": 0, "description": description })
}

fn conditions() -> Json {
    json!({
        "type": "array",
        "description": "What holds, one thing each.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": condition(),
    })
}

/// A condition, as `metav1.Condition` has it.
pub(super) fn condition() -> Json {
    json!({
        "type": "object",
        "description": "Something that holds, or does not.",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "type": {
                "type": "string",
                "maxLength": 316,
                "description": "What it is about, for example `Ready`.",
            },
            "status": {
                "type": "string",
                "enum": ["True", "False", "Unknown"],
                "description": "Whether it holds.",
            },
            "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                "description": "Why, in a word for programs.",
            },
            "message": {
                "type": "string",
                "maxLength": 32768,
                "description": "Why, in a sentence for people.",
            },
            "lastTransitionTime": time("Since when its status is what it is."),
            "observedGeneration": number("The `metadata.generation` that it is about."),
        },
    })
}
