//! HTTP: the paths, the token, and bounds for clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::own_metrics::OwnMetrics;
use super::probes::{Answer, Probes};
use super::{Context, Stop, log};

/// How long a client may take to send a request, and a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection is used; a client that reads slowly is cut off soon after.
const LONGEST_CONNECTION: Duration = Duration::from_secs(60);
/// The most bytes of a request line with its headers. Bodies are not read.
const LONGEST_REQUEST: usize = 16 * 1024;

const PATHS: [&str; 4] = [
    "/health/live",
    "/health/ready",
    "/health/status",
    "/metrics",
];

struct App {
    access: Access,
    probes: Probes,
    metrics: Arc<OwnMetrics>,
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(PATHS[0], get(live))
        .route(PATHS[1], get(ready))
        .route(PATHS[2], get(status))
        .route(PATHS[3], get(metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

async fn live() -> Response {
    Probes::live().into_response()
}

async fn ready(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let while_draining =
        query.is_some_and(|query| query.split('&').any(|word| word == "while_draining"));
    let answer = app.probes.ready(while_draining);
    guarded(|| app.access.ready(&headers), answer).await
}

async fn status(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    guarded(|| app.access.status(&headers), app.probes.status()).await
}

/// 200 also while the database is away: then `tasker_up` is 0, and the exporter's own metrics say why.
async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let answer = async {
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        ([(CONTENT_TYPE, kind)], app.probes.metrics().await)
    };
    guarded(|| app.access.metrics(&headers), answer).await
}

/// Asks for the right before the work and after it: the first request of a connection is what reads the settings.
async fn guarded(may: impl Fn() -> bool, answer: impl Future<Output: IntoResponse>) -> Response {
    if !may() {
        return unauthorized();
    }
    let answer = answer.await.into_response();
    if may() { answer } else { unauthorized() }
}

async fn no_such_path() -> Response {
    let body = json!({"error": "no such path", "paths": PATHS});
    json_response(StatusCode::NOT_FOUND, &body)
}

async fn no_such_method() -> Response {
    json_response(
        StatusCode::METHOD_NOT_ALLOWED,
        &json!({"error": "only GET and HEAD"}),
    )
}

fn unauthorized() -> Response {
    let body = json!({"error": "this path wants a bearer token"});
    let mut response = json_response(StatusCode::UNAUTHORIZED, &body);
    response.headers_mut().insert(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"tasker\""),
    );
    response
}

fn json_response(code: StatusCode, body: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    (code, [(CONTENT_TYPE, kind)], format!("{body}\n")).into_response()
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        json_response(code, &Value::Object(self.body))
    }
}

/// Counts a request, and forbids caches to keep its answer.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let path = request.uri().path();
    let path = PATHS
        .iter()
        .find(|known| **known == path)
        .unwrap_or(&"other");
    let mut response = next.run(request).await;
    let code = response.status();
    app.metrics
        .requests
        .with_label_values(&[path, code.as_str()])
        .inc();
    app.metrics
        .request_seconds
        .with_label_values(&[path])
        .observe(begun.elapsed().as_secs_f64());
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Accepts clients until the stop, then waits for the answers that are under way.
pub async fn serve(listener: TcpListener, access: Access, context: Context) -> Result<(), String> {
    let app = Arc::new(App {
        access,
        probes: Probes::new(
            context.database.clone(),
            context.metrics.clone(),
            context.settings.clone(),
        ),
        metrics: context.metrics.clone(),
    });
    let router = router(app);
    let places = Arc::new(Semaphore::new(context.options.max_connections.into()));
    let mut stop = context.stop.clone();
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.wait() => break,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match places.clone().try_acquire_owned() {
                    Ok(place) => {
                        let longest_answer = context.settings.readiness_timeout();
                        clients.spawn(serve_client(stream, router.clone(), context.stop.clone(), longest_answer, place));
                    }
                    Err(_) => context.metrics.refused_connections.inc(),
                },
                Err(error) => {
                    log::warning("cannot accept a connection", &[("detail", &error.to_string())]);
                    // No file descriptor is left, say: others may become free.
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
    Ok(())
}

async fn serve_client(
    stream: TcpStream,
    router: Router,
    mut stop: Stop,
    longest_answer: Duration,
    _place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(LONGEST_REQUEST)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        // A client that broke off is its own matter.
        _ = connection.as_mut() => return,
        () = stop.wait() => {}
        () = sleep(LONGEST_CONNECTION) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(longest_answer + Duration::from_secs(1), connection).await;
}
