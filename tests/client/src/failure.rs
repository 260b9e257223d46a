//! What an error says to the person who reads it.

use std::fmt;

/// SQLSTATE, message, DETAIL and HINT of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl Failure {
    /// `None` for an error that is not the server's answer, such as a lost connection.
    pub fn of(error: &postgres::Error) -> Option<Self> {
        let error = error.as_db_error()?;
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        Some(Self {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: text(error.detail()),
            hint: text(error.hint()),
        })
    }

    /// The error must have this SQLSTATE.
    #[track_caller]
    pub fn is(self, code: &str) -> Self {
        assert_eq!(self.code, code, "another SQLSTATE: {self}");
        self
    }

    /// Message, DETAIL or HINT must contain the words, in any letter case.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let all = format!("{}\n{}\n{}", self.message, self.detail, self.hint).to_lowercase();
        for word in words {
            assert!(
                all.contains(&word.to_lowercase()),
                "{word:?} is not said: {self}"
            );
        }
        self
    }

    #[track_caller]
    pub fn message_says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.message.to_lowercase().contains(&word.to_lowercase()),
                "no {word:?} in the message: {self}"
            );
        }
        self
    }

    #[track_caller]
    pub fn detail_says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.detail.to_lowercase().contains(&word.to_lowercase()),
                "no {word:?} in the DETAIL: {self}"
            );
        }
        self
    }

    #[track_caller]
    pub fn hint_says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.hint.to_lowercase().contains(&word.to_lowercase()),
                "no {word:?} in the HINT: {self}"
            );
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n DETAIL: {}\n HINT: {}",
            self.code, self.message, self.detail, self.hint
        )
    }
}
