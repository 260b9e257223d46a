"""What the pictures of monitoring/picture share: colours, letters, numbers, and where a picture goes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rig import ROOT

plt.switch_backend("svg")

COLOURS = ["#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#0a7f9c", "#b5890b", "#6d1f62", "#56a64b", "#5b6573"]
INK, PALE, EDGE, PAPER = "#24292e", "#6b7280", "#d8dbe0", "#f4f5f5"

plt.rcParams.update({
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 8, "text.color": INK,
    "axes.labelcolor": PALE, "xtick.color": PALE, "ytick.color": PALE, "axes.edgecolor": EDGE, "svg.hashsalt": "tasker_ext",
    "path.simplify_threshold": 0.6,
})


def number(value: float, unit: str) -> str:
    """As Grafana writes a value of this unit."""
    if unit == "s":
        if value == 0:
            return "0 s"
        if abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    return f"{value:.3g}{'/s' if unit == 'ops' else ''}"


def save(figure: Any, name: str, looked_at: Path | None) -> None:
    file = ROOT / "docs" / "pictures" / f"{name}.svg"
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, metadata={"Date": None, "Creator": "monitoring/picture"})
    # A tenth of a pixel is exact enough, and halves the file.
    def shorter(found: re.Match[str]) -> str:
        return re.sub(r"(\d\.\d)\d+", r"\1", found[0])

    file.write_text(re.sub(r'\b(d|x|y|width|height)="[^"]*"', shorter, file.read_text()))
    if looked_at:
        figure.savefig(looked_at / f"{name}.png")
    plt.close(figure)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KB")
