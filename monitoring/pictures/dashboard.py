"""The dashboard's panels in their places, with what a real Prometheus answers to their queries after some minutes of work of
all kinds. Grafana itself is in no package registry that we use."""

from __future__ import annotations

import json
import random
import re
import textwrap
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from pictures.style import COLOURS, EDGE, PAPER, number, save
from rig import HERE, Beside, Prometheus, Rig, register

DASHBOARD = json.loads((HERE / "grafana-dashboard.json").read_text())
UNIT, WIDE = 38, 1440  # pixels of a row of the grid, and of its 24 columns
# The rows of the dashboard in each picture.
PICTURES = {
    "dashboard-work": ["Now", "Throughput", "Failures", "Times"],
    "dashboard-engine": ["Queues", "Workers", "Executors", "Finalization claims", "The engine itself"],
}

def legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern).strip()


def query(text: str) -> str:
    values = {"job": "tasker-sql", "instance": ".*", "namespace": ".*", "template": ".*", "__rate_interval": "20s"}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], text)


def answers(prometheus: Prometheus, panel: dict[str, Any], start: float, end: float) -> list[tuple[str, list[float], list[float]]]:
    found = []
    for target in panel["targets"]:
        for series in prometheus.range(query(target["expr"]), start, end, (end - start) / (80 if panel['gridPos']['w'] > 6 else 60)):
            at = [float(moment) for moment, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]
            found.append((legend(target["legendFormat"], series["metric"]), at, values))
    return found


def draw(prometheus: Prometheus, name: str, rows: list[str], start: float, end: float, looked_at: Path | None) -> None:
    panels, use = [], False
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            use = panel["title"] in rows
        if use:
            panels.append(panel)
    top = min(panel["gridPos"]["y"] for panel in panels)
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    high = (bottom - top) * UNIT
    figure = plt.figure(figsize=(WIDE / 96, high / 96), dpi=96, facecolor=PAPER)
    for panel in panels:
        grid = panel["gridPos"]
        left, width = grid["x"] / 24 * WIDE, grid["w"] / 24 * WIDE
        upper = (grid["y"] - top) * UNIT
        if panel["type"] == "row":
            figure.text((left + 8) / WIDE, 1 - (upper + UNIT * 0.72) / high, panel["title"], fontsize=11, fontweight="bold")
            continue
        height = grid["h"] * UNIT
        figure.add_artist(FancyBboxPatch(
            ((left + 5) / WIDE, 1 - (upper + height - 4) / high), (width - 10) / WIDE, (height - 8) / high,
            boxstyle="square,pad=0", facecolor="white", edgecolor=EDGE, linewidth=0.8, transform=figure.transFigure, zorder=-1))
        figure.text((left + 15) / WIDE, 1 - (upper + 22) / high, panel["title"], fontsize=9, fontweight="semibold")
        unit = panel["fieldConfig"]["defaults"]["unit"]
        found = answers(prometheus, panel, start, end)
        assert found, f"no series for {panel['title']}"
        if panel["type"] == "stat":
            words = found[-1][0] if panel["options"]["textMode"] == "name" else number(found[0][2][-1], unit)
            figure.text((left + width / 2) / WIDE, 1 - (upper + height * 0.66) / high, words, fontsize=22, ha="center", color="#37872d")
            continue
        found.sort(key=lambda series: -max([value for value in series[2] if value == value] or [0]))
        # A line at zero is worth its place only among few.
        moving = [series for series in found if any(value > 0 for value in series[2])]
        shown = (found if len(found) <= 4 else moving or found[:1])[:8]
        columns = 2 if max(len(series[0]) for series in shown) > 16 or len(shown) <= 2 else 3
        if width < 400:
            columns = min(columns, 2)
        lines = -(-len(shown) // columns)
        box = figure.add_axes((
            (left + 62) / WIDE, 1 - (upper + height - 36 - 15 * lines) / high, (width - 82) / WIDE, (height - 36 - 15 * lines - 36) / high))
        stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
        if stacked:
            every = sorted({moment for _, at, _ in shown for moment in at})
            heights = []
            for _, at, values in shown:
                known = dict(zip(at, values, strict=True))
                heights.append([0 if (value := known.get(moment, 0)) != value else value for moment in every])
            box.stackplot([(moment - end) / 60 for moment in every], heights, labels=[label for label, _, _ in shown],
                          colors=COLOURS, alpha=0.55, linewidth=0)
        else:
            for place, (label, at, values) in enumerate(shown):
                box.plot([(moment - end) / 60 for moment in at], values, color=COLOURS[place % len(COLOURS)], linewidth=1.3, label=label)
        box.set_facecolor("white")
        box.set_xlim(-(end - start) / 60, 0)
        most = box.get_ylim()[1] if any(value > 0 for series in shown for value in series[2]) else 1
        box.set_ylim(0, most)
        box.grid(axis="y", color=EDGE, linewidth=0.6)
        for side in ("top", "right", "left"):
            box.spines[side].set_visible(False)
        box.tick_params(length=0, labelsize=7.5)
        box.tick_params(axis="x", pad=7)
        box.yaxis.set_major_locator(MaxNLocator(4, integer=unit == "short"))
        box.yaxis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: number(value, unit)))
        box.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        box.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "now" if value == 0 else f"{value:.0f} min".replace("-", "\N{MINUS SIGN}")))
        handles, labels = box.get_legend_handles_labels()
        figure.legend(
            handles, [textwrap.shorten(label, 34, placeholder="…") for label in labels], ncols=columns, frameon=False, fontsize=7.5,
            handlelength=1, handletextpad=0.5, columnspacing=1.2, labelspacing=0.3, loc="lower left",
            bbox_to_anchor=((left + 10) / WIDE, 1 - (upper + height - 6) / high), borderaxespad=0)
    save(figure, name, looked_at)


def dashboard(looked_at: Path | None, minutes: float) -> None:
    chance = random.Random(4)
    with Rig() as rig:
        server = rig.server("tasker.jitter_enabled=off")
        session = server.create("shop")
        register(session)
        session.execute(
            "CREATE FUNCTION public.render(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb FROM pg_sleep(0.02 + random() * 0.1) $$")
        session.execute(
            "SELECT tasker.register_template('{name: report, namespace_name: office, steps: [{name: render, handler: \"sql:public.render\"}]}')")
        _, address = rig.sql_exporter([server.url("shop")], "2s")
        prometheus = rig.prometheus({"tasker-sql": [address]}, "2s")
        start = time.time() + 20

        def create() -> None:
            wave = 3 + 2 * ((time.time() % 120) / 120)
            for template, namespace, most in (("order", "shop", 2 * wave), ("invoice", "billing", wave), ("report", "office", wave)):
                creator.execute("SELECT count(*) FROM tasker.create_tasks(%s, array_fill('{}'::jsonb, ARRAY[%s]), namespace => %s)",
                                [template, chance.randint(1, max(1, int(most))), namespace])

        def fails(step: str) -> str | None:
            worse = 0.15 if 120 < time.time() - start < 220 else 0.03
            if step == "charge" and chance.random() < worse:
                return chance.choice(["CardDeclined", "CardDeclined", "Timeout"])
            return "AddressUnknown" if step == "send" and chance.random() < 0.04 else None

        def worker(name: str, namespaces: list[str]) -> Beside:
            own = server.connect("shop")

            def act() -> None:
                claims = own.execute("SELECT step_uuid, claim_number, step_name FROM tasker.claim_steps(%s, %s, 4)", [name, namespaces]).fetchall()
                time.sleep(chance.uniform(0.05, 0.4) if claims else 0.3)
                reports = []
                for step, claim, what in claims:
                    error = fails(what)
                    reports.append({"step_uuid": str(step), "claim_number": claim} | (
                        {"status": "error", "retryable": error != "CardDeclined", "error_class": error, "error_message": "no"} if error
                        else {"status": "complete", "results": {}}))
                if reports:
                    own.execute("SELECT * FROM tasker.report_steps(%s, %s::jsonb)", [name, json.dumps(reports)])
                if chance.random() < 0.02:
                    own.execute("SELECT * FROM tasker.report_steps(%s, %s::jsonb)", [name, json.dumps(reports[:1])])
                if chance.random() < 0.1:
                    own.execute("SELECT * FROM tasker.heartbeat(%s)", [name])

            return Beside(0.02, act)

        finalizer = server.connect("shop")

        def finalize() -> None:
            row = finalizer.execute("SELECT task_uuid FROM tasker.tasks WHERE state = 'in_progress' ORDER BY random() LIMIT 1").fetchone()
            if row:
                for call in ("claim_task_for_finalization(%s, 'p1')", "extend_finalization_claim(%s, 'p1')", "release_finalization_claim(%s, 'p1')"):
                    finalizer.execute(f"SELECT * FROM tasker.{call}", [row[0]])
                    if chance.random() < 0.2:
                        finalizer.execute("SELECT * FROM tasker.claim_task_for_finalization(%s, 'p2')", [row[0]])

        creator = server.connect("shop")
        threads = [Beside(1.0, create), Beside(0.7, finalize), *(worker(f"web{n}", ["shop", "billing"]) for n in (1, 2, 3))]
        time.sleep(minutes * 60 + 20)
        end = time.time()
        for thread in threads:
            thread.stop()
        for name, rows in PICTURES.items():
            draw(prometheus, name, rows, start, end, looked_at)
