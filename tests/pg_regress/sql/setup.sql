-- Common to the other files: templates, each in a namespace of its own, and short ways to play a worker.
-- The output of every file is deterministic: names instead of uuids, no times.
\set ON_ERROR_STOP on
CREATE SCHEMA play;

-- A linear workflow and a diamond in a namespace.
CREATE FUNCTION play.templates(namespace text) RETURNS void LANGUAGE sql AS $$
    SELECT tasker.register_template(format('{"name": "line", "namespace_name": %1$s, "steps": [
        {"name": "first", "handler": "play.first", "default_retry_limit": 2},
        {"name": "second", "handler": "play.second", "depends_on_steps": ["first"]},
        {"name": "third", "handler": "play.third", "depends_on_steps": ["second"]}]}', to_json(namespace)));
    SELECT tasker.register_template(format('{"name": "diamond", "namespace_name": %1$s, "version": "1.2.0", "steps": [
        {"name": "top", "handler": "play.top"},
        {"name": "left", "handler": "play.left", "depends_on_steps": ["top"], "default_retry_limit": 1},
        {"name": "right", "handler": "play.right", "depends_on_steps": ["top"]},
        {"name": "bottom", "handler": "play.bottom", "depends_on_steps": ["left", "right"]}]}', to_json(namespace)));
$$;

CREATE FUNCTION play.step(task uuid, step text) RETURNS uuid LANGUAGE sql AS $$
    SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = task AND name = step
$$;

-- Works on a namespace until nothing is ready. A step named in `failing` fails permanently, one in `trying` is tried again
-- at once; the others are done.
CREATE FUNCTION play.work(namespace text, failing text[] DEFAULT '{}', trying text[] DEFAULT '{}')
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    LOOP
        SELECT * INTO c FROM tasker.claim_steps('player', ARRAY[namespace]);
        EXIT WHEN NOT FOUND;
        RETURN NEXT format('%s (%s): %s', c.step_name, c.attempt, CASE
            WHEN c.step_name = ANY (failing) THEN
                tasker.fail_step(c.step_uuid, c.claim_number, 'it broke', 'Broken', retryable => false)
            WHEN c.step_name = ANY (trying) THEN
                tasker.fail_step(c.step_uuid, c.claim_number, 'not yet', 'Busy', retry_after => '0 seconds')
            ELSE tasker.complete_step(c.step_uuid, c.claim_number, jsonb_build_object('by', c.step_name)) END);
    END LOOP;
END
$$;

-- Uuids as <task> or <step NN>, NN its number in hexadecimal digits.
CREATE FUNCTION play.short(content text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(content, '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{8}0000', '<task>', 'g'),
        '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{8}00([0-9a-f]{2})', '<step \1>', 'g')
$$;

-- The refusal of a statement, in one line: uuids are masked.
CREATE FUNCTION play.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN play.short(concat_ws(E'\n', SQLSTATE || ': ' || said, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, '')));
END
$$;
SELECT count(*) > 0 AS installed FROM pg_extension WHERE extname = 'tasker_ext';
