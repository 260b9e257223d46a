-- Alerts, and since when the system is as well as it is.

CREATE OR REPLACE VIEW tasker.health_alerts AS
SELECT s.measure, s.level, s.measured, s.alert_beyond, s.message, s.hint
FROM tasker.health_status() s
WHERE s.alert AND s.measure <> 'overall';
COMMENT ON VIEW tasker.health_alerts IS 'The rows of tasker.health_status() that an operator should be told of now. Empty during a planned shutdown. Rule: docs/health.md#thresholds.';
COMMENT ON COLUMN tasker.health_alerts.measure IS 'What is measured.';
COMMENT ON COLUMN tasker.health_alerts.level IS 'healthy, degraded or unhealthy: some alerts come before the level turns.';
COMMENT ON COLUMN tasker.health_alerts.measured IS 'A percentage, or the number of things that should not exist.';
COMMENT ON COLUMN tasker.health_alerts.alert_beyond IS 'Where alerts begin.';
COMMENT ON COLUMN tasker.health_alerts.message IS 'The measure in words.';
COMMENT ON COLUMN tasker.health_alerts.hint IS 'What to do.';
GRANT SELECT ON tasker.health_alerts TO tasker_reader;

CREATE OR REPLACE VIEW tasker.health_changes AS
SELECT h.change_no, h.changed_at, h.from_level, h.to_level, h.message,
       lead(h.changed_at) OVER (ORDER BY h.change_no) AS until
FROM tasker_engine.health_changes h;
COMMENT ON VIEW tasker.health_changes IS 'When the health of the system changed: the last thousand changes of the overall level, as maintenance found them. Rule: docs/health.md#since-when.';
COMMENT ON COLUMN tasker.health_changes.change_no IS 'Orders the changes.';
COMMENT ON COLUMN tasker.health_changes.changed_at IS 'When maintenance found it.';
COMMENT ON COLUMN tasker.health_changes.from_level IS 'The level before: healthy, degraded or unhealthy.';
COMMENT ON COLUMN tasker.health_changes.to_level IS 'The level after.';
COMMENT ON COLUMN tasker.health_changes.message IS 'The message of health_status.';
COMMENT ON COLUMN tasker.health_changes.until IS 'When it changed again; NULL if this is the current level.';
GRANT SELECT ON tasker.health_changes TO tasker_reader;
