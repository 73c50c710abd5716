"""What people and programs see of the results: Markdown, and JSON with the raw numbers."""

import json
import os
import platform
import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

import schuss
from schuss.bench.runner import Result, quartiles

_PACKAGES = (
    "numpy", "scipy", "scikit-learn", "numba", "torch", "jax", "scikit-learn-intelex",
    "glum", "skglm", "celer", "adelie", "snapml", "liblinear-multicore", "vowpalwabbit",
)  # fmt: skip
# Virtual machines often have but a family's name as the model name.
_NUMBERS = ("cpu family", "model")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[Any]], padded: bool = True) -> str:
    """A table; columns in which every cell begins like a number are aligned to the right."""
    lines = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    columns = list(zip(*lines, strict=True)) or [()] * len(heads)
    right = [
        any(column) and all(not cell or cell[0] in "-–0123456789" for cell in column)
        for column in columns
    ]
    rule = ["---:" if it else "---" for it in right]
    table = [list(heads), rule, *lines]
    if padded:
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        table[1] = ["-" * (width - it) + ":" * it for width, it in zip(widths, right, strict=True)]
        table = [
            [
                cell.rjust(width) if it else cell.ljust(width)
                for cell, width, it in zip(row, widths, right, strict=True)
            ]
            for row in table
        ]
    return "\n".join("| " + " | ".join(row) + " |" for row in table)


def rows(results: Iterable[Result], to: str | None = None) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of each library on each problem, without columns that stay empty.

    The ratio, a median over the rounds, is to the library `to` or else to each problem's first;
    "limit" is the share of the machine's: its sequential read of X, or its FMA peak.
    """
    heads = ("problem", "library", "time", "quartiles", "× NumPy" if to else "×", "limit",
             "GFLOP/s a core", "memory", "first run", "note")  # fmt: skip
    found = []
    for result in results:
        for row in result.rows:
            work = 1e-9 * result.operations / result.n_threads
            rate = work / quartiles(row.seconds)[1] if row.seconds else 0
            found.append((
                result.task, row.library, *cells(result, row, to or result.rows[0].library),
                number(rate) if rate else "", f"{row.memory / 1e6:.3g} MB" if row.memory else "",
                duration(row.first) if row.first else "",
                row.note or ", ".join(f"{k} {_told(v)}" for k, v in row.details.items()),
            ))  # fmt: skip
    used = [k for k in range(len(heads)) if any(row[k] for row in found)]
    return [heads[k] for k in used], [[row[k] for k in used] for row in found]


def _told(value):
    return f"{value:.2g}" if isinstance(value, float) and abs(value) < 0.01 else str(value)


def table(results: Iterable[Result], padded: bool = True, to: str | None = None) -> str:
    """One line for each library on each problem, in Markdown; as `rows`."""
    return markdown(*rows(results, to), padded)


def cells(result: Result, row, to: str) -> tuple[str, str, str, str]:
    """Median time of a unit, its quartiles, the ratio to a library, the share of the limit."""
    if not row.seconds:
        return "", "", "", ""
    low, median, high = quartiles(row.seconds)
    ratio, share = quartiles(result.ratio(row, to))[1], quartiles(result.share(row))[1]
    return (
        duration(median),
        f"{duration(low)}–{duration(high)}",
        number(ratio) if ratio == ratio else "",
        f"{share:.0%}" if share == share else "",
    )


def number(value: float) -> str:
    """Three digits that count."""
    if value != value:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time with the unit in which it has one to three digits before the point."""
    for unit, factor in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{number(seconds * factor)} {unit}"
    return f"{number(seconds)} s"


def environment() -> dict[str, Any]:
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
        "blas": blas(),
        "packages": {"schuss": schuss.__version__, **versions},
    }


def blas() -> str:
    """The BLAS of each package in this process, and the kernels that it chose."""
    found = {
        f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', 'one kernel')})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    return ", ".join(sorted(found))


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


def as_json(result: Result) -> dict[str, Any]:
    """A result with its numbers rounded to five digits, which is more than they hold."""
    return json.loads(
        json.dumps(asdict(result)), parse_float=lambda text: float(f"{float(text):.5g}")
    )


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """A parser of an argument that is one of some names."""

    def parse(text):
        if text not in known:
            raise ArgumentTypeError(f"{text} unknown, choose from {', '.join(known)}")
        return text

    return parse


def at_least_one(text: str) -> int:
    """A parser of an argument that is a number of things."""
    if (value := int(text)) < 1:
        raise ArgumentTypeError(f"{value} given, at least 1 expected")
    return value
