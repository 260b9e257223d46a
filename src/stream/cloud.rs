//! Events as CloudEvents.

use tasker_rules::events::cloud::{self, Cloud};
use tasker_rules::events::position::Epochs;
use tasker_rules::events::rows::PLACES;
use tasker_rules::events::time::iso;

use super::{Event, payload};
use crate::error::{Error, Result};
use crate::pg::spi::{Session, Statement};

static HERE: Statement = Statement::new(
    "SELECT current_database()::text,
            ARRAY(SELECT e.epoch FROM tasker_engine.epochs e ORDER BY e.epoch),
            ARRAY(SELECT e.last_id_before FROM tasker_engine.epochs e ORDER BY e.epoch)",
    &[],
);

/// What names the source of an event. One that came along with a dump has the source that it had before.
pub struct Sources {
    database: String,
    epochs: Epochs,
}

impl Sources {
    pub fn read(session: &Session) -> Result<Self> {
        let rows = session.read(&HERE, &[])?;
        let row = rows
            .first()
            .ok_or_else(|| Error::corrupt("a query without tables has a row"))?;
        let (names, last_ids): (Vec<i64>, Vec<i64>) = (row.get(2)?, row.get(3)?);
        Ok(Self {
            database: row.get(1)?,
            epochs: Epochs::new(names.into_iter().zip(last_ids)),
        })
    }

    /// Makes the payload of an event the whole CloudEvent.
    pub fn wrap(&self, event: &mut Event) {
        let data = std::mem::take(&mut event.payload).into_map();
        let epoch = self.epochs.name_of(event.id / i64::from(PLACES));
        let cloud = Cloud {
            id: event.id,
            source: cloud::source(&self.database, epoch),
            name: &event.name,
            time: iso(event.occurred_at),
            task: event.task.as_ref().map(payload::uuid_text),
            step: event.step.as_ref().map(payload::uuid_text),
            namespace: event.namespace.as_deref(),
            correlation_id: event.correlation_id.as_deref(),
            traceparent: event.traceparent.as_deref(),
        };
        event.payload = cloud.object(data).into();
    }
}
