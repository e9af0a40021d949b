//! What a file can be told to be before any of it runs: its envelope, its version, its imports, the shapes of its exports.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};

use crate::LoadError;
use crate::host::Export;

const MAGIC: &[u8] = b"\0asm";
const COMPONENT_VERSION: [u8; 4] = [0x0d, 0, 1, 0];
const CORE_VERSION: [u8; 4] = [1, 0, 0, 0];

/// Checks that the bytes are a whole component: the header, and that every section at the top level is there to its end.
pub(crate) fn check_envelope(plugin: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let not_wasm = |found| LoadError::NotWasm {
        plugin: plugin.to_owned(),
        found,
    };
    let truncated = |needed: usize| LoadError::Truncated {
        plugin: plugin.to_owned(),
        found: bytes.len() as u64,
        needed: needed as u64,
    };
    if bytes.is_empty() {
        return Err(not_wasm("the file is empty"));
    }
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        if MAGIC.starts_with(bytes) {
            return Err(truncated(8));
        }
        let is_text = bytes.trim_ascii_start().starts_with(b"(");
        return Err(not_wasm(if is_text {
            "it is WebAssembly text; turn it into a binary with `wasm-tools parse`"
        } else {
            "it does not begin with \\0asm"
        }));
    };
    match rest.first_chunk::<4>() {
        None => return Err(truncated(8)),
        Some(&CORE_VERSION) => {
            return Err(LoadError::CoreModule {
                plugin: plugin.to_owned(),
            });
        }
        Some(&COMPONENT_VERSION) => {}
        Some(_) => {
            return Err(not_wasm(
                "it is of a version of WebAssembly that is not known",
            ));
        }
    }
    let mut at = 8;
    while at < bytes.len() {
        // A section is an id, the length of its content in LEB128, and the content.
        let Some((length, content)) = leb128_u32(bytes, at + 1) else {
            return Err(truncated(bytes.len() + 1));
        };
        let end = content + length as usize;
        if end > bytes.len() {
            return Err(truncated(end));
        }
        at = end;
    }
    Ok(())
}

/// A number, and where it ends. `None` when the bytes end before it does. A number that is too long is taken for what its
/// first five bytes say; validating is wasmtime's business.
fn leb128_u32(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for index in 0..5 {
        let byte = *bytes.get(at + index)?;
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    Some((value, at + 5))
}

/// The name of the interface that every plugin built from the contract imports.
const TYPES: &str = "kannika:wasi-plugins/types@";

/// Checks the version of the contract that the component names, if it names one. A component that was put together by hand
/// may do without; the shapes of its exports are checked either way.
pub(crate) fn check_version(
    plugin: &str,
    engine: &Engine,
    component: &Component,
    asked: &str,
) -> Result<(), LoadError> {
    let Some(found) = version_of(engine, component) else {
        return Ok(());
    };
    let fits = found
        .strip_prefix(asked)
        .is_some_and(|patch| patch.starts_with('.'));
    if fits {
        return Ok(());
    }
    Err(LoadError::WitVersionMismatch {
        plugin: plugin.to_owned(),
        asked: asked.to_owned(),
        found,
    })
}

/// The version of the contract that a component was built from, if it names one.
pub(crate) fn version_of(engine: &Engine, component: &Component) -> Option<String> {
    let component_type = component.component_type();
    let mut imports = component_type.imports(engine);
    imports.find_map(|(import, _)| import.strip_prefix(TYPES).map(str::to_owned))
}

/// The packages of WASI that are served.
const SERVED: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Checks that nothing is imported that is not served.
pub(crate) fn check_imports(
    plugin: &str,
    engine: &Engine,
    component: &Component,
) -> Result<(), LoadError> {
    let is_served = |import: &str| {
        import.starts_with(TYPES)
            || (SERVED.iter().any(|package| import.starts_with(package))
                && import.contains("@0.2."))
    };
    let component_type = component.component_type();
    let unknown: Vec<_> = component_type
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| !is_served(name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(LoadError::UnknownImport {
        plugin: plugin.to_owned(),
        imports: unknown.join(", "),
    })
}

/// The names of what a component exports.
pub(crate) fn export_names(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// What a component exports, with the types of functions.
pub(crate) fn exports(engine: &Engine, component: &Component) -> Vec<Export> {
    let component_type = component.component_type();
    let exports = component_type.exports(engine);
    exports
        .map(|(name, export)| Export {
            name: name.to_owned(),
            function: match export.ty {
                ComponentItem::ComponentFunc(function) => Some(function_text(&function)),
                _ => None,
            },
        })
        .collect()
}

/// `func(rec: …) -> …`
fn function_text(function: &ComponentFunc) -> String {
    let parameters: Vec<_> = function
        .params()
        .map(|(name, found)| format!("{name}: {}", name_of(&found)))
        .collect();
    let results: Vec<_> = function.results().map(|found| name_of(&found)).collect();
    let mut text = format!("func({})", parameters.join(", "));
    if !results.is_empty() {
        text.push_str(" -> ");
        text.push_str(&results.join(", "));
    }
    text
}

/// A type as a world has it.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A type without parts, by its name in WIT.
    Plain(&'static str),
    Option(&'static Shape),
    List(&'static Shape),
    Result(Option<&'static Shape>, Option<&'static Shape>),
    Record(&'static str, &'static [(&'static str, Shape)]),
    Variant(&'static str, &'static [(&'static str, Option<Shape>)]),
    Enum(&'static str, &'static [&'static str]),
}

/// A function as a world has it.
#[derive(Debug)]
pub(crate) struct FunctionShape {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [(&'static str, Shape)],
    pub(crate) result: Shape,
}

/// Where a component differs from a world.
struct Difference {
    place: String,
    expected: String,
    found: String,
}

/// Checks the export of a function that is known to be there.
pub(crate) fn check_function(
    plugin: &str,
    engine: &Engine,
    component: &Component,
    expected: &FunctionShape,
) -> Result<(), LoadError> {
    let component_type = component.component_type();
    let found = component_type.get_export(engine, expected.name);
    let difference = match found.map(|export| export.ty) {
        Some(ComponentItem::ComponentFunc(function)) => function_difference(expected, &function),
        Some(_) | None => {
            let found = "something that is not a function".to_owned();
            Err(Difference {
                place: format!("export `{}`", expected.name),
                expected: "a function".to_owned(),
                found,
            })
        }
    };
    difference.map_err(
        |Difference {
             place,
             expected,
             found,
         }| LoadError::WrongShape {
            plugin: plugin.to_owned(),
            place,
            expected,
            found,
        },
    )
}

fn function_difference(expected: &FunctionShape, found: &ComponentFunc) -> Result<(), Difference> {
    let place = format!("export `{}`", expected.name);
    let expected_names: Vec<_> = expected.parameters.iter().map(|(name, _)| *name).collect();
    let found_names: Vec<_> = found.params().map(|(name, _)| name.to_owned()).collect();
    if expected_names != found_names {
        let list = |names: String| format!("the parameters ({names})");
        return Err(Difference {
            place,
            expected: list(expected_names.join(", ")),
            found: list(found_names.join(", ")),
        });
    }
    for ((name, expected), (_, found)) in expected.parameters.iter().zip(found.params()) {
        expected.check(&found, &format!("{place}, parameter `{name}`"))?;
    }
    let mut results = found.results();
    match (results.next(), results.next()) {
        (Some(found), None) => expected.result.check(&found, &format!("{place}, result")),
        (found, _) => {
            let found = if found.is_none() {
                "nothing"
            } else {
                "several results"
            };
            let place = format!("{place}, result");
            Err(Difference {
                place,
                expected: expected.result.to_string(),
                found: found.to_owned(),
            })
        }
    }
}

impl Shape {
    /// Finds the innermost place where a type is not what the world says.
    fn check(&self, found: &Type, place: &str) -> Result<(), Difference> {
        let differs = || Difference {
            place: place.to_owned(),
            expected: self.to_string(),
            found: name_of(found),
        };
        let names = |what: &str, expected: Vec<&str>, found: Vec<&str>| {
            if expected == found {
                return Ok(());
            }
            let list = |names: Vec<&str>| format!("the {what} {}", names.join(", "));
            Err(Difference {
                place: place.to_owned(),
                expected: list(expected),
                found: list(found),
            })
        };
        match (self, found) {
            (Self::Plain(expected), found) if *expected == name_of(found) => Ok(()),
            (Self::Option(expected), Type::Option(found)) => expected.check(&found.ty(), place),
            (Self::List(expected), Type::List(found)) => expected.check(&found.ty(), place),
            (Self::Result(ok, err), Type::Result(found)) => {
                check_optional(*ok, found.ok(), &format!("{place}, ok"))?;
                check_optional(*err, found.err(), &format!("{place}, error"))
            }
            (Self::Record(_, expected), Type::Record(found)) => {
                let found_names = found.fields().map(|field| field.name).collect();
                names(
                    "fields",
                    expected.iter().map(|(name, _)| *name).collect(),
                    found_names,
                )?;
                expected
                    .iter()
                    .zip(found.fields())
                    .try_for_each(|((name, expected), found)| {
                        expected.check(&found.ty, &format!("{place}, field `{name}`"))
                    })
            }
            (Self::Variant(_, expected), Type::Variant(found)) => {
                let found_names = found.cases().map(|case| case.name).collect();
                names(
                    "cases",
                    expected.iter().map(|(name, _)| *name).collect(),
                    found_names,
                )?;
                expected
                    .iter()
                    .zip(found.cases())
                    .try_for_each(|((name, expected), found)| {
                        check_optional(
                            expected.as_ref(),
                            found.ty,
                            &format!("{place}, case `{name}`"),
                        )
                    })
            }
            (Self::Enum(_, expected), Type::Enum(found)) => {
                names("cases", expected.to_vec(), found.names().collect())
            }
            _ => Err(differs()),
        }
    }
}

fn check_optional(
    expected: Option<&Shape>,
    found: Option<Type>,
    place: &str,
) -> Result<(), Difference> {
    match (expected, found) {
        (None, None) => Ok(()),
        (Some(expected), Some(found)) => expected.check(&found, place),
        (expected, found) => Err(Difference {
            place: place.to_owned(),
            expected: expected.map_or("nothing".to_owned(), Shape::to_string),
            found: found.map_or("nothing".to_owned(), |found| name_of(&found)),
        }),
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(name)
            | Self::Record(name, _)
            | Self::Variant(name, _)
            | Self::Enum(name, _) => f.write_str(name),
            Self::Option(inner) => write!(f, "option<{inner}>"),
            Self::List(inner) => write!(f, "list<{inner}>"),
            Self::Result(None, None) => f.write_str("result"),
            Self::Result(Some(ok), None) => write!(f, "result<{ok}>"),
            Self::Result(None, Some(err)) => write!(f, "result<_, {err}>"),
            Self::Result(Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
        }
    }
}

/// A type as WIT would write it; types that have a name there have none here, so what they are made of is said.
fn name_of(found: &Type) -> String {
    let plain = match found {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::List(list) => return format!("list<{}>", name_of(&list.ty())),
        Type::Option(option) => return format!("option<{}>", name_of(&option.ty())),
        Type::Tuple(tuple) => {
            let parts: Vec<_> = tuple.types().map(|part| name_of(&part)).collect();
            return format!("tuple<{}>", parts.join(", "));
        }
        Type::Record(record) => {
            let fields: Vec<_> = record.fields().map(|field| field.name).collect();
            return format!("a record of {}", fields.join(", "));
        }
        Type::Variant(variant) => {
            let cases: Vec<_> = variant.cases().map(|case| case.name).collect();
            return format!("a variant of {}", cases.join(", "));
        }
        Type::Enum(cases) => {
            return format!(
                "an enum of {}",
                cases.names().collect::<Vec<_>>().join(", ")
            );
        }
        Type::Flags(flags) => {
            return format!("flags of {}", flags.names().collect::<Vec<_>>().join(", "));
        }
        Type::Result(result) => {
            let part = |part: Option<Type>| part.map_or("_".to_owned(), |part| name_of(&part));
            return format!("result<{}, {}>", part(result.ok()), part(result.err()));
        }
        _ => "a type that kannika:wasi-plugins does not use",
    };
    plain.to_owned()
}
