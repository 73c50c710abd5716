"""Newton's method and L-BFGS on the fused pass, with or without an L1 penalty.

One loop serves them all: a model of the curvature turns the gradient into a direction,
pairs of steps and changes of the gradient mend it (L-BFGS; in Newton's method, where a factor
serves for several steps), and a line search keeps what improves the objective.

Where n is much larger than d the model is the Hessian on a sample of the rows at the
sample's own optimum, which also is where the run begins. A sample that misleads costs
passes, never the answer: a start that is worse than no weights is dropped, and a model
under which the run is slow is replaced by one of four times the rows, up to all of them.

Of many weights of classes that a loss couples the model is a Kronecker product, of a matrix of
the classes and one of the features, and once the probabilities have changed the blocks of each
class alone, renewed a few times; from a sample's optimum on it is that of all classes, or of many
the blocks.
"""

import math

import numpy as np

from schuss.backends.contract import NewtonConfig, State
from schuss.constants import ARMIJO, HISTORY_COLUMNS, N_COUNTERS, SINGULAR
from schuss.errors import DivergenceError
from schuss.solvers import proximal
from schuss.solvers.curvature import Blocks, ClassBlocks, Diagonal, Kronecker
from schuss.solvers.problem import LARGE, Problem
from schuss.solvers.row_space import RowSpace
from schuss.solvers.run import Progress, WholeRun
from schuss.solvers.working_set import WorkingSet
from schuss.vectors import dot, max_norm

# Multiplications that a Hessian over all rows, and its factors, may cost for Newton's
# method to be chosen: below that an iteration takes about a millisecond.
_NEWTON_PRODUCTS = 3e7
_NEWTON_FACTOR = 1e8
# Elements of [X 1] from which a sample of the rows is worth its fixed cost.
_SAMPLED_ELEMENTS = 150_000
# Parameters of a block beyond which the Hessian costs more than the passes that it saves.
_SAMPLED_SIZE = 600
# Rows of the sample for each parameter of a block, at the least, and of those where Newton's
# method begins. Of 80 rows the Hessian saves a pass over 100,000 x 100 that of 60 needs.
_SAMPLE_ROWS = 80
_LEAST_ROWS = 60
_FIRST_ROWS = 20
_SAMPLE_GROWTH = 4
_SAMPLE_STEPS = 50
# Columns of [X 1] up to which a Kronecker product is worth its factor, rows of a model for each of
# them and at least, iterations after which it is made anew, and the factor by which they grow.
_KRONECKER_SIZE = 1024
_KRONECKER_ROWS = 8
_KRONECKER_LEAST = 2000
_RENEWED = 10
_RENEWED_GROWTH = 3
# Parameters up to which a sample's Hessian of classes is taken as a whole.
_COUPLED_SIZE = 300
# Rows for each square of the columns from which a run begins with a sample of all its blocks, and
# multiplications of the blocks for each of a pass up to which they are worth it later.
_BLOCKS_ROWS = 2
_BLOCKS_COST = 100
# Rows of a dense X from which the diagonal of the Hessian is taken.
_DIAGONAL_ROWS = 400

# Where steps shrink the gradient to this share of it or less the factor of a Hessian serves on:
# gradients cost a fraction of it. 1797 x 64 took 17 gradients and 2 Hessians, where a Hessian
# for each step made it 8.
_FACTOR_RATE = 0.7

# Features for each row from which an L2 penalty takes a problem to the rows' space, so that the
# Gram matrix is smaller than X; rows for which that costs a pass: it is made where passes did.
_WIDE = 4
_GRAM_ROWS = 30
# Rows whose Gram matrix costs no more than the diagonal of the Hessian.
_FEW_ROWS = 200
_ROW_SPACE_STEPS = 1000

# Rows for each parameter from which an L1 penalty of a dense X is left to passes over all rows.
_TALL = 5
# What a step over a working set leaves of the gradient at the most, where it does not improve the
# objective.
_SHRINKAGE = 0.9

_MEMORY = 10
# Share of the subgradient that may be left by the quadratic problems of an L1 penalty.
_INNER = 1e-3

# At the default of scikit-learn's tol the objective then is within 1e-6 of the optimum.
_GAP = 0.01
# Rows whose scores Newton's step still moves by this, where it promises nothing, are separated from
# others: each step reduces what they lose by the factor e.
_SEPARATING = 0.5

_WOLFE = 0.9
_EVALUATIONS = 30
# Steps that L-BFGS takes below the rounding errors of the objective before the gradient is smaller
# than ever.
_STALLED = 10
# Where the expected decrease does not shrink by this factor an iteration the model is bad.
_RATE = 3.0
_PATIENCE = 4


class SecondOrder(WholeRun):
    """A run of Newton's method or L-BFGS.

    Parameters
    ----------
    objective : Objective
    coef, intercept : ndarrays, changed in place
    tol : float
        Converged where no entry of the smallest subgradient is larger and, if the loss is convex,
        the model of the curvature promises a decrease of the objective by no more than `_GAP`
        times `tol` of it: the gradient alone is small in small units, too.
    exact : bool
        Newton's method, whatever it costs.
    reuses : bool
        Whether a factor may then serve for several steps.
    intercept_scaling, units, centres, fixed
        As `problem.Problem` takes them.

    Attributes
    ----------
    method : str
        "newton", "lbfgs" or "working set": what serves.
    norm : float
        Largest entry of the smallest subgradient, whatever the units of `problem` are.
    """

    loss: float
    _gradient: np.ndarray
    # While the method is that of working sets.
    _set: WorkingSet

    def __init__(
        self, objective, coef, intercept, *,
        tol=0.0, exact=False, reuses=False, intercept_scaling=None, units=None, centres=None,
        fixed=False,
    ):  # fmt: skip
        self.objective = objective
        self.tol = tol
        self.problem = Problem(objective, intercept_scaling, units, centres, fixed)
        # Share of the objective. The squared loss may be 0 at a stationary point.
        self._gap = math.inf
        if objective.loss.convex:
            self._gap = max(_GAP * tol, self.problem.noise)
        self._floor = self._separable_below()
        self.state = State(coef, intercept, np.empty((0, *coef.shape)), np.zeros(N_COUNTERS))
        self.learning_rate = 1.0
        self.expected = math.inf  # decrease that the last direction promised
        self._begun = False
        self._forget()
        k, p = self.problem.shape
        blocks, r = (1, k * p) if objective.loss.couples else (k, p)
        self._block = r
        n, convex = objective.n_rows, objective.loss.convex
        self._kronecker = (
            objective.loss.couples and not exact and not self.problem.sparse
            and p <= _KRONECKER_SIZE and n >= 2 * p
        )  # fmt: skip
        # A row says as much of each of its classes as one of two classes would.
        size = p if self._kronecker else r
        # At most half of them.
        rows = min(_SAMPLE_ROWS * size, n // 2)
        sampled = (
            rows >= _LEAST_ROWS * size and size <= _SAMPLED_SIZE and n * r > _SAMPLED_ELEMENTS
            and (not self._kronecker or n >= _BLOCKS_ROWS * p * p)
        )  # fmt: skip
        small = n * blocks * r * r <= _NEWTON_PRODUCTS and blocks * r**3 <= _NEWTON_FACTOR
        sets = objective.takes_columns and convex and self.problem.sparse
        sets = sets and blocks == 1 and not objective.loss.couples
        sets = sets and not exact and units is None
        # Of many more rows than features more weights are not 0, and rows are read faster.
        sets = sets and (objective.is_sparse or n < _TALL * r)
        newton = exact or (small and not sampled)
        self.method = "newton" if newton else "lbfgs"
        if sets:
            self.method, self._set = "working set", WorkingSet(self.problem)
        samples = self.method == "lbfgs" or newton and self._whole()
        self._sample = rows if sampled and samples else 0
        # From a sample's optimum on a factor serves Gauss-Newton, too, with pairs that mend it.
        self._reuses = convex and (reuses or not exact) or self._sample > 0
        self._helper = None
        if self.method == "lbfgs":
            self.problem.recentre()
        wide = self.method == "lbfgs" and objective.takes_columns and not self.problem.sparse
        wide = wide and not objective.is_sparse and convex and self.problem.penalised
        wide = wide and units is None and p >= _WIDE * n
        self._row_space_after = math.inf
        if wide:
            self._row_space_after = n // _GRAM_ROWS if n > _FEW_ROWS else 0
        self.theta = self.problem.join(coef, intercept)
        # The diagonal of the Hessian as the model, until steps do not improve anything.
        self._may_scale = convex and not newton
        self._forget_models()

    @property
    def algorithm(self):
        return self.method

    # ------------------------------------------------------------ what the driver asks for

    @property
    def seconds_estimate(self):
        return 1e-9 * self.objective.size * self.objective.n_outputs + 1e-4

    def advance(self, iterations):
        """Go on for some iterations; a row of history is about where each of them led.

        Returns
        -------
        Progress
            Its reason is "converged", "separated" (weights that grow for ever improve the
            objective for ever), "precision" (no step improves the objective, as far as rounding
            shows), "diverged" (the objective is not finite), "interrupted", or None.
        """
        rows, reason, place = [], None, None
        try:
            if self.method == "newton":
                # Mostly that is all.
                rows.extend(self._first_steps(iterations))
                self._begun = self._begun or bool(rows)
                reason = self._begin()
            if reason is None and len(rows) < iterations:
                reason = self._begin()
            while reason is None and len(rows) < iterations:
                place = self._here()
                reason, step = self._iterate()
                if step:
                    rows.append((self.loss, self.norm, step))
                if step and reason is None and self.method == "newton":
                    rows.extend(self._whole_steps(iterations - len(rows)))
                    reason = self._end()
        except KeyboardInterrupt:
            reason = "interrupted"
            if place is not None:
                self._return(place)
        self.problem.split(self.theta, self.state.coef, self.state.intercept)
        return Progress(np.array(rows).reshape(-1, len(HISTORY_COLUMNS)), reason)

    @property
    def sample_size(self):
        return self._sample or None

    @property
    def passes(self):
        return self.problem.passes + self.objective.passes

    @property
    def hessians(self):
        return self.problem.hessians + self.objective.hessians

    def value(self):
        """Objective at the weights as they are."""
        if not self._begun:
            self._place(self.theta)
        return self.loss

    def reset(self):
        """Begin anew where `state` is."""
        self.theta = self.problem.join(self.state.coef, self.state.intercept)
        self._begun = False
        self._forget()
        if self.method == "working set":
            self._set.forget()

    def divergence_error(self):
        text = (
            "The objective is not finite where the run begins, even with units for large "
            "features. Look at the weights that it starts from (coef_init, intercept_init, or "
            "those of an earlier fit), or scale the features, for example with "
            "sklearn.preprocessing.StandardScaler."
        )
        return DivergenceError(text)

    def unconverged(self, rounding=False):
        """What to say where the last iteration was not the end, or where `rounding` was."""
        single = self.objective.dtype != np.float64
        mend = "Raise max_iter or tol" if not rounding else "Raise tol"
        if rounding and single:
            mend = "Pass X as float64, raise tol"
        return (
            f"{self.reached()}. {mend}, or scale the features if they are not "
            "(sklearn.preprocessing.StandardScaler)."
        )

    def set_penalty(self, alpha, l1_ratio):
        """Go on from here with another penalty, at the cost of no pass."""
        problem, theta = self.problem, self.theta
        value, l2, l1 = (
            self.loss - self._lasso(theta) if self._begun else 0.0,
            problem.l2,
            problem.l1,
        )
        problem.set_penalty(alpha, l1_ratio)
        self._forget()
        self._forget_models()
        if self.method == "working set":
            # The strong rule (Tibshirani et al., JRSS B 2012).
            self._set.threshold = 2 * problem.l1 - l1
        if self._begun:
            pull = (problem.l2 - l2) * theta
            self._gradient = self._gradient + pull
            self._settle(value + 0.5 * dot(pull, theta))

    def is_within(self, tol):
        """Whether the last iteration led to where a run with a larger `tol` had ended."""
        enough = max(_GAP * tol, self.problem.noise) * abs(self.loss)
        return self.norm <= tol and self.expected <= enough

    def reached(self):
        """Where the last iteration led, and what it lacks."""
        if self.norm <= self.tol:
            return (
                f"the objective of {self.loss:.3g} is expected to decrease by another "
                f"{self.expected:.1g}"
            )
        return f"the largest entry of the gradient is {self.norm:.3g}, above tol={self.tol:.3g}"

    def separation(self):
        """What to say where the classes can be told apart without an error."""
        return (
            "the classes are separable: weights that grow for ever fit them ever better, so there "
            "is no optimum without a penalty. These weights are those where no entry of the "
            f"gradient was above tol={self.tol:.3g} any more."
        )

    # ------------------------------------------------------------ the loop

    def _forget(self):
        self._pairs = []
        self._model = None
        self._newton = None
        self._since = 0
        self._least, self._stalled = math.inf, 0

    def _forget_models(self):
        """Make models as at the beginning, of the penalty that is in force."""
        self._rows = self._unseen = None
        self._patience, self._scales = _RENEWED, self._may_scale

    def _begin(self):
        """The first evaluation, from the sample's optimum where there is one to be had."""
        if self._begun:
            return self._end()
        cold = not self.theta.any()
        null = self._null() if cold else math.inf
        if cold and self._sample:
            self._begin_with_sample()
            self._evaluate(self.theta)
            if not (self.loss <= null and self._largest < LARGE[self.objective.dtype.itemsize]):
                self._forget()
                self._place(np.zeros_like(self.theta))
                self._sample = min(self._sample * _SAMPLE_GROWTH, self.objective.largest_sample)
        else:
            self._place(self.theta)
        self._begun = True
        return self._end()

    def _recentre(self):
        """Change to coordinates in which far columns are no multiples of the intercept's."""
        self.problem.split(self.theta, self.state.coef, self.state.intercept)
        if not self.problem.recentre():
            return False
        self._forget()
        self._evaluate(self.problem.join(self.state.coef, self.state.intercept))
        return True

    def _place(self, theta):
        """Evaluate where a run begins; features that overflow get units of their own."""
        self._evaluate(theta)
        large = LARGE[self.objective.dtype.itemsize]
        if not np.abs(self._gradient).max(initial=0) < large and self.problem.rescale():
            self._leave_sets()
            self.theta = self.problem.join(self.state.coef, self.state.intercept)
            self._evaluate(self.theta)

    def _null(self):
        """Objective without weights."""
        return self.objective.loss.at_zero(self.objective.n_outputs)

    def _here(self):
        place = self.theta, self._gradient, self.loss, self._subgradient, self.norm, self._largest
        return place, self.problem.centres

    def _return(self, standing):
        place, self.problem.centres = standing
        self.theta, self._gradient, self.loss, self._subgradient, self.norm, self._largest = place

    def _evaluate(self, theta):
        value, self._gradient = self.problem.evaluate(theta)
        self.theta = theta
        self._settle(value)

    def _settle(self, value):
        """What follows from the gradient: objective, pseudo-gradient, its largest entry."""
        self.loss = value + self._lasso(self.theta)
        self._subgradient = self._gradient
        if self.problem.sparse:
            l1 = self.problem.l1
            self._subgradient = proximal.smallest_subgradient(self._gradient, self.theta, l1)
        self._largest = max_norm(self._subgradient)
        self.norm = self.problem.largest(self._subgradient)

    def _lasso(self, theta):
        return dot(self.problem.l1, np.abs(theta)) if self.problem.sparse else 0.0

    def _end(self):
        if not math.isfinite(self.loss) or not math.isfinite(self._largest):
            return "diverged"
        if not self.norm <= self.tol:
            return None
        if self.loss < self._floor:
            return "separated"
        if not self._is_near():
            return None
        return "separated" if self._separates() else "converged"

    def _is_near(self):
        """Whether the model promises no more decrease than `_gap`."""
        if self._gap == math.inf or self.method == "working set":
            return True
        enough = self._gap * abs(self.loss)
        if not self.expected <= enough:
            if self._model is None and self._newton is not None:
                # Newton's steps of the kernel, which has judged by a factor of its own.
                return False
            self._renew(once=True)
            self.expected = -self._direct()[1] / 2
        return self.expected <= enough

    @property
    def _is_unbounded(self):
        """Whether nothing holds weights that fit the rows ever better."""
        problem = self.problem
        return self.objective.loss.convex and not (problem.penalised or problem.sparse)

    def _separable_below(self):
        """Objective that tells that each row loses less than log(2), -inf without any.

        The class of each row then has its largest score, and multiples of the weights improve the
        objective for ever.
        """
        if not self._is_unbounded or not self.objective.has_labels():
            return -math.inf
        return math.log(2.0) * self.objective.least_weight()

    def _separates(self):
        """Whether Newton's step still moves the scores of some rows."""
        if not self._is_unbounded:
            return False
        self._renew(once=True)
        step = self.problem.users(self._direct()[0])
        return self.objective.largest_score(step) >= _SEPARATING

    def _iterate(self):
        """One step; why it was the last, and its length, 0 where none was found."""
        if self.method == "working set":
            return self._solve_set()
        if self.problem.passes > self._row_space_after:
            return self._solve_in_rows()
        self._renew()
        direction, derivative = self._direct()
        if not derivative < 0 or not math.isfinite(derivative):
            self._forget()
            direction = -self._subgradient / max(self._largest, 1.0)
            derivative = dot(self._subgradient, direction)
        self.expected = expected = -derivative / 2
        if self.method == "lbfgs" and self._sample and self._is_slow(expected):
            self._enlarge()
            return self._iterate()
        before = self.theta, self._gradient
        step = self._search(direction, derivative)
        if not step:
            if self._recentre():
                return self._end(), 0.0
            if expected <= 100 * self.problem.noise * abs(self.loss):
                return "precision", 0.0
            if self._pairs or self._model is not None and self.method == "lbfgs":
                self._scales = self._scales and bool(self._pairs)
                self._forget()
                self._enlarge()
                return None, 0.0
            return "precision", 0.0
        if self.method == "lbfgs":
            self._remember(self.theta - before[0], self._gradient - before[1])
        self.learning_rate = step
        return self._end(), step

    def _solve_set(self):
        """Minimise over a working set, or leave it to L-BFGS; returns as `_iterate` does."""
        standing = self._here()
        place, _ = standing
        new = self._set.improve(self.theta, self._gradient, self._subgradient, self.tol)
        if new is None:
            self._leave_sets()
            return None, 0.0
        self._evaluate(self.problem.round(new))
        flat = self.problem.noise * abs(self.loss)
        # Below rounding errors the gradient decides.
        shrinks = self._largest <= _SHRINKAGE * place[-1]
        if self.loss < place[2] - flat or self.loss <= place[2] + flat and shrinks:
            return self._end(), 1.0
        self._return(standing)
        self._set.forget()
        return "precision", 0.0

    def _solve_in_rows(self):
        """Go to the optimum in the rows' space, once; returns as `_iterate` does."""
        self._row_space_after = math.inf
        if self.problem.units is not None:
            return None, 0.0
        standing = self._here()
        rows = RowSpace(self.problem)
        k, n = self.objective.n_outputs, self.objective.n_rows
        run = SecondOrder(
            rows.objective, np.zeros((k, n)), np.zeros(k), tol=self.tol / math.sqrt(n),
            exact=k == 1 and n <= _SAMPLED_SIZE, intercept_scaling=self.problem.intercept_scaling,
        )  # fmt: skip
        if run.advance(_ROW_SPACE_STEPS).reason == "interrupted":
            raise KeyboardInterrupt
        self._forget()
        self._evaluate(self.problem.round(rows.join(run.state.coef, run.state.intercept)))
        if self.loss <= standing[0][2]:
            # The same objective, judged there by a better model.
            self.expected = run.expected
            return self._end(), 1.0
        self._return(standing)
        return None, 0.0

    def _leave_sets(self):
        """Go on over all features; columns of sets are in no units of their own."""
        if self.method == "working set":
            self.method = "lbfgs"

    def _whole_steps(self, iterations, enough=0.0, model=None, wanted=False):
        """Steps of Newton's method that no search has to shorten; rows of their history.

        A `model` serves as the first Hessian; where one is `wanted` it is that where they end.
        """
        objective, problem = self.objective, self.problem
        if not self._whole() or not iterations:
            return ()
        if self._newton is None:
            rate = _FACTOR_RATE if self._reuses else 0.0
            rule = NewtonConfig(
                objective.loss.code, problem.l2, self.tol, rate, enough, problem.noise, self._gap,
                self._floor, singular=SINGULAR[objective.dtype.itemsize],
            )  # fmt: skip
            arrays = np.empty(problem.size), np.empty(problem.size)
            helper = self._helper
            if helper is None and objective.n_threads() > 1:
                helper = problem.evaluator
            self._newton = (
                *arrays,
                objective.backend.newton(objective.data, rule, *arrays, model, helper),
            )
        theta, gradient, advance = self._newton
        theta[...] = self.theta
        hessian = np.empty((1, problem.size, problem.size)) if wanted else None
        history = np.empty((iterations, len(HISTORY_COLUMNS)))
        steps, self.expected, gradients, hessians = advance(
            history, None if hessian is None else hessian[0]
        )
        problem.passes += gradients + hessians
        problem.hessians += hessians
        if not steps:
            return ()
        self.theta, self._gradient = theta.copy(), gradient.copy()
        self._model = self._blocks(hessian) if wanted else None
        self._settle(history[steps - 1, 0])
        return history[:steps].tolist()

    def _whole(self):
        """Whether the backend can take whole steps: one neuron on dense rows."""
        objective, problem = self.objective, self.problem
        whole = objective.takes_newton and not problem.sparse
        whole = whole and problem.units is None and problem.centres is None
        return whole and objective.n_outputs == 1 and not objective.loss.couples

    def _first_steps(self, iterations):
        """Whole steps, from a sample's optimum where there is one to be had."""
        if self._begun or not self._sample or not iterations or self.theta.any():
            return self._whole_steps(iterations)
        self._begin_with_sample()
        rows = self._whole_steps(iterations, model=self._model and self._model.blocks[0])
        if not rows or not self.loss <= self._null():
            self.theta = np.zeros_like(self.theta)
            self._forget()
            self._sample = 0
            rows = self._whole_steps(iterations)
        return rows

    def _enlarge(self):
        self._sample = min(self._sample * _SAMPLE_GROWTH, self.objective.largest_sample)
        self._model = None

    def _renew(self, once=False):
        """A model, where there is none or, unless `once`, it is that of another place."""
        if once and self._model is not None:
            return
        if self.method == "newton":
            self._model = self._blocks(self.problem.hessian(self.theta))
            if self.problem.may_recentre and self._model.is_singular and self._recentre():
                self._model = self._blocks(self.problem.hessian(self.theta))
        elif self._model is None and self._sample:
            self._model = self._sampled(self._sample)._curve(self.theta)
            self._since = 0
        elif self._kronecker and not self._sample:
            if self._model is None and self._scales or self._is_due():
                self._model = self._factors()
                self._since = 0
        elif self._model is None and self._scales:
            self._model = Diagonal(self._diagonal())

    def _curve(self, theta):
        """The model that the rows give, where they are a sample."""
        if self._kronecker and self.problem.size > _COUPLED_SIZE:
            return self._class_blocks(self.problem, theta)
        return self._blocks(self.problem.hessian(theta))

    def _class_blocks(self, rows, theta, unseen=0.0):
        """Blocks of the classes, and the curvature that some rows may lack."""
        (k, p), singular = self.problem.shape, SINGULAR[self.objective.dtype.itemsize]
        blocks = rows.hessian(theta, coupled=False)
        np.einsum("kii->ki", blocks)[...] += unseen / k
        return ClassBlocks(blocks, self.problem.l2[:p], singular)

    def _factors(self):
        """Model of some of the rows where the run is.

        A Kronecker product of classes and features without weights, where that is the Hessian, or
        where blocks of the classes cost more than the passes that they save.
        """
        p, n = self.problem.shape[1], self.objective.n_rows
        if self._rows is None:
            self._rows = self._sampled(max(_KRONECKER_ROWS * p, _KRONECKER_LEAST)).problem
            self._unseen = np.zeros(p)
            if self._rows.objective.n_rows < n:
                # Curvature that a row may have which the sample lacks.
                rows = self._rows.objective
                whole = self.objective if self.objective.takes_columns else rows
                squares = whole.largest_squares(self.problem.units, self.problem.centres)
                self._unseen = squares / rows.n_rows
        m = self._rows.objective.n_rows
        if m == n:
            self.problem.passes += 1
            self.problem.hessians += 1
        if self.theta.any() and m * p <= _BLOCKS_COST * n:
            return self._class_blocks(self._rows, self.theta, self._unseen)
        classes, features = self._rows.kronecker(self.theta)
        features[np.diag_indices(p)] += self._unseen
        return Kronecker(classes, features, SINGULAR[self.objective.dtype.itemsize])

    def _is_due(self):
        """Whether the probabilities may have changed enough for a new model."""
        self._since += 1
        if self._model is None or self._since <= self._patience:
            return False
        self._patience *= _RENEWED_GROWTH
        return True

    def _blocks(self, hessian):
        return Blocks(hessian, SINGULAR[self.objective.dtype.itemsize])

    def _diagonal(self):
        """Diagonal of the Hessian, of a sample's where X is dense."""
        if self.objective.is_sparse:
            diagonal = self.problem.diagonal(self.theta)
        else:
            diagonal = self._sampled(_DIAGONAL_ROWS).problem.diagonal(self.theta)
        # What has no entries at all has no gradient either, but a sample may lack some.
        found = diagonal > self.problem.l2
        diagonal[~found] = diagonal[found].mean() if found.any() else 1.0
        # The gradient of few rows lies in their span, where the curvature is that much larger; that
        # of the constant column does not. 1000 x 20000: 23 passes, 31 with it, 55 without either.
        d, n = self.objective.n_features, self.objective.n_rows
        diagonal.reshape(self.problem.shape)[:, :d] *= max(1.0, d / n)
        return diagonal

    def _is_slow(self, expected):
        """Whether a larger sample is due."""
        if self._since == 0:
            self._promised = expected
        self._since += 1
        if self._since <= _PATIENCE or self._sample >= self.objective.n_rows:
            return False
        return expected > self._promised * _RATE ** (1 - self._since)

    def _direct(self):
        """A direction, and the objective's derivative along it."""
        l1 = self.problem.l1
        if self.problem.sparse and isinstance(self._model, Blocks):
            b = len(self._model.blocks)
            gradient, theta, shares = (
                part.reshape(b, -1) for part in (self._gradient, self.theta, l1)
            )
            new = np.concatenate([
                proximal.minimise(
                    block, gradient[i], theta[i], shares[i], _INNER * self._largest,
                    self._model.singular,
                )
                for i, block in enumerate(self._model.blocks)
            ])  # fmt: skip
            direction = new - self.theta
            change = dot(l1, np.abs(new) - np.abs(self.theta))
            return direction, dot(self._gradient, direction) + change
        direction = self._two_loops()
        return direction, dot(self._subgradient, direction)

    def _two_loops(self):
        """Nocedal & Wright, algorithm 7.4, around the model.

        With an L1 penalty in the space of the weights that may move (Andrew & Gao, 2007).
        """
        v = -self._subgradient
        # Millions of parameters would wait for new memory each time.
        work = np.empty_like(v)
        pairs = self._pairs
        if self.problem.sparse:
            free = (self.theta != 0) | (self._subgradient != 0)
            pairs = [(s * free, y * free) for s, y, _ in pairs]
            pairs = [(s, y, dot(s, y)) for s, y in pairs]
            pairs = [pair for pair in pairs if pair[2] > 0]
        shares = []
        for s, y, product in reversed(pairs):
            share = dot(s, v) / product
            shares.append(share)
            v -= np.multiply(y, share, out=work)
        if self._model is not None:
            v = self._model.solve(v)
            if pairs and not self._model.scaled:
                s, y, product = pairs[-1]
                v *= product / dot(y, self._model.solve(y))
        elif pairs:
            s, y, product = pairs[-1]
            v *= product / dot(y, y)
        else:
            v = v / max(1.0, float(np.abs(self._subgradient).sum()))
        for (s, y, product), share in zip(pairs, reversed(shares), strict=True):
            v += np.multiply(s, share - dot(y, v) / product, out=work)
        if self.problem.sparse:
            # Weights at 0 leave it downhill or not at all.
            v[(self.theta == 0) & (v * self._subgradient >= 0)] = 0.0
        return v

    def _remember(self, step, change):
        if self.problem.sparse and isinstance(self._model, Blocks):
            self._model.learn(step, change)
            return
        product = dot(step, change)
        if product > np.finfo(float).eps * dot(change, change):
            self._pairs.append((step, change, product))
            del self._pairs[:-_MEMORY]

    # ------------------------------------------------------------ line search

    def _search(self, direction, derivative):
        """Move to a better point along a direction; its step, or 0 where there is none.

        Weak Wolfe conditions; Armijo's alone for Newton's method and with an L1 penalty.
        That projects the steps of L-BFGS onto the orthant of the signs at their begin.
        Below the rounding errors of the objective the gradient decides.
        """
        place = self._here()
        start, _, value, pseudo, _, largest = place[0]
        expected = -derivative / 2
        orthant = None
        if self.problem.sparse and not isinstance(self._model, Blocks):
            orthant = np.where(start != 0, start, -pseudo)
        flat = self.problem.noise * abs(value)
        t, low, high = 1.0, 0.0, math.inf
        best = None
        for _ in range(_EVALUATIONS):
            trial = start + t * direction
            if orthant is not None:
                trial[trial * orthant < 0] = 0.0
            trial = self.problem.round(trial)
            if (trial == start).all():
                break
            self._evaluate(trial)
            if expected * t <= flat:
                ahead = dot(self._subgradient, direction)
                if not self.loss <= value + flat:
                    break
                if self._improves(derivative, ahead, largest):
                    return t
                if self.method == "newton" or not ahead > 0 or self._stalled > _STALLED:
                    break
                # Where the gradient along the step may vanish.
                t *= derivative / (derivative - ahead)
                continue
            if orthant is None:
                bound = value + ARMIJO * t * derivative
            else:
                bound = value + ARMIJO * dot(pseudo, trial - start)
            if math.isfinite(self.loss) and self.loss <= bound + flat:
                best = t, trial, self.loss, self._gradient
                ahead = dot(self._gradient, direction)
                if self.method == "newton" or self.problem.sparse or ahead >= _WOLFE * derivative:
                    return t
                low = t
                t = 2 * t if math.isinf(high) else (low + high) / 2
                if math.isinf(high):
                    t *= 2
            else:
                high = t
                # The parabola through value and derivative at 0 and the value here.
                above = self.loss - value - t * derivative
                guess = -derivative * t * t / (2 * above) if math.isfinite(above) else 0.0
                t = max(guess, low + 0.1 * (high - low)) if low == 0 else (low + high) / 2
                t = min(t, low + 0.5 * (high - low))
        if best is not None:
            t, self.theta, loss, self._gradient = best
            self._settle(loss - self._lasso(self.theta))
            return t
        self._return(place)
        return 0.0

    def _improves(self, derivative, ahead, largest):
        """Whether the gradient is better than before, where the objective cannot tell.

        Smaller, or for a few steps of L-BFGS in a row smaller along the step (the approximate
        conditions of Hager & Zhang, 2005).
        """
        if self._largest < min(largest, self._least):
            self._least, self._stalled = self._largest, 0
            return True
        if self.method == "newton":
            return self._largest < largest
        self._stalled += 1
        return self._stalled <= _STALLED and abs(ahead) <= -_WOLFE * derivative

    # ------------------------------------------------------------ samples

    def _begin_with_sample(self):
        """Newton's method on a sample, begun on some of its rows; its Hessian is the model."""
        large = LARGE[self.objective.dtype.itemsize]
        whole = self._sampled(self._sample)
        if self._kronecker:
            self._begin_with_classes(whole)
            return
        rows = np.arange(0, whole.objective.n_rows, _SAMPLE_ROWS // _FIRST_ROWS)
        first = self._on(whole.objective.sample(rows, None))
        # It will be wanted, and its threads can help.
        helper = self.problem.evaluator
        theta, model = self.theta, None
        for part in (first, whole):
            part.theta, part._helper = theta, helper
            # What a sample of m rows says of r parameters is uncertain by about r / 2m.
            enough = 0.05 * part._block / part.objective.n_rows
            if not part._whole_steps(_SAMPLE_STEPS, enough, model, wanted=True):
                part._evaluate(theta)
                if not part._largest < large:
                    return
            for _ in range(_SAMPLE_STEPS):
                if part.expected < enough:
                    break
                reason, step = part._iterate()
                if reason is not None or not step:
                    break
            theta = part.theta
            # There, or where the last step began, which was a short one.
            self._model = part._model
            model = self._model.blocks[0] if self._model is not None else None
        self.theta = self.problem.round(theta)

    def _begin_with_classes(self, whole):
        """L-BFGS on a sample, whose curvature is the model."""
        reason = whole._begin()
        enough = 0.05 * whole._block / whole.objective.n_rows
        for _ in range(_SAMPLE_STEPS):
            if reason is not None or whole.expected < enough:
                break
            reason, step = whole._iterate()
        if reason != "diverged":
            self.theta = self.problem.round(whole.theta)
            self._model = whole._curve(self.theta)

    def _sampled(self, m):
        return self._on(self.objective.draw(m))

    def _on(self, objective):
        """A run on a sample: Newton's method, unless it takes classes by a Kronecker product."""
        coef, intercept = np.zeros_like(self.state.coef), np.zeros_like(self.state.intercept)
        return SecondOrder(
            objective, coef, intercept, exact=not self._kronecker, reuses=True,
            intercept_scaling=self.problem.intercept_scaling, units=self.problem.units,
            centres=self.problem.centres, fixed=True,
        )  # fmt: skip
