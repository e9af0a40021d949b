//! Decoding of the document tree into typed resources, which finds all problems instead of the first.
//!
//! [`Decode::decode`] always returns a value: where something is wrong it reports a problem and puts a
//! placeholder, so that everything else is still looked at. Nothing is made of a set with a problem, so placeholders
//! never reach a job. Types are written with [`object!`](crate::decode::object) and
//! [`enumeration!`](crate::decode::enumeration), which also know the list of their keys: it serves the near misses
//! of unknown keys and the outline that a test holds against the published field list.

use std::collections::BTreeMap;

use crate::node::{Node, Value};
use crate::path::{self, Segment};
use crate::problem::{Problem, suggestion};

/// A type that can be read from a document.
pub(crate) trait Decode: Default {
    /// Must the key be there?
    const REQUIRED: bool = true;

    /// Reads the value, and reports what is wrong with it.
    fn decode(node: &Node, at: &mut Place<'_>) -> Self;

    /// Adds a line per path below (and with) this one.
    fn outline(path: &str, out: &mut Vec<String>);
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

/// The path of a key in an outline: `*` marks a required one.
pub(crate) fn outline_key<T: Decode>(path: &str, key: &str, out: &mut Vec<String>) {
    let mark = if T::REQUIRED { "*" } else { "" };
    T::outline(&format!("{path}.{key}{mark}"), out);
}

/// Defines an object: a struct, the keys its fields stand under, and optionally a function that checks rules
/// between the fields.
macro_rules! object {
    (
        $(#[$meta:meta])*
        $name:ident {
            $( $(#[$field_meta:meta])* $key:literal => $field:ident : $type:ty, )*
        }
        $( check $check:path )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::node::Node, at: &mut $crate::decode::Place<'_>) -> Self {
                let fields = $crate::decode::Fields::open(node, &[$($key),*], at);
                let object = $name {
                    $( $field: fields.take::<$type>($key, at), )*
                };
                $( $check(&object, at); )?
                object
            }

            fn outline(path: &str, out: &mut Vec<String>) {
                out.push(format!("{path} object"));
                $( $crate::decode::outline_key::<$type>(path, $key, out); )*
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

            fn outline(path: &str, out: &mut Vec<String>) {
                out.push(format!("{path} string"));
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} string"));
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} boolean"));
    }
}

impl<T: Decode> Decode for Option<T> {
    const REQUIRED: bool = false;

    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        Some(T::decode(node, at))
    }

    fn outline(path: &str, out: &mut Vec<String>) {
        T::outline(path, out);
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} array"));
        T::outline(&format!("{path}[]"), out);
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} object"));
        T::outline(&format!("{path}{{}}"), out);
    }
}

/// Something that must be there, even though its type could be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Required<T>(pub T);

impl<T: Decode> Decode for Required<T> {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        Required(T::decode(node, at))
    }

    fn outline(path: &str, out: &mut Vec<String>) {
        T::outline(path, out);
    }
}

/// An object of Kubernetes that is handed on as it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FreeObject(pub serde_json::Value);

impl Decode for FreeObject {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        if !matches!(node.value, Value::Map(_)) {
            at.expected("an object", node);
        }
        FreeObject(node.to_json())
    }

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} object"));
    }
}

/// A list of Kubernetes objects that is handed on as it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FreeList(pub Vec<serde_json::Value>);

impl Decode for FreeList {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::List(items) => FreeList(items.iter().map(Node::to_json).collect()),
            _ => {
                at.expected("a list", node);
                FreeList::default()
            }
        }
    }

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} array"));
    }
}
