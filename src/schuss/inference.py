"""How sure a logistic regression is: standard errors, tests and intervals of its coefficients.

`Inferable` gives an estimator its `summary`, `LogisticSummary` is what that returns.
"""

import html
import math
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import lapack
from scipy.special import chdtrc, chdtri, ndtr, ndtri
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from schuss import backends, blocks, data, threads, validation
from schuss.errors import SeparationWarning, warn
from schuss.solvers.bounded import BoundedNewton
from schuss.solvers.curvature import dependent, factorise, inverse, product, solve
from schuss.solvers.likelihood import Likelihood, MultinomialLikelihood
from schuss.vectors import dot

COV_TYPES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster")

INTERCEPT = "intercept"

# Newton's step at the weights that a model has, in standard errors: beyond it they are not the
# optimum of these rows.
_MOST_STEP = 0.01

# Fits with some coefficients held: steps, and the largest entry of the mean gradient.
_REFIT_STEPS, _REFIT_TOL = 100, 1e-10

# Profiles: steps, halvings of a step, the last step and where there is no end, both in parts of
# the half interval by standard errors, and the differences of gradients in standard errors.
_PROFILE_STEPS, _PROFILE_HALVINGS = 40, 10
_PROFILE_ERROR, _PROFILE_REACH = 1e-7, 100.0
_DIFFERENCE = 1e-4
# Cosine of a step and what the model lacks of its change from which the model is corrected (SR1,
# Nocedal & Wright, 6.26): ends of 569 x 15 correlated columns take 178 evaluations, not 213.
_LEAST_PRODUCT = 1e-8


class ChiSquared(NamedTuple):
    """Result of a chi-squared test.

    Attributes
    ----------
    statistic : float
    df : int
        Degrees of freedom.
    p_value : float
    """

    statistic: float
    df: int
    p_value: float


def _chi_squared(statistic, df):
    statistic = max(float(statistic), 0.0)
    return ChiSquared(statistic, df, float(chdtrc(df, statistic)))


class LogisticSummary:
    """Estimates of a logistic regression, and how sure they are.

    It comes from an estimator's `summary`. Printed it is a table, in a notebook HTML.

    Attributes
    ----------
    names : list of str
        Of the coefficients: "intercept" first, then the features; of several classes each with
        its class, "class: feature", as differences from the first class.
    coef, std_err, z, p_values : ndarray of shape (r,)
        Estimates, standard errors, their ratios and the two-sided p-values of these. Those of
        coefficients that a bound holds are NaN.
    cov : ndarray of shape (r, r)
        Covariance of the estimates.
    cov_type : str
    n_obs : int
        Rows with a weight above 0.
    df_model : float
        Parameters. Where a penalty shrinks them effective ones, ``trace(H (H + P)^-1)`` with the
        information H of the rows and the curvature P of the penalty.
    log_likelihood : float
        Of the rows at the estimates; with Firth's penalty where that is in use.
    notes : list of str
        What has to be known to read the numbers, such as that a penalty shrinks the estimates.

    References
    ----------
    Zeileis, Journal of Statistical Software 16 (2006): robust covariances. Venzon and Moolgavkar,
    Applied Statistics 37 (1988): profile intervals. Heinze and Schemper, Statistics in Medicine 21
    (2002): tests with Firth's penalty.
    """

    def __init__(
        self, likelihood: Any, theta: np.ndarray, cov: np.ndarray, *, log_likelihood: float,
        names: list[str], cov_type: str, bounds: np.ndarray, df_model: float, notes: list[str],
    ):  # fmt: skip
        self._likelihood, self._theta, self._cov = likelihood, theta, cov
        self._bounds, self._names = bounds, names
        # Tables begin with the intercept, parameters end with it.
        order = np.arange(len(names)).reshape(likelihood.n_contrasts, -1)
        self._order = np.roll(order, int(likelihood.fit_intercept), axis=1).ravel()
        self.names = [names[i] for i in self._order]
        self.coef = theta[self._order]
        self.cov = cov[np.ix_(self._order, self._order)]
        self.cov_type, self.df_model, self.notes = cov_type, df_model, notes
        self.n_obs = likelihood.n_counted
        self.log_likelihood = log_likelihood
        self.std_err = np.sqrt(self.cov.diagonal())
        with np.errstate(divide="ignore", invalid="ignore"):
            self.z = self.coef / self.std_err
        self.p_values = 2 * ndtr(-np.abs(self.z))

    @cached_property
    def null_log_likelihood(self) -> float:
        """Of the model without features, with the same intercept and offset."""
        likelihood = self._likelihood
        known = likelihood.null_value()
        return -self._without(self._features())[0] if known is None else -known

    @property
    def aic(self) -> float:
        """Akaike's information criterion, ``2 df_model - 2 log_likelihood``."""
        return 2 * self.df_model - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``log(n_obs) df_model - 2 log_likelihood``."""
        return math.log(self.n_obs) * self.df_model - 2 * self.log_likelihood

    def conf_int(self, level: float = 0.95, method: str = "wald") -> np.ndarray:
        """Confidence intervals of the coefficients.

        Parameters
        ----------
        level : float, default=0.95
        method : {"wald", "profile"}, default="wald"
            Estimate plus and minus a multiple of the standard error, from `cov`; or where the
            log-likelihood, maximised over the other coefficients, has fallen by half the quantile
            of chi-squared. A profile without an end has infinity there.

        Returns
        -------
        ndarray of shape (r, 2)
            Lower and upper ends.
        """
        _check_level(level)
        validation.check_choice(method, "method", ("wald", "profile"))
        if method == "wald":
            half = ndtri((1 + level) / 2) * self.std_err
            return np.column_stack([self.coef - half, self.coef + half])
        self._refuse("profile intervals", several=True)
        ends = _profiles(self._likelihood, self._theta, self._cov, float(chdtri(1, 1 - level)))
        return ends[self._order]

    def odds_ratios(self, level: float = 0.95, method: str = "wald") -> np.ndarray:
        """Odds ratios and their confidence intervals: exponentials of coefficients.

        Parameters
        ----------
        level, method
            As of `conf_int`.

        Returns
        -------
        ndarray of shape (r, 3)
            Ratio, lower and upper end.
        """
        with np.errstate(over="ignore"):
            return np.exp(np.column_stack([self.coef, self.conf_int(level, method)]))

    def wald_test(self, columns: str | Sequence[str] | None = None) -> ChiSquared:
        """Whether some coefficients are 0, by their estimates and covariance.

        Parameters
        ----------
        columns : str or list of str, default=None
            Names of features, or of coefficients; None for all but the intercept.

        Returns
        -------
        ChiSquared
        """
        tested = self._columns(columns)
        cov, theta = self._cov[np.ix_(tested, tested)], self._theta[tested]
        factor, failed = lapack.dpotrf(cov, lower=1)
        if failed:
            raise ValueError(
                f"columns: the covariance (cov_type={self.cov_type!r}) of the {len(tested)} "
                "coefficients is singular. Test fewer of them"
                + ("; there are fewer clusters." if self.cov_type == "cluster" else ".")
            )
        return _chi_squared(dot(theta, lapack.dpotrs(factor, theta, lower=1)[0]), len(tested))

    def lr_test(self, columns: str | Sequence[str] | None = None) -> ChiSquared:
        """Whether some coefficients are 0, by the fit without them (likelihood-ratio test).

        Parameters
        ----------
        columns : str or list of str, default=None
            As of `wald_test`.

        Returns
        -------
        ChiSquared
        """
        self._refuse("likelihood-ratio tests")
        tested = self._columns(columns)
        if columns is None:
            without = -self.null_log_likelihood
        else:
            self._refuse("tests of some features", several=True)
            without = self._without(tested)[0]
        return _chi_squared(2 * (without + self.log_likelihood), len(tested))

    def score_test(self, columns: str | Sequence[str] | None = None) -> ChiSquared:
        """Whether some coefficients are 0, by the gradient at the fit without them (Rao's test).

        Parameters
        ----------
        columns : str or list of str, default=None
            As of `wald_test`.

        Returns
        -------
        ChiSquared
        """
        self._refuse("score tests", several=True)
        tested = self._columns(columns)
        _, gradient, information = self._without(tested)
        step = lapack.dposv(information, gradient, lower=1)[1]
        return _chi_squared(dot(gradient, step), len(tested))

    def to_frame(self, level: float = 0.95, method: str = "wald") -> Any:
        """The table as a pandas data frame, a row for each coefficient.

        Parameters
        ----------
        level, method
            As of `conf_int`.

        Returns
        -------
        pandas.DataFrame
            Columns ``coef``, ``std_err``, ``z``, ``p_value``, ``lower``, ``upper``,
            ``odds_ratio``.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(f"to_frame needs pandas: pip install pandas ({error})") from error
        return pd.DataFrame(self._table(level, method), index=self.names)

    def to_html(self, level: float = 0.95, method: str = "wald") -> str:
        """The table as HTML.

        Parameters
        ----------
        level, method
            As of `conf_int`.

        Returns
        -------
        str
        """
        columns = self._table(level, method)
        head = "".join(f"<th>{html.escape(_HEADS[name])}</th>" for name in columns)
        cells = [
            f"<th>{html.escape(name)}</th>" + "".join(f"<td>{text}</td>" for text in texts)
            for name, texts in zip(self.names, self._texts(columns), strict=True)
        ]
        rows = "".join(f"<tr>{row}</tr>" for row in cells)
        facts = ", ".join(f"{html.escape(name)}: {text}" for name, text in self._facts())
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f"<table><caption>{facts}</caption><thead><tr><th></th>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{notes}"
        )

    def _repr_html_(self):
        return self.to_html()

    def __str__(self):
        columns = self._table(0.95, "wald")
        rows = [["", *(_HEADS[name] for name in columns)]]
        rows += [[name, *t] for name, t in zip(self.names, self._texts(columns), strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        facts = [f"{name + ':':<23}{text}" for name, text in self._facts()]
        notes = [f"Note: {note}" for note in self.notes]
        rule = "-" * len(lines[0])
        return "\n".join([*facts, rule, lines[0], rule, *lines[1:], rule, *notes])

    def __repr__(self):
        return f"<{type(self).__name__} of {len(self.names)} coefficients, {self.cov_type}>"

    # ------------------------------------------------------------ tables

    def _table(self, level, method):
        lower, upper = self.conf_int(level, method).T
        with np.errstate(over="ignore"):
            ratio = np.exp(self.coef)
        return {
            "coef": self.coef, "std_err": self.std_err, "z": self.z, "p_value": self.p_values,
            "lower": lower, "upper": upper, "odds_ratio": ratio,
        }  # fmt: skip

    def _texts(self, columns):
        formats = {"p_value": _p_text}
        return zip(
            *([formats.get(name, _number)(x) for x in column] for name, column in columns.items()),
            strict=True,
        )

    def _facts(self):
        facts = [
            ("observations", f"{self.n_obs:,}"),
            ("parameters", f"{self.df_model:.6g}"),
            ("log-likelihood", f"{self.log_likelihood:.6g}"),
            ("AIC", f"{self.aic:.6g}"),
            ("BIC", f"{self.bic:.6g}"),
            ("covariance", self.cov_type),
        ]
        if not self._likelihood.is_penalised:
            test = self.lr_test()
            p = _p_text(test.p_value)
            text = f"chi2({test.df}) = {test.statistic:.6g}, p {p if '<' in p else '= ' + p}"
            facts.append(("likelihood-ratio test", text))
        return facts

    # ------------------------------------------------------------ tests

    def _features(self):
        r, intercept = len(self._names), self._likelihood.fit_intercept
        places = np.arange(r).reshape(self._likelihood.n_contrasts, -1)
        return (places[:, :-1] if intercept else places).ravel()

    def _columns(self, columns):
        """Places of the parameters that are named."""
        if columns is None:
            return self._features()
        if isinstance(columns, str):
            columns = [columns]
        places = []
        for column in columns:
            own = [
                i
                for i, name in enumerate(self._names)
                if column in (name, name.partition(": ")[2] or name)
            ]
            if not own:
                raise ValueError(
                    f"columns: {column!r} is not a coefficient; expected some of "
                    f"{', '.join(map(repr, self.names[:20]))}."
                )
            places += own
        return np.array(sorted(set(places)))

    def _refuse(self, what, several=False):
        if self._likelihood.is_penalised:
            raise ValueError(
                f"{what} need the maximum of the likelihood, but a penalty shrinks this model. "
                "Fit without it (LogisticRegression: C=numpy.inf; else alpha=0)."
            )
        if several and self._likelihood.n_contrasts > 1:
            raise ValueError(
                f"{what} are there for two classes only, but this model has "
                f"{self._likelihood.n_contrasts + 1}. Use wald_test, or conf_int(method='wald')."
            )

    def _without(self, tested):
        """Value, gradient and information where some coefficients are held at 0."""
        lower, upper = (bound.copy() for bound in self._bounds)
        lower[tested] = upper[tested] = 0.0
        return _refit(self._likelihood, self._theta, lower, upper)


def _refit(likelihood, theta, lower, upper):
    """Value, gradient and information at the optimum within bounds."""
    d = likelihood.n_features
    coef, intercept = theta[None, :d].copy(), np.append(theta[d:], 0.0)[:1]
    run = BoundedNewton(likelihood, coef, intercept, lower=lower, upper=upper, tol=_REFIT_TOL)
    run.advance(_REFIT_STEPS)
    return run.place()


def _profiles(likelihood, theta, cov, quantile):
    """Ends of the profile intervals of all parameters, (r, 2)."""
    best = likelihood.evaluate(theta)
    _, gradient, information = best
    rest = np.zeros_like(information)
    if likelihood.bias_reduced:
        # What the curvature of Firth's penalty adds at the maximum, by differences.
        for j, step in enumerate(_DIFFERENCE * np.sqrt(cov.diagonal())):
            moved = theta.copy()
            moved[j] += step
            rest[j] = (likelihood.evaluate(moved)[1] - gradient) / step
        rest = (rest + rest.T) / 2 - information
    curvature = information + rest
    factor, failed = lapack.dpotrf(curvature, lower=1)
    if failed:
        rest[...] = 0.0
        factor = lapack.dpotrf(information, lower=1)[0]
    covariance = inverse(factor)
    ends = np.empty((len(theta), 2))
    for j in range(len(theta)):
        # The quadratic model at the maximum itself.
        along = covariance[j] / math.sqrt(covariance[j, j])
        for side, sign in enumerate((-1.0, 1.0)):
            start = theta + sign * math.sqrt(quantile) * along
            ends[j, side] = _profile_end(likelihood, theta, start, rest, best, quantile, j)
    return ends


def _corrected(rest, information, step, change):
    """What has to be added to an information for the change of the gradient, of the least rank."""
    missing = change - (information + rest) @ step
    along = dot(missing, step)
    if abs(along) <= _LEAST_PRODUCT * math.sqrt(dot(missing, missing) * dot(step, step)):
        return rest
    return rest + np.outer(missing, missing) / along


def _profile_end(likelihood, theta, start, rest, best, quantile, j):
    """Where the profile of parameter j, from the maximum on, has fallen by quantile / 2.

    A step solves the equations of the quadratic model of the log-likelihood there: its value is
    the bound, its gradient with respect to the other parameters 0 (Venzon and Moolgavkar). With
    Firth's penalty `rest` completes the information, as far as changes of the gradient tell.
    """
    best, last_gradient, last_information = best
    bound = best + quantile / 2
    reach = start[j] - theta[j]
    sign = math.copysign(1.0, reach)
    place, value = theta, best
    trial = start
    sides = np.zeros((len(theta), 2), order="F")
    sides[j, 1] = 1.0
    for _ in range(_PROFILE_STEPS):
        before, here = place, value
        for _ in range(_PROFILE_HALVINGS):
            value, gradient, information = likelihood.evaluate(trial)
            # No further beyond the bound than it is from the maximum, or than before.
            if value - bound < max(quantile, bound - here):
                break
            trial = (before + trial) / 2
        place = trial
        if likelihood.bias_reduced:
            rest = _corrected(
                rest, (information + last_information) / 2, place - before,
                gradient - last_gradient,
            )  # fmt: skip
            last_gradient, last_information = gradient, information
        if abs(place[j] - theta[j]) > _PROFILE_REACH * abs(reach):
            return sign * math.inf
        sides[:, 0] = -gradient
        factor, failed = lapack.dpotrf(information + rest, lower=1)
        if failed:
            factor, failed = lapack.dpotrf(information, lower=1)
            if failed:
                return sign * math.inf
        newton, along = lapack.dpotrs(factor, sides, lower=1)[0].T
        square = (2 * (bound - value) - gradient @ newton) / along[j]
        step = newton + sign * math.sqrt(max(square, 0.0)) * along
        if abs(step[j]) <= _PROFILE_ERROR * abs(reach) and square >= 0:
            return float(place[j] + step[j])
        trial = place + step
    return float(place[j]) if abs(value - bound) <= 1e-4 * quantile else sign * math.inf


# ---------------------------------------------------------------- what an estimator adds


class Inferable:
    """`summary`, for estimators of a likelihood."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def summary(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, *,
        offset: ArrayLike | None = None, cov_type: str = "nonrobust",
        groups: ArrayLike | None = None,
    ) -> LogisticSummary:  # fmt: skip
        """Standard errors, tests and intervals of the coefficients.

        They are those of these rows at the weights that the model has.

        Parameters
        ----------
        X, y, sample_weight
            The rows that the model was fitted on. Weights are taken as R's `glm` takes its prior
            weights: a row of weight 2 counts twice in the likelihood, but is one observation.
        offset : array-like of shape (n,), default=None
            That of the fit.
        cov_type : {"nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster"}, default="nonrobust"
            Covariance: the inverse of the information; the sandwich with squared residuals (HC0),
            times n / (n - r) (HC1), divided by 1 - h or its square, h being the leverage (HC2,
            HC3); the sandwich of sums over clusters, times G / (G - 1) (n - 1) / (n - r) for G
            clusters.
        groups : array-like of shape (n,), default=None
            Cluster of each row, for ``cov_type="cluster"``.

        Returns
        -------
        LogisticSummary

        Raises
        ------
        ValueError
            Where there is no likelihood (another loss, several classes of which each has its own
            neuron), where an L1 penalty leaves no standard errors, where columns are collinear
            (named), or for bad input.

        Warns
        -----
        ConvergenceWarning
            Where the weights are not the optimum of these rows.
        SeparationWarning
            Where the optimum is at infinity, as columns, which are named, separate the classes.

        Examples
        --------
        >>> import numpy as np
        >>> from schuss import LogisticRegression
        >>> from sklearn.datasets import load_breast_cancer
        >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
        >>> X = X[["mean texture", "mean smoothness"]]
        >>> model = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y)
        >>> result = model.summary(X, y, cov_type="HC1")
        >>> result.names
        ['intercept', 'mean texture', 'mean smoothness']
        >>> result.std_err.round(3)
        array([1.206, 0.031, 9.532])
        """
        check_is_fitted(self)
        self._check_likelihood()
        validation.check_choice(cov_type, "cov_type", COV_TYPES)
        if isinstance(X, blocks.Source):
            raise ValueError(
                "summary takes rows in memory, but X is a stream. Pass a sample of the rows: the "
                "standard errors grow with the root of the share."
            )
        work = copy(self)
        given, X = X, data.check_features(X, estimator=self, reset=False, finite=True)
        y = work._check_targets(X, y, True)
        weights = work._weigh(X, y, work._check_weights(sample_weight, X), False)
        offset = validation.check_offset(offset, X.shape[0])
        codes, n_groups = _check_groups(groups, X.shape[0], cov_type)
        if (offset is None) == bool(getattr(self, "fit_info_", {}).get("offset")):
            one = "without an offset" if offset is not None else "with an offset"
            raise ValueError(f"offset: the model was fitted {one}. Pass what fit was given.")
        likelihood, theta, notes = self._likelihood_of(X, y, weights, offset)
        value, gradient, information = likelihood.evaluate(theta)
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            data.check_features(given, estimator=self, reset=False)
        names = self._parameter_names(X.shape[1])
        bounds = self._fitted_bounds(len(theta))
        free = ~((theta <= bounds[0]) | (theta >= bounds[1]))
        inside = np.ix_(free, free)
        cov_inside = _invert(
            information[inside], np.array(names * likelihood.n_outputs)[free], likelihood.singular
        )
        df_model: float = int(free.sum())
        if likelihood.is_penalised:
            rows = information - np.diag(likelihood.penalty)
            df_model = float(np.einsum("ij,ji->", cov_inside, rows[inside]))
        df_model -= likelihood.n_redundant
        if not free.all():
            held = ", ".join(names[i] for i in np.flatnonzero(~free))
            notes.append(f"held by a bound and taken as known: {held}.")
        _check_optimum(
            likelihood, theta, -cov_inside @ gradient[free], cov_inside.diagonal(), free, names
        )
        if cov_type != "nonrobust":
            if likelihood.bias_reduced:
                raise ValueError(
                    f"cov_type={cov_type!r}: with bias_reduction='firth' there is "
                    "cov_type='nonrobust' only. Fit without it for a robust covariance."
                )
            meat = _meat(likelihood, theta, information, cov_type, codes, n_groups, df_model)
            cov_inside = product(product(cov_inside, meat[inside]), cov_inside)
        cov = np.full_like(information, np.nan)
        cov[inside] = cov_inside
        theta, cov = likelihood.contrasts(theta, cov)
        return LogisticSummary(
            likelihood, theta, cov, log_likelihood=likelihood.penalty_value - value,
            names=likelihood.contrast_names(names, getattr(self, "classes_", ())),
            cov_type=cov_type, bounds=bounds, df_model=df_model, notes=notes,
        )  # fmt: skip

    def _look_for_separation(self, rows, run):
        """Note in `fit_info_` where a fit has no optimum, as columns separate two classes.

        Where that kept it from converging it warns, too. A fit that has converged as far as `tol`
        says is silent, as scikit-learn's is.
        """
        if len(getattr(self, "classes_", ())) != 2 or any(self._penalties(1.0, 1)):
            return
        if isinstance(rows.X, data.Blocked):
            return
        if isinstance(run, BoundedNewton):
            likelihood, theta = run.likelihood, run.theta
            if run.is_bounded:
                return
        else:
            likelihood, theta, _ = self._likelihood_of(rows.X, rows.y, rows.sample_weight, None)
        if likelihood.may_be_separated(theta):
            _, gradient, information = likelihood.evaluate(theta)
            step = solve(factorise(information, likelihood.singular), -gradient)
            names = self._parameter_names(rows.X.shape[1])
            found = _separation(likelihood, theta, step, names, warns=not self.converged_)
            if found is not None:
                self.fit_info_["separation"] = [names[i] for i in found.columns]

    # ------------------------------------------------------------ what estimators add to

    def _check_likelihood(self) -> None:
        """Refuse losses that are not the likelihood of a model."""

    def _penalties(self, total: float, n_rows: int) -> tuple[float, float, float]:
        """L2 and L1 penalties of the weights and L2 of the intercept, for sums of the loss."""
        raise NotImplementedError

    _couples = False  # whether several classes share one likelihood

    def _likelihood_of(self, X, y, weights, offset, *, start=None, bias_reduced=False):
        """Likelihood of checked rows, the parameters of the model, and notes on both.

        To begin a fit they are those of a `start`, else those that were fitted.
        """
        fitted = getattr(self, "fit_info_", {}) if start is None else {}
        bias_reduced = bias_reduced or bool(fitted.get("bias_reduction"))
        n_outputs = len(getattr(self, "classes_", "01"))
        n_outputs = 1 if n_outputs == 2 else n_outputs
        total = float(X.shape[0] if weights is None else weights.sum())
        l2, l1, l2_intercept = self._penalties(total, X.shape[0])
        if l1:
            raise ValueError(
                f"summary needs a smooth penalty or none, but {type(self).__name__} was fitted "
                f"with an L1 penalty of {l1:.3g}, which sets coefficients to 0: they have no "
                "standard errors. Fit with l1_ratio=0, best without any penalty."
            )
        if n_outputs > 1 and not self._couples:
            raise ValueError(
                f"summary: of {n_outputs} classes each has a neuron of its own here, so there is "
                "no likelihood of the labels. Use LogisticRegression, or two classes."
            )
        coef, intercept = start or validation.linear_weights(self, X.shape[1])
        coef = coef.toarray() if hasattr(coef, "toarray") else coef
        theta = coef.astype(np.float64)
        if self.fit_intercept:
            theta = np.column_stack([theta, intercept])
        notes = []
        if l2 or l2_intercept:
            notes.append(
                "a penalty shrinks the estimates. Standard errors are those of the posterior "
                "with the penalty as prior; p-values and intervals are not those of tests."
            )
        if bias_reduced:
            notes.append("Firth's penalty reduces the bias; the log-likelihood includes it.")
        if getattr(self, "class_weight", None) is not None:
            notes.append("class_weight weighs the rows: without it the estimates are others.")
        if y.dtype.kind == "f":
            notes.append("fractional targets: a quasi-likelihood, for which cov_type is robust.")
        penalty = np.full(theta.shape, l2)
        if self.fit_intercept:
            penalty[:, -1] = l2_intercept
        kind: Any = Likelihood if n_outputs == 1 else MultinomialLikelihood
        likelihood = kind(
            backends.current(), X, y,
            None if weights is None else weights.astype(data.real_type(X)),
            fit_intercept=self.fit_intercept, offset=offset,
            bias_reduced=bias_reduced, penalty=penalty.ravel(),
            n_threads=threads.available(self._threads_wanted()),
        )  # fmt: skip
        return likelihood, theta.ravel(), notes

    def _parameter_names(self, n_features):
        names = getattr(self, "feature_names_in_", None)
        names = [f"x{i}" for i in range(n_features)] if names is None else [str(n) for n in names]
        return names + [INTERCEPT] * bool(self.fit_intercept)

    def _fitted_bounds(self, size):
        bounds = np.array([[-np.inf], [np.inf]]).repeat(size, axis=1)
        given = getattr(self, "fit_info_", {}).get("bounds")
        if given is not None:
            bounds[:, : given.shape[1]] = given
        return bounds


def _check_level(level):
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: expected a number between 0 and 1, such as 0.95.")


def _check_groups(groups, n_rows, cov_type):
    """Codes and number of the clusters."""
    if (groups is None) == (cov_type == "cluster"):
        came = "is missing" if groups is None else f"came with cov_type={cov_type!r}"
        raise ValueError(f"groups {came}; expected it with cov_type='cluster', and only there.")
    if groups is None:
        return None, 0
    groups = np.asarray(groups)
    if groups.ndim != 1:
        raise ValueError(f"groups has shape {groups.shape}, expected ({n_rows},).")
    validation.check_rows(len(groups), n_rows, "groups")
    validation.check_missing_labels(groups, "groups")
    labels, codes = np.unique(groups, return_inverse=True)
    if len(labels) < 2 or len(labels) == n_rows:
        what = "one cluster alone" if len(labels) < 2 else "a cluster of its own for each row"
        raise ValueError(
            f"groups holds {what}; expected from 2 to {n_rows - 1} clusters. For independent rows "
            "use cov_type='HC1'."
        )
    return codes, len(labels)


def refuse_collinear(information, names, singular):
    """Name the columns that make an information singular."""
    found = dependent(information, singular)
    if not found:
        raise ValueError(
            "X: the information is singular to working accuracy. Scale the features, for example "
            "by sklearn.preprocessing.StandardScaler, or pass X as float64."
        )
    extra, *others = (str(names[i]) for i in found[0])
    if others:
        because = f"is a combination of {', '.join(map(repr, others))}"
    else:
        because = "is 0, or its rows are all fitted exactly"
    more = f" (and {len(found) - 1} more columns are such)" if len(found) > 1 else ""
    raise ValueError(
        f"X: column {extra!r} {because}{more}. The columns are collinear, so the information is "
        f"singular and there are no standard errors. Leave out {extra!r}, or add a penalty."
    )


def _invert(information, names, singular):
    """Inverse of an information, or an error that names collinear columns."""
    factor, failed = lapack.dpotrf(information, lower=1, clean=1)
    if failed or not (factor.diagonal() ** 2 > singular * information.diagonal()).all():
        refuse_collinear(information, names, singular)
    return inverse(factor)


def _check_optimum(likelihood, theta, step, variances, free, names):
    """Warn where the model is not the optimum of the rows, or the optimum is at infinity."""
    if free.all() and _separation(likelihood, theta, step, names, warns=True) is not None:
        return
    ratio = np.abs(step) / np.sqrt(variances)
    if ratio.max(initial=0) > _MOST_STEP:
        place = int(np.flatnonzero(free)[ratio.argmax()]) % len(names)
        warn(
            f"the model is not the optimum of these rows: Newton's step moves the coefficient of "
            f"{names[place]!r} by {ratio.max():.3g} standard errors. Pass the rows of the fit, or "
            "fit with a smaller tol.",
            ConvergenceWarning,
        )


def _separation(likelihood, theta, step, names, *, warns):
    found = likelihood.separation(theta, step)
    if found is not None and warns:
        warn(found.message([names[i] for i in found.columns]), SeparationWarning)
    return found


def _meat(likelihood, theta, information, cov_type, codes, n_groups, r):
    """Covariance of the gradient, from its parts of rows or of clusters."""
    n = likelihood.n_counted
    if cov_type == "cluster":
        factor = n_groups / (n_groups - 1) * (n - 1) / (n - r)
        sums = likelihood.sums(theta, codes, n_groups)
        return factor * (sums.T @ sums)
    leverage = None
    if cov_type in ("HC2", "HC3"):
        leverage = likelihood.leverages(theta, information)
        if not leverage.max() < 1 - 1e-10:
            raise ValueError(
                f"cov_type={cov_type!r}: row {int(leverage.argmax())} of X has leverage 1, being "
                "fitted exactly. Use cov_type='HC1', or leave the row out."
            )
    factor = {"HC1": n / (n - r)}.get(cov_type, 1.0)
    power = {"HC2": 1, "HC3": 2}.get(cov_type, 0)
    return factor * likelihood.meat(theta, None if leverage is None else (1 - leverage) ** -power)


_HEADS = {
    "coef": "coef", "std_err": "std err", "z": "z", "p_value": "P>|z|", "lower": "lower",
    "upper": "upper", "odds_ratio": "odds ratio",
}  # fmt: skip


def _number(x):
    return f"{x:.5g}"


def _p_text(p):
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"
