//! librdkafka's property names, which the resources of `kannika.io` carry, turned into a [`ClientConfig`].
//!
//! Every property of librdkafka 2 is in the [`table`] with what it means here: used, without meaning here and
//! harmless, or not supported. Nothing is ignored: a name that is not in the table is an error that names near misses.

mod security;
mod table;
mod values;

use std::collections::BTreeMap;
use std::fmt;

use crate::ClientConfig;
use crate::connect::{Address, TcpConnect};
use crate::security::SecretValue;
use security::{Protocol, SecurityDraft};
use table::{Meaning, Property};

/// Why properties could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// librdkafka has no such property.
    #[error("unknown Kafka property {name}{}", DidYouMean(suggestions))]
    Unknown {
        /// The property as it was given.
        name: String,
        /// Properties whose names are nearly the same, the nearest first.
        suggestions: Vec<&'static str>,
    },
    /// librdkafka has it, and armory cannot do what it asks for.
    #[error("Kafka property {name} is not supported: {reason}")]
    Unsupported {
        /// The property.
        name: &'static str,
        /// Why not, and what to do instead.
        reason: &'static str,
    },
    /// The value is not one that the property can have here.
    #[error("Kafka property {name} cannot be {value:?}: {expected}")]
    Value {
        /// The property.
        name: &'static str,
        /// Its value as it was given.
        value: String,
        /// What it can be.
        expected: String,
    },
    /// Two names of the same property have different values.
    #[error(
        "Kafka properties {first} and {second} are the same setting with different values; keep one"
    )]
    Conflict {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// The value is needed at once, and cannot be read later from a file.
    #[error("Kafka property {name} cannot be read from a file; give its value")]
    NoSecret {
        /// The property.
        name: &'static str,
    },
    /// A property is there and another that it needs, or that it excludes, is not as it should be.
    #[error("Kafka property {name} {problem}")]
    Combination {
        /// The property, as it was given or by librdkafka's name.
        name: String,
        /// What is wrong, with the remedy.
        problem: String,
    },
    /// There is no broker to begin with.
    #[error("Kafka property bootstrap.servers is missing; name at least one broker as host:port")]
    NoBootstrap,
}

struct DidYouMean<'a>(&'a [&'static str]);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("; see librdkafka's list of properties"),
            near => write!(f, "; did you mean {}?", near.join(" or ")),
        }
    }
}

/// What the table's setters write to.
#[derive(Debug)]
struct Draft {
    config: ClientConfig,
    tcp: TcpConnect,
    security: SecurityDraft,
}

/// Whether the value of a property is nobody's business, and may be read from a file when a connection is made.
pub fn is_secret(name: &str) -> bool {
    find(name).is_ok_and(|property| matches!(property.meaning, Meaning::Secret(_)))
}

pub(crate) fn parse(
    properties: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, SecretValue>,
) -> Result<ClientConfig, PropertyError> {
    let mut draft = Draft {
        config: ClientConfig::new(Vec::new()),
        tcp: TcpConnect::default(),
        security: SecurityDraft::default(),
    };
    let mut given: BTreeMap<&'static str, (&str, &str)> = BTreeMap::new();
    for (name, value) in properties {
        let property = find(name)?;
        let setting = property.alias_of.unwrap_or(property.name);
        if let Some((other, other_value)) = given.insert(setting, (name, value))
            && other_value != value
        {
            return Err(PropertyError::Conflict {
                first: other.to_owned(),
                second: name.to_owned(),
            });
        }
        if !secrets.contains_key(name) {
            apply(property, value, &mut draft)?;
            draft.security.note(setting, name);
        }
    }
    for (name, value) in secrets {
        let property = find(name)?;
        let Meaning::Secret(set) = property.meaning else {
            return Err(PropertyError::NoSecret {
                name: property.name,
            });
        };
        set(&mut draft.security, value.clone());
        draft
            .security
            .note(property.alias_of.unwrap_or(property.name), name);
    }
    if draft.config.bootstrap.is_empty() {
        return Err(PropertyError::NoBootstrap);
    }
    let Draft {
        mut config,
        tcp,
        security,
    } = draft;
    let (connect, sasl) = security.finish(tcp)?;
    config.connect = connect;
    config.sasl = sasl;
    Ok(config)
}

fn apply(property: &'static Property, value: &str, draft: &mut Draft) -> Result<(), PropertyError> {
    let refuse = |expected: String| PropertyError::Value {
        name: property.name,
        value: value.to_owned(),
        expected,
    };
    match property.meaning {
        Meaning::Used(set) => set(draft, value.trim()).map_err(refuse),
        Meaning::Secret(set) => {
            set(&mut draft.security, SecretValue::Text(value.to_owned()));
            Ok(())
        }
        Meaning::Harmless => Ok(()),
        Meaning::Only { values, otherwise } => {
            if values
                .iter()
                .any(|one| one.eq_ignore_ascii_case(value.trim()))
            {
                return Ok(());
            }
            Err(refuse(format!(
                "{otherwise}; only {} is supported",
                values.join(", ")
            )))
        }
        Meaning::Unsupported(reason) => Err(PropertyError::Unsupported {
            name: property.name,
            reason,
        }),
    }
}

fn find(name: &str) -> Result<&'static Property, PropertyError> {
    table::PROPERTIES
        .iter()
        .find(|property| property.name == name)
        .ok_or_else(|| PropertyError::Unknown {
            name: name.to_owned(),
            suggestions: near_misses(name),
        })
}

/// The names that look like `name`, letter by letter or with its words in another order: at most three, and none that
/// look like something else altogether.
fn near_misses(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase();
    let words = sorted_words(&name);
    let likeness = |property: &Property| {
        let by_letter = strsim::normalized_damerau_levenshtein(&name, property.name);
        let by_word = strsim::normalized_damerau_levenshtein(&words, &sorted_words(property.name));
        by_letter.max(by_word)
    };
    let mut near: Vec<(f64, &'static str)> = table::PROPERTIES
        .iter()
        .map(|property| (likeness(property), property.name))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

fn sorted_words(name: &str) -> String {
    let mut words: Vec<&str> = name.split(['.', '_', '-']).collect();
    words.sort_unstable();
    words.join(".")
}

/// Comma-separated `host[:port]`, each perhaps with `PLAINTEXT://` or another protocol before it, which are added to
/// `protocols`.
fn addresses(text: &str, protocols: &mut Vec<Protocol>) -> Result<Vec<Address>, String> {
    let expected = |entry: &str| format!("{entry:?} is no host:port");
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let place = match entry.split_once("://") {
                Some((protocol, place)) => {
                    protocols.push(Protocol::parse(protocol)?);
                    place
                }
                None => entry,
            };
            address(place).ok_or_else(|| expected(entry))
        })
        .collect()
}

fn address(place: &str) -> Option<Address> {
    /// What librdkafka takes when no port is given.
    const DEFAULT_PORT: u16 = 9092;
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        match place.split_once(':') {
            // More than one colon and no brackets: an IPv6 address without a port.
            Some((_, rest)) if rest.contains(':') => (place, None),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => DEFAULT_PORT,
    };
    let plausible = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    plausible.then(|| Address::new(host, port))
}

#[cfg(test)]
mod tests;
