-- What everything means: shape, units, errors, and where the rule stands. docs/reference makes docs/sql-reference.md of it.
--
-- The COMMENT of a function begins with prose; a line `name: meaning` behind it explains a parameter or a result column. A
-- name without such a line means what it means in the relation whose rows the function returns, or what another function of
-- its section says of it, or what the columns of that name mean: a meaning is written once.
-- New functions and relations bring their COMMENTs in their own files.

-- ---- relations ------------------------------------------------------------------------------------------------------

COMMENT ON TABLE tasker.task_namespaces IS 'Namespaces of templates and of the queues that workers claim from.';
COMMENT ON TABLE tasker.dependent_systems IS 'Outside systems that steps work with.';
COMMENT ON TABLE tasker.named_tasks IS
'Templates: one row per namespace, name and version. Immutable once a task uses it.';
COMMENT ON TABLE tasker.named_steps IS 'Names of steps, shared by all templates that use them.';
COMMENT ON TABLE tasker.named_tasks_named_steps IS 'The steps of each template, in topological order.';
COMMENT ON TABLE tasker.annotation_types IS 'Kinds of annotations. Operators write it.';
COMMENT ON TABLE tasker.task_annotations IS 'Notes on tasks, as JSON. Operators write it; the task is not checked.';
COMMENT ON TABLE tasker.dependent_system_object_maps IS
'Which object of one outside system is which of another. Operators write it.';
COMMENT ON VIEW tasker.tasks IS 'Every task with its request and its state.';
COMMENT ON VIEW tasker.task_transitions IS
'What became of each task, one row per change of state, creation included. id orders them.';
COMMENT ON VIEW tasker.workflow_steps IS 'Every step of every task with its state, attempts and results.';
COMMENT ON VIEW tasker.workflow_step_edges IS 'Which step of a task must be done before which other.';
COMMENT ON VIEW tasker.workflow_step_transitions IS
'What became of each step, one row per change of state; a step that never changed has none. id orders them.';
COMMENT ON VIEW tasker.step_dag_relationships IS 'Parents, children and depth of each step.';
COMMENT ON VIEW tasker.step_readiness_statuses IS
'Whether each step may run, and if not, why. The rows of get_step_readiness_status.';
COMMENT ON VIEW tasker.task_execution_contexts IS
'What each task stands at, and what should be done. The rows of get_task_execution_context.';
COMMENT ON VIEW tasker.task_diagrams IS 'Each task as nodes, edges and a Mermaid picture.';
COMMENT ON VIEW tasker.task_overview IS
'For the operator: one row per task with progress, health, oldest error and age.';
COMMENT ON VIEW tasker.running_steps IS 'For the operator: what workers hold now.';
COMMENT ON VIEW tasker.failed_steps IS 'For the operator: every step in error, with the reason and the next retry.';
COMMENT ON VIEW tasker.stuck_tasks IS
'For the operator: tasks that do not get on by themselves, each with its gravest reason and what to do.';
COMMENT ON VIEW tasker.workers IS 'For the operator: every worker that ever called.';
COMMENT ON TABLE tasker_engine.queues IS 'The queues of each namespace.';
COMMENT ON TABLE tasker_engine.tasks IS 'Storage of tasks; tasker.tasks shows it.';
COMMENT ON TABLE tasker_engine.steps IS
'Storage of steps; tasker.workflow_steps shows it. No column that changes is indexed, so that updates stay on their page.';
COMMENT ON TABLE tasker_engine.queue_entries IS
'The ready queue: narrow entries that claims take in index order. A hint; the row of the step decides.';
COMMENT ON TABLE tasker_engine.transitions IS
'The log of every change of state, insert-only, and the stream of events.';
COMMENT ON TABLE tasker_engine.claims IS 'One row per claim call: the lease of its steps.';
COMMENT ON TABLE tasker_engine.claimants IS
'The roles that have claimed steps, and the numbers that stand for them in the ids of claims. A role may have two.';
COMMENT ON COLUMN tasker_engine.claimants.claimant_no IS 'The number: the lowest 16 bits of claim_id. 0 is the engine itself and has no row.';
COMMENT ON COLUMN tasker_engine.claimants.role_oid IS
'The role, which decides; found from the name when the row is written. NULL: it is not here, and only operators and superusers report what it claimed.';
COMMENT ON COLUMN tasker_engine.claimants.role_name IS
'Its name, by which a restore finds it; follows when the role is renamed. NULL: the role was dropped.';
COMMENT ON TABLE tasker_engine.workers IS 'Worker processes and the numbers that stand for them.';
COMMENT ON COLUMN tasker_engine.workers.claimant_no IS
'The role that claims under this id; 0 for the engine itself, NULL for a worker that has only announced handlers.';
COMMENT ON TABLE tasker_engine.task_identities IS
'Which request each task with an identity answers; the primary key decides between racers.';
COMMENT ON TABLE tasker_engine.finalization_claims IS 'Who of several external processors ends a task, and until when.';
COMMENT ON TABLE tasker_engine.finalization_attempts IS 'Every call of claim_task_for_finalization with its answer.';
COMMENT ON VIEW tasker_engine.step_runs IS 'When the runs of each step ended, from the log.';

-- ---- functions ------------------------------------------------------------------------------------------------------

COMMENT ON FUNCTION tasker.register_template IS
'Stores a template and returns its named_task_id. The namespace comes into being with its first template. A version that a task uses is immutable. 42601 if it cannot be read, with line and column; 42P17 with every problem in the DETAIL if it breaks the rules; 23505 if the version exists and replace is not given; 55000 if it exists with another content and a task uses it. Rule: docs/concepts.md#templates.
template: YAML 1.2, or JSON if it begins with a brace.
replace: Whether a version that exists may be given: the same content changes nothing and returns its id, another one replaces it if no task uses it yet.';

COMMENT ON FUNCTION tasker.validate_template IS
'Every problem of a template at once, a row each; no row for a good one. Stores nothing, and a text that cannot be read is a row too. Rule: docs/concepts.md#templates.
template: YAML 1.2, or JSON if it begins with a brace.
severity: error or warning; only errors keep register_template from taking it.
path: Where in the text, such as steps[1].retries; empty for the whole.
message: What is wrong, in words.';

COMMENT ON FUNCTION tasker.export_template IS
'A template as JSON that register_template reads again, with all its environments. P0002 if there is none. Rule: docs/concepts.md#versions.
name: Name of the template.
namespace: Its namespace.
version: x.y.z; NULL is the highest by semantic version.';

COMMENT ON FUNCTION tasker.create_task IS
'Creates a task with all its steps and returns its uuid. P0002 for an unknown template, 23514 for a context that is no object or breaks the input_schema, 22023 for a value out of range, 23505 for an equal request where the template''s identity_strategy is hash (the existing uuid is in the DETAIL), 22023 for bypass_steps that name anything but skippable steps of the template. Any isolation level. Rules: docs/concepts.md#tasks-and-steps, docs/concepts.md#idempotency.
name: Name of the template.
context: What the task works on, a JSON object that satisfies the template''s input_schema.
namespace: Namespace of the template.
version: x.y.z; NULL is the highest by semantic version.
initiator: Who asks for the task; up to 128 characters, for people.
source_system: Where the request comes from; up to 128 characters, for people.
reason: Why; up to 128 characters, for people.
tags: A JSON array of the caller''s words.
bypass_steps: A JSON array of names of skippable steps that never run: resolved_manually from the beginning, complete for their children.
priority: 1 low, 2 normal, 3 high, 4 urgent; larger first.
run_at: No step starts before this time; NULL: at once.
idempotency_key: The caller''s own name for the request: met again, it returns the existing task and creates nothing.
correlation_id: The caller''s own id, handed to the workers as it is.
traceparent: W3C trace context of the caller, handed to the workers as it is.';

COMMENT ON FUNCTION tasker.create_tasks IS
'Creates one task per context, all or none, in one set of statements, and returns their uuids in the same order. Everything else as create_task; each value holds for all of them.
contexts: One JSON object per task. No element may be NULL.
idempotency_keys: NULL, or one key per context, NULL where it has none; 22023 for another length.';

COMMENT ON FUNCTION tasker.claim_steps IS
'Hands ready steps to a worker for the time of a lease: larger priority first, the oldest first within one, several namespaces in rotation. Fewer rows than asked for, or none, when no more are ready. Takes over the steps of workers whose lease has ended. No row, and a NOTICE once per session, while the state of the system forbids it. Never waits for a lock. 22023 for an empty worker_id or a number out of range, 42501 for a worker_id of another role. The steps belong to the current user. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report, docs/concepts.md#priorities, docs/concepts.md#namespaces-and-queues, docs/operational-states.md.
worker_id: Name of the worker process, unique per start, 1 to 255 characters. It belongs to the first role that claims under it.
namespaces: Where to look; a paused or unknown one has nothing.
max_steps: At most so many steps, 1 to 10,000.
lease: How long the worker has to report or to call heartbeat; longer than zero, at most one day.
dependency_results: Which results come with a step: none, parents or ancestors; an object from step name to results.
queues: Queues within the namespaces; NULL is the queue default.
attempt: Which attempt of the step this is, from 1.
namespace: Namespace of the template.
version: Version of the template, x.y.z.
step_name: Name of the step in the template.
claim_number: Number of this claim, which every report must carry; it never comes back.';

COMMENT ON FUNCTION tasker.complete_step IS
'Reports that a claimed step is done, releases the steps behind it and ends the task with its last step. Returns the state of the step: complete. The same report again changes nothing. 55006 for a stale report or one of a role that may not report the step, P0002 for an unknown step, 23514 for results that are no object or break the results_schema. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.
claim_number: The number that came with the claim.
results: What the step produced, a JSON object; the steps behind it can read it.';

COMMENT ON FUNCTION tasker.fail_step IS
'Reports that a run of a claimed step failed. Returns the state of the step: error. It runs again after its backoff if it is retryable and attempts are left; else the failure is permanent, and the task ends in error when nothing else of it can run. The same report again changes nothing. 55006 for a stale report or one of a role that may not report the step, P0002 for an unknown step, 23514 for results that are no object. Rules: docs/concepts.md#retry, docs/concepts.md#who-may-report.
claim_number: The number that came with the claim.
error_message: What happened, in words; kept in the results and in the log.
error_class: What kind of error; kept in the results and in the log.
retryable: False: no other attempt, whatever the template says.
retry_after: When to try again instead of the backoff; capped by tasker.max_backoff_seconds, 0 is at once.
backtrace: Where it happened, a line per element; kept in the results.
results: More to keep in the results, a JSON object.';

COMMENT ON FUNCTION tasker.report_steps IS
'Takes reports of many steps in one transaction. One row per element, in order; a bad element never spoils the others. Of the same step twice the first wins. 22023 for reports that are no array. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.
reports: A JSON array of {step_uuid, claim_number, status, results, error_message, error_class, retryable, retry_after_seconds, backtrace}; status is complete or error, what is left out has the default of complete_step or fail_step.
step_uuid: The step; NULL where it cannot be read.
outcome: The step''s new state, or duplicate (reported before), stale (another claim, or the claim of a role for which the caller may not report; nothing changed), unknown_step or invalid.';

COMMENT ON FUNCTION tasker.report_and_claim IS
'report_steps and claim_steps in one transaction: one round trip per loop of a worker. A claimed step is a row with outcome claimed; a refused report is a row with its outcome and step_uuid alone; an accepted report gives no row. Parameters and errors as in those two.
reports: A JSON array as report_steps takes it.
outcome: claimed; or why a report was refused: duplicate, stale, unknown_step or invalid; or draining, in one row with nothing else in it: the state of the system forbids to hand out anything.
step_uuid: The step; of a refused report NULL where it cannot be read.
attempt: Which attempt of the step this is, from 1.
version: Version of the template, x.y.z.
claim_number: Number of this claim, which every report must carry; it never comes back.
dependency_results: As a parameter none, parents or ancestors; as a result an object from step name to results.';

COMMENT ON FUNCTION tasker.heartbeat IS
'Extends every lease of the worker, and tells of each step that it holds, or thinks to hold, whether it still does. Call it more often than the lease is long. 22023 for a lease out of range, 42501 for a worker of another role. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.
lease: The leases end so long after this call; longer than zero, at most one day.
step_uuid: The step; NULL with status draining.
status: extended; cancelled: stop, the report will be stale; lost: another worker has it; draining: nothing is handed out for now, finish what you hold.';

COMMENT ON FUNCTION tasker.release_steps IS
'Gives back everything that the worker holds and returns how many steps that were. They are ready again at once, and no attempt is counted; reports under the old claim numbers are stale. 42501 for a worker of another role. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.';

COMMENT ON FUNCTION tasker.get_dependency_results IS
'The results of all ancestors of a step that are complete or resolved_manually: an object from step name to results. P0002 for an unknown step. Rule: docs/concepts.md#tasks-and-steps.';

COMMENT ON FUNCTION tasker.notify_channel IS
'The channel to LISTEN on for work in a namespace. A notification is sent only while a worker of the namespace waits, and says only that a claim is worth its while. Reads nothing: any name has a channel. Rule: docs/writing-a-worker.md.
namespace: Name of the namespace.';

COMMENT ON FUNCTION tasker.cancel_task IS
'Cancels a task with its pending and running steps, whose late reports are stale. Steps in error stay in error and do not run again; of an ended task the steps stay as they are. Returns the new state: cancelled. 55000 from error and from cancelled, P0002 for an unknown task. Rule: docs/concepts.md#cancel.
reason: Why, in words; kept in the metadata of the log.';

COMMENT ON FUNCTION tasker.retry_task IS
'Takes a task in error up again: its failed steps start over with attempts from 0, completed ones are kept. Returns the new state, pending. 55000 from another state, and where only cancelled steps block it; P0002 for an unknown task. Rule: docs/concepts.md#manual-resolution.
reason: Why, in words; kept in the metadata of the log.';

COMMENT ON FUNCTION tasker.resolve_task_manually IS
'Declares a task in error done; its steps stay as they are. Returns the new state: resolved_manually. 55000 from another state, P0002 for an unknown task. Rule: docs/concepts.md#manual-resolution.
resolved_by: Who did it; kept in the metadata of the log.
reason: Why, in words; kept in the metadata of the log.';

COMMENT ON FUNCTION tasker.resolve_step_manually IS
'Declares a pending or failed step done: its children may run, and a task in error goes back to pending, or on to complete. Returns the new state: resolved_manually. 55000 from another state and in a task that has ended, 23514 for results that are no object, P0002 for an unknown step. Rule: docs/concepts.md#manual-resolution.
results: What the children are to read, a JSON object; NULL keeps what is there.
resolved_by: Who did it; kept in the metadata of the log.
reason: Why, in words; kept in the metadata of the log.';

COMMENT ON FUNCTION tasker.retry_step IS
'Makes a failed step run again at once, without waiting for its backoff; a task in error goes back to pending. Returns the new state: pending. 55000 from another state and in a task that has ended, P0002 for an unknown step. Rule: docs/concepts.md#manual-resolution.
reset_attempts: Whether its attempts count from 0 again; false: they go on.';

COMMENT ON FUNCTION tasker.cancel_step IS
'Cancels a pending or running step; what needs it will never run, and the task ends in error when nothing else of it can. Returns the new state: cancelled. 55000 from another state and in a task that has ended, P0002 for an unknown step. Rule: docs/concepts.md#cancel.
reason: Why, in words; kept in the metadata of the log.';

COMMENT ON FUNCTION tasker.set_retry_limit IS
'Sets how often a step may run in total. Raised above its attempts, it makes an exhausted step run again at once; lowered, it makes a waiting retry a permanent failure. Returns the state that the step had. 22023 outside 0 to 32,767, 55000 for a failed step of a task that has ended, P0002 for an unknown step. Rule: docs/concepts.md#retry.
retry_limit: Attempts in total, the first included; 0 to 32,767.';

COMMENT ON FUNCTION tasker.pause_namespace IS
'No claim hands out steps of the namespace until resume_namespace; what runs goes on. Returns paused, also if it was so before. P0002 for an unknown namespace. Rule: docs/concepts.md#readiness.
name: Name of the namespace.';

COMMENT ON FUNCTION tasker.resume_namespace IS
'Ends pause_namespace. Returns active, also if it was so before. P0002 for an unknown namespace. Rule: docs/concepts.md#readiness.
name: Name of the namespace.';

COMMENT ON FUNCTION tasker.transition_task IS
'Moves a task to a state by hand, with everything that the engine does for the same pair. Returns the state that the task has afterwards. 55000 for a pair that is not declared, 09000 where a guard refuses (complete while steps are not), 22023 for an unknown state or metadata that is no object, P0002 for an unknown task. Rule: docs/concepts.md#states.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object.';

COMMENT ON FUNCTION tasker.transition_step IS
'Moves a step to a state by hand, with everything that claim and report do for the same pair; in_progress counts an attempt and takes a lease of 30 s for the worker manual. Returns the new state. 55000 for a pair that is not declared and in a task that has ended, 09000 where a guard refuses (in_progress while parents are not done), 22023 for an unknown state or metadata that is no object, P0002 for an unknown step. Rule: docs/concepts.md#states.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object.';

COMMENT ON FUNCTION tasker.try_transition_task IS
'transition_task that returns false, and writes nothing, where that raises 55000 or 09000; else true. Other errors stay errors.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object.';

COMMENT ON FUNCTION tasker.try_transition_step IS
'transition_step that returns false, and writes nothing, where that raises 55000 or 09000; else true. Other errors stay errors.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object.';

COMMENT ON FUNCTION tasker.get_step_readiness_status IS
'One row per step of a task: may it run, and if not, why; in step order. No row for an unknown task. Rule: docs/concepts.md#readiness.
step_uuids: The steps to answer for; NULL is all of them.';

COMMENT ON FUNCTION tasker.get_step_readiness_status_batch IS
'get_step_readiness_status of several tasks, ordered by task and step; each task once. 22004 for a NULL among them.
task_uuids: The tasks; unknown ones have no rows.';

COMMENT ON FUNCTION tasker.get_task_execution_context IS
'One row: what the task stands at, its steps counted by state, and what should be done. No row for an unknown task. Rule: docs/concepts.md#readiness.';

COMMENT ON FUNCTION tasker.get_task_execution_contexts_batch IS
'get_task_execution_context of several tasks, ordered by task_uuid; each task once. 22004 for a NULL among them.
task_uuids: The tasks; unknown ones have no row.';

COMMENT ON FUNCTION tasker.calculate_dependency_levels IS
'How deep each step of a task lies, ordered by level and step. No row for an unknown task. step_dag_relationships has the shortest path instead.
dependency_level: Length of the longest path from a root to the step; roots have 0.';

COMMENT ON FUNCTION tasker.calculate_backoff IS
'How long a step waits after a failed run. VOLATILE, because of jitter. 22023 for an unknown kind, a negative number, or a jitter that is no share. Rule: docs/concepts.md#retry.
attempt: Number of the run that failed, from 1; 0 and less wait not at all.
kind: none, linear, exponential or fibonacci; NULL: the list tasker.default_backoff_seconds, or exponential where base_ms is given.
base_ms: The base in milliseconds; NULL: the first entry of the list.
max_ms: The cap in milliseconds, for retry_after too; NULL: tasker.max_backoff_seconds.
retry_after: What a server asked for; it wins over the kind and is not jittered.
jitter: Largest share added or taken away, 0 to 1; NULL: as configured.';

COMMENT ON FUNCTION tasker.task_diagram IS
'A task as a picture with states, attempts and durations. 22023 for another format, P0002 for an unknown task.
format: mermaid, dot (Graphviz) or svg (self-contained).';

COMMENT ON FUNCTION tasker.template_diagram IS
'A template as a picture. 22023 for another format, P0002 for an unknown template.
name: Name of the template.
namespace: Its namespace.
version: x.y.z; NULL is the highest by semantic version.
format: mermaid, dot (Graphviz) or svg (self-contained).';

COMMENT ON FUNCTION tasker.claim_task_for_finalization IS
'Claims the right to end a task, for a time. Claiming again extends the own claim; one that has ended is taken over. Every call is recorded. 22023 for an empty processor_id or a timeout that is not positive. Rule: docs/concepts.md#finalization.
processor_id: Name of the caller, unique per processor; not empty.
timeout_seconds: The claim ends so many seconds from now; positive.
claimed: Whether the caller has the claim now.
already_claimed_by: Who has the claim now; NULL if nobody does.
task_state: The execution status of an open task, the state of an ended one, or not_found.
message: The answer in words.
finalization_attempt_uuid: Names the record of this call.';

COMMENT ON FUNCTION tasker.extend_finalization_claim IS
'Extends the caller''s live claim; true if it has one, else false. 22023 as in claim_task_for_finalization, P0002 for an unknown task.
processor_id: Name of the caller, unique per processor; not empty.
timeout_seconds: The claim ends so many seconds from now; positive.';

COMMENT ON FUNCTION tasker.release_finalization_claim IS
'Gives the caller''s claim up; true if it had one, else false. 22023 as in claim_task_for_finalization, P0002 for an unknown task.
processor_id: Name of the caller, unique per processor; not empty.';

COMMENT ON FUNCTION tasker.finalize_task IS
'Ends the task if nothing of it can run any more, as every last report does. Needs no claim. P0002 for an unknown task. Rule: docs/concepts.md#finalization.
action: completed, failed, pending (something can still run) or no_action (it had ended before).
completion_percentage: Completed steps of all steps, 0.00 to 100.00, afterwards.
total_steps: All steps of the task.
health_status: blocked, recovering or healthy, afterwards.
reason: The execution status afterwards, or Task already <state>.';

-- ---- columns that mean something of their own -----------------------------------------------------------------------

COMMENT ON COLUMN tasker_engine.queue_entries.available_at IS 'From when the entry may be taken; the order of the queue.';
COMMENT ON COLUMN tasker.workflow_steps.name IS 'Name of the step.';
COMMENT ON COLUMN tasker.failed_steps.name IS 'Name of the step.';
COMMENT ON COLUMN tasker.running_steps.name IS 'Name of the step.';
COMMENT ON COLUMN tasker.step_readiness_statuses.name IS 'Name of the step.';
COMMENT ON COLUMN tasker.tasks.name IS 'Name of the template.';
COMMENT ON COLUMN tasker.task_overview.name IS 'Name of the template.';
COMMENT ON COLUMN tasker.workflow_step_edges.name IS 'Always provides.';
COMMENT ON COLUMN tasker.named_tasks_named_steps.priority IS '1 low to 4 urgent; NULL: that of the task.';
COMMENT ON COLUMN tasker.stuck_tasks.reason IS 'failed, lease_expired, namespace_paused, no_worker or nothing_can_run.';
COMMENT ON COLUMN tasker.stuck_tasks.level IS 'How grave that is: expired (a lease is over), critical (failed, nothing_can_run), warning (no_worker), slow (namespace_paused).';
COMMENT ON COLUMN tasker_engine.tasks.state IS
'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.';
COMMENT ON COLUMN tasker_engine.steps.state IS
'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.';
COMMENT ON COLUMN tasker.workers.role_name IS 'The role that claims under this id; NULL for the engine itself, a role that is gone, and a worker that has not claimed.';
COMMENT ON COLUMN tasker.workers.state IS
'overdue (a lease has ended), busy, idle (waits for work), active (seen in the last 2 minutes) or silent.';
COMMENT ON COLUMN tasker_engine.transitions.started_at IS 'When the run began that the change ends, if a worker ended it.';
COMMENT ON COLUMN tasker_engine.transitions.step_no IS 'Number of the step; 0 for the task itself.';
COMMENT ON COLUMN tasker.workflow_steps.worker_id IS 'Who holds the step now; NULL if nobody does.';

-- ---- the glossary: columns that mean the same wherever they stand. Whatever has a COMMENT keeps it. --------------------
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT a.attrelid::pg_catalog.regclass::text AS relation, a.attname AS name, v.comment
        FROM (VALUES
        ('age', 'Time since the request.'),
        ('already_claimed_by', 'Who held the claim after the call.'),
        ('annotation', 'The note, any JSON.'),
        ('annotation_type_id', 'The kind of annotation.'),
        ('attempt', 'Which attempt of the step this was, from 1; 0 for a task.'),
        ('attempted_at', 'When the call was made.'),
        ('attempts', 'Runs since the last reset; a released run does not count, a crashed one does.'),
        ('available_at', 'When the step may run: the one clock of the step. NULL: at once when its parents are done, or, in error, never.'),
        ('backoff_request_seconds', 'Whole seconds between the failure and the next retry, rounded up; NULL if none is scheduled.'),
        ('bypass_steps', 'Names of skippable steps that the request asked to skip, a JSON array.'),
        ('cancelled_steps', 'Steps in state cancelled.'),
        ('checked', 'Whether the results must fit a results_schema.'),
        ('child_count', 'Number of steps that need this one directly.'),
        ('child_step_uuids', 'Steps that need this one directly, a JSON array of uuids.'),
        ('children', 'Numbers of the steps that need this one directly.'),
        ('claim_id', 'The claim call that holds the step, or that reported it; the lowest 16 bits number the role that claimed.'),
        ('claim_number', 'Number of the current claim; a report under another one is stale. It never comes back.'),
        ('claimed', 'Whether the call got the claim.'),
        ('claimed_at', 'When the claim was made or last extended.'),
        ('complete', 'Whether the task is in state complete.'),
        ('completed_at', 'When the task became complete.'),
        ('completed_parents', 'Direct parents that are complete or resolved_manually.'),
        ('completed_steps', 'Steps that are complete or resolved_manually.'),
        ('completion_percentage', 'Completed steps of all steps, 0.00 to 100.00.'),
        ('configuration', 'The template as registered, environments included.'),
        ('context', 'What the task works on, a JSON object.'),
        ('correlation_id', 'The caller''s own id, handed to the workers.'),
        ('created_at', 'When the row came to be.'),
        ('current_state', 'pending, in_progress, error, complete, cancelled or resolved_manually.'),
        ('default_retry_limit', 'Attempts in total.'),
        ('default_retryable', 'Whether a failure may be followed by another attempt.'),
        ('dependencies_satisfied', 'Whether every parent is complete or resolved_manually.'),
        ('dependent_system_id', 'The outside system.'),
        ('dependent_system_object_map_id', 'Number of the row.'),
        ('dependent_system_one_id', 'The first outside system.'),
        ('dependent_system_two_id', 'The second outside system.'),
        ('description', 'Free text, up to 255 characters.'),
        ('detail', 'What exactly is the matter.'),
        ('diagram', 'The task as Mermaid text.'),
        ('unreachable', 'Whether a step that this one needs can never be done.'),
        ('duration', 'Time from the first claim to completion, or to now.'),
        ('edges', 'JSON array of {from, to, name}.'),
        ('ended_at', 'When the last run ended, whatever its outcome.'),
        ('environment', 'The environment whose overrides were applied; empty for none.'),
        ('error_class', 'What kind of error, as the worker reported it.'),
        ('error_message', 'What the worker said.'),
        ('execution_status', 'has_ready_steps, processing, blocked_by_failures, all_complete or waiting_for_dependencies: the first that fits.'),
        ('expires_at', 'When the claim ends unless it is extended.'),
        ('failed_at', 'When the step failed last.'),
        ('failed_steps', 'Steps in state error.'),
        ('finalization_attempt_uuid', 'Names the call.'),
        ('from_state', 'The state before; NULL for the creation of a task.'),
        ('from_step_uuid', 'The step that comes first.'),
        ('full_name', 'namespace.name@version of the template.'),
        ('handler', 'What the worker runs: a name that it has registered.'),
        ('handler_config', 'What the handler is started with, a JSON object.'),
        ('health_status', 'blocked when nothing can run and something failed; else recovering with a step in error; else healthy.'),
        ('held_steps', 'Claimed and not yet reported.'),
        ('hint', 'What to do about it.'),
        ('id', 'Number of the row.'),
        ('identity_hash', 'What the request was recognized by; NULL without a key or strategy hash.'),
        ('idle_until', 'Until when the worker is thought to wait for work; NULL when it is busy.'),
        ('in_process', 'Whether the step is in state in_progress.'),
        ('in_progress_steps', 'Steps in state in_progress.'),
        ('initiator', 'Who asked for the task.'),
        ('inputs', 'The context of the task.'),
        ('is_leaf_step', 'Whether no step needs it.'),
        ('is_root_step', 'Whether it needs no other step.'),
        ('last_attempted_at', 'When its last run ended.'),
        ('last_failure_at', 'When it failed, while it is in error.'),
        ('last_seen_at', 'When the worker called last; brought up to date every few seconds.'),
        ('lease_expires_at', 'When the step may be given to another worker unless a heartbeat extends the lease.'),
        ('message', 'The answer in words.'),
        ('metadata', 'More about the change, a JSON object.'),
        ('min_depth_from_root', 'Length of the shortest path from a root; roots have 0.'),
        ('most_recent', 'Whether no later row of the same task or step exists.'),
        ('name', 'Its name.'),
        ('named_step_id', 'The name of the step in tasker.named_steps.'),
        ('named_task_id', 'The template in tasker.named_tasks.'),
        ('namespace_name', 'Namespace of the template.'),
        ('namespaces', 'The namespaces that the worker claimed from last.'),
        ('next_lease_expires_at', 'When the first of its leases ends.'),
        ('next_retry_at', 'When it runs again; NULL if it does not, or never ran and is not put off.'),
        ('nodes', 'JSON array of {id, name, state, attempts, retry_limit, level}.'),
        ('oldest_error', 'Message of the step that failed first and is still in error.'),
        ('oldest_error_at', 'When it failed.'),
        ('oldest_error_class', 'Its class of error.'),
        ('oldest_error_step', 'Its name.'),
        ('open_leaves', 'Leaf steps that are not complete yet; the task ends at 0 unless it is watched.'),
        ('open_parents', 'Parents that are not done yet; kept only for steps with two or more.'),
        ('overdue', 'Whether the lease has ended: the next claim of the queue takes the step over.'),
        ('parent_count', 'Number of steps that this one needs directly.'),
        ('parent_step_uuids', 'Steps that this one needs directly, a JSON array of uuids.'),
        ('parents', 'Numbers of the steps that this one needs directly.'),
        ('paused', 'Whether claims pass it by.'),
        ('pending_steps', 'Steps in state pending.'),
        ('permanent', 'Whether it will not be retried by itself.'),
        ('priority', '1 low, 2 normal, 3 high, 4 urgent; larger first.'),
        ('processed', 'Whether the step is complete or resolved_manually.'),
        ('processed_at', 'When it became so.'),
        ('processor_id', 'The external processor.'),
        ('progress', 'Completed steps of all steps, 0.00 to 100.00.'),
        ('queue', 'The queue in which the step waits for a worker.'),
        ('queue_id', 'The queue.'),
        ('ready_for_execution', 'Whether it can run now: pending or in error with a retry, its time come, its parents done. In a paused namespace no claim hands it out all the same.'),
        ('ready_steps', 'Steps that a claim would hand out now.'),
        ('reason', 'Why the task was asked for.'),
        ('recommended_action', 'execute_ready_steps, wait_for_completion, handle_failures, finalize_task or wait_for_dependencies.'),
        ('registered_at', 'When the worker called first.'),
        ('remaining', 'Steps of the claim that are not reported yet.'),
        ('remote_id_one', 'The object in the first system.'),
        ('remote_id_two', 'The object in the second system.'),
        ('requested_at', 'When the task was created.'),
        ('results', 'What the step produced, a JSON object; after a failure with error_message, error_class, backtrace.'),
        ('retry_eligible', 'Whether it may run (again): the first run always; then retryable with attempts left.'),
        ('retry_limit', 'Attempts in total.'),
        ('retryable', 'Whether a failure may be followed by another attempt.'),
        ('run_at', 'Not before this time; NULL: at once.'),
        ('running_for', 'Time since the claim.'),
        ('running_since', 'When the step was claimed.'),
        ('skippable', 'Whether a request may bypass the step.'),
        ('sort_key', '10, 20, 30 ... within the task or step.'),
        ('source_system', 'Where the request came from.'),
        ('started_at', 'When its first step was claimed.'),
        ('state', 'pending, in_progress, error, complete, cancelled or resolved_manually.'),
        ('status', 'State of the task: pending, in_progress, error, complete, cancelled or resolved_manually.'),
        ('step_no', 'Number of the step in its task, from 1, in topological order.'),
        ('step_nos', 'Numbers of the claimed steps, in parallel with task_uuids.'),
        ('step_uuid', 'The step.'),
        ('stuck_step_name', 'The step that is the reason; NULL if it is the task as a whole.'),
        ('stuck_step_uuid', 'The step that is the reason; NULL if it is the task as a whole.'),
        ('tags', 'JSON array of the caller''s words.'),
        ('task_annotation_id', 'Number of the note.'),
        ('task_name', 'Name of the template.'),
        ('task_namespace_id', 'The namespace.'),
        ('task_state', 'What was answered as task_state.'),
        ('task_uuid', 'The task.'),
        ('task_uuids', 'Tasks of the claimed steps, in parallel with step_nos.'),
        ('timeout_seconds', 'How long a run may take; NULL: as long as its lease is kept up.'),
        ('to_state', 'The state after.'),
        ('to_step_uuid', 'The step that comes after.'),
        ('total_parents', 'Number of steps that this one needs directly.'),
        ('total_steps', 'All steps of the task.'),
        ('traceparent', 'W3C trace context of the caller, handed to the workers.'),
        ('updated_at', 'When it changed last.'),
        ('version', 'Version of the template, x.y.z.'),
        ('version_order', 'The version as numbers, for sorting.'),
        ('watched', 'Whether counters alone no longer tell that the task has ended: each report looks.'),
        ('worker_id', 'The worker process.'),
        ('worker_no', 'The worker''s number; 0 for none.'),
        ('xid', 'The transaction that wrote the row: rows of a smaller one may still appear after a larger one.')
        ) AS v (name, comment)
        JOIN pg_catalog.pg_attribute a ON a.attname::text OPERATOR(pg_catalog.=) v.name
                                      AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
        JOIN pg_catalog.pg_class k ON k.oid OPERATOR(pg_catalog.=) a.attrelid
                                  AND k.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'v']::"char"[])
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) k.relnamespace
                                      AND n.nspname::text OPERATOR(pg_catalog.=) ANY (ARRAY['tasker', 'tasker_engine'])
        WHERE pg_catalog.col_description(a.attrelid, a.attnum) IS NULL
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.name, c.comment);
    END LOOP;
END
$$;

COMMENT ON SCHEMA tasker_engine IS 'Storage of tasker_ext. Private: use the functions and views of schema tasker.';
