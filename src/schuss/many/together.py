"""Many models on the same rows, all at once: one read of X serves all of them.

The curvature of models that differ in targets, weights or penalties alone is much the same. So
L-BFGS begins with a Hessian that they share, from a sample of the rows, at the optimum of a model
that stands for them where there is one.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from schuss import threads
from schuss.backends.contract import Data
from schuss.constants import ARMIJO, HALVINGS, ModelPart, ModelReport, ModelStatus
from schuss.objective import stretches
from schuss.solvers.curvature import factorise, inverse
from schuss.solvers.problem import NOISE

# Rows of the sample for each parameter; more where its Hessian takes no more products than this.
_SAMPLE_ROWS = 80
_SAMPLE_PRODUCTS = 2e7
# What stands for several rows of weights need not be as near its optimum as they to theirs.
# With 5 folds of 100,000 x 100 that took 5 % more time than it saved.
_ROUGH = 10.0
_LEAST_REFINED = 8
_MEMORY = 8
# A penalty has the Hessian of a stronger one where weights and curvatures differ by this share.
_NEAR = 0.05
# Products of a pass in float64 from which passes far from the optimum are in float32, and take half
# the time; what rounding leaves of a gradient then, in parts of the largest feature; and its bound.
_COARSE_PRODUCTS = 1e7
_COARSE_ERROR = 8 * float(np.finfo(np.float32).eps)
_COARSE_FEATURE = 1e15
# Passes after which what has not converged is left to Newton's method.
_PASSES = 40
_SEED = 0x5C4055


class Together:
    """Models of `newton_many` that share all rows.

    Parameters
    ----------
    backend : module
    X, data : as of `newton_many`
    config : ManyConfig
        Its penalties are those of each model.
    n_threads : int
    """

    def __init__(self, backend, X, data: Data, config, n_threads):
        self.backend, self.X, self.data, self.config = backend, X, data, config
        self.n_threads = n_threads
        self.n, self.d = X.shape
        self.r = self.d + config.fit_intercept
        self.real = data.y.dtype
        weights = data.sample_weight
        ones = np.full(1, float(self.n))
        self._totals = ones if weights is None else weights.sum(axis=1, dtype=np.float64)
        self._begun: tuple[np.ndarray, list[np.ndarray]] | None = None

    def solve(self, table, theta, report):
        """Fill in those models of a block that converge; the others keep where they came to."""
        m, p, r = theta.shape
        models = np.repeat(table, p, axis=0)
        which = np.tile(np.arange(p), m)
        weight = np.maximum(models[:, ModelPart.WEIGHT], 0)
        totals = self._totals[weight]
        penalty = self.config.l2[which] / totals
        fit = self._fits(models, totals)
        begin, inverses = self._begin(p)
        flat = theta.reshape(-1, r)
        flat[:] = begin[which]
        if self.data.y.shape[0] > 1 and self.config.fit_intercept:
            flat[:, -1] = self._intercepts(models)
        flat[:] = flat.astype(self.real)
        places = np.flatnonzero(fit)
        models, which, totals, penalty = (a[places] for a in (models, which, totals, penalty))
        levels = self._levels(models, totals, penalty)
        scale = np.ones(len(places))
        if self.data.y.shape[0] > 1:
            # The Hessian is that of scores of 0, where its factor is 1/4.
            mean = 1 / (1 + np.exp(-flat[places, -1])) if self.config.fit_intercept else 0.5
            scale = 4 * mean * (1 - mean) * scale
        precondition = self._preconditioner(inverses, which, scale)
        found = minimise_together(levels, flat[places], precondition)
        flat[places], value, norm, steps, step = found
        converged = norm <= self.config.tol
        free = penalty == 0
        if free.any():
            # Whether they have settled, too, as far as the largest features tell.
            converged &= ~free | (np.abs(step) @ self._largest <= self.config.settled)
        rows = report.reshape(-1, len(ModelReport))
        done = places[converged]
        rows[done, ModelReport.STATUS] = ModelStatus.CONVERGED
        rows[done, ModelReport.STEPS] = steps[converged]
        rows[done, ModelReport.LOSS] = value[converged]
        rows[done, ModelReport.NORM] = norm[converged]
        flat[~np.isfinite(flat).all(axis=1)] = 0.0

    def _fits(self, models, totals):
        """Models with weights and, where there is an intercept, both classes."""
        ones = self._weighted_targets[
            np.maximum(models[:, ModelPart.WEIGHT], 0), models[:, ModelPart.TARGET]
        ]
        return (totals > 0) & (ones > 0) & (ones < totals)

    @cached_property
    def _weighted_targets(self):
        y, weights = self.data.y, self.data.sample_weight
        if weights is None:
            return y.sum(axis=1, dtype=np.float64)[None]
        sums = np.zeros((len(weights), len(y)))
        self.backend.add_product(weights.T, y.T, 1.0, sums, upper=False)
        return sums

    @cached_property
    def _mean_weights(self):
        """Of all rows of weights, which count alike; 1 on the whole."""
        share: Any = self.n / (len(self._totals) * self._totals)
        weights: Any = self.data.sample_weight
        return np.einsum("s,si->i", share, weights, dtype=np.float64)

    def _intercepts(self, models):
        """Log-odds of each target."""
        weight = np.maximum(models[:, ModelPart.WEIGHT], 0)
        mean = self._weighted_targets[weight, models[:, ModelPart.TARGET]] / self._totals[weight]
        with np.errstate(divide="ignore"):
            odds = np.log(mean) - np.log1p(-mean)
        return np.where(np.isfinite(odds), odds, 0.0)

    @cached_property
    def _largest(self):
        largest = np.maximum(self.X.max(axis=0), -self.X.min(axis=0).astype(np.float64))
        return np.append(largest, np.ones(self.r - self.d))

    def _levels(self, models, totals, penalty):
        exact = Level(
            self._objective(self.data, models, totals, penalty), self.config.tol,
            self.config.noise, self.real,
        )  # fmt: skip
        if self.real != np.float64 or len(models) * self.n * self.r < _COARSE_PRODUCTS:
            return [exact]
        largest = self._largest.max(initial=1.0)
        if not largest <= _COARSE_FEATURE:
            return [exact]
        error = _COARSE_ERROR * largest
        coarse = Level(
            self._objective(self._coarse, models, totals, penalty),
            max(self.config.tol - error, error), NOISE[4], np.dtype(np.float32),
        )  # fmt: skip
        return [coarse, exact]

    @cached_property
    def _coarse(self):
        """The data in float32."""
        y, weights = self.data.y, self.data.sample_weight
        return self.data._replace(
            X=self.backend.prepare(self.X.astype(np.float32)), y=y.astype(np.float32),
            sample_weight=None if weights is None else weights.astype(np.float32),
        )  # fmt: skip

    def _objective(self, data, models, totals, penalty):
        def evaluate(theta, of):
            values, gradients = np.empty(len(of)), np.empty((len(of), self.r))
            work = self.n * self.r * len(of)
            self.backend.gradient_many(
                data, models[of], self.config.loss, theta, values, gradients,
                threads.useful(self.n_threads, work),
            )  # fmt: skip
            weights, l2 = theta[:, : self.d], penalty[of, None]
            values /= totals[of]
            gradients /= totals[of, None]
            values += 0.5 * penalty[of] * np.einsum("ij,ij->i", weights, weights)
            gradients[:, : self.d] += l2 * weights
            return values, gradients

        return evaluate

    def _begin(self, n_penalties):
        """Where each penalty's models begin, and inverses of Hessians there."""
        if self._begun is None:
            self._begun = self._common(n_penalties)
        return self._begun

    def _common(self, n_penalties):
        n, r = self.n, self.r
        m = min(n, max(_SAMPLE_ROWS * r, int(_SAMPLE_PRODUCTS / r**2)))
        rows = np.arange(n) if m == n else stretches(n, m, np.random.default_rng(_SEED))
        part = self.X[rows]
        theta = np.zeros((1, n_penalties, r))
        weights = self.data.sample_weight
        mean = None
        if len(self.data.y) > 1:
            # No model stands for all targets.
            begin = np.zeros((n_penalties, r))
            return begin, [self._inverse(part, None, begin[0], l2) for l2 in self.config.l2]
        if weights is not None:
            mean = self._mean_weights[rows].astype(self.real)
        table = np.array([[0, m, 0, -1 if mean is None else 0, -1]])
        sample = Data(
            self.backend.prepare(part), np.ascontiguousarray(self.data.y[:, rows]),
            None if mean is None else mean[None], 0.0,
        )  # fmt: skip
        report = np.zeros((1, n_penalties, len(ModelReport)))
        l2 = self.config.l2 * (m / self._totals.mean())
        rough = self.config._replace(l2=l2, tol=1e-3, max_iter=20)
        self.backend.newton_many(sample, None, None, table, rough, theta, None, report, 1)
        good = report[0, :, ModelReport.STATUS] == ModelStatus.CONVERGED
        theta = np.where(good[:, None], theta[0], 0.0)
        inverses: list[np.ndarray] = []
        place = 0
        for p, (begin, l2) in enumerate(zip(theta, self.config.l2, strict=True)):
            weights = np.abs(begin - theta[place]).max() / max(np.abs(begin).max(), 1e-300)
            penalty = (self.config.l2[place] - l2) / self._totals.mean()
            if p and max(weights, penalty * inverses[-1].diagonal().max()) <= _NEAR:
                inverses.append(inverses[-1])
            else:
                inverses.append(self._inverse(part, mean, begin, l2))
                place = p
        return self._refine(theta, inverses), inverses

    def _refine(self, theta, inverses):
        """From the optimum of the sample to that of all rows, with the mean of all weights."""
        weights = self.data.sample_weight
        if weights is None or len(weights) < _LEAST_REFINED:
            return theta
        own = Together(
            self.backend, self.X,
            self.data._replace(sample_weight=self._mean_weights.astype(self.real)[None]),
            self.config._replace(
                l2=self.config.l2 * (self.n / self._totals.mean()), tol=_ROUGH * self.config.tol
            ),
            self.n_threads,
        )  # fmt: skip
        own._begun = theta, inverses
        table = np.zeros((1, len(ModelPart)), np.int64)
        found = theta[None].copy()
        own.solve(table, found, np.zeros((1, len(theta), len(ModelReport))))
        return found[0]

    def _inverse(self, part, weight, theta, l2):
        """Of the Hessian on the sample, with the mean penalty."""
        rows = Data(self.backend.prepare(part), np.zeros(len(part), np.uint8), weight, 0.0)
        evaluate = self.backend.information(
            rows, None, self.config.fit_intercept, False, self.config.singular, 1
        )  # fmt: skip
        hessian = np.empty((self.r, self.r))
        evaluate(theta, np.empty(self.r), hessian)
        hessian /= len(part) if weight is None else weight.sum(dtype=np.float64)
        hessian[range(self.d), range(self.d)] += l2 / self._totals.mean()
        return inverse(factorise(hessian, self.config.singular))

    def _preconditioner(self, inverses, which, scale):
        # Neighbouring penalties may have the same one.
        first = [next(q for q, other in enumerate(inverses) if other is mine) for mine in inverses]
        family = np.array(first)[which]

        def precondition(gradients, of):
            out = np.empty_like(gradients)
            for p in sorted(set(first)):
                inverse, mine = inverses[p], np.flatnonzero(family[of] == p)
                columns = np.ascontiguousarray(gradients[mine].T)
                product = np.zeros_like(columns)
                if product.size:
                    self.backend.add_product(inverse, columns, 1.0, product, upper=False)
                    out[mine] = product.T
            return out / scale[of, None]

        return precondition


class Level(NamedTuple):
    """How exactly functions are evaluated.

    Attributes
    ----------
    evaluate : callable
        ``evaluate(theta, which)`` returns values and gradients of the functions `which`.
    tol : float
        A function is left where no entry of its gradient is larger.
    noise : float
        Relative error of the values.
    real : dtype
        To which points are rounded.
    """

    evaluate: Callable
    tol: float
    noise: float
    real: np.dtype


def minimise_together(levels: list[Level], theta: np.ndarray, precondition: Callable):
    """L-BFGS for many functions at once, each with its own steps (Nocedal & Wright, 7.4).

    Parameters
    ----------
    levels : list of Level
        The roughest first; each begins where all functions are left on the one before.
    theta : ndarray of shape (M, r)
        Where they begin.
    precondition : callable
        ``precondition(v, which)`` returns products of vectors with the inverses of Hessians.

    Returns
    -------
    theta, value, norm, steps : ndarray
        Where each came to, with the largest entry of the gradient there.
    step : ndarray of shape (M, r)
        The last one.
    """
    m, r = theta.shape
    steps, last = np.zeros(m, int), np.full((m, r), np.inf)
    pairs = np.zeros((2, _MEMORY, m, r))
    products = np.zeros((_MEMORY, m))
    direction = np.zeros((m, r))
    for evaluate, tol, noise, real in levels:
        theta, active = theta.astype(real).astype(np.float64), np.arange(m)
        value, gradient = evaluate(theta, active)
        norm = np.abs(gradient).max(axis=1, initial=0)
        halvings, t, fresh = np.zeros(m, int), np.ones(m), np.ones(m, bool)
        for _ in range(_PASSES):
            active = active[
                (norm[active] > tol)
                & np.isfinite(value[active])
                & (halvings[active] <= HALVINGS // 3)
            ]
            if not len(active):
                break
            new = active[fresh[active]]
            if len(new):
                direction[new] = -_two_loops(gradient[new], pairs[:, :, new], products[:, new],
                                             lambda v, new=new: precondition(v, new))  # fmt: skip
            derivative = np.einsum("ij,ij->i", gradient[active], direction[active])
            trial = theta[active] + t[active, None] * direction[active]
            trial = trial.astype(real).astype(np.float64)
            values, gradients = evaluate(trial, active)
            norms = np.abs(gradients).max(axis=1)
            error = noise * np.abs(value[active])
            hidden = -t[active] * derivative / 2 <= error
            bound = value[active] + error + np.where(hidden, 0, ARMIJO * t[active] * derivative)
            good = (values <= bound) & (derivative < 0) & (~hidden | (norms < norm[active]))
            refused, taken = active[~good], active[good]
            t[refused] /= 2
            halvings[refused] += 1
            fresh[refused] = False
            change, step = gradients[good] - gradient[taken], trial[good] - theta[taken]
            product = np.einsum("ij,ij->i", step, change)
            useful = product > np.finfo(float).eps * np.einsum("ij,ij->i", change, change)
            pairs[:, :-1, taken], products[:-1, taken] = pairs[:, 1:, taken], products[1:, taken]
            pairs[0, -1, taken], pairs[1, -1, taken] = step, change
            products[-1, taken] = np.where(useful, product, 0)
            theta[taken], value[taken], gradient[taken] = trial[good], values[good], gradients[good]
            norm[taken], last[taken] = norms[good], step
            steps[taken] += 1
            t[taken], halvings[taken], fresh[taken] = 1, 0, True
    return theta, value, norm, steps, last


def _two_loops(v, pairs, products, precondition):
    """H^-1 v for each row; pairs without a product do not count."""
    shares = np.zeros(products.shape)
    used = [k for k in range(len(products)) if products[k].any()]
    inverse = np.divide(1.0, products, out=np.zeros_like(products), where=products > 0)
    for k in reversed(used):
        step, change = pairs[0, k], pairs[1, k]
        shares[k] = np.einsum("ij,ij->i", step, v) * inverse[k]
        v = v - shares[k, :, None] * change
    v = precondition(v)
    for k in used:
        step, change = pairs[0, k], pairs[1, k]
        share = np.einsum("ij,ij->i", change, v) * inverse[k]
        v = v + (shares[k] - share)[:, None] * step
    return v
