-- Whether this database is the one in which the work was begun, or holds rows that were loaded from another one.

CREATE OR REPLACE FUNCTION tasker_engine.installation_state()
RETURNS text LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT CASE WHEN i.database_oid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                      AND i.table_oid = i.tableoid AND i.xid::xid = i.xmin
                     THEN 'same' ELSE 'other' END
         FROM tasker_engine.installation i),
        CASE WHEN EXISTS (SELECT FROM tasker.named_tasks t) THEN 'other' ELSE 'new' END)
$$;
COMMENT ON FUNCTION tasker_engine.installation_state() IS
'same: the row of tasker_engine.installation was written here; other: it was not, or it is missing while there are templates; new: there is neither row nor template. VOLATILE: the row may just have been written.';

CREATE OR REPLACE FUNCTION tasker_engine.write_installation()
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tasker_engine.installation AS i (database_oid, table_oid, database_name, written_at)
    SELECT d.oid, 'tasker_engine.installation'::regclass, d.datname, clock_timestamp() FROM pg_database d WHERE d.datname = current_database()
    ON CONFLICT (one) DO UPDATE
    SET database_oid = excluded.database_oid, table_oid = excluded.table_oid, xid = NULL,
        database_name = excluded.database_name, written_at = excluded.written_at;
    -- The id that the row has by now: of a savepoint, where there is one.
    UPDATE tasker_engine.installation i
    SET xid = ((pg_current_xact_id()::text::bigint >> 32 << 32) | i.xmin::text::bigint)::text::xid8;
END
$$;
COMMENT ON FUNCTION tasker_engine.write_installation() IS 'Names this database in tasker_engine.installation: work is done from now on.';

CREATE OR REPLACE FUNCTION tasker_engine.installation_fault()
RETURNS TABLE (detail text, hint text)
AS 'MODULE_PATHNAME', 'installation_fault' LANGUAGE c VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.installation_fault() IS
'Why no work is done in this database, and what to do; no row if it is done, or if nothing has been registered yet.';

CREATE OR REPLACE FUNCTION tasker_engine.not_begun() RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN CASE tasker_engine.installation_state()
        WHEN 'new' THEN '; nothing is registered, work begins with the first register_template(), or, where rows come from elsewhere, with resume_after_restore()'
        ELSE '' END;
COMMENT ON FUNCTION tasker_engine.not_begun() IS 'What health adds to its messages in a database without a template; otherwise empty.';

CREATE OR REPLACE FUNCTION tasker_engine.require_resumed(or_new boolean DEFAULT false)
RETURNS boolean AS 'MODULE_PATHNAME', 'require_resumed' LANGUAGE c VOLATILE COST 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.require_resumed(boolean) IS
'true; 55000 while no work is done in this database. Functions in PL/pgSQL that write ask it; those in Rust ask by themselves.
or_new: whether a database without a template passes, for what is configured before the first template.';
GRANT EXECUTE ON FUNCTION tasker_engine.require_resumed(boolean) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.resume_after_restore()
RETURNS TABLE (problem text, action text, found bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM tasker_engine.require_version();
    -- Waits for a load that is writing the row, and for another call.
    LOCK TABLE tasker_engine.installation IN SHARE ROW EXCLUSIVE MODE;
    IF tasker_engine.installation_state() = 'same' THEN
        RETURN;
    END IF;
    -- Before anything is written, so that rows of this epoch have larger ids. A new database has no reader yet.
    INSERT INTO tasker_engine.epochs (epoch, last_id_before)
    SELECT greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, (SELECT max(e.epoch) + 1 FROM tasker_engine.epochs e)),
           greatest(s.last_value - CASE WHEN s.is_called THEN 0 ELSE 1 END,
                    (SELECT max(l.id) FROM tasker_engine.transitions l), (SELECT max(v.id) FROM tasker_engine.events v))
    FROM tasker_engine.transitions_id_seq s
    WHERE tasker_engine.installation_state() <> 'new';
    -- As repair_integrity does, which is refused here.
    LOCK TABLE tasker_engine.queue_entries IN SHARE UPDATE EXCLUSIVE MODE;
    RETURN QUERY
    SELECT r.problem, r.action, count(*) FROM tasker_engine.find_and_repair() r GROUP BY r.problem, r.action ORDER BY r.problem, r.action;
    PERFORM tasker_engine.write_installation();
END
$$;
COMMENT ON FUNCTION tasker.resume_after_restore() IS
'Starts work in a database that was restored with pg_restore or psql, copied with CREATE DATABASE ... TEMPLATE, or subscribed to a publication: until then claims return nothing, what writes raises 55000, and background processes wait. Call it once everything has been loaded, also the sequences. Readers of events go on at their positions. It repairs what repair_integrity(dry_run => false) repairs, in the same transaction, and returns how much; no row: nothing had to be repaired, or the database works already. In a new database the first register_template() does the same. Not needed after pg_upgrade to PostgreSQL 15 or later, promotion of a standby, or recovery to a point in time. Rule: docs/operating-with-psql.md#dump-and-restore.
problem: A problem, as in repair_integrity.
action: What was done about it.
found: How often.';
GRANT EXECUTE ON FUNCTION tasker.resume_after_restore() TO tasker_admin;
