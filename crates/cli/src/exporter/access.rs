//! The bearer token: which paths want it, and whether a request has it.

use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::options::AccessOptions;

/// No token that a person chose by accident is shorter.
const SHORTEST_TOKEN: usize = 8;

pub struct Access {
    token: Option<Token>,
    pub ready: bool,
    pub status: bool,
    pub metrics: bool,
}

impl Access {
    /// `variable`: the value of `TASKER_EXPORTER_TOKEN`. An option that wants a token where there is none is an error.
    pub fn new(options: &AccessOptions, variable: Option<String>) -> Result<Self, String> {
        let text = match &options.token_file {
            Some(file) => Some(read(file)?),
            None => variable.filter(|token| !token.is_empty()),
        };
        let token = text.map(|text| Token::new(text.trim())).transpose()?;
        let this = Self {
            ready: options.ready_requires_authentication,
            status: options
                .status_requires_authentication
                .unwrap_or(token.is_some()),
            metrics: options.metrics_auth_required,
            token,
        };
        if this.token.is_none() && (this.ready || this.status || this.metrics) {
            return Err("a path requires authentication and there is no token: set --token-file or TASKER_EXPORTER_TOKEN".to_owned());
        }
        Ok(this)
    }

    /// Whether a request to a path that wants the token may have its answer.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
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

    fn options() -> AccessOptions {
        AccessOptions {
            token_file: None,
            metrics_auth_required: false,
            ready_requires_authentication: false,
            status_requires_authentication: None,
        }
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn the_status_wants_the_token_where_there_is_one() {
        assert!(!Access::new(&options(), None).expect("open").status);
        let access = Access::new(&options(), Some("correct-horse".into())).expect("with a token");
        assert!(access.status && !access.ready && !access.metrics);
        let open = AccessOptions {
            status_requires_authentication: Some(false),
            ..options()
        };
        assert!(
            !Access::new(&open, Some("correct-horse".into()))
                .expect("open")
                .status
        );
    }

    #[test]
    fn a_path_that_wants_a_token_needs_one_to_be_configured() {
        let wants = AccessOptions {
            ready_requires_authentication: true,
            ..options()
        };
        assert!(Access::new(&wants, None).is_err());
        assert!(Access::new(&wants, Some(String::new())).is_err());
        assert!(Access::new(&options(), Some("short".into())).is_err());
    }

    #[test]
    fn the_token_is_the_whole_token_after_the_word_bearer() {
        let access = Access::new(&options(), Some("correct-horse\n".into())).expect("with a token");
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
