--
-- PostgreSQL database dump
--

\restrict y6bPciOph9wc41YM3Vk9s9yPDxzZi0JIXqZyTCEfCddGAAd9d94RcrxZ11FdzWs

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: shop; Type: SCHEMA; Schema: -; Owner: app
--

CREATE SCHEMA shop;


ALTER SCHEMA shop OWNER TO app;

--
-- Name: tasker; Type: SCHEMA; Schema: -; Owner: app
--

CREATE SCHEMA tasker;


ALTER SCHEMA tasker OWNER TO app;

--
-- Name: tasker_ext; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS tasker_ext WITH SCHEMA tasker;


--
-- Name: EXTENSION tasker_ext; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION tasker_ext IS 'Workflow engine: DAG templates, tasks, retries, leases and finalization as native functions';


--
-- Name: charge(jsonb); Type: FUNCTION; Schema: shop; Owner: app
--

CREATE FUNCTION shop.charge(step jsonb) RETURNS jsonb
    LANGUAGE sql
    AS $$ SELECT jsonb_build_object('charged', true) $$;


ALTER FUNCTION shop.charge(step jsonb) OWNER TO app;

--
-- Data for Name: annotation_types; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.annotation_types (annotation_type_id, name, description, created_at, updated_at) FROM stdin;
1	note	\N	2026-11-28 21:55:59.833684+00	2026-11-28 21:55:59.833684+00
\.


--
-- Data for Name: dependent_systems; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.dependent_systems (dependent_system_id, name, description, created_at, updated_at) FROM stdin;
1	default	\N	2026-11-28 21:55:59.782757+00	2026-11-28 21:55:59.782757+00
10	bank	\N	2026-11-28 21:55:59.835347+00	2026-11-28 21:55:59.835347+00
11	shop	\N	2026-11-28 21:55:59.835546+00	2026-11-28 21:55:59.835546+00
\.


--
-- Data for Name: dependent_system_object_maps; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.dependent_system_object_maps (dependent_system_object_map_id, dependent_system_one_id, dependent_system_two_id, remote_id_one, remote_id_two, created_at, updated_at) FROM stdin;
1	10	11	1	2	2026-11-28 21:55:59.836214+00	2026-11-28 21:55:59.836214+00
\.


--
-- Data for Name: named_steps; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.named_steps (named_step_id, dependent_system_id, name, description, created_at, updated_at) FROM stdin;
1	1	end	\N	2026-11-28 21:55:59.783565+00	2026-11-28 21:55:59.783565+00
2	1	left	\N	2026-11-28 21:55:59.783906+00	2026-11-28 21:55:59.783906+00
3	1	right	\N	2026-11-28 21:55:59.783922+00	2026-11-28 21:55:59.783922+00
4	1	start	\N	2026-11-28 21:55:59.78393+00	2026-11-28 21:55:59.78393+00
25	1	charge	\N	2026-11-28 21:55:59.794836+00	2026-11-28 21:55:59.794836+00
26	1	a	\N	2026-11-28 21:55:59.799086+00	2026-11-28 21:55:59.799086+00
\.


--
-- Data for Name: task_namespaces; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.task_namespaces (task_namespace_id, name, description, paused, created_at, updated_at) FROM stdin;
1	held	\N	f	2026-11-28 21:55:59.781631+00	2026-11-28 21:55:59.781631+00
2	due	\N	f	2026-11-28 21:55:59.788516+00	2026-11-28 21:55:59.788516+00
3	later	\N	f	2026-11-28 21:55:59.790279+00	2026-11-28 21:55:59.790279+00
5	finalized	\N	f	2026-11-28 21:55:59.7926+00	2026-11-28 21:55:59.7926+00
6	ended	\N	f	2026-11-28 21:55:59.793606+00	2026-11-28 21:55:59.793606+00
7	inside	\N	f	2026-11-28 21:55:59.794706+00	2026-11-28 21:55:59.794706+00
8	timed	\N	f	2026-11-28 21:55:59.798947+00	2026-11-28 21:55:59.798947+00
4	paused	\N	t	2026-11-28 21:55:59.791523+00	2026-11-28 21:55:59.830178+00
\.


--
-- Data for Name: named_tasks; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.named_tasks (named_task_id, task_namespace_id, name, version, description, configuration, environment, created_at, updated_at) FROM stdin;
1	1	diamond	0.1.0	\N	{"name": "diamond", "steps": [{"name": "start", "handler": {"callable": "h"}}, {"name": "left", "handler": {"callable": "h"}, "depends_on_steps": ["start"]}, {"name": "right", "handler": {"callable": "h"}, "skippable": true, "depends_on_steps": ["start"]}, {"name": "end", "handler": {"callable": "h"}, "depends_on_steps": ["left", "right"]}], "version": "0.1.0", "namespace_name": "held"}		2026-11-28 21:55:59.785124+00	2026-11-28 21:55:59.785124+00
2	2	diamond	0.1.0	\N	{"name": "diamond", "steps": [{"name": "start", "handler": {"callable": "h"}}, {"name": "left", "handler": {"callable": "h"}, "depends_on_steps": ["start"]}, {"name": "right", "handler": {"callable": "h"}, "skippable": true, "depends_on_steps": ["start"]}, {"name": "end", "handler": {"callable": "h"}, "depends_on_steps": ["left", "right"]}], "version": "0.1.0", "namespace_name": "due"}		2026-11-28 21:55:59.788928+00	2026-11-28 21:55:59.788928+00
3	3	diamond	0.1.0	\N	{"name": "diamond", "steps": [{"name": "start", "handler": {"callable": "h"}}, {"name": "left", "handler": {"callable": "h"}, "depends_on_steps": ["start"]}, {"name": "right", "handler": {"callable": "h"}, "skippable": true, "depends_on_steps": ["start"]}, {"name": "end", "handler": {"callable": "h"}, "depends_on_steps": ["left", "right"]}], "version": "0.1.0", "namespace_name": "later"}		2026-11-28 21:55:59.790699+00	2026-11-28 21:55:59.790699+00
4	4	diamond	0.1.0	\N	{"name": "diamond", "steps": [{"name": "start", "handler": {"callable": "h"}}, {"name": "left", "handler": {"callable": "h"}, "depends_on_steps": ["start"]}, {"name": "right", "handler": {"callable": "h"}, "skippable": true, "depends_on_steps": ["start"]}, {"name": "end", "handler": {"callable": "h"}, "depends_on_steps": ["left", "right"]}], "version": "0.1.0", "namespace_name": "paused"}		2026-11-28 21:55:59.791792+00	2026-11-28 21:55:59.791792+00
5	5	diamond	0.1.0	\N	{"name": "diamond", "steps": [{"name": "start", "handler": {"callable": "h"}}, {"name": "left", "handler": {"callable": "h"}, "depends_on_steps": ["start"]}, {"name": "right", "handler": {"callable": "h"}, "skippable": true, "depends_on_steps": ["start"]}, {"name": "end", "handler": {"callable": "h"}, "depends_on_steps": ["left", "right"]}], "version": "0.1.0", "namespace_name": "finalized"}		2026-11-28 21:55:59.792858+00	2026-11-28 21:55:59.792858+00
6	6	diamond	0.1.0	\N	{"name": "diamond", "steps": [{"name": "start", "handler": {"callable": "h"}}, {"name": "left", "handler": {"callable": "h"}, "depends_on_steps": ["start"]}, {"name": "right", "handler": {"callable": "h"}, "skippable": true, "depends_on_steps": ["start"]}, {"name": "end", "handler": {"callable": "h"}, "depends_on_steps": ["left", "right"]}], "version": "0.1.0", "namespace_name": "ended"}		2026-11-28 21:55:59.793863+00	2026-11-28 21:55:59.793863+00
7	7	charge	0.1.0	\N	{"name": "charge", "steps": [{"name": "charge", "handler": {"callable": "sql:shop.charge"}}], "version": "0.1.0", "namespace_name": "inside"}		2026-11-28 21:55:59.795002+00	2026-11-28 21:55:59.795002+00
8	8	slow	0.1.0	\N	{"name": "slow", "steps": [{"name": "a", "handler": {"callable": "h"}, "timeout_seconds": 1, "default_retry_limit": 1}], "version": "0.1.0", "namespace_name": "timed", "timeout_seconds": 1}		2026-11-28 21:55:59.799252+00	2026-11-28 21:55:59.799252+00
9	6	once	0.1.0	\N	{"name": "once", "steps": [{"name": "a", "handler": {"callable": "h"}}], "version": "0.1.0", "namespace_name": "ended", "identity_strategy": "hash"}		2026-11-28 21:55:59.800111+00	2026-11-28 21:55:59.800111+00
\.


--
-- Data for Name: queues; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.queues (queue_id, task_namespace_id, name, paused) FROM stdin;
1	1	default	f
2	2	default	f
3	3	default	f
5	5	default	f
6	6	default	f
7	7	default	f
8	7	sql	f
9	8	default	f
4	4	default	t
\.


--
-- Data for Name: named_tasks_named_steps; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.named_tasks_named_steps (id, named_task_id, step_no, named_step_id, name, skippable, default_retryable, default_retry_limit, handler, handler_config, queue_id, priority, timeout_seconds, parents, children, created_at, updated_at) FROM stdin;
1	1	1	4	start	f	t	3	h	{}	1	\N	\N	{}	{2,3}	2026-11-28 21:55:59.786766+00	2026-11-28 21:55:59.786766+00
2	1	2	2	left	f	t	3	h	{}	1	\N	\N	{1}	{4}	2026-11-28 21:55:59.78718+00	2026-11-28 21:55:59.78718+00
3	1	3	3	right	t	t	3	h	{}	1	\N	\N	{1}	{4}	2026-11-28 21:55:59.787205+00	2026-11-28 21:55:59.787205+00
4	1	4	1	end	f	t	3	h	{}	1	\N	\N	{2,3}	{}	2026-11-28 21:55:59.78722+00	2026-11-28 21:55:59.78722+00
5	2	1	4	start	f	t	3	h	{}	2	\N	\N	{}	{2,3}	2026-11-28 21:55:59.789218+00	2026-11-28 21:55:59.789219+00
6	2	2	2	left	f	t	3	h	{}	2	\N	\N	{1}	{4}	2026-11-28 21:55:59.789276+00	2026-11-28 21:55:59.789276+00
7	2	3	3	right	t	t	3	h	{}	2	\N	\N	{1}	{4}	2026-11-28 21:55:59.789284+00	2026-11-28 21:55:59.789284+00
8	2	4	1	end	f	t	3	h	{}	2	\N	\N	{2,3}	{}	2026-11-28 21:55:59.789292+00	2026-11-28 21:55:59.789292+00
9	3	1	4	start	f	t	3	h	{}	3	\N	\N	{}	{2,3}	2026-11-28 21:55:59.790945+00	2026-11-28 21:55:59.790945+00
10	3	2	2	left	f	t	3	h	{}	3	\N	\N	{1}	{4}	2026-11-28 21:55:59.790984+00	2026-11-28 21:55:59.790984+00
11	3	3	3	right	t	t	3	h	{}	3	\N	\N	{1}	{4}	2026-11-28 21:55:59.79099+00	2026-11-28 21:55:59.79099+00
12	3	4	1	end	f	t	3	h	{}	3	\N	\N	{2,3}	{}	2026-11-28 21:55:59.790995+00	2026-11-28 21:55:59.790995+00
13	4	1	4	start	f	t	3	h	{}	4	\N	\N	{}	{2,3}	2026-11-28 21:55:59.791988+00	2026-11-28 21:55:59.791988+00
14	4	2	2	left	f	t	3	h	{}	4	\N	\N	{1}	{4}	2026-11-28 21:55:59.792024+00	2026-11-28 21:55:59.792024+00
15	4	3	3	right	t	t	3	h	{}	4	\N	\N	{1}	{4}	2026-11-28 21:55:59.792029+00	2026-11-28 21:55:59.792029+00
16	4	4	1	end	f	t	3	h	{}	4	\N	\N	{2,3}	{}	2026-11-28 21:55:59.792034+00	2026-11-28 21:55:59.792034+00
17	5	1	4	start	f	t	3	h	{}	5	\N	\N	{}	{2,3}	2026-11-28 21:55:59.793052+00	2026-11-28 21:55:59.793052+00
18	5	2	2	left	f	t	3	h	{}	5	\N	\N	{1}	{4}	2026-11-28 21:55:59.793087+00	2026-11-28 21:55:59.793087+00
19	5	3	3	right	t	t	3	h	{}	5	\N	\N	{1}	{4}	2026-11-28 21:55:59.793092+00	2026-11-28 21:55:59.793092+00
20	5	4	1	end	f	t	3	h	{}	5	\N	\N	{2,3}	{}	2026-11-28 21:55:59.793097+00	2026-11-28 21:55:59.793097+00
21	6	1	4	start	f	t	3	h	{}	6	\N	\N	{}	{2,3}	2026-11-28 21:55:59.794059+00	2026-11-28 21:55:59.794059+00
22	6	2	2	left	f	t	3	h	{}	6	\N	\N	{1}	{4}	2026-11-28 21:55:59.794094+00	2026-11-28 21:55:59.794094+00
23	6	3	3	right	t	t	3	h	{}	6	\N	\N	{1}	{4}	2026-11-28 21:55:59.794099+00	2026-11-28 21:55:59.794099+00
24	6	4	1	end	f	t	3	h	{}	6	\N	\N	{2,3}	{}	2026-11-28 21:55:59.794104+00	2026-11-28 21:55:59.794104+00
25	7	1	25	charge	f	t	3	sql:shop.charge	{}	8	\N	\N	{}	{}	2026-11-28 21:55:59.795142+00	2026-11-28 21:55:59.795142+00
26	8	1	26	a	f	t	1	h	{}	9	\N	1	{}	{}	2026-11-28 21:55:59.799405+00	2026-11-28 21:55:59.799405+00
27	9	1	26	a	f	t	3	h	{}	6	\N	\N	{}	{}	2026-11-28 21:55:59.800255+00	2026-11-28 21:55:59.800255+00
\.


--
-- Data for Name: task_annotations; Type: TABLE DATA; Schema: tasker; Owner: tasker_owner
--

COPY tasker.task_annotations (task_annotation_id, task_uuid, annotation_type_id, annotation, created_at, updated_at) FROM stdin;
1	01a22428-70cf-75d9-b3eb-09af3ff70000	1	{"by": "hand"}	2026-11-28 21:55:59.833848+00	2026-11-28 21:55:59.833848+00
\.


--
-- Data for Name: claimants; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.claimants (claimant_no, role_oid, role_name) FROM stdin;
1	17644	shop_worker
\.


--
-- Data for Name: claims; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.claims (claim_id, claimed_at, lease_expires_at, timeout_at, worker_no, remaining, task_uuids, step_nos) FROM stdin;
327681	2026-11-28 21:55:59.817764+00	2026-11-29 21:55:59.817764+00	\N	2	1	{01a22428-70c9-7230-b41d-3f2473660000}	{1}
524289	2026-11-28 21:55:59.825165+00	2026-11-28 21:56:29.825165+00	\N	1	1	{01a22428-70cf-75d9-b3eb-09af3ff70000}	{2}
589825	2026-11-28 21:55:59.96203+00	2026-11-29 21:55:59.96203+00	2026-11-28 21:56:00.96203+00	4	1	{01a22428-7159-7640-83cd-3245675e0000}	{1}
\.


--
-- Data for Name: duty_runs; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.duty_runs (duty, last_at, last_done, total_done, failures, last_error, last_error_at, last_run_at) FROM stdin;
orphans	\N	0	0	0	\N	\N	2026-11-28 21:55:59.930019+00
scaling	\N	0	0	0	\N	\N	2026-11-28 21:55:59.933636+00
startup	\N	0	0	0	\N	\N	2026-11-28 21:55:59.934164+00
leases	\N	0	0	0	\N	\N	2026-11-28 21:55:59.934775+00
task_timeouts	\N	0	0	0	\N	\N	2026-11-28 21:55:59.935844+00
schedules	\N	0	0	0	\N	\N	2026-11-28 21:55:59.936642+00
retention	\N	0	0	0	\N	\N	2026-11-28 21:55:59.940848+00
metrics	\N	0	0	0	\N	\N	2026-11-28 21:55:59.941359+00
roles	\N	0	0	0	\N	\N	2026-11-28 21:55:59.943845+00
health	\N	0	0	0	\N	\N	2026-11-28 21:55:59.959848+00
\.


--
-- Data for Name: executor_pools; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.executor_pools (name, min_executors, max_executors, target_utilization, scaling_interval, scaling_cooldown, namespaces, queues, batch_size, predictive, season, enabled, changed_at) FROM stdin;
shop	1	3	\N	\N	\N	{inside}	\N	\N	\N	\N	\N	2026-11-28 21:55:59.92725+00
\.


--
-- Data for Name: finalization_attempts; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.finalization_attempts (task_uuid, finalization_attempt_uuid, attempted_at, processor_id, claimed, already_claimed_by, task_state, message) FROM stdin;
01a22428-70cf-75d9-b3eb-09af3ff70000	59c4d8b7-2c8c-4cc3-8a96-0c381b910836	2026-11-28 21:55:59.832293+00	finalizer	t	finalizer	has_ready_steps	Successfully claimed for finalization
\.


--
-- Data for Name: finalization_claims; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.finalization_claims (task_uuid, processor_id, claimed_at, expires_at) FROM stdin;
01a22428-70cf-75d9-b3eb-09af3ff70000	finalizer	2026-11-28 21:55:59.832009+00	2026-11-28 21:56:00.832009+00
\.


--
-- Data for Name: health_changes; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.health_changes (change_no, changed_at, from_level, to_level, message) FROM stdin;
\.


--
-- Data for Name: metric_counts; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.metric_counts (at, worker_no, folded, cells, amounts) FROM stdin;
2026-11-28 21:55:59.800742+00	0	f	{5,53}	{4,1}
2026-11-28 21:55:59.832505+00	0	f	{0,1,2,5,7,8,9,10,11,28,29,30,31,48,53,54,55,56,57,60,66,79,112,113}	{9,5,2,26,1,1,5,3,1,10838,5,1,1,7279,8,5,1,1,1,8,1,1759,1,1}
2026-11-28 21:55:59.832505+00	1	f	{0,1,2}	{8,5,2}
2026-11-28 21:55:59.832505+00	2	f	{0}	{1}
2026-11-28 21:56:09.965833+00	0	f	{0,5,10,28,53,54,60}	{1,5,1,1504,2,1,1}
2026-11-28 21:56:09.965833+00	4	f	{0}	{1}
\.


--
-- Data for Name: operational_changes; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.operational_changes (change_no, changed_at, from_state, to_state, changed_by, reason, forced) FROM stdin;
1	2026-11-28 21:55:59.928125+00	normal	graceful_shutdown	app	the release	f
2	2026-11-28 21:55:59.928516+00	graceful_shutdown	stopped	app	\N	f
3	2026-11-28 21:55:59.9286+00	stopped	startup	app	\N	f
4	2026-11-28 21:55:59.928759+00	startup	normal	app	back	f
\.


--
-- Data for Name: pool_arrivals; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.pool_arrivals (pool, minute, arrivals) FROM stdin;
\.


--
-- Data for Name: pool_targets; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.pool_targets (pool, desired, changed_at, evaluated_at, memory) FROM stdin;
\.


--
-- Data for Name: queue_entries; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.queue_entries (available_at, task_uuid, queue_id, priority, step_no) FROM stdin;
2026-11-28 21:55:59.815171+00	01a22428-70c7-7050-b298-23d3a79e0000	6	2	1
2026-11-28 21:55:59.819778+00	01a22428-70ca-72ac-8d89-b5da8b4e0000	2	2	1
2126-11-28 21:55:59.820265+00	01a22428-70cc-7579-a406-28c85c110000	3	2	1
2026-11-28 21:55:59.822507+00	01a22428-70ce-76bb-b433-64c3c7690000	4	2	1
2026-11-28 21:55:59.824673+00	01a22428-70cf-75d9-b3eb-09af3ff70000	5	2	3
2026-11-28 21:55:59.825712+00	01a22428-70d2-7612-b0b0-be1e08240000	8	2	1
2126-11-28 21:56:09.965351+00	01a22428-986e-71b3-8fbe-a09eea360000	3	2	1
\.


--
-- Data for Name: retention; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.retention (task_namespace_id, completed, failed, swept_to, sweep_started_at, purged_tasks, last_purged_at) FROM stdin;
6	50 years	60 years	0032c5c0-9ee1-7000-8000-000000000000	2026-11-28 21:55:59.937141+00	0	\N
\.


--
-- Data for Name: scaling_decisions; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.scaling_decisions (id, decided_at, pool, from_executors, to_executors, rule, reason, inputs) FROM stdin;
\.


--
-- Data for Name: schedules; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.schedules (schedule_name, cron, time_zone, namespace_name, task_name, version, context, missed_runs, overlap, priority, tags, enabled, owner_role, owner_oid, next_run_at, last_run_at, last_task_uuid, last_error, last_error_at, runs, skipped, failures, created_at, updated_at) FROM stdin;
often	* * * * * *	Europe/Berlin	ended	once	\N	{"n": 11}	one	t	2	[]	t	app	17643	2026-11-28 21:56:00+00	\N	\N	\N	\N	0	0	0	2026-11-28 21:55:59.883552+00	2026-11-28 21:55:59.883552+00
paused	0 3 * * *	UTC	ended	once	\N	{"n": 12}	skip	t	2	[]	f	app	17643	\N	\N	\N	\N	\N	0	0	0	2026-11-28 21:55:59.925061+00	2026-11-28 21:55:59.925061+00
\.


--
-- Data for Name: schedule_runs; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.schedule_runs (schedule_name, scheduled_for, outcome, times, task_uuid, error, decided_at) FROM stdin;
\.


--
-- Data for Name: sql_handlers; Type: TABLE DATA; Schema: tasker_engine; Owner: postgres
--

COPY tasker_engine.sql_handlers (named_task_id, step_no, handler, role_name, role_oid, function_owner, function_owner_oid) FROM stdin;
7	1	sql:shop.charge	app	17643	app	17643
\.


--
-- Data for Name: steps; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.steps (task_uuid, available_at, claim_id, named_task_id, claim_number, step_no, open_parents, attempts, retry_limit, priority, state, retryable, watched, unreachable, checked, results) FROM stdin;
01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.800742+00	65537	6	1	1	0	1	3	2	c	t	f	f	f	{"big": 12345678901234567890.5, "text": "ä\\"\\\\"}
01a22428-70b9-7743-8e74-8fd9e7860000	\N	131073	6	1	2	1	1	3	2	c	t	f	f	f	{}
01a22428-70b9-7743-8e74-8fd9e7860000	\N	131073	6	1	3	1	1	3	2	c	t	f	f	f	{}
01a22428-70b9-7743-8e74-8fd9e7860000	\N	196609	6	1	4	0	1	3	2	c	t	f	f	f	{}
01a22428-70c4-7057-b2e4-71894a570000	\N	262145	6	1	1	0	1	3	2	e	f	f	f	f	{"error_class": "Broken", "error_message": "it broke"}
01a22428-70c4-7057-b2e4-71894a570000	\N	\N	6	0	2	1	0	3	2	p	t	f	t	f	\N
01a22428-70c4-7057-b2e4-71894a570000	\N	\N	6	0	3	1	0	3	2	p	t	f	t	f	\N
01a22428-70c4-7057-b2e4-71894a570000	\N	\N	6	0	4	2	0	3	2	p	t	f	t	f	\N
01a22428-70c9-7230-b41d-3f2473660000	\N	\N	1	0	2	1	0	3	4	p	t	t	f	f	\N
01a22428-70c9-7230-b41d-3f2473660000	\N	\N	1	0	3	1	0	3	4	r	t	t	f	f	\N
01a22428-70c9-7230-b41d-3f2473660000	\N	\N	1	0	4	1	0	3	4	p	t	t	f	f	\N
01a22428-70c9-7230-b41d-3f2473660000	2026-11-28 21:55:59.816534+00	327681	1	1	1	0	1	3	4	i	t	t	f	f	\N
01a22428-70ca-72ac-8d89-b5da8b4e0000	\N	\N	2	0	2	1	0	3	2	p	t	f	f	f	\N
01a22428-70ca-72ac-8d89-b5da8b4e0000	\N	\N	2	0	3	1	0	3	2	p	t	f	f	f	\N
01a22428-70ca-72ac-8d89-b5da8b4e0000	\N	\N	2	0	4	2	0	3	2	p	t	f	f	f	\N
01a22428-70ca-72ac-8d89-b5da8b4e0000	2026-11-28 21:55:59.819778+00	393217	2	1	1	0	1	3	2	e	t	f	f	f	{"error_class": "Again", "error_message": "try again"}
01a22428-70cc-7579-a406-28c85c110000	2126-11-28 21:55:59.820265+00	\N	3	0	1	0	0	3	2	p	t	f	f	f	\N
01a22428-70cc-7579-a406-28c85c110000	\N	\N	3	0	2	1	0	3	2	p	t	f	f	f	\N
01a22428-70c7-7050-b298-23d3a79e0000	2026-11-28 21:55:59.815171+00	\N	9	0	1	0	0	3	2	x	t	f	f	f	\N
01a22428-70cc-7579-a406-28c85c110000	\N	\N	3	0	3	1	0	3	2	p	t	f	f	f	\N
01a22428-70cc-7579-a406-28c85c110000	\N	\N	3	0	4	2	0	3	2	p	t	f	f	f	\N
01a22428-70ce-76bb-b433-64c3c7690000	2026-11-28 21:55:59.822507+00	\N	4	0	1	0	0	3	2	p	t	f	f	f	\N
01a22428-70ce-76bb-b433-64c3c7690000	\N	\N	4	0	2	1	0	3	2	p	t	f	f	f	\N
01a22428-70ce-76bb-b433-64c3c7690000	\N	\N	4	0	3	1	0	3	2	p	t	f	f	f	\N
01a22428-70ce-76bb-b433-64c3c7690000	\N	\N	4	0	4	2	0	3	2	p	t	f	f	f	\N
01a22428-70cf-75d9-b3eb-09af3ff70000	\N	\N	5	0	3	1	0	3	2	p	t	f	f	f	\N
01a22428-70cf-75d9-b3eb-09af3ff70000	\N	\N	5	0	4	2	0	3	2	p	t	f	f	f	\N
01a22428-70cf-75d9-b3eb-09af3ff70000	2026-11-28 21:55:59.823384+00	458753	5	1	1	0	1	3	2	c	t	f	f	f	{}
01a22428-70cf-75d9-b3eb-09af3ff70000	\N	524289	5	1	2	1	1	3	2	i	t	f	f	f	\N
01a22428-70d2-7612-b0b0-be1e08240000	2026-11-28 21:55:59.825712+00	\N	7	0	1	0	0	3	2	p	t	f	f	f	\N
01a22428-7159-7640-83cd-3245675e0000	2026-11-28 21:55:59.960526+00	589825	8	1	1	0	1	1	2	i	t	f	f	f	\N
01a22428-986e-71b3-8fbe-a09eea360000	2126-11-28 21:56:09.965351+00	\N	3	0	1	0	0	3	2	p	t	f	f	f	\N
01a22428-986e-71b3-8fbe-a09eea360000	\N	\N	3	0	2	1	0	3	2	p	t	f	f	f	\N
01a22428-986e-71b3-8fbe-a09eea360000	\N	\N	3	0	3	1	0	3	2	p	t	f	f	f	\N
01a22428-986e-71b3-8fbe-a09eea360000	\N	\N	3	0	4	2	0	3	2	p	t	f	f	f	\N
\.


--
-- Data for Name: task_deadlines; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.task_deadlines (task_uuid, deadline_at) FROM stdin;
01a22428-7159-7640-83cd-3245675e0000	2026-11-28 21:56:00.96203+00
\.


--
-- Data for Name: task_identities; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.task_identities (identity_hash, task_uuid) FROM stdin;
9c42956d1fc59fb9fbc634387d4a2f414aacf22d144bf2299194a2ff928fca08	01a22428-70c7-7050-b298-23d3a79e0000
\.


--
-- Data for Name: tasks; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.tasks (task_uuid, requested_at, started_at, completed_at, named_task_id, open_leaves, priority, state, watched, initiator, source_system, reason, run_at, correlation_id, traceparent, tags, bypass_steps, context) FROM stdin;
01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.800742+00	2026-11-28 21:55:59.80448+00	2026-11-28 21:55:59.811441+00	6	0	2	c	f	unknown	unknown	unknown	\N	complete	\N	[]	[]	{"n": 1}
01a22428-70c4-7057-b2e4-71894a570000	2026-11-28 21:55:59.81215+00	2026-11-28 21:55:59.812861+00	\N	6	1	2	e	t	unknown	unknown	unknown	\N	failed	\N	[]	[]	{"n": 2}
01a22428-70c9-7230-b41d-3f2473660000	2026-11-28 21:55:59.816534+00	2026-11-28 21:55:59.817764+00	\N	1	1	4	i	t	unknown	unknown	unknown	2026-11-28 20:55:59.816394+00	held	trace	["red"]	["right"]	{"n": 4}
01a22428-70ca-72ac-8d89-b5da8b4e0000	2026-11-28 21:55:59.818456+00	2026-11-28 21:55:59.819403+00	\N	2	1	2	i	f	unknown	unknown	unknown	\N	due	\N	[]	[]	{"n": 5}
01a22428-70cc-7579-a406-28c85c110000	2026-11-28 21:55:59.820369+00	\N	\N	3	1	2	p	f	unknown	unknown	unknown	2126-11-28 21:55:59.820265+00	later	\N	[]	[]	{"n": 6}
01a22428-70ce-76bb-b433-64c3c7690000	2026-11-28 21:55:59.822507+00	\N	\N	4	1	2	p	f	unknown	unknown	unknown	\N	paused	\N	[]	[]	{"n": 7}
01a22428-70d2-7612-b0b0-be1e08240000	2026-11-28 21:55:59.825712+00	\N	\N	7	1	2	p	f	unknown	unknown	unknown	\N	inside	\N	[]	[]	{"n": 10}
01a22428-70c7-7050-b298-23d3a79e0000	2026-11-28 21:55:59.815171+00	\N	\N	9	1	2	x	t	unknown	unknown	unknown	\N	cancelled	\N	[]	[]	{"n": 3}
01a22428-70cf-75d9-b3eb-09af3ff70000	2026-11-28 21:55:59.823384+00	2026-11-28 21:55:59.824268+00	\N	5	1	2	i	f	unknown	unknown	unknown	\N	finalized	\N	["blue"]	[]	{"n": 8}
01a22428-7159-7640-83cd-3245675e0000	2026-11-28 21:55:59.960526+00	2026-11-28 21:55:59.96203+00	\N	8	1	2	i	f	unknown	unknown	unknown	\N	timed	\N	[]	[]	{"n": 9}
01a22428-986e-71b3-8fbe-a09eea360000	2026-11-28 21:56:09.965833+00	\N	\N	3	1	2	p	f	unknown	unknown	unknown	2126-11-28 21:56:09.965351+00	counted	\N	[]	[]	{"n": 13}
\.


--
-- Data for Name: transitions; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.transitions (id, task_uuid, created_at, started_at, xid, worker_no, step_no, attempt, from_state, to_state, metadata) FROM stdin;
1	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.800742+00	\N	742	0	0	0	\N	p	{}
2	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.80448+00	\N	743	1	1	1	p	i	{}
3	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.80448+00	\N	743	0	0	0	p	i	{}
4	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.807624+00	2026-11-28 21:55:59.80448+00	743	1	1	1	i	c	{}
5	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.808777+00	\N	744	1	2	1	p	i	{}
6	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.808777+00	\N	744	1	3	1	p	i	{}
7	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.809624+00	2026-11-28 21:55:59.808777+00	744	1	2	1	i	c	{}
8	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.810152+00	2026-11-28 21:55:59.808777+00	744	1	3	1	i	c	{}
9	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.810682+00	\N	745	1	4	1	p	i	{}
10	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.811441+00	2026-11-28 21:55:59.810682+00	745	1	4	1	i	c	{}
11	01a22428-70b9-7743-8e74-8fd9e7860000	2026-11-28 21:55:59.811441+00	\N	745	0	0	0	i	c	{}
12	01a22428-70c4-7057-b2e4-71894a570000	2026-11-28 21:55:59.81215+00	\N	746	0	0	0	\N	p	{}
13	01a22428-70c4-7057-b2e4-71894a570000	2026-11-28 21:55:59.812861+00	\N	747	1	1	1	p	i	{}
14	01a22428-70c4-7057-b2e4-71894a570000	2026-11-28 21:55:59.812861+00	\N	747	0	0	0	p	i	{}
15	01a22428-70c4-7057-b2e4-71894a570000	2026-11-28 21:55:59.813235+00	2026-11-28 21:55:59.812861+00	747	1	1	1	i	e	{"error_class": "Broken", "error_message": "it broke"}
16	01a22428-70c4-7057-b2e4-71894a570000	2026-11-28 21:55:59.813235+00	\N	747	0	0	0	i	e	{}
17	01a22428-70c7-7050-b298-23d3a79e0000	2026-11-28 21:55:59.815171+00	\N	748	0	0	0	\N	p	{}
18	01a22428-70c9-7230-b41d-3f2473660000	2026-11-28 21:55:59.816534+00	\N	749	0	0	0	\N	p	{}
19	01a22428-70c9-7230-b41d-3f2473660000	2026-11-28 21:55:59.816534+00	\N	749	0	3	0	p	r	{"reason": "bypassed"}
20	01a22428-70c9-7230-b41d-3f2473660000	2026-11-28 21:55:59.817764+00	\N	750	2	1	1	p	i	{}
21	01a22428-70c9-7230-b41d-3f2473660000	2026-11-28 21:55:59.817764+00	\N	750	0	0	0	p	i	{}
22	01a22428-70ca-72ac-8d89-b5da8b4e0000	2026-11-28 21:55:59.818456+00	\N	751	0	0	0	\N	p	{}
23	01a22428-70ca-72ac-8d89-b5da8b4e0000	2026-11-28 21:55:59.819403+00	\N	752	1	1	1	p	i	{}
24	01a22428-70ca-72ac-8d89-b5da8b4e0000	2026-11-28 21:55:59.819403+00	\N	752	0	0	0	p	i	{}
25	01a22428-70ca-72ac-8d89-b5da8b4e0000	2026-11-28 21:55:59.819778+00	2026-11-28 21:55:59.819403+00	752	1	1	1	i	e	{"error_class": "Again", "error_message": "try again"}
26	01a22428-70cc-7579-a406-28c85c110000	2026-11-28 21:55:59.820369+00	\N	753	0	0	0	\N	p	{}
27	01a22428-70ce-76bb-b433-64c3c7690000	2026-11-28 21:55:59.822507+00	\N	754	0	0	0	\N	p	{}
28	01a22428-70cf-75d9-b3eb-09af3ff70000	2026-11-28 21:55:59.823384+00	\N	755	0	0	0	\N	p	{}
29	01a22428-70cf-75d9-b3eb-09af3ff70000	2026-11-28 21:55:59.824268+00	\N	756	1	1	1	p	i	{}
30	01a22428-70cf-75d9-b3eb-09af3ff70000	2026-11-28 21:55:59.824268+00	\N	756	0	0	0	p	i	{}
31	01a22428-70cf-75d9-b3eb-09af3ff70000	2026-11-28 21:55:59.824673+00	2026-11-28 21:55:59.824268+00	756	1	1	1	i	c	{}
32	01a22428-70cf-75d9-b3eb-09af3ff70000	2026-11-28 21:55:59.825165+00	\N	757	1	2	1	p	i	{}
33	01a22428-70d2-7612-b0b0-be1e08240000	2026-11-28 21:55:59.825712+00	\N	758	0	0	0	\N	p	{}
34	01a22428-70c7-7050-b298-23d3a79e0000	2026-11-28 21:55:59.828898+00	\N	760	0	1	0	p	x	{"reason": "not needed"}
35	01a22428-70c7-7050-b298-23d3a79e0000	2026-11-28 21:55:59.828898+00	\N	760	0	0	0	p	x	{"reason": "not needed"}
38	01a22428-7159-7640-83cd-3245675e0000	2026-11-28 21:55:59.960526+00	\N	775	0	0	0	\N	p	{}
39	01a22428-7159-7640-83cd-3245675e0000	2026-11-28 21:55:59.96203+00	\N	776	4	1	1	p	i	{}
40	01a22428-7159-7640-83cd-3245675e0000	2026-11-28 21:55:59.96203+00	\N	776	0	0	0	p	i	{}
41	01a22428-986e-71b3-8fbe-a09eea360000	2026-11-28 21:56:09.965833+00	\N	777	0	0	0	\N	p	{}
\.


--
-- Data for Name: workers; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.workers (worker_no, worker_id, namespaces, registered_at, last_seen_at, idle_until, claimant_no) FROM stdin;
2	holder	{held}	2026-11-28 21:55:59.817806+00	2026-11-28 21:55:59.817764+00	\N	1
1	worker	{ended}	2026-11-28 21:55:59.805497+00	2026-11-28 21:55:59.827132+00	\N	1
4	slow	{timed}	2026-11-28 21:55:59.962177+00	2026-11-28 21:55:59.96203+00	\N	1
\.


--
-- Data for Name: worker_handlers; Type: TABLE DATA; Schema: tasker_engine; Owner: tasker_owner
--

COPY tasker_engine.worker_handlers (worker_no, handler, namespaces, plugin, plugin_version, metadata, announced_at) FROM stdin;
1	h	\N	shop	1.0.0	{"a": 1}	2026-11-28 21:55:59.827594+00
1	other	\N	shop	1.0.0	{"a": 1}	2026-11-28 21:55:59.827749+00
\.


--
-- Name: annotation_types_annotation_type_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.annotation_types_annotation_type_id_seq', 1, true);


--
-- Name: dependent_system_object_maps_dependent_system_object_map_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.dependent_system_object_maps_dependent_system_object_map_id_seq', 1, true);


--
-- Name: dependent_systems_dependent_system_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.dependent_systems_dependent_system_id_seq', 11, true);


--
-- Name: named_steps_named_step_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.named_steps_named_step_id_seq', 27, true);


--
-- Name: named_tasks_named_steps_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.named_tasks_named_steps_id_seq', 27, true);


--
-- Name: named_tasks_named_task_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.named_tasks_named_task_id_seq', 9, true);


--
-- Name: task_annotations_task_annotation_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.task_annotations_task_annotation_id_seq', 1, true);


--
-- Name: task_namespaces_task_namespace_id_seq; Type: SEQUENCE SET; Schema: tasker; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker.task_namespaces_task_namespace_id_seq', 9, true);


--
-- Name: claimants_claimant_no_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.claimants_claimant_no_seq', 1, true);


--
-- Name: claims_claim_id_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.claims_claim_id_seq', 589824, true);


--
-- Name: health_changes_change_no_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.health_changes_change_no_seq', 1, false);


--
-- Name: operational_changes_change_no_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.operational_changes_change_no_seq', 4, true);


--
-- Name: queues_queue_id_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.queues_queue_id_seq', 10, true);


--
-- Name: scaling_decisions_id_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.scaling_decisions_id_seq', 1, false);


--
-- Name: transitions_id_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.transitions_id_seq', 41, true);


--
-- Name: workers_worker_no_seq; Type: SEQUENCE SET; Schema: tasker_engine; Owner: tasker_owner
--

SELECT pg_catalog.setval('tasker_engine.workers_worker_no_seq', 4, true);


--
-- Name: SCHEMA tasker; Type: ACL; Schema: -; Owner: app
--

GRANT USAGE ON SCHEMA tasker TO tasker_owner;
GRANT USAGE ON SCHEMA tasker TO tasker_reader;
GRANT USAGE ON SCHEMA tasker TO tasker_worker;
GRANT USAGE ON SCHEMA tasker TO tasker_operator;
GRANT USAGE ON SCHEMA tasker TO tasker_admin;


--
-- Name: SCHEMA tasker_engine; Type: ACL; Schema: -; Owner: postgres
--

GRANT USAGE ON SCHEMA tasker_engine TO app;


--
-- Name: FUNCTION get_task_execution_context(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_task_execution_context(task_uuid uuid) TO app;


--
-- Name: FUNCTION of_task(value anyelement, task_uuid uuid); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.of_task(value anyelement, task_uuid uuid) TO app;


--
-- Name: FUNCTION all_steps_complete(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.all_steps_complete(task_uuid uuid) TO app;


--
-- Name: FUNCTION analytics_bottlenecks(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.analytics_bottlenecks(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text) TO app;


--
-- Name: FUNCTION analytics_performance(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.analytics_performance() TO app;


--
-- Name: FUNCTION analyze_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.analyze_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION analyze_template(name text, namespace text, version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.analyze_template(name text, namespace text, version text) TO app;


--
-- Name: FUNCTION annotate_task(task_uuid uuid, type_name text, annotation jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.annotate_task(task_uuid uuid, type_name text, annotation jsonb) TO app;


--
-- Name: FUNCTION require_version(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.require_version() TO app;


--
-- Name: TABLE annotation_types; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.annotation_types TO app;


--
-- Name: TABLE task_annotations; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_annotations TO app;


--
-- Name: FUNCTION annotation_type_name(task_annotation tasker.task_annotations); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.annotation_type_name(task_annotation tasker.task_annotations) TO app;


--
-- Name: FUNCTION calculate_backoff(attempt integer, kind text, base_ms integer, max_ms integer, retry_after interval, jitter numeric); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.calculate_backoff(attempt integer, kind text, base_ms integer, max_ms integer, retry_after interval, jitter numeric) TO app;


--
-- Name: FUNCTION calculate_dependency_levels(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.calculate_dependency_levels(task_uuid uuid) TO app;


--
-- Name: FUNCTION cancel_step(step_uuid uuid, reason text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.cancel_step(step_uuid uuid, reason text) TO app;


--
-- Name: FUNCTION cancel_task(task_uuid uuid, reason text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.cancel_task(task_uuid uuid, reason text) TO app;


--
-- Name: FUNCTION claim_steps(worker_id text, namespaces text[], max_steps integer, lease interval, dependency_results text, queues text[]); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.claim_steps(worker_id text, namespaces text[], max_steps integer, lease interval, dependency_results text, queues text[]) TO app;


--
-- Name: FUNCTION claim_task_for_finalization(task_uuid uuid, processor_id text, timeout_seconds integer); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.claim_task_for_finalization(task_uuid uuid, processor_id text, timeout_seconds integer) TO app;


--
-- Name: FUNCTION complete_step(step_uuid uuid, claim_number integer, results jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.complete_step(step_uuid uuid, claim_number integer, results jsonb) TO app;


--
-- Name: FUNCTION configure_executor_pool(name text, min_executors integer, max_executors integer, target_utilization numeric, scaling_interval interval, scaling_cooldown interval, namespaces text[], queues text[], batch_size integer, predictive boolean, season interval, enabled boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.configure_executor_pool(name text, min_executors integer, max_executors integer, target_utilization numeric, scaling_interval interval, scaling_cooldown interval, namespaces text[], queues text[], batch_size integer, predictive boolean, season interval, enabled boolean) TO app;


--
-- Name: FUNCTION create_task(name text, context jsonb, namespace text, version text, initiator text, source_system text, reason text, tags jsonb, bypass_steps jsonb, priority integer, run_at timestamp with time zone, idempotency_key text, correlation_id text, traceparent text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.create_task(name text, context jsonb, namespace text, version text, initiator text, source_system text, reason text, tags jsonb, bypass_steps jsonb, priority integer, run_at timestamp with time zone, idempotency_key text, correlation_id text, traceparent text) TO app;


--
-- Name: FUNCTION create_tasks(name text, contexts jsonb[], namespace text, version text, initiator text, source_system text, reason text, tags jsonb, bypass_steps jsonb, priority integer, run_at timestamp with time zone, idempotency_keys text[], correlation_id text, traceparent text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.create_tasks(name text, contexts jsonb[], namespace text, version text, initiator text, source_system text, reason text, tags jsonb, bypass_steps jsonb, priority integer, run_at timestamp with time zone, idempotency_keys text[], correlation_id text, traceparent text) TO app;


--
-- Name: FUNCTION delete_namespace(name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.delete_namespace(name text) TO app;


--
-- Name: FUNCTION delete_template(name text, namespace text, version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.delete_template(name text, namespace text, version text) TO app;


--
-- Name: FUNCTION dependency_levels_hash(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.dependency_levels_hash(task_uuid uuid) TO app;


--
-- Name: FUNCTION export_template(name text, namespace text, version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.export_template(name text, namespace text, version text) TO app;


--
-- Name: FUNCTION extend_finalization_claim(task_uuid uuid, processor_id text, timeout_seconds integer); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.extend_finalization_claim(task_uuid uuid, processor_id text, timeout_seconds integer) TO app;


--
-- Name: FUNCTION fail_step(step_uuid uuid, claim_number integer, error_message text, error_class text, retryable boolean, retry_after interval, backtrace text[], results jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.fail_step(step_uuid uuid, claim_number integer, error_message text, error_class text, retryable boolean, retry_after interval, backtrace text[], results jsonb) TO app;


--
-- Name: FUNCTION finalize_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.finalize_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION required(value anyelement, name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.required(value anyelement, name text) TO app;


--
-- Name: TABLE named_tasks; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.named_tasks TO app;


--
-- Name: TABLE task_namespaces; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_namespaces TO app;


--
-- Name: FUNCTION named_tasks_in_namespace(name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.named_tasks_in_namespace(name text) TO app;


--
-- Name: FUNCTION find_named_task(name text, namespace_name text, version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.find_named_task(name text, namespace_name text, version text) TO app;


--
-- Name: FUNCTION find_latest_version(namespace_name text, name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.find_latest_version(namespace_name text, name text) TO app;


--
-- Name: FUNCTION find_or_create_annotation_type(name text, description text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.find_or_create_annotation_type(name text, description text) TO app;


--
-- Name: FUNCTION find_or_create_dependent_system(name text, description text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.find_or_create_dependent_system(name text, description text) TO app;


--
-- Name: FUNCTION find_or_create_dependent_system_object_map(system_one text, remote_id_one text, system_two text, remote_id_two text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.find_or_create_dependent_system_object_map(system_one text, remote_id_one text, system_two text, remote_id_two text) TO app;


--
-- Name: FUNCTION find_or_create_namespace(name text, description text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.find_or_create_namespace(name text, description text) TO app;


--
-- Name: FUNCTION get_step_readiness_status(task_uuid uuid, step_uuids uuid[]); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_step_readiness_status(task_uuid uuid, step_uuids uuid[]) TO app;


--
-- Name: FUNCTION step_uuid(task_uuid uuid, step_no smallint); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_uuid(task_uuid uuid, step_no smallint) TO app;


--
-- Name: FUNCTION is_done(state "char"); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.is_done(state "char") TO app;


--
-- Name: FUNCTION state_name(state "char"); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.state_name(state "char") TO app;


--
-- Name: TABLE named_tasks_named_steps; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.named_tasks_named_steps TO app;


--
-- Name: TABLE claims; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.claims TO app;


--
-- Name: TABLE queues; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.queues TO app;


--
-- Name: TABLE transitions; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.transitions TO app;


--
-- Name: TABLE step_runs; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.step_runs TO app;


--
-- Name: TABLE steps; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.steps TO app;


--
-- Name: TABLE tasks; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.tasks TO app;


--
-- Name: TABLE workers; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.workers TO app;


--
-- Name: TABLE workflow_steps; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.workflow_steps TO app;


--
-- Name: FUNCTION find_step_by_name(task_uuid uuid, name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.find_step_by_name(task_uuid uuid, name text) TO app;


--
-- Name: FUNCTION force_release_stale_claims(level text, dry_run boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.force_release_stale_claims(level text, dry_run boolean) TO app;


--
-- Name: FUNCTION get_analytics_metrics(since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_analytics_metrics(since timestamp with time zone) TO app;


--
-- Name: FUNCTION get_dependency_bottlenecks(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_dependency_bottlenecks(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text) TO app;


--
-- Name: FUNCTION get_dependency_results(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_dependency_results(step_uuid uuid) TO app;


--
-- Name: FUNCTION get_duration_percentiles(since timestamp with time zone, namespace_filter text, task_name_filter text, version_filter text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_duration_percentiles(since timestamp with time zone, namespace_filter text, task_name_filter text, version_filter text) TO app;


--
-- Name: FUNCTION get_error_patterns(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_error_patterns(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text) TO app;


--
-- Name: FUNCTION get_processor_claim_stats(period interval); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_processor_claim_stats(period interval) TO app;


--
-- Name: FUNCTION get_slowest_steps(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_slowest_steps(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text) TO app;


--
-- Name: FUNCTION get_slowest_tasks(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_slowest_tasks(since timestamp with time zone, limit_count integer, namespace_filter text, task_name_filter text, version_filter text) TO app;


--
-- Name: FUNCTION get_step_readiness_status_batch(task_uuids uuid[]); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_step_readiness_status_batch(task_uuids uuid[]) TO app;


--
-- Name: FUNCTION get_system_health_counts(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_system_health_counts() TO app;


--
-- Name: FUNCTION get_task_execution_contexts_batch(task_uuids uuid[]); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_task_execution_contexts_batch(task_uuids uuid[]) TO app;


--
-- Name: FUNCTION get_viable_steps(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.get_viable_steps(task_uuid uuid) TO app;


--
-- Name: FUNCTION engine_clock(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.engine_clock() TO app;


--
-- Name: FUNCTION full_name(namespace_name text, name text, version text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.full_name(namespace_name text, name text, version text) TO app;


--
-- Name: FUNCTION is_seen(last_seen_at timestamp with time zone, idle_until timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.is_seen(last_seen_at timestamp with time zone, idle_until timestamp with time zone) TO app;


--
-- Name: TABLE registered_templates; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.registered_templates TO app;


--
-- Name: TABLE known_workers; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.known_workers TO app;


--
-- Name: TABLE worker_handlers; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.worker_handlers TO app;


--
-- Name: TABLE worker_handlers; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.worker_handlers TO app;


--
-- Name: TABLE handlers; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.handlers TO app;


--
-- Name: FUNCTION handlers_in_namespace(namespace text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.handlers_in_namespace(namespace text) TO app;


--
-- Name: FUNCTION health_live(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.health_live() TO app;


--
-- Name: FUNCTION health_ready(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.health_ready() TO app;


--
-- Name: FUNCTION health_status(period interval); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.health_status(period interval) TO app;


--
-- Name: FUNCTION heartbeat(worker_id text, lease interval); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.heartbeat(worker_id text, lease interval) TO app;


--
-- Name: FUNCTION max_dependency_level(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.max_dependency_level(task_uuid uuid) TO app;


--
-- Name: FUNCTION metrics_prometheus(with_workers boolean, with_states boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.metrics_prometheus(with_workers boolean, with_states boolean) TO app;


--
-- Name: FUNCTION named_tasks_latest_versions(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.named_tasks_latest_versions() TO app;


--
-- Name: FUNCTION named_tasks_named_steps_for_named_task(named_task_id integer); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.named_tasks_named_steps_for_named_task(named_task_id integer) TO app;


--
-- Name: FUNCTION named_tasks_with_version(version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.named_tasks_with_version(version text) TO app;


--
-- Name: FUNCTION next_runs(cron text, time_zone text, after timestamp with time zone, count integer); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.next_runs(cron text, time_zone text, after timestamp with time zone, count integer) TO app;


--
-- Name: FUNCTION notify_channel(namespace text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.notify_channel(namespace text) TO app;


--
-- Name: TABLE operational_changes; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.operational_changes TO app;


--
-- Name: FUNCTION operational_state(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.operational_state() TO app;


--
-- Name: FUNCTION pause_namespace(name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.pause_namespace(name text) TO app;


--
-- Name: FUNCTION pause_schedule(schedule_name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.pause_schedule(schedule_name text) TO app;


--
-- Name: FUNCTION purge_tasks(older_than interval, batch integer, namespace text, include_failed boolean, dry_run boolean, after_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.purge_tasks(older_than interval, batch integer, namespace text, include_failed boolean, dry_run boolean, after_uuid uuid) TO app;


--
-- Name: FUNCTION register_handlers(worker_id text, handlers text[], namespaces text[], plugin text, plugin_version text, metadata jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.register_handlers(worker_id text, handlers text[], namespaces text[], plugin text, plugin_version text, metadata jsonb) TO app;


--
-- Name: FUNCTION register_template(template text, replace boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.register_template(template text, replace boolean) TO app;


--
-- Name: FUNCTION release_finalization_claim(task_uuid uuid, processor_id text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.release_finalization_claim(task_uuid uuid, processor_id text) TO app;


--
-- Name: FUNCTION release_steps(worker_id text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.release_steps(worker_id text) TO app;


--
-- Name: FUNCTION remove_executor_pool(name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.remove_executor_pool(name text) TO app;


--
-- Name: FUNCTION repair_integrity(dry_run boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.repair_integrity(dry_run boolean) TO app;


--
-- Name: FUNCTION report_and_claim(worker_id text, reports jsonb, namespaces text[], max_steps integer, lease interval, dependency_results text, queues text[]); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.report_and_claim(worker_id text, reports jsonb, namespaces text[], max_steps integer, lease interval, dependency_results text, queues text[]) TO app;


--
-- Name: FUNCTION report_steps(worker_id text, reports jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.report_steps(worker_id text, reports jsonb) TO app;


--
-- Name: FUNCTION reset_metrics(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.reset_metrics() TO app;


--
-- Name: FUNCTION resolve_step_manually(step_uuid uuid, results jsonb, resolved_by text, reason text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.resolve_step_manually(step_uuid uuid, results jsonb, resolved_by text, reason text) TO app;


--
-- Name: FUNCTION resolve_task_manually(task_uuid uuid, resolved_by text, reason text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.resolve_task_manually(task_uuid uuid, resolved_by text, reason text) TO app;


--
-- Name: FUNCTION resume_namespace(name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.resume_namespace(name text) TO app;


--
-- Name: FUNCTION resume_schedule(schedule_name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.resume_schedule(schedule_name text) TO app;


--
-- Name: FUNCTION retry_step(step_uuid uuid, reset_attempts boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.retry_step(step_uuid uuid, reset_attempts boolean) TO app;


--
-- Name: FUNCTION retry_task(task_uuid uuid, reason text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.retry_task(task_uuid uuid, reason text) TO app;


--
-- Name: FUNCTION run_maintenance(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.run_maintenance() TO app;


--
-- Name: FUNCTION run_steps(max_steps integer, namespaces text[], queues text[]); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.run_steps(max_steps integer, namespaces text[], queues text[]) TO app;


--
-- Name: FUNCTION schedule_task(schedule_name text, cron text, task_name text, context jsonb, namespace text, version text, time_zone text, missed_runs text, overlap boolean, priority integer, tags jsonb, enabled boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.schedule_task(schedule_name text, cron text, task_name text, context jsonb, namespace text, version text, time_zone text, missed_runs text, overlap boolean, priority integer, tags jsonb, enabled boolean) TO app;


--
-- Name: FUNCTION set_operational_state(state text, reason text, force boolean); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.set_operational_state(state text, reason text, force boolean) TO app;


--
-- Name: FUNCTION set_retention(namespace text, completed interval, failed interval); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.set_retention(namespace text, completed interval, failed interval) TO app;


--
-- Name: FUNCTION set_retry_limit(step_uuid uuid, retry_limit integer); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.set_retry_limit(step_uuid uuid, retry_limit integer) TO app;


--
-- Name: FUNCTION step_min_depth(named_task_id integer, step_no smallint); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.step_min_depth(named_task_id integer, step_no smallint) TO app;


--
-- Name: TABLE step_dag_relationships; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.step_dag_relationships TO app;


--
-- Name: FUNCTION step_dag_relationships_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_dag_relationships_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION step_dag_relationships_leaf_steps(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_dag_relationships_leaf_steps() TO app;


--
-- Name: FUNCTION step_dag_relationships_root_steps(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_dag_relationships_root_steps() TO app;


--
-- Name: FUNCTION step_task_uuid(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_task_uuid(step_uuid uuid) TO app;


--
-- Name: FUNCTION step_dag_relationships_siblings_of(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_dag_relationships_siblings_of(step_uuid uuid) TO app;


--
-- Name: FUNCTION step_dag_relationships_with_children(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_dag_relationships_with_children() TO app;


--
-- Name: FUNCTION step_dag_relationships_with_parents(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_dag_relationships_with_parents() TO app;


--
-- Name: FUNCTION step_number(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_number(step_uuid uuid) TO app;


--
-- Name: TABLE step_readiness_statuses; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.step_readiness_statuses TO app;


--
-- Name: FUNCTION step_readiness_statuses_blocked_by_dependencies_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_readiness_statuses_blocked_by_dependencies_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION step_readiness_statuses_blocked_by_retry_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_readiness_statuses_blocked_by_retry_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION step_readiness_statuses_complete_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_readiness_statuses_complete_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION step_readiness_statuses_failed_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_readiness_statuses_failed_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION step_readiness_statuses_in_progress_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_readiness_statuses_in_progress_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION step_readiness_statuses_pending_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_readiness_statuses_pending_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION step_readiness_statuses_ready_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.step_readiness_statuses_ready_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION steps_at_dependency_level(task_uuid uuid, dependency_level integer); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.steps_at_dependency_level(task_uuid uuid, dependency_level integer) TO app;


--
-- Name: FUNCTION judge_health(measure text, part bigint, whole bigint, multiplier double precision); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.judge_health(measure text, part bigint, whole bigint, multiplier double precision) TO app;


--
-- Name: FUNCTION percentage(part bigint, whole bigint); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.percentage(part bigint, whole bigint) TO app;


--
-- Name: FUNCTION system_health(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.system_health() TO app;


--
-- Name: FUNCTION table_access(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.table_access() TO app;


--
-- Name: FUNCTION tag_task(task_uuid uuid, tags jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tag_task(task_uuid uuid, tags jsonb) TO app;


--
-- Name: FUNCTION task_blockers(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_blockers(task_uuid uuid) TO app;


--
-- Name: FUNCTION task_bottlenecks(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_bottlenecks(task_uuid uuid) TO app;


--
-- Name: FUNCTION task_completion_stats(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_completion_stats(task_uuid uuid) TO app;


--
-- Name: FUNCTION task_critical_path(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_critical_path(task_uuid uuid) TO app;


--
-- Name: FUNCTION task_diagram(task_uuid uuid, format text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_diagram(task_uuid uuid, format text) TO app;


--
-- Name: FUNCTION task_error_chains(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_error_chains(task_uuid uuid) TO app;


--
-- Name: FUNCTION task_namespaces_custom(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_namespaces_custom() TO app;


--
-- Name: TABLE task_execution_contexts; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_execution_contexts TO app;


--
-- Name: TABLE task_execution_details; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_execution_details TO app;


--
-- Name: FUNCTION task_next_action(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_next_action(task_uuid uuid) TO app;


--
-- Name: FUNCTION task_parallelism(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_parallelism(task_uuid uuid) TO app;


--
-- Name: FUNCTION task_schedule(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_schedule(task_uuid uuid) TO app;


--
-- Name: TABLE task_transitions; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_transitions TO app;


--
-- Name: FUNCTION task_transition_statistics(task_uuid uuid, since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_transition_statistics(task_uuid uuid, since timestamp with time zone) TO app;


--
-- Name: FUNCTION task_transitions_in_time_range(from_time timestamp with time zone, to_time timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_transitions_in_time_range(from_time timestamp with time zone, to_time timestamp with time zone) TO app;


--
-- Name: FUNCTION known_state(state text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.known_state(state text) TO app;


--
-- Name: FUNCTION task_transitions_most_recent_to_state(task_uuid uuid, state text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_transitions_most_recent_to_state(task_uuid uuid, state text) TO app;


--
-- Name: FUNCTION task_transitions_recent(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_transitions_recent() TO app;


--
-- Name: FUNCTION task_transitions_to_state(state text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_transitions_to_state(state text) TO app;


--
-- Name: FUNCTION task_transitions_with_metadata_key(key text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_transitions_with_metadata_key(key text) TO app;


--
-- Name: FUNCTION task_transitions_with_metadata_value(key text, value jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_transitions_with_metadata_value(key text, value jsonb) TO app;


--
-- Name: FUNCTION task_workflow_summary(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.task_workflow_summary(task_uuid uuid) TO app;


--
-- Name: TABLE task_identities; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.task_identities TO app;


--
-- Name: TABLE tasks; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.tasks TO app;


--
-- Name: FUNCTION tasks_active(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_active() TO app;


--
-- Name: FUNCTION scalar(value text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.scalar(value text) TO app;


--
-- Name: FUNCTION tasks_by_annotation(name text, key text, value text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_by_annotation(name text, key text, value text) TO app;


--
-- Name: FUNCTION tasks_by_current_state(state text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_by_current_state(state text) TO app;


--
-- Name: TABLE workflow_step_transitions; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.workflow_step_transitions TO app;


--
-- Name: FUNCTION tasks_completed_since(since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_completed_since(since timestamp with time zone) TO app;


--
-- Name: FUNCTION uuids_since(since timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.uuids_since(since timestamp with time zone) TO app;


--
-- Name: FUNCTION tasks_created_since(since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_created_since(since timestamp with time zone) TO app;


--
-- Name: FUNCTION tasks_failed_since(since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_failed_since(since timestamp with time zone) TO app;


--
-- Name: FUNCTION named_task_ids(namespace_name text, name text, version text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.named_task_ids(namespace_name text, name text, version text) TO app;


--
-- Name: FUNCTION tasks_in_namespace(name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_in_namespace(name text) TO app;


--
-- Name: TABLE tasks_with_all_associated; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.tasks_with_all_associated TO app;


--
-- Name: FUNCTION tasks_with_all_associated(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_with_all_associated() TO app;


--
-- Name: FUNCTION tasks_with_tag(tag text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_with_tag(tag text) TO app;


--
-- Name: FUNCTION tasks_with_tags(tags jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_with_tags(tags jsonb) TO app;


--
-- Name: FUNCTION tasks_with_task_name(name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_with_task_name(name text) TO app;


--
-- Name: FUNCTION tasks_with_version(version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.tasks_with_version(version text) TO app;


--
-- Name: FUNCTION template_diagram(name text, namespace text, version text, format text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.template_diagram(name text, namespace text, version text, format text) TO app;


--
-- Name: FUNCTION step_level(named_task_id integer, step_no smallint); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.step_level(named_task_id integer, step_no smallint) TO app;


--
-- Name: FUNCTION template_graph(name text, namespace text, version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.template_graph(name text, namespace text, version text) TO app;


--
-- Name: FUNCTION transition_step(step_uuid uuid, to_state text, metadata jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.transition_step(step_uuid uuid, to_state text, metadata jsonb) TO app;


--
-- Name: FUNCTION transition_task(task_uuid uuid, to_state text, metadata jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.transition_task(task_uuid uuid, to_state text, metadata jsonb) TO app;


--
-- Name: FUNCTION try_transition_step(step_uuid uuid, to_state text, metadata jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.try_transition_step(step_uuid uuid, to_state text, metadata jsonb) TO app;


--
-- Name: FUNCTION try_transition_task(task_uuid uuid, to_state text, metadata jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.try_transition_task(task_uuid uuid, to_state text, metadata jsonb) TO app;


--
-- Name: FUNCTION unique_task_types_count(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.unique_task_types_count() TO app;


--
-- Name: FUNCTION unregister_handlers(worker_id text, handlers text[]); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.unregister_handlers(worker_id text, handlers text[]) TO app;


--
-- Name: FUNCTION unschedule_task(schedule_name text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.unschedule_task(schedule_name text) TO app;


--
-- Name: FUNCTION untag_task(task_uuid uuid, tags jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.untag_task(task_uuid uuid, tags jsonb) TO app;


--
-- Name: FUNCTION validate_resources(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.validate_resources() TO app;


--
-- Name: FUNCTION validate_template(template text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.validate_template(template text) TO app;


--
-- Name: FUNCTION version_exists(namespace_name text, name text, version text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.version_exists(namespace_name text, name text, version text) TO app;


--
-- Name: TABLE workflow_step_edges; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.workflow_step_edges TO app;


--
-- Name: FUNCTION workflow_step_edges_children_of(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_edges_children_of(step_uuid uuid) TO app;


--
-- Name: FUNCTION workflow_step_edges_parents_of(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_edges_parents_of(step_uuid uuid) TO app;


--
-- Name: FUNCTION workflow_step_edges_provides_edges(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_edges_provides_edges() TO app;


--
-- Name: FUNCTION workflow_step_edges_provides_to_children(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_edges_provides_to_children(step_uuid uuid) TO app;


--
-- Name: FUNCTION workflow_step_edges_siblings_of(step_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_edges_siblings_of(step_uuid uuid) TO app;


--
-- Name: FUNCTION workflow_step_transition_statistics(task_uuid uuid, step_uuid uuid, since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transition_statistics(task_uuid uuid, step_uuid uuid, since timestamp with time zone) TO app;


--
-- Name: FUNCTION workflow_step_transitions_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transitions_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION workflow_step_transitions_in_time_range(from_time timestamp with time zone, to_time timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transitions_in_time_range(from_time timestamp with time zone, to_time timestamp with time zone) TO app;


--
-- Name: FUNCTION workflow_step_transitions_most_recent_to_state(step_uuid uuid, state text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transitions_most_recent_to_state(step_uuid uuid, state text) TO app;


--
-- Name: FUNCTION workflow_step_transitions_recent(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transitions_recent() TO app;


--
-- Name: FUNCTION workflow_step_transitions_to_state(state text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transitions_to_state(state text) TO app;


--
-- Name: FUNCTION workflow_step_transitions_with_metadata_key(key text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transitions_with_metadata_key(key text) TO app;


--
-- Name: FUNCTION workflow_step_transitions_with_metadata_value(key text, value jsonb); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_step_transitions_with_metadata_value(key text, value jsonb) TO app;


--
-- Name: FUNCTION workflow_steps_by_current_state(state text); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_by_current_state(state text) TO app;


--
-- Name: FUNCTION workflow_steps_completed(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_completed() TO app;


--
-- Name: FUNCTION workflow_steps_completed_since(since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_completed_since(since timestamp with time zone) TO app;


--
-- Name: FUNCTION workflow_steps_failed(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_failed() TO app;


--
-- Name: FUNCTION workflow_steps_failed_since(since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_failed_since(since timestamp with time zone) TO app;


--
-- Name: FUNCTION workflow_steps_for_task(task_uuid uuid); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_for_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION workflow_steps_for_tasks_since(since timestamp with time zone); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_for_tasks_since(since timestamp with time zone) TO app;


--
-- Name: FUNCTION workflow_steps_pending(); Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker.workflow_steps_pending() TO app;


--
-- Name: FUNCTION active_connections(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.active_connections() TO app;


--
-- Name: FUNCTION at_least_one(value integer, name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.at_least_one(value integer, name text) TO app;


--
-- Name: FUNCTION attempts_left(attempts integer, retry_limit integer); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.attempts_left(attempts integer, retry_limit integer) TO app;


--
-- Name: FUNCTION background_activity(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.background_activity() TO app;


--
-- Name: FUNCTION begin_startup(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.begin_startup() TO app;


--
-- Name: FUNCTION call_handler(handler text, argument jsonb, owner_oid oid, owner_name text); Type: ACL; Schema: tasker_engine; Owner: postgres
--

GRANT ALL ON FUNCTION tasker_engine.call_handler(handler text, argument jsonb, owner_oid oid, owner_name text) TO app;


--
-- Name: FUNCTION can_still_run(state "char", available_at timestamp with time zone, unreachable boolean); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.can_still_run(state "char", available_at timestamp with time zone, unreachable boolean) TO app;


--
-- Name: FUNCTION change(from_state text, to_state text, metadata jsonb); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.change(from_state text, to_state text, metadata jsonb) TO app;


--
-- Name: FUNCTION check_age(age interval, parameter text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_age(age interval, parameter text) TO app;


--
-- Name: FUNCTION check_announcement(worker_id text, handlers text[], namespaces text[], plugin text, plugin_version text, metadata jsonb); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_announcement(worker_id text, handlers text[], namespaces text[], plugin text, plugin_version text, metadata jsonb) TO app;


--
-- Name: FUNCTION check_finalizer(task_uuid uuid, processor_id text, timeout_seconds integer); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_finalizer(task_uuid uuid, processor_id text, timeout_seconds integer) TO app;


--
-- Name: FUNCTION check_may_create(owner_oid oid, owner_role text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_may_create(owner_oid oid, owner_role text) TO app;


--
-- Name: FUNCTION check_period(period interval); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_period(period interval) TO app;


--
-- Name: FUNCTION check_pool_setting(value numeric, parameter text, low numeric, high numeric, unit text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_pool_setting(value numeric, parameter text, low numeric, high numeric, unit text) TO app;


--
-- Name: FUNCTION check_sql_handler(); Type: ACL; Schema: tasker_engine; Owner: postgres
--

GRANT ALL ON FUNCTION tasker_engine.check_sql_handler() TO app;


--
-- Name: FUNCTION check_tags(task_uuid uuid, tags jsonb); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_tags(task_uuid uuid, tags jsonb) TO app;


--
-- Name: FUNCTION check_time_zone(time_zone text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.check_time_zone(time_zone text) TO app;


--
-- Name: FUNCTION checked(value text, kind text, parameter text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.checked(value text, kind text, parameter text) TO app;


--
-- Name: FUNCTION chosen_templates(namespace_filter text, task_name_filter text, version_filter text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.chosen_templates(namespace_filter text, task_name_filter text, version_filter text) TO app;


--
-- Name: FUNCTION claim_inside(worker_id text, namespaces text[], queues text[], max_steps integer, lease interval); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.claim_inside(worker_id text, namespaces text[], queues text[], max_steps integer, lease interval) TO app;


--
-- Name: FUNCTION claim_level(age double precision, expected integer, lease_over boolean); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.claim_level(age double precision, expected integer, lease_over boolean) TO app;


--
-- Name: FUNCTION histogram_quantile(bounds double precision[], counts double precision[], q double precision); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.histogram_quantile(bounds double precision[], counts double precision[], q double precision) TO app;


--
-- Name: FUNCTION metric_cells(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.metric_cells() TO app;


--
-- Name: FUNCTION shared_recent(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.shared_recent() TO app;


--
-- Name: TABLE metric_counts; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.metric_counts TO app;


--
-- Name: TABLE recent_claims; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.recent_claims TO app;


--
-- Name: FUNCTION claim_window(from_ago interval, to_ago interval); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.claim_window(from_ago interval, to_ago interval) TO app;


--
-- Name: FUNCTION claimants_changed(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.claimants_changed() TO app;


--
-- Name: FUNCTION count_finalization(operation text, outcome text, began_at timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.count_finalization(operation text, outcome text, began_at timestamp with time zone) TO app;


--
-- Name: FUNCTION count_occurrences(cron text, time_zone text, since timestamp with time zone, until timestamp with time zone, most integer); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.count_occurrences(cron text, time_zone text, since timestamp with time zone, until timestamp with time zone, most integer) TO app;


--
-- Name: TABLE schedules; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.schedules TO app;


--
-- Name: FUNCTION create_scheduled_task(s tasker_engine.schedules, scheduled_for timestamp with time zone, run_at timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.create_scheduled_task(s tasker_engine.schedules, scheduled_for timestamp with time zone, run_at timestamp with time zone) TO app;


--
-- Name: FUNCTION default_retention(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.default_retention() TO app;


--
-- Name: FUNCTION dependent_system(name text, parameter text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.dependent_system(name text, parameter text) TO app;


--
-- Name: TABLE executor_pools; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.executor_pools TO app;


--
-- Name: FUNCTION pool_settings(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.pool_settings() TO app;


--
-- Name: TABLE pool_targets; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.pool_targets TO app;


--
-- Name: FUNCTION desired_executors(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.desired_executors() TO app;


--
-- Name: FUNCTION duration(span interval); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duration(span interval) TO app;


--
-- Name: FUNCTION duties(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duties() TO app;


--
-- Name: FUNCTION duty_clocks(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_clocks() TO app;


--
-- Name: FUNCTION duty_health(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_health() TO app;


--
-- Name: FUNCTION duty_leases(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_leases() TO app;


--
-- Name: FUNCTION duty_metrics(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_metrics() TO app;


--
-- Name: FUNCTION duty_orphans(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_orphans() TO app;


--
-- Name: FUNCTION duty_retention(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_retention() TO app;


--
-- Name: FUNCTION duty_roles(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_roles() TO app;


--
-- Name: FUNCTION duty_scaling(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_scaling() TO app;


--
-- Name: FUNCTION duty_schedules(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_schedules() TO app;


--
-- Name: FUNCTION duty_startup(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_startup() TO app;


--
-- Name: FUNCTION duty_states(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_states() TO app;


--
-- Name: FUNCTION duty_task_timeouts(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.duty_task_timeouts() TO app;


--
-- Name: FUNCTION entry_agrees(state "char", available_at timestamp with time zone, entry_available_at timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.entry_agrees(state "char", available_at timestamp with time zone, entry_available_at timestamp with time zone) TO app;


--
-- Name: FUNCTION executor_restarts(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.executor_restarts() TO app;


--
-- Name: FUNCTION expected_run_seconds(priority smallint, timeout_seconds integer); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.expected_run_seconds(priority smallint, timeout_seconds integer) TO app;


--
-- Name: FUNCTION find_claimant(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.find_claimant() TO app;


--
-- Name: FUNCTION find_schedule_owner(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.find_schedule_owner() TO app;


--
-- Name: FUNCTION function_owner(handler text); Type: ACL; Schema: tasker_engine; Owner: postgres
--

GRANT ALL ON FUNCTION tasker_engine.function_owner(handler text) TO app;


--
-- Name: FUNCTION has_coordinator(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.has_coordinator() TO app;


--
-- Name: FUNCTION health_measures(start timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.health_measures(start timestamp with time zone) TO app;


--
-- Name: FUNCTION health_score(complete bigint, error bigint); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.health_score(complete bigint, error bigint) TO app;


--
-- Name: FUNCTION is_open(state "char"); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.is_open(state "char") TO app;


--
-- Name: FUNCTION is_purgeable(task_uuid uuid, state "char", completed_at timestamp with time zone, completed_before timestamp with time zone, failed_before timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.is_purgeable(task_uuid uuid, state "char", completed_at timestamp with time zone, completed_before timestamp with time zone, failed_before timestamp with time zone) TO app;


--
-- Name: FUNCTION library(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.library() TO app;


--
-- Name: FUNCTION log_schedule_run(schedule_name text, scheduled_for timestamp with time zone, outcome text, times integer, task_uuid uuid, error text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.log_schedule_run(schedule_name text, scheduled_for timestamp with time zone, outcome text, times integer, task_uuid uuid, error text) TO app;


--
-- Name: FUNCTION namespace_id(name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.namespace_id(name text) TO app;


--
-- Name: TABLE queue_entries; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.queue_entries TO app;


--
-- Name: FUNCTION next_available(queue_ids integer[]); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.next_available(queue_ids integer[]) TO app;


--
-- Name: FUNCTION next_occurrence(cron text, time_zone text, after timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.next_occurrence(cron text, time_zone text, after timestamp with time zone) TO app;


--
-- Name: FUNCTION note_duty_run(duty_no integer); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.note_duty_run(duty_no integer) TO app;


--
-- Name: FUNCTION object_pair(system_one integer, remote_id_one text, system_two integer, remote_id_two text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.object_pair(system_one integer, remote_id_one text, system_two integer, remote_id_two text) TO app;


--
-- Name: FUNCTION operational_rules(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.operational_rules() TO app;


--
-- Name: FUNCTION own_schedule(caller oid, schedule_name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.own_schedule(caller oid, schedule_name text) TO app;


--
-- Name: FUNCTION owner_fault(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.owner_fault() TO app;


--
-- Name: FUNCTION pause_schedule(caller oid, schedule_name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.pause_schedule(caller oid, schedule_name text) TO app;


--
-- Name: FUNCTION period_metrics(start timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.period_metrics(start timestamp with time zone) TO app;


--
-- Name: FUNCTION period_start(since timestamp with time zone, usual interval); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.period_start(since timestamp with time zone, usual interval) TO app;


--
-- Name: FUNCTION pool_depth(queues text[], namespaces text[]); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.pool_depth(queues text[], namespaces text[]) TO app;


--
-- Name: FUNCTION this_database(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.this_database() TO app;


--
-- Name: FUNCTION pool_load(pool text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.pool_load(pool text) TO app;


--
-- Name: FUNCTION pool_statuses(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.pool_statuses() TO app;


--
-- Name: FUNCTION previous_occurrence(cron text, time_zone text, until timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.previous_occurrence(cron text, time_zone text, until timestamp with time zone) TO app;


--
-- Name: FUNCTION purge_batch(completed_before timestamp with time zone, failed_before timestamp with time zone, namespace_id integer, after_uuid uuid, batch integer, dry_run boolean, OUT last_uuid uuid, OUT finished boolean, OUT tasks bigint, OUT steps bigint, OUT transitions bigint, OUT other_rows bigint); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.purge_batch(completed_before timestamp with time zone, failed_before timestamp with time zone, namespace_id integer, after_uuid uuid, batch integer, dry_run boolean, OUT last_uuid uuid, OUT finished boolean, OUT tasks bigint, OUT steps bigint, OUT transitions bigint, OUT other_rows bigint) TO app;


--
-- Name: FUNCTION refresh_claimants(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.refresh_claimants() TO app;


--
-- Name: FUNCTION refresh_handler_roles(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.refresh_handler_roles() TO app;


--
-- Name: FUNCTION refresh_schedule_owners(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.refresh_schedule_owners() TO app;


--
-- Name: FUNCTION require_task(task_uuid uuid); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.require_task(task_uuid uuid) TO app;


--
-- Name: FUNCTION reset_shared_counts(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.reset_shared_counts() TO app;


--
-- Name: FUNCTION resume_schedule(caller oid, schedule_name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.resume_schedule(caller oid, schedule_name text) TO app;


--
-- Name: FUNCTION role_name(role_oid oid, kept text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.role_name(role_oid oid, kept text) TO app;


--
-- Name: FUNCTION role_oid(role_name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.role_oid(role_name text) TO app;


--
-- Name: FUNCTION run_duty(duty text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.run_duty(duty text) TO app;


--
-- Name: FUNCTION run_schedule(s tasker_engine.schedules, at_time timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.run_schedule(s tasker_engine.schedules, at_time timestamp with time zone) TO app;


--
-- Name: FUNCTION run_step(step_uuid uuid, claim_number integer, argument jsonb); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.run_step(step_uuid uuid, claim_number integer, argument jsonb) TO app;


--
-- Name: FUNCTION schedule_task(caller oid, schedule_name text, cron text, task_name text, context jsonb, namespace text, version text, time_zone text, missed_runs text, overlap boolean, priority integer, tags jsonb, enabled boolean); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.schedule_task(caller oid, schedule_name text, cron text, task_name text, context jsonb, namespace text, version text, time_zone text, missed_runs text, overlap boolean, priority integer, tags jsonb, enabled boolean) TO app;


--
-- Name: FUNCTION seconds(duration double precision); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.seconds(duration double precision) TO app;


--
-- Name: FUNCTION server_resources(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.server_resources() TO app;


--
-- Name: FUNCTION shared_counts(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.shared_counts() TO app;


--
-- Name: FUNCTION shared_since(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.shared_since() TO app;


--
-- Name: FUNCTION take_over_claims(claim_ids bigint[], step_uuids uuid[]); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.take_over_claims(claim_ids bigint[], step_uuids uuid[]) TO app;


--
-- Name: FUNCTION take_steps(worker_id text, namespaces text[], queues text[], max_steps integer, lease interval); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.take_steps(worker_id text, namespaces text[], queues text[], max_steps integer, lease interval) TO app;


--
-- Name: FUNCTION trend(start timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.trend(start timestamp with time zone) TO app;


--
-- Name: FUNCTION try_duty_lock(duty_no integer); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.try_duty_lock(duty_no integer) TO app;


--
-- Name: FUNCTION unknown_schedule(schedule_name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.unknown_schedule(schedule_name text) TO app;


--
-- Name: FUNCTION unschedule_task(caller oid, schedule_name text); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.unschedule_task(caller oid, schedule_name text) TO app;


--
-- Name: FUNCTION wake_launcher(); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.wake_launcher() TO app;


--
-- Name: FUNCTION worker_status(live boolean, last_seen_at timestamp with time zone); Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON FUNCTION tasker_engine.worker_status(live boolean, last_seen_at timestamp with time zone) TO app;


--
-- Name: SEQUENCE annotation_types_annotation_type_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.annotation_types_annotation_type_id_seq TO app;


--
-- Name: TABLE background_workers; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.background_workers TO app;


--
-- Name: TABLE dependent_system_object_maps; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.dependent_system_object_maps TO app;


--
-- Name: SEQUENCE dependent_system_object_maps_dependent_system_object_map_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.dependent_system_object_maps_dependent_system_object_map_id_seq TO app;


--
-- Name: TABLE dependent_systems; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.dependent_systems TO app;


--
-- Name: SEQUENCE dependent_systems_dependent_system_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.dependent_systems_dependent_system_id_seq TO app;


--
-- Name: TABLE scaling_decisions; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.scaling_decisions TO app;


--
-- Name: TABLE executor_pools; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.executor_pools TO app;


--
-- Name: TABLE executor_restarts; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.executor_restarts TO app;


--
-- Name: TABLE failed_steps; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.failed_steps TO app;


--
-- Name: TABLE finalization_alerts; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.finalization_alerts TO app;


--
-- Name: TABLE counts; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.counts TO app;


--
-- Name: TABLE counted_cells; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.counted_cells TO app;


--
-- Name: TABLE finalization_metrics; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.finalization_metrics TO app;


--
-- Name: TABLE health_alerts; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.health_alerts TO app;


--
-- Name: TABLE health_changes; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.health_changes TO app;


--
-- Name: TABLE health_changes; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.health_changes TO app;


--
-- Name: TABLE duty_runs; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.duty_runs TO app;


--
-- Name: TABLE maintenance_duties; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.maintenance_duties TO app;


--
-- Name: TABLE metrics_source; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.metrics_source TO app;


--
-- Name: TABLE claim_depths; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.claim_depths TO app;


--
-- Name: TABLE queue_depths; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.queue_depths TO app;


--
-- Name: TABLE metrics; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.metrics TO app;


--
-- Name: TABLE named_steps; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.named_steps TO app;


--
-- Name: SEQUENCE named_steps_named_step_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.named_steps_named_step_id_seq TO app;


--
-- Name: SEQUENCE named_tasks_named_steps_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.named_tasks_named_steps_id_seq TO app;


--
-- Name: SEQUENCE named_tasks_named_task_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.named_tasks_named_task_id_seq TO app;


--
-- Name: TABLE operational_state_changes; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.operational_state_changes TO app;


--
-- Name: TABLE running_steps; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.running_steps TO app;


--
-- Name: TABLE operational_status; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.operational_status TO app;


--
-- Name: TABLE plugins; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.plugins TO app;


--
-- Name: TABLE registered_namespaces; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.registered_namespaces TO app;


--
-- Name: TABLE unannounced_handlers; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.unannounced_handlers TO app;


--
-- Name: TABLE registry_statistics; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.registry_statistics TO app;


--
-- Name: TABLE retention; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.retention TO app;


--
-- Name: TABLE retention; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.retention TO app;


--
-- Name: TABLE scaling_decisions; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.scaling_decisions TO app;


--
-- Name: TABLE schedule_runs; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.schedule_runs TO app;


--
-- Name: TABLE schedule_runs; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.schedule_runs TO app;


--
-- Name: TABLE schedules; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.schedules TO app;


--
-- Name: TABLE claim_ages; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.claim_ages TO app;


--
-- Name: TABLE stale_claims; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.stale_claims TO app;


--
-- Name: TABLE step_readiness_details; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.step_readiness_details TO app;


--
-- Name: TABLE stuck_tasks; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.stuck_tasks TO app;


--
-- Name: SEQUENCE task_annotations_task_annotation_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.task_annotations_task_annotation_id_seq TO app;


--
-- Name: TABLE task_diagram_edges; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_diagram_edges TO app;


--
-- Name: TABLE task_diagram_nodes; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_diagram_nodes TO app;


--
-- Name: TABLE task_diagrams; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_diagrams TO app;


--
-- Name: SEQUENCE task_namespaces_task_namespace_id_seq; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker.task_namespaces_task_namespace_id_seq TO app;


--
-- Name: TABLE task_overview; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_overview TO app;


--
-- Name: TABLE task_deadlines; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.task_deadlines TO app;


--
-- Name: TABLE task_timeouts; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_timeouts TO app;


--
-- Name: TABLE task_transition_details; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.task_transition_details TO app;


--
-- Name: TABLE worker_metrics; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.worker_metrics TO app;


--
-- Name: TABLE claimants; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.claimants TO app;


--
-- Name: TABLE workers; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.workers TO app;


--
-- Name: TABLE workflow_step_statuses; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.workflow_step_statuses TO app;


--
-- Name: TABLE workflow_step_transition_details; Type: ACL; Schema: tasker; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker.workflow_step_transition_details TO app;


--
-- Name: SEQUENCE claimants_claimant_no_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.claimants_claimant_no_seq TO app;


--
-- Name: SEQUENCE claims_claim_id_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.claims_claim_id_seq TO app;


--
-- Name: TABLE ended_runs; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.ended_runs TO app;


--
-- Name: TABLE finalization_attempts; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.finalization_attempts TO app;


--
-- Name: TABLE finalization_claims; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.finalization_claims TO app;


--
-- Name: SEQUENCE health_changes_change_no_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.health_changes_change_no_seq TO app;


--
-- Name: TABLE missing_entries; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.missing_entries TO app;


--
-- Name: SEQUENCE operational_changes_change_no_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.operational_changes_change_no_seq TO app;


--
-- Name: TABLE pool_arrivals; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.pool_arrivals TO app;


--
-- Name: SEQUENCE queues_queue_id_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.queues_queue_id_seq TO app;


--
-- Name: SEQUENCE scaling_decisions_id_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.scaling_decisions_id_seq TO app;


--
-- Name: TABLE sql_handlers; Type: ACL; Schema: tasker_engine; Owner: postgres
--

GRANT SELECT,INSERT ON TABLE tasker_engine.sql_handlers TO app;


--
-- Name: TABLE state_samples; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.state_samples TO app;


--
-- Name: TABLE step_facts; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.step_facts TO app;


--
-- Name: TABLE system_counts; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.system_counts TO app;


--
-- Name: TABLE system_overview; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.system_overview TO app;


--
-- Name: TABLE task_times; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.task_times TO app;


--
-- Name: SEQUENCE transitions_id_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.transitions_id_seq TO app;


--
-- Name: TABLE waited_for; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.waited_for TO app;


--
-- Name: TABLE worker_samples; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT SELECT,INSERT ON TABLE tasker_engine.worker_samples TO app;


--
-- Name: SEQUENCE workers_worker_no_seq; Type: ACL; Schema: tasker_engine; Owner: tasker_owner
--

GRANT ALL ON SEQUENCE tasker_engine.workers_worker_no_seq TO app;


--
-- PostgreSQL database dump complete
--

\unrestrict y6bPciOph9wc41YM3Vk9s9yPDxzZi0JIXqZyTCEfCddGAAd9d94RcrxZ11FdzWs

