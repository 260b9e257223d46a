-- A table that keeps a role keeps it twice: the oid decides, the name is for a dump, since another cluster has other oids.
-- When a row is written the oid is looked up from the name; an oid that comes with a dump never counts.

CREATE OR REPLACE FUNCTION tasker_engine.role_oid(role_name text)
RETURNS oid LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT r.oid FROM pg_roles r WHERE r.rolname = role_name);
COMMENT ON FUNCTION tasker_engine.role_oid(text) IS 'The oid of the role that bears this name now; NULL if none does.';

CREATE OR REPLACE FUNCTION tasker_engine.role_name(role_oid oid, kept text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((SELECT r.rolname::text FROM pg_roles r WHERE r.oid = role_oid), kept);
COMMENT ON FUNCTION tasker_engine.role_name(oid, text) IS 'The name that a role bears now; the one that was kept if the role is gone.';
GRANT EXECUTE ON FUNCTION tasker_engine.role_name(oid, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.find_claimant() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.role_oid := tasker_engine.role_oid(NEW.role_name);
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION tasker_engine.find_claimant() IS
'Finds the role by its name whenever a row of tasker_engine.claimants or tasker_engine.subscriber_grants is written: in another cluster it has another oid.';

CREATE OR REPLACE FUNCTION tasker_engine.claimants_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'claimants_changed' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.claimants_changed() IS
'Tells every session that it must read tasker_engine.claimants again.';

CREATE OR REPLACE FUNCTION tasker_engine.refresh_claimants() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    refreshed bigint;
BEGIN
    UPDATE tasker_engine.claimants c
    SET role_name = (SELECT r.rolname FROM pg_roles r WHERE r.oid = c.role_oid)
    WHERE c.claimant_no = ANY (ARRAY(
        SELECT p.claimant_no
        FROM tasker_engine.claimants p
        LEFT JOIN pg_roles r ON r.oid = p.role_oid
        WHERE p.role_oid IS NOT NULL AND p.role_name IS DISTINCT FROM r.rolname::text
        FOR UPDATE OF p SKIP LOCKED));
    GET DIAGNOSTICS refreshed = ROW_COUNT;
    RETURN refreshed;
END
$$;
COMMENT ON FUNCTION tasker_engine.refresh_claimants() IS
'Writes the new names of renamed roles into tasker_engine.claimants, for the next dump, and takes the names of dropped ones out; returns how many rows. Waits for no lock.';

CREATE OR REPLACE FUNCTION tasker_engine.check_sql_handler() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.function_owner := coalesce(NEW.function_owner, NEW.role_name);
    -- A row from a dump or a publisher brings the oids of another cluster.
    IF TG_OP = 'INSERT'
       OR current_setting('session_replication_role') = 'replica' THEN
        IF TG_OP = 'UPDATE' AND NEW.role_name = OLD.role_name THEN
            NEW.role_oid := OLD.role_oid;
        ELSE
            NEW.role_oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = NEW.role_name);
        END IF;
        IF TG_OP = 'UPDATE' AND NEW.function_owner = OLD.function_owner THEN
            NEW.function_owner_oid := OLD.function_owner_oid;
        ELSE
            NEW.function_owner_oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = NEW.function_owner);
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = current_user AND r.rolsuper)
       OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = NEW.role_oid
                  AND pg_has_role(r.oid, 'MEMBER')) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a handler of role "%" cannot be restored by role "%"', NEW.role_name, current_user
        USING ERRCODE = 'insufficient_privilege',
              DETAIL = 'A handler inside the database runs with the rights of the role that registered its template.',
              HINT = 'Restore as a superuser or as a member of that role, or leave the table out and register the template again.';
END
$$;
COMMENT ON FUNCTION tasker_engine.check_sql_handler() IS 'Looks up the oids of the roles that a restored row of tasker_engine.sql_handlers names, and refuses a row for a role whose rights the writer does not have (42501).';

CREATE OR REPLACE FUNCTION tasker_engine.refresh_handler_roles() RETURNS bigint
AS 'MODULE_PATHNAME', 'refresh_handler_roles' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.refresh_handler_roles() IS 'Writes the new names of renamed roles into tasker_engine.sql_handlers, for the next dump; returns how many rows.';

CREATE OR REPLACE FUNCTION tasker_engine.find_schedule_owner() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.owner_role = OLD.owner_role THEN
        NEW.owner_oid := OLD.owner_oid;
    ELSE
        NEW.owner_oid := tasker_engine.role_oid(NEW.owner_role);
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION tasker_engine.find_schedule_owner() IS 'Looks up the oid of the role that a row of tasker_engine.schedules or tasker_engine.subscribers names: what a dump or a publisher says of oids is of another cluster.';

CREATE OR REPLACE FUNCTION tasker_engine.refresh_schedule_owners() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    renamed bigint;
BEGIN
    UPDATE tasker_engine.schedules s SET owner_role = n.rolname
    FROM (SELECT o.schedule_name, r.rolname
          FROM tasker_engine.schedules o JOIN pg_roles r ON r.oid = o.owner_oid AND r.rolname <> o.owner_role
          FOR UPDATE OF o SKIP LOCKED) n
    WHERE s.schedule_name = n.schedule_name;
    GET DIAGNOSTICS renamed = ROW_COUNT;
    RETURN renamed;
END
$$;
COMMENT ON FUNCTION tasker_engine.refresh_schedule_owners() IS 'Writes the new names of renamed roles into tasker_engine.schedules, for the next dump; returns how many rows.';

CREATE OR REPLACE FUNCTION tasker_engine.refresh_subscriber_roles() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owners bigint;
    granted bigint;
BEGIN
    UPDATE tasker_engine.subscribers s SET owner_role = n.rolname
    FROM (SELECT o.subscriber_id, r.rolname
          FROM tasker_engine.subscribers o JOIN pg_roles r ON r.oid = o.owner_oid AND r.rolname <> o.owner_role
          FOR UPDATE OF o SKIP LOCKED) n
    WHERE s.subscriber_id = n.subscriber_id;
    GET DIAGNOSTICS owners = ROW_COUNT;
    UPDATE tasker_engine.subscriber_grants g SET role_name = n.rolname
    FROM (SELECT o.subscriber_id, o.role_name, r.rolname
          FROM tasker_engine.subscriber_grants o JOIN pg_roles r ON r.oid = o.role_oid AND r.rolname <> o.role_name
          FOR UPDATE OF o SKIP LOCKED) n
    WHERE g.subscriber_id = n.subscriber_id AND g.role_name = n.role_name;
    GET DIAGNOSTICS granted = ROW_COUNT;
    RETURN owners + granted;
END
$$;
COMMENT ON FUNCTION tasker_engine.refresh_subscriber_roles() IS 'Writes the new names of renamed roles into tasker_engine.subscribers and tasker_engine.subscriber_grants, for the next dump; returns how many rows.';
