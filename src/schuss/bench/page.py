"""The report of ``schuss bench``: one page that needs nothing but itself.

Charts are inline SVG with a text for those who do not see them, and every number is in a
table too. Light and dark follow the reader's settings, or the button. The few lines of
script only switch colours and save the raw numbers; without them everything can be read.
"""

import json
import math
from html import escape
from typing import Any

import numpy as np

from schuss.bench.comparison import interval
from schuss.bench.libraries import BASELINE
from schuss.bench.report import number
from schuss.bench.runner import Result, Row, quartiles
from schuss.bench.suite import OURS, results

_SCALING = (
    ("rows", "Rows", "rows of X", lambda r: r.shape[0]),
    ("features", "Features", "features, X of one size", lambda r: r.shape[1]),
    ("threads", "Threads", "threads", lambda r: r.n_threads),
)
_NAMES = {OURS: "schuss, kernel", "train-cython": "schuss.train", BASELINE.name: "NumPy"}

_STYLE = """
:root { color-scheme: light; --page: #fcfcfb; --ink: #1c1b19; --quiet: #5d5b56;
  --line: #dddbd5; --ours: #1f5fbf; --theirs: #8d8a83; --warn: #a04a00; --fill: #f1f0ec; }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) { color-scheme: dark;
  --page: #191918; --ink: #ecebe7; --quiet: #aaa8a1; --line: #3d3c39; --ours: #6aa5f8;
  --theirs: #8b8982; --warn: #f0a060; --fill: #252523; } }
:root[data-theme=dark] { color-scheme: dark; --page: #191918; --ink: #ecebe7; --quiet: #aaa8a1;
  --line: #3d3c39; --ours: #6aa5f8; --theirs: #8b8982; --warn: #f0a060; --fill: #252523; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p { margin: .4rem 0; max-width: 44rem; } .quiet, caption { color: var(--quiet); }
nav, .buttons { display: flex; flex-wrap: wrap; gap: .4rem 1rem; margin: .8rem 0; }
a { color: var(--ours); }
button { font: inherit; color: var(--ink); background: var(--fill); cursor: pointer;
  border: 1px solid var(--line); border-radius: .4rem; padding: .25rem .7rem; }
:is(a, button, summary):focus-visible { outline: 2px solid var(--ours); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; font-weight: normal; padding: .15rem .5rem .15rem 0;
  vertical-align: middle; }
.bars th { width: 9.5rem; } .bars td:last-child { width: 15rem; }
.bars .mine th { font-weight: 600; } .warn { color: var(--warn); }
.numbers td, .numbers thead th { border-bottom: 1px solid var(--line); font-size: .875rem; }
.numbers .n { text-align: right; } .scroll { overflow-x: auto; }
.bars svg { display: block; width: 100%; height: 1.3rem; background: var(--fill); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; max-width: 26rem; }
figcaption { font-size: .9rem; }
svg text { fill: var(--quiet); font-size: 12px; paint-order: stroke; stroke: var(--page);
  stroke-width: 4px; stroke-linejoin: round; }
.bar-mine { fill: var(--ours); } .bar-other { fill: var(--theirs); }
.whisker { stroke: var(--ink); stroke-width: 2; }
.one { stroke: var(--ink); stroke-dasharray: 3 3; }
.grid { stroke: var(--line); } .mine-line, .other-line { fill: none; stroke-width: 2; }
.mine-line { stroke: var(--ours); } .other-line { stroke: var(--theirs); stroke-dasharray: 5 4; }
svg text.mine { fill: var(--ours); font-weight: 600; }
summary { cursor: pointer; } dl { display: grid; grid-template-columns: max-content 1fr;
  gap: .1rem 1rem; margin: .5rem 0; } dd { margin: 0; } dt { color: var(--quiet); }
@media (max-width: 40rem) { .bars tr { display: grid; grid-template-columns: 1fr; }
  .bars th, .bars td:last-child { width: auto; } .bars tr { margin-bottom: .5rem; } }
@media print { .buttons, nav { display: none; } body { max-width: none; padding: 0; }
  section { break-inside: avoid-page; } * { print-color-adjust: exact; } }
"""

_SCRIPT = """
const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
document.getElementById("save").addEventListener("click", () => {
  const raw = new Blob([document.getElementById("raw").textContent], {type: "application/json"});
  const link = Object.assign(document.createElement("a"),
    {href: URL.createObjectURL(raw), download: "schuss-bench.json"});
  link.click();
  URL.revokeObjectURL(link.href);
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => {
  d.open = true; }));
"""


def page(content: dict[str, Any]) -> str:
    """HTML of what `schuss.bench.suite.run` returned."""
    environment = content["environment"]
    # "</" would end the script element that holds the numbers.
    raw = json.dumps(content, allow_nan=False).replace("</", "<\\/")
    sections = [
        ("speed-up", "Speed-up over NumPy", _speed_ups(results(content, "kernels"))),
        ("fits", "Fits to the optimum", _fits(results(content, "fits"))),
        ("scaling", "Scaling", _scaling(content)),
        ("read", "Share of the read rate", _read_shares(results(content, "kernels"))),
        ("numbers", "All numbers", _numbers(content)),
        ("machine", "Machine and versions", _machine(content)),
    ]
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in sections)
    bodies = "".join(
        f'<section id="{key}"><h2>{escape(title)}</h2>{body}</section>'
        for key, title, body in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>schuss bench, {escape(environment["date"][:10])}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>schuss bench</h1>
<p class="quiet">{escape(environment["processor"])}, {escape(environment["date"])},
{content["seconds"]:.0f} seconds</p>
<p>One epoch of one sigmoid neuron: cost, gradient and step over all rows. Every library did the
same work, which was checked before it was timed and after; they took turns, and a ratio is taken
within a turn.</p>
<nav aria-label="Sections">{links}</nav>
<div class="buttons"><button id="theme" type="button">Light or dark</button>
<button id="save" type="button">Save the raw numbers</button></div>
</header>
<main>{bodies}</main>
<script type="application/json" id="raw">{raw}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _name(library):
    return _NAMES.get(library, library)


def _ours(library):
    return library.startswith(("schuss", "train-"))


# ----- bars ---------------------------------------------------------------------------


def _bar_row(name, mine, value, low, high, ends, told, alt, note, parity=False):
    """A row of a table: name, bar on a logarithmic axis, figures; `parity` marks 1."""
    start, stop = (math.log(end) for end in ends)

    def at(x):
        share = (math.log(x) - start) / (stop - start)
        return f"{100 * min(1, max(0, share)):.2f}%"

    one = f'<line class="one" x1="{at(1)}" x2="{at(1)}" y1="0" y2="100%"/>' * parity
    return (
        f'<tr class="{"mine" if mine else "peer"}"><th scope="row">{escape(name)}</th><td>'
        f'<svg role="img" aria-label="{escape(alt)}"><title>{escape(alt)}</title>'
        f'<rect class="bar-{"mine" if mine else "other"}" x="0" y="20%" height="60%" '
        f'width="{at(value)}"/><line class="whisker" x1="{at(low)}" x2="{at(high)}" '
        f'y1="50%" y2="50%"/>{one}</svg></td><td>{escape(told)}{note}</td></tr>'
    )


def _skipped(rows):
    """What was not timed, and why."""
    told = [f"{_name(row.library)}: {row.note}" for row in rows if row.note]
    return f'<p class="quiet">Not timed: {escape("; ".join(told))}</p>' if told else ""


def _speed_ups(found: list[Result]) -> str:
    intro = (
        "<p>How many times quicker than the NumPy loop, on a logarithmic axis; the dashed line is "
        "NumPy itself. The short line is the 95 % interval of the median over the rounds. "
        f"{'Fewer than seven rounds make it a rough one. ' * (_fewest(found) < 7)}"
        "Rows in which a peer is quicker than the kernel of schuss say so.</p>"
    )
    return intro + "".join(map(_speed_up, found))


def _fewest(found):
    return min((len(row.seconds) for r in found for row in r.rows if row.seconds), default=0)


def _speed_up(result):
    ratios = {r.library: interval(result.ratio(r)) for r in result.rows if len(result.ratio(r))}
    if not ratios:
        return f"<h3>{escape(result.task)}</h3>{_skipped(result.rows)}"
    ends = (min(0.5, *(r.low for r in ratios.values())), 1.1 * max(r.high for r in ratios.values()))
    rows = ""
    for row in result.rows:
        if row.library not in ratios:
            continue
        low, median, high = ratios[row.library]
        told = f"{number(median)} × ({number(low)}–{number(high)})"
        quicker = not _ours(row.library) and OURS in ratios and median > ratios[OURS].median
        note = ' <strong class="warn">quicker than schuss</strong>' * quicker
        alt = (
            f"{_name(row.library)}: {number(median)} times as quick as NumPy, "
            f"interval {number(low)} to {number(high)}"
        )
        mine = _ours(row.library)
        rows += _bar_row(_name(row.library), mine, median, low, high, ends, told, alt, note, True)
    return (
        f"<h3>{escape(_title(result))}</h3>"
        f'<table class="bars"><tbody>{rows}</tbody></table>{_skipped(result.rows)}'
    )


def _title(result):
    n, d = result.shape
    shape = f"{n:,} × {d:,}"
    plain = result.task.replace("x", " ").split() == [str(n), str(d)]
    kind = f"{shape}, {result.dtype}"
    threads = f", {result.n_threads} threads" if result.n_threads > 1 else ""
    return (kind if plain else f"{result.task}: {kind}") + threads


def _fits(found: list[Result]) -> str:
    body = (
        "<p>L2-penalised logistic regression without an intercept, from nothing to within a "
        "millionth of the least value that the objective has. Each library ran with the loosest "
        "of its own tolerances that gets there. Shorter is better.</p>"
    )
    for result in found:
        timed = [row for row in result.rows if row.seconds]
        if timed:
            spread = {row.library: quartiles([1e3 * s for s in row.seconds]) for row in timed}
            least, most = min(s[0] for s in spread.values()), max(s[2] for s in spread.values())
            ends = (0.7 * least, 1.1 * most)
            rows = ""
            ours = min((s[1] for name, s in spread.items() if _ours(name)), default=math.inf)
            for row in sorted(timed, key=lambda row: spread[row.library][1]):
                low, median, high = spread[row.library]
                told = f"{number(median)} ms ({number(low)}–{number(high)})"
                alt = f"{_name(row.library)}: {number(median)} milliseconds"
                quicker = not _ours(row.library) and median < ours < math.inf
                note = ' <strong class="warn">quicker than schuss</strong>' * quicker
                mine = _ours(row.library)
                rows += _bar_row(_name(row.library), mine, median, low, high, ends, told, alt, note)
            body += (
                f"<h3>{escape(_title(result))}</h3>"
                f'<table class="bars"><tbody>{rows}</tbody></table>'
            )
        body += _skipped(result.rows)
    return body


def _read_shares(found: list[Result]) -> str:
    body = (
        "<p>The rate at which the same thread reads the same memory, measured in the same rounds, "
        "is the most that one pass over X an epoch can reach. NumPy's loop reads X twice. "
        "Problems below a megabyte stay in the innermost caches and have no such limit.</p>"
    )
    rows = ""
    for result in found:
        for row in result.rows:
            shares = result.share(row)
            if row.library not in (OURS, BASELINE.name) or not len(shares):
                continue
            low, median, high = quartiles(shares)
            alt = f"{_name(row.library)} on {result.task}: {median:.0%} of the read rate"
            width = f"{100 * min(median, 1):.1f}%"
            rows += (
                f'<tr class="{"mine" if row.library == OURS else "peer"}"><th scope="row">'
                f"{escape(result.task)}, {escape(_name(row.library))}</th><td>"
                f'<svg role="img" aria-label="{escape(alt)}"><title>{escape(alt)}</title>'
                f'<rect class="bar-{"mine" if row.library == OURS else "other"}" x="0" y="20%" '
                f'height="60%" width="{width}"/></svg></td>'
                f"<td>{median:.0%} ({low:.0%}–{high:.0%})</td></tr>"
            )
    if not rows:
        return body + '<p class="quiet">No problem of this run is large enough.</p>'
    return body + f'<table class="bars"><tbody>{rows}</tbody></table>'


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
    body = "<p>Medians and quartiles over the rounds; set-up and the first run are not in them.</p>"
    for section in ("kernels", "fits", "rows", "features", "threads"):
        found = results(content, section)
        unit = "ms a fit" if section == "fits" else "µs an epoch"
        factor = 1e3 if section == "fits" else 1e6
        heads = ("problem", "library", unit, "quartiles", "× NumPy", "set-up s", "first run s", "")
        rows = "".join(_number_row(r, row, factor) for r in found for row in r.rows)
        cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
        body += (
            f'<details><summary>{section}</summary><div class="scroll" tabindex="0" '
            f'role="region" aria-label="{section}"><table class="numbers"><thead><tr>{cells}'
            f"</tr></thead><tbody>{rows}</tbody></table></div></details>"
        )
    return body


def _number_row(result: Result, row: Row, factor: float) -> str:
    low, median, high = quartiles(np.multiply(row.seconds, factor))
    ratio = quartiles(result.ratio(row))[1]
    timed = bool(row.seconds)
    cells = [
        number(median) if timed else "",
        f"{number(low)}–{number(high)}" if timed else "",
        number(ratio) if ratio == ratio else "",
        *("" if s is None else f"{s:.2g}" for s in (row.setup, row.first)),
    ]
    inner = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    title = escape(_title(result))
    return f"<tr><td>{title}</td><td>{row.library}</td>{inner}<td>{escape(row.note)}</td></tr>"


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
