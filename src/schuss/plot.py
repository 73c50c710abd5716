"""Pictures, as scikit-learn's Display objects; they need matplotlib, the extra ``plot``.

A display is made by ``from_estimator`` or ``from_result`` and drawn by ``plot(ax=None)``,
which both return; the figure is its attribute ``figure_``, the axes ``ax_``. Colours are those
that Okabe and Ito chose for all kinds of colour vision, and lines differ in dashes or markers
as well, so that they can be told apart in print.

`CalibrationDisplay` and `RocCurveDisplay` are scikit-learn's own.
"""

import math
from collections.abc import Mapping

import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.inspection import DecisionBoundaryDisplay as _Boundary
from sklearn.metrics import RocCurveDisplay

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

_ENDS = {"max_iter": "not at the end", "diverged": "diverged", "saddle": "no minimum"}

_CURVE_POINTS = 400
_CONTOUR_POINTS = 81
_CONTOURS = 12
# Rows whose markers have room beside each other, the least share of their size for more, and
# from how many on they are pixels in SVG and PDF files: a million took 138 MB.
_FULL_MARKERS = 1000
_LEAST_MARKER = 0.2
_VECTOR_MARKERS = 10_000
# Width and height of one picture among several, in inches.
_PANEL = 3.2, 3.0
_SINGLE = 4.8, 3.6


def _pyplot():
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            'schuss.plot needs matplotlib, which is not here: pip install "schuss[plot]"'
        ) from error
    return pyplot


def _axes(ax, n=1, size=None, columns=4, **settings):
    """The figure and n axes: those given, or new ones side by side."""
    pyplot = _pyplot()
    if ax is None:
        width, height = size or (_SINGLE if n == 1 else (_PANEL[0] * min(n, columns), _PANEL[1]))
        columns = min(n, columns)
        rows = math.ceil(n / columns)
        figure, several = pyplot.subplots(
            rows, columns, figsize=(width, height * rows), squeeze=False,
            layout="constrained", **settings,
        )  # fmt: skip
        for k, empty in enumerate(several.flat[n:], n):
            empty.set_visible(False)
            # What stands above it is the lowest of its column, and has to have numbers.
            several.flat[k - columns].tick_params(labelbottom=True)
        return figure, list(several.flat[:n])
    several = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(several) != n:
        raise ValueError(f"ax holds {len(several)} axes, expected {n}: one for each picture.")
    return several[0].figure, several


def _named(things, name):
    """A mapping of labels to things, of one thing or of a mapping."""
    if isinstance(things, Mapping) and not hasattr(things, "path"):
        if not things:
            raise ValueError(f"{name} is empty; expected one or more to show.")
        return dict(things)
    return {"": things}


def _last_step(estimator):
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _spread(low, high, share=0.08):
    margin = share * (high - low) or max(1.0, abs(low))
    return low - margin, high + margin


class DescentDisplay:
    """The path of a descent: on the curve of a function, or on its contours.

    Functions of one variable are shown as a curve, of two as contours; of more, the value
    is shown over the iterations. Several results stand side by side, in the same region.

    Parameters
    ----------
    results : dict of str to scipy.optimize.OptimizeResult
        Of `schuss.minimize`, by label.
    background : tuple of ndarray
        ``(x, values)``, or ``(x, y, values)``; empty for more variables.
    variables : tuple of str
        Names of the axes.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib.axes.Axes, or list of them for several results

    Examples
    --------
    >>> import schuss
    >>> from schuss.plot import DescentDisplay
    >>> f = lambda x: x**2 - 4 * x + 6
    >>> steps = {f"step {r}": schuss.minimize(f, 8.0, learning_rate=r) for r in (0.1, 0.9)}
    >>> display = DescentDisplay.from_result(steps, f)
    >>> len(display.ax_)
    2
    """

    def __init__(self, results, background, variables=("x", "y")):
        self.results = results
        self.background = background
        self.variables = variables

    @classmethod
    def from_result(cls, results, fun, *, bounds=None, variables=None, ax=None):
        """Draw one result, or several by their labels.

        Parameters
        ----------
        results : OptimizeResult or dict of str to OptimizeResult
            With their paths.
        fun : callable or polynomial
            What was minimised.
        bounds : sequence of (low, high), optional
            Region to show; by default, what the paths need.
        variables : sequence of str, optional
            Names of the variables; by default x, y.
        ax : matplotlib axes, or as many of them as results, optional

        Returns
        -------
        DescentDisplay
        """
        results = _named(results, "results")
        paths = [result.path for result in results.values()]
        n = paths[0].shape[1]
        if any(path.shape[1] != n for path in paths):
            raise ValueError("results are of functions of different numbers of variables.")
        if variables is None:
            variables = ("x", "y") if n <= 2 else tuple(f"x{j}" for j in range(n))
        if n > 2:
            return cls(results, (), tuple(variables)).plot(ax=ax)
        points = np.vstack(paths)
        if bounds is None:
            bounds = [_spread(*pair) for pair in zip(points.min(0), points.max(0), strict=True)]
        (low, high), *rest = np.reshape(np.asarray(bounds, dtype=float), (n, 2))
        evaluate = _evaluating(fun)
        if not rest:
            x = np.linspace(low, high, _CURVE_POINTS)
            background = x, np.array([evaluate(np.array([value])) for value in x])
        else:
            x = np.linspace(low, high, _CONTOUR_POINTS)
            y = np.linspace(*rest[0], _CONTOUR_POINTS)
            background = x, y, np.array([[evaluate(np.array([a, b])) for a in x] for b in y])
        return cls(results, background, tuple(variables)).plot(ax=ax)

    def plot(self, ax=None):
        """Draw into axes that are given, or a new figure.

        Parameters
        ----------
        ax : matplotlib axes, or as many of them as results, optional

        Returns
        -------
        DescentDisplay
        """
        n = len(self.results)
        if len(self.background) == 0:
            self.figure_, (self.ax_,) = _axes(ax)
            self._over_iterations(self.ax_)
            return self
        self.figure_, several = _axes(ax, n, sharex=True, sharey=True)
        for i, (axes, (label, result)) in enumerate(
            zip(several, self.results.items(), strict=True)
        ):
            draw = self._on_curve if len(self.background) == 2 else self._on_contours
            draw(axes, result, _COLOURS[i % len(_COLOURS)])
            ended = "" if result.success else f", {_ENDS.get(result.stop_reason, 'stopped')}"
            counted = "points" if result.method == "grid" else "steps"
            count = f"{result.nit + (result.method == 'grid'):,} {counted}{ended}"
            axes.set_title(f"{label}\n{count}" if label else count, fontsize="medium")
            axes.set_xlabel(self.variables[0])
            if ax is not None or axes.get_subplotspec().is_first_col():
                one = len(self.background) == 2
                axes.set_ylabel(f"f({self.variables[0]})" if one else self.variables[1])
        self.ax_ = several[0] if n == 1 else several
        return self

    def _on_curve(self, axes, result, colour):
        x, values = self.background
        axes.plot(x, values, color=_GREY, linewidth=1)
        line = "" if result.method == "grid" else "-"
        axes.plot(
            result.path[:, 0], result.path_fun, linestyle=line, linewidth=0.8, color=colour,
            marker="o", markersize=3.5,
        )  # fmt: skip
        self._ends(axes, result.path[0, 0], result.path_fun[0], result.x[0], result.fun, colour)
        axes.set_xlim(x[0], x[-1])
        finite = values[np.isfinite(values)]
        if len(finite):
            axes.set_ylim(*_spread(finite.min(), finite.max(), 0.04))

    def _on_contours(self, axes, result, colour):
        x, y, values = self.background
        finite = values[np.isfinite(values)]
        levels = np.unique(np.quantile(finite, np.linspace(0.01, 0.97, _CONTOURS)))
        if len(levels) > 1:
            axes.contour(x, y, values, levels=levels, colors=_GREY, linewidths=0.5)
        if result.method == "grid":
            axes.plot(*result.path.T, linestyle="", marker=".", markersize=1.5, color=colour)
        else:
            axes.plot(*result.path.T, linewidth=1, color=colour, marker="o", markersize=2)
        self._ends(axes, *result.path[0], *result.x, colour)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(y[0], y[-1])

    def _ends(self, axes, x0, y0, x1, y1, colour):
        """An open circle where it starts, a star where it ends."""
        axes.plot(x0, y0, marker="o", markersize=7, markerfacecolor="white", color=colour)
        axes.plot(
            x1, y1, marker="*", markersize=12, color=colour, markeredgecolor="white", zorder=5
        )

    def _over_iterations(self, axes):
        lowest = min(result.path_fun.min() for result in self.results.values())
        for i, (label, result) in enumerate(self.results.items()):
            axes.plot(
                _iterations(result), result.path_fun, label=label,
                color=_COLOURS[i % len(_COLOURS)], linestyle=_DASHES[i % len(_DASHES)],
            )  # fmt: skip
        if lowest > 0:
            axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_ylabel("value of the function")
        if any(self.results):
            axes.legend(frameon=False)


def _iterations(result):
    """Iterations that the points of a path belong to."""
    step = result.get("path_step", 1)
    return np.minimum(np.arange(len(result.path_fun)) * step, result.nit)


def _evaluating(fun):
    """A function of an array, whether `fun` takes numbers or arrays."""
    takes_number = True

    def evaluate(x):
        nonlocal takes_number
        with np.errstate(all="ignore"):
            if len(x) == 1 and takes_number:
                try:
                    return float(np.squeeze(fun(float(x[0]))))
                except (TypeError, IndexError):
                    takes_number = False
            return float(np.squeeze(fun(x)))

    return evaluate


class LearningCurveDisplay:
    """The cost over the epochs, or over the seconds, of one run or several.

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

    def __init__(self, histories, over="epochs", quantity="loss"):
        self.histories = histories
        self.over = over
        self.quantity = quantity

    @classmethod
    def from_estimator(
        cls, estimators, *, over="epochs", quantity="loss", log_scale=False, ax=None
    ):
        """Draw the history of an estimator, or of several by their labels.

        Parameters
        ----------
        estimators : fitted estimator or dict of str to fitted estimator
            With ``history_``; of a pipeline the last step.
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
        for label, estimator in _named(estimators, "estimators").items():
            estimator = _last_step(estimator)
            if not hasattr(estimator, "history_"):
                raise ValueError(
                    f"{type(estimator).__name__} has no history_; expected a fitted estimator of "
                    "schuss."
                )
            histories[label] = estimator.history_
        return cls(histories, over, quantity).plot(ax=ax, log_scale=log_scale)

    @classmethod
    def from_result(cls, results, *, over="epochs", quantity="loss", log_scale=False, ax=None):
        """Draw the history of what `schuss.train` or `schuss.minimize` returned.

        Parameters
        ----------
        results : result or dict of str to result
        over, quantity, log_scale, ax
            As in `from_estimator`; what `schuss.minimize` returns has "loss", its values,
            over "epochs" alone.

        Returns
        -------
        LearningCurveDisplay
        """
        histories = {
            label: {"loss": result.path_fun, "epochs": _iterations(result) + 1}
            if hasattr(result, "path_fun")
            else result.history
            for label, result in _named(results, "results").items()
        }
        return cls(histories, over, quantity).plot(ax=ax, log_scale=log_scale)

    def plot(self, ax=None, *, log_scale=False):
        """Draw into axes that are given, or a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
        log_scale : bool

        Returns
        -------
        LearningCurveDisplay
        """
        if self.over not in ("epochs", "seconds"):
            raise ValueError(f"over={self.over!r}: expected 'epochs' or 'seconds'.")
        self.figure_, (self.ax_,) = _axes(ax)
        validated = False
        for i, (label, history) in enumerate(self.histories.items()):
            missing = {self.quantity, "seconds"} if self.over == "seconds" else {self.quantity}
            missing -= set(history)
            if missing:
                raise ValueError(
                    f"the history has no {', '.join(sorted(missing))}; it has {', '.join(history)}."
                )
            values = history[self.quantity]
            x = np.arange(1, len(values) + 1)
            x = history["seconds"] if self.over == "seconds" else history.get("epochs", x)
            settings = {
                "color": _COLOURS[i % len(_COLOURS)], "marker": _MARKERS[i % len(_MARKERS)],
                "markevery": 0.15, "markersize": 4,
            }  # fmt: skip
            self.ax_.plot(x, values, label=label or "training", **settings)
            if self.quantity == "loss" and "validation_loss" in history:
                validated = True
                name = f"{label}, validation" if label else "validation"
                validation = history["validation_loss"]
                self.ax_.plot(x, validation, linestyle="--", label=name, **settings)
        if log_scale:
            self.ax_.set_yscale("log")
        if self.over == "seconds":
            from matplotlib.ticker import EngFormatter, MaxNLocator

            # A fit may take microseconds or hours.
            self.ax_.xaxis.set_major_formatter(EngFormatter(unit="s"))
            self.ax_.xaxis.set_major_locator(MaxNLocator(5))
        self.ax_.set_xlabel("time" if self.over == "seconds" else "epoch")
        names = {"loss": "cost", "gradient_norm": "largest entry of the gradient"}
        self.ax_.set_ylabel(names.get(self.quantity, self.quantity))
        if validated or any(self.histories):
            self.ax_.legend(frameon=False)
        return self


class DecisionBoundaryDisplay:
    """What an estimator answers in the plane of two features, with the data.

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
        What drew the areas.

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

    def __init__(self, boundary, X, y, classes):
        self.boundary = boundary
        self.X = X
        self.y = y
        self.classes = classes

    @classmethod
    def from_estimator(cls, estimator, X, y, *, feature_names=None, grid_resolution=200, ax=None):
        """Draw the areas of the classes, or of two classes the probability, and the rows.

        Parameters
        ----------
        estimator : fitted classifier
        X : array-like of shape (n, 2)
        y : array-like of shape (n,)
        feature_names : sequence of two str, optional
            Labels of the axes, with units; by default the columns of a data frame.
        grid_resolution : int
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
        names = [f"feature {j}" for j in range(2)] if names is None else [str(n) for n in names]
        y = np.asarray(y)
        if len(y) != len(rows):
            raise ValueError(f"y has {len(y)} rows, X has {len(rows)}; expected as many.")
        classes = estimator.classes_
        figure, (axes,) = _axes(ax)
        # scikit-learn's margin is the same number for both features; here, a share of each.
        corners = np.array([_spread(*pair) for pair in zip(rows.min(0), rows.max(0), strict=True)])
        corners = corners.T
        # A data frame for estimators that know their columns.
        corners = type(X)(corners, columns=columns) if hasattr(X, "iloc") else corners
        two = len(classes) == 2 and hasattr(estimator, "predict_proba")
        colours = list(_COLOURS[: len(classes)])
        settings = {"grid_resolution": grid_resolution, "ax": axes, "eps": 0}
        if two:
            pyplot = _pyplot()
            from matplotlib.colors import LinearSegmentedColormap

            shades = LinearSegmentedColormap.from_list("", [colours[0], "white", colours[1]])
            boundary = _Boundary.from_estimator(
                estimator, corners, response_method="predict_proba", class_of_interest=classes[1],
                plot_method="contourf", cmap=shades, alpha=0.6, levels=np.linspace(0, 1, 11),
                **settings,
            )  # fmt: skip
            pyplot.setp(axes, xlabel="", ylabel="")
            bar = figure.colorbar(boundary.surface_, ax=axes, ticks=(0, 0.5, 1))
            bar.set_label(f"probability of {classes[1]}")
            axes.contour(
                boundary.xx0, boundary.xx1, boundary.response, levels=[0.5], colors="black",
                linewidths=1,
            )  # fmt: skip
        else:
            boundary = _Boundary.from_estimator(
                estimator, corners, response_method="predict", plot_method="contourf", alpha=0.35,
                **({"multiclass_colors": colours} if len(classes) <= len(_COLOURS) else {}),
                **settings,
            )  # fmt: skip
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        return cls(boundary, rows, y, classes)._data(figure, axes)

    def plot(self, ax=None, **settings):
        """Draw again, into axes that are given or a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
        **settings
            For ``plot`` of scikit-learn's display.

        Returns
        -------
        DecisionBoundaryDisplay
        """
        figure, (axes,) = _axes(ax)
        self.boundary.plot(ax=axes, **settings)
        return self._data(figure, axes)

    def _data(self, figure, axes):
        # Of many rows the markers shrink, so that the boundary is seen between them.
        n = len(self.X)
        shrink = min(1.0, max(_LEAST_MARKER, (_FULL_MARKERS / max(n, 1)) ** 0.5))
        for k, label in enumerate(self.classes):
            axes.plot(
                *self.X[self.y == label].T, linestyle="", marker=_MARKERS[k % len(_MARKERS)],
                color=_COLOURS[k % len(_COLOURS)], markeredgecolor="white", markersize=6 * shrink,
                markeredgewidth=0.7 * shrink, rasterized=n > _VECTOR_MARKERS, label=str(label),
            )  # fmt: skip
        axes.legend(
            frameon=True, framealpha=0.8, loc="best", fontsize="small", markerscale=1 / shrink
        )
        self.figure_, self.ax_ = figure, axes
        return self


class WeightsDisplay:
    """Weights as pictures: which pixels speak for a class, and which against it.

    Parameters
    ----------
    weights : ndarray of shape (K, height, width)
    titles : sequence of K str
    ends : tuple of str
        What negative and positive weights speak for.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib.axes.Axes, or list of them for several pictures

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

    def __init__(self, weights, titles, ends=("against", "for")):
        self.weights = weights
        self.titles = titles
        self.ends = ends

    @classmethod
    def from_estimator(cls, estimator, *, shape=None, names=None, ax=None):
        """Draw the weights of a neuron, or of a layer.

        Parameters
        ----------
        estimator : fitted estimator
            With ``coef_``, or ``coefs_``, of which the first layer is shown; of a pipeline
            the last step.
        shape : (int, int), optional
            Height and width of the pictures; by default they are square.
        names : sequence of str, optional
            Of the classes; by default ``classes_``.
        ax : matplotlib axes, or as many of them as pictures, optional

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
                raise ValueError(f"{d} weights make no square; give the shape of the pictures.")
            shape = side, side
        if math.prod(shape) != d:
            raise ValueError(
                f"shape={shape}: {math.prod(shape)} pixels, but there are {d} weights."
            )
        if names is None:
            names = getattr(estimator, "classes_", ())
        names = [str(name) for name in names]
        if len(coef) == 1 and len(names) == 2:
            titles, ends = [""], (names[0], names[1])
        else:
            ends = ("against", "for")
            titles = names if len(names) == len(coef) else [f"unit {k}" for k in range(len(coef))]
        return cls(coef.reshape(-1, *shape), titles, ends).plot(ax=ax)

    def plot(self, ax=None):
        """Draw into axes that are given, or a new figure.

        Parameters
        ----------
        ax : matplotlib axes, or as many of them as pictures, optional

        Returns
        -------
        WeightsDisplay
        """
        n = len(self.weights)
        self.figure_, several = _axes(ax, n, (3.6, 2.9) if n == 1 else (7.2, 1.6), columns=5)
        limit = float(np.abs(self.weights).max()) or 1.0
        for axes, picture, title in zip(several, self.weights, self.titles, strict=True):
            # Blue and orange-brown are told apart by everybody; white is no weight.
            image = axes.imshow(picture, cmap=_diverging(), vmin=-limit, vmax=limit)
            axes.set_title(title, fontsize="medium")
            axes.set_xticks(())
            axes.set_yticks(())
        bar = self.figure_.colorbar(
            image, ax=several, ticks=(-limit, 0, limit), format="%.2g",
            shrink=1.0 if n <= 5 else 0.6,
        )  # fmt: skip
        bar.set_label(f"weight: {self.ends[0]}  ↔  {self.ends[1]}")
        self.ax_ = several[0] if n == 1 else several
        return self


def _diverging():
    _pyplot()
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("", [_COLOURS[0], "white", _COLOURS[1]])
