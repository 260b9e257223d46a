-- claim_task_for_finalization, extend_finalization_claim, release_finalization_claim, finalize_task.
SELECT play.templates('finalization');
\set unknown '00000000-0000-7000-8000-000000000000'
\set claim 'claimed, already_claimed_by, task_state, message, finalization_attempt_uuid IS NOT NULL AS recorded'
SELECT tasker.create_task('diamond', namespace => 'finalization') AS task \gset
SELECT :claim FROM tasker.claim_task_for_finalization(:'unknown', 'p1');
SELECT :claim FROM tasker.claim_task_for_finalization(:'task', 'p1');
SELECT * FROM play.work('finalization', failing => '{left}');
SELECT :claim FROM tasker.claim_task_for_finalization(:'task', 'p1');
SELECT * FROM tasker.finalize_task(:'task');
SELECT tasker.retry_task(:'task');
SELECT :claim FROM tasker.claim_task_for_finalization(:'task', 'p1');
SELECT :claim FROM tasker.claim_task_for_finalization(:'task', 'p1', 600);
SELECT :claim FROM tasker.claim_task_for_finalization(:'task', 'p2');
SELECT tasker.extend_finalization_claim(:'task', 'p1', 60) AS holder, tasker.extend_finalization_claim(:'task', 'p2') AS other;
SELECT tasker.release_finalization_claim(:'task', 'p2') AS other, tasker.release_finalization_claim(:'task', 'p1') AS holder, tasker.release_finalization_claim(:'task', 'p1') AS again;
SELECT * FROM tasker.finalize_task(:'task');
SELECT * FROM play.work('finalization');
SELECT * FROM tasker.finalize_task(:'task');
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT * FROM tasker.claim_task_for_finalization(NULL, 'p'); \echo :SQLSTATE
SELECT * FROM tasker.claim_task_for_finalization(:'task', ' '); \echo :SQLSTATE
SELECT * FROM tasker.claim_task_for_finalization(:'task', 'p', 0); \echo :SQLSTATE
SELECT tasker.extend_finalization_claim(:'unknown', 'p'); \echo :SQLSTATE
SELECT tasker.release_finalization_claim(:'unknown', 'p'); \echo :SQLSTATE
SELECT * FROM tasker.finalize_task(:'unknown'); \echo :SQLSTATE
SELECT * FROM tasker.finalize_task(NULL); \echo :SQLSTATE
