"""The bar chart of README and home page, drawn from the record."""

from html import escape

import numpy as np

from schuss.bench.report import duration, number
from schuss.bench.runner import Result

# Study and key of each group, its title, what stands for schuss, and the bars: names by library.
# Of several libraries with one name the fastest is drawn.
GROUPS = (
    ("fits", "100000x100", "Logistic regression to the optimum, 100,000 × 100", "schuss",
     {"sklearn-": "scikit-learn", "glum": "glum"}),
    ("fits", "breast-cancer", "Logistic regression to the optimum, 569 × 30", "schuss",
     {"sklearn-": "scikit-learn", "glum": "glum"}),
    ("epochs", "100000x100", "An epoch of one neuron, 100,000 × 100", "train-cython",
     {"numpy": "NumPy loop", "jax": "JAX", "torch": "PyTorch"}),
    ("epochs", "breast-cancer", "An epoch of one neuron, 569 × 30", "train-cython",
     {"numpy": "NumPy loop", "jax": "JAX", "torch": "PyTorch"}),
)  # fmt: skip
_STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#1c1b19}.t{font-weight:600}.n{fill:#5d5b56}"
    "rect{fill:#8d8a83}.s{fill:#1f5fbf}@media(prefers-color-scheme:dark){text{fill:#ecebe7}"
    ".n{fill:#aaa8a1}.s{fill:#6aa5f8}}"
)
_WIDTH, _LEFT, _BAR = 720, 120, 440


def chart(record) -> str:
    """SVG of the groups that `record`, a function of the study's name, has."""
    parts, y = [], 4
    for study, key, title, ours, names in GROUPS:
        entry = record(study).get(key)
        if entry is None:
            continue
        timed = {
            row.library: float(np.median(row.seconds))
            for row in Result.of(entry["result"]).rows
            if row.seconds
        }
        bars = {"schuss": timed[ours]}
        for library, seconds in timed.items():
            name = next((text for start, text in names.items() if library.startswith(start)), None)
            if name is not None:
                bars[name] = min(seconds, bars.get(name, seconds))
        y += 18
        parts.append(f'<text class="t" x="0" y="{y}">{escape(title)}</text>')
        for name, seconds in bars.items():
            width = max(2.0, _BAR * seconds / max(bars.values()))
            times = seconds / timed[ours]
            text = duration(seconds) + (f" · {number(times)} ×" if name != "schuss" else "")
            mine = ' class="s"' if name == "schuss" else ""
            parts.append(
                f'<text x="{_LEFT - 8}" y="{y + 19}" text-anchor="end">{name}</text>'
                f'<rect{mine} x="{_LEFT}" y="{y + 8}" width="{width:.1f}" height="14"/>'
                f'<text class="n" x="{_LEFT + width + 6:.1f}" y="{y + 19}">{text}</text>'
            )
            y += 20
        y += 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" '
        f'viewBox="0 0 {_WIDTH} {y}" role="img" aria-label="Times of schuss and of other '
        f'libraries: shorter is better"><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )
