"""The lines of one task: the rows of tasker.step_logs, and the objects in the server's log that name the same task."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from pictures.style import COLOURS, EDGE, INK, PALE, number, save
from rig import Beside, Rig, wait_for

TEMPLATE = """
name: order
namespace_name: shop
steps:
  - {name: reserve, handler: shop.reserve}
  - {name: charge, handler: shop.charge, depends_on_steps: [reserve]}
  - {name: ship, handler: shop.ship, depends_on_steps: [charge]}
"""
ROUTED = ["task.start_requested", "step.execution_requested", "step.completed", "step.failed", "task.completed"]
# What the handler of each step and attempt logs, and at which second of its run; the last row is its end.
HANDLERS: dict[tuple[str, int], list[tuple[float, str, str, dict[str, Any]]]] = {
    ("reserve", 1): [(0.1, "info", "looking for a shelf", {"items": 3}), (0.25, "debug", "shelf found", {"shelf": "B7"}), (0.35, "", "", {})],
    ("charge", 1): [(0.05, "info", "charging", {"amount": 42, "card_token": "4711"}), (0.4, "warn", "the bank is slow", {}), (0.6, "", "", {})],
    ("charge", 2): [(0.05, "info", "charging", {"amount": 42, "card_token": "4711"}), (0.3, "info", "paid, receipt=R-81", {}), (0.35, "", "", {})],
    ("ship", 1): [(0.2, "info", "handed to the carrier", {"parcel": "DE-1180"}), (0.3, "", "", {})],
}
LEVELS = {"debug": PALE, "info": COLOURS[0], "warn": COLOURS[1], "error": COLOURS[3]}
SERVED = "#edf1f7"
STEPS = {"reserve": COLOURS[2], "charge": COLOURS[4], "ship": COLOURS[5]}


def run() -> list[dict[str, Any]]:
    """A worker does the task; its first charge fails. Every line with its source, its time, and its ids."""
    with Rig() as rig:
        server = rig.server("tasker.log_format=json", "tasker.jitter_enabled=off", "tasker.default_backoff_seconds=1")
        session = server.create("shop")
        session.execute("SELECT tasker.register_template(%s)", [TEMPLATE])
        for event in ROUTED:
            session.execute("SELECT tasker.set_event_route(%s, backends => '{trace,metrics,log}')", [event])
        log = Path(server.folder) / "log"
        wait_for("the coordinator at work", lambda: " at work" in log.read_text())
        created = session.execute("SELECT tasker.create_task('order', '{}', namespace => 'shop', correlation_id => 'order-1')").fetchone()
        assert created
        task = str(created[0])
        own = server.connect("shop")

        def act() -> None:
            for step, claim, what, attempt in own.execute(
                    "SELECT step_uuid, claim_number, step_name, attempt FROM tasker.claim_steps('web1', '{shop}', 1)").fetchall():
                start, lines = time.time(), []
                for at, level, message, fields in HANDLERS[what, attempt]:
                    time.sleep(max(0, start + at - time.time()))
                    if message:
                        lines.append({"at": time.time(), "level": level, "message": message, "fields": fields})
                report: dict[str, Any] = {"step_uuid": str(step), "claim_number": claim, "status": "complete", "logs": lines}
                if (what, attempt) == ("charge", 1):
                    report |= {"status": "error", "error_class": "Timeout", "error_message": "no answer"}
                own.execute("SELECT * FROM tasker.report_steps('web1', %s::jsonb)", [json.dumps([report])])

        worker = Beside(0.05, act)

        def written() -> list[dict[str, Any]]:
            objects = [json.loads(line[line.index("{"):]) for line in log.read_text().splitlines() if ':  {"timestamp"' in line]
            return [found for found in objects if found.get("correlation_id") == "order-1"]

        wait_for("the last line", lambda: any(found["event_name"] == "task.completed" for found in written()))
        worker.stop()
        rows = session.execute(
            """SELECT jsonb_build_object('source', 'step_logs', 'at', l.at, 'level', l.level, 'message', l.message, 'fields', l.fields,
                                         'task_uuid', l.task_uuid, 'step_uuid', l.step_uuid, 'attempt', l.attempt)
               FROM tasker.step_logs l WHERE l.task_uuid = %s""", [task]).fetchall()
        return [row for row, in rows] + [found | {"source": "log", "at": found["occurred_at"]} for found in written()]


def draw(lines: list[dict[str, Any]], looked_at: Path | None) -> None:
    # The rows have the uuid of their step, the objects its name too.
    uuids = {line["step"]: line["step_uuid"] for line in lines if "step" in line}
    steps = {uuid: step for step, uuid in uuids.items()}
    for line in lines:
        line["step"] = steps.get(line.get("step_uuid", ""))
        line["moment"] = datetime.fromisoformat(line["at"].replace("Z", "+00:00")).timestamp()
    lines.sort(key=lambda line: (line["moment"], line.get("event_id", 0)))
    first = lines[0]["moment"]
    whole = lines[-1]["moment"] - first
    row, top, bottom, wide = 24, 66, 48, 1200
    high = top + len(lines) * row + bottom
    figure = plt.figure(figsize=(wide / 96, high / 96), dpi=96, facecolor="white")
    # The left part in pixels; the time axis at the right.
    words = figure.add_axes((0, bottom / high, 880 / wide, len(lines) * row / high))
    words.set_xlim(0, 880)
    words.axis("off")
    axis = figure.add_axes((892 / wide, bottom / high, 288 / wide, len(lines) * row / high))
    axis.set_xlim(-whole * 0.02, whole * 1.03)
    for box in (words, axis):
        box.set_ylim(len(lines), 0)

    columns = {"correlation_id": 560, "task_uuid": 650} | {step: 735 + 56 * place for place, step in enumerate(STEPS)}
    task = lines[0]["task_uuid"]

    def head(x: float, line: int, text: str, **how: Any) -> None:
        figure.text(x / wide, 1 - (top - 46 + 16 * line) / high, text, va="center", fontsize=8.5, **how)

    for name, text in (("correlation_id", "order-1"), ("task_uuid", "…" + task[-4:])):
        head(columns[name], 0, name, ha="center", fontweight="semibold")
        head(columns[name], 1, text, ha="center", color=PALE)
    head(columns["charge"], 0, "step_uuid, attempt", ha="center", fontweight="semibold")
    for step, colour in STEPS.items():
        head(columns[step], 1, "…" + uuids[step][-4:], ha="center", color=PALE)
        head(columns[step], 2, step, ha="center", color=colour)
    head(14, 0, "level", fontweight="semibold")
    head(64, 0, "message, fields", fontweight="semibold")
    head(892, 0, "time", fontweight="semibold")

    runs: dict[tuple[str, int], list[float]] = {}
    dots: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        middle, served = place + 0.5, line["source"] == "log"
        if served:
            for box in (words, axis):
                box.axhspan(place + 0.04, place + 0.96, color=SERVED, linewidth=0, zorder=0)
        words.text(14, middle, line["level"], va="center", fontsize=8, color=LEVELS[line["level"]], fontweight="semibold")
        # A uuid is shown by its end, as in the head of its column.
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{8}([0-9a-f]{4})", r"…\2", line["message"])
        message = words.text(64, middle, text, va="center", fontsize=8)
        if line.get("fields"):
            words.annotate(json.dumps(line["fields"]), (1, 0.5), (8, 0), xycoords=message, textcoords="offset points", va="center", fontsize=8, color=PALE)
        step = line["step"]
        for column in [*(["correlation_id"] if served else []), "task_uuid", *([step] if step else [])]:
            dots.setdefault(column, []).append(place)
            colour = STEPS.get(column, INK)
            words.plot(columns[column], middle, "o", markersize=11 if step == column else 6, color=colour, markeredgewidth=0, zorder=3)
            if step == column:
                words.text(columns[column], middle + 0.02, str(line["attempt"]), va="center", ha="center", fontsize=7.5, color="white", zorder=4)
        at = line["moment"] - first
        axis.plot(at, middle, "D" if served else "o", markersize=5.5, color=STEPS[step] if step else INK, markeredgewidth=0, zorder=3)
        if step:
            runs.setdefault((step, line["attempt"]), []).append(at)
    for column, having in dots.items():
        words.plot([columns[column]] * 2, [having[0] + 0.5, having[-1] + 0.5], color=STEPS.get(column, INK), linewidth=1.4, alpha=0.45, zorder=2)
    for (step, attempt), during in runs.items():
        own = [place for place, line in enumerate(lines) if (line["step"], line.get("attempt")) == (step, attempt)]
        axis.add_patch(Rectangle((min(during), min(own) + 0.08), max(during) - min(during), max(own) - min(own) + 0.84,
                                 facecolor=STEPS[step], alpha=0.16, linewidth=0, zorder=1))
    axis.set_yticks([])
    axis.grid(axis="x", color=EDGE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(length=0)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "s")))
    words.axhline(len(lines), color=EDGE, linewidth=0.8)

    y = 18 / high
    for x, marker, text in ((20, "D", "server's log (JSON), at its occurred_at"), (290, "o", "row of tasker.step_logs, at its at")):
        if marker == "D":
            figure.add_artist(Rectangle(((x - 12) / wide, y - 10 / high), 258 / wide, 20 / high, color=SERVED, linewidth=0, transform=figure.transFigure))
        figure.add_artist(plt.Line2D([x / wide], [y], marker=marker, markersize=5.5, color=INK, linewidth=0))
        figure.text((x + 12) / wide, y, text, va="center", fontsize=8)
    figure.text(540 / wide, y, "…0001: the end of a uuid", va="center", fontsize=8)
    save(figure, "logging", looked_at)


def logging(looked_at: Path | None) -> None:
    draw(run(), looked_at)
