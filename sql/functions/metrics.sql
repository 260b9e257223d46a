-- Counters of what the engine does. Preloaded, they live in shared memory and are added to when a transaction commits;
-- otherwise a call that writes anyway appends what its backend has counted, at most every ten seconds. What is read is
-- the sum of both. docs/metrics.md says what counts when.

CREATE OR REPLACE FUNCTION tasker_engine.metric_cells()
RETURNS TABLE (
    cell integer, family text, kind text, part text, upper_bound double precision, labels jsonb, unit text, help text,
    recent boolean)
AS 'MODULE_PATHNAME', 'metric_cells' LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 150
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.metric_cells() IS 'Every number that is counted.
cell: its place.
family: name of its metric.
kind: counter or histogram.
part: total of a counter, bucket or sum (microseconds) of a histogram.
upper_bound: of a bucket, seconds; the last is infinite.
labels: the labels that distinguish it from others of its metric.
unit: seconds, or empty for things.
help: one sentence.
recent: whether its last minutes are kept, for the alerts.';
GRANT EXECUTE ON FUNCTION tasker_engine.metric_cells() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.shared_counts() RETURNS TABLE (worker_no integer, cell integer, amount bigint)
AS 'MODULE_PATHNAME', 'shared_counts' LANGUAGE c VOLATILE ROWS 100
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_counts() IS 'What shared memory holds for this database, without zeros.
worker_no: 0 for the engine.
cell: as in metric_cells().
amount: the count.';
GRANT EXECUTE ON FUNCTION tasker_engine.shared_counts() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.shared_recent() RETURNS TABLE (at timestamptz, cell integer, amount bigint)
AS 'MODULE_PATHNAME', 'shared_recent' LANGUAGE c VOLATILE ROWS 50
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_recent() IS 'The last two minutes of finalization claims in shared memory, ten seconds at a time.
at: when the ten seconds end.
cell: as in metric_cells().
amount: the count within them.';
GRANT EXECUTE ON FUNCTION tasker_engine.shared_recent() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.shared_since() RETURNS TABLE (preloaded boolean, since timestamptz)
AS 'MODULE_PATHNAME', 'shared_since' LANGUAGE c VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_since() IS 'Whether counters live in shared memory.
preloaded: false without shared_preload_libraries.
since: when the counters of this database began; NULL if nothing was counted yet.';
GRANT EXECUTE ON FUNCTION tasker_engine.shared_since() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.reset_shared_counts() RETURNS void
AS 'MODULE_PATHNAME', 'reset_shared_counts' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.reset_shared_counts() IS 'Sets the counters of this database in shared memory to zero, at once.';

CREATE OR REPLACE FUNCTION tasker_engine.count_finalization(operation text, outcome text, began_at timestamptz) RETURNS void
AS 'MODULE_PATHNAME', 'count_finalization' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.count_finalization(text, text, timestamptz) IS 'Counts a call of a finalization function.
operation: claim, extend or release.
outcome: success, or why not; for a claim a reason of finalization_claim_contention_by_reason_total.
began_at: when the call began.';

CREATE OR REPLACE FUNCTION tasker_engine.histogram_quantile(
    bounds double precision[], counts double precision[], q double precision) RETURNS double precision
AS 'MODULE_PATHNAME', 'histogram_quantile' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.histogram_quantile(double precision[], double precision[], double precision) IS 'The value below which a share of all values lies, as Prometheus estimates it: values are spread evenly within a bucket, and the last finite bound stands for all above it. NULL without values.
bounds: finite upper bounds, ascending.
counts: values per bucket, the infinite one last.
q: the share, 0 to 1.';
GRANT EXECUTE ON FUNCTION tasker_engine.histogram_quantile(double precision[], double precision[], double precision) TO tasker_reader;

-- It is in no list of plans.sql: it reads views, whose plans need no settings but jit; its numbers are the shortest exact ones.
CREATE OR REPLACE FUNCTION tasker.metrics_prometheus(with_workers boolean DEFAULT false, with_states boolean DEFAULT false)
RETURNS text AS 'MODULE_PATHNAME', 'metrics_prometheus' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET extra_float_digits = 1;
COMMENT ON FUNCTION tasker.metrics_prometheus(boolean, boolean) IS 'tasker.metrics as text for Prometheus (exposition format 0.0.4), for an exporter that runs one query. 22004 for NULL. Rule: docs/metrics.md#prometheus.
with_workers: adds tasker_worker_steps_total of each live worker; as each start of a worker has another worker_id, series come and go.
with_states: adds tasker_tasks and tasker_steps by state, which reads every stored task and step: ask seldom where there are millions.';
GRANT EXECUTE ON FUNCTION tasker.metrics_prometheus(boolean, boolean) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.export_metrics(format text DEFAULT 'prometheus', options jsonb DEFAULT '{}')
RETURNS text AS 'MODULE_PATHNAME', 'export_metrics' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET extra_float_digits = 1;
COMMENT ON FUNCTION tasker.export_metrics(text, jsonb) IS 'tasker.metrics as a text for another tool. 22004 for NULL; 22023 for an unknown format, an unknown option, and a value that an option does not take. In a transaction that may write, it also tells of the export, at most once a minute and format (docs/events.md#export-of-telemetry). Rule: docs/metrics.md#other-formats.
format: prometheus (as metrics_prometheus), json (an object with metrics and metadata), or csv (a line per series).
options: An object. Of json: field_mapping, an object from fields (name, type, value, labels, help) to other names. Of csv: columns, an array of some of timestamp, name, type, value, labels, help; separator, one character; row_separator, \n, \r\n or one character; flatten_labels, a column label_... for each label; include_headers, true unless given.';
GRANT EXECUTE ON FUNCTION tasker.export_metrics(text, jsonb) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.reset_metrics() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    DELETE FROM tasker_engine.metric_counts;
    PERFORM tasker_engine.reset_shared_counts();
END
$$;
COMMENT ON FUNCTION tasker.reset_metrics() IS 'Sets every counter and histogram of this database to zero, those of finalization claims and of workers included; what maintenance_duties counts stays. In shared memory at once, whatever becomes of the transaction.';
GRANT EXECUTE ON FUNCTION tasker.reset_metrics() TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker_engine.tell_counts_synced(source text, amount bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF amount > 0 THEN
        PERFORM tasker_engine.publish_facts('tasker.telemetry.cache_synced', ARRAY[source], ARRAY[jsonb_build_object(
            'source', source, 'synced_count', amount, 'timestamp', tasker_engine.event_time(clock_timestamp()))]);
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.tell_counts_synced(text, bigint) IS 'Writes the fact that the duty metrics did something, if it did.
source: where the counts are, as in metrics_source.
amount: how many things it took up or gave back.';

-- Rows of the last minutes stay for the alerts. Counts of workers that are no longer known go.
CREATE OR REPLACE FUNCTION tasker_engine.duty_metrics() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_enough CONSTANT timestamptz := clock_timestamp() - '5 minutes'::interval;
    amount bigint;
BEGIN
    SELECT count(*) INTO amount
    FROM (SELECT FROM tasker_engine.metric_counts m WHERE NOT m.folded AND m.at < old_enough LIMIT 100) old;
    IF amount < 100 THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        DELETE FROM tasker_engine.metric_counts m
        WHERE m.ctid = ANY (ARRAY(
            SELECT o.ctid FROM tasker_engine.metric_counts o
            WHERE o.at < old_enough FOR UPDATE SKIP LOCKED))
        RETURNING m.at, m.worker_no, m.folded, m.cells, m.amounts
    ), summed AS (
        SELECT g.worker_no, u.cell, sum(u.amount)::bigint AS amount
        FROM gone g
        CROSS JOIN LATERAL ROWS FROM (unnest(g.cells), unnest(g.amounts)) AS u (cell, amount)
        WHERE g.worker_no = 0
           OR EXISTS (SELECT FROM tasker_engine.workers w WHERE w.worker_no = g.worker_no)
        GROUP BY g.worker_no, u.cell
    ), kept AS (
        INSERT INTO tasker_engine.metric_counts (at, worker_no, folded, cells, amounts)
        SELECT (SELECT min(g.at) FROM gone g), s.worker_no, true,
               array_agg(s.cell ORDER BY s.cell), array_agg(s.amount ORDER BY s.cell)
        FROM summed s
        GROUP BY s.worker_no
    )
    SELECT count(*) INTO amount FROM gone g WHERE NOT g.folded;
    PERFORM tasker_engine.tell_counts_synced('table', amount);
    RETURN amount;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_metrics() IS 'Folds the rows of counts that are older than 5 minutes into one per worker, once there are a hundred; returns the number of rows removed.';
