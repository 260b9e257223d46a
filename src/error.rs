//! The one error type: what went wrong, for the person who reads it.
//!
//! Only standard SQLSTATEs are used: pgrx turns codes it does not know into XX000, and drivers raise named
//! exceptions for the standard ones.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode as Code};
use tasker_rules::Spent;

pub type Result<T> = std::result::Result<T, Error>;

/// An error with SQLSTATE, message, DETAIL and HINT.
#[derive(Debug, Clone)]
pub struct Error {
    pub code: Code,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// 22023: a value out of its range.
    pub fn parameter(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, message)
    }

    /// 22004: NULL where a value is required.
    pub fn null(parameter: &str) -> Self {
        Self::new(
            Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            format!("{parameter} must not be null"),
        )
        .detail(format!("The call gave NULL for {parameter}."))
        .hint("Only parameters whose default is NULL accept NULL.")
    }

    /// P0002: nothing has that name or uuid.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_NO_DATA_FOUND, message)
    }

    /// 55000: undeclared transition, or the wrong state for the operation.
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
    }

    /// 09000: a guard of the state machine refused.
    pub fn guard(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_TRIGGERED_ACTION_EXCEPTION, message)
    }

    /// 55006: the step is held or was ended under another claim.
    pub fn stale(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_OBJECT_IN_USE, message)
    }

    /// 23514: a document breaks its JSON Schema or shape.
    pub fn check(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_CHECK_VIOLATION, message)
    }

    /// 54000: larger than a limit allows.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
    }

    /// XX001: the stored data contradict the engine's rules; never caused by a caller's input.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Code::ERRCODE_DATA_CORRUPTED, message)
    }

    /// 54001: the work or the memory that one document or template may cost was used up.
    pub fn spent(what: &str, spent: Spent) -> Self {
        let used = match spent {
            Spent::Work => "More comparisons than one call may make would be needed.",
            Spent::Memory => "More memory than one call may use would be needed.",
        };
        Self::new(
            Code::ERRCODE_STATEMENT_TOO_COMPLEX,
            format!("{what} takes too much work"),
        )
        .detail(used)
    }

    /// The five characters of the SQLSTATE.
    pub fn sqlstate(&self) -> String {
        let mut packed = self.code as i32;
        (0..5)
            .map(|_| {
                let character = char::from((packed & 0x3f) as u8 + b'0');
                packed >>= 6;
                character
            })
            .collect()
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Message and DETAIL in one sentence, for a place that keeps only one.
    pub fn described(&self) -> String {
        match &self.detail {
            Some(detail) if !detail.is_empty() => format!("{} ({detail})", self.message),
            _ => self.message.clone(),
        }
    }

    /// Raises the error in PostgreSQL; does not return.
    pub fn raise(self, function: &'static str) -> ! {
        let mut report = ErrorReport::new(self.code, self.message, function);
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}
