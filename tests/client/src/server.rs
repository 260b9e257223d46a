//! PostgreSQL servers of the tests' own, by `scripts/throwaway-server`.
//!
//! A server ends with the process that started it, however that ends: a guard in a process group of its own waits
//! for the end of a pipe and then removes the server.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use crate::patience;
use crate::session::Session;

static NUMBER: AtomicU32 = AtomicU32::new(0);
static SHARED: OnceLock<Server> = OnceLock::new();

/// Settings of every test server: waiting times can be compared.
const SETTINGS: [&str; 5] = [
    "max_connections=300",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "max_prepared_transactions=20",
    "tasker.jitter_enabled=off",
];

/// A running server in a folder of its own.
pub struct Server {
    folder: PathBuf,
    /// The pg_config of its PostgreSQL, if it is another than the one under test.
    config: Option<PathBuf>,
    /// What starts instead of its postgres, if anything.
    program: Option<PathBuf>,
    guard: Mutex<Option<Child>>,
}

fn script() -> PathBuf {
    std::env::var_os("TASKER_THROWAWAY_SERVER")
        .map_or_else(|| root().join("scripts/throwaway-server"), PathBuf::from)
}

/// The folder of the whole project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the tests live in the project")
}

/// A program of the PostgreSQL under test.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let selected = std::env::var_os("PG_CONFIG").map(PathBuf::from);
        let config = selected.unwrap_or_else(|| "/usr/lib/postgresql/15/bin/pg_config".into());
        let output = Command::new(config)
            .arg("--bindir")
            .output()
            .expect("pg_config runs");
        PathBuf::from(
            String::from_utf8(output.stdout)
                .expect("a path in UTF-8")
                .trim(),
        )
    });
    folder.join(name)
}

/// A client program of PostgreSQL, as a user of the server in this folder.
pub fn client(name: &str, folder: &Path, user: &str) -> Command {
    let mut command = Command::new(program(name));
    command
        .args(["--host", &folder.to_string_lossy(), "--username", user])
        .env("PGPORT", "5432")
        .stdin(Stdio::null());
    command
}

/// Runs one; its complaints fail the test.
#[track_caller]
pub fn run(name: &str, folder: &Path, user: &str, arguments: &[&str]) {
    let output = client(name, folder, user)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {complaints}");
    assert!(!complaints.contains("ERROR"), "{name}: {complaints}");
}

/// psql as the superuser: rows only, and it stops at the first error.
pub fn psql(folder: &Path, database: &str) -> Command {
    let mut command = client("psql", folder, "postgres");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
    command.args(["-v", "ON_ERROR_STOP=1", "--dbname", database]);
    command
}

/// A folder name short enough for a Unix socket, below a folder that the server's user can enter.
fn new_folder() -> PathBuf {
    let temp = std::env::temp_dir();
    let base = if temp.as_os_str().len() <= 60 {
        temp
    } else {
        "/tmp".into()
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    base.join(format!("tasker-client-{}-{number}", std::process::id()))
}

#[allow(unsafe_code)]
fn at_exit(callback: extern "C" fn()) {
    unsafe extern "C" {
        fn atexit(callback: extern "C" fn()) -> std::ffi::c_int;
    }
    // SAFETY: the callback is a plain function, which cannot unwind.
    unsafe { atexit(callback) };
}

impl Server {
    /// Starts a new server with more settings than the usual ones.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_with(None, settings)
    }

    /// Likewise, with the PostgreSQL of this pg_config.
    pub(crate) fn start_with(config: Option<PathBuf>, settings: &[&str]) -> Self {
        let mut server = Self::unstarted();
        server.config = config;
        server.set_up(settings);
        server
    }

    fn set_up(&self, settings: &[&str]) {
        // No test hangs without limit.
        let timeout = format!("statement_timeout={}s", patience(60).as_secs());
        let mut arguments = vec!["--conf", &timeout];
        let by_sql = (table_path() == "sql").then_some(&BY_SQL);
        for setting in SETTINGS.iter().chain(by_sql).chain(settings) {
            arguments.extend(["--conf", setting]);
        }
        self.run("start", &arguments);
    }

    /// Likewise; this program starts postgres, with the arguments that it gets.
    pub fn start_by(program: &Path, settings: &[&str]) -> Self {
        let mut server = Self::unstarted();
        server.program = Some(program.to_owned());
        server.set_up(settings);
        server
    }

    fn unstarted() -> Self {
        let folder = new_folder();
        let guard = Command::new("/bin/sh")
            .args(["-c", "read -r line; exec \"$0\" remove \"$1\""])
            .arg(script())
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell runs");
        Self {
            folder,
            config: None,
            program: None,
            guard: Mutex::new(Some(guard)),
        }
    }

    /// The server that all tests of this binary share.
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| {
            // Statics are not dropped.
            extern "C" fn remove_shared() {
                if let Some(server) = SHARED.get() {
                    server.remove();
                }
            }
            at_exit(remove_shared);
            Self::start(&[])
        })
    }

    fn run(&self, action: &str, arguments: &[&str]) {
        let mut command = Command::new(script());
        if let Some(config) = &self.config {
            command.env("PG_CONFIG", config);
        }
        if let Some(program) = &self.program {
            command.env("TASKER_POSTGRES", program);
        }
        let output = command
            .arg(action)
            .args(arguments)
            .arg(&self.folder)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .output()
            .expect("scripts/throwaway-server runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "throwaway-server {action} ended with {}: {complaint}",
            output.status
        );
    }

    /// kill -9 to every process of the server at once.
    pub fn kill(&self) {
        self.run("kill9", &[]);
    }

    /// Starts it again after a kill.
    pub fn start_again(&self) {
        self.run("start", &[]);
    }

    /// A fast shutdown; `start_again` brings it back.
    pub fn stop(&self) {
        self.run("stop", &[]);
    }

    /// A streaming standby of this server.
    pub fn standby(&self) -> Self {
        let standby = Self::unstarted();
        let folder = self.folder.to_str().expect("a path in UTF-8");
        standby.run("standby", &["--of", folder]);
        standby
    }

    /// A base backup of this server; `recover` starts it.
    pub fn backup(&self) -> Self {
        let backup = self.standby();
        backup.stop();
        backup
    }

    /// What a server needs for `recover` of its backups: WAL is kept beside its data.
    pub const ARCHIVE: [&str; 2] = [
        "archive_mode=on",
        "archive_command=mkdir -p ../archive && cp %p ../archive/%f",
    ];

    /// Starts this backup: recovery reads the archive of the server up to this restore point, and ends there.
    pub fn recover(&self, of: &Self, point: &str) {
        let signal = |name: &str| self.folder.join("data").join(name);
        std::fs::rename(signal("standby.signal"), signal("recovery.signal"))
            .expect("the backup was a standby");
        let archive = of.folder.join("archive");
        self.run(
            "start",
            &[
                "--conf",
                &format!("restore_command=cp {}/%f %p", archive.display()),
                "--conf",
                "primary_conninfo=",
                "--conf",
                &format!("recovery_target_name={point}"),
                "--conf",
                "recovery_target_action=promote",
            ],
        );
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// pg_upgrade of a stopped server into this one, which is stopped and empty, of the same PostgreSQL.
    #[track_caller]
    pub fn take_over(&self, old: &Self) {
        let binaries = program("").to_string_lossy().into_owned();
        let output = Command::new(root().join("scripts/as-server-user"))
            .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
            .arg(self.folder())
            .arg(program("pg_upgrade"))
            .args(["--username=postgres", "--link", "--old-bindir", &binaries])
            .args(["--new-bindir", &binaries, "--old-datadir"])
            .arg(old.folder().join("data"))
            .arg("--new-datadir")
            .arg(self.folder().join("data"))
            .arg("--socketdir")
            .arg(self.folder())
            .stdin(Stdio::null())
            .output()
            .expect("pg_upgrade starts");
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// pg_resetwal of this server, which is stopped: its next transaction gets another id.
    #[track_caller]
    pub fn reset_transactions(&self, arguments: &[&str]) {
        let output = Command::new(root().join("scripts/as-server-user"))
            .arg(program("pg_resetwal"))
            .args(arguments)
            .arg(self.folder().join("data"))
            .stdin(Stdio::null())
            .output()
            .expect("pg_resetwal starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn config(&self, database: &str, user: &str) -> Config {
        config_in(&self.folder, database, user)
    }

    /// A session of the superuser.
    pub fn connect(&self, database: &str) -> Session {
        Session::open(self.config(database, "postgres"))
    }

    /// Waits until the server takes connections again after a crash.
    pub fn wait_until_up(&self, database: &str) {
        let deadline = Instant::now() + patience(60);
        loop {
            match self
                .config(database, "postgres")
                .connect(NoTls)
                .and_then(|mut client: Client| client.batch_execute("SELECT 1"))
            {
                Ok(()) => return,
                Err(error) => assert!(
                    Instant::now() < deadline,
                    "the server is not back after a minute: {error}\n{}",
                    self.log()
                ),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn remove(&self) {
        let guard = self
            .guard
            .lock()
            .map(|mut guard| guard.take())
            .unwrap_or_default();
        if let Some(mut guard) = guard {
            drop(guard.stdin.take());
            // A failure to wait leaves the guard at work; nothing is lost.
            let _ = guard.wait();
        }
    }
}

/// The way to a server by its folder, for processes that did not start it.
pub fn config_in(folder: &Path, database: &str, user: &str) -> Config {
    let mut config = Config::new();
    config
        .host_path(folder)
        .port(5432)
        .user(user)
        .dbname(database);
    config
        .application_name("tasker_client_tests")
        .connect_timeout(patience(10));
    // Only a superuser may choose; of its sessions every other one goes through SQL.
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    if table_path() == "mixed"
        && user == "postgres"
        && SESSIONS.fetch_add(1, Ordering::Relaxed) % 2 == 1
    {
        config.options(&format!("-c {BY_SQL}"));
    }
    config
}

const BY_SQL: &str = "tasker.direct_table_access=off";

/// How the engine reaches its tables in this run: `TASKER_TABLE_PATH` is `direct` (as users have it), `sql` or `mixed`.
fn table_path() -> String {
    std::env::var("TASKER_TABLE_PATH").unwrap_or_else(|_| "direct".to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.remove();
    }
}
