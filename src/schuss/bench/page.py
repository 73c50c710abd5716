"""Pages that need nothing but themselves: the report of ``schuss bench``, the gate's history.

    python -m schuss.bench.page GATE.json ... > history.html

Charts have words for those who do not see them, every number of the report is in a table too, and
light or dark is what the reader has set. `page.html` is the template of both.
"""

import base64
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from schuss.bench.comparison import change_points, interval
from schuss.bench.libraries import BASELINE
from schuss.bench.report import duration, number, rows
from schuss.bench.runner import Result, quartiles
from schuss.bench.suite import OURS, SECTIONS, results

_NAMES = {OURS: "schuss, kernel", "train-cython": "schuss.train", BASELINE.name: "NumPy"}
_TITLES = {
    "kernels": (
        "Speed-up over NumPy",
        "One epoch of one sigmoid neuron: loss, gradient and step over all rows. How many times "
        "faster than the NumPy loop, which the dashed line marks, each problem on a logarithmic "
        "axis of its own. The short line is the 95 % interval of the median over the rounds.",
    ),
    "fits": (
        "Fits to the optimum",
        "L2-penalised logistic regression, from nothing to within a millionth of the least value "
        "that the objective has, each library with the loosest of its own tolerances that gets "
        "there. Milliseconds: shorter is better.",
    ),
    "rows": ("More rows", "How many times faster than the NumPy loop."),
    "features": ("More features", "How many times faster than the NumPy loop; X of one size."),
    "threads": ("More threads", "How many times faster than the NumPy loop with as many."),
}


def _rendered(**content) -> str:
    # Only here: `schuss bench` without a report does without Jinja.
    from jinja2 import Environment

    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(template).render(**content)


def page(content: dict[str, Any]) -> str:
    """HTML of what `schuss.bench.suite.run` returned."""
    environment = dict(content["environment"])
    packages = environment.pop("packages")
    found = {section: results(content, section) for section in SECTIONS}
    sections = [
        {
            "id": "glance", "title": "How much faster, than what",
            "heads": ("work", "schuss", "fastest other", "library", "schuss is faster"),
            "rows": _glance(found),
        },
        *(
            {
                "id": section, "title": _TITLES[section][0], "text": _TITLES[section][1],
                "charts": [_chart(result, section != "fits") for result in found[section]],
            }
            for section in SECTIONS
        ),
        {"id": "numbers", "title": "All numbers", "folded": True}
        | dict(zip(("heads", "rows"), rows(sum(found.values(), []), BASELINE.name), strict=True)),
        {
            "id": "machine", "title": "Machine and versions",
            "pairs": [
                *((key, value) for key, value in environment.items() if value is not None),
                *((name, text or "not installed") for name, text in packages.items()),
            ],
        },
    ]  # fmt: skip
    raw = base64.b64encode(json.dumps(content, allow_nan=False).encode()).decode()
    lead = [
        f"{environment['processor']}, {environment['date']}, {content['seconds']:.0f} seconds",
        "Every library did the same work, which was checked before it was timed and after; they "
        "took turns, and a ratio is taken within a turn.",
    ]
    return _rendered(
        title=f"schuss bench, {environment['date'][:10]}", lead=lead, sections=sections,
        raw=f"data:application/json;base64,{raw}",
    )  # fmt: skip


def _ours(library):
    return library.startswith(("schuss", "train-"))


def _title(result):
    n, d = result.shape
    shape, threads = f"{n:,} × {d:,}", f", {result.n_threads} threads" * (result.n_threads > 1)
    plain = result.task == f"{n}x{d}"
    return f"{'' if plain else f'{result.task}: '}{shape}, {result.dtype}{threads}"


def _glance(found):
    """schuss beside the fastest other library on each problem."""
    for section, work in (("kernels", "epoch"), ("fits", "fit")):
        for result in found[section]:
            times = {row.library: quartiles(row.seconds)[1] for row in result.rows if row.seconds}
            ours = [time for name, time in times.items() if _ours(name)]
            others = {time: name for name, time in times.items() if not _ours(name)}
            if ours and others:
                mine, best = min(ours), min(others)
                name = _NAMES.get(others[best], others[best])
                told = f"{number(best / mine)} ×"
                yield (f"{_title(result)}, {work}", duration(mine), duration(best), name, told)


def _chart(result: Result, of_ratios: bool) -> dict[str, Any]:
    """Bars of ratios to NumPy, or of milliseconds, on a logarithmic axis of their own."""
    values: dict[str, tuple[float, float, float]]
    if of_ratios:
        values = {r.library: interval(q) for r in result.rows if len(q := result.ratio(r))}
    else:
        timed = [row for row in result.rows if row.seconds]
        values = {row.library: quartiles([1e3 * s for s in row.seconds]) for row in timed}
        values = dict(sorted(values.items(), key=lambda item: item[1][1]))
    skipped = "; ".join(f"{row.library}: {row.note}" for row in result.rows if row.note)
    chart: dict[str, Any] = {"title": _title(result), "bars": [], "skipped": skipped}
    if not values:
        return chart
    # Up to 1.1 times the largest; ratios from a half at the most, so that 1 is seen.
    least, most = min(v[0] for v in values.values()), max(v[2] for v in values.values())
    start, stop = math.log(min(0.5, least) if of_ratios else 0.7 * least), math.log(1.1 * most)

    def at(x):
        return round(100 * min(1, max(0, (math.log(x) - start) / (stop - start))), 2)

    unit, sign = ("×", 1) if of_ratios else ("ms", -1)
    ours = max((sign * v[1] for name, v in values.items() if _ours(name)), default=math.inf)
    chart["one"] = at(1) if of_ratios else None
    chart["bars"] = [
        {
            "name": _NAMES.get(name, name), "mine": _ours(name), "ahead": sign * median > ours,
            "text": f"{number(median)} {unit} ({number(low)}–{number(high)})",
            "at": at(median), "low": at(low), "high": at(high),
        }
        for name, (low, median, high) in values.items()
    ]  # fmt: skip
    return chart


def history(runs: list[dict[str, Any]]) -> str:
    """HTML of what the gate wrote with ``--json``, in the order of time: values and their changes.

    Seconds, instructions and ratios are each only compared where the processor is the same.
    """
    runs = sorted(runs, key=lambda run: run["environment"]["date"])
    found: dict[tuple[str, str, str], list[tuple[str, float]]] = defaultdict(list)
    for run in runs:
        told = f"{run['environment']['date'][:16]} {(run.get('revision') or '')[:10]}".strip()
        for check in run["checks"]:
            if check.get("value"):
                key = check["part"], check["work"], run["environment"]["processor"]
                found[key].append((told, check["value"]))
    sections = []
    for part in dict.fromkeys(key[0] for key in found):
        series = [_series(key, points) for key, points in found.items() if key[0] == part]
        # What changed comes first.
        series.sort(key=lambda one: not one["changes"])
        sections.append({"id": part, "title": part, "series": series})
    lead = (f"{len(runs)} runs of the gate", "A line marks where a median changed for good.")
    return _rendered(title="schuss gate, history", lead=lead, sections=sections)


def _series(key, points):
    values = [value for _, value in points]
    logs = np.log(values)
    places = change_points(logs)
    parts = np.split(np.array(values), places)
    told = [
        f"{points[place][0]}: {np.median(after) / np.median(before) - 1:+.1%}"
        for place, before, after in zip(places, parts[:-1], parts[1:], strict=True)
    ]
    across = [round(100 * (k + 0.5) / len(values), 2) for k in range(len(values))]
    low, high = logs.min() - 0.02, logs.max() + 0.02
    return {
        "title": f"{key[1]} ({key[2]})",
        "text": f"{number(values[0])} to {number(values[-1])}; {'; '.join(told) or 'no change'}",
        "changes": [round(100 * place / len(values), 2) for place in places],
        "points": [
            (x, round(100 * (high - log) / (high - low), 1))
            for x, log in zip(across, logs, strict=True)
        ],
    }


if __name__ == "__main__":
    print(history([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]))
