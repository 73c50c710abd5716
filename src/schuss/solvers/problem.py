"""Loss and penalties as functions of one float64 vector, whatever type the kernels use."""

import numpy as np

from schuss.vectors import dot, max_norm

# Relative error of a value that a kernel returns, by the bytes of its type. Losses are
# summed in its type over a block and in float64 over the blocks.
NOISE = {8: 64 * 2.0**-52, 4: 4 * 2.0**-23}

# Features beyond this size are measured in units of their own, so that their squares, which
# the second derivatives hold, stay finite.
LARGE = {8: 1e70, 4: 1e9}


class Problem:
    """What second-order solvers minimise.

    The parameters are the rows of (K, d + 1), the intercept last (without one: (K, d)), in
    one vector. They are divided by `units`, one for each column, and the intercept is the score
    where the features are `centres`. Penalties stay those of the weights as they are.

    Parameters
    ----------
    objective : Objective
    intercept_scaling : float or None
        Where given, the intercept is that many times a weight which is penalised as all
        others are (LIBLINEAR's convention).

    units : ndarray of shape (d + 1,) or None
    centres : ndarray of shape (d,) or None
    fixed : bool
        Whether these are another problem's coordinates, in which the parameters are to stay.

    Attributes
    ----------
    l2, l1 : ndarray of shape (q,)
        Penalties ``l2 / 2 * t^2 + l1 * |t|`` of the parameters t.
    noise : float
        Relative error of the values.
    passes, hessians : int
        How often all rows were read, and how often for a Hessian, besides what `objective` counts.
    """

    def __init__(
        self, objective, intercept_scaling=None, units=None, centres=None, fixed=False
    ):  # fmt: skip
        self.objective = objective
        self.shape = objective.n_outputs, objective.n_features + bool(objective.fit_intercept)
        self.size = self.shape[0] * self.shape[1]
        self.noise = NOISE[objective.dtype.itemsize]
        self.passes = self.hessians = 0
        self.intercept_scaling = intercept_scaling
        self._arrays = tuple(
            np.zeros(shape, objective.dtype)
            for shape in 2 * ((self.shape[0], objective.n_features), (self.shape[0],))
        )
        self._evaluator = None
        self.centres = centres
        self._centred = fixed or centres is not None
        self._set_units(units)

    def rescale(self):
        """Give large features units of their own; whether that changed anything."""
        if self.units is not None:
            return False
        largest = self.objective.largest_features()
        if not largest.max(initial=0) > LARGE[self.objective.dtype.itemsize]:
            return False
        # Powers of two: no digit changes.
        units = np.ldexp(1.0, -np.frexp(np.maximum(largest, 1.0))[1])
        self._set_units(np.append(units, np.ones(self.shape[1] - len(units))))
        return True

    def set_penalty(self, alpha, l1_ratio):
        """Change the penalty, of the objective as well."""
        self.objective.set_penalty(alpha, l1_ratio)
        self._set_units(self.units)

    def recentre(self):
        """Measure columns that lie far from 0 from their centres; whether that changed anything.

        Such a column is nearly a multiple of the intercept's.
        """
        if not self.may_recentre:
            return False
        self._centred, self.centres = True, self.objective.centres()
        return self.centres is not None

    @property
    def may_recentre(self):
        """Whether `recentre` has not been tried, and the intercept has no penalty."""
        return (
            not self._centred and bool(self.objective.fit_intercept) and not self.intercept_scaling
        )

    def _set_units(self, units):
        objective = self.objective
        l2, l1 = (np.full(self.shape[1], share) for share in (objective.l2, objective.l1))
        if units is not None:
            l2 *= units * units
            l1 *= units
        if objective.fit_intercept:
            scaling = self.intercept_scaling
            l2[-1] = objective.l2 / scaling**2 if scaling else 0.0
            l1[-1] = objective.l1 / scaling if scaling else 0.0
        self.units = units
        if self.shape[0] > 1:
            l2, l1 = np.tile(l2, self.shape[0]), np.tile(l1, self.shape[0])
        self.l2, self.l1 = l2, l1
        self.penalised, self.sparse = objective.l2 > 0, objective.l1 > 0

    def join(self, coef, intercept):
        """Vector of parameters."""
        theta = np.empty(self.shape)
        theta[:, : coef.shape[1]] = coef
        if self.objective.fit_intercept:
            theta[:, -1] = intercept
            if self.centres is not None:
                theta[:, -1] += np.einsum("kj,j->k", theta[:, :-1], self.centres)
        return (theta if self.units is None else theta / self.units).ravel()

    def split(self, theta, coef, intercept):
        """Write a vector of parameters into arrays as the kernels take them."""
        theta = theta.reshape(self.shape)
        if self.units is not None:
            theta = theta * self.units
        coef[...] = theta[:, : coef.shape[1]]
        if self.objective.fit_intercept:
            intercept[...] = theta[:, -1]
            if self.centres is not None:
                # Of the weights as they are rounded.
                intercept[...] = theta[:, -1] - np.einsum("kj,j->k", coef, self.centres)

    def users(self, theta):
        """Parameters of the features as they are, shape (K, r), in float64."""
        wide = np.empty((self.shape[0], self.objective.n_features)), np.empty(self.shape[0])
        self.split(theta, *wide)
        return np.column_stack(wide) if self.objective.fit_intercept else wide[0]

    def largest(self, gradient):
        """Largest entry of a gradient in the units of the features as they are."""
        if self.units is not None or self.centres is not None:
            gradient = gradient.reshape(self.shape)
            gradient = gradient.copy() if self.units is None else gradient / self.units
            if self.centres is not None:
                gradient[:, :-1] += gradient[:, -1:] * self.centres
        gradient = gradient.ravel()
        return max_norm(gradient)

    def round(self, theta):
        """The parameters as the type of the kernels holds them."""
        if self.objective.dtype == np.float64:
            return theta
        coef, intercept = self._arrays[:2]
        self.split(theta, coef, intercept)
        return self.join(coef, intercept)

    @property
    def evaluator(self):
        """The backend's, whose threads come as soon as it is asked for."""
        objective = self.objective
        if self._evaluator is None:
            self._evaluator = objective.backend.evaluator(
                objective.data, objective.loss.code, *self._arrays, objective.n_threads()
            )
        return self._evaluator

    def evaluate(self, theta):
        """Smooth part of the objective, and its gradient: one pass over the rows."""
        objective = self.objective
        coef, intercept, coef_grad, intercept_grad = self._arrays
        evaluator = self.evaluator
        with np.errstate(over="ignore", invalid="ignore"):
            self.split(theta, coef, intercept)
            self.passes += 1
            value = evaluator()
            gradient = np.empty(self.shape)
            gradient[:, : coef.shape[1]] = coef_grad
            if objective.fit_intercept:
                gradient[:, -1] = intercept_grad
            if objective.loss.couples:
                # Of the same number added to all scores of a row nothing depends; its rounding
                # must not meet curvature that a small penalty alone gives.
                gradient -= gradient.mean(axis=0)
            if self.centres is not None:
                gradient[:, :-1] -= gradient[:, -1:] * self.centres
            if self.units is not None:
                gradient *= self.units
            gradient = gradient.ravel()
            if self.penalised:
                pull = self.l2 * theta
                value += 0.5 * dot(pull, theta)
                gradient += pull
        return value, gradient

    def hessian(self, theta, coupled=True):
        """Curvature of the smooth part, positive semidefinite: blocks (B, r, r), B r = q.

        Without those between classes where they are not wanted to be `coupled`.
        """
        blocks = self.objective.hessian(self.users(theta), self.units, self.centres, coupled)
        b, r, _ = blocks.shape
        diagonal = np.einsum("bii->bi", blocks)
        if self.penalised:
            diagonal += self.l2.reshape(b, r)
        if coupled and self.objective.loss.couples:
            self._pin(blocks[0], theta)
        return blocks

    def kronecker(self, theta):
        """Factors of `Objective.kronecker`, positive definite where the rows allow it.

        The penalty is that of classes of the mean curvature, which the sum over all classes gets,
        too: it changes no probability.
        """
        k, p = self.shape
        classes, features = self.objective.kronecker(self.users(theta), self.units, self.centres)
        mean = classes.trace() / (k - 1) or 1.0
        np.einsum("ii->i", features)[...] += self.l2[:p] / mean
        return classes + mean / k, features

    def diagonal(self, theta):
        """Diagonal of the Hessian."""
        diagonal = self.objective.hessian_diagonal(self.users(theta), self.units, self.centres)
        return diagonal.ravel() + self.l2

    def _pin(self, hessian, theta):
        """Curvature for directions that change no probability, and no penalty.

        The same number added to all intercepts is one, to all weights of a feature another.
        The gradient is orthogonal to them, so steps are not changed, only defined.
        """
        k, p = self.shape
        free = np.flatnonzero(self.l2[:p] == 0)
        columns = hessian.reshape(k, p, k, p)
        for j in free:
            columns[:, j, :, j] += columns[0, j, 0, j] or 1.0
