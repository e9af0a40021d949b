//! A double of Google Cloud Storage: there is no server to run that speaks the part of its XML API which clients
//! with preconditions use, so this keeps objects in memory and answers as Google documents.
//!
//! <https://cloud.google.com/storage/docs/xml-api/overview>: PUT, GET and HEAD of objects, ranges, generations and
//! `x-goog-if-generation-match`, uploads in parts, deletes, and `list-type=2` with prefix, delimiter and pages. A test
//! that passes against it shows that the two of us read the documentation alike, no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;

use crate::http::{Listener, Message, lock};

/// When every object was last modified: nobody who is tested looks at it.
const MODIFIED: (&str, &str) = ("Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01T00:00:00Z");
/// How many entries a page of a listing has where the client does not say; few, so that tests turn pages.
const PAGE: usize = 100;

/// A running double with one bucket.
#[derive(Debug)]
pub struct Gcs {
    listener: Listener,
}

#[derive(Debug, Default)]
struct Store {
    /// By bucket and name, which is how listings are sorted.
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    generation: u64,
}

#[derive(Debug, Clone)]
struct Object {
    content: Arc<[u8]>,
    generation: u64,
}

#[derive(Debug, Default)]
struct Upload {
    parts: BTreeMap<u32, Vec<u8>>,
}

impl Gcs {
    /// Starts it. Any bucket is there, and empty.
    pub fn start() -> Result<Self> {
        let store = Mutex::new(Store::default());
        let listener = Listener::start(move |mut client| {
            while let Ok(Some(request)) = Message::read_request(&mut client) {
                let answer = lock(&store).answer(&request);
                if answer.write(client.get_mut()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { listener })
    }

    /// `http://127.0.0.1:<port>`, in the place of `https://storage.googleapis.com`.
    pub fn endpoint(&self) -> String {
        self.listener.endpoint()
    }

    /// The name of a bucket.
    pub fn bucket(&self) -> &str {
        "backups"
    }

    /// A service account's key that asks nobody for a token. The double takes any.
    pub fn service_account(&self) -> String {
        r#"{"private_key":"","private_key_id":"","client_email":"","disable_oauth":true}"#
            .to_owned()
    }
}

impl Store {
    fn answer(&mut self, request: &Message) -> Message {
        let (path, query) = request
            .target()
            .split_once('?')
            .unwrap_or((request.target(), ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| {
                (
                    decode(&name.replace('+', " ")),
                    decode(&value.replace('+', " ")),
                )
            })
            .collect();
        let name = decode(path.trim_start_matches('/'));
        let upload = query.get("uploadId");
        match (request.method(), upload) {
            ("GET", None) if query.contains_key("list-type") => self.list(&name, &query),
            ("GET" | "HEAD", None) => self.get(&name, request),
            ("PUT", None) => self.put(name, request.body.clone(), request),
            ("PUT", Some(id)) => self.put_part(id, &query, request),
            ("POST", None) if query.contains_key("uploads") => self.begin(&name),
            ("POST", Some(id)) => self.complete(id, name, request),
            ("DELETE", Some(id)) => match self.uploads.remove(id) {
                Some(_) => Message::answer(204, &[], ""),
                None => error(404, "NoSuchUpload"),
            },
            ("DELETE", None) => match self.objects.remove(&name) {
                Some(_) => Message::answer(204, &[], ""),
                None => error(404, "NoSuchKey"),
            },
            _ => error(400, "InvalidArgument"),
        }
    }

    fn get(&self, name: &str, request: &Message) -> Message {
        let Some(object) = self.objects.get(name) else {
            return error(404, "NoSuchKey");
        };
        let size = object.content.len();
        let Some(range) = request.header("Range") else {
            let mut answer = object_answer(200, object, &[], &object.content);
            if request.method() == "HEAD" {
                // The length is that of the object, though none of it comes.
                answer.body.clear();
            }
            return answer;
        };
        let Some((start, end)) = byte_range(range, size) else {
            return error(416, "InvalidRange");
        };
        let content_range = format!("bytes {start}-{}/{size}", end - 1);
        let headers = [("Content-Range", content_range.as_str())];
        object_answer(206, object, &headers, &object.content[start..end])
    }

    fn put(&mut self, name: String, content: Vec<u8>, request: &Message) -> Message {
        let expected = request.header("x-goog-if-generation-match");
        let present = self
            .objects
            .get(&name)
            .map_or(0, |object| object.generation);
        if expected.is_some_and(|expected| expected.parse() != Ok(present)) {
            return error(412, "PreconditionFailed");
        }
        self.generation += 1;
        let object = Object {
            content: content.into(),
            generation: self.generation,
        };
        let answer = object_answer(200, &object, &[], b"");
        self.objects.insert(name, object);
        answer
    }

    fn begin(&mut self, name: &str) -> Message {
        let id = crate::unique("upload");
        let (bucket, key) = name.split_once('/').unwrap_or((name, ""));
        let body = format!(
            "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
            escape(key)
        );
        self.uploads.insert(id, Upload::default());
        Message::answer(200, &[], body)
    }

    fn put_part(
        &mut self,
        id: &str,
        query: &BTreeMap<String, String>,
        request: &Message,
    ) -> Message {
        let Some(upload) = self.uploads.get_mut(id) else {
            return error(404, "NoSuchUpload");
        };
        let Some(number) = query.get("partNumber").and_then(|text| text.parse().ok()) else {
            return error(400, "InvalidArgument");
        };
        upload.parts.insert(number, request.body.clone());
        Message::answer(200, &[("ETag", &format!("\"{number}\""))], "")
    }

    fn complete(&mut self, id: &str, name: String, request: &Message) -> Message {
        let Some(upload) = self.uploads.remove(id) else {
            return error(404, "NoSuchUpload");
        };
        let text = String::from_utf8_lossy(&request.body);
        let listed = text.matches("<PartNumber>").count();
        if listed != upload.parts.len() {
            return error(400, "InvalidPart");
        }
        let content = upload.parts.into_values().flatten().collect();
        let mut answer = self.put(name, content, request);
        if answer.status() == 200 {
            let tag = answer.header("ETag").unwrap_or_default().to_owned();
            let generation = self.generation.to_string();
            let body = format!(
                "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
            );
            answer = Message::answer(200, &[("x-goog-generation", &generation)], body);
        }
        answer
    }

    fn list(&self, bucket: &str, query: &BTreeMap<String, String>) -> Message {
        let get = |name: &str| query.get(name).map_or("", String::as_str);
        let bucket = format!("{}/", bucket.trim_end_matches('/'));
        let (prefix, delimiter) = (get("prefix"), get("delimiter"));
        let after = match get("continuation-token") {
            "" => get("start-after"),
            token => token,
        };
        let page: usize = get("max-keys").parse().unwrap_or(PAGE);
        let mut entries = 0;
        let (mut body, mut last) = (String::new(), String::new());
        let mut more = false;
        for (name, object) in &self.objects {
            let Some(name) = name.strip_prefix(&bucket) else {
                continue;
            };
            // A folder that was given on an earlier page stands for all below it.
            let below =
                !delimiter.is_empty() && after.ends_with(delimiter) && name.starts_with(after);
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            if name <= after || below {
                continue;
            }
            let folder = rest
                .find(delimiter)
                .filter(|_| !delimiter.is_empty())
                .map(|at| &name[..prefix.len() + at + delimiter.len()]);
            if folder.is_some_and(|folder| folder == last) {
                continue;
            }
            if entries == page {
                more = true;
                break;
            }
            entries += 1;
            match folder {
                Some(folder) => body.push_str(&format!(
                    "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                    escape(folder)
                )),
                None => body.push_str(&format!(
                    "<Contents><Key>{}</Key><Size>{}</Size><ETag>\"{}\"</ETag><LastModified>{}</LastModified></Contents>",
                    escape(name),
                    object.content.len(),
                    object.generation,
                    MODIFIED.1
                )),
            }
            last = folder.unwrap_or(name).to_owned();
        }
        if more {
            let token = escape(&last);
            body.push_str(&format!(
                "<NextContinuationToken>{token}</NextContinuationToken>"
            ));
        }
        let body =
            format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{body}</ListBucketResult>");
        Message::answer(200, &[("Content-Type", "application/xml")], body)
    }
}

fn object_answer(status: u16, object: &Object, more: &[(&str, &str)], body: &[u8]) -> Message {
    let generation = object.generation.to_string();
    let tag = format!("\"{generation}\"");
    let mut headers = vec![
        ("ETag", tag.as_str()),
        ("x-goog-generation", &generation),
        ("Last-Modified", MODIFIED.0),
    ];
    headers.extend(more);
    Message::answer(status, &headers, body)
}

fn error(status: u16, code: &str) -> Message {
    let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    Message::answer(status, &[("Content-Type", "application/xml")], body)
}

/// The bytes of a `Range` header, end exclusive; nothing where none of them exist.
fn byte_range(header: &str, size: usize) -> Option<(usize, usize)> {
    let (start, end) = header.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (start, end) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (start, "") => (start.parse().ok()?, size),
        (start, end) => (
            start.parse().ok()?,
            size.min(end.parse::<usize>().ok()? + 1),
        ),
    };
    (range.0 < range.1).then_some(range)
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
