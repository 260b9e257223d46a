"""Timing, error classes, settings and the command line, without a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import psycopg
import pytest

from tasker import ConfigurationError, WorkerSettings
from tasker.cli import build_parser, main
from tasker.connection import Backoff, Trouble, channel_name, classify
from tasker.engine import PostgresSession
from tasker.heartbeat import Heartbeat
from tasker.holdings import Holdings
from tasker.identity import Identity
from tasker.listener import concerns
from tasker.pacer import SECOND_LOOK, Pacer
from tasker.settings import new_worker_id

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_the_first_claim_is_due_at_once_and_the_next_after_the_poll_time() -> None:
    clock = Clock()
    pacer = Pacer(2.0, clock, middle)
    assert pacer.due and pacer.wait == 0
    pacer.claimed(0, woken=False)
    assert not pacer.due and pacer.wait == 2.0
    clock.now += 2.0
    assert pacer.due


def test_a_draining_engine_is_asked_five_times_less_often_even_after_a_wake_up() -> None:
    pacer = Pacer(2.0, Clock(), middle)
    for woken in (False, True):
        pacer.claimed(0, woken, draining=True)
        assert pacer.wait == 10.0


@pytest.mark.parametrize(("outcomes", "draining", "refused"), [
    ([], False, []),
    (["draining"], True, []),
    (["something_new"], False, []),
    (["stale", "draining", "something_new"], True, ["stale"]),
])
def test_rows_that_concern_no_report_are_no_refusals(
    monkeypatch: pytest.MonkeyPatch, outcomes: list[str], draining: bool, refused: list[str]
) -> None:
    monkeypatch.setattr("tasker.engine.open_connection", lambda dsn: MagicMock())
    session = PostgresSession(WorkerSettings())
    rows = [{"outcome": outcome, "step_uuid": None, "status": outcome} for outcome in outcomes]
    monkeypatch.setattr(session, "_rows", lambda *call: rows)
    claimed, refusals = session.report_and_claim("w", [], 1, [], [])
    assert claimed == [] and [refusal.outcome for refusal in refusals] == refused
    assert session.draining == draining
    assert session.heartbeat("w", []) == []


def test_polls_are_jittered_by_a_quarter() -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    pacer = Pacer(2.0, Clock(), uniform)
    pacer.claimed(0, woken=False)
    assert bounds == [(0.75, 1.25)] and pacer.wait == 1.5


def test_a_wake_up_for_nothing_is_looked_at_again_once_after_100_ms() -> None:
    clock = Clock()
    pacer = Pacer(2.0, clock, middle)
    pacer.claimed(0, woken=True)
    assert pacer.wait == pytest.approx(SECOND_LOOK) == pytest.approx(0.1)
    clock.now += 0.2
    pacer.claimed(0, woken=False)
    assert pacer.wait == 2.0


def test_a_wake_up_that_brought_work_needs_no_second_look() -> None:
    pacer = Pacer(2.0, Clock(), middle)
    pacer.claimed(3, woken=True)
    assert pacer.wait == 2.0


def test_backoff_grows_to_its_cap_and_starts_again() -> None:
    backoff = Backoff(first=0.1, cap=1.0)
    for bound in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert 0.1 * bound <= backoff.next() <= bound
    backoff.reset()
    assert backoff.next() <= 0.1
    for _ in range(2000):
        assert backoff.next() <= 1.0


@pytest.mark.parametrize(("error", "trouble"), [
    (psycopg.errors.DeadlockDetected, Trouble.CONFLICT),
    (psycopg.errors.SerializationFailure, Trouble.CONFLICT),
    (psycopg.errors.QueryCanceled, Trouble.CONFLICT),
    (psycopg.errors.DiskFull, Trouble.CONFLICT),
    (psycopg.OperationalError, Trouble.LOST),
    (psycopg.InterfaceError, Trouble.LOST),
    (psycopg.errors.AdminShutdown, Trouble.LOST),
    (psycopg.errors.CrashShutdown, Trouble.LOST),
    (psycopg.errors.CannotConnectNow, Trouble.LOST),
    (psycopg.errors.ConnectionFailure, Trouble.LOST),
    (psycopg.errors.ReadOnlySqlTransaction, Trouble.LOST),
    (psycopg.errors.UntranslatableCharacter, Trouble.DATA),
    (psycopg.errors.ProgramLimitExceeded, Trouble.DATA),
    (psycopg.errors.InvalidParameterValue, Trouble.SETUP),
    (psycopg.errors.NullValueNotAllowed, Trouble.SETUP),
    (psycopg.errors.InsufficientPrivilege, Trouble.SETUP),
    (psycopg.errors.UndefinedFunction, Trouble.SETUP),
    (psycopg.errors.FeatureNotSupported, Trouble.SETUP),
    (psycopg.errors.InternalError_, Trouble.SETUP),
])
def test_errors_are_sorted_by_what_a_worker_does(
    error: type[psycopg.Error], trouble: Trouble
) -> None:
    assert classify(error("message")) is trouble


def test_channel_names_have_at_most_63_bytes_and_whole_characters() -> None:
    assert channel_name("default") == "tasker_default"
    assert channel_name("n" * 64) == "tasker_" + "n" * 56
    clipped = channel_name("ü" * 64)
    assert clipped == "tasker_" + "ü" * 28 and len(clipped.encode()) == 63
    assert len(channel_name("aü" * 32).encode()) == 62


def test_worker_ids_are_unique_and_name_the_process() -> None:
    ids = {new_worker_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(f"-{os.getpid()}-" in worker_id for worker_id in ids)


def test_a_retired_identity_is_released_when_nothing_is_held_under_it() -> None:
    identity = Identity()
    old = identity.current
    assert identity.releasable(set()) == []
    identity.retire()
    assert identity.current != old and set(identity.all()) == {old, identity.current}
    assert identity.releasable({old}) == []
    assert identity.releasable({identity.current}) == [old]
    identity.forget(old)
    assert identity.all() == [identity.current]


@pytest.mark.parametrize("wrong", [
    {"threads": 0}, {"batch": 0}, {"lease": 0}, {"poll": -1}, {"grace": -1}, {"namespaces": ()},
    {"namespaces": ("",)}, {"queues": ()}, {"lease": float("nan")},
])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        WorkerSettings(**wrong)  # type: ignore[arg-type]


def test_the_command_line_has_the_documented_options() -> None:
    options = build_parser().parse_args(
        "--dsn d --namespace a --namespace b --handlers m:x --threads 2 --batch 5 --lease 9"
        " --queue q --poll 0.5 --grace 3 --once --until-idle --no-listen -v".split()
    )
    assert (options.namespace, options.handlers, options.queue) == (["a", "b"], ["m:x"], ["q"])
    assert (options.threads, options.batch, options.lease, options.poll) == (2, 5, 9.0, 0.5)


@pytest.mark.parametrize(("arguments", "line"), [
    ([], "Name the handlers to run"),
    (["--handlers", "no_such_module"], "Cannot import handlers from 'no_such_module'"),
    (["--handlers", "tasker_examples.workflows", "--threads", "0"], "threads must be at least 1"),
    (["--handlers", "tasker_examples.workflows", "--dsn", "host=127.0.0.1 port=1"], "refused"),
    (["--handlers", "tasker_examples.workflows", "--dsn", "nonsense"], "nonsense"),
])
def test_what_cannot_start_says_so_in_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasker.cli._install_signals", lambda runner: None)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert line in error and error.startswith("tasker-worker: ") and error.count("\n") == 1


def test_the_module_runs_as_a_program_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tasker", "--dsn", "host=127.0.0.1 port=1",
         "--handlers", "tasker_examples.workflows"],
        env={**os.environ, "PYTHONPATH": f"{EXAMPLES}:{EXAMPLES.parent / 'src'}"},
        capture_output=True, text=True, timeout=20,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "refused" in done.stderr


@pytest.mark.parametrize(
    ("payload", "concerned"),
    [("", True), ('["me", "other"]', True), ('["other"]', False), ("[]", False), ("later", True), ("{}", True)],
)
def test_a_notification_wakes_the_workers_that_it_names_or_all(
    payload: str, concerned: bool
) -> None:
    assert concerns(payload, "me") is concerned


def test_what_a_locked_lease_could_not_take_is_said_again() -> None:
    claim = MagicMock(worker_id="me", key=("step", 1))
    claim.step.uuid = "step"
    claim.step.cancelled.is_set.return_value = False
    holdings = Holdings()
    holdings.add([claim])
    session = MagicMock()
    heartbeat = Heartbeat(lambda: session, holdings, 30.0)
    for answer, said in [("locked", ["step"]), ("extended", ["step"]), ("extended", [])]:
        session.heartbeat.return_value = [("step", answer)]
        heartbeat.beat()
        session.heartbeat.assert_called_with("me", said)
        claim.step.cancelled.set.assert_not_called()
