"""Loss plus penalty over the data: values, and bounds on the curvature."""

import math
from copy import copy

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from schuss import backends, data, threads, validation
from schuss.backends.contract import Columns, Data
from schuss.constants import Activation
from schuss.losses import QUADRATIC
from schuss.sparse import without_duplicates
from schuss.vectors import dot, norm

# Relative accuracy of the largest eigenvalue, and passes over X spent on it at the most.
_EIGENVALUE_TOL = 1e-2
_EIGENVALUE_PASSES = 100
# Up to this many parameters the whole matrix, of one pass, costs less than a few passes.
_WHOLE_GRAM = 8

# Elements of [X 1] that a Hessian takes at a time: a product of matrices, and where all rows
# are no more than that they are kept for the next one.
_HESSIAN_ELEMENTS = 1 << 21
# Of those of the multinomial loss, whose lines are K times as long, these and at least so many
# rows.
_COUPLED_ELEMENTS = 1 << 17
_COUPLED_ROWS = 128

# A class with a smaller share of a sample gets this share, and smaller weights.
_LEAST_SHARE = 0.05
SAMPLE_SEED = 0x5C4055

# Rows of a matrix that are mirrored at a time.
_MIRROR = 64

# Beyond this score sigma is 0 or 1 to the last digit of a float32.
_SATURATED = 20.0


def bind(backend, X, y, sample_weight):
    """What the contract calls `Data`.

    Parameters
    ----------
    X : from `data.check_features`
    y : codes of shape (n,), or real targets of shape (n,) or (n, K)
    sample_weight : ndarray of shape (n,) or None
    """
    if y.dtype.kind == "f":
        y = np.ascontiguousarray(np.atleast_2d(y.T))
    total = X.shape[0] if sample_weight is None else sample_weight.sum(dtype=np.float64)
    # Weights of stochastic gradient descent are not scaled, and may vanish in float32.
    return Data(backend.prepare(X), y, sample_weight, 1.0 / float(total) if total else 0.0)


def on_rows(rows, eval_rows, loss, coef, intercept, *, n_jobs=None, **options):
    """Objective of some rows, and a function of the mean loss on others, or None without any.

    Parameters
    ----------
    rows : data.Rows
    eval_rows : data.Rows or None
    loss : LossFunction
    coef, intercept : ndarray
        Of shapes (K, d) and (K,): the weights that the function reads.
    n_jobs : int or None
    **options
        Penalty, `fit_intercept` and `learnt` of `Objective`.
    """
    backend, n_threads = backends.current(), threads.available(n_jobs)

    def objective(rows, learnt=None, **options):
        if isinstance(rows.X, data.Blocked):
            return rows.X.objective(loss, n_outputs=len(coef), n_jobs=n_jobs, **options)
        weights = rows.sample_weight
        if learnt is not None:
            weights = np.zeros(rows.X.shape[0])
            weights[learnt] = 1.0 if rows.sample_weight is None else rows.sample_weight[learnt]
        weights, _ = validation.scale_weights(weights, coef.dtype)
        return Objective(
            backend, rows.X, rows.y, weights, loss, n_outputs=len(coef), n_threads=n_threads,
            learnt=learnt, **options,
        )  # fmt: skip

    trained = objective(rows, **options)
    if eval_rows is None:
        return trained, None
    held_out = objective(eval_rows)
    return trained, lambda: float(held_out.value(coef, intercept))


class Objective:
    """A loss and its penalty on one set of rows, evaluated by one backend.

    Parameters
    ----------
    backend : module
    X : from `data.check_features`
    y : codes of shape (n,), or real targets of shape (n,) or (n, K)
    sample_weight : ndarray of shape (n,) or None
    loss : LossFunction
    n_outputs : int
        Neurons; codes do not tell.
    alpha, l1_ratio : float
        ``alpha * ((1 - l1_ratio) / 2 * ||w||^2 + l1_ratio * ||w||_1)``, never on b.
    n_threads : int
        Threads that may be used; as many are as the size is worth.
    learnt : ndarray of whole numbers, or None
        Rows that weigh something, the others being held out; None for all.
    """

    def __init__(
        self, backend, X, y, sample_weight, loss, *,
        n_outputs=1, alpha=0.0, l1_ratio=0.0, fit_intercept=True, n_threads=1, learnt=None,
    ):  # fmt: skip
        self.backend = backend
        self.data = bind(backend, X, y, sample_weight)
        self.loss = loss
        self.n_rows, self.n_features = X.shape
        self.learnt = learnt
        self.n_learnt = self.n_rows if learnt is None else len(learnt)
        self.n_outputs = n_outputs
        self.dtype = data.real_type(X)
        self.size = data.size(X)
        self.set_penalty(alpha, l1_ratio)
        self.fit_intercept = fit_intercept
        self.is_sparse = sp.issparse(X)
        # Whether the backend's `newton` reads such rows, and whether it can copy columns of them.
        self.takes_newton, self.takes_columns = not self.is_sparse, True
        self._threads = n_threads
        self._X = X
        self.passes = self.hessians = 0  # how often all rows were read, and for a Hessian
        self._curvature = {}  # by batch size
        self._augmented = None

    def set_penalty(self, alpha, l1_ratio):
        self.l2, self.l1 = float(alpha * (1 - l1_ratio)), float(alpha * l1_ratio)

    def n_threads(self, batch_size=None):
        """Threads worth using for a pass over a batch (None: all rows)."""
        share = 1 if batch_size is None else min(1, batch_size / self.n_rows)
        return threads.useful(self._threads, int(self.size * self.n_outputs * share))

    def value(self, coef, intercept):
        """Mean loss plus penalty."""
        self.passes += 1
        gradients = np.empty_like(coef), np.empty_like(intercept)
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self.backend.gradient(
                self.data, self.loss.code, coef, intercept, *gradients, self.n_threads()
            )
            wide = coef.astype(np.float64)
            # NaN where a weight is infinite, without a penalty, too.
            value = loss + self.l2 / 2 * np.sum(wide * wide)
            return value + self.l1 * np.sum(np.abs(wide)) if self.l1 else value

    def constant(self):
        """Value of the best prediction that is the same for all rows."""
        intercept = np.zeros(self.n_outputs, dtype=self.dtype)
        if self.fit_intercept:
            score = self.loss.score(self._mean_targets())
            intercept[:] = np.clip(score, -_SATURATED, _SATURATED)
        return self.value(np.zeros((self.n_outputs, self.n_features), self.dtype), intercept)

    def hessian(self, theta, units=None, centres=None, coupled=True):
        """Curvature of the mean loss, without penalties, positive semidefinite.

        Exact but for the squared loss, which gets its Gauss-Newton part, sigma'^2.

        Parameters
        ----------
        theta : ndarray of shape (K, r)
            Weights of the columns as they are, and with ``fit_intercept`` the intercept last.
        units : ndarray of shape (r,) or None
            Factors of the columns of [X 1].
        centres : ndarray of shape (d,) or None
            Subtracted from the columns of X before.
        coupled : bool
            Whether the blocks between the classes of a loss that couples them are wanted.

        Returns
        -------
        ndarray of shape (K, r, r), float64
            One block a neuron; (1, K r, K r) where they are coupled.
        """
        self.passes += 1
        self.hessians += 1
        k, r = theta.shape
        coupled = coupled and self.loss.couples
        blocks = np.zeros((1, k * r, k * r) if coupled else (k, r, r))
        z = self.scores(theta)
        add_product = self.backend.add_product
        for rows, lines in self._lines(units, centres, k if coupled else 1):
            curvatures, weight = self._second_derivatives(z[rows], rows)
            if self.loss.couples and not coupled:
                curvatures = curvatures * (1 - curvatures)
            for i in range(k):
                root = np.sqrt(curvatures[:, i] * weight, dtype=self.dtype)
                part = lines * root[:, None]
                place = slice(i * r, (i + 1) * r) if coupled else slice(None)
                block = blocks[0 if coupled else i, place, place]
                add_product(part, part, 1.0, block, upper=True)
            if coupled:
                part = curvatures * np.sqrt(weight)[:, None]
                part = (part[:, :, None] * lines[:, None, :]).reshape(len(lines), k * r)
                add_product(part, part, -1.0, blocks[0], upper=True)
        for block in blocks:
            _mirror(block)
        return blocks

    def kronecker(self, theta, units=None, centres=None):
        """Two matrices whose Kronecker product resembles the Hessian of a loss of classes.

        Martens & Grosse, arXiv 1503.05671, for one layer: the mean over the rows of
        ``diag(p) - p p^T``, and that of x x^T, rows weighted by the trace of the former. At
        theta = 0, where all p are alike, the product is the Hessian.

        Parameters
        ----------
        theta, units, centres
            As of `hessian`.

        Returns
        -------
        classes, features : ndarrays of shapes (K, K) and (r, r), float64
        """
        self.passes += 1
        self.hessians += 1
        k, r = theta.shape
        classes, features = np.zeros((k, k)), np.zeros((r, r))
        z = self.scores(theta)
        add_product = self.backend.add_product
        for rows, lines in self._lines(units, centres):
            p, weight = self._second_derivatives(z[rows], rows)
            classes[np.diag_indices(k)] += np.einsum("ik,i->k", p, weight, dtype=np.float64)
            part = p * np.sqrt(weight)[:, None]
            add_product(part, part, -1.0, classes, upper=False)
            part = lines * np.sqrt(weight * (1 - np.einsum("ik,ik->i", p, p)).clip(0))[:, None]
            add_product(part, part, 1.0, features, upper=True)
        _mirror(features)
        return classes, features / (classes.trace() or 1.0)

    def largest_squares(self, units=None, centres=None):
        """Largest square of each column of a dense [X 1], shape (r,); see `hessian`.

        That of columns of zeros is the mean of the others.
        """
        self.passes += 1
        ends = np.ones((2, self.n_features + bool(self.fit_intercept)))
        ends[:, : self.n_features] = self._X.max(axis=0), self._X.min(axis=0)
        if centres is not None:
            ends[:, : self.n_features] -= centres
        if units is not None:
            ends *= units
        squares = np.square(ends).max(axis=0)
        found = squares > 0
        squares[~found] = squares[found].mean() if found.any() else 1.0
        return squares

    def hessian_diagonal(self, theta, units=None, centres=None):
        """Diagonal of the Hessian, shape (K, r); see `hessian`."""
        self.passes += 1
        k, r = theta.shape
        d = self.n_features
        diagonal = np.zeros((k, r))
        # A run begins without weights.
        z = self.scores(theta) if theta.any() else np.zeros((self.n_rows, k), self.dtype)
        if sp.issparse(self._X):
            own = without_duplicates(self._X)
            parts = [(slice(None), own.power(2))]
        else:
            parts = self._lines(units, centres)
        for rows, lines in parts:
            curvatures, weight = self._second_derivatives(z[rows], rows)
            if self.loss.couples:
                curvatures = curvatures * (1 - curvatures)
            curvatures = curvatures * weight[:, None]
            if sp.issparse(lines):
                diagonal[:, :d] = (lines.T @ curvatures).T
                if self.fit_intercept:
                    diagonal[:, -1] = curvatures.sum(axis=0)
                if centres is not None:
                    moved = centres * diagonal[:, -1:] - 2 * (own.T @ curvatures).T
                    diagonal[:, :d] = np.maximum(diagonal[:, :d] + centres * moved, 0.0)
                if units is not None:
                    diagonal *= units * units
            else:
                self.backend.add_product(curvatures, lines * lines, 1.0, diagonal, upper=False)
        return diagonal

    def row_gram(self, centres=None):
        """X X^T in float64, of columns from which `centres` are subtracted."""
        self.passes += 1
        gram = np.zeros((self.n_rows, self.n_rows))
        for _, part in self._column_blocks(centres):
            part = np.ascontiguousarray(part.T)
            self.backend.add_product(part, part, 1.0, gram, upper=True)
        _mirror(gram)
        return gram

    def combine(self, shares, centres=None):
        """Combinations of the rows of X, (K, d), for shares of shape (n, K); see `row_gram`."""
        self.passes += 1
        shares = np.ascontiguousarray(shares, self.dtype)
        combined = np.zeros((shares.shape[1], self.n_features))
        for columns, part in self._column_blocks(centres):
            self.backend.add_product(shares, part, 1.0, combined[:, columns], upper=False)
        return combined

    def _column_blocks(self, centres):
        """Pairs of columns and X there, in the type of the weights."""
        step = max(1, _HESSIAN_ELEMENTS // self.n_rows)
        for start in range(0, self.n_features, step):
            columns = slice(start, start + step)
            part = self._X[:, columns]
            part = part if centres is None else part - centres[columns].astype(self.dtype)
            yield columns, part.astype(self.dtype, copy=False)

    def columns(self, features):
        """Columns of [X 1], in the type of the weights: see `contract.take_columns`.

        Parameters
        ----------
        features : ndarray of int32, ascending
        """
        d, n = self.n_features, self.n_rows
        taken = self.backend.take_columns(self.data.X, features[features < d])
        if not len(features) or features[-1] < d:
            return taken
        ones = np.ones(n, self.dtype)
        if taken.rows is None:
            return taken._replace(values=np.concatenate([taken.values, ones[None, :]]))
        return Columns(
            np.concatenate([taken.values, ones]),
            np.concatenate([taken.rows, np.arange(n, dtype=np.int32)]),
            np.append(taken.starts, taken.starts[-1] + n),
        )

    def scores(self, theta):
        """Scores of all rows, shape (n, K)."""
        theta = theta.astype(self.dtype)
        k, d = len(theta), self.n_features
        intercept = theta[:, d].copy() if self.fit_intercept else np.zeros(k, self.dtype)
        z = np.empty((self.n_rows, k), self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            self.backend.predict(
                self.data.X, np.ascontiguousarray(theta[:, :d]), intercept,
                Activation.IDENTITY, z, self.n_threads(),
            )  # fmt: skip
        return z

    def _second_derivatives(self, z, rows):
        """Second derivatives (probabilities for the multinomial loss), and weights of rows."""
        with np.errstate(over="ignore"):
            curvatures = self.loss.second_derivative(z)
        weight = self.data.sample_weight
        if weight is None:
            return curvatures, np.full(len(z), self.data.scale, self.dtype)
        return curvatures, weight[rows] * self.dtype.type(self.data.scale)

    def _lines(self, units, centres, copies=1):
        """Pairs of rows and [X 1] there, in the type of the weights; see `hessian`.

        As many rows as fit in the caches `copies` times, where there are several.
        """
        n, d = self.n_rows, self.n_features
        r = d + bool(self.fit_intercept)
        if units is not None:
            units = units.astype(self._X.dtype if self._X.dtype.kind == "f" else self.dtype)
        plain = units is None and centres is None
        if self._augmented is not None and plain:
            yield slice(None), self._augmented
            return
        step = max(1, _HESSIAN_ELEMENTS // max(r, 1))
        if copies > 1:
            step = min(step, max(_COUPLED_ROWS, _COUPLED_ELEMENTS // (copies * r)))
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            part = self._X[rows]
            part = part.toarray() if sp.issparse(part) else part
            lines = np.empty((len(part), r), self.dtype)
            part = part if centres is None else part - centres
            lines[:, :d] = part if units is None else part * units[:d]
            lines[:, d:] = 1
            if n <= step and plain:
                self._augmented = lines
            yield rows, lines

    def largest_features(self):
        """Largest absolute value of each column, as float64."""
        self.passes += 1
        if sp.issparse(self._X):
            return np.abs(self._X).max(axis=0).toarray().ravel().astype(np.float64)
        largest = np.zeros(self.n_features)
        step = max(1, _HESSIAN_ELEMENTS // max(self.n_features, 1))
        for start in range(0, self.n_rows, step):
            part = self._X[start : start + step].astype(np.float64)
            np.maximum(largest, np.abs(part).max(axis=0), out=largest)
        return largest

    def largest_score(self, theta):
        """Largest absolute score; if the loss couples a row's scores, their largest range."""
        self.passes += 1
        z = self.scores(theta)
        return float((np.ptp(z, axis=1) if self.loss.couples else np.abs(z)).max(initial=0))

    def has_labels(self):
        """Whether each target is one of a class, without doubt."""
        y = self.data.y
        return y.dtype.kind != "f" or bool(((y == 0) | (y == 1)).all())

    def least_weight(self):
        """Smallest positive weight of a row in the mean."""
        weight = self.data.sample_weight
        least = 1.0 if weight is None else float(weight[weight > 0].min(initial=np.inf))
        return least * self.data.scale

    def centres(self):
        """As `data.centres` of X; of a dense X of more columns than rows the mean.

        Together such columns fit the constant one nearly as well as those that are far from 0.
        """
        if self.is_sparse or self.n_features <= self.n_rows:
            return data.centres(self._X)
        one = np.zeros((1, self.n_features + 1))
        one[0, -1] = 1.0
        mean = self._gram_product(one)[0, :-1]
        return mean if np.isfinite(mean).all() else None

    @property
    def largest_sample(self):
        """Most rows that `draw` gives."""
        return self.n_rows

    def draw(self, m):
        """The same objective on about m rows, the same ones at each call.

        One row from each of m stretches of equal length, at random: sorted rows are as good
        as any. A class that is rare gets stretches of its own, and smaller weights.
        """
        n, codes = self.n_rows, self.data.y
        m = min(m, n)
        if m == n:
            return self.sample(np.arange(n))
        generator = np.random.default_rng(SAMPLE_SEED)
        rows = stretches(n, m, generator)
        if codes.ndim == 2:
            return self.sample(rows)
        k = max(2, self.n_outputs)
        if np.bincount(codes[rows], minlength=k).min() >= least_of_class(m, k):
            return self.sample(rows)
        ranks, shares = class_stretches(np.bincount(codes, minlength=k), m, generator)
        rows = np.concatenate(
            [np.flatnonzero(codes == code)[part] for code, part in enumerate(ranks) if len(part)]
        )
        order = rows.argsort()
        factors = np.repeat(shares, [len(part) for part in ranks])
        return self.sample(rows[order], factors[order])

    def sample(self, rows, factors=None):
        """The same objective on some of the rows, whose weights get factors."""
        weight = self.data.sample_weight
        weight = None if weight is None else weight[rows]
        if factors is not None:
            factors = factors.astype(self.dtype)
            weight = factors if weight is None else weight * factors
        X = self._X
        # Twice as fast, but of other orders `take` would copy the whole array.
        plain = not sp.issparse(X) and X.flags.c_contiguous
        y = self.data.y
        y = y[:, rows].T if y.ndim == 2 else y[rows]
        return self._with(X.take(rows, axis=0) if plain else X[rows], y, weight)

    def on_features(self, X):
        """The same objective on other features of all rows, dense, in the type of X."""
        y, weight = self.data.y, self.data.sample_weight
        y = y.T.astype(X.dtype) if y.ndim == 2 else y
        return self._with(X, y, None if weight is None else weight.astype(X.dtype))

    def _with(self, X, y, weight):
        part = copy(self)
        part._X, part.dtype = X, data.real_type(X)
        part.data = bind(self.backend, X, y, weight)
        (part.n_rows, part.n_features), part.size = X.shape, data.size(X)
        part.passes, part._curvature, part._augmented = 0, {}, None
        part.learnt, part.n_learnt = None, X.shape[0]
        return part

    def orders(self, epochs, generator):
        """Rows in the order in which each epoch takes them: int32, one row an epoch.

        In their own order where there is no generator.
        """
        rows = np.arange(self.n_rows) if self.learnt is None else self.learnt
        order = np.tile(rows.astype(data.ORDER_TYPE), (epochs, 1))
        return order if generator is None else generator.permuted(order, axis=1, out=order)

    def curvature(self, batch_size=None):
        """Bound L on the curvature of the smooth part; 1/L is a safe step.

        Parameters
        ----------
        batch_size : int or None
            For gradients of batches drawn without replacement the bound is the expected
            smoothness of Gower et al., arXiv 1901.09401, proposition 3.8.

        Raises
        ------
        ValueError
            Where the squares of the features overflow.
        """
        if batch_size not in self._curvature:
            self._curvature[batch_size] = self._compute_curvature(batch_size)
        return self._curvature[batch_size]

    def _compute_curvature(self, batch_size):
        bound = self.loss.curvature_bound
        if math.isinf(bound):
            raise ValueError(
                f"The curvature of loss={self.loss.code.name.lower()!r} has no bound, from which "
                "a safe learning rate would come. Give learning_rate a number, or choose "
                "solver='lbfgs', 'newton' or 'adam'."
            )
        if self.loss.curvature_outside and self.data.y.dtype.kind == "f":
            outside = max(-float(self.data.y.min()), float(self.data.y.max()) - 1, 0.0)
            bound += self.loss.curvature_outside * outside
        with np.errstate(over="ignore", invalid="ignore"):
            if batch_size is None or batch_size >= self.n_learnt:
                curvature = bound * self._largest_eigenvalue() + self.l2
            else:
                self.passes += 1
                n, b = self.n_learnt, batch_size
                row = bound * self.largest_row() * n * self.data.scale + self.l2
                whole = self.curvature() if b > 1 else 0.0
                curvature = (n * (b - 1) * whole + (n - b) * row) / (b * (n - 1))
        finfo = np.finfo(self.dtype)
        if not curvature < float(finfo.max):
            if math.sqrt(self.l2) >= self.largest_feature():
                raise ValueError(
                    f"alpha={self.l2:.3g}: the penalty's curvature is beyond {self.dtype}. "
                    "Choose a smaller alpha: one as large leaves no weights."
                )
            self._refuse_features(self.largest_feature())
        # Features of nearly nothing: keep 1 / L finite.
        return max(curvature, float(finfo.tiny))

    def check_squares(self):
        """Raise the error of `curvature` where single squares of features overflow."""
        # Smaller types than that of the weights cannot.
        if self._X.dtype == self.dtype:
            largest = self.largest_feature()
            if not largest <= math.sqrt(np.finfo(self.dtype).max):
                self._refuse_features(largest)

    def largest_row(self):
        """Largest ``s_i * ||x_i||^2`` over the rows of [X 1]."""
        return data.largest_row(self._X, self.data.sample_weight, int(self.fit_intercept))

    def largest_feature(self):
        """Largest absolute value of X."""
        return data.largest(self._X)

    def _refuse_features(self, largest):
        raise ValueError(
            f"X: features as large as {largest:.3g} are beyond what gradient descent can "
            f"take in {self.dtype} (their squares overflow). Scale them, for example by "
            "sklearn.preprocessing.MaxAbsScaler, or leave out the columns that hold "
            "placeholders for missing values."
        )

    def _largest_eigenvalue(self):
        """Largest eigenvalue of [X 1]^T S [X 1], from slightly above.

        Lanczos' method with full reorthogonalisation, each product one pass over X. It
        needs a fraction of the passes of power iteration and its residual comes for free;
        adding the residual makes the estimate safe.
        """
        size = self.n_features + int(self.fit_intercept)
        if size <= _WHOLE_GRAM:
            gram = self._gram_product(np.eye(size))
            return float(np.linalg.eigvalsh(gram)[-1]) if np.isfinite(gram).all() else math.inf
        basis = np.empty((min(size, _EIGENVALUE_PASSES), size))
        diagonal, beside = np.zeros(len(basis)), np.zeros(len(basis))
        start = np.random.default_rng(0).standard_normal(size)
        basis[0] = start / norm(start)
        largest = residual = 0.0
        for k in range(len(basis)):
            product = self._gram_product(basis[k : k + 1])[0]
            diagonal[k] = dot(product, basis[k])
            if not np.isfinite(product).all() or not math.isfinite(diagonal[k]):
                return math.inf
            for _ in range(2):
                shares = np.einsum("ij,j->i", basis[: k + 1], product)
                product -= np.einsum("ij,i->j", basis[: k + 1], shares)
            beside[k] = norm(product)
            values, vectors, _ = lapack.dstev(diagonal[: k + 1], beside[: max(k, 1)])
            largest, residual = float(values[-1]), beside[k] * abs(float(vectors[-1, -1]))
            if residual <= _EIGENVALUE_TOL * largest or k + 1 == len(basis):
                break
            basis[k + 1] = product / beside[k]
        return max(largest, 0.0) + residual

    def _gram_product(self, vectors):
        """[X 1]^T S [X 1] v for each row v, as the gradient of the loss z^2 / 2."""
        self.passes += 1
        d = self.n_features
        coef = np.ascontiguousarray(vectors[:, :d], self.dtype)
        intercept = np.zeros(len(vectors), self.dtype)
        if self.fit_intercept:
            intercept[:] = vectors[:, d]
        coef_grad, intercept_grad = np.empty_like(coef), np.empty_like(intercept)
        self.backend.gradient(
            self.without_targets(), QUADRATIC.code, coef, intercept, coef_grad, intercept_grad,
            self.n_threads(),
        )  # fmt: skip
        parts = (coef_grad, intercept_grad[:, None]) if self.fit_intercept else (coef_grad,)
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def without_targets(self):
        """The data for a loss that knows no targets, of any number of neurons."""
        if self.data.y.ndim == 1:
            return self.data
        return self.data._replace(y=np.zeros(self.n_rows, np.uint8))

    def _mean_targets(self):
        y, weight = self.data.y, self.data.sample_weight
        if y.ndim == 1:
            counts = np.bincount(y, weights=weight, minlength=max(2, self.n_outputs))
            mean = counts * self.data.scale
            mean = mean[1:2] if self.n_outputs == 1 else mean
        else:
            mean = np.average(y.astype(np.float64), axis=1, weights=weight)
        return np.clip(mean, 0.0, 1.0)


def least_of_class(m, k):
    """Rows of each of k classes that a sample of m rows should have."""
    return _LEAST_SHARE * m / k


def stretches(n, m, generator):
    """One of each of m stretches of n rows."""
    return ((np.arange(m) + generator.random(m)) * (n / m)).astype(np.int64)


def class_stretches(counts, m, generator):
    """Ranks of the rows of each class in a sample of about m, and factors of their weights."""
    ranks, shares = [], np.ones(len(counts))
    for code, count in enumerate(counts):
        share = max(round(m * count / counts.sum()), round(least_of_class(m, len(counts))))
        wanted = min(count, share)
        ranks.append(stretches(count, wanted, generator) if count else np.arange(0))
        shares[code] = count / wanted if count else 1.0
    return ranks, shares


def _mirror(matrix):
    """Copy the upper triangle of a matrix to below its diagonal."""
    for start in range(0, len(matrix), _MIRROR):
        stop = start + _MIRROR
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        block = matrix[start:stop, start:stop]
        block[...] = np.triu(block) + np.triu(block, 1).T


def predict(X, coef, intercept, activation, n_threads, mirrored=False):
    """Activated scores of rows, by the backend in force.

    NaN or infinity in X makes every score of its row NaN or infinite, as 0 * inf is NaN. So X is
    read once, and looked at only where a score tells that something is wrong.

    Parameters
    ----------
    X : from `data.check_features`
    mirrored : bool
        Whether there is one neuron, whose answers to -z come first.

    Returns
    -------
    out : ndarray of shape (n, K), or (n, 2) if `mirrored`
    finite : bool
        Whether all scores are, before the activation.
    """
    dtype = data.real_type(X)
    if coef.dtype.itemsize > dtype.itemsize and not _fit_in(dtype, coef, intercept):
        X, dtype = X.astype(np.float64), np.dtype(np.float64)
    if mirrored:
        # Neither probability is 1 minus the other, which would lose digits.
        coef, intercept = np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
    out = np.empty((X.shape[0], len(coef)), dtype)
    backend = backends.current()
    with np.errstate(over="ignore", invalid="ignore"):
        finite = backend.predict(
            backend.prepare(X),
            np.ascontiguousarray(coef, dtype),
            np.ascontiguousarray(intercept, dtype),
            activation,
            out,
            threads.useful(n_threads, data.size(X) * len(coef)),
        )
    return out, finite


def _fit_in(dtype, *weights):
    """Whether a type can hold all weights."""
    largest = max(float(np.abs(part).max(initial=0)) for part in weights)
    return largest <= float(np.finfo(dtype).max)


# Products of a row and a weight, in a batch, that are worth a thread that is awake. Half a million
# take 20 us or more: two threads were 1.6 times as quick as one, and two thirds as quick where
# another process wanted a core. Of smaller batches they lost more there than they gained.
_BATCH_PER_THREAD = 500_000


class NetworkObjective:
    """The loss of a network on one set of rows, and its penalty.

    Parameters
    ----------
    backend, X, y, sample_weight, n_threads
        As of `Objective`.
    network : Network
    alpha : float
        ``alpha / 2 * ||W||^2 / sum of the weights``, never on the intercepts.
    """

    def __init__(self, backend, X, y, sample_weight, network, *, alpha=0.0, n_threads=1):
        self.backend = backend
        self.data = bind(backend, X, y, sample_weight)
        self.network = network
        self.n_rows = X.shape[0]
        self._l2 = alpha * self.data.scale
        self._n_weights = sum(math.prod(shape) for shape in network.shapes)
        self._threads = n_threads
        self.passes = 0

    def n_threads(self, batch_size=None):
        """Threads worth using for a pass over the rows, in batches that are learnt at once."""
        n_threads = threads.useful(self._threads, self.n_rows * self._n_weights)
        if batch_size is None:
            return n_threads
        return threads.useful(n_threads, batch_size * self._n_weights, _BATCH_PER_THREAD)

    def value(self, theta):
        return self.value_and_gradient(theta, None)

    def value_and_gradient(self, theta, grad):
        """Mean loss plus penalty; the gradient goes into `grad`."""
        self.passes += 1
        weights = theta[: self._n_weights]
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.backend.network_gradient(
                self.data, self.network, theta, grad, self.n_threads()
            )
            if grad is not None:
                grad[: self._n_weights] += self._l2 * weights
            return value + self._l2 / 2 * float(np.sum(np.square(weights, dtype=np.float64)))
