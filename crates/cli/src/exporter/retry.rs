//! Sending to a receiver over HTTP: what its answers mean, and when to try again.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use prost::bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, redirect};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::Stop;
use super::export_metrics::Counters;
use super::log;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A receiver that names a later time is asked again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Of an answer. More is not read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Which answers of a server, beside 429, say that another attempt can help.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Temporary {
    /// 502, 503 and 504.
    Gateway,
    /// All that begin with 5.
    AnyServerError,
}

/// The outcome of one attempt.
#[derive(Debug)]
pub enum Answer {
    Accepted(Bytes),
    /// Another attempt can help, not before this time if the receiver named one.
    Later {
        after: Option<Duration>,
        why: String,
    },
    /// Another attempt gives the same.
    Refused(String),
}

/// The outcome of all attempts.
#[derive(Debug)]
pub enum Outcome {
    Accepted(Bytes),
    Refused(String),
    /// The time for retries is over.
    GaveUp(String),
    /// The exporter ends; whether the receiver has it is not known.
    Stopped,
}

/// An address that events must not be sent to; it comes through the client as the cause of an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

/// A client that follows no redirect, with the certificates of this file beside those of the system.
pub fn client_builder(
    limit: Duration,
    certificate: Option<&std::path::Path>,
) -> Result<ClientBuilder, String> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(limit)
        .connect_timeout(limit)
        .user_agent(concat!("tasker-exporter/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = certificate {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read(file).map_err(|error| wrong(&error))?;
        let found = reqwest::Certificate::from_pem_bundle(&text).map_err(|error| wrong(&error))?;
        if found.is_empty() {
            return Err(wrong(&"it has no certificate in PEM"));
        }
        for certificate in found {
            builder = builder.add_root_certificate(certificate);
        }
    }
    Ok(builder)
}

/// `key=value,key=value` with percent escapes, as OpenTelemetry writes headers and attributes.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            // The value may be a secret.
            let (key, value) = pair
                .split_once('=')
                .filter(|(key, _)| !key.trim().is_empty())
                .ok_or("it has the form key=value,key=value")?;
            Ok((decoded(key.trim())?, decoded(value.trim())?))
        })
        .collect()
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits: Vec<u8> = rest.by_ref().take(2).collect();
        let value = std::str::from_utf8(&digits)
            .ok()
            .filter(|digits| digits.len() == 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or("it has a wrong escape with %")?;
        bytes.push(value);
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// Headers from such pairs.
pub fn headers(pairs: Vec<(String, String)>) -> Result<reqwest::header::HeaderMap, String> {
    let mut map = reqwest::header::HeaderMap::new();
    for (key, value) in pairs {
        let name = reqwest::header::HeaderName::from_bytes(key.as_bytes())
            .map_err(|_| format!("{key:?} is no name of a header"))?;
        let mut value = reqwest::header::HeaderValue::from_str(&value)
            .map_err(|_| format!("the value of {key} cannot be one of a header"))?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

/// The time that a header Retry-After names, from now on.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date that is over means at once.
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// The wait before another attempt: it doubles, and up to half of it is left out by chance, so that many do not come at once.
pub fn backoff(failures: u32, chance: f64) -> Duration {
    let whole = FIRST_WAIT
        .saturating_mul(2_u32.saturating_pow(failures.min(16)))
        .min(LONGEST_WAIT);
    whole.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

fn is_temporary(status: StatusCode, temporary: Temporary) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || match temporary {
            Temporary::Gateway => matches!(status.as_u16(), 502..=504),
            Temporary::AnyServerError => status.is_server_error(),
        }
}

/// One request and its answer.
pub async fn attempt(request: RequestBuilder, temporary: Temporary) -> Answer {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return failed(&error),
    };
    let status = response.status();
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
    match beginning(response).await {
        Ok(body) if status.is_success() => Answer::Accepted(body),
        Ok(body) => {
            let why = explain(status, &body);
            if is_temporary(status, temporary) {
                Answer::Later { after, why }
            } else {
                Answer::Refused(why)
            }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &reqwest::Error) -> Answer {
    let mut cause = error.source();
    let mut why = error.to_string();
    while let Some(inner) = cause {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return Answer::Refused(forbidden.to_string());
        }
        why = inner.to_string();
        cause = inner.source();
    }
    if error.is_builder() {
        return Answer::Refused(why);
    }
    if error.is_timeout() {
        why = "no answer in time".to_owned();
    }
    Answer::Later { after: None, why }
}

async fn beginning(mut response: Response) -> reqwest::Result<Bytes> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = LONGEST_ANSWER - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body.into())
}

fn explain(status: StatusCode, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    if text.trim().is_empty() {
        format!("the receiver answered {status}")
    } else {
        format!("the receiver answered {status}: {}", text.trim())
    }
}

/// How something is sent until it is accepted.
pub struct Sending<'a> {
    pub temporary: Temporary,
    /// How long another attempt is made; None: as long as the exporter runs.
    pub limit: Option<Duration>,
    /// How long a request that is under way may go on when the exporter ends.
    pub grace: Duration,
    pub counters: &'a Counters,
    /// Room for requests; waiting for another attempt takes none.
    pub requests: Option<&'a Semaphore>,
}

impl Sending<'_> {
    /// Sends until the receiver has accepted or refused it.
    pub async fn send(&self, stop: &Stop, request: impl Fn() -> RequestBuilder) -> Outcome {
        let began = Instant::now();
        let mut failures = 0;
        loop {
            let mut ending = stop.clone();
            let room = match self.requests {
                None => None,
                Some(requests) => tokio::select! {
                    room = requests.acquire() => room.ok(),
                    () = ending.wait() => return Outcome::Stopped,
                },
            };
            let asked = Instant::now();
            let cut = async {
                ending.wait().await;
                sleep(self.grace).await;
            };
            let answer = tokio::select! {
                answer = attempt(request(), self.temporary) => answer,
                () = cut => return Outcome::Stopped,
            };
            self.counters.seconds.observe(asked.elapsed().as_secs_f64());
            let (after, why) = match answer {
                Answer::Accepted(body) => {
                    self.counters.up.set(1);
                    return Outcome::Accepted(body);
                }
                Answer::Refused(why) => return Outcome::Refused(why),
                Answer::Later { after, why } => (after, why),
            };
            let wait = after.unwrap_or_else(|| backoff(failures, fastrand::f64()));
            let over = self
                .limit
                .is_some_and(|limit| began.elapsed() + wait > limit);
            if failures == 0 {
                self.complain(&why, wait);
            }
            failures += 1;
            if over {
                return Outcome::GaveUp(why);
            }
            drop(room);
            let mut ending = stop.clone();
            if timeout(wait, ending.wait()).await.is_ok() {
                return Outcome::Stopped;
            }
            self.counters.retries.inc();
        }
    }

    /// Once until something is accepted again.
    fn complain(&self, why: &str, wait: Duration) {
        if self.counters.up.get() != 0 {
            self.counters.up.set(0);
            log::warning(
                "a receiver takes nothing now; what it is to get waits",
                &[
                    ("export", self.counters.export()),
                    ("to", self.counters.name()),
                    ("reason", why),
                    ("retry_in", &format!("{:.1} s", wait.as_secs_f64())),
                ],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date_and_has_a_bound() {
        let now = httpdate::parse_http_date("Mon, 30 Nov 2026 20:00:00 GMT").expect("a date");
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Mon, 30 Nov 2026 20:01:30 GMT", now),
            Some(Duration::from_secs(90))
        );
        assert_eq!(
            retry_after("Mon, 30 Nov 2026 19:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("99999999", now), Some(LONGEST_RETRY_AFTER));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn waits_double_to_a_bound_and_chance_takes_at_most_half() {
        let seconds: Vec<f64> = (0..8).map(|n| backoff(n, 0.0).as_secs_f64()).collect();
        assert_eq!(seconds, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(backoff(3, 1.0), Duration::from_secs(4));
        assert_eq!(backoff(u32::MAX, 0.0), LONGEST_WAIT);
        assert_ne!(backoff(3, 0.2), backoff(3, 0.7));
    }

    #[test]
    fn an_answer_is_temporary_or_not() {
        let temporary = |status: u16, which| {
            is_temporary(StatusCode::from_u16(status).expect("a status"), which)
        };
        for status in [429, 502, 503, 504] {
            assert!(temporary(status, Temporary::Gateway), "{status}");
            assert!(temporary(status, Temporary::AnyServerError), "{status}");
        }
        for status in [302, 400, 401, 404, 408, 413] {
            assert!(!temporary(status, Temporary::Gateway), "{status}");
            assert!(!temporary(status, Temporary::AnyServerError), "{status}");
        }
        assert!(!temporary(500, Temporary::Gateway));
        assert!(temporary(500, Temporary::AnyServerError));
    }

    #[test]
    fn pairs_have_escapes() {
        let found = pairs("api-key=a%20b%3D, x = y=z ,,").expect("well formed");
        let expected = [("api-key", "a b="), ("x", "y=z")];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        for wrong in ["key", "=value", "a=%2", "a=%zz", "a=%ff"] {
            assert!(pairs(wrong).is_err(), "{wrong}");
        }
        assert!(headers(vec![("a b".into(), "c".into())]).is_err());
        assert!(headers(vec![("a".into(), "c\n".into())]).is_err());
    }
}
