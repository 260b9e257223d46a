-- Counters of the engine without shared memory.

-- Counts of a backend: worker 0 is the engine. Insert-only; a duty folds old rows together. No index and no constraint,
-- so that a row goes below SQL (src/pg/tables.rs).
CREATE TABLE tasker_engine.metric_counts (
    at timestamptz NOT NULL,
    worker_no integer NOT NULL,
    folded boolean NOT NULL,
    cells smallint[] NOT NULL,
    amounts bigint[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE tasker_engine.metric_counts REPLICA IDENTITY FULL; -- it has no key, see tasker_engine.queue_entries
COMMENT ON TABLE tasker_engine.metric_counts IS 'What backends counted without shared memory, and sums of older rows.';
COMMENT ON COLUMN tasker_engine.metric_counts.at IS 'When it was written; of a folded row, when the first of its rows was.';
COMMENT ON COLUMN tasker_engine.metric_counts.worker_no IS 'Number of the worker; 0 for the engine.';
COMMENT ON COLUMN tasker_engine.metric_counts.folded IS 'Whether it is the sum of older rows.';
COMMENT ON COLUMN tasker_engine.metric_counts.cells IS 'The cells that were counted, as in metric_cells().';
COMMENT ON COLUMN tasker_engine.metric_counts.amounts IS 'The count of each cell since the backend''s last row.';

-- Counts by labels of a backend: a place of each array for each number. Insert-only like tasker_engine.metric_counts; a duty makes one
-- row per series of them.
CREATE TABLE tasker_engine.series_counts (
    at timestamptz NOT NULL,
    folded boolean NOT NULL,
    named_task_ids integer[] NOT NULL,
    step_nos smallint[] NOT NULL,
    error_classes text[] NOT NULL,
    cells smallint[] NOT NULL,
    amounts bigint[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE tasker_engine.series_counts REPLICA IDENTITY FULL; -- it has no key, see tasker_engine.queue_entries
COMMENT ON TABLE tasker_engine.series_counts IS 'What backends counted by labels without shared memory, and sums of older rows.';
COMMENT ON COLUMN tasker_engine.series_counts.at IS 'When it was written; of a folded row, when its series was last counted in.';
COMMENT ON COLUMN tasker_engine.series_counts.folded IS 'Whether it is the sum of older rows, for one series.';
COMMENT ON COLUMN tasker_engine.series_counts.named_task_ids IS 'The template of each number; 0: all labels are other.';
COMMENT ON COLUMN tasker_engine.series_counts.step_nos IS 'Its step; 0: it is about tasks.';
COMMENT ON COLUMN tasker_engine.series_counts.error_classes IS 'Its error class, if it is about failures.';
COMMENT ON COLUMN tasker_engine.series_counts.cells IS 'What was counted, as in labelled_metric_cells(); -1: how frequent the class is among those of its step.';
COMMENT ON COLUMN tasker_engine.series_counts.amounts IS 'Each count since the backend''s last row.';
