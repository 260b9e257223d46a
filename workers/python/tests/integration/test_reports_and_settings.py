"""On a real server: one accepted report for each run, under any settings of the session."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

Start = Callable[..., Any]

KINDS = ["nul", "nan", "bytes", "long"] + (["numbers"] if os.environ.get("TASKER_LONG") else [])


def test_results_that_cannot_be_stored_fail_their_step_and_no_neighbour(
    db: Any, worker: Start, namespace: str
) -> None:
    bad = {kind: {"handler": "test.unstorable", "config": {"kind": kind}} for kind in KINDS}
    task = db.create(namespace, {
        **bad, "code": {"handler": "test.unspeakable"}, "good": {}, "other": {},
    })
    worker(namespace, "--poll", "0.1", "--threads", "1")
    ended = {"complete", "error"}
    db.wait_until(lambda: {step["state"] for step in db.steps(task).values()} <= ended, 120)
    steps = db.steps(task)
    assert (steps["good"]["state"], steps["other"]["state"]) == ("complete", "complete")
    for kind in KINDS:
        assert steps[kind]["state"] == "error" and steps[kind]["attempts"] == 1
        assert steps[kind]["results"]["error_class"] == "ResultNotStorable", steps[kind]["results"]
    assert "$.blob: " in steps["long"]["results"]["error_message"]
    assert steps["code"]["results"]["error_class"] == "404"


def test_results_that_break_their_schema_fail_the_step_after_one_run(
    db: Any, worker: Start, namespace: str
) -> None:
    db.register({
        "name": "strict", "namespace_name": namespace, "version": "1.0.0",
        "steps": [{
            "name": "s", "handler": {"callable": "test.quick"},
            "results_schema": {"properties": {"result": {"type": "string"}}},
        }],
    })
    task = db.client.create_task("strict", {}, namespace=namespace)
    worker(namespace, "--poll", "0.1")
    db.wait_status(task, "error")
    step = db.steps(task)["s"]
    assert (step["attempts"], step["results"]["error_class"]) == (1, "ResultNotStorable")
    assert "results.result: " in step["results"]["error_message"], step["results"]


def test_events_of_a_handler_are_published_with_the_report_that_is_accepted(
    db: Any, worker: Start, namespace: str
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.publish"}})
    worker(namespace, "--poll", "0.1")
    db.wait_status(task, "complete")
    rows = db.rows(
        "SELECT name, payload::text, task_uuid, step_uuid = (SELECT step_uuid FROM tasker.workflow_steps w WHERE w.task_uuid = e.task_uuid)"
        " FROM tasker.read_events(patterns => ARRAY[%s]) e WHERE event_id IS NOT NULL",
        f"{namespace}.*",
    )
    assert [tuple(row) for row in rows] == [
        (f"{namespace}.tried", '{"attempt": 1}', task, True),
        (f"{namespace}.tried", '{"attempt": 2}', task, True),
        (f"{namespace}.paid", '{"total": 209.970}', task, True),
    ]
    refused = db.rows(
        "SELECT metadata -> 'refused_events' FROM tasker.workflow_step_transitions l JOIN tasker.workflow_steps s USING (step_uuid)"
        " WHERE s.task_uuid = %s AND l.to_state = 'complete'", task,
    )
    assert "nodot" in str(refused[0][0]), refused


HOSTILE = [
    "DateStyle=German,DMY", "IntervalStyle=sql_standard", "TimeZone=Asia/Kolkata", "search_path=pg_temp",
    "extra_float_digits=-15", "standard_conforming_strings=off", "bytea_output=escape",
    "default_transaction_isolation=serializable", "client_encoding=LATIN1",
]


@pytest.mark.parametrize("setting", [
    " -c ".join(HOSTILE), *(HOSTILE if os.environ.get("TASKER_LONG") else []),
])
def test_a_worker_works_under_any_settings_of_the_session(
    db: Any, worker: Start, namespace: str, dsn: str, setting: str
) -> None:
    text = "Grüße 漢字"
    task = db.create(namespace, {
        "a": {"handler": "test.retry_once"}, "b": {"handler": "test.echo", "after": ["a"]},
    }, {"text": text})
    worker(namespace, "--poll", "0.1", "--lease", "0.9",
           dsn=make_conninfo(dsn, options=f"-c {setting}"))
    db.wait_status(task, "complete")
    assert db.results(task)["b"]["context"] == {"text": text}


def test_a_context_too_deep_to_read_fails_its_step_only(
    db: Any, worker: Start, namespace: str
) -> None:
    name = "deep"
    db.register({"name": name, "namespace_name": namespace, "version": "1.0.0",
                 "steps": [{"name": "s", "handler": {"callable": "test.quick"}}]})
    deep = '{"a":' * 2000 + "1" + "}" * 2000
    task = db.rows("SELECT tasker.create_task(%s, %s::jsonb, namespace => %s)", name, deep, namespace)[0][0]
    other = db.client.create_task(name, {}, namespace=namespace)
    worker(namespace, "--poll", "0.1")
    db.wait_status(other, "complete")
    db.wait_status(task, "error")
    step = db.steps(task)["s"]
    assert (step["attempts"], step["results"]["error_class"]) == (1, "ValueNotReadable")
