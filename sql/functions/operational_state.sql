-- The operational state of the whole system. Which state may follow which is crates/rules/src/operations/operational.rs.

CREATE OR REPLACE FUNCTION tasker_engine.operational_rules()
RETURNS TABLE (
    state text, hands_out_work boolean, suppresses_alerts boolean, monitored boolean, transitional boolean,
    health_multiplier double precision, next_states text[])
AS 'MODULE_PATHNAME', 'operational_rules' LANGUAGE c STABLE ROWS 5 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.operational_rules() IS 'What each operational state means, one row per state.
state: startup, normal, graceful_shutdown, emergency or stopped.
hands_out_work: Whether claims are served.
suppresses_alerts: Whether alerts are held back.
monitored: Whether health is watched.
transitional: Whether the state is on its way to another.
health_multiplier: Factor applied to each health threshold, 0 to 1.
next_states: The states that may follow.';
GRANT EXECUTE ON FUNCTION tasker_engine.operational_rules() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.operational_state() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN COALESCE((SELECT o.to_state FROM tasker_engine.operational_changes o WHERE tasker_engine.require_version() ORDER BY o.change_no DESC LIMIT 1), 'normal');
COMMENT ON FUNCTION tasker.operational_state() IS
'The state of the whole system in this database: startup, normal, graceful_shutdown, emergency or stopped. Nothing is handed out in the last three. normal if it was never set. Rule: docs/operational-states.md.';
GRANT EXECUTE ON FUNCTION tasker.operational_state() TO tasker_reader, tasker_worker;

CREATE OR REPLACE FUNCTION tasker.set_operational_state(state text, reason text DEFAULT NULL, force boolean DEFAULT false)
RETURNS text AS 'MODULE_PATHNAME', 'set_operational_state' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.set_operational_state(text, text, boolean) IS
'Changes the state of the whole system in this database and returns it. From the commit on, claims hand out nothing in graceful_shutdown, emergency and stopped; reports are accepted in every state. The same state again changes nothing. It waits for no claim and no claim waits for it; back in normal or startup, idle workers are woken. 55000 for a change that the table does not declare, with the declared ones in the DETAIL; 22023 for an unknown state. Rule: docs/operational-states.md.
state: startup, normal, graceful_shutdown, emergency or stopped.
reason: Why, for the record; NULL: no reason is given.
force: Makes an undeclared change, with a WARNING.';
GRANT EXECUTE ON FUNCTION tasker.set_operational_state(text, text, boolean) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.begin_startup() RETURNS text
AS 'MODULE_PATHNAME', 'begin_startup' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.begin_startup() IS
'For a coordinator that starts: a normal system is in startup now; any other state stays, since a person has set it. Returns the state.';

CREATE OR REPLACE FUNCTION tasker_engine.duty_startup() RETURNS bigint
AS 'MODULE_PATHNAME', 'duty_startup' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.duty_startup() IS
'Ends a startup that has lasted 10 seconds: maintenance is at work. Returns 1 if it did, otherwise 0.';
