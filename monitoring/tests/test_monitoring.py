"""The files of this folder do what they say: real exporters read a real server, a real Prometheus scrapes them, and what
it has is what tasker.metrics has."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from rig import HERE, PROGRAMS, ROOT, Prometheus, Rig, Server, register, tasker, wait_for, work  # noqa: E402

RULES = HERE / "prometheus-rules.yml"
RULE_TESTS = HERE / "prometheus-rules-test.yml"
DASHBOARD = json.loads((HERE / "grafana-dashboard.json").read_text())

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def promtool(*arguments: str | Path, text: str = "") -> str:
    """What it prints; it must have nothing to complain about."""
    done = subprocess.run([PROGRAMS / "promtool", *arguments], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass
class Watched:
    server: Server
    session: psycopg.Connection
    prometheus: Prometheus
    jobs: list[str]

    def some_work(self) -> None:
        """Moves every counter that this file looks at: tasks, failures, executors, finalization claims, refused reports."""
        session = self.session
        for template, namespace, amount in (("order", "shop", 6), ("invoice", "billing", 3), ("doubled", "inside", 4)):
            session.execute(
                "SELECT count(*) FROM tasker.create_tasks(%s, array_fill('{}'::jsonb, ARRAY[%s]), namespace => %s)",
                [template, amount, namespace])
        charges = 0

        def fails(step: str) -> str | None:
            nonlocal charges
            charges += step == "charge"
            return "CardDeclined" if step == "charge" and charges % 3 == 0 else None

        while work(session, "web1", ["shop"], fails) + work(session, "web2", ["billing"], lambda _: None):
            pass
        session.execute("SELECT * FROM tasker.heartbeat('web1')")
        session.execute("SELECT count(*) FROM tasker.create_tasks('order', ARRAY['{}', '{}']::jsonb[], namespace => 'shop')")
        work(session, "web1", ["shop"], lambda _: None)
        task = session.execute("SELECT task_uuid FROM tasker.tasks WHERE state = 'in_progress' LIMIT 1").fetchone()
        assert task
        for call in ("claim_task_for_finalization(%s, 'p1')", "claim_task_for_finalization(%s, 'p2')",
                     "extend_finalization_claim(%s, 'p1')", "release_finalization_claim(%s, 'p1')"):
            session.execute(f"SELECT * FROM tasker.{call}", [task[0]])  # noqa: S608

    def relation(self) -> Series:
        return {
            (name, frozenset(labels.items())): value
            for name, labels, value in self.session.execute("SELECT name, labels, value FROM tasker.metrics WHERE value IS NOT NULL")
        }

    def scraped_after(self, job: str, moment: float) -> Series:
        """What Prometheus has of a database as this job read it later than that."""
        # Debian's exporter reads by a clock of its own.
        age = 'tasker_read_time_seconds{job="tasker-sql"}' if job == "tasker-sql" else 'timestamp(tasker_up{job="tasker"})'

        def read() -> bool:
            found = self.prometheus.query(age)
            return bool(found) and float(found[0]["value"][1]) > moment

        wait_for(f"a scrape of {job}", read)
        found: Series = {}
        for series in self.prometheus.query(f'{{job="{job}", __name__=~"tasker_.*|finalization_.*"}}'):
            labels = series["metric"]
            name = labels.pop("__name__")
            if name in ("tasker_read_time_seconds", "tasker_up") or name.startswith("tasker_exporter_"):
                continue
            for label in ("job", "instance", "database", "host"):
                labels.pop(label, None)
            found[name, frozenset(labels.items())] = float(series["value"][1])
        return found


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with Rig() as rig:
        server = rig.server()
        session = server.create("shop")
        register(session)
        session.execute("CREATE FUNCTION public.twice(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '2'::jsonb $$")
        session.execute(
            "SELECT tasker.register_template('{name: doubled, namespace_name: inside, steps: [{name: twice, handler: \"sql:public.twice\"}]}')")
        _, sql = rig.sql_exporter([server.url("shop")])
        targets = {"tasker-sql": [sql]}
        if tasker() and "--listen" in subprocess.run([tasker(), "exporter", "--help"], capture_output=True, text=True).stdout:
            targets["tasker"] = [rig.exporter(server, "shop")[1]]
        watched = Watched(server, session, rig.prometheus(targets), list(targets))
        watched.some_work()
        yield watched


# ---- what the exporters give ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["tasker-sql", "tasker"])
def test_prometheus_has_what_the_relation_has_in_two_intervals(watched: Watched, job: str) -> None:
    if job not in watched.jobs:
        pytest.skip("the command tasker is not installed")
    earlier: Series = {}
    for _ in range(2):
        # Maintenance goes on meanwhile, so a number lies between what it was before and after.
        before = watched.relation()
        found = watched.scraped_after(job, time.time())
        after = watched.relation()
        assert found.keys() == before.keys() | (found.keys() & after.keys())
        wrong = {
            series: (before[series], value, after[series])
            for series, value in found.items()
            if not min(before[series], after[series]) <= value <= max(before[series], after[series])
        }
        assert not wrong
        moved = {name for (name, labels), value in found.items() if value != earlier.get((name, labels))}
        assert {"tasker_tasks_created_total", "tasker_steps_failed_total", "tasker_executor_steps_total",
                "tasker_step_run_seconds_bucket", "tasker_step_run_seconds_sum", "tasker_step_run_seconds_count",
                "finalization_claim_duration_seconds_bucket", "finalization_claim_contention_by_reason_total"} <= moved
        earlier = found
        watched.some_work()


def test_a_histogram_of_prometheus_gives_the_quantile_of_the_engine(watched: Watched) -> None:
    watched.scraped_after("tasker-sql", time.time())
    found = watched.prometheus.query(
        'histogram_quantile(0.95, finalization_claim_duration_seconds_bucket{job="tasker-sql"})')
    row = watched.session.execute(
        "SELECT p95 FROM tasker.finalization_metrics WHERE name = 'finalization_claim_duration_seconds'").fetchone()
    assert row and [float(series["value"][1]) for series in found] == pytest.approx([row[0]])


def test_promtool_has_no_complaint_about_the_text(watched: Watched) -> None:
    row = watched.session.execute("SELECT tasker.metrics_prometheus(true, true)").fetchone()
    assert row and row[0].count("\n# TYPE") > 40
    assert promtool("check", "metrics", text=row[0]) == ""


def test_prometheus_reads_its_configuration(watched: Watched) -> None:
    assert "SUCCESS" in promtool("check", "config", HERE / "prometheus.yml")
    groups = watched.prometheus.ask("rules")["groups"]
    assert [rule["lastError"] for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


# ---- rules ---------------------------------------------------------------------------------------------------------------

ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
NAME = re.compile(r"\b(?:tasker|finalization)_[a-z_]+")


def test_promtool_accepts_the_rules() -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_the_rules_fire_on_what_was_recorded() -> None:
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


@pytest.mark.parametrize("alert", [alert["alert"] for alert in ALERTS])
def test_each_rule_fires_in_one_case_and_is_silent_in_another(alert: str) -> None:
    fires, silent = [], []
    for case in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        for test in case["alert_rule_test"]:
            if test["alertname"] == alert:
                (fires if test["exp_alerts"] else silent).append(case["name"])
    assert fires, "no recorded case in which it fires"
    assert set(silent) - set(fires), "no recorded case in which it is silent"


def known_names(watched: Watched) -> set[str]:
    own = {"tasker_up", "tasker_read_time_seconds", "tasker_sql"}
    return own | {name for name, _ in watched.relation()}


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_a_rule_asks_for_series_that_exist_and_says_what_to_run(watched: Watched, alert: dict[str, Any]) -> None:
    unknown = set(NAME.findall(re.sub(r'"[^"]*"', '""', alert["expr"]))) - known_names(watched)
    assert not unknown
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "statement", "runbook"}
    labels = {"namespace": "shop", "queue": "default", "template": "order", "duty": "leases"}
    statement = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], notes["statement"])
    with watched.server.connect("shop", "exporter") as reader:
        assert reader.execute(statement).description  # type: ignore[call-overload]
    page, _, anchor = notes["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), flags=re.M)
    assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert alert["labels"]["severity"] in ("critical", "warning")


# ---- dashboard -----------------------------------------------------------------------------------------------------------

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def filled(query: str, job: str) -> str:
    """As Grafana sends it, with one namespace and its template chosen."""
    values = {"job": job, "instance": ".*", "namespace": "shop|billing|inside", "template": "order", "__rate_interval": "2m"}
    query = re.sub(r"\$(\w+)", lambda found: values[found[1]], query)
    assert "$" not in query
    return query


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_each_query_of_a_panel_returns_a_series(watched: Watched, panel: dict[str, Any]) -> None:
    for job in watched.jobs:
        for target in panel["targets"]:
            query = filled(target["expr"], job)

            def numbers() -> list[float]:
                values = [float(series["value"][1]) for series in watched.prometheus.query(query)]
                return [value for value in values if value == value]

            wait_for(f"a number for {query}", numbers, seconds=10)


def test_each_variable_of_the_dashboard_has_a_value(watched: Watched) -> None:
    names = []
    for variable in DASHBOARD["templating"]["list"]:
        names.append(variable["name"])
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            found = watched.prometheus.ask("series", **{"match[]": filled(selector, "tasker-sql")})
            assert [series[label] for series in found if label in series]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}
    assert used == set(names)


def test_the_panels_of_the_dashboard_lie_beside_each_other() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, two in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        apart = (one["x"] + one["w"] <= two["x"] or two["x"] + two["w"] <= one["x"]
                 or one["y"] + one["h"] <= two["y"] or two["y"] + two["h"] <= one["y"])
        assert apart, (one, two)
