-- Handlers inside the database: which function a step calls, and with whose rights.

-- Which function a step calls, and with which role's rights. The table belongs to the superuser that runs the install script: the
-- engine's owner, which owns everything else, could otherwise lend itself any role. For the same reason what runs as that superuser
-- calls nothing that belongs to the engine's owner. Rows come from register_template, which writes them as the table's owner, and
-- from a restore.
CREATE TABLE tasker_engine.sql_handlers (
    named_task_id integer NOT NULL REFERENCES tasker.named_tasks ON DELETE CASCADE,
    step_no smallint NOT NULL,
    handler text NOT NULL,
    role_name text NOT NULL,
    role_oid oid,
    function_owner text NOT NULL,
    function_owner_oid oid,
    PRIMARY KEY (named_task_id, step_no)
);
CREATE TRIGGER check_sql_handler BEFORE INSERT OR UPDATE ON tasker_engine.sql_handlers
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.check_sql_handler();
-- Also where a restore or a subscriber has switched triggers off.
ALTER TABLE tasker_engine.sql_handlers ENABLE ALWAYS TRIGGER check_sql_handler;
COMMENT ON TABLE tasker_engine.sql_handlers IS 'The function that each sql: step calls, the role whose rights it has (the one that registered the template), and the role that must own the function.';
COMMENT ON COLUMN tasker_engine.sql_handlers.named_task_id IS 'The template.';
COMMENT ON COLUMN tasker_engine.sql_handlers.step_no IS 'The step in it.';
COMMENT ON COLUMN tasker_engine.sql_handlers.handler IS 'sql: and the function, as the template says.';
COMMENT ON COLUMN tasker_engine.sql_handlers.role_name IS 'The name of the role with whose rights the function runs; for a dump. Maintenance refreshes it after a rename.';
COMMENT ON COLUMN tasker_engine.sql_handlers.role_oid IS 'That role: the oid decides. NULL if no role had the name when the row was restored; the step then fails.';
COMMENT ON COLUMN tasker_engine.sql_handlers.function_owner IS 'The name of the role that owned the function when the template was registered, or role_name if there was no function then; for a dump.';
COMMENT ON COLUMN tasker_engine.sql_handlers.function_owner_oid IS 'That role: a function of another owner is not called. NULL if no role had the name when the row was restored.';
GRANT SELECT ON tasker_engine.sql_handlers TO tasker_owner;
