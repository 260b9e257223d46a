-- The pools of executors as they are, and what scaling decided.

CREATE OR REPLACE VIEW tasker.executor_pools AS
SELECT n.name,
       coalesce(s.enabled, false) AS enabled,
       s.min_executors,
       s.max_executors,
       n.desired AS desired_executors,
       n.running,
       n.idle,
       n.busy,
       n.draining,
       n.queue_depth,
       n.steps,
       n.failures,
       s.queues,
       s.namespaces,
       s.batch_size,
       s.target_utilization,
       s.scaling_interval,
       s.scaling_cooldown,
       s.predictive,
       s.season,
       l.decided_at AS last_decision_at,
       l.rule AS last_rule,
       l.reason AS last_reason
FROM tasker_engine.pool_statuses() n
LEFT JOIN tasker_engine.pool_settings() s ON s.name = n.name
LEFT JOIN LATERAL (
    SELECT d.decided_at, d.rule, d.reason
    FROM tasker_engine.scaling_decisions d
    WHERE d.pool = n.name
    ORDER BY d.id DESC
    LIMIT 1) l ON true;
COMMENT ON VIEW tasker.executor_pools IS 'The pools of executors: their settings in force, what they are doing, and what was decided last. A removed pool is shown as long as its executors run.';
COMMENT ON COLUMN tasker.executor_pools.name IS 'Name of the pool; default is always there.';
COMMENT ON COLUMN tasker.executor_pools.enabled IS 'Whether the pool has executors; false for one that was removed.';
COMMENT ON COLUMN tasker.executor_pools.min_executors IS 'Minimum number of executors; NULL for a pool that was removed, as in all settings.';
COMMENT ON COLUMN tasker.executor_pools.max_executors IS 'Maximum number of executors.';
COMMENT ON COLUMN tasker.executor_pools.desired_executors IS 'Number of executors that it should have now.';
COMMENT ON COLUMN tasker.executor_pools.running IS 'Number of executors that run, draining ones included; 0 without shared_preload_libraries.';
COMMENT ON COLUMN tasker.executor_pools.idle IS 'How many of them wait for work.';
COMMENT ON COLUMN tasker.executor_pools.busy IS 'How many of them run a step.';
COMMENT ON COLUMN tasker.executor_pools.draining IS 'How many of them end after their current step.';
COMMENT ON COLUMN tasker.executor_pools.queue_depth IS 'Steps due in its queues, counted up to 1000, without those of paused namespaces.';
COMMENT ON COLUMN tasker.executor_pools.steps IS 'Steps that the current executors have run since they started.';
COMMENT ON COLUMN tasker.executor_pools.failures IS 'Of these, how many failed.';
COMMENT ON COLUMN tasker.executor_pools.queues IS 'The queues it claims from.';
COMMENT ON COLUMN tasker.executor_pools.namespaces IS 'The namespaces it works for; NULL for all.';
COMMENT ON COLUMN tasker.executor_pools.batch_size IS 'How many steps an executor claims at once.';
COMMENT ON COLUMN tasker.executor_pools.target_utilization IS 'Share of their time that executors should be busy.';
COMMENT ON COLUMN tasker.executor_pools.scaling_interval IS 'Time between two evaluations of a pool that has work; an idle one is evaluated every second.';
COMMENT ON COLUMN tasker.executor_pools.scaling_cooldown IS 'Time between two changes of desired_executors.';
COMMENT ON COLUMN tasker.executor_pools.predictive IS 'Whether the forecast is used.';
COMMENT ON COLUMN tasker.executor_pools.season IS 'The period after which arrivals repeat, for the forecast.';
COMMENT ON COLUMN tasker.executor_pools.last_decision_at IS 'When scaling last made a decision; NULL if never.';
COMMENT ON COLUMN tasker.executor_pools.last_rule IS 'The rule that made it, as in tasker.scaling_decisions.';
COMMENT ON COLUMN tasker.executor_pools.last_reason IS 'Why, in a sentence or two.';
GRANT SELECT ON tasker.executor_pools TO tasker_reader;

CREATE OR REPLACE VIEW tasker.scaling_decisions AS
SELECT d.decided_at, d.pool, d.from_executors, d.to_executors, d.rule, d.reason, d.inputs
FROM tasker_engine.scaling_decisions d;
COMMENT ON VIEW tasker.scaling_decisions IS 'What scaling decided, and why: every change, and every change that was wanted and held. An evaluation that leaves things as they are writes nothing; the same reason to hold is written again after ten minutes. Kept: the last thousand of each pool, of the last 30 days. Rule: docs/executor-pools.md#scaling.';
COMMENT ON COLUMN tasker.scaling_decisions.decided_at IS 'When it was decided.';
COMMENT ON COLUMN tasker.scaling_decisions.pool IS 'Name of the pool.';
COMMENT ON COLUMN tasker.scaling_decisions.from_executors IS 'Executors wanted before the decision.';
COMMENT ON COLUMN tasker.scaling_decisions.to_executors IS 'Executors wanted after the decision; unchanged if it was held.';
COMMENT ON COLUMN tasker.scaling_decisions.rule IS 'What decided: limits, queue_depth, utilization, arrival_rate or forecast; or what held a change: errors, at_maximum, bound or cooldown.';
COMMENT ON COLUMN tasker.scaling_decisions.reason IS 'Why, in a sentence or two.';
COMMENT ON COLUMN tasker.scaling_decisions.inputs IS 'The figures that the decision was based on: running, queue_depth (due steps, and subscribers whose handlers have something to do), utilization (share), arrival_rate and service_rate (steps per second; of one busy executor), error_rate (share), forecast_rate, wanted (executors by rule), min, max, target, bound (executors the server leaves to the pool).';
GRANT SELECT ON tasker.scaling_decisions TO tasker_reader;
