//! The bearer token: which paths want it, and whether a request has it.

use std::path::Path;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::options::AccessOptions;
use super::settings::Settings;

/// No token that a person chose by accident is shorter.
const SHORTEST_TOKEN: usize = 8;

pub struct Access {
    token: Option<Token>,
    settings: Arc<Settings>,
}

impl Access {
    /// `variable`: the value of `TASKER_EXPORTER_TOKEN`. An option that wants a token where there is none is an error; where a
    /// setting of the database wants one, every request is refused.
    pub fn new(
        options: &AccessOptions,
        variable: Option<String>,
        settings: Arc<Settings>,
    ) -> Result<Self, String> {
        let text = match &options.token_file {
            Some(file) => Some(read(file)?),
            None => variable.filter(|token| !token.is_empty()),
        };
        let token = text.map(|text| Token::new(text.trim())).transpose()?;
        let wants = [
            options.ready_requires_authentication,
            options.status_requires_authentication,
            options.metrics_auth_required,
        ];
        if token.is_none() && wants.contains(&Some(true)) {
            return Err("a path requires authentication and there is no token: set --token-file or TASKER_EXPORTER_TOKEN".to_owned());
        }
        Ok(Self { token, settings })
    }

    /// Whether a request to /health/ready may have its answer.
    pub fn ready(&self, headers: &HeaderMap) -> bool {
        !self.settings.ready_requires_authentication() || self.admits(headers)
    }

    /// Whether one to /health/status may; if nothing says otherwise, it wants the token if there is one.
    pub fn status(&self, headers: &HeaderMap) -> bool {
        let wanted = self.settings.status_requires_authentication();
        !wanted.unwrap_or(self.token.is_some()) || self.admits(headers)
    }

    /// Whether one to /metrics may.
    pub fn metrics(&self, headers: &HeaderMap) -> bool {
        !self.settings.metrics_auth_required() || self.admits(headers)
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return false;
        };
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .is_some_and(|(_, given)| token.is(given.trim()))
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("token file {}: {error}", file.display()))
}

/// Only its digest is compared, in the same time for every guess.
struct Token {
    key: Hmac<Sha256>,
    digest: Vec<u8>,
}

impl Token {
    fn new(text: &str) -> Result<Self, String> {
        if text.len() < SHORTEST_TOKEN || text.contains(char::is_whitespace) {
            return Err(format!(
                "the token must have {SHORTEST_TOKEN} or more characters and no white space"
            ));
        }
        let key =
            Hmac::new_from_slice(b"tasker exporter token").map_err(|error| error.to_string())?;
        let digest = key
            .clone()
            .chain_update(text)
            .finalize()
            .into_bytes()
            .to_vec();
        Ok(Self { key, digest })
    }

    fn is(&self, given: &str) -> bool {
        self.key
            .clone()
            .chain_update(given)
            .verify_slice(&self.digest)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse";

    fn options() -> AccessOptions {
        AccessOptions {
            token_file: None,
            metrics_auth_required: None,
            ready_requires_authentication: None,
            status_requires_authentication: None,
        }
    }

    fn access(
        options: &AccessOptions,
        token: Option<&str>,
        rows: &[(&str, &str)],
    ) -> Result<Access, String> {
        let settings = Settings::of(options, rows);
        Access::new(options, token.map(str::to_owned), Arc::new(settings))
    }

    /// Whether ready, status and metrics admit the headers.
    fn open(access: &Access, headers: &HeaderMap) -> [bool; 3] {
        [
            access.ready(headers),
            access.status(headers),
            access.metrics(headers),
        ]
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn the_status_wants_the_token_where_there_is_one() {
        let stranger = HeaderMap::new();
        let free = access(&options(), None, &[]).expect("open");
        assert_eq!(open(&free, &stranger), [true; 3]);
        let usual = access(&options(), Some(TOKEN), &[]).expect("with a token");
        assert_eq!(open(&usual, &stranger), [true, false, true]);
        let opened = AccessOptions {
            status_requires_authentication: Some(false),
            ..options()
        };
        let opened = access(&opened, Some(TOKEN), &[]).expect("open");
        assert_eq!(open(&opened, &stranger), [true; 3]);
    }

    #[test]
    fn a_setting_of_the_database_that_wants_a_token_refuses_requests_without_one() {
        let rows = [
            ("tasker.ready_requires_authentication", "on"),
            ("tasker.status_requires_authentication", "on"),
            ("tasker.metrics_auth_required", "on"),
        ];
        let closed = access(&options(), None, &rows).expect("no option wants one");
        assert_eq!(open(&closed, &headers("Bearer ")), [false; 3]);
        let closed = access(&options(), Some(TOKEN), &rows).expect("with a token");
        assert_eq!(open(&closed, &HeaderMap::new()), [false; 3]);
        assert_eq!(open(&closed, &headers("Bearer correct-horse")), [true; 3]);
    }

    #[test]
    fn an_option_that_wants_a_token_needs_one_to_be_configured() {
        let wants = AccessOptions {
            ready_requires_authentication: Some(true),
            ..options()
        };
        assert!(access(&wants, None, &[]).is_err());
        assert!(access(&wants, Some(""), &[]).is_err());
        assert!(access(&options(), Some("short"), &[]).is_err());
    }

    #[test]
    fn the_token_is_the_whole_token_after_the_word_bearer() {
        let access = access(&options(), Some("correct-horse\n"), &[]).expect("with a token");
        assert!(access.admits(&headers("Bearer correct-horse")));
        assert!(access.admits(&headers("bearer correct-horse")));
        for wrong in [
            "Bearer correct-hors",
            "Bearer correct-horse2",
            "Basic correct-horse",
            "correct-horse",
            "Bearer ",
            "Bearer",
        ] {
            assert!(!access.admits(&headers(wrong)), "{wrong}");
        }
        assert!(!access.admits(&HeaderMap::new()));
    }
}
