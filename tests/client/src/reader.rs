//! A reader of events that keeps nothing but its position and the ids that it got.

use crate::Session;

#[derive(Debug, Clone, Default)]
pub struct Reader {
    pub position: Option<String>,
    pub got: Vec<i64>,
}

impl Reader {
    /// Reads up to this number of events; whether there was one.
    pub fn page(&mut self, session: &mut Session, most: i32) -> bool {
        let rows = session.query(
            "SELECT event_id, position FROM tasker.read_events($1, $2)",
            &[&self.position, &most],
        );
        let before = self.got.len();
        for row in &rows {
            self.position = row.get("position");
            self.got.extend(row.get::<_, Option<i64>>("event_id"));
        }
        self.got.len() > before
    }

    /// Reads all that there is.
    pub fn all(&mut self, session: &mut Session) {
        while self.page(session, 7) {}
    }

    /// Reads the rest, and has then each event of the database once.
    #[track_caller]
    pub fn has_each_event_once(mut self, session: &mut Session, what: &str) {
        self.all(session);
        let mut everything = Self::default();
        while everything.page(session, 10_000) {}
        everything.got.sort_unstable();
        self.got.sort_unstable();
        assert!(!everything.got.is_empty());
        assert_eq!(self.got, everything.got, "{what}");
    }
}
