//! What workers say of themselves, at `/status` of their HTTP.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::kinds::Pod;
use crate::pod::PORT;

/// How long a worker may take to answer. It is asked again soon.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any worker says, in bytes.
const LONGEST: usize = 64 * 1024;

/// The answer; what a worker does not know is not there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WorkerStatus {
    /// Whether `message` is about something that is wrong.
    pub(crate) trouble: bool,
    pub(crate) message: String,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) records_total: Option<u64>,
    pub(crate) percent: Option<f64>,
    pub(crate) lag: Option<Lag>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Lag {
    pub(crate) records: Option<u64>,
}

/// Asks all pods at once. One that does not answer is left out: whether it lives is told by its probes.
pub(crate) async fn ask(pods: &[std::sync::Arc<Pod>]) -> Vec<WorkerStatus> {
    let running = pods.iter().filter(|pod| pod.status.phase == "Running");
    let answers = running
        .filter_map(|pod| pod.status.pod_ip.clone())
        .map(|address| async move {
            match tokio::time::timeout(PATIENCE, get(&address)).await {
                Ok(Ok(status)) => Some(status),
                Ok(Err(error)) => {
                    tracing::debug!("worker at {address} tells nothing: {error}");
                    None
                }
                Err(_) => None,
            }
        });
    futures::future::join_all(answers)
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// What the worker of a restore said at its end, if that was a good one and its pod is still there.
pub(crate) fn last(pods: &[std::sync::Arc<Pod>]) -> Option<WorkerStatus> {
    let succeeded = pods.iter().filter(|pod| pod.status.phase == "Succeeded");
    let containers = succeeded.filter_map(|pod| pod.status.container_statuses.first());
    let ended = containers.filter_map(|container| container.state.terminated.as_ref());
    let mut told = ended.filter_map(|ended| serde_json::from_str(&ended.message).ok());
    told.next()
}

async fn get(address: &str) -> Result<WorkerStatus, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((address, PORT)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/status")
        .header(hyper::header::HOST, address)
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let body = Limited::new(answer.into_body(), LONGEST).collect().await?;
    connection.abort();
    Ok(serde_json::from_slice(&body.to_bytes())?)
}

impl WorkerStatus {
    /// What is wrong, if something is.
    pub(crate) fn in_trouble(&self) -> Option<&str> {
        self.trouble.then_some(self.message.as_str())
    }
}

/// The sum over all workers of a backup, or the one of a restore.
pub(crate) fn sum(workers: &[WorkerStatus]) -> Option<WorkerStatus> {
    let mut all = workers.iter().cloned();
    let mut total = all.next()?;
    for worker in all {
        total.records += worker.records;
        total.bytes += worker.bytes;
        total.lag = match (total.lag, worker.lag) {
            (Some(a), Some(b)) => Some(Lag {
                records: a.records.zip(b.records).map(|(a, b)| a + b),
            }),
            _ => None,
        };
        if worker.trouble && !total.trouble {
            total.trouble = true;
            total.message = worker.message;
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_pod_that_succeeded_is_its_status() {
        let pod = |phase: &str, message: &str| {
            let pod = serde_json::json!({"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": [
                {"state": {"terminated": {"exitCode": 0, "message": message}}}]}});
            std::sync::Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let word = r#"{"kind": "restore", "state": "done", "records": 7, "percent": 100.0}"#;
        let told = last(&[
            pod("Failed", word),
            pod("Succeeded", "x"),
            pod("Succeeded", word),
        ]);
        assert_eq!(told.unwrap().records, 7);
        assert_eq!(last(&[pod("Succeeded", "")]), None);
    }

    #[test]
    fn workers_add_up() {
        let read = |text| serde_json::from_str::<WorkerStatus>(text).unwrap();
        let workers = [
            read(
                r#"{"state": "streaming", "records": 3, "bytes": 10, "lag": {"records": 4, "seconds": 1.5}}"#,
            ),
            read(
                r#"{"state": "streaming", "records": 5, "bytes": 1, "lag": {"records": 1}, "message": "x", "trouble": true, "partitions": {}}"#,
            ),
        ];
        let sum = sum(&workers).unwrap();
        assert_eq!((sum.records, sum.bytes), (8, 11));
        assert_eq!(sum.lag.unwrap().records, Some(5));
        assert_eq!((sum.trouble, sum.message.as_str()), (true, "x"));
        assert_eq!(super::sum(&[]), None);
    }
}
