"""What people and programs see of the results: a table, and JSON with the raw numbers."""

import json
import os
import platform
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

import schuss
from schuss.bench.libraries import BASELINE
from schuss.bench.runner import Result, quartiles

_PACKAGES = (
    "numpy", "scipy", "scikit-learn", "numba", "torch", "jax", "scikit-learn-intelex",
    "glum", "snapml", "liblinear-official",
)  # fmt: skip
# Virtual machines often have but a family's name as the model name.
_NUMBERS = ("cpu family", "model")
_COLUMNS = ("problem", "library", "µs", "× NumPy", "quartiles", "read", "note")


def table(results: list[Result]) -> Table:
    """One line for each library on each problem, in Markdown; times are of an epoch or a fit.

    The ratio is the median over the rounds; "read" is the share of the sequential read
    rate that one pass over X in that time amounts to.
    """
    lines = Table(*_COLUMNS, box=box.MARKDOWN)
    for column in lines.columns[2:6]:
        column.justify = "right"
    for result in results:
        for row in result.rows:
            if not row.seconds:
                lines.add_row(result.task, row.library, "", "", "", "", row.note)
                continue
            low, ratio, high = quartiles(result.ratio(row))
            share = quartiles(result.read_share(row))[1]
            # A fit has no baseline, and no read of X that it could be a share of.
            epochs = ratio == ratio
            lines.add_row(
                result.task,
                row.library,
                number(quartiles(row.seconds)[1] * 1e6),
                number(ratio) if epochs else "",
                f"{number(low)}–{number(high)}" if epochs and row.library != BASELINE.name else "",
                f"{share:.0%}" if epochs and share == share else "",
                row.note,
            )
    return lines


def print_table(results: list[Result]) -> None:
    # Markdown is read by programs too: never break a line at the terminal's edge.
    Console(width=200, highlight=False).print(table(results))


def number(value: float) -> str:
    """Three digits that count."""
    if value != value:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def environment() -> dict:
    """The machine and the versions that the numbers belong to."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "processors": os.cpu_count(),
        "load": load(),
        "isa": _isa(),
        "packages": {"schuss": schuss.__version__, **versions},
    }


def load() -> float | None:
    """How many programs kept the machine busy during the last minute, where it is known."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def processor() -> str:
    """Name of the processor; where Linux tells them, with the numbers that tell models apart."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    entries = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text, re.MULTILINE))
    if "model name" not in entries:
        return platform.processor() or platform.machine()
    numbers = ", ".join(f"{key.split()[-1]} {entries[key]}" for key in _NUMBERS if key in entries)
    return f"{entries['model name']} ({numbers})" if numbers else entries["model name"]


def _isa():
    try:
        from schuss.backends import cython_
    except ImportError:
        return None
    return getattr(cython_, "ISA", None)


def write_json(results: list[Result], path: str | Path) -> None:
    content = {"environment": environment(), "results": [asdict(result) for result in results]}
    Path(path).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
