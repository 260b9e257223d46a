//! A database of its own for each test, copied from one in which the extension is installed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use uuid::Uuid;

use crate::inside;
use crate::server::Server;
use crate::session::Session;
use crate::shapes::Template;

/// The database that the others are copied from; crash tests use it itself.
pub const PATTERN: &str = "pattern";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A fresh database with tasker_ext; it is dropped with the value.
pub struct Database {
    server: &'static Server,
    name: String,
}

impl Database {
    /// A database on the shared server.
    pub fn new() -> Self {
        static PREPARED: OnceLock<()> = OnceLock::new();
        let server = Server::shared();
        PREPARED.get_or_init(|| prepare(server));
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server
            .connect("postgres")
            .execute(&format!("CREATE DATABASE {name} TEMPLATE {PATTERN}"));
        resume(&mut server.connect(&name));
        Self { server, name }
    }

    /// An empty one, without the extension.
    pub fn empty() -> Self {
        let server = Server::shared();
        let name = format!("empty_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server
            .connect("postgres")
            .execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self { server, name }
    }

    /// A copy of a database in which no session is open; work in it is not resumed.
    pub fn copy_of(other: &Self) -> Self {
        let name = format!("copy_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut root = other.server.connect("postgres");
        root.execute(&format!("CREATE DATABASE {name} TEMPLATE {}", other.name));
        Self {
            server: other.server,
            name,
        }
    }

    /// Another session of the superuser.
    pub fn connect(&self) -> Session {
        self.server.connect(&self.name)
    }

    /// A session of another user.
    pub fn connect_as(&self, user: &str) -> Session {
        Session::open(self.server.config(&self.name, user))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn server(&self) -> &'static Server {
        self.server
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Of a failed test the server, and with it the database, goes soon anyway.
        if !std::thread::panicking() {
            self.server
                .connect("postgres")
                .execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

/// Makes the database that the others are copied from.
pub fn prepare(server: &Server) {
    server
        .connect("postgres")
        .execute(&format!("CREATE DATABASE {PATTERN} TEMPLATE template0"));
    install(&mut server.connect(PATTERN));
}

/// Installs the extension and the tests' own helpers in a database.
pub fn install(session: &mut Session) {
    session.execute("CREATE EXTENSION tasker_ext");
    session.execute(inside::HELPERS);
    resume(session);
}

/// Begins work in a new database, a copy or a restored one.
#[track_caller]
pub fn resume(session: &mut Session) {
    session.query("SELECT * FROM tasker.resume_after_restore()", &[]);
}

/// A database with the template and one task of it, and a session.
#[track_caller]
pub fn started(template: &Template) -> (Database, Session, Uuid) {
    let database = Database::new();
    let mut session = database.connect();
    template.register(&mut session);
    let task = session.create(template.name());
    (database, session, task)
}
