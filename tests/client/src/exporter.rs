//! `tasker exporter` as a process of its own, and HTTP requests to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Database;
use crate::patience;
use crate::server::{Server, root};

/// The role that the exporters of tests use.
pub const ROLE: &str = "exporter_monitor";

/// The program `tasker`, built from this tree.
pub fn tasker() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("this test is a file");
        let folder = test
            .parent()
            .and_then(Path::parent)
            .expect("in target/debug/deps");
        let mut cargo = Command::new(env!("CARGO"));
        // What cargo says to a test about its package makes build scripts run again.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                cargo.env_remove(name.as_ref());
            }
        }
        let output = cargo
            .args(["build", "--quiet", "--locked", "--package", "tasker_cli"])
            .current_dir(root())
            .stdin(Stdio::null())
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        folder.join("tasker")
    });
    path.clone()
}

/// Makes the role of the exporters in a server, with the rights of a reader.
pub fn make_role(server: &Server) {
    server.connect("postgres").execute(&format!(
        "DO $$ BEGIN CREATE ROLE {ROLE} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    ));
    // Two tests at once would change the same row of a catalog.
    static GRANTS: Mutex<()> = Mutex::new(());
    let _one = GRANTS.lock();
    server
        .connect("postgres")
        .execute(&format!("GRANT tasker_reader TO {ROLE}"));
}

/// The connection string to a database of a server.
pub fn dsn(server: &Server, database: &str) -> String {
    format!(
        "host={} port=5432 user={ROLE} dbname={database}",
        server.folder().display()
    )
}

/// A running exporter; it ends with the value.
pub struct Exporter {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// An answer, whatever its status code.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
    pub took: Duration,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The status code, and a text at a key of the object.
    #[track_caller]
    pub fn says(&self, key: &str) -> (u16, String) {
        let value = self.json()[key].clone();
        (
            self.code,
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    }

    /// The value of a line of metrics.
    #[track_caller]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let mut found = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = found.next()?;
        assert!(found.next().is_none(), "{series} is there twice");
        Some(value.parse().expect("a number"))
    }
}

impl Exporter {
    /// Of a database on the server that tests share.
    pub fn of(database: &Database, arguments: &[&str]) -> Self {
        Self::of_server(database.server(), database.name(), arguments)
    }

    pub fn of_server(server: &Server, database: &str, arguments: &[&str]) -> Self {
        make_role(server);
        Self::start(&dsn(server, database), arguments, &[])
    }

    /// With a connection string, more arguments and environment variables.
    pub fn start(dsn: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Self::command(dsn, arguments, variables)
            .spawn()
            .expect("the exporter starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut address = None;
        while address.is_none() {
            let line = lines.next().and_then(Result::ok);
            let Some(line) = line else {
                let log = log.lock().map(|log| log.clone()).unwrap_or_default();
                panic!("the exporter ended at its start:\n{log}");
            };
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == "listens" {
                address = entry["address"].as_str().and_then(|text| text.parse().ok());
            }
            log.lock().expect("no panic").push_str(&format!("{line}\n"));
        }
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock()
                    .expect("no panic")
                    .push_str(&format!("{line}\n"));
            }
        });
        Self {
            child,
            address: address.expect("the loop ends with one"),
            log,
        }
    }

    /// What `start` runs, with stderr piped.
    pub fn command(dsn: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(tasker());
        command
            .args([
                "exporter",
                "--listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
                "--dsn",
                dsn,
            ])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// The exit code and the log of an exporter that ends by itself, as one that cannot start does.
    #[track_caller]
    pub fn ends(command: &mut Command) -> (Option<i32>, String) {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the exporter starts");
        let deadline = Instant::now() + patience(10);
        while child.try_wait().expect("our child").is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the exporter started");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().expect("our child");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, None)
    }

    #[track_caller]
    pub fn request(&self, method: &str, path: &str, authorization: Option<&str>) -> Reply {
        request(self.address, method, path, authorization)
    }

    /// Asks again and again until the answer is as wanted.
    #[track_caller]
    pub fn wait_until(&self, path: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
        let deadline = Instant::now() + patience(30);
        loop {
            let reply = self.get(path);
            if wanted(&reply) {
                return reply;
            }
            assert!(Instant::now() < deadline, "still {reply:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        signal(name, i32::try_from(self.child.id()).expect("a process id"));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the exporter does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the exporter:\n{}", self.log());
        }
    }
}

/// A request over a connection of its own.
#[track_caller]
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    authorization: Option<&str>,
) -> Reply {
    let client = reqwest::blocking::Client::builder()
        .timeout(patience(60))
        .no_proxy()
        .build()
        .expect("a client");
    let method = method.parse().expect("a method");
    let mut request = client.request(method, format!("http://{address}{path}"));
    if let Some(value) = authorization {
        request = request.header("Authorization", value);
    }
    let begun = Instant::now();
    let response = request
        .send()
        .unwrap_or_else(|error| panic!("{path}: {error:?}"));
    let code = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                value.to_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    let text = response
        .text()
        .unwrap_or_else(|error| panic!("{path}: {error:?}"));
    Reply {
        code,
        headers,
        text,
        took: begun.elapsed(),
    }
}

/// kill -NAME PID
#[track_caller]
pub fn signal(name: &str, pid: i32) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success(), "kill -{name} {pid}");
}

/// A process that stands still until the value is dropped.
pub struct Stopped(i32);

impl Stopped {
    pub fn new(pid: i32) -> Self {
        signal("STOP", pid);
        Self(pid)
    }

    /// The process that all others of this server come from.
    pub fn postmaster(server: &Server) -> Self {
        let file = server.folder().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).expect("the server runs");
        Self::new(
            text.lines()
                .next()
                .and_then(|pid| pid.parse().ok())
                .expect("a process id"),
        )
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = Command::new("kill")
            .args(["-CONT", &self.0.to_string()])
            .status();
    }
}
