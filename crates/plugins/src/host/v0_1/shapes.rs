//! The exports of both worlds, as a component must have them; and how a component that does not is told what is wrong.

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::inspect::{self, FunctionShape, Shape};
use crate::{LoadError, World};

const BYTES: Shape = Shape::List(&Shape::Plain("u8"));
const OPTIONAL_BYTES: Shape = Shape::Option(&BYTES);

const HEADER: Shape = Shape::Record(
    "kafka-record-header",
    &[("key", Shape::Plain("string")), ("val", OPTIONAL_BYTES)],
);

const TIMESTAMP_KIND: Shape = Shape::Enum(
    "timestamp-kind",
    &["none", "create-time", "log-append-time"],
);

const TIMESTAMP: Shape = Shape::Record(
    "kafka-record-timestamp",
    &[("kind", TIMESTAMP_KIND), ("time", Shape::Plain("s64"))],
);

const RECORD: Shape = Shape::Record(
    "kafka-record",
    &[
        ("key", OPTIONAL_BYTES),
        ("headers", Shape::List(&HEADER)),
        ("partition", Shape::Option(&Shape::Plain("s32"))),
        ("offset", Shape::Option(&Shape::Plain("s64"))),
        ("timestamp", Shape::Option(&TIMESTAMP)),
        ("payload", OPTIONAL_BYTES),
    ],
);

const OUTCOME: Shape = Shape::Variant(
    "outcome",
    &[
        ("accepted", Some(RECORD)),
        ("rejected", Some(RECORD)),
        ("error", Some(Shape::Plain("string"))),
    ],
);

const BACKUP_CONTEXT: Shape = Shape::Record("context", &[("topic", Shape::Plain("string"))]);

const RESTORE_CONTEXT: Shape = Shape::Record(
    "context",
    &[
        ("source-topic", Shape::Plain("string")),
        ("target-topic", Shape::Plain("string")),
    ],
);

const REQUIREMENTS: Shape = Shape::Record(
    "target-topic-requirements",
    &[("no-partitions", Shape::Plain("u64"))],
);

const CONFIG: Shape = Shape::Option(&Shape::Plain("string"));
const INIT_RESULT: Shape = Shape::Result(None, Some(&Shape::Plain("string")));

const TRANSFORM: FunctionShape = FunctionShape {
    name: "transform",
    parameters: &[("rec", RECORD)],
    result: OUTCOME,
};

/// What only the restore world exports.
const UPDATE_REQUIREMENTS: &str = "update-target-topic-requirements";

const BACKUP: &[FunctionShape] = &[
    FunctionShape {
        name: "init",
        parameters: &[("ctx", BACKUP_CONTEXT), ("cfg", CONFIG)],
        result: INIT_RESULT,
    },
    TRANSFORM,
];

const RESTORE: &[FunctionShape] = &[
    FunctionShape {
        name: "init",
        parameters: &[("ctx", RESTORE_CONTEXT), ("cfg", CONFIG)],
        result: INIT_RESULT,
    },
    FunctionShape {
        name: UPDATE_REQUIREMENTS,
        parameters: &[("req", REQUIREMENTS)],
        result: REQUIREMENTS,
    },
    TRANSFORM,
];

/// The world that a component is of by its exports: only one of the two has the function for requirements. What the component
/// lacks of that world is for [`check_shape`] to say.
pub(in crate::host) fn world_of(engine: &Engine, component: &Component) -> World {
    let exports = inspect::export_names(engine, component);
    if exports.iter().any(|export| export == UPDATE_REQUIREMENTS) {
        World::Restore
    } else {
        World::Backup
    }
}

/// Checks that a component exports what a world has. What it exports besides is its own business: some toolchains add items.
pub(in crate::host) fn check_shape(
    plugin: &str,
    engine: &Engine,
    component: &Component,
    world: World,
) -> Result<(), LoadError> {
    let expected = match world {
        World::Backup => BACKUP,
        World::Restore => RESTORE,
    };
    let exports = inspect::export_names(engine, component);
    let has = |name: &str| exports.iter().any(|export| export == name);

    // Told apart by the one export, a plugin of the other world is named as such, and not by a detail that differs.
    if has("init") && has("transform") {
        let found = world_of(engine, component);
        if found != world {
            return Err(LoadError::WrongWorld {
                plugin: plugin.to_owned(),
                expected: world,
                found,
            });
        }
    }
    for function in expected {
        if !has(function.name) {
            let found = if exports.is_empty() {
                "none".to_owned()
            } else {
                exports.join(", ")
            };
            return Err(LoadError::MissingExport {
                plugin: plugin.to_owned(),
                export: function.name,
                world,
                found,
            });
        }
        inspect::check_function(plugin, engine, component, function)?;
    }
    Ok(())
}
