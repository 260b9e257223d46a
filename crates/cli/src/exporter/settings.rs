//! What the exporter's own options and the settings of the database say together: an option comes first.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::options::{self, AccessOptions, Options};

/// A call loads the library, and only then are its settings known by name.
const STATEMENT: &str = "SELECT FROM tasker.health_ready(); \
SELECT name, CASE source WHEN 'default' THEN '' ELSE setting END FROM pg_catalog.pg_settings WHERE name IN (\
'tasker.readiness_timeout_seconds', 'tasker.health_cache_duration_seconds', 'tasker.ready_requires_authentication', \
'tasker.status_requires_authentication', 'tasker.metrics_auth_required')";

const READINESS_TIMEOUT: Duration = Duration::from_secs(5);
const CACHE_DURATION: Duration = Duration::from_secs(15);
/// How long the settings of the database are taken as they were.
const LONGEST_AGE: Duration = Duration::from_secs(15);

pub struct Settings {
    own: Values,
    database: Mutex<Read>,
}

/// What the database said, and when it was asked last.
#[derive(Default)]
struct Read {
    values: Values,
    at: Option<Instant>,
}

/// None: not said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Values {
    readiness_timeout: Option<Duration>,
    cache_duration: Option<Duration>,
    ready_requires_authentication: Option<bool>,
    status_requires_authentication: Option<bool>,
    metrics_auth_required: Option<bool>,
}

impl Settings {
    pub fn new(options: &Options) -> Self {
        let own = Values {
            readiness_timeout: options.readiness_timeout,
            cache_duration: options.cache_duration,
            ..Values::from(&options.access)
        };
        Self {
            own,
            database: Mutex::default(),
        }
    }

    /// Reads those of the database. Without an answer what is known remains: the next statement finds out what is wrong.
    pub async fn read(&self, client: &Client) {
        let answer = client.simple_query(STATEMENT).await;
        let mut database = self.database();
        database.at = Some(Instant::now());
        if let Ok(messages) = answer {
            // The first statement's rows have no column.
            database.values = Values::of(messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let name = row.try_get(0).ok().flatten()?;
                    Some((name, row.try_get(1).ok().flatten()?))
                }
                _ => None,
            }));
        }
    }

    /// Whether it is time to read them again.
    pub fn are_old(&self) -> bool {
        self.database()
            .at
            .is_none_or(|at| at.elapsed() >= LONGEST_AGE)
    }

    fn database(&self) -> MutexGuard<'_, Read> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said<T>(&self, value: impl Fn(&Values) -> Option<T>) -> Option<T> {
        value(&self.own).or_else(|| value(&self.database().values))
    }

    /// Within which time each request has its answer.
    pub fn readiness_timeout(&self) -> Duration {
        self.said(|values| values.readiness_timeout)
            .unwrap_or(READINESS_TIMEOUT)
    }

    /// How long an answer of /health/status is given again.
    pub fn cache_duration(&self) -> Duration {
        self.said(|values| values.cache_duration)
            .unwrap_or(CACHE_DURATION)
    }

    /// Whether /health/ready wants the token.
    pub fn ready_requires_authentication(&self) -> bool {
        self.said(|values| values.ready_requires_authentication)
            .unwrap_or(false)
    }

    /// Whether /health/status wants the token; None: if there is one.
    pub fn status_requires_authentication(&self) -> Option<bool> {
        self.said(|values| values.status_requires_authentication)
    }

    /// Whether /metrics wants the token.
    pub fn metrics_auth_required(&self) -> bool {
        self.said(|values| values.metrics_auth_required)
            .unwrap_or(false)
    }
}

impl From<&AccessOptions> for Values {
    fn from(options: &AccessOptions) -> Self {
        Self {
            ready_requires_authentication: options.ready_requires_authentication,
            status_requires_authentication: options.status_requires_authentication,
            metrics_auth_required: options.metrics_auth_required,
            ..Self::default()
        }
    }
}

impl Values {
    /// Of names and values; a value that an exporter of this version cannot read is not said.
    fn of<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut values = Self::default();
        for (name, value) in rows {
            let flag = match value {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            };
            match name {
                "tasker.readiness_timeout_seconds" => {
                    values.readiness_timeout = options::some_seconds(value).ok()
                }
                "tasker.health_cache_duration_seconds" => {
                    values.cache_duration = options::seconds(value).ok()
                }
                "tasker.ready_requires_authentication" => {
                    values.ready_requires_authentication = flag
                }
                "tasker.status_requires_authentication" => {
                    values.status_requires_authentication = flag
                }
                "tasker.metrics_auth_required" => values.metrics_auth_required = flag,
                _ => {}
            }
        }
        values
    }
}

#[cfg(test)]
impl Settings {
    /// With what a database has said: names and values.
    pub fn of(options: &AccessOptions, rows: &[(&str, &str)]) -> Self {
        tests::settings(Values::from(options), rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn settings(own: Values, rows: &[(&str, &str)]) -> Settings {
        let values = Values::of(rows.iter().copied());
        let database = Mutex::new(Read { values, at: None });
        Settings { own, database }
    }

    #[test]
    fn an_option_comes_before_the_setting_and_the_setting_before_the_default() {
        let none = settings(Values::default(), &[]);
        assert_eq!(
            (none.readiness_timeout(), none.cache_duration()),
            (READINESS_TIMEOUT, CACHE_DURATION)
        );
        assert!(!none.ready_requires_authentication() && !none.metrics_auth_required());
        assert_eq!(none.status_requires_authentication(), None);

        let rows = [
            ("tasker.readiness_timeout_seconds", "2.5"),
            ("tasker.health_cache_duration_seconds", "0"),
            ("tasker.ready_requires_authentication", "on"),
            ("tasker.status_requires_authentication", "off"),
            ("tasker.metrics_auth_required", "on"),
        ];
        let said = settings(Values::default(), &rows);
        assert_eq!(said.readiness_timeout(), Duration::from_millis(2500));
        assert_eq!(said.cache_duration(), Duration::ZERO);
        assert!(said.ready_requires_authentication() && said.metrics_auth_required());
        assert_eq!(said.status_requires_authentication(), Some(false));

        let own = Values {
            readiness_timeout: Some(Duration::from_secs(1)),
            metrics_auth_required: Some(false),
            ..Values::default()
        };
        let both = settings(own, &rows);
        assert_eq!(both.readiness_timeout(), Duration::from_secs(1));
        assert!(!both.metrics_auth_required() && both.ready_requires_authentication());
    }

    #[test]
    fn what_is_not_set_or_cannot_be_read_is_not_said() {
        let values = Values::of(
            [
                ("tasker.readiness_timeout_seconds", ""),
                ("tasker.metrics_auth_required", ""),
                ("tasker.ready_requires_authentication", "perhaps"),
            ]
            .into_iter(),
        );
        assert_eq!(values, Values::default());
    }
}
