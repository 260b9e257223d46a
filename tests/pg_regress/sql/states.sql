-- Both state machines by hand: every pair of states, allowed or refused. transition_task, transition_step and the try_ functions.
SET tasker.jitter_enabled = off;
SELECT play.templates('states');
SELECT tasker.create_task('line', namespace => 'states') AS task \gset

SELECT tasker.try_transition_step(play.step(:'task', 'second'), 'in_progress') AS parents_not_done,
       tasker.try_transition_step(play.step(:'task', 'first'), 'complete') AS not_declared,
       tasker.try_transition_step(play.step(:'task', 'first'), 'pending') AS same_state,
       tasker.try_transition_task(:'task', 'complete') AS task_not_declared;
SELECT tasker.transition_step(play.step(:'task', 'first'), 'in_progress', '{"why": "by hand"}');
SELECT state, attempts, worker_id FROM tasker.workflow_steps WHERE step_uuid = play.step(:'task', 'first');
SELECT tasker.transition_step(play.step(:'task', 'first'), 'pending') AS given_back, attempts FROM tasker.workflow_steps WHERE step_uuid = play.step(:'task', 'first');
SELECT tasker.transition_step(play.step(:'task', 'first'), 'in_progress');
SELECT tasker.transition_step(play.step(:'task', 'first'), 'error', '{"error_message": "no luck", "error_class": "Bad"}');
SELECT results FROM tasker.workflow_steps WHERE step_uuid = play.step(:'task', 'first');
SELECT tasker.transition_step(play.step(:'task', 'first'), 'resolved_manually');
SELECT tasker.try_transition_step(play.step(:'task', 'second'), 'in_progress');
SELECT tasker.transition_step(play.step(:'task', 'second'), 'complete');
SELECT tasker.transition_step(play.step(:'task', 'third'), 'cancelled');
SELECT state FROM tasker.tasks WHERE task_uuid = :'task';
SELECT s.name, t.from_state, t.to_state, t.attempt, t.worker_id, t.metadata FROM tasker.workflow_step_transitions t
JOIN tasker.workflow_steps s USING (step_uuid) WHERE t.task_uuid = :'task' ORDER BY t.id;

-- A task by hand: nothing starts while it is in error.
SELECT tasker.create_task('line', namespace => 'states') AS task \gset
SELECT tasker.transition_task(:'task', 'in_progress');
SELECT tasker.transition_task(:'task', 'error', '{"why": "hold it"}');
SELECT * FROM play.work('states');
SELECT tasker.transition_task(:'task', 'pending');
SELECT * FROM play.work('states');
SELECT tasker.transition_task(:'task', 'cancelled');
SELECT from_state, to_state, metadata FROM tasker.task_transitions WHERE task_uuid = :'task' ORDER BY id;

-- Which states lead where. A guard asks for parents or steps that are done.
CREATE FUNCTION play.pairs(kind text) RETURNS TABLE (from_state text, allowed text[]) LANGUAGE plpgsql AS $$
DECLARE
    task uuid; entity uuid; target text; path text[];
BEGIN
    FOREACH from_state IN ARRAY ARRAY['pending', 'in_progress', 'error', 'complete', 'cancelled', 'resolved_manually'] LOOP
        allowed := '{}';
        FOREACH target IN ARRAY ARRAY['pending', 'in_progress', 'error', 'complete', 'cancelled', 'resolved_manually'] LOOP
            task := tasker.create_task('line', namespace => 'states');
            entity := CASE kind WHEN 'task' THEN task ELSE play.step(task, 'first') END;
            IF kind = 'task' AND from_state = 'complete' THEN
                PERFORM tasker.resolve_step_manually(s.step_uuid) FROM tasker.workflow_steps s WHERE s.task_uuid = task;
            ELSE
                path := CASE from_state WHEN 'complete' THEN '{in_progress,complete}' WHEN 'pending' THEN '{}'
                    WHEN 'resolved_manually' THEN CASE kind WHEN 'task' THEN '{error,resolved_manually}' ELSE '{resolved_manually}' END::text[]
                    ELSE ARRAY[from_state] END;
                FOR i IN 1 .. cardinality(path) LOOP
                    EXECUTE format('SELECT tasker.transition_%s($1, $2)', kind) USING entity, path[i];
                END LOOP;
            END IF;
            BEGIN
                EXECUTE format('SELECT tasker.transition_%s($1, $2)', kind) USING entity, target;
                allowed := allowed || target;
            EXCEPTION
                WHEN triggered_action_exception THEN allowed := allowed || (target || ' (guarded)');
                WHEN object_not_in_prerequisite_state THEN NULL;
            END;
            IF (SELECT state FROM tasker.tasks t WHERE t.task_uuid = task) NOT IN ('error', 'cancelled') THEN
                PERFORM tasker.cancel_task(task, cancel_completed => true);
            END IF;
        END LOOP;
        RETURN NEXT;
    END LOOP;
END
$$;
SELECT * FROM play.pairs('task');
SELECT * FROM play.pairs('step');

SELECT tasker.create_task('line', namespace => 'states') AS task \gset
SELECT play.refusal(format('SELECT tasker.transition_task(%L, ''complete'')', :'task'));
SELECT play.refusal(format('SELECT tasker.transition_step(%L, ''in_progress'')', play.step(:'task', 'second')));
SELECT play.refusal(format('SELECT tasker.transition_step(%L, ''complete'')', play.step(:'task', 'second')));
SELECT tasker.transition_task(:'task', 'in_progress');
SELECT play.refusal(format('SELECT tasker.transition_task(%L, ''complete'')', :'task'));
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.transition_task(:'task', 'done'); \echo :SQLSTATE
SELECT tasker.try_transition_step(:'task', NULL); \echo :SQLSTATE
SELECT tasker.transition_step(play.step(:'task', 'first'), 'in_progress', '[]'); \echo :SQLSTATE
