//! What was asked of the API, by the log of its server: one JSON `audit.k8s.io/v1` Event a line.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// A request that the API server has answered, or a watch that it has begun to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// As in rules of RBAC: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Empty for the core's.
    pub group: String,
    /// With its subresource, if one was meant: `jobs`, `backups/status`.
    pub resource: String,
    /// Where one was meant: a list has none.
    pub name: Option<String>,
    /// HTTP status; 403 where the user had no right to it.
    pub status: u64,
}

pub(super) fn requests_of(log: &Path, user: &str) -> Result<Vec<Request>> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(parse(&text, user))
}

/// The last line may not have been written to its end.
fn parse(text: &str, user: &str) -> Vec<Request> {
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.filter_map(|event| request(&event, user)).collect()
}

fn request(event: &Value, user: &str) -> Option<Request> {
    let object = event.get("objectRef")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = match object["subresource"].as_str() {
        None => text(&object["resource"]),
        Some(sub) => format!("{}/{sub}", text(&object["resource"])),
    };
    (event["user"]["username"] == user).then(|| Request {
        verb: text(&event["verb"]),
        group: text(&object["apiGroup"]),
        resource,
        name: object["name"].as_str().map(str::to_owned),
        status: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_their_user() {
        let log = r#"{"kind":"Event","stage":"ResponseComplete","verb":"patch","user":{"username":"system:serviceaccount:a:armory"},"objectRef":{"resource":"backups","namespace":"a","name":"b1","apiGroup":"kannika.io","apiVersion":"v1alpha","subresource":"status"},"responseStatus":{"metadata":{},"code":200}}
{"kind":"Event","stage":"ResponseStarted","verb":"watch","user":{"username":"system:serviceaccount:b:armory"},"objectRef":{"resource":"pods","namespace":"b","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":403}}
{"kind":"Event","verb":"get","user":{"username":"system:serviceaccount:b:armory"},"requestURI":"/version"}
{"kind":"Event","stage":"Resp"#;
        let user = |namespace| format!("system:serviceaccount:{namespace}:armory");
        let request =
            |verb: &str, group: &str, resource: &str, name: Option<&str>, status| Request {
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                name: name.map(str::to_owned),
                status,
            };
        assert_eq!(
            parse(log, &user("a")),
            [request(
                "patch",
                "kannika.io",
                "backups/status",
                Some("b1"),
                200
            )]
        );
        assert_eq!(
            parse(log, &user("b")),
            [request("watch", "", "pods", None, 403)]
        );
        assert_eq!(parse(log, &user("c")), []);
    }
}
