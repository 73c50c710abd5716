"""Display objects in the style of scikit-learn's; they need matplotlib, the extra ``plot``.

``from_estimator`` and ``from_result`` make a display and draw it; ``plot(ax=None)`` draws it again,
into given axes or a new figure. Each returns the display, with the attributes ``figure_`` and
``ax_``. The colours suit all kinds of colour vision (Okabe and Ito), and lines also differ in
dashes or markers, so that they can be told apart in print.

`CalibrationDisplay` and `RocCurveDisplay` are those of scikit-learn.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.calibration import CalibrationDisplay
from sklearn.inspection import DecisionBoundaryDisplay as _Boundary
from sklearn.metrics import RocCurveDisplay

from schuss.files import check_writable, write_whole
from schuss.validation import check_choice

__all__ = [
    "CalibrationDisplay",
    "DecisionBoundaryDisplay",
    "DescentDisplay",
    "LearningCurveDisplay",
    "RocCurveDisplay",
    "WeightsDisplay",
]

# Okabe and Ito, "Color Universal Design" (2008), without black and the pale yellow.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 2)))
_GREY = "0.45"

_STOP_REASONS = {"max_iter": "not converged", "diverged": "diverged", "saddle": "no minimum"}

_CURVE_POINTS = 400
_CONTOUR_POINTS = 121
_CONTOURS = 12
# Frames of an animation.
_FRAMES = 200
# Number of rows drawn with full-size markers, the smallest scale of the markers of more, and the
# number from which on SVG and PDF files hold pixels: a million markers took 138 MB.
_FULL_MARKERS = 1000
_MIN_MARKER_SCALE = 0.2
_VECTOR_MARKERS = 10_000
# Width and height in inches of one plot among several, and of a single one.
_PANEL = 3.2, 3.0
_SINGLE = 4.8, 3.6


def _pyplot():
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            'schuss.plot needs matplotlib, which is not installed: pip install "schuss[plot]"'
        ) from error
    return pyplot


def _axes(ax, n=1, size=None, columns=4, **settings):
    """The figure and n axes: the given ones, or new ones side by side."""
    pyplot = _pyplot()
    if ax is not None:
        axes = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(axes) != n:
            raise ValueError(f"ax holds {len(axes)} axes, expected {n}: one for each plot.")
        return axes[0].figure, axes
    columns = min(n, columns)
    rows = math.ceil(n / columns)
    width, height = size or (_SINGLE if n == 1 else (_PANEL[0] * columns, _PANEL[1]))
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(width, height * rows), squeeze=False, layout="constrained",
        **settings,
    )  # fmt: skip
    for k, empty in enumerate(axes.flat[n:], n):
        empty.set_visible(False)
        # The axes above are the lowest of their column, and need tick labels.
        axes.flat[k - columns].tick_params(labelbottom=True)
    return figure, list(axes.flat[:n])


def _by_label(items, name):
    """A mapping from labels, of a mapping or of one item."""
    if isinstance(items, Mapping) and not hasattr(items, "path"):
        if not items:
            raise ValueError(f"{name} is empty; expected at least one.")
        return dict(items)
    return {"": items}


def _last_step(estimator):
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def limits(points: np.ndarray, margin: float = 0.08) -> np.ndarray:
    """Lower and upper limits, of shape (n, 2), around points of shape (m, n)."""
    low, high = points.min(0), points.max(0)
    room = margin * (high - low)
    room = np.where(room == 0, np.maximum(1.0, np.abs(low)), room)
    return np.stack([low - room, high + room], axis=1)


def _diverging_colours():
    """A colour map from blue over white to orange."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("", [_COLOURS[0], "white", _COLOURS[1]])


class DescentDisplay:
    """Path of a minimisation, on the curve or on the contours of the function.

    Functions of one variable are drawn as a curve, of two as contours; of more variables, the
    value is drawn over the iterations. Several results are drawn side by side, in the same
    region.

    Parameters
    ----------
    results : dict of str to MinimizeResult
        Results of `schuss.minimize`, by label.
    background : tuple of ndarray
        ``(x, values)``, or ``(x, y, values)``; empty for more variables.
    variables : tuple of str
        Labels of the axes.
    kind : {"contours", "surface"}
        How functions of two variables are drawn.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib.axes.Axes, or list of them for several results

    Examples
    --------
    >>> import schuss
    >>> from schuss.plot import DescentDisplay
    >>> f = lambda x: x**2 - 4 * x + 6
    >>> results = {f"rate {r}": schuss.minimize(f, 8.0, learning_rate=r) for r in (0.1, 0.9)}
    >>> display = DescentDisplay.from_result(results, f)
    >>> len(display.ax_)
    2
    """

    def __init__(
        self, results: Mapping[str, Any], background: tuple[np.ndarray, ...],
        variables: Sequence[str] = ("x", "y"), kind: str = "contours",
    ):  # fmt: skip
        self.results = results
        self.background = background
        self.variables = variables
        self.kind = check_choice(kind, "kind", ("contours", "surface"))

    @classmethod
    def from_result(
        cls, results: Any, fun: Any, *, bounds: ArrayLike | None = None,
        variables: Sequence[str] | None = None, kind: str = "contours", ax: Any = None,
    ) -> Self:  # fmt: skip
        """Draw one result, or several by their labels.

        Parameters
        ----------
        results : MinimizeResult or dict of str to MinimizeResult
        fun : callable or polynomial
            The function that was minimised.
        bounds : sequence of (low, high), optional
            Region to draw; by default around the paths.
        variables : sequence of str, optional
            Names of the variables; by default x, y.
        kind : {"contours", "surface"}, default="contours"
            Functions of two variables as contours, or as a mountain in three dimensions, cut
            off where a tenth of it is higher.
        ax : matplotlib axes, one for each result, optional
            For "surface" with ``projection="3d"``.

        Returns
        -------
        DescentDisplay
        """
        results = _by_label(results, "results")
        paths = [result.path for result in results.values()]
        n = paths[0].shape[1]
        if any(path.shape[1] != n for path in paths):
            raise ValueError("results are of functions of different numbers of variables.")
        if variables is None:
            variables = ("x", "y") if n <= 2 else tuple(f"x{j}" for j in range(n))
        background: tuple[np.ndarray, ...] = ()
        if n <= 2:
            region = limits(np.vstack(paths)) if bounds is None else np.reshape(bounds, (n, 2))
            count = _CURVE_POINTS if n == 1 else _CONTOUR_POINTS
            grid = [np.linspace(low, high, count) for low, high in region.astype(float).tolist()]
            background = *grid, values_on(fun, np.stack(np.meshgrid(*grid), axis=-1))
        return cls(results, background, tuple(variables), kind).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw into the given axes, one for each result, or a new figure."""
        n = len(self.results)
        if not self.background:
            self.figure_, (self.ax_,) = _axes(ax)
            self._plot_values(self.ax_)
            return self
        is_curve = len(self.background) == 2
        is_surface = self.kind == "surface" and not is_curve
        settings: dict[str, Any] = {"sharex": True, "sharey": True}
        if is_surface:
            settings = {"subplot_kw": {"projection": "3d"}}
        self.figure_, several = _axes(ax, n, **settings)
        for i, (axes, (label, result)) in enumerate(
            zip(several, self.results.items(), strict=True)
        ):
            draw = self._plot_on_curve if is_curve else self._plot_on_contours
            if is_surface:
                draw = self._plot_on_surface
            draw(axes, result, _COLOURS[(i + is_surface) % len(_COLOURS)])
            ended = (
                "" if result.success else f", {_STOP_REASONS.get(result.stop_reason, 'stopped')}"
            )
            grid = result.method == "grid"
            count = f"{result.nit + grid:,} {'points' if grid else 'steps'}{ended}"
            axes.set_title(f"{label}\n{count}" if label else count, fontsize="medium")
            axes.set_xlabel(self.variables[0])
            if ax is not None or is_surface or axes.get_subplotspec().is_first_col():
                axes.set_ylabel(f"f({self.variables[0]})" if is_curve else self.variables[1])
        self.ax_ = several[0] if n == 1 else several
        return self

    @classmethod
    def animate(
        cls, result: Any, fun: Any, path: Any, *, variables: Sequence[str] | None = None,
        fps: int = 10, dpi: int = 100,
    ) -> None:  # fmt: skip
        """Write a run as an animation; see `MinimizeResult.animate`."""
        pyplot = _pyplot()
        from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter

        suffix = Path(path).suffix
        if suffix not in (".gif", ".mp4"):
            raise ValueError(f"path={str(path)!r}: expected a name that ends in .gif or .mp4.")
        if suffix == ".mp4" and not FFMpegWriter.isAvailable():
            raise ValueError(f"path={str(path)!r}: .mp4 needs ffmpeg, which is not installed.")
        check_writable(path)
        display = cls.from_result(result, fun, variables=variables)
        line = next(line for line in display.ax_.lines if len(line.get_xdata()) == len(result.path))
        x, y = line.get_data()
        frames = np.unique(np.linspace(0, len(x) - 1, min(len(x), _FRAMES)).round().astype(int))

        def show(k):
            line.set_data(x[: k + 1], y[: k + 1])
            display.ax_.set_title(f"step {k * result.get('path_step', 1):,}", fontsize="medium")
            return (line,)

        writer = (PillowWriter if suffix == ".gif" else FFMpegWriter)(fps=fps)
        try:
            movie = FuncAnimation(display.figure_, show, frames=frames, blit=False)
            # Beside the file, as its writers choose the format by the name.
            with TemporaryDirectory() as folder:
                written = Path(folder, f"movie{suffix}")
                movie.save(written, writer=writer, dpi=dpi)
                with write_whole(path) as file:
                    file.write(written.read_bytes())
        finally:
            pyplot.close(display.figure_)

    def _plot_on_curve(self, axes, result, colour):
        x, values = self.background
        axes.plot(x, values, color=_GREY, linewidth=1)
        line = "" if result.method == "grid" else "-"
        axes.plot(
            result.path[:, 0], result.path_fun, linestyle=line, linewidth=0.8, color=colour,
            marker="o", markersize=3.5,
        )  # fmt: skip
        start, end = (result.path[0, 0], result.path_fun[0]), (result.x[0], result.fun)
        self._plot_ends(axes, start, end, colour)
        axes.set_xlim(x[0], x[-1])
        finite = values[np.isfinite(values)]
        if len(finite):
            axes.set_ylim(*limits(finite[:, None], 0.04)[0])

    def _plot_on_contours(self, axes, result, colour):
        x, y, values = self.background
        finite = values[np.isfinite(values)]
        levels = np.unique(np.quantile(finite, np.linspace(0.01, 0.97, _CONTOURS)))
        if len(levels) > 1:
            axes.contour(x, y, values, levels=levels, colors=_GREY, linewidths=0.5)
        if result.method == "grid":
            axes.plot(*result.path.T, linestyle="", marker=".", markersize=1.5, color=colour)
        else:
            axes.plot(*result.path.T, linewidth=1, color=colour, marker="o", markersize=2)
        self._plot_ends(axes, result.path[0], result.x, colour)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(y[0], y[-1])

    def _plot_on_surface(self, axes, result, colour):
        x, y, values = self.background
        top = np.quantile(values[np.isfinite(values)], 0.9) if np.isfinite(values).any() else 1.0
        cut = np.minimum(values, top)
        axes.plot_surface(
            *np.meshgrid(x, y), cut, cmap="Blues", alpha=0.75, linewidth=0, antialiased=True,
            rcount=len(y), ccount=len(x),
        )  # fmt: skip
        heights = np.minimum(result.path_fun, top)
        line = "" if result.method == "grid" else "-"
        # Axes in three dimensions draw by distance alone; the path is to be seen throughout.
        axes.plot(*result.path.T, heights, linestyle=line, color=colour, marker="o", markersize=2,
                  zorder=10)  # fmt: skip
        axes.plot(*result.x, min(result.fun, top), marker="*", markersize=12, color=colour,
                  markeredgecolor="white", zorder=11)  # fmt: skip
        axes.set_zlabel(f"f({', '.join(self.variables)})")

    def _plot_ends(self, axes, start, end, colour):
        """An open circle at the start, a star at the end."""
        axes.plot(*start, marker="o", markersize=7, markerfacecolor="white", color=colour)
        axes.plot(*end, marker="*", markersize=12, color=colour, markeredgecolor="white", zorder=5)

    def _plot_values(self, axes):
        axes.set_prop_cycle(color=_COLOURS, linestyle=_DASHES)
        for label, result in self.results.items():
            axes.plot(_iterations(result), result.path_fun, label=label)
        if min(result.path_fun.min() for result in self.results.values()) > 0:
            axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_ylabel("value of the function")
        if any(self.results):
            axes.legend(frameon=False)


def _iterations(result):
    """Iterations of the points of a path."""
    step = result.get("path_step", 1)
    return np.minimum(np.arange(len(result.path_fun)) * step, result.nit)


def values_on(fun: Any, points: np.ndarray) -> np.ndarray:
    """Values of `fun`, which takes arrays or, for one variable, numbers, at (..., n) points."""
    as_number = points.shape[-1] == 1

    def evaluate(x):
        nonlocal as_number
        if as_number:
            try:
                return float(np.squeeze(fun(float(x[0]))))
            except (TypeError, IndexError):
                as_number = False
        return float(np.squeeze(fun(x)))

    with np.errstate(all="ignore"):
        values = [evaluate(x) for x in points.reshape(-1, points.shape[-1])]
    return np.reshape(values, points.shape[:-1])


class LearningCurveDisplay:
    """Loss over the epochs or over the time, of one run or several.

    Parameters
    ----------
    histories : dict of str to dict
        By label, as ``history_`` of the estimators.
    over : {"epochs", "seconds"}
    quantity : str
        Key of the histories: "loss", "gradient_norm" or "step".

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib.axes.Axes

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> import schuss
    >>> from schuss.plot import LearningCurveDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> neuron = schuss.SigmoidClassifier(max_iter=50, tol=0).fit(scale(X), y)
    >>> display = LearningCurveDisplay.from_estimator(neuron, over="seconds")
    >>> display.ax_.get_xlabel()
    'time'
    """

    def __init__(self, histories: Mapping[str, Any], over: str = "epochs", quantity: str = "loss"):
        self.histories = histories
        self.over = over
        self.quantity = quantity

    @classmethod
    def from_estimator(
        cls, estimators: Any, *, over: str = "epochs", quantity: str = "loss",
        log_scale: bool = False, ax: Any = None,
    ) -> Self:  # fmt: skip
        """Draw the history of an estimator, or of several by their labels.

        Parameters
        ----------
        estimators : fitted estimator or dict of str to fitted estimator
            Estimators with ``history_``, or pipelines that end in one.
        over : {"epochs", "seconds"}
        quantity : {"loss", "gradient_norm", "step"}
        log_scale : bool
            Whether the vertical axis is logarithmic.
        ax : matplotlib axes, optional

        Returns
        -------
        LearningCurveDisplay
        """
        histories = {}
        for label, estimator in _by_label(estimators, "estimators").items():
            estimator = _last_step(estimator)
            if not hasattr(estimator, "history_"):
                raise ValueError(
                    f"{type(estimator).__name__} has no history_; expected a fitted estimator of "
                    "schuss."
                )
            histories[label] = estimator.history_
        return cls(histories, over, quantity).plot(ax=ax, log_scale=log_scale)

    @classmethod
    def from_result(
        cls, results: Any, *, over: str = "epochs", quantity: str = "loss", log_scale: bool = False,
        ax: Any = None,
    ) -> Self:  # fmt: skip
        """Draw the history of results of `schuss.train` or `schuss.minimize`.

        Parameters
        ----------
        results : result or dict of str to result
        over, quantity, log_scale, ax
            As in `from_estimator`; results of `schuss.minimize` have the "loss", which is the
            value of the function, over "epochs" only.

        Returns
        -------
        LearningCurveDisplay
        """
        histories = {
            label: {"loss": result.path_fun, "epochs": _iterations(result) + 1}
            if hasattr(result, "path_fun")
            else result.history
            for label, result in _by_label(results, "results").items()
        }
        return cls(histories, over, quantity).plot(ax=ax, log_scale=log_scale)

    def plot(self, ax: Any = None, *, log_scale: bool = False) -> Self:
        """Draw into the given axes or a new figure, perhaps with a logarithmic vertical axis."""
        if self.over not in ("epochs", "seconds"):
            raise ValueError(f"over={self.over!r}: expected 'epochs' or 'seconds'.")
        self.figure_, (self.ax_,) = _axes(ax)
        self.ax_.set_prop_cycle(color=_COLOURS, marker=_MARKERS)
        markers: dict[str, Any] = {"markevery": 0.15, "markersize": 4}
        validated = False
        for label, history in self.histories.items():
            missing = {self.quantity, "seconds"} if self.over == "seconds" else {self.quantity}
            missing -= set(history)
            if missing:
                raise ValueError(
                    f"the history has no {', '.join(sorted(missing))}; it has {', '.join(history)}."
                )
            values = history[self.quantity]
            x = np.arange(1, len(values) + 1)
            x = history["seconds"] if self.over == "seconds" else history.get("epochs", x)
            (line,) = self.ax_.plot(x, values, label=label or "training", **markers)
            if self.quantity == "loss" and "validation_loss" in history:
                validated = True
                self.ax_.plot(
                    x, history["validation_loss"], linestyle="--", color=line.get_color(),
                    marker=line.get_marker(), **markers,
                    label=f"{label}, validation" if label else "validation",
                )  # fmt: skip
        if log_scale:
            self.ax_.set_yscale("log")
        if self.over == "seconds":
            from matplotlib.ticker import EngFormatter, MaxNLocator

            # A fit may take microseconds or hours.
            self.ax_.xaxis.set_major_formatter(EngFormatter(unit="s"))
            self.ax_.xaxis.set_major_locator(MaxNLocator(5))
        self.ax_.set_xlabel("time" if self.over == "seconds" else "epoch")
        names = {"gradient_norm": "largest gradient entry", "step": "step size"}
        self.ax_.set_ylabel(names.get(self.quantity, self.quantity))
        if validated or any(self.histories):
            self.ax_.legend(frameon=False)
        return self


class DecisionBoundaryDisplay:
    """Predictions of a classifier in the plane of two features, with the data.

    Parameters
    ----------
    boundary : sklearn.inspection.DecisionBoundaryDisplay
    X : ndarray of shape (n, 2)
    y : ndarray of shape (n,)
    classes : ndarray

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib.axes.Axes
    boundary : sklearn.inspection.DecisionBoundaryDisplay
        The display of the regions.

    Examples
    --------
    >>> import schuss
    >>> from schuss.plot import DecisionBoundaryDisplay
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1]
    >>> neuron = schuss.SigmoidClassifier("log_loss", alpha=0.01).fit(X, y)
    >>> display = DecisionBoundaryDisplay.from_estimator(neuron, X, y)
    >>> display.ax_.get_xlabel()
    'feature 0'
    """

    def __init__(self, boundary: _Boundary, X: np.ndarray, y: np.ndarray, classes: Iterable):
        self.boundary = boundary
        self.X = X
        self.y = y
        self.classes = classes

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, feature_names: Sequence[str] | None = None,
        grid_resolution: int = 200, ax: Any = None,
    ) -> Self:  # fmt: skip
        """Draw the rows over the regions of the classes, or the probability of two classes.

        Parameters
        ----------
        estimator : fitted classifier
        X : array-like of shape (n, 2)
        y : array-like of shape (n,)
        feature_names : sequence of two str, optional
            Labels of the axes, with units; by default the columns of a data frame.
        grid_resolution : int
            Number of grid points along each feature.
        ax : matplotlib axes, optional

        Returns
        -------
        DecisionBoundaryDisplay
        """
        columns = getattr(X, "columns", None)
        rows = np.asarray(X, dtype=float)
        if rows.ndim != 2 or rows.shape[1] != 2:
            raise ValueError(
                f"X has shape {rows.shape}, expected (n, 2): a plane has two features."
            )
        names = columns if feature_names is None else feature_names
        names = ["feature 0", "feature 1"] if names is None else [str(name) for name in names]
        y = np.asarray(y)
        if len(y) != len(rows):
            raise ValueError(f"y has {len(y)} rows and X {len(rows)}; expected the same number.")
        classes = estimator.classes_
        figure, (axes,) = _axes(ax)
        # scikit-learn's margin is the same number for both features; this one is relative.
        corners = limits(rows).T
        # A data frame for estimators that check the names of the columns.
        corners = type(X)(corners, columns=columns) if hasattr(X, "iloc") else corners
        settings: dict[str, Any] = {
            "grid_resolution": grid_resolution, "ax": axes, "eps": 0, "plot_method": "contourf",
        }  # fmt: skip
        if len(classes) == 2 and hasattr(estimator, "predict_proba"):
            boundary = _Boundary.from_estimator(
                estimator, corners, response_method="predict_proba", class_of_interest=classes[1],
                cmap=_diverging_colours(), alpha=0.6, levels=np.linspace(0, 1, 11), **settings,
            )  # fmt: skip
            bar = figure.colorbar(boundary.surface_, ax=axes, ticks=(0, 0.5, 1))
            bar.set_label(f"probability of {classes[1]}")
            axes.contour(
                boundary.xx0, boundary.xx1, boundary.response, levels=[0.5], colors="black",
                linewidths=1,
            )  # fmt: skip
        else:
            if len(classes) <= len(_COLOURS):
                settings["multiclass_colors"] = list(_COLOURS[: len(classes)])
            boundary = _Boundary.from_estimator(
                estimator, corners, response_method="predict", alpha=0.35, **settings
            )
        axes.set(xlabel=names[0], ylabel=names[1])
        return cls(boundary, rows, y, classes)._plot_rows(figure, axes)

    def plot(self, ax: Any = None, **settings: Any) -> Self:
        """Draw into the given axes or a new figure; `settings` are scikit-learn's."""
        figure, (axes,) = _axes(ax)
        self.boundary.plot(ax=axes, **settings)
        return self._plot_rows(figure, axes)

    def _plot_rows(self, figure, axes):
        # Markers of many rows shrink, so that the boundary can be seen between them.
        n = len(self.X)
        scale = min(1.0, max(_MIN_MARKER_SCALE, (_FULL_MARKERS / max(n, 1)) ** 0.5))
        axes.set_prop_cycle(color=_COLOURS, marker=_MARKERS)
        for label in self.classes:
            axes.plot(
                *self.X[self.y == label].T, linestyle="", markeredgecolor="white",
                markersize=6 * scale, markeredgewidth=0.7 * scale, rasterized=n > _VECTOR_MARKERS,
                label=str(label),
            )  # fmt: skip
        axes.legend(
            frameon=True, framealpha=0.8, loc="best", fontsize="small", markerscale=1 / scale
        )
        self.figure_, self.ax_ = figure, axes
        return self


class WeightsDisplay:
    """Weights as images: which pixels speak for a class, and which against it.

    Parameters
    ----------
    weights : ndarray of shape (K, height, width)
    titles : sequence of K str
    ends : tuple of str
        Labels of negative and positive weights.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib.axes.Axes, or list of them for several images

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import schuss
    >>> from schuss.plot import WeightsDisplay
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> neuron = schuss.SigmoidClassifier("log_loss", "nesterov", alpha=0.1).fit(X / 16, y)
    >>> display = WeightsDisplay.from_estimator(neuron, names=("zero", "one"))
    >>> display.weights.shape
    (1, 8, 8)
    """

    def __init__(
        self, weights: np.ndarray, titles: Sequence[str],
        ends: tuple[str, str] = ("against", "for"),
    ):  # fmt: skip
        self.weights = weights
        self.titles = titles
        self.ends = ends

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, shape: tuple[int, int] | None = None,
        names: Iterable[Any] | None = None, ax: Any = None,
    ) -> Self:  # fmt: skip
        """Draw the weights of a neuron, or of the first layer of a network.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``coef_`` or ``coefs_``, or a pipeline that ends in one.
        shape : (int, int), optional
            Height and width of the images; by default they are square.
        names : sequence of str, optional
            Names of the classes; by default ``classes_``.
        ax : matplotlib axes, one for each image, optional

        Returns
        -------
        WeightsDisplay
        """
        estimator = _last_step(estimator)
        if hasattr(estimator, "coef_"):
            coef = np.atleast_2d(np.asarray(estimator.coef_, dtype=float))
        elif hasattr(estimator, "coefs_"):
            coef = np.asarray(estimator.coefs_[0], dtype=float).T
        else:
            raise ValueError(
                f"{type(estimator).__name__} has neither coef_ nor coefs_; expected a fitted "
                "neuron or network."
            )
        d = coef.shape[1]
        if shape is None:
            side = math.isqrt(d)
            if side * side != d:
                raise ValueError(f"{d} weights make no square image; expected shape=(int, int).")
            shape = side, side
        if math.prod(shape) != d:
            raise ValueError(
                f"shape={shape}: {math.prod(shape)} pixels, but there are {d} weights."
            )
        labels = [str(name) for name in getattr(estimator, "classes_", ())]
        if names is not None:
            labels = [str(name) for name in names]
        images = coef.reshape(-1, *shape)
        if len(coef) == 1 and len(labels) == 2:
            return cls(images, [""], (labels[0], labels[1])).plot(ax=ax)
        if len(labels) != len(coef):
            labels = [f"unit {k}" for k in range(len(coef))]
        return cls(images, labels).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw into the given axes, one for each image, or a new figure."""
        n = len(self.weights)
        self.figure_, several = _axes(ax, n, (3.6, 2.9) if n == 1 else (7.2, 1.6), columns=5)
        limit = float(np.abs(self.weights).max()) or 1.0
        for axes, weights, title in zip(several, self.weights, self.titles, strict=True):
            # White is a weight of zero.
            image = axes.imshow(weights, cmap=_diverging_colours(), vmin=-limit, vmax=limit)
            axes.set_title(title, fontsize="medium")
            axes.set(xticks=(), yticks=())
        bar = self.figure_.colorbar(
            image, ax=several, ticks=(-limit, 0, limit), format="%.2g",
            shrink=1.0 if n <= 5 else 0.6,
        )  # fmt: skip
        bar.set_label(f"weight: {self.ends[0]}  ↔  {self.ends[1]}")
        self.ax_ = several[0] if n == 1 else several
        return self
