-- The row that names the installation. Work is done only while it agrees with where it is: a logical restore writes it again under
-- another transaction id, a copy of the database has another oid. pg_upgrade (to PostgreSQL 15 and later), promotion and recovery
-- to a point in time keep all three.
CREATE TABLE tasker_engine.installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    database_oid oid NOT NULL,
    table_oid oid NOT NULL,
    xid xid8,
    database_name text NOT NULL,
    written_at timestamptz NOT NULL
);
CREATE TRIGGER forget_installation BEFORE INSERT ON tasker_engine.installation
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.forget_installation();
ALTER TABLE tasker_engine.installation ENABLE ALWAYS TRIGGER forget_installation;
COMMENT ON TABLE tasker_engine.installation IS
'One row that names the installation; nothing is done while it is missing or does not agree with where it is. Rule: docs/operating-with-psql.md#dump-and-restore.';
COMMENT ON COLUMN tasker_engine.installation.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.installation.database_oid IS 'The database in which it was written.';
COMMENT ON COLUMN tasker_engine.installation.table_oid IS 'This table, as it was then.';
COMMENT ON COLUMN tasker_engine.installation.xid IS 'The transaction, or the savepoint in it, that wrote the row; NULL: the row was loaded.';
COMMENT ON COLUMN tasker_engine.installation.database_name IS 'The name of the database then, for messages.';
COMMENT ON COLUMN tasker_engine.installation.written_at IS 'When it was written, for messages.';

-- Restores of the log. Ids of transactions do not survive a dump, and readers compare them; so readers compare only those of rows
-- between two restores (crates/rules/src/events/position.rs). pg_upgrade, promotion and recovery to a point in time keep the ids.
CREATE TABLE tasker_engine.epochs (
    epoch bigint PRIMARY KEY,
    last_id_before bigint NOT NULL
);
COMMENT ON TABLE tasker_engine.epochs IS
'One row per restore of this log, written by tasker.resume_after_restore(). Ids of transactions are comparable in the rows between two restores only.';
COMMENT ON COLUMN tasker_engine.epochs.epoch IS 'When work was resumed after the restore, in microseconds since 1970: the name of all that was written since then.';
COMMENT ON COLUMN tasker_engine.epochs.last_id_before IS 'The last id that the log had given out before.';
