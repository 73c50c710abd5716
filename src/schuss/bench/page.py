"""The report of ``schuss bench``: one page that needs nothing but itself.

Charts are inline SVG with a text for those who do not see them, and every number is in a
table too. Light and dark follow the reader's settings, or the button. The few lines of
script only switch colours and save the raw numbers; without them everything can be read.
"""

import json
import math
from html import escape
from pathlib import Path
from typing import Any

from schuss.bench.comparison import interval
from schuss.bench.libraries import BASELINE
from schuss.bench.report import cells, duration, number
from schuss.bench.runner import Result, quartiles
from schuss.bench.suite import OURS, results

_SCALING = (
    ("rows", "Rows", "rows of X", lambda r: r.shape[0]),
    ("features", "Features", "features, X of one size", lambda r: r.shape[1]),
    ("threads", "Threads", "threads", lambda r: r.n_threads),
)
_SECTIONS = ("kernels", "fits", "rows", "features", "threads")
_NAMES = {OURS: "schuss, kernel", "train-cython": "schuss.train", BASELINE.name: "NumPy"}


def page(content: dict[str, Any]) -> str:
    """HTML of what `schuss.bench.suite.run` returned."""
    environment = content["environment"]
    # "</" would end the script element that holds the numbers.
    raw = json.dumps(content, allow_nan=False).replace("</", "<\\/")
    kernels, fits = results(content, "kernels"), results(content, "fits")
    sections = [
        ("glance", "How much faster, than what", _glance(kernels, fits)),
        ("speed-up", "Speed-up over NumPy", _speed_ups(kernels)),
        ("fits", "Fits to the optimum", _fits(fits)),
        ("scaling", "Scaling", _scaling(content)),
        ("numbers", "All numbers", _numbers(content)),
        ("machine", "Machine and versions", _machine(content)),
    ]
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in sections)
    bodies = "".join(
        f'<section id="{key}"><h2>{escape(title)}</h2>{body}</section>'
        for key, title, body in sections
    )
    style, script = (
        Path(__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js")
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>schuss bench, {escape(environment["date"][:10])}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<h1>schuss bench</h1>
<p class="quiet">{escape(environment["processor"])}, {escape(environment["date"])},
{content["seconds"]:.0f} seconds</p>
<p>Every library did the same work, which was checked before it was timed and after; they took
turns, and a ratio is taken within a turn.</p>
<nav aria-label="Sections">{links}</nav>
<div class="buttons"><button id="theme" type="button">Light or dark</button>
<button id="save" type="button">Save the raw numbers</button></div>
</header>
<main>{bodies}</main>
<script type="application/json" id="raw">{raw}</script>
<script>{script}</script>
</body>
</html>
"""


def _name(library):
    return _NAMES.get(library, library)


def _ours(library):
    return library.startswith(("schuss", "train-"))


def _title(result):
    n, d = result.shape
    shape = f"{n:,} × {d:,}"
    plain = result.task.replace("x", " ").split() == [str(n), str(d)]
    kind = f"{shape}, {result.dtype}"
    threads = f", {result.n_threads} threads" if result.n_threads > 1 else ""
    return (kind if plain else f"{result.task}: {kind}") + threads


def _glance(kernels, fits):
    """schuss beside the fastest other library, and beside NumPy, on each problem."""
    lines = []
    for result in (*kernels, *fits):
        times = {row.library: quartiles(row.seconds)[1] for row in result.rows if row.seconds}
        ours = [time for name, time in times.items() if _ours(name)]
        others = {time: name for name, time in times.items() if not _ours(name)}
        if not ours or not others:
            continue
        mine, best = min(ours), min(others)
        work = "fit" if result in fits else "epoch"
        lines.append(
            f'<tr><th scope="row">{escape(_title(result))}, {work}</th>'
            f"<td>{duration(mine)}</td><td>{duration(best)} ({escape(_name(others[best]))})</td>"
            f"<td{' class=warn' * (best < mine)}>{number(best / mine)} ×</td></tr>"
        )
    heads = ("work", "schuss", "fastest other", "schuss is faster")
    return _table(heads, "".join(lines), "numbers")


def _table(heads, rows, kind):
    shown = "".join(f'<th scope="col">{head}</th>' for head in heads)
    head = f"<thead><tr>{shown}</tr></thead>" * bool(heads)
    return f'<table class="{kind}">{head}<tbody>{rows}</tbody></table>'


# ----- bars ---------------------------------------------------------------------------


def _bars(result, values, unit, faster, one):
    """A chart of one problem, on a logarithmic axis of its own; `one` marks 1.

    `values` are medians with their ends by library, `faster` which of them beat schuss.
    """
    least, most = min(v[0] for v in values.values()), max(v[2] for v in values.values())
    start, stop = math.log(min(0.5, least) if one else 0.7 * least), math.log(1.1 * most)

    def at(x):
        return f"{100 * min(1, max(0, (math.log(x) - start) / (stop - start))):.2f}%"

    rows = ""
    for name, (low, median, high) in values.items():
        kind = "mine" if _ours(name) else "other"
        told = f"{number(median)} {unit} ({number(low)}–{number(high)})"
        alt = escape(f"{_name(name)}: {told}")
        mark = f'<line class="one" x1="{at(1)}" x2="{at(1)}" y1="0" y2="100%"/>' * one
        note = ' <strong class="warn">faster than schuss</strong>' * (name in faster)
        rows += (
            f'<tr class="{kind}"><th scope="row">{escape(_name(name))}</th><td>'
            f'<svg role="img" aria-label="{alt}"><title>{alt}</title>'
            f'<rect class="bar-{kind}" x="0" y="20%" height="60%" width="{at(median)}"/>'
            f'<line class="whisker" x1="{at(low)}" x2="{at(high)}" y1="50%" y2="50%"/>{mark}'
            f"</svg></td><td>{escape(told)}{note}</td></tr>"
        )
    return f"<h3>{escape(_title(result))}</h3>{_table((), rows, 'bars')}"


def _skipped(rows):
    """What was not timed, and why."""
    told = [f"{_name(row.library)}: {row.note}" for row in rows if row.note]
    return f'<p class="quiet">Not timed: {escape("; ".join(told))}</p>' if told else ""


def _speed_ups(found: list[Result]) -> str:
    fewest = min((len(row.seconds) for r in found for row in r.rows if row.seconds), default=0)
    body = (
        "<p>One epoch of one sigmoid neuron: loss, gradient and step over all rows. How many times "
        "faster than the NumPy loop, each problem on a logarithmic axis of its own; the dashed "
        "line is NumPy itself. The short line is the 95 % interval of the median over the rounds. "
        f"{'Fewer than seven rounds make it a rough one. ' * (fewest < 7)}"
        "Libraries that are faster than the kernel of schuss say so.</p>"
    )
    for result in found:
        values = {r.library: interval(q) for r in result.rows if len(q := result.ratio(r))}
        if values:
            ours = values[OURS].median if OURS in values else math.inf
            faster = [n for n, v in values.items() if not _ours(n) and v.median > ours]
            body += _bars(result, values, "×", faster, True)
        body += _skipped(result.rows)
    return body


def _fits(found: list[Result]) -> str:
    body = (
        "<p>L2-penalised logistic regression, from nothing to within a millionth of the least "
        "value that the objective has. Each library ran with the loosest of its own "
        "tolerances that gets there. Shorter is better.</p>"
    )
    for result in found:
        values = {
            r.library: quartiles([1e3 * s for s in r.seconds]) for r in result.rows if r.seconds
        }
        values = dict(sorted(values.items(), key=lambda item: item[1][1]))
        if values:
            ours = min((v[1] for n, v in values.items() if _ours(n)), default=0)
            faster = [n for n, v in values.items() if not _ours(n) and v[1] < ours]
            body += _bars(result, values, "ms", faster, False)
        body += _skipped(result.rows)
    return body


# ----- lines --------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 360, 240, 46, 40


def _scaling(content: dict[str, Any]) -> str:
    figures = ""
    for section, title, axis, of in _SCALING:
        found = results(content, section)
        lines = {
            name: [
                (of(r), 1e9 * quartiles(row.seconds)[1] / (r.shape[0] * r.shape[1]))
                for r in found
                for row in r.rows
                if row.library == name and row.seconds
            ]
            for name in (OURS, BASELINE.name)
        }
        figures += _figure(title, axis, {k: v for k, v in lines.items() if v})
    return (
        "<p>Nanoseconds an epoch for each element of X, both axes logarithmic; lower is "
        f'better.</p><div class="charts">{figures}</div>'
    )


def _figure(title, axis, lines):
    if not lines:
        return f'<figure><figcaption>{title}</figcaption><p class="quiet">Not timed.</p></figure>'
    xs = sorted({x for line in lines.values() for x, _ in line})
    ys = [y for line in lines.values() for _, y in line]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)) + 1e-9)

    def place(x, y):
        across = math.log(x / xs[0]) / (math.log(xs[-1] / xs[0]) or 1)
        up = math.log(y / low) / math.log(high / low)
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - 24), 1),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _BOTTOM - 14), 1),
        )

    drawn = ""
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        _, y = place(xs[0], 10.0**power)
        drawn += f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y}" y2="{y}"/>'
        drawn += f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>'
    for x in xs:
        drawn += (
            f'<text x="{place(x, low)[0]}" y="{_HEIGHT - _BOTTOM + 16}" '
            f'text-anchor="middle">{_short(x)}</text>'
        )
    drawn += f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{axis}</text>'
    told = []
    for name, line in lines.items():
        kind = "mine" if name == OURS else "other"
        points = [place(*point) for point in line]
        drawn += f'<polyline class="{kind}-line" points="{_joined(points)}"/>'
        drawn += "".join(f'<circle class="bar-{kind}" cx="{x}" cy="{y}" r="3"/>' for x, y in points)
        # Above the upper line, below the lower one, away from the ends.
        others = [y for other, rest in lines.items() if other != name for _, y in rest[:1]]
        above = not others or line[0][1] > others[0]
        x, y = points[0]
        label = f'<text class="{kind}" x="{x + 6}" y="{y - 8 if above else y + 18}">'
        drawn += f"{label}{_name(name)}</text>"
        told.append(
            f"{_name(name)} from {number(line[0][1])} at {_short(line[0][0])} "
            f"to {number(line[-1][1])} at {_short(line[-1][0])}"
        )
    alt = f"{title}, nanoseconds an element: {'; '.join(told)}"
    return (
        f"<figure><figcaption>{title}</figcaption>"
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-label="{escape(alt)}">'
        f"<title>{escape(alt)}</title>{drawn}</svg></figure>"
    )


def _joined(points):
    return " ".join(f"{x},{y}" for x, y in points)


def _short(x):
    if x >= 1_000_000:
        return f"{x / 1_000_000:g}M"
    return f"{x / 1000:g}k" if x >= 10_000 else f"{x:,}"


# ----- numbers ------------------------------------------------------------------------


def _numbers(content: dict[str, Any]) -> str:
    body = (
        "<p>Medians and quartiles over the rounds; set-up and the first run are not in them. The "
        "limit is the rate at which the same threads read the same memory, in the same rounds: the "
        "most that one pass over X an epoch can reach. NumPy's loop reads X twice. Problems below "
        "a megabyte stay in the innermost caches and have no such limit.</p>"
    )
    heads = ("problem", "library", "time", "quartiles", "× NumPy", "of the limit", "set-up",
             "first run", "memory", "")  # fmt: skip
    for section in _SECTIONS:
        rows = ""
        for result in results(content, section):
            for row in result.rows:
                times = (duration(s) if s else "" for s in (row.setup, row.first))
                memory = f"{row.memory / 1e6:.3g} MB" if row.memory else ""
                inner = "".join(
                    f'<td class="n">{cell}</td>' for cell in (*cells(result, row), *times, memory)
                )
                title, note = escape(_title(result)), escape(row.note)
                rows += (
                    f"<tr><td>{title}</td><td>{_name(row.library)}</td>{inner}<td>{note}</td></tr>"
                )
        body += (
            f'<details><summary>{section}</summary><div class="scroll" tabindex="0" '
            f'role="region" aria-label="{section}">{_table(heads, rows, "numbers")}</div></details>'
        )
    return body


def _machine(content: dict[str, Any]) -> str:
    environment = dict(content["environment"])
    packages = environment.pop("packages")
    entries = {**environment, **{name: v for name, v in packages.items() if v is not None}}
    absent = ", ".join(name for name, v in packages.items() if v is None)
    pairs = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in entries.items()
        if value is not None
    )
    return f"<dl>{pairs}</dl>" + f'<p class="quiet">Not installed: {absent}</p>' * bool(absent)
