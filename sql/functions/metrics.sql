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

CREATE OR REPLACE FUNCTION tasker_engine.labelled_metric_cells()
RETURNS TABLE (cell integer, family text, kind text, scope text, part text, upper_bound double precision, unit text, help text)
AS 'MODULE_PATHNAME', 'labelled_metric_cells' LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 75
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.labelled_metric_cells() IS 'Every number that is counted by labels.
cell: its place.
family: name of its metric.
kind: counter or histogram.
scope: the labels: template (namespace, template, version), step (the same with step), class (the same with step and error_class).
part: total of a counter, bucket or sum (microseconds) of a histogram.
upper_bound: of a bucket, seconds; the last is infinite.
unit: seconds, or empty for things.
help: one sentence.';
GRANT EXECUTE ON FUNCTION tasker_engine.labelled_metric_cells() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.shared_series()
RETURNS TABLE (named_task_id integer, step_no smallint, error_class text, cell integer, amount bigint)
AS 'MODULE_PATHNAME', 'shared_series' LANGUAGE c VOLATILE ROWS 1000
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_series() IS 'What shared memory holds by labels for this database, without zeros.
named_task_id: the template; 0: all labels are other.
step_no: the step; 0: it is about tasks.
error_class: the class, if it is about failures.
cell: as in labelled_metric_cells().
amount: the count.';
GRANT EXECUTE ON FUNCTION tasker_engine.shared_series() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.shared_series_used() RETURNS integer
AS 'MODULE_PATHNAME', 'shared_series_used' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_series_used() IS 'How many series shared memory holds, for all databases of the server; at most tasker.max_metric_series.';
GRANT EXECUTE ON FUNCTION tasker_engine.shared_series_used() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.release_shared_series() RETURNS integer
AS 'MODULE_PATHNAME', 'release_shared_series' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.release_shared_series() IS 'In shared memory, gives back the places of series that nothing was counted in for tasker.metrics_retention_hours, and of databases that are gone. Returns how many series had to go.';

CREATE OR REPLACE FUNCTION tasker_engine.series_limits()
RETURNS TABLE (most_series integer, most_classes integer, retention_seconds double precision)
AS 'MODULE_PATHNAME', 'series_limits' LANGUAGE c STABLE ROWS 1
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.series_limits() IS 'The settings of metrics with labels.
most_series: tasker.max_metric_series.
most_classes: tasker.max_error_classes.
retention_seconds: tasker.metrics_retention_hours in seconds; NULL: forever.';

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
    DELETE FROM tasker_engine.series_counts;
    PERFORM tasker_engine.reset_shared_counts();
END
$$;
COMMENT ON FUNCTION tasker.reset_metrics() IS 'Sets every counter and histogram of this database to zero, those of finalization claims and of workers included; what maintenance_duties counts stays. In shared memory at once, whatever becomes of the transaction.';
GRANT EXECUTE ON FUNCTION tasker.reset_metrics() TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker_engine.tell_counts_synced(folded bigint, released bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source CONSTANT text := CASE WHEN released > 0 THEN 'shared memory' ELSE 'table' END;
BEGIN
    IF folded + released > 0 THEN
        PERFORM tasker_engine.publish_facts('tasker.telemetry.cache_synced', ARRAY[source], ARRAY[jsonb_build_object(
            'source', source, 'synced_count', folded + released, 'timestamp', tasker_engine.event_time(clock_timestamp()))]);
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.tell_counts_synced(bigint, bigint) IS 'Writes the fact that the duty metrics did something, if it did.
folded: rows of the table that it folded.
released: places of series in shared memory that it gave back.';

-- Of each class there is a row with cell -1: how often it came, whether or not it has a series. So one that comes often enough gets the
-- place of a rarer one; an eighth more often, or two classes would take turns.
CREATE OR REPLACE FUNCTION tasker_engine.fold_series() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most integer;
    classes integer;
    untouched timestamptz;
    rows_before bigint;
    lost bigint;
BEGIN
    SELECT l.most_series, l.most_classes, clock_timestamp() - make_interval(secs => l.retention_seconds)
    INTO most, classes, untouched
    FROM tasker_engine.series_limits() l;
    SELECT count(*) INTO rows_before
    FROM (SELECT FROM tasker_engine.series_counts s WHERE NOT s.folded LIMIT 100) fresh;
    IF rows_before < 100
       AND NOT EXISTS (SELECT FROM tasker_engine.series_counts s WHERE s.folded AND s.at < untouched)
       AND (SELECT count(DISTINCT (u.named_task_id, u.step_no, u.error_class))
            FROM tasker_engine.series_counts s
            CROSS JOIN LATERAL ROWS FROM (
                unnest(s.named_task_ids), unnest(s.step_nos), unnest(s.error_classes), unnest(s.cells))
                AS u (named_task_id, step_no, error_class, cell)
            WHERE u.named_task_id <> 0 AND u.cell >= 0) <= most THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        DELETE FROM tasker_engine.series_counts s
        WHERE s.ctid = ANY (ARRAY(SELECT o.ctid FROM tasker_engine.series_counts o FOR UPDATE SKIP LOCKED))
        RETURNING s.at, s.folded, s.named_task_ids, s.step_nos, s.error_classes, s.cells, s.amounts
    ), counts AS (
        SELECT u.named_task_id, u.step_no, u.error_class, u.cell, sum(u.amount)::bigint AS amount, max(g.at) AS at,
               COALESCE(sum(u.amount) FILTER (WHERE NOT g.folded), 0)::bigint AS fresh, bool_or(g.folded) AS placed
        FROM gone g
        CROSS JOIN LATERAL ROWS FROM (
            unnest(g.named_task_ids), unnest(g.step_nos), unnest(g.error_classes), unnest(g.cells), unnest(g.amounts))
            AS u (named_task_id, step_no, error_class, cell, amount)
        GROUP BY u.named_task_id, u.step_no, u.error_class, u.cell
    ), frequencies AS (
        SELECT c.named_task_id, c.step_no, c.error_class, max(c.at) AS at,
               COALESCE(bool_or(c.placed) FILTER (WHERE c.cell >= 0), false) AS placed,
               COALESCE(sum(c.amount) FILTER (WHERE c.cell = -1), 0) + COALESCE(sum(c.fresh) FILTER (WHERE c.cell >= 0), 0) AS frequency
        FROM counts c
        WHERE c.error_class <> 'other' AND c.named_task_id <> 0
        GROUP BY c.named_task_id, c.step_no, c.error_class
    ), ranked AS (
        SELECT f.named_task_id, f.step_no, f.error_class, f.at, f.frequency,
               row_number() OVER (
                   PARTITION BY f.named_task_id, f.step_no
                   ORDER BY f.frequency * CASE WHEN f.placed THEN 1.125 ELSE 1 END DESC, f.placed DESC, f.error_class) AS rank
        FROM frequencies f
    ), with_classes AS (
        SELECT c.named_task_id, c.step_no, CASE WHEN r.rank > classes THEN 'other' ELSE c.error_class END AS error_class,
               c.cell, c.amount, c.at, c.fresh, c.placed
        FROM counts c
        LEFT JOIN ranked r
            ON r.named_task_id = c.named_task_id AND r.step_no = c.step_no AND r.error_class = c.error_class
        WHERE c.cell >= 0
    ), series AS (
        SELECT c.named_task_id, c.step_no, c.error_class, max(c.at) < untouched AS is_old,
               row_number() OVER (
                   ORDER BY c.named_task_id <> 0, max(c.at) < untouched, bool_or(c.placed) DESC, sum(c.amount) DESC)
               - count(*) FILTER (WHERE c.named_task_id = 0) OVER () AS place
        FROM with_classes c
        GROUP BY c.named_task_id, c.step_no, c.error_class
    ), kept AS (
        SELECT s.named_task_id, s.step_no, s.error_class,
               s.named_task_id <> 0 AND NOT COALESCE(s.is_old, false) AND s.place <= most AS has_place
        FROM series s
    ), final AS (
        SELECT CASE WHEN k.has_place THEN c.named_task_id ELSE 0 END AS named_task_id,
               CASE WHEN k.has_place THEN c.step_no ELSE LEAST(c.step_no, 1::smallint) END AS step_no,
               CASE WHEN k.has_place OR c.error_class IS NULL THEN c.error_class ELSE 'other' END AS error_class,
               c.cell, sum(c.amount)::bigint AS amount, max(c.at) AS at,
               COALESCE(sum(c.fresh) FILTER (WHERE NOT k.has_place AND c.named_task_id <> 0), 0) AS lost
        FROM with_classes c
        JOIN kept k
            ON k.named_task_id = c.named_task_id AND k.step_no = c.step_no AND k.error_class IS NOT DISTINCT FROM c.error_class
        GROUP BY 1, 2, 3, 4
    ), written AS (
        INSERT INTO tasker_engine.series_counts (at, folded, named_task_ids, step_nos, error_classes, cells, amounts)
        SELECT max(a.at), true, array_agg(a.named_task_id ORDER BY a.cell), array_agg(a.step_no ORDER BY a.cell),
               array_agg(a.error_class ORDER BY a.cell), array_agg(a.cell ORDER BY a.cell), array_agg(a.amount ORDER BY a.cell)
        FROM (
            SELECT f.named_task_id, f.step_no, f.error_class, f.cell, f.amount, f.at FROM final f
            UNION ALL
            -- Sixteen candidates of each step that has series.
            SELECT r.named_task_id, r.step_no, r.error_class, -1::smallint, r.frequency::bigint, r.at
            FROM ranked r
            WHERE r.rank <= classes + 16 AND (untouched IS NULL OR r.at >= untouched)
              AND EXISTS (SELECT FROM kept k
                          WHERE k.named_task_id = r.named_task_id AND k.step_no = r.step_no AND k.error_class IS NOT NULL
                            AND k.has_place)
        ) a
        GROUP BY a.named_task_id, a.step_no, a.error_class
    )
    SELECT (SELECT count(*) FROM gone g WHERE NOT g.folded),
           (SELECT sum(f.lost) FROM final f JOIN tasker_engine.labelled_metric_cells() m ON m.cell = f.cell AND m.part = 'total')
    INTO rows_before, lost;
    IF lost > 0 THEN
        INSERT INTO tasker_engine.metric_counts (at, worker_no, folded, cells, amounts)
        SELECT clock_timestamp(), 0, false, ARRAY[m.cell::smallint], ARRAY[lost]
        FROM tasker_engine.metric_cells() m WHERE m.family = 'tasker_metric_series_dropped_total';
    END IF;
    RETURN rows_before;
END
$$;
COMMENT ON FUNCTION tasker_engine.fold_series() IS 'Makes one row per series of the rows of counts by labels, once there are a hundred, too many series, or old ones. Counts of what finds no place, and of what nothing was counted in for tasker.metrics_retention_hours, go to the labels other. Returns the number of rows removed.';

-- Rows of the last minutes stay for the alerts. Counts of workers that are no longer known go.
CREATE OR REPLACE FUNCTION tasker_engine.duty_metrics() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_enough CONSTANT timestamptz := clock_timestamp() - '5 minutes'::interval;
    released CONSTANT bigint := tasker_engine.release_shared_series();
    folded CONSTANT bigint := tasker_engine.fold_series();
    amount bigint;
BEGIN
    SELECT count(*) INTO amount
    FROM (SELECT FROM tasker_engine.metric_counts m WHERE NOT m.folded AND m.at < old_enough LIMIT 100) old;
    IF amount < 100 THEN
        PERFORM tasker_engine.tell_counts_synced(folded, released);
        RETURN folded + released;
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
    PERFORM tasker_engine.tell_counts_synced(amount + folded, released);
    RETURN amount + folded + released;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_metrics() IS 'Folds the rows of counts that are older than 5 minutes into one per worker, once there are a hundred, those by labels likewise into one per series, and gives back the places of series without counts; returns the number of rows and series removed.';
