"""Pages to play with, each one file that needs no network: the walk down a function, and the
guided page from a parabola to backpropagation.

The programs in JavaScript are the methods of `schuss.minimize` again, so that a reader can change
what Python cannot recompute: `objective.js` holds the functions, `methods.js` the steps,
`draw.js` the pictures, and `walk.js` the controls. They need jinja2, of the extra ``plot``.
"""

import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

from schuss.expressions import Expression
from schuss.validation import check_choice

PROGRAMS = ("objective.js", "methods.js", "draw.js", "walk.js")
LANGUAGES = ("en", "pl")
# Points of a path that are written; of longer ones only some.
_MAX_POINTS = 1000
# Points of each axis of the grid of a function that is no formula.
_GRID_POINTS = {1: 401, 2: 61}
# The longest walk that a page computes.
_MAX_ITER = 1000


def source(name: str) -> str:
    """Return the text of a file of this folder."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def check_language(language: str) -> None:
    """Raise an error unless the pages are written in this language."""
    check_choice(language, "language", LANGUAGES)


def page(name: str, title: str, language: str = "en", **content: Any) -> str:
    """Return a page that needs nothing else: a template of this folder within `page.html`.

    Parameters
    ----------
    name : str
        Name of the template, and of its own style sheet if it has one.
    title : str
    language : {"en", "pl"}, default="en"
    **content
        What the template fills in, escaped; ``code`` and ``data`` are a program and its input.
    """
    try:
        from jinja2 import Environment
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError(
            'pages need jinja2, which is not installed: pip install "schuss[plot]"'
        ) from error
    environment = Environment(autoescape=True)
    css = source("page.css")
    if files(__name__).joinpath(f"{name}.css").is_file():
        css += source(f"{name}.css")
    body = environment.from_string(source(f"{name}.html")).render(title=title, **content)
    return environment.from_string(source("page.html")).render(
        title=title, language=language, css=Markup(css), body=Markup(body),
        code=content.get("code"), data=content.get("data"),
    )  # fmt: skip


def _played(name: str, title: str, walks: dict[str, Any], language: str) -> str:
    """A page with walks and the programs that play them."""
    check_language(language)
    content = {"walks": walks, "texts": json.loads(source("texts.json")), "language": language}
    data = json.dumps(content, ensure_ascii=False, allow_nan=False)
    names = {"en": "English", "pl": "polski"}
    options = "".join(f'<option value="{key}">{text}</option>' for key, text in names.items())
    return page(
        name, title, language,
        chooser=_Raw(f'<select id="language" aria-label="Language / Język">{options}</select>'),
        # A "<" could end the element of the script.
        code=_Raw("".join(map(source, PROGRAMS))), data=_Raw(data.replace("<", "\\u003c")),
    )  # fmt: skip


class _Raw(str):
    """Text of ours that is not escaped."""

    def __html__(self) -> str:
        return self


def formula(polynomial: Polynomial) -> str:
    """Return a polynomial as a formula that `schuss.expressions` reads.

    Parameters
    ----------
    polynomial : numpy.polynomial.Polynomial
        In powers of x.

    Returns
    -------
    str

    Examples
    --------
    >>> from numpy.polynomial import Polynomial
    >>> from schuss.pages import formula
    >>> formula(Polynomial([6, -4, 1]))
    'x**2 - 4*x + 6'
    """
    text = ""
    for power, value in reversed([*enumerate(polynomial.coef.tolist())]):
        if value == 0 and (text or power):
            continue
        size = f"{abs(value):.17g}"
        variable = {0: "", 1: "x"}.get(power, f"x**{power}")
        term = variable if variable and size == "1" else "*".join(filter(None, (size, variable)))
        sign = ("-" if value < 0 else "") if not text else (" - " if value < 0 else " + ")
        text += sign + term
    return text


def typeset(text: str) -> str:
    """Return a formula as it is printed.

    Examples
    --------
    >>> from schuss.pages import typeset
    >>> typeset("x**2 - 4*x + 6")
    'x² − 4x + 6'
    """
    digits = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    text = re.sub(r"\*\* *(\d+)(?![\d.])", lambda power: power[1].translate(digits), text)
    text = re.sub(r"(?<=\d) *\* *(?=[^\W\d]|\()", "", text)
    return text.replace("**", "^").replace("*", "·").replace("-", "−")


def walk_data(result: Any, fun: Any) -> dict[str, Any]:
    """Return what the page needs to know of a run and of its function, as values for JSON."""
    from schuss.plot import limits, values_on

    if isinstance(fun, Polynomial):
        fun = Expression(formula(fun))
    n = result.path.shape[1]
    expression = fun if isinstance(fun, Expression) else None
    if expression is None and n > 2:
        raise ValueError(
            f"fun has {n} variables, expected 1 or 2, or a formula of schuss.expressions."
        )
    # A grid has to hold other walks, too.
    margin = 0.15 if isinstance(fun, Expression) else 0.5
    region = limits(np.vstack([result.path, result.x]), margin)
    if n == 1:
        # The other side of the valley, too.
        beyond = 0.7 * np.abs(result.path[0] - result.x)
        region = np.stack(
            [
                np.minimum(region[:, 0], result.x - beyond),
                np.maximum(region[:, 1], result.x + beyond),
            ],
            axis=1,
        )
    if expression is not None:
        objective = {
            "kind": "expression", "tree": expression.tree(), "names": list(expression.variables)
        }  # fmt: skip
    else:
        count = _GRID_POINTS[n]
        axes = [np.linspace(low, high, count) for low, high in region]
        values = values_on(fun, np.stack(np.meshgrid(*axes), axis=-1))
        objective = {
            "kind": "grid", "names": ["x", "y"][:n], "values": _plain(values),
            "axes": [[*pair, count] for pair in region.tolist()],
        }  # fmt: skip
    return {
        "objective": objective,
        "region": region.tolist(),
        "start": result.path[0].tolist(),
        "method": result.method,
        "rate": _rate(result),
        "maxIter": _MAX_ITER,
        "recorded": None if result.method == "grid" else _recorded(result, fun, expression),
    }


def _rate(result):
    rate = result.get("learning_rate")
    return float(rate) if result.method != "newton" and rate and np.isfinite(rate) else None


def _recorded(result, fun, expression):
    """The path, thinned, with gradients along it."""
    from schuss.minimizer.problem import Problem

    stride = -(-len(result.path) // _MAX_POINTS)
    points = np.vstack([result.path[:-1:stride], result.path[-1:]])
    values = np.append(result.path_fun[:-1:stride], result.path_fun[-1])
    exact = {} if expression is None else {"jac": expression.jac}
    problem = Problem(fun, points[0], (), exact.get("jac"), None)
    with np.errstate(all="ignore"):
        gradients = np.array([problem.gradient(x) for x in points])
    return {
        "points": _plain(points), "values": _plain(values), "gradients": _plain(gradients),
        "reason": result.stop_reason, "message": result.message,
    }  # fmt: skip


def _plain(array):
    """Nested lists of numbers of 9 digits; null where they are not finite."""
    if array.ndim > 1:
        return [_plain(row) for row in array]
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in array.tolist()]


def walk_page(result: Any, fun: Any, *, title: str | None = None, language: str = "en") -> str:
    """Return the page of a run of `schuss.minimize`; see `MinimizeResult.to_html`.

    Parameters
    ----------
    result : MinimizeResult
    fun : callable, polynomial or Expression
        The function that was minimised.
    title : str, optional
    language : {"en", "pl"}, default="en"

    Returns
    -------
    str
    """
    data = walk_data(result, fun)
    if title is None:
        text = fun.text if isinstance(fun, Expression) else ""
        if isinstance(fun, Polynomial):
            text = formula(fun)
        title = typeset(text) or "A function and its minimum"
    return _played("walk", title, {"walk": data}, language)


def learn_page(*, language: str = "en") -> str:
    """Return the guided page from a parabola to backpropagation.

    Parameters
    ----------
    language : {"en", "pl"}, default="en"
        Language that is shown first.

    Returns
    -------
    str
    """
    titles = {"en": "Straight downhill", "pl": "Prosto w dół"}
    check_language(language)
    return _played("learn", titles[language], _lessons(), language)


def _lessons():
    """The walks of the guided page."""
    rng = np.random.default_rng(3)

    def formula_walk(text, region, start, rate, **others):
        expression = Expression(text)
        return {
            "objective": {
                "kind": "expression", "tree": expression.tree(), "names": list(expression.variables)
            },
            "region": region, "start": start, "method": "gd", "rate": rate, "maxIter": _MAX_ITER,
            **others,
        }  # fmt: skip

    def network_walk(X, y, start, rate, hidden, axes, **others):
        return {
            "objective": {
                "kind": "network", "X": X.round(2).tolist(), "y": y.tolist(), "hidden": hidden,
                "loss": "squared_error",
            },
            "region": [[-10, 10]], "plane": limits_of(X), "start": start, "method": "gd",
            "rate": rate, "axes": axes, "random": 2, "maxIter": _MAX_ITER, **others,
        }  # fmt: skip

    def limits_of(X):
        return [
            [float(low) - 0.4, float(high) + 0.4]
            for low, high in zip(X.min(0), X.max(0), strict=True)
        ]

    clouds = np.repeat([[-0.8, -0.6], [0.9, 0.7]], 20, axis=0)
    clouds = clouds + rng.normal(scale=0.7, size=clouds.shape)
    corners = np.repeat([[0, 0], [1, 1], [0, 1], [1, 0]], 8, axis=0).astype(float)
    corners = corners + rng.normal(scale=0.12, size=corners.shape)
    return {
        "parabola": formula_walk("x**2 - 4*x + 6", [[-5, 9]], [8.0], 0.1),
        "quartic": formula_walk("x**4/4 - x**3/3 - 2*x**2 + 5", [[-2.8, 3.4]], [3.2], 0.05),
        "valley": formula_walk("x**2 + 8*y**2", [[-6, 6], [-3, 3]], [5.0, 2.0], 0.1),
        "rosenbrock": formula_walk(
            "(1 - x)**2 + 100*(y - x**2)**2", [[-1.8, 1.8], [-0.8, 2.6]], [-1.0, 2.0], 0.001
        ),
        "neuron": network_walk(
            clouds, np.repeat([0, 1], 20), [-3.0, 3.0, 0.0], 2.0, 0, [0, 1]
        ),
        "network": network_walk(
            corners, np.repeat([0, 1], 16),
            [2.0, 2.0, -1.0, 1.5, 1.5, -2.5, 1.0, -1.0, 0.1], 5.0, 2, [6, 7]
        ),
    }  # fmt: skip
