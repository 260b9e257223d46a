//! Where the database is: a libpq connection string or URI, with what it leaves out from the PG* variables.
//!
//! tokio-postgres reads most keywords itself. Here are those that it does not know: what says how TLS is checked,
//! and the password file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::{self, Check, Tls};

#[derive(Clone)]
pub struct Target {
    config: Config,
    pub tls: Tls,
}

/// Variables, and the keywords that they stand for.
const VARIABLES: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGCHANNELBINDING", "channel_binding"),
];

/// Keywords that are read here.
const OWN: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "passfile",
    "gssencmode",
    "sslcompression",
];

impl Target {
    pub fn new(dsn: &str) -> Result<Self, String> {
        Self::from_parts(dsn, &|name| std::env::var(name).ok())
    }

    /// The connection to make. `limit` bounds the waiting for what has been sent over TCP, so that dropped packets are noticed.
    pub fn config(&self, limit: Duration) -> Config {
        let mut config = self.config.clone();
        config.tcp_user_timeout(limit);
        config.keepalives_idle(limit.max(Duration::from_secs(1)));
        config
    }

    fn from_parts(dsn: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut words = words(dsn)?;
        if words.contains_key("service") || variable("PGSERVICE").is_some() {
            return Err("service is not read here: name host, dbname and user".to_owned());
        }
        for (name, keyword) in VARIABLES {
            if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                words.entry((*keyword).to_owned()).or_insert(value);
            }
        }
        let home = variable("HOME").map(PathBuf::from);
        let own: BTreeMap<String, String> = OWN
            .iter()
            .filter_map(|keyword| words.remove_entry(*keyword))
            .collect();
        let mut config: Config = words
            .iter()
            .map(|(keyword, value)| format!("{keyword}={}", quoted(value)))
            .collect::<Vec<_>>()
            .join(" ")
            .parse()
            .map_err(|error| with_cause(&error))?;
        complete(&mut config, variable);
        if config.get_password().is_none() {
            let file = own
                .get("passfile")
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(".pgpass")));
            if let Some(password) = file.and_then(|file| password_in(&file, &config)) {
                config.password(password);
            }
        }
        let (mode, check) = ssl_mode(own.get("sslmode").map(String::as_str))?;
        // As libpq does: what does not leave the machine is not encrypted.
        let leaves = config
            .get_hosts()
            .iter()
            .any(|host| matches!(host, Host::Tcp(_)))
            || !config.get_hostaddrs().is_empty();
        config.ssl_mode(if leaves { mode } else { SslMode::Disable });
        let path = |keyword: &str| {
            own.get(keyword)
                .filter(|value| !value.is_empty())
                .map(Path::new)
        };
        if path("sslcert").is_some() != path("sslkey").is_some() {
            return Err("sslcert and sslkey belong together".to_owned());
        }
        let identity = path("sslcert").zip(path("sslkey"));
        let tls = tls::connector(check, path("sslrootcert"), identity)?;
        Ok(Self { config, tls })
    }

    /// Where it leads to, for the log: no password.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!(
            "host={} dbname={} user={}",
            hosts.join(","),
            self.config.get_dbname().unwrap_or_default(),
            self.config.get_user().unwrap_or_default()
        )
    }
}

/// The message of an error with those beneath it: tokio-postgres says what only there.
pub fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let message = inner.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = inner.source();
    }
    text
}

/// What libpq assumes: a socket in the usual folder, the user of this process, a database of the user's name.
fn complete(config: &mut Config, variable: &dyn Fn(&str) -> Option<String>) {
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        let folder = ["/var/run/postgresql", "/tmp"]
            .into_iter()
            .find(|folder| Path::new(folder).is_dir())
            .unwrap_or("/tmp");
        config.host_path(folder);
    }
    if config.get_user().is_none() {
        let user = variable("USER").or_else(|| variable("LOGNAME"));
        config.user(user.unwrap_or_else(|| "postgres".to_owned()));
    }
    if config.get_dbname().is_none()
        && let Some(user) = config.get_user().map(str::to_owned)
    {
        config.dbname(user);
    }
    if config.get_application_name().is_none() {
        config.application_name("tasker exporter");
    }
}

fn ssl_mode(text: Option<&str>) -> Result<(SslMode, Check), String> {
    Ok(match text.unwrap_or("prefer") {
        "disable" => (SslMode::Disable, Check::Nothing),
        "allow" | "prefer" => (SslMode::Prefer, Check::Nothing),
        "require" => (SslMode::Require, Check::Nothing),
        "verify-ca" => (SslMode::Require, Check::Issuer),
        "verify-full" => (SslMode::Require, Check::IssuerAndName),
        other => {
            return Err(format!(
                "sslmode {other:?} is none of disable, allow, prefer, require, verify-ca and verify-full"
            ));
        }
    })
}

/// The keywords and values of a connection string or URI.
fn words(dsn: &str) -> Result<BTreeMap<String, String>, String> {
    let rest = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| dsn.strip_prefix(scheme));
    match rest {
        Some(rest) => uri_words(rest),
        None => plain_words(dsn),
    }
}

/// `keyword = 'value with \' and \\'`
fn plain_words(dsn: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let mut next = dsn.chars().peekable();
    loop {
        while next.next_if(|c| c.is_whitespace()).is_some() {}
        if next.peek().is_none() {
            return Ok(found);
        }
        let mut keyword = String::new();
        while let Some(c) = next.next_if(|c| *c != '=') {
            keyword.push(c);
        }
        let keyword = keyword.trim_end().to_owned();
        // The text itself may hold a password.
        if next.next().is_none() || keyword.is_empty() || keyword.contains(char::is_whitespace) {
            return Err("a connection string has the form keyword=value keyword=value".to_owned());
        }
        while next.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = next.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match next.next() {
                Some('\\') => value.extend(next.next()),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
                None if quoted => {
                    return Err("a quoted value of the connection string has no end".to_owned());
                }
                None => break,
            }
        }
        found.insert(keyword, value);
    }
}

/// `user:password@host:port,host:port/dbname?keyword=value&...`, without its scheme.
fn uri_words(rest: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut names = vec![];
    let mut ports = vec![];
    for host in hosts.split(',') {
        // [2001:db8::1]:5432
        let split = host.rfind(']').map_or(0, |end| end + 1);
        let colon = host[split..].find(':').map(|at| at + split);
        let (name, port) = colon.map_or((host, ""), |at| (&host[..at], &host[at + 1..]));
        names.push(decoded(name.trim_start_matches('[').trim_end_matches(']'))?);
        ports.push(if port.is_empty() { "5432" } else { port }.to_owned());
    }
    for (keyword, value) in [
        ("user", decoded(user)?),
        ("password", decoded(password)?),
        ("dbname", decoded(database)?),
    ] {
        if !value.is_empty() {
            found.insert(keyword.to_owned(), value);
        }
    }
    if names.iter().any(|name| !name.is_empty()) {
        found.insert("host".to_owned(), names.join(","));
    }
    if hosts.contains(':') {
        found.insert("port".to_owned(), ports.join(","));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair.split_once('=').ok_or_else(|| {
            "the parameters of a connection URI have the form keyword=value".to_owned()
        })?;
        found.insert(decoded(keyword)?, decoded(value)?);
    }
    Ok(found)
}

/// Percent-decoded.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "a connection URI has a wrong escape with %".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [
            rest.next().ok_or_else(wrong)?,
            rest.next().ok_or_else(wrong)?,
        ];
        let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The password of a line `host:port:database:user:password` whose parts agree. libpq ignores a file that others may read; so do we.
fn password_in(file: &Path, config: &Config) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        super::log::warning(
            "the password file is open to others and is ignored",
            &[("file", &file.display().to_string())],
        );
        return None;
    }
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        _ => "localhost".to_owned(),
    };
    let port = config
        .get_ports()
        .first()
        .copied()
        .unwrap_or(5432)
        .to_string();
    let wanted = [
        host.as_str(),
        &port,
        config.get_dbname()?,
        config.get_user()?,
    ];
    std::fs::read_to_string(file)
        .ok()?
        .lines()
        .find_map(|line| {
            let parts = password_line(line);
            let agrees = parts.len() == 5
                && wanted
                    .iter()
                    .zip(&parts)
                    .all(|(wanted, part)| part == "*" || part == wanted);
            agrees.then(|| parts[4].clone())
        })
}

/// The parts of a line of a password file; `\:` and `\\` are characters.
fn password_line(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '#' if parts.len() == 1 && parts[0].is_empty() => return vec![],
            ':' if parts.len() < 5 => parts.push(String::new()),
            '\\' => parts
                .last_mut()
                .into_iter()
                .for_each(|part| part.extend(rest.next())),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(dsn: &str, variables: &[(&str, &str)]) -> Result<Target, String> {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Target::from_parts(dsn, &variable)
    }

    #[test]
    fn a_connection_string_is_read_as_libpq_reads_it() {
        let found = plain_words(r"host = /tmp user='a b' password=p\'w application_name='it\'s'")
            .expect("well formed");
        let pairs: Vec<(&str, &str)> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("application_name", "it's"),
                ("host", "/tmp"),
                ("password", "p'w"),
                ("user", "a b")
            ]
        );
        assert!(plain_words("host").is_err());
        assert!(plain_words("host='x").is_err());
    }

    #[test]
    fn an_uri_is_read_as_libpq_reads_it() {
        let found = words(
            "postgresql://me:p%40ss@one:5433,[::1]/app?sslmode=verify-full&options=-c%20a%3Db",
        )
        .expect("well formed");
        let pairs: Vec<(&str, &str)> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("dbname", "app"),
                ("host", "one,::1"),
                ("options", "-c a=b"),
                ("password", "p@ss"),
                ("port", "5433,5432"),
                ("sslmode", "verify-full"),
                ("user", "me"),
            ]
        );
        assert!(words("postgresql://h/d?sslmode").is_err());
        assert!(words("postgresql://h/%zz").is_err());
    }

    #[test]
    fn what_the_string_leaves_out_comes_from_the_variables() {
        let target = target(
            "dbname=app",
            &[
                ("PGHOST", "db"),
                ("PGUSER", "monitor"),
                ("PGDATABASE", "other"),
                ("PGPASSWORD", "secret"),
            ],
        )
        .expect("complete");
        assert_eq!(target.describe(), "host=db dbname=app user=monitor");
        assert_eq!(target.config.get_password(), Some(b"secret".as_slice()));
        assert_eq!(
            target.config.get_application_name(),
            Some("tasker exporter")
        );
    }

    #[test]
    fn what_cannot_be_read_says_so_without_the_password() {
        for dsn in [
            "password=secret sslmode=maybe",
            "password=secret service=x",
            "password=secret nonsense=1",
            "password='secret",
        ] {
            let message = target(dsn, &[]).err().expect("refused");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_line_of_a_password_file_has_five_parts() {
        assert_eq!(
            password_line(r"db:5432:*:mon\:itor:p\\w:x"),
            ["db", "5432", "*", "mon:itor", r"p\w:x"]
        );
        assert!(password_line("# db:1:2:3:4").is_empty());
    }
}
