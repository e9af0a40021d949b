//! The little HTTP server: `/metrics`, `/healthz`, `/readyz` and `/status`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::Metrics;

/// How long somebody may take to say what they want.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells about backups and restores.
pub(super) async fn start(address: SocketAddr, metrics: Metrics) -> anyhow::Result<()> {
    listen(address, move |request| answer(&metrics, request)).await
}

/// Listens, and answers until the process ends. Nothing that a client does is a reason to stop.
pub(crate) async fn listen(
    address: SocketAddr,
    answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve metrics at {address}"))?;
    let address = listener.local_addr()?;
    tracing::info!("metrics are at http://{address}/metrics");
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answer = answer.clone();
                    tokio::spawn(async move {
                        let service = service_fn(|request| {
                            let response = answer(&request);
                            async move { Ok::<_, Infallible>(response) }
                        });
                        let served = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(PATIENCE)
                            .serve_connection(TokioIo::new(stream), service);
                        if let Err(error) = served.await {
                            tracing::debug!(%error, "a connection for metrics broke off");
                        }
                    });
                }
                // There may be no file descriptor left for the moment.
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

fn answer(metrics: &Metrics, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
    }
    match request.uri().path() {
        "/metrics" => match metrics.text() {
            Some(text) => typed(text, prometheus::TEXT_FORMAT),
            None => plain(StatusCode::NOT_FOUND, "the metrics are turned off\n"),
        },
        "/status" => typed(metrics.status(), "application/json"),
        "/healthz" => ok_unless(metrics.stuck()),
        "/readyz" => ok_unless(metrics.unready()),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there is /metrics, /healthz, /readyz and /status\n",
        ),
    }
}

fn ok_unless(reason: Option<String>) -> Response<Full<Bytes>> {
    match reason {
        None => plain(StatusCode::OK, "ok\n"),
        Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

pub(crate) fn typed(text: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, text);
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.into()));
    *response.status_mut() = status;
    response
}
