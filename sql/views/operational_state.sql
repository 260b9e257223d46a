-- The operational state of the whole system.

CREATE OR REPLACE VIEW tasker.operational_state_changes AS
SELECT o.change_no, o.changed_at, o.from_state, o.to_state, o.changed_by, o.reason, o.forced
FROM tasker_engine.operational_changes o;
COMMENT ON VIEW tasker.operational_state_changes IS 'The changes of the state of the whole system, with the role, the time and the reason: the last thousand.';
COMMENT ON COLUMN tasker.operational_state_changes.change_no IS 'Orders the changes.';
COMMENT ON COLUMN tasker.operational_state_changes.changed_at IS 'When it was changed.';
COMMENT ON COLUMN tasker.operational_state_changes.from_state IS 'The state before.';
COMMENT ON COLUMN tasker.operational_state_changes.to_state IS 'The state after.';
COMMENT ON COLUMN tasker.operational_state_changes.changed_by IS 'The role that changed it; coordinator for the one that starts a system.';
COMMENT ON COLUMN tasker.operational_state_changes.reason IS 'Why; NULL if no reason was given.';
COMMENT ON COLUMN tasker.operational_state_changes.forced IS 'Whether the change was undeclared and made by force.';
GRANT SELECT ON tasker.operational_state_changes TO tasker_reader;

CREATE OR REPLACE VIEW tasker.operational_status AS
SELECT r.state, o.changed_at AS since, o.changed_by, o.reason, r.hands_out_work, r.suppresses_alerts, r.monitored,
       r.transitional, r.health_multiplier, r.next_states,
       (SELECT count(*) FROM tasker.running_steps) AS running_steps
FROM (SELECT tasker.operational_state() AS state) s
JOIN tasker_engine.operational_rules() r ON r.state = s.state
LEFT JOIN LATERAL (
    SELECT c.changed_at, c.changed_by, c.reason FROM tasker_engine.operational_changes c ORDER BY c.change_no DESC LIMIT 1
) o ON true;
COMMENT ON VIEW tasker.operational_status IS 'The state of the whole system in this database and what it means; one row. A shutdown is complete when running_steps is 0.';
COMMENT ON COLUMN tasker.operational_status.state IS 'startup, normal, graceful_shutdown, emergency or stopped.';
COMMENT ON COLUMN tasker.operational_status.since IS 'When the state was set; NULL if it was never set.';
COMMENT ON COLUMN tasker.operational_status.changed_by IS 'The role that set it; NULL if it was never set.';
COMMENT ON COLUMN tasker.operational_status.reason IS 'Why; NULL if no reason was given.';
COMMENT ON COLUMN tasker.operational_status.hands_out_work IS 'Whether claims are served.';
COMMENT ON COLUMN tasker.operational_status.suppresses_alerts IS 'Whether tasker.health_alerts is held back.';
COMMENT ON COLUMN tasker.operational_status.monitored IS 'Whether health is watched.';
COMMENT ON COLUMN tasker.operational_status.transitional IS 'Whether the state is on its way to another.';
COMMENT ON COLUMN tasker.operational_status.health_multiplier IS 'Factor applied to each health threshold, 0 to 1.';
COMMENT ON COLUMN tasker.operational_status.next_states IS 'The states that may follow without force.';
COMMENT ON COLUMN tasker.operational_status.running_steps IS 'Number of steps that workers hold now.';
GRANT SELECT ON tasker.operational_status TO tasker_reader;
