"""Application calls and exact numbers, against the server itself."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tasker import Client, json_codec
from tasker.connection import open_connection

NUMBERS = [
    2**53 + 1, 2**63, -(2**64), 10**5000 + 1, Decimal("209.97"), Decimal("16.250"),
    Decimal("1E-16383"), 10**131071, 0.1,
]


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
def test_the_server_stores_numbers_as_they_were_written(db: Any, number: Any) -> None:
    text = json_codec.dumps({"n": number})
    (stored,), = db.rows("SELECT %s::jsonb", text)
    assert stored["n"] == (Decimal("0.1") if number == 0.1 else number)
    assert type(stored["n"]) in (int, Decimal)


@pytest.mark.parametrize("text", ['"\\u0000"', "1e131072", '"\\ud800"'])
def test_what_the_codec_refuses_the_server_would_refuse(db: Any, text: str) -> None:
    with pytest.raises(psycopg.DataError):
        db.rows("SELECT %s::jsonb", text)


def test_the_codec_belongs_to_its_connection_alone(dsn: str) -> None:
    with open_connection(dsn) as ours, psycopg.connect(dsn) as plain:
        assert ours.execute("SELECT '1.5'::jsonb").fetchone() == (Decimal("1.5"),)
        assert type(plain.execute("SELECT '1.5'::jsonb").fetchone()[0]) is float  # type: ignore[index]


@pytest.fixture
def linear(db: Any) -> dict[str, str]:
    namespace, name = db.register_example("linear")
    return {"name": name, "namespace": namespace}


def test_create_task_passes_every_argument(db: Any, linear: dict[str, str]) -> None:
    task = db.client.create_task(
        linear["name"], {"even_number": 2**70, "price": Decimal("1.10")},
        namespace=linear["namespace"], version="1.0.0", initiator="test", source_system="pytest",
        reason="because", tags=["a", "b"], bypass_steps=[], priority=3,
        run_at=datetime.now(timezone.utc) + timedelta(hours=1),
        correlation_id="c-1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    (context,), = db.rows("SELECT context FROM tasker.tasks WHERE task_uuid = %s", task)
    assert context["even_number"] == 2**70 and str(context["price"]) == "1.10"
    assert db.status(task) == "pending"
    assert db.client.cancel_task(task, "test") == "cancelled"


def test_an_idempotency_key_met_again_returns_the_same_task(
    db: Any, linear: dict[str, str]
) -> None:
    key = str(uuid.uuid4())
    one, two = (
        db.client.create_task(linear["name"], {"even_number": n}, namespace=linear["namespace"],
                              idempotency_key=key)
        for n in (2, 4)
    )
    assert one == two
    db.client.cancel_task(one)


def test_create_tasks_returns_the_tasks_in_order(db: Any, linear: dict[str, str]) -> None:
    contexts = [{"even_number": n} for n in range(0, 40, 2)]
    tasks = db.client.create_tasks(linear["name"], contexts, namespace=linear["namespace"])
    stored = dict(db.rows("SELECT task_uuid, context FROM tasker.tasks WHERE task_uuid = ANY(%s)", tasks))
    assert [stored[task] for task in tasks] == contexts
    for task in tasks:
        db.client.cancel_task(task)


def test_a_task_lives_and_dies_with_the_callers_transaction(
    dsn: str, db: Any, linear: dict[str, str]
) -> None:
    with psycopg.connect(dsn) as connection:
        task = Client(connection).create_task(
            linear["name"], {"even_number": 2}, namespace=linear["namespace"]
        )
        assert Client(connection).get_task_execution_context(task) is not None
        connection.rollback()
    assert db.client.get_task_execution_context(task) is None


def test_annotate_task_writes_a_note(db: Any, linear: dict[str, str]) -> None:
    task = db.client.create_task(linear["name"], {"even_number": 2}, namespace=linear["namespace"])
    note = db.client.annotate_task(task, "ticket", {"id": 2**70})
    assert db.rows(
        "SELECT t.name, a.annotation FROM tasker.task_annotations a"
        " JOIN tasker.annotation_types t USING (annotation_type_id) WHERE task_annotation_id = %s",
        note,
    ) == [("ticket", {"id": 2**70})]
    db.client.annotate_task(task, "ticket", None)
    with pytest.raises(psycopg.errors.NoDataFound):
        db.client.annotate_task(uuid.uuid4(), "ticket", {})
    db.client.cancel_task(task)


def test_unknown_template_and_task_are_named_errors(db: Any) -> None:
    with pytest.raises(psycopg.errors.NoDataFound, match="no_such_task"):
        db.client.create_task("no_such_task")
    with pytest.raises(psycopg.errors.NoDataFound):
        db.client.cancel_task(uuid.uuid4())
    assert db.client.get_task_execution_context(uuid.uuid4()) is None
