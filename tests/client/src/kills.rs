//! A server that is killed again and again while clients work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::database::{PATTERN, prepare};
use crate::patience;
use crate::server::Server;
use crate::session::Session;

/// A server of the test's own, with the extension in one database.
pub fn own_server(settings: &[&str]) -> Server {
    let settings: Vec<&str> = ["restart_after_crash=on"]
        .iter()
        .chain(settings)
        .copied()
        .collect();
    let server = Server::start(&settings);
    prepare(&server);
    server
}

/// Says when the clients must end.
#[derive(Default)]
pub struct End(AtomicBool);

impl End {
    pub fn has_come(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn comes(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The end comes also when the test fails.
struct EndAtLast<'a>(&'a End);

impl Drop for EndAtLast<'_> {
    fn drop(&mut self) {
        self.0.comes();
    }
}

/// A client that fails ends the others, too.
struct EndIfFailed<'a>(&'a End);

impl Drop for EndIfFailed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.comes();
        }
    }
}

/// What a client does with one connection. It returns when the connection breaks or the end has come.
pub type Client<'a> = &'a (dyn Fn(Session, &End) + Sync);

/// Runs the clients, each with one connection after the other. Kills the server that many times; each pause before a kill
/// begins when all clients are connected again. One pause follows the last kill.
pub fn under_kills(
    server: &Server,
    kills: usize,
    mut pause: impl FnMut() -> Duration,
    clients: &[Client],
) {
    let (end, killed) = (End::default(), AtomicUsize::new(0));
    // After how many kills each client connected last.
    let connected: Vec<AtomicUsize> = clients
        .iter()
        .map(|_| AtomicUsize::new(usize::MAX))
        .collect();
    std::thread::scope(|scope| {
        let _end_at_last = EndAtLast(&end);
        for (client, connected) in clients.iter().zip(&connected) {
            let (end, killed) = (&end, &killed);
            scope.spawn(move || {
                let _end_if_failed = EndIfFailed(end);
                while !end.has_come() {
                    let Ok(session) = Session::try_open(server.config(PATTERN, "postgres")) else {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    connected.store(killed.load(Ordering::Acquire), Ordering::Release);
                    client(session, end);
                }
            });
        }
        for kill in 0..=kills {
            let deadline = Instant::now() + patience(30);
            while !end.has_come()
                && connected
                    .iter()
                    .any(|after| after.load(Ordering::Acquire) != kill)
            {
                assert!(
                    Instant::now() < deadline,
                    "the clients do not come back:\n{}",
                    server.log()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(pause());
            if kill == kills || end.has_come() {
                return;
            }
            server.kill();
            killed.store(kill + 1, Ordering::Release);
            server.start_again();
        }
    });
}
