//! The value that counts: what was set, else what the files say, else the default.

use std::ffi::CString;

use pgrx::guc::GucValue;
use serde_json::Value;

use super::LogFormat;
use super::files;
use crate::pg::guc::{Says, Setting};

/// What a setting of a type can take from a file.
pub trait OfFile: GucValue + Sized {
    /// The value to which RESET goes back.
    fn reset(setting: &Setting<Self>) -> Self;

    /// None: the file's value is of another type, which loading it refuses.
    fn of(value: &Value) -> Option<Self>;
}

/// Reads the value that counts.
pub trait Read<T> {
    fn get(&self) -> T;
}

/// Reads what was set and counts.
pub trait Counted<T> {
    fn counted(&self) -> Option<T>;
}

impl<T: OfFile> Counted<T> for Setting<T> {
    fn counted(&self) -> Option<T> {
        match self.says() {
            Says::Current => Some(self.shown()),
            Says::Reset => Some(T::reset(self)),
            Says::Nothing => None,
        }
    }
}

impl<T: OfFile> Read<T> for Setting<T> {
    fn get(&self) -> T {
        match self.says() {
            Says::Current => self.shown(),
            Says::Reset => T::reset(self),
            Says::Nothing => files::value(self.number(), T::of).unwrap_or_else(|| T::reset(self)),
        }
    }
}

impl OfFile for bool {
    fn reset(setting: &Setting<Self>) -> Self {
        setting.reset_value()
    }

    fn of(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl OfFile for i32 {
    fn reset(setting: &Setting<Self>) -> Self {
        setting.reset_value()
    }

    fn of(value: &Value) -> Option<Self> {
        // A file may write 2.0 for 2.
        let number = value
            .as_i64()
            .or_else(|| value.as_f64().map(|n| n.round() as i64));
        number.and_then(|number| number.try_into().ok())
    }
}

impl OfFile for f64 {
    fn reset(setting: &Setting<Self>) -> Self {
        setting.reset_value()
    }

    fn of(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl OfFile for Option<CString> {
    fn reset(setting: &Setting<Self>) -> Self {
        setting.reset_value()
    }

    /// A list is written with commas, as the settings are.
    fn of(value: &Value) -> Option<Self> {
        let one = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let text = match value {
            Value::Array(items) => items.iter().map(one).collect::<Option<Vec<_>>>()?.join(","),
            other => one(other)?,
        };
        CString::new(text).ok().map(Some)
    }
}

impl OfFile for LogFormat {
    fn reset(setting: &Setting<Self>) -> Self {
        setting.reset_choice()
    }

    fn of(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            "pretty_json" => Some(Self::PrettyJson),
            "logfmt" => Some(Self::Logfmt),
            _ => None,
        }
    }
}
