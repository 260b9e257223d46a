//! A PostgreSQL of its own, whose installed files a test may change: `scripts/private-postgres`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::server::{Server, root};

/// Like the PostgreSQL under test; it is removed with the value.
pub struct PostgresTree {
    folder: PathBuf,
    config: PathBuf,
    /// The library under test, which the tree begins with.
    tested: PathBuf,
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned()
}

impl PostgresTree {
    #[expect(clippy::new_without_default, reason = "it runs programs")]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tasker-tree-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let mut make = Command::new(root().join("scripts/private-postgres"));
        let config = PathBuf::from(output(make.arg(&folder)));
        let mut tree = Self {
            folder,
            config,
            tested: PathBuf::new(),
        };
        tree.tested = tree
            .library()
            .canonicalize()
            .expect("the library is installed");
        tree
    }

    fn ask(&self, what: &str) -> PathBuf {
        output(Command::new(&self.config).arg(what)).into()
    }

    /// A server of this PostgreSQL. The tree must outlive it.
    pub fn start(&self, settings: &[&str]) -> Server {
        Server::start_with(Some(self.config.clone()), settings)
    }

    /// Where the scripts and the control file lie.
    pub fn extension_folder(&self) -> PathBuf {
        self.ask("--sharedir").join("extension")
    }

    fn library(&self) -> PathBuf {
        self.ask("--pkglibdir").join("tasker_ext.so")
    }

    /// The library under test takes the place of what is there. Sessions and servers that run keep what they have loaded.
    pub fn install_library(&self) {
        self.place(|path| std::fs::copy(&self.tested, path).map(|_| ()));
    }

    /// The same library, which says that it is of another version of the same length.
    pub fn install_library_of_version(&self, version: &str) {
        self.place(|path| std::fs::copy(&self.tested, path).map(|_| ()));
        let own = own_version();
        assert_eq!(own.len(), version.len(), "the bytes are exchanged in place");
        let exchange = format!("s/tasker_ext library {own}/tasker_ext library {version}/g");
        output(
            Command::new("sed")
                .env("LC_ALL", "C")
                .args(["--in-place", "--binary", &exchange])
                .arg(self.library()),
        );
    }

    fn place(&self, make: impl FnOnce(&Path) -> std::io::Result<()>) {
        let library = self.library();
        let new = library.with_extension("new");
        make(&new).expect("the library is copied");
        std::fs::rename(&new, &library).expect("the library is replaced");
    }
}

impl Drop for PostgresTree {
    fn drop(&mut self) {
        // The folder is a temporary one.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The version that the sources make.
pub fn own_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
