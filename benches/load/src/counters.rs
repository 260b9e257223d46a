//! What the server counted: WAL, commits, row writes by table.

use std::collections::BTreeMap;

use anyhow::Result;
use postgres::Client;

/// Row writes of one table.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writes {
    pub inserted: i64,
    pub updated: i64,
    pub hot: i64,
    pub deleted: i64,
}

/// The counters at one moment, or what two moments differ by.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    pub lsn: i64,
    pub commits: i64,
    pub deadlocks: i64,
    /// Full-page images; `None` before PostgreSQL 14.
    pub images: Option<i64>,
    pub writes: BTreeMap<String, Writes>,
}

const SERVER: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, d.xact_commit, d.deadlocks, w.wal_fpi
     FROM pg_stat_database d, pg_stat_wal w
     WHERE d.datname = current_database()";

const TABLES: &str = "SELECT coalesce(o.relname || ' (toast)', s.relname), s.n_tup_ins, s.n_tup_upd, s.n_tup_hot_upd, s.n_tup_del
     FROM pg_stat_all_tables s
     LEFT JOIN pg_class o ON o.reltoastrelid = s.relid
     WHERE s.schemaname = 'tasker_engine' OR o.relnamespace = 'tasker_engine'::regnamespace";

impl Counters {
    pub fn read(client: &mut Client) -> Result<Counters> {
        let row = client.query_one(SERVER, &[])?;
        let mut counters = Counters {
            lsn: row.try_get(0)?,
            commits: row.try_get(1)?,
            deadlocks: row.try_get(2)?,
            images: row.try_get(3)?,
            writes: BTreeMap::new(),
        };
        for row in client.query(TABLES, &[])? {
            counters.writes.insert(
                row.try_get(0)?,
                Writes {
                    inserted: row.try_get(1)?,
                    updated: row.try_get(2)?,
                    hot: row.try_get(3)?,
                    deleted: row.try_get(4)?,
                },
            );
        }
        Ok(counters)
    }

    pub fn since(&self, before: &Counters) -> Counters {
        let writes = self.writes.iter().map(|(table, now)| {
            let then = before.writes.get(table).copied().unwrap_or_default();
            let delta = Writes {
                inserted: now.inserted - then.inserted,
                updated: now.updated - then.updated,
                hot: now.hot - then.hot,
                deleted: now.deleted - then.deleted,
            };
            (table.clone(), delta)
        });
        Counters {
            lsn: self.lsn - before.lsn,
            commits: self.commits - before.commits,
            deadlocks: self.deadlocks - before.deadlocks,
            images: self.images.zip(before.images).map(|(now, then)| now - then),
            writes: writes.collect(),
        }
    }
}

/// Makes the session's own counts visible to others now; before PostgreSQL 15 they come within a second.
pub fn flush(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "DO $$ BEGIN
             IF current_setting('server_version_num')::integer >= 150000 THEN PERFORM pg_stat_force_next_flush();
             ELSE PERFORM pg_sleep(1.1); END IF;
         END $$",
    )?;
    Ok(())
}

/// One kind of WAL record.
#[derive(Debug, Clone)]
pub struct WalKind {
    pub name: String,
    pub count: i64,
    pub bytes: i64,
    pub image_bytes: i64,
}

/// The WAL between two places, by record type; `None` without pg_walinspect, or when the WAL is gone already.
pub fn wal_kinds(client: &mut Client, from: i64, to: i64) -> Option<Vec<WalKind>> {
    client
        .batch_execute(
            "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS pg_walinspect;
             SET synchronous_commit = on; SELECT pg_logical_emit_message(true, '', '')",
        )
        .ok()?;
    let rows = client.query(
        "SELECT \"resource_manager/record_type\", count, combined_size, fpi_size
         FROM pg_get_wal_stats('0/0'::pg_lsn + $1::bigint::numeric, '0/0'::pg_lsn + $2::bigint::numeric, true)
         WHERE count > 0",
        &[&from, &to],
    );
    let kinds = rows.ok()?.into_iter().map(|row| {
        Ok(WalKind {
            name: row.try_get(0)?,
            count: row.try_get(1)?,
            bytes: row.try_get(2)?,
            image_bytes: row.try_get(3)?,
        })
    });
    kinds.collect::<Result<Vec<_>>>().ok()
}
