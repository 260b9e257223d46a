"""What health_status() and the probes of tasker exporter answered, once a second, while failures began and ended on a real server."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from pictures.style import COLOURS, EDGE, INK, PALE, save
from rig import Beside, Rig, wait_for

TEMPLATE = """
name: order
namespace_name: shop
steps:
  - {name: reserve, handler: shop.reserve}
  - {name: charge, handler: shop.charge, depends_on_steps: [reserve]}
"""
# What happens, and after how many seconds. The last failure leaves the five minutes of the error shares before the end.
EVENTS = [
    (30, "1 of 5 charges fails"),
    (75, "every charge fails"),
    (160, "charges work again"),
    (195, "retry_tasks()"),
    (244, "workers end"),
    (288, "workers start"),
    (338, "graceful_shutdown"),
    (362, "stopped"),
    (392, "startup"),
]
END = 480
PROBES = ["/health/ready", "/health/ready?while_draining", "/health/status"]
LEVELS = {"healthy": "#c9e5cc", "degraded": "#f2cc0c", "unhealthy": "#e0566a"}
STATES = {"normal": "#e8eaed", "graceful_shutdown": "#a9c1ee", "stopped": "#7f9cd6", "startup": "#d3e0f8"}
CODES = {200: "#c9e5cc", 503: "#e0566a"}


def status_code(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def measure() -> dict[str, Any]:
    """Eight minutes: the rows of health_status(), the codes of the probes, the rows of health_changes, and when all that was."""
    chance = random.Random(4)
    measures: list[tuple[float, list[dict[str, Any]]]] = []
    codes: list[tuple[float, list[int]]] = []
    with Rig() as rig:
        server = rig.server("tasker.jitter_enabled=off")
        session = server.create("shop")
        session.execute("SELECT tasker.register_template(%s)", [TEMPLATE])
        _, address = rig.exporter(server, "shop")
        watcher, creator = server.connect("shop"), server.connect("shop")
        start = time.time()  # Set again when the system is in state normal.

        def watch() -> None:
            rows = watcher.execute(
                "SELECT jsonb_agg(to_jsonb(s) || jsonb_build_object('state', tasker.operational_state())) FROM tasker.health_status() s").fetchone()
            assert rows
            measures.append((time.time() - start, rows[0]))

        def probe() -> None:
            codes.append((time.time() - start, [status_code(f"http://{address}{path}") for path in PROBES]))

        def create() -> None:
            creator.execute("SELECT count(*) FROM tasker.create_tasks('order', '{\"{}\", \"{}\"}', 'shop')")

        def worker(name: str) -> Beside:
            own = server.connect("shop")

            def act() -> None:
                failing = {0: 0.0, 1: 0.2, 2: 1.0}.get(sum(time.time() - start > at for at, _ in EVENTS), 0.0)
                reports: list[dict[str, Any]] = []
                for step, claim, what in own.execute(
                        "SELECT step_uuid, claim_number, step_name FROM tasker.claim_steps(%s, '{shop}', 10)", [name]).fetchall():
                    fails = what == "charge" and chance.random() < failing
                    reports.append({"step_uuid": str(step), "claim_number": claim} | (
                        {"status": "error", "retryable": False, "error_class": "BankUnreachable", "error_message": "no answer"} if fails
                        else {"status": "complete", "results": {}}))
                if reports:
                    own.execute("SELECT * FROM tasker.report_steps(%s, %s::jsonb)", [name, json.dumps(reports)])

            return Beside(0.3, act)

        workers: list[Beside] = []

        def begin() -> None:
            workers.extend(worker(name) for name in ("web1", "web2"))

        def end() -> None:
            for number, thread in enumerate(workers, 1):
                thread.stop()
                session.execute("SELECT tasker.end_worker(%s)", [f"web{number}"])
            workers.clear()

        actions: dict[str, Callable[[], object]] = {"workers end": end, "workers start": begin}
        actions["retry_tasks()"] = lambda: session.execute("SELECT count(*) FROM tasker.retry_tasks(namespace => 'shop', dry_run => false)")
        for state in ("graceful_shutdown", "stopped", "startup"):
            actions[state] = partial(session.execute, "SELECT tasker.set_operational_state(%s)", [state])
        begin()
        wait_for("workers, and the end of the startup", lambda: session.execute(
            "SELECT tasker.operational_state() = 'normal' AND (SELECT count(*) FROM tasker.workers) = 2").fetchone() == (True,))
        start = time.time()
        threads = [Beside(1.0, watch), Beside(1.0, probe), Beside(1.0, create)]
        happened = []
        for at, what in EVENTS:
            time.sleep(max(0, start + at - time.time()))
            happened.append((time.time() - start, what))
            if what in actions:
                actions[what]()
        time.sleep(max(0, start + END - time.time()))
        for thread in threads + workers:
            thread.stop()
        changes = session.execute("SELECT extract(epoch FROM changed_at)::float8 - %s, to_level FROM tasker.health_changes ORDER BY change_no", [start])
        return {"measures": measures, "codes": codes, "happened": happened, "changes": changes.fetchall()}


def stretches(samples: list[tuple[float, Any]]) -> list[tuple[float, float, Any]]:
    """From when to when each value held: until the next one was seen."""
    runs = [(next(group)[0], value) for value, group in groupby(samples, key=lambda sample: sample[1])]
    return [(at, until, value) for (at, value), until in zip(runs, [*(at for at, _ in runs[1:]), END], strict=True)]


def draw(found: dict[str, Any], looked_at: Path | None) -> None:
    rows = {name: [(at, next(row for row in every if row["measure"] == name)) for at, every in found["measures"]]
            for name in [row["measure"] for row in found["measures"][0][1]]}
    troubled = [name for name, samples in rows.items() if name != "overall" and any(row["level"] != "healthy" or row["alert"] for _, row in samples)]
    bands: list[tuple[str, str, list[tuple[float, float, str, str]], list[tuple[float, float]]]] = []

    def band(group: str, name: str, samples: list[tuple[float, Any]], colours: dict[Any, str], alerts: list[tuple[float, float]] | None = None) -> None:
        bands.append((group, name, [(at, until, colours[value], str(value)) for at, until, value in stretches(samples)], alerts or []))

    for name in ["overall", *troubled]:
        band("health_status()", name, [(at, row["level"]) for at, row in rows[name]], LEVELS,
             [(at, until) for at, until, alert in stretches([(at, row["alert"]) for at, row in rows[name]]) if alert])
    well = [name for name in rows if name not in troubled and name != "overall"]
    bands.append(("health_status()", f"the {len(well)} others", [(0, END, LEVELS["healthy"], "healthy: " + ", ".join(well))], []))
    band("", "health_changes", [(0, "healthy"), *found["changes"]], LEVELS)
    band("", "operational_state()", [(at, row["state"]) for at, row in rows["overall"]], STATES)
    for place, path in enumerate(PROBES):
        band("tasker exporter", path, [(at, every[place]) for at, every in found["codes"]], CODES)

    row, space, top, shares, bottom = 26, 12, 62, 150, 62
    places, y = [], 0
    for place, (group, *_) in enumerate(bands):
        y += space if place and group != bands[place - 1][0] else 0
        places.append(y)
        y += row
    high = top + shares + 34 + y + bottom
    figure = plt.figure(figsize=(1000 / 96, high / 96), dpi=96, facecolor="white")
    left, width = 0.205, 0.775
    second = width * 1000 / END  # in pixels
    upper = figure.add_axes((left, 1 - (top + shares) / high, width, shares / high))
    lower = figure.add_axes((left, bottom / high, width, y / high))
    for box in (upper, lower):
        box.set_xlim(0, END)
        for side in ("top", "right", "left"):
            box.spines[side].set_visible(False)
        box.tick_params(length=0)
        box.xaxis.set_major_locator(MultipleLocator(60))
        box.set_axisbelow(True)

    lines = [(name, [row["measured"] or 0 for _, row in rows[name]]) for name in ("task_errors", "step_errors")]
    times = [at for at, _ in rows["task_errors"]]
    for (name, values), colour in zip(lines, (COLOURS[0], COLOURS[1]), strict=True):
        upper.plot(times, values, color=colour, linewidth=1.6, label=name, drawstyle="steps-post")
    for key, label, style in (("unhealthy_beyond", "unhealthy beyond", "--"), ("alert_beyond", "alert beyond", ":")):
        upper.plot(times, [row[key] for _, row in rows["task_errors"]], color=PALE, linewidth=1.1, linestyle=style, label=label, drawstyle="steps-post")
    upper.set_ylim(0, 105)
    upper.yaxis.set_major_locator(MultipleLocator(25))
    upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    upper.grid(axis="y", color=EDGE, linewidth=0.6)
    upper.set_xticklabels([])
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.005, 1 - (top + 36) / high), handlelength=1.8)
    figure.text(0.012, 1 - (top + 18) / high, "Error shares of the\nlast 5 minutes", va="center", fontsize=8.5, fontweight="semibold")

    for (_, name, parts, alerts), at in zip(bands, places, strict=True):
        lower.text(-0.01, at + row / 2, name, va="center", ha="right", fontsize=8.5, transform=lower.get_yaxis_transform())
        for start, end, colour, words in parts:
            lower.broken_barh([(start, end - start)], (at + 2, row - 4), color=colour, linewidth=0)
            if (end - start) * second > len(words) * 5.4 + 6:
                lower.text(start + 3, at + row / 2 - (2 if alerts else 0), words, va="center", fontsize=7.5, zorder=4)
        lower.broken_barh([(start, end - start) for start, end in alerts], (at + row - 6, 4), color=COLOURS[3], linewidth=0)
    lower.set_ylim(y, 0)
    lower.set_yticks([])
    lower.spines["bottom"].set_visible(False)
    lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0 else f"{value / 60:.0f} min"))

    # Each event at its time, above those that come below its words: so no line crosses words.
    heights: dict[float, int] = {}
    for at, what in reversed(found["happened"]):
        below = [height for other, height in heights.items() if other < at + (len(what) * 5.4 + 8) / second]
        heights[at] = max(below, default=-1) + 1
        for box in (upper, lower):
            box.axvline(at, color=INK, linewidth=0.6, alpha=0.3, zorder=3)
        x, height = left + at / END * width, 1 - (top - 14 - 16 * heights[at]) / high
        figure.add_artist(plt.Line2D([x] * 2, [1 - top / high, height + 6 / high], color=INK, linewidth=0.6, alpha=0.5))
        figure.text(x + 0.004, height, what, fontsize=8, va="center")
    keys = [Patch(color=colour, label=name) for name, colour in LEVELS.items()] + [plt.Line2D([], [], color=COLOURS[3], linewidth=4, label="alert")]
    figure.legend(handles=keys, ncols=4, frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(left - 0.006, 4 / high), handlelength=1.2)
    save(figure, "health", looked_at)


def health(looked_at: Path | None) -> None:
    draw(measure(), looked_at)
