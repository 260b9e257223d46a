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
