"""The rows of tasker.trace_spans for one task that ran on a real server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter
from pictures.style import COLOURS, EDGE, PALE, number, save
from rig import Beside, Rig, wait_for

TRACED = """
name: order
namespace_name: shop
version: 1.0.0
steps:
  - {name: reserve, handler: shop.reserve}
  - {name: charge, handler: shop.charge, depends_on_steps: [reserve]}
  - {name: pack, handler: shop.pack, depends_on_steps: [reserve]}
  - {name: ship, handler: shop.ship, depends_on_steps: [charge, pack]}
  - {name: notify, handler: shop.notify, depends_on_steps: [ship]}
"""
SECONDS = {"reserve": 0.18, "charge": 0.35, "pack": 0.6, "ship": 0.25, "notify": 0.12}


def trace(looked_at: Path | None) -> None:
    """One task with two workers; the first charge fails and is tried again."""
    with Rig() as rig:
        server = rig.server("tasker.jitter_enabled=off", "tasker.default_backoff_seconds=1")
        session = server.create("shop")
        session.execute("SELECT tasker.register_template(%s)", [TRACED])
        task = session.execute("SELECT tasker.create_task('order', '{}', namespace => 'shop')").fetchone()
        assert task
        charged: list[str] = []

        def worker(name: str) -> Beside:
            own = server.connect("shop")

            def act() -> None:
                for step, claim, what in own.execute(
                        "SELECT step_uuid, claim_number, step_name FROM tasker.claim_steps(%s, '{shop}', 1)", [name]).fetchall():
                    time.sleep(SECONDS[what])
                    if what == "charge" and not charged:
                        charged.append(name)
                        own.execute("SELECT tasker.fail_step(%s, %s, 'the bank did not answer')", [step, claim])
                    else:
                        own.execute("SELECT tasker.complete_step(%s, %s)", [step, claim])

            return Beside(0.05, act)

        workers = [worker("web1"), worker("web2")]
        state = "SELECT state FROM tasker.tasks WHERE task_uuid = %s"
        wait_for("the end of the task", lambda: session.execute(state, task).fetchone() == ("complete",))
        for thread in workers:
            thread.stop()
        spans = session.execute(
            "SELECT span_id, parent_span_id, name, kind, started_at, ended_at, status, attributes FROM tasker.trace_spans(task_uuid => %s)",
            task).fetchall()
    children: dict[str | None, list[Any]] = {}
    ids = {span[0] for span in spans}
    for span in sorted(spans, key=lambda span: (span[4], span[5])):
        children.setdefault(span[1] if span[1] in ids else None, []).append(span)
    lines: list[tuple[int, Any]] = []

    def add(parent: str | None, depth: int) -> None:
        for span in children.get(parent, []):
            lines.append((depth, span))
            add(span[0], depth + 1)

    add(None, 0)
    assert len(lines) == len(spans), "a span without its parent"
    first, last = min(span[4] for span in spans), max(span[5] for span in spans)
    whole = (last - first).total_seconds()
    figure, box = plt.subplots(figsize=(1000 / 96, (len(lines) * 24 + 60) / 96), dpi=96, facecolor="white")
    figure.subplots_adjust(left=0.3, right=0.97, top=1 - 14 / (len(lines) * 24 + 60), bottom=40 / (len(lines) * 24 + 60))
    for place, (depth, (_, _, name, kind, started, ended, status, attributes)) in enumerate(lines):
        start, length = (started - first).total_seconds(), (ended - started).total_seconds()
        colour = COLOURS[3] if status == "error" else {"tasker.task.execution": COLOURS[0], "tasker.step.execution": COLOURS[2]}.get(name, "#c3c8cf")
        box.barh(place, max(length, whole / 400), left=start, height=0.62, color=colour, linewidth=0)
        end = start + length
        late = end > whole * 0.9
        if late and length > whole * 0.1:
            box.text(start + whole * 0.006, place, number(length, "s"), va="center", fontsize=8, color="white")
        else:
            box.text(start - whole * 0.006 if late else end + whole * 0.006, place, number(length, "s"), va="center", fontsize=8, color=PALE,
                     ha="right" if late else "left")
        box.text(-0.425 + depth * 0.018, place, name, va="center", fontsize=8.5, transform=box.get_yaxis_transform())
        about = attributes.get("tasker.step_name", "")
        if attributes.get("tasker.attempt_number", 1) > 1 and name == "tasker.step.execution":
            about += f", attempt {attributes['tasker.attempt_number']}"
        box.text(-0.01, place, about, va="center", ha="right", fontsize=8.5, color=PALE, transform=box.get_yaxis_transform())
    box.set_ylim(len(lines) - 0.4, -0.6)
    box.set_xlim(0, whole * 1.02)
    box.set_yticks([])
    box.grid(axis="x", color=EDGE, linewidth=0.6)
    box.set_axisbelow(True)
    for side in ("top", "right", "left"):
        box.spines[side].set_visible(False)
    box.tick_params(length=0)
    box.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "s")))
    save(figure, "trace", looked_at)
