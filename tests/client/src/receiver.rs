//! A receiver over HTTP or HTTPS: it keeps each request, and answers as the test says.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{Value, patience};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub at: Instant,
    /// What it was answered.
    pub code: u16,
}

impl Received {
    pub fn is_accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The body, without gzip.
    #[track_caller]
    pub fn plain(&self) -> Vec<u8> {
        if self.headers.get("content-encoding").map(String::as_str) != Some("gzip") {
            return self.body.clone();
        }
        let mut plain = vec![];
        flate2::read::GzDecoder::new(&*self.body)
            .read_to_end(&mut plain)
            .expect("gzip");
        plain
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The request of OTLP that it is.
    #[track_caller]
    pub fn traces(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(&*self.plain()).expect("a request of OTLP")
    }

    #[track_caller]
    pub fn spans(&self) -> Vec<Span> {
        self.traces()
            .resource_spans
            .into_iter()
            .flat_map(|of_resource| of_resource.scope_spans)
            .flat_map(|of_scope| of_scope.spans)
            .collect()
    }
}

/// What a request is answered.
#[derive(Clone, Default)]
pub struct Answer {
    pub code: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub after: Duration,
}

impl Answer {
    pub fn code(code: u16) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    pub fn with(mut self, header: &'static str, value: impl ToString) -> Self {
        self.headers.push((header, value.to_string()));
        self
    }

    pub fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }

    /// Accepted but for some spans.
    pub fn partial(rejected_spans: i64, error_message: &str) -> Self {
        let answer = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: error_message.to_owned(),
            }),
        };
        Self {
            body: answer.encode_to_vec(),
            ..Self::code(200)
        }
    }
}

/// The number of the request, from 0, and the request.
type Decide = dyn Fn(usize, &Received) -> Answer + Send + Sync;

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    decide: Arc<Decide>,
}

/// A running one; it ends with the value.
pub struct Receiver {
    address: SocketAddr,
    shared: Shared,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Receiver {
    pub fn start(decide: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::at(free_address(), None, decide)
    }

    /// Accepts everything.
    pub fn willing() -> Self {
        Self::start(|_, _| Answer::code(200))
    }

    /// At this address, with TLS if there is an identity.
    pub fn at(
        address: SocketAddr,
        identity: Option<&Identity>,
        decide: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            received: Arc::default(),
            decide: Arc::new(decide),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let app = axum::Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(64 * 1024 * 1024))
            .with_state(shared.clone());
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(address))
            .expect("the address is free");
        let address = listener.local_addr().expect("bound");
        match identity {
            None => {
                runtime.spawn(async move { axum::serve(listener, app).await });
            }
            Some(identity) => {
                let listener = Tls {
                    listener,
                    acceptor: identity.acceptor(),
                };
                runtime.spawn(async move { axum::serve(listener, app).await });
            }
        }
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// By the name that certificates of tests have.
    pub fn https(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("no panic").clone()
    }

    /// Those after the first `count`.
    pub fn received_after(&self, count: usize) -> Vec<Received> {
        let received = self.shared.received.lock().expect("no panic");
        received[count..].to_vec()
    }

    /// Those that were accepted.
    pub fn accepted(&self) -> Vec<Received> {
        let mut received = self.received();
        received.retain(Received::is_accepted);
        received
    }

    /// The ids of the spans that were accepted, in the order in which they came.
    pub fn span_ids(&self) -> Vec<String> {
        self.accepted()
            .iter()
            .flat_map(Received::spans)
            .map(|span| hex(&span.span_id))
            .collect()
    }

    /// Waits until it is as wanted.
    #[track_caller]
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let deadline = Instant::now() + patience(60);
        loop {
            let received = self.received();
            if wanted(&received) {
                return received;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {} requests came, {} were accepted",
                received.len(),
                self.accepted().len()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

/// An address with a port that is free now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn answer(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut received = Received {
        path: uri.to_string(),
        headers: headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    value.to_str().unwrap_or_default().to_owned(),
                )
            })
            .collect(),
        body: body.to_vec(),
        at: Instant::now(),
        code: 0,
    };
    let answer = {
        let mut all = shared.received.lock().expect("no panic");
        let answer = (shared.decide)(all.len(), &received);
        received.code = answer.code;
        all.push(received);
        answer
    };
    tokio::time::sleep(answer.after).await;
    let code = StatusCode::from_u16(answer.code).expect("a status code");
    let mut response = (code, answer.body).into_response();
    for (name, value) in answer.headers {
        let value = HeaderValue::from_str(&value).expect("a header");
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    response
}

struct Tls {
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // A client that does not trust the certificate ends here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A certificate for localhost by an authority of its own, in a folder that ends with the value.
pub struct Identity {
    folder: PathBuf,
}

impl Identity {
    pub fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tasker-identity-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let identity = Self { folder };
        let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
        std::fs::write(identity.file("extensions"), extensions).expect("written");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        identity.openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=tests-{name}"
        ));
        identity.openssl(&format!(
            "req {key} -keyout key.pem -out request.pem -subj /CN=localhost"
        ));
        identity.openssl("x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out certificate.pem -days 2 -extfile extensions");
        identity
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.folder)
            .output()
            .expect("openssl runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {complaint}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The certificate of the authority.
    pub fn authority(&self) -> String {
        self.file("ca.pem").display().to_string()
    }

    fn acceptor(&self) -> TlsAcceptor {
        let read = |path: &Path| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .expect("certificates")
        };
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                read(&self.file("certificate.pem")),
                PrivateKeyDer::from_pem_file(self.file("key.pem")).expect("a key"),
            )
            .expect("they belong together");
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
