"""The record of what was measured, and the tables that the documents show of it.

In a document a table stands between ``<!-- results: KIND STUDY -->`` and ``<!-- end -->``, where
KIND is ``full`` (each library on each problem) or ``summary`` (schuss beside the fastest other
library, and each that is ahead).
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from bench.chart import chart
from schuss.bench import report
from schuss.bench.runner import MAX_SLOWDOWN, Result

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "bench" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
CHART = ROOT / "docs" / "speed.svg"
_MARKED = re.compile(r"(<!-- results: (\w+) ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
# Names of what is ours; the first that takes part stands for schuss in a summary.
OURS = ("train-cython", "schuss", "schuss.minimize", "schuss-cython", "schuss-numba",
        "schuss-nesterov", "schuss, network")  # fmt: skip
# Versions that a summary names; a full table names all.
_ALWAYS = ("schuss", "numpy", "scikit-learn", "jax")
# Bounds and fragments, no competitors.
_BOUNDS = ("products by NumPy's BLAS", "products by PyTorch", "products by BLAS", "numpy alone")


def keep(study: str, key: str, entry: dict) -> None:
    """Add a measurement to the record, in place of an earlier one of the same problem."""
    path = RESULTS / f"{study}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in (found | {key: entry}).items()]
    RESULTS.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    record.cache_clear()


@cache
def record(study: str) -> dict[str, dict]:
    path = RESULTS / f"{study}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write() -> int:
    """Make the tables of all documents, and the chart, anew; return an exit code."""
    new = {path: rendered(path.read_text(encoding="utf-8")) for path in DOCUMENTS}
    for path, text in (new | {CHART: chart(record)}).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
    return 0


def rendered(text: str) -> str:
    """A document with its tables as the record has them."""
    return _MARKED.sub(lambda m: f"{m[1]}\n{section(m[2], m[3])}\n\n{m[4]}", text)


def section(kind: str, study: str) -> str:
    entries = record(study)
    if not entries:
        return f"Not measured yet: `python -m bench {study}`."
    results = [Result.of(entry["result"]) for entry in entries.values()]
    body = summary(results) if kind == "summary" else report.table(results, padded=False)
    return f"{surroundings(kind, study, entries)}\n\n{body}"


def surroundings(kind: str, study: str, entries: dict[str, dict]) -> str:
    """Where, when and with what the entries were measured, and how quiet it was."""
    last = max((entry["environment"] for entry in entries.values()), key=lambda e: e["date"])
    versions = ", ".join(
        f"{name} {text}"
        for name, text in last["packages"].items()
        if text and (kind == "full" or name in _ALWAYS)
    )
    dates = sorted({entry["environment"]["date"][:10] for entry in entries.values()})
    probes = [entry["result"]["probe_seconds"] for entry in entries.values()]
    kept = sum(sum(s <= MAX_SLOWDOWN * min(probe) for s in probe) for probe in probes)
    loads = [entry["environment"]["load"] or 0 for entry in entries.values()]
    busy = (
        f" Other programs were at work (load up to {max(loads):.0f}): times are too long, and "
        "ratios scatter."
        if max(loads) > 2 * last["processors"]
        else ""
    )
    others = {e["environment"]["processor"] for e in entries.values()} - {last["processor"]}
    elsewhere = f" Some on {', '.join(sorted(others))}." * bool(others)
    return (
        f"`python -m bench {study}`, {' to '.join(dates[:: max(1, len(dates) - 1)])}: "
        f"{last['processors']} processors, {last['processor']}, {last['isa']}, Python "
        f"{last['python']}; {versions}; BLAS {last['blas']}. In {kept} of {sum(map(len, probes))} "
        "rounds fixed arithmetic took at most 15 % longer than in the problem's best round."
        f"{busy}{elsewhere}"
    )


def summary(results: Iterable[Result]) -> str:
    """One line for each problem: schuss, the fastest other library, and who is ahead."""
    heads = ("problem", "schuss", "fastest other", "library", "times slower", "ahead of schuss",
             "limit")  # fmt: skip
    rows = []
    for result in results:
        timed = {row.library: row for row in result.rows if row.seconds}
        ours = next((timed[name] for name in OURS if name in timed), None)
        others = {n: r for n, r in timed.items() if n not in OURS and n not in _BOUNDS}
        if ours is None or not others:
            continue
        ratio = {
            name: float(np.median(np.divide(row.seconds, ours.seconds)))
            for name, row in others.items()
        }
        best = min(ratio, key=ratio.__getitem__)
        ahead = [f"{name} ({1 / r:.2f} × as fast)" for name, r in ratio.items() if r < 1]
        rows.append((
            _kind(result), report.cells(result, ours, best)[0],
            report.cells(result, others[best], best)[0], best, report.number(ratio[best]),
            ", ".join(ahead), report.cells(result, ours, best)[3],
        ))  # fmt: skip
    used = [k for k in range(len(heads)) if any(row[k] for row in rows)]
    chosen = [[row[k] for k in used] for row in rows]
    return report.markdown([heads[k] for k in used], chosen, padded=False)


def _kind(result):
    dtype = "" if result.dtype in result.task else f" {result.dtype}"
    return f"{result.task}{dtype}" + (
        f", {result.n_threads} threads" if result.n_threads > 1 else ""
    )
