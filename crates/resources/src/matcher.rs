//! Name matchers: how a resource names topics.
//!
//! A matcher is one of `literal` (equal), `regex` (the `regex` crate, *searched*: anchor it yourself) and
//! `glob` (shell style, on the whole name: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, `\` escapes). A matcher is
//! compiled when it is made, so that a wrong pattern is an error of the file and not of the run.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;
use serde::{Deserialize, Serialize};

/// A compiled matcher of topic names. Two matchers are equal when kind and pattern are.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "NamePattern", try_from = "NamePattern")]
pub struct NameMatcher {
    pattern: NamePattern,
    compiled: Compiled,
}

/// What a matcher is written as: `{literal: …}`, `{regex: …}` or `{glob: …}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamePattern {
    /// Equal to the name.
    Literal(String),
    /// A regular expression of the `regex` crate that is found somewhere in the name.
    Regex(String),
    /// A shell pattern that matches the whole name.
    Glob(String),
}

#[derive(Clone)]
enum Compiled {
    Literal,
    Regex(Regex),
    Glob(GlobMatcher),
}

/// A pattern that cannot be compiled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PatternError {
    /// Not an expression of the `regex` crate.
    #[error("not a regular expression: {0}")]
    Regex(String),
    /// Not a shell pattern.
    #[error("not a glob: {0}")]
    Glob(String),
}

impl NameMatcher {
    /// A matcher of exactly this name.
    pub fn literal(name: impl Into<String>) -> Self {
        NameMatcher {
            pattern: NamePattern::Literal(name.into()),
            compiled: Compiled::Literal,
        }
    }

    /// A matcher that searches the name for an expression.
    pub fn regex(expression: impl Into<String>) -> Result<Self, PatternError> {
        NameMatcher::new(NamePattern::Regex(expression.into()))
    }

    /// A matcher of whole names by a shell pattern.
    pub fn glob(pattern: impl Into<String>) -> Result<Self, PatternError> {
        NameMatcher::new(NamePattern::Glob(pattern.into()))
    }

    /// Compiles a pattern.
    pub fn new(pattern: NamePattern) -> Result<Self, PatternError> {
        let compiled = match &pattern {
            NamePattern::Literal(_) => Compiled::Literal,
            NamePattern::Regex(expression) => Compiled::Regex(
                Regex::new(expression).map_err(|error| PatternError::Regex(one_line(&error)))?,
            ),
            NamePattern::Glob(glob) => {
                let glob = GlobBuilder::new(glob)
                    // A topic name has no folders: `*` matches anything, whatever the platform.
                    .literal_separator(false)
                    .backslash_escape(true)
                    .build()
                    .map_err(|error| PatternError::Glob(error.kind().to_string()))?;
                Compiled::Glob(glob.compile_matcher())
            }
        };
        Ok(NameMatcher { pattern, compiled })
    }

    /// Does this matcher take that name?
    pub fn matches(&self, name: &str) -> bool {
        match (&self.compiled, &self.pattern) {
            (Compiled::Regex(regex), _) => regex.is_match(name),
            (Compiled::Glob(glob), _) => glob.is_match(name),
            (Compiled::Literal, NamePattern::Literal(literal)) => literal == name,
            (Compiled::Literal, _) => false,
        }
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &NamePattern {
        &self.pattern
    }
}

/// The last line of a regex error says what is wrong; those before it draw the expression.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl fmt::Debug for NameMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)
    }
}

impl fmt::Display for NameMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            NamePattern::Literal(name) => f.write_str(name),
            NamePattern::Regex(expression) => write!(f, "regex {expression}"),
            NamePattern::Glob(glob) => write!(f, "glob {glob}"),
        }
    }
}

impl PartialEq for NameMatcher {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for NameMatcher {}

impl From<NameMatcher> for NamePattern {
    fn from(matcher: NameMatcher) -> Self {
        matcher.pattern
    }
}

impl TryFrom<NamePattern> for NameMatcher {
    type Error = PatternError;

    fn try_from(pattern: NamePattern) -> Result<Self, PatternError> {
        NameMatcher::new(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_is_equality() {
        let matcher = NameMatcher::literal("orders.*");
        assert!(matcher.matches("orders.*"));
        assert!(!matcher.matches("orders.eu"));
    }

    #[test]
    fn regex_is_searched_not_anchored() {
        let matcher = NameMatcher::regex("ders").unwrap();
        assert!(matcher.matches("orders.eu"));
        let anchored = NameMatcher::regex("^ders$").unwrap();
        assert!(!anchored.matches("orders.eu"));
        assert!(anchored.matches("ders"));
    }

    #[test]
    fn glob_is_of_the_whole_name() {
        let matcher = NameMatcher::glob("flights.*").unwrap();
        assert!(matcher.matches("flights.eu.west"));
        assert!(!matcher.matches("flights"));
        assert!(!matcher.matches("my-flights.eu"));
        // The dot is a dot, not any character.
        assert!(!matcher.matches("flightsXeu"));
        let class = NameMatcher::glob("t[0-9]-{a,b}?").unwrap();
        assert!(class.matches("t1-ax"));
        assert!(!class.matches("tx-ax"));
        assert!(!class.matches("t1-cx"));
        assert!(NameMatcher::glob("[!a]*").unwrap().matches("b1"));
        assert!(!NameMatcher::glob("[!a]*").unwrap().matches("a1"));
        assert!(NameMatcher::glob("*").unwrap().matches(".hidden"));
    }

    #[test]
    fn wrong_patterns_are_named() {
        assert_eq!(
            NameMatcher::regex("a(").unwrap_err().to_string(),
            "not a regular expression: unclosed group"
        );
        let error = NameMatcher::glob("a[").unwrap_err().to_string();
        assert!(error.starts_with("not a glob: "), "{error}");
    }

    #[test]
    fn serialises_as_it_is_written() {
        let matcher = NameMatcher::glob("a*").unwrap();
        let text = serde_json::to_string(&matcher).unwrap();
        assert_eq!(text, r#"{"glob":"a*"}"#);
        assert_eq!(serde_json::from_str::<NameMatcher>(&text).unwrap(), matcher);
        assert!(serde_json::from_str::<NameMatcher>(r#"{"regex":"("}"#).is_err());
    }
}
