-- Which function a subscriber's events are handed to, and with whose rights. The table belongs to the superuser, as
-- tasker_engine.sql_handlers does and for the same reason. Rows come from subscribe, and from a restore.
CREATE TABLE tasker_engine.subscriber_handlers (
    subscriber_id bigint PRIMARY KEY REFERENCES tasker_engine.subscribers ON DELETE CASCADE,
    handler text NOT NULL,
    role_name text NOT NULL,
    role_oid oid,
    function_owner text NOT NULL,
    function_owner_oid oid
);
CREATE TRIGGER check_sql_handler BEFORE INSERT OR UPDATE ON tasker_engine.subscriber_handlers
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.check_sql_handler();
-- Also where a restore or a subscription has switched triggers off.
ALTER TABLE tasker_engine.subscriber_handlers ENABLE ALWAYS TRIGGER check_sql_handler;
COMMENT ON TABLE tasker_engine.subscriber_handlers IS 'The function that gets the events of a subscriber, the role whose rights it has (the owner of the subscriber), and the role that must own the function.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.handler IS 'sql: and the function, as subscribe was told.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.role_name IS 'The name of the role with whose rights the function runs; for a dump. Maintenance refreshes it after a rename.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.role_oid IS 'That role: the oid decides. NULL if no role had the name when the row was restored; the events then fail.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.function_owner IS 'The name of the role that owned the function when subscribe named it; for a dump.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.function_owner_oid IS 'That role: a function of another owner is not called. NULL if no role had the name when the row was restored.';
GRANT SELECT, DELETE ON tasker_engine.subscriber_handlers TO tasker_owner;
