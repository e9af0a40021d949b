//! Decoding of the document tree into typed resources, which finds all problems instead of the first.
//!
//! [`Decode::decode`] always returns a value: where something is wrong it reports a problem and puts a
//! placeholder, so that everything else is still looked at. Nothing is made of a set with a problem, so placeholders
//! never reach a job. Types are written with [`object!`](crate::decode::object) and
//! [`enumeration!`](crate::decode::enumeration), which also know the list of their keys: it serves the near misses
//! of unknown keys, and the schemas of the CustomResourceDefinitions.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde_json::{Value as Json, json};

use crate::node::{Node, Value};
use crate::path::{self, Segment};
use crate::problem::{Problem, suggestion};
use crate::schema::ObjectSchema;

/// A type that can be read from a document.
pub(crate) trait Decode: Default {
    /// Must the key be there?
    const REQUIRED: bool = true;

    /// Reads the value, and reports what is wrong with it.
    fn decode(node: &Node, at: &mut Place<'_>) -> Self;

    /// The same shape as a structural schema of OpenAPI v3: what the API server checks, and `kubectl explain` shows.
    fn schema() -> Json;
}

/// A type whose keys stand in an object: alone ([`object!`](crate::decode::object) makes a [`Decode`] of it), or among
/// those of another object.
pub(crate) trait Keys: Default {
    /// The keys, in the order in which messages list them.
    fn keys() -> Vec<&'static str>;

    /// Decodes what stands under the keys, and checks the rules between them.
    fn take(fields: &Fields<'_>, at: &mut Place<'_>) -> Self;

    /// Adds the keys, and the rules between them, to the schema of the object.
    fn describe(schema: &mut ObjectSchema);
}

/// Where in which document we are, and the problems found so far.
pub(crate) struct Place<'a> {
    document: DocumentName<'a>,
    root: &'a Node,
    path: Vec<Segment>,
    problems: &'a mut Vec<Problem>,
}

/// How a document is called in problems.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentName<'a> {
    pub(crate) file: &'a str,
    pub(crate) title: &'a str,
}

impl<'a> Place<'a> {
    /// The root of a document.
    pub(crate) fn new(
        document: DocumentName<'a>,
        root: &'a Node,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        Place {
            document,
            root,
            path: Vec::new(),
            problems,
        }
    }

    /// Does something one step further in.
    pub(crate) fn within<R>(
        &mut self,
        segment: impl Into<Segment>,
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.path.push(segment.into());
        let result = work(self);
        self.path.pop();
        result
    }

    /// Does something several keys further in.
    pub(crate) fn within_keys<R>(&mut self, keys: &[&str], work: impl FnOnce(&mut Self) -> R) -> R {
        let depth = self.path.len();
        self.path.extend(keys.iter().map(|key| Segment::from(*key)));
        let result = work(self);
        self.path.truncate(depth);
        result
    }

    /// Does something at a path from here.
    pub(crate) fn within_path<R>(
        &mut self,
        path: &[Segment],
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let depth = self.path.len();
        self.path.extend_from_slice(path);
        let result = work(self);
        self.path.truncate(depth);
        result
    }

    /// Reports a problem of this place. What is wrong already is not told again: a second problem of one path comes
    /// of the placeholder that the first one left.
    pub(crate) fn problem(&mut self, message: impl Into<String>) {
        let line = self.root.line_of(&self.path);
        let problem = Problem {
            file: self.document.file.to_owned(),
            line: (line > 0).then_some(line),
            document: self.document.title.to_owned(),
            path: path::display(&self.path),
            message: message.into(),
        };
        let same_place = |other: &Problem| {
            (&other.file, other.line, &other.document, &other.path)
                == (
                    &problem.file,
                    problem.line,
                    &problem.document,
                    &problem.path,
                )
        };
        if !self.problems.iter().any(same_place) {
            self.problems.push(problem);
        }
    }

    /// Reports a problem of a key of this place.
    pub(crate) fn problem_at(&mut self, segment: impl Into<Segment>, message: impl Into<String>) {
        self.within(segment, |at| at.problem(message));
    }

    /// Reports a value of the wrong type.
    pub(crate) fn expected(&mut self, expected: &str, found: &Node) {
        let found = found.describe();
        self.problem(format!("expected {expected}, found {found}"));
    }
}

/// The keys of one object.
pub(crate) struct Fields<'n> {
    node: Option<&'n Node>,
}

impl<'n> Fields<'n> {
    /// Opens an object. Reports what is not one, and every key that is not in `keys`.
    pub(crate) fn open(node: &'n Node, keys: &[&str], at: &mut Place<'_>) -> Self {
        let Value::Map(entries) = &node.value else {
            at.expected("an object", node);
            return Fields { node: None };
        };
        for entry in entries {
            if !keys.contains(&entry.key.as_str()) {
                let message = format!("unknown key{}", suggestion(&entry.key, keys));
                at.problem_at(entry.key.as_str(), message);
            }
        }
        Fields { node: Some(node) }
    }

    /// Reports where not exactly one of several keys is there.
    pub(crate) fn exactly_one(&self, keys: &[&str], at: &mut Place<'_>) {
        let Some(object) = self.node else { return };
        let there = |key: &&str| {
            object
                .get(key)
                .is_some_and(|node| node.value != Value::Null)
        };
        let present: Vec<&str> = keys.iter().copied().filter(there).collect();
        let choice = keys.join(", ");
        match present.as_slice() {
            [_] => {}
            [] if let [only] = keys => at.problem_at(*only, "missing"),
            [] => at.problem(format!("exactly one of {choice} must be given, found none")),
            several => at.problem(format!(
                "exactly one of {choice} must be given, found {}",
                several.join(" and ")
            )),
        }
    }

    /// Decodes one key. A null is as good as absent.
    pub(crate) fn take<T: Decode>(&self, key: &str, at: &mut Place<'_>) -> T {
        let Some(object) = self.node else {
            return T::default();
        };
        match object.get(key) {
            Some(node) if node.value != Value::Null => at.within(key, |at| T::decode(node, at)),
            _ => {
                if T::REQUIRED {
                    at.problem_at(key, "missing");
                }
                T::default()
            }
        }
    }
}

/// Defines an object: a struct, and the keys its fields stand under with what they mean, as users read it. Behind
/// the type of a field more of its schema may stand: `{"default": false}`. Last among the fields may come
/// `..field: Type`, whose keys stand beside the others. Then, each optionally:
/// - `keep_unknown_keys true`: the API server keeps keys that are not listed, so that they are refused here instead of
///   being dropped there,
/// - `exactly_one ["a", "b"]`: which keys exclude each other, where one has to be there,
/// - `check function`: a function that checks other rules between the fields,
/// - `rule "…" => "…"`: the same rule in CEL for the API server, with its message. (All of it is checked by `check`, too.)
macro_rules! object {
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $key:literal => $field:ident : $type:ty $({ $($more:tt)* })?,
            )*
            $( ..$flat:ident : $flat_type:ty, )?
        }
        $( keep_unknown_keys $keep:literal )?
        $( exactly_one [ $($variant:literal),+ ] )?
        $( check $check:ident )?
        $( rule $rule:literal => $message:literal )*
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
            $(
                #[doc = concat!("The keys of a [`", stringify!($flat_type), "`], which stand beside the others.")]
                pub $flat: $flat_type,
            )?
        }

        impl $crate::decode::Keys for $name {
            fn keys() -> Vec<&'static str> {
                #[allow(unused_mut, reason = "not every object has another inside")]
                let mut keys = vec![$($key),*];
                $( keys.extend(<$flat_type as $crate::decode::Keys>::keys()); )?
                keys
            }

            fn take(fields: &$crate::decode::Fields<'_>, at: &mut $crate::decode::Place<'_>) -> Self {
                let object = $name {
                    $( $field: fields.take::<$type>($key, at), )*
                    $( $flat: <$flat_type as $crate::decode::Keys>::take(fields, at), )?
                };
                $( fields.exactly_one(&[$($variant),+], at); )?
                $( $check(&object, at); )?
                object
            }

            fn describe(schema: &mut $crate::schema::ObjectSchema) {
                $(
                    schema.key::<$type>(
                        $key,
                        &[$($field_doc),*],
                        serde_json::json!({ $($($more)*)? }),
                    );
                )*
                $( <$flat_type as $crate::decode::Keys>::describe(schema); )?
                $( schema.keep_unknown_keys($keep); )?
                $( schema.exactly_one(&[$($variant),+]); )?
                $( schema.rule($rule, $message); )*
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::node::Node, at: &mut $crate::decode::Place<'_>) -> Self {
                let keys = <$name as $crate::decode::Keys>::keys();
                let fields = $crate::decode::Fields::open(node, &keys, at);
                <$name as $crate::decode::Keys>::take(&fields, at)
            }

            fn schema() -> serde_json::Value {
                let mut schema = $crate::schema::ObjectSchema::new(&[$($doc),*]);
                <$name as $crate::decode::Keys>::describe(&mut schema);
                schema.finish()
            }
        }
    };
}
pub(crate) use object;

/// Defines a choice of words; the first one is the placeholder.
macro_rules! enumeration {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )* }

        impl $name {
            const ALL: &'static [(&'static str, $name)] = &[$( ($word, $name::$variant) ),*];

            /// The word it is written as.
            #[allow(dead_code, reason = "not every choice appears in a message")]
            pub(crate) fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::ALL[0].1
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::node::Node, at: &mut $crate::decode::Place<'_>) -> Self {
                $crate::decode::choice(node, $name::ALL, at)
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}
pub(crate) use enumeration;

/// Reads one of a few words.
pub(crate) fn choice<T: Copy + Default>(node: &Node, all: &[(&str, T)], at: &mut Place<'_>) -> T {
    let text = String::decode(node, at);
    if !matches!(node.value, Value::Text(_)) {
        return T::default();
    }
    match all.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => *value,
        None => {
            let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
            at.problem(format!(
                "unknown value {text:?}{}",
                suggestion(&text, &words)
            ));
            T::default()
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::Text(text) => text.clone(),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                at.problem(format!(
                    "expected text, found {}: put it in quotes",
                    node.describe()
                ));
                String::new()
            }
            _ => {
                at.expected("text", node);
                String::new()
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl Decode for bool {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::Bool(value) => *value,
            _ => {
                at.expected("true or false", node);
                false
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl<T: Decode> Decode for Option<T> {
    const REQUIRED: bool = false;

    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        Some(T::decode(node, at))
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Vec<T> {
    const REQUIRED: bool = false;

    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| at.within(index, |at| T::decode(item, at)))
                .collect(),
            _ => {
                at.expected("a list", node);
                Vec::new()
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    const REQUIRED: bool = false;

    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::Map(entries) => entries
                .iter()
                .map(|entry| {
                    let value = at.within(entry.key.as_str(), |at| T::decode(&entry.node, at));
                    (entry.key.clone(), value)
                })
                .collect(),
            _ => {
                at.expected("an object", node);
                BTreeMap::new()
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// Something that must be there, even though its type could be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Required<T>(pub T);

impl<T: Decode> Decode for Required<T> {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        Required(T::decode(node, at))
    }

    fn schema() -> Json {
        T::schema()
    }
}

/// Something of Kubernetes that is read as a `T` to find what is wrong with it, and handed on as the JSON that it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept<T> {
    /// What stood there.
    pub json: Json,
    shape: PhantomData<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept {
            json: Json::Null,
            shape: PhantomData,
        }
    }
}

impl<T: Decode> Decode for Kept<T> {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        T::decode(node, at);
        Kept {
            json: node.to_json(),
            shape: PhantomData,
        }
    }

    fn schema() -> Json {
        T::schema()
    }
}

/// An object whose keys are somebody else's business.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnyObject(pub Json);

impl Decode for AnyObject {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        if !matches!(node.value, Value::Map(_)) {
            at.expected("an object", node);
        }
        AnyObject(node.to_json())
    }

    fn schema() -> Json {
        json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}
