-- What is loaded into tasker_engine.installation never names this installation.

CREATE OR REPLACE FUNCTION tasker_engine.forget_installation() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.xid := NULL;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION tasker_engine.forget_installation() IS
'A row that a restore or a subscription inserts gets no transaction id, so that it does not name this installation by chance.';
