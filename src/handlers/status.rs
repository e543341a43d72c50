//! `/-/health` and `/-/metrics`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::body::Body;
use crate::error::Error;
use crate::handlers::{App, Response, TEXT, respond};
use crate::report;
use crate::store::StoreError;

/// For how long one test of the store answers everyone who asks.
const HEALTH_LASTS: Duration = Duration::from_secs(1);
/// How long the store may take before it counts as not working.
const HEALTH_WAIT: Duration = Duration::from_secs(2);
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The last test of the store, and when it was. Who asks while a test runs waits
/// for it, under this lock, so that asking often costs nothing.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<(Instant, Result<(), StoreError>)>>);

/// Whether the store takes data, tried by writing some.
pub async fn health(app: &Arc<App>) -> Result<Response, Error> {
    let mut last = app.health.0.lock().await;
    let result = match &*last {
        Some((when, result)) if when.elapsed() < HEALTH_LASTS => result.clone(),
        _ => {
            let result = probe(app).await;
            if let Err(error) = &result {
                report::line(format_args!("health: {error}"));
            }
            *last = Some((Instant::now(), result.clone()));
            result
        }
    };
    result?;
    let mut response = respond(StatusCode::OK, TEXT, Body::Full("ok\n".into()));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

async fn probe(app: &Arc<App>) -> Result<(), StoreError> {
    let probe = app.rooms.store().probe();
    timeout(HEALTH_WAIT, probe).await.unwrap_or(Err(StoreError::Failed("no answer in time".into())))
}

/// The counters.
pub fn metrics(app: &App) -> Response {
    let text = app.rooms.shared.metrics.render();
    let prometheus = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let mut response = respond(StatusCode::OK, prometheus, Body::Full(text.into()));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
