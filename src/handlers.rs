//! The service function: a request comes in, its route says who answers, and
//! whatever comes of it goes out with the server's name on it.

mod live;
mod page;
mod post;
mod read;
mod status;

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::body::Body;
use crate::conditional;
use crate::config::Config;
use crate::error::Error;
use crate::handlers::live::Answer;
use crate::handlers::page::Page;
use crate::handlers::status::Health;
use crate::live::Subscription;
use crate::metrics::Label;
use crate::report;
use crate::rooms::Rooms;
use crate::route::{Route, route};
use crate::store::lock;

/// A response of this server.
pub type Response = hyper::Response<Body>;

const SERVER_NAME: HeaderName = HeaderName::from_static("server-name");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// No answer has more header fields than this, so their map never grows.
const HEADERS_MAX: usize = 12;
/// How much of a refused body is read and dropped, so that the client, who is
/// still sending it, comes to read the answer.
const REFUSED_BODY_BYTES: u64 = 1024 * 1024;
/// How long that may take.
const REFUSED_BODY_TIME: Duration = Duration::from_secs(2);

/// What all requests share. Nothing in it changes after the start but counters
/// and what is behind locks of its own.
#[derive(Debug)]
pub struct App {
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// Written when the server takes another name, which is next to never; read by
    /// every answer, which holds the lock for as long as it takes to count one more.
    name: RwLock<HeaderValue>,
    page: Page,
    health: Health,
    body_timeout: Duration,
    /// Whether answers say that their connection closes, as the server stops.
    draining: AtomicBool,
}

impl App {
    /// The state of the server of this name.
    pub fn new(rooms: Arc<Rooms>, name: &str, config: &Config) -> App {
        App {
            rooms,
            name: RwLock::new(header_of(name)),
            page: Page::new(&config.host),
            health: Health::default(),
            body_timeout: config.timeouts.body,
            draining: AtomicBool::new(false),
        }
    }
}

impl App {
    /// Whether the server stops.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// From now on answers say that their connection closes.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// The server's name at this moment.
    pub fn name(&self) -> String {
        self.name_header().to_str().unwrap_or_default().to_owned()
    }

    /// Takes each name that comes, for as long as one may come.
    pub async fn follow(self: Arc<Self>, mut names: watch::Receiver<String>) {
        while names.changed().await.is_ok() {
            let name = header_of(&names.borrow_and_update());
            *self.name.write().unwrap_or_else(PoisonError::into_inner) = name;
        }
    }

    fn name_header(&self) -> HeaderValue {
        self.name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A name as a header has it; what a server may be called is checked at its start.
fn header_of(name: &str) -> HeaderValue {
    HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("catchat"))
}

/// Where a request that becomes a live stream is left, for the connection's task
/// to find once it has been polled. One a connection.
pub type Handoff = Mutex<Option<Subscription>>;

/// Answers one request. Where it asks for a live stream, the answer never comes:
/// the stream's own task gives it.
pub async fn serve(
    app: Arc<App>,
    handoff: Arc<Handoff>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let (head, mut body) = request.into_parts();
    let route = check_host(&head).and_then(|()| route(&head.method, &head.uri));
    let label = route.as_ref().map_or(Label::Other, |route| label(route, &head.headers));
    let answer = match route {
        Ok(Route::Read(room, query)) if label == Label::Live => {
            match live::subscribe(&app, room, query, &head).await {
                Ok(Answer::Stream(subscription)) => {
                    app.rooms.shared.metrics.request(label, StatusCode::OK);
                    *lock(&handoff) = Some(*subscription);
                    return pending().await;
                }
                Ok(Answer::Head(response)) => Ok(response),
                Err(error) => Err(error),
            }
        }
        Ok(route) => answer(&app, route, &head.headers, &head.method, &mut body).await,
        Err(error) => Err(error),
    };
    let mut response = answer.unwrap_or_else(|error| refusal(&error));
    response.headers_mut().insert(SERVER_NAME, app.name_header());
    if head.method == Method::HEAD && label != Label::Live {
        say_length(&mut response);
    }
    if app.is_draining() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    app.rooms.shared.metrics.request(label, response.status());
    if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
        tokio::spawn(drop_body(body));
    }
    Ok(response)
}

/// A request of HTTP/1.1 names its host, once (RFC 9112, section 3.2).
fn check_host(head: &Parts) -> Result<(), Error> {
    let hosts = head.headers.get_all(HOST).iter().count();
    match hosts == 1 || (hosts == 0 && head.version < Version::HTTP_11) {
        true => Ok(()),
        false => Err(Error::bad_request("a request has one Host header")),
    }
}

/// All else that this server can do.
async fn answer(
    app: &Arc<App>,
    route: Route,
    headers: &HeaderMap,
    method: &Method,
    body: &mut Incoming,
) -> Result<Response, Error> {
    match route {
        Route::Page(room) => Ok(app.page.of(&room, &app.name())),
        Route::Asset(asset) => Ok(page::asset(asset, headers)),
        Route::Post(room, field) => post::post(app, room, field, headers, body).await,
        Route::Read(room, query) => read::read(app, room, query, method, headers).await,
        Route::Health => status::health(app).await,
        Route::Metrics => Ok(status::metrics(app)),
    }
}

fn label(route: &Route, headers: &HeaderMap) -> Label {
    match route {
        Route::Page(_) => Label::Page,
        Route::Asset(_) => Label::Asset,
        Route::Post(..) => Label::Post,
        Route::Read(_, query) if query.follow || conditional::wants_events(headers) => Label::Live,
        Route::Read(..) => Label::Read,
        Route::Health => Label::Health,
        Route::Metrics => Label::Metrics,
    }
}

/// A response with this body, and no header fields yet but those of every one.
fn respond(status: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(HEADERS_MAX);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    *response.headers_mut() = headers;
    response
}

/// What hyper says of any body but an empty one: the length that GET would give.
fn say_length(response: &mut Response) {
    let length = response.body().size_hint().exact().unwrap_or_default();
    if response.status() != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
}

/// An error as the client gets it: one line of plain text.
fn refusal(error: &Error) -> Response {
    if let Error::Internal = error {
        report::line("a request failed for a reason that should not be");
    }
    let body = Bytes::from(format!("{}\n", error.sentence()));
    let mut response = respond(error.status(), TEXT, Body::Full(body));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_CACHE);
    if let Some((name, value)) = error.header()
        && let Ok(value) = HeaderValue::try_from(value)
    {
        headers.insert(name, value);
    }
    response
}

/// Reads what is left of a body that nobody wanted, within limits.
async fn drop_body(mut body: Incoming) {
    let drain = async {
        let mut left = REFUSED_BODY_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            left = left.checked_sub(bytes)?;
        }
        Some(())
    };
    // However it ends, dropping the body ends the connection where it must.
    let _ = timeout(REFUSED_BODY_TIME, drain).await;
}
