"""Logistic regression: scikit-learn's estimator, fitted and applied by the fused kernels.

Signature, parameter checks, tags, routing and `sparsify` are scikit-learn's, `fit` and the
predictions are not.
"""

import math

import numpy as np
import scipy.sparse as sp
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as _LogisticRegression
from sklearn.linear_model._logistic import _check_solver

from schuss import data, driver, objective, validation
from schuss.constants import Activation
from schuss.constraints import TrainedLikelihood
from schuss.errors import warn
from schuss.losses import LOSSES, MULTINOMIAL
from schuss.predictions import LinearClassifierPredictions
from schuss.solvers.second_order import SecondOrder
from schuss.training import Plan, TrainedClassifier

# What scikit-learn's users search for and filter by, one for each name of a solver.
_UNCONVERGED = {
    "lbfgs": "lbfgs failed to converge after {n} iteration(s): {reached}.\n"
    "Increase the number of iterations to improve the convergence (max_iter={max_iter}).\n"
    "You might also want to scale the data as shown in:\n"
    "    https://scikit-learn.org/stable/modules/preprocessing.html\n"
    "Please also refer to the documentation for alternative solver options:\n"
    "    https://scikit-learn.org/stable/modules/linear_model.html#logistic-regression",
    "newton-cg": "newton-cg failed to converge at loss = {loss:.6g}: {reached}. "
    "Increase the number of iterations.",
    "newton-cholesky": "Newton solver did not converge after {n} iterations: {reached}.",
    "liblinear": "Liblinear failed to converge, increase the number of iterations: {reached}.",
    "sag": "The max_iter was reached which means the coef_ did not converge: {reached}.",
}
# These stop by rules of their own, at smaller gradients than their `tol`.
_TOL_SHARE = {"liblinear": 0.01, "sag": 0.01, "saga": 0.01}
_UNCONVERGED["saga"] = _UNCONVERGED["sag"]


class LogisticRegression(
    LinearClassifierPredictions, TrainedLikelihood, TrainedClassifier, _LogisticRegression
):
    """Logistic regression, with the optimum of scikit-learn's of the same name.

    It minimises ``C * sum_i s_i c_i + (1 - l1_ratio) / 2 * ||w||^2 + l1_ratio * ||w||_1``,
    c_i being the log-loss of row i, for several classes the cross-entropy of softmax.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet", None}, default="deprecated"
        Deprecated: `l1_ratio` and `C` say the same.
    C : float, default=1.0
        Inverse of the penalty's strength; infinity for none.
    l1_ratio : float, default=0.0
        Share of the L1 penalty, 0 to 1.
    dual : bool, default=False
        Accepted with ``solver="liblinear"`` and an L2 penalty. It changes nothing: both
        forms have the same optimum.
    tol : float, default=1e-4
        Converged where no entry of the gradient of the mean objective (the above, divided
        by ``C * sum_i s_i``) is larger; with "liblinear", "sag" and "saga" than a hundredth
        of it, as their own rules end there or later. Besides, the objective must not be expected to
        decrease by more than a hundredth of `tol` of it.
    fit_intercept : bool, default=True
    intercept_scaling : float, default=1
        For ``solver="liblinear"``, which penalises the intercept divided by this.
    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights.
    random_state : int, RandomState or None, default=None
        Ignored: the same data give the same bits (X of more than 16 MB, where it begins at
        the same place within a cache line).
    solver : {"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}, \
default="lbfgs"
        All names are accepted, with the penalties that scikit-learn allows for each, and
        give the same optimum ("liblinear" that of a penalised intercept). What serves
        depends on the data: Newton's method for small problems; L-BFGS that begins at the
        optimum of a sample of the rows, with its Hessian, where n is much larger than d;
        L-BFGS with a Kronecker product as the Hessian of several classes, later with its
        blocks of each class; L-BFGS alone for many features, and the Gram matrix of the rows
        where these are far fewer; working sets of features for an L1 penalty where X is sparse
        or n is not much larger than d.
    max_iter : int, default=100
    verbose : int, default=0
        Lines of progress a second.
    warm_start : bool, default=False
        ``fit`` starts from the last weights.
    n_jobs : None
        Deprecated, without effect. ``SCHUSS_NUM_THREADS`` sets the threads, by default all
        that the process may use; the result does not depend on it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, d) for two classes, else (n_classes, d)
        float32 where X is float32 (or float16, uint8, int8), else float64.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    n_iter_ : ndarray of shape (1,)
        Iterations over all rows; work on samples of the rows is not counted.
    loss_ : float
        Mean objective at the final weights.
    history_ : dict of ndarray of shape (n_iter_[0],)
        For each iteration the mean objective and the largest entry of its gradient where
        it led, the step, and the seconds since the start: ``loss``, ``gradient_norm``,
        ``step``, ``seconds``.
    stop_reason_ : str
        "converged", "max_iter", "callback", "interrupted" (Ctrl-C), "precision", where rounding
        hides any further descent before the gradient is within `tol`, or "separated": without a
        penalty there is no optimum, because weights that grow for ever fit ever better.
    converged_ : bool
        Whether ``stop_reason_`` is "converged".
    fit_info_ : dict
        What served the last fit, and what it took: `TrainResult.fit_info`.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,), for data frames

    Raises
    ------
    ValueError
        For bad input, with scikit-learn's messages; also for negative weights, and where
        weights of zero leave only one class.
    DivergenceError
        Where even the first gradient overflows.

    Notes
    -----
    ``docs/drop_in.md`` says what is the same as in scikit-learn, what is more, and what
    differs.

    Examples
    --------
    >>> from schuss import LogisticRegression
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression().fit(X, y)
    >>> model.predict(X[:2])
    array([0, 0])
    >>> round(model.score(X, y), 2)
    0.97
    >>> model.stop_reason_
    'converged'
    """

    _takes_streams = _streams_maps = True

    def _options(self, more, **given):
        l1_ratio, penalised = self._resolve_penalty()
        return {"l1_ratio": l1_ratio, "penalised": penalised, **super()._options(more, **given)}

    def _weigh(self, X, y, weights, more):
        if hasattr(self, "_skl_callbacks"):
            self._tasks = _Tasks(self, X, np.take(self.classes_, y), weights)
        return super()._weigh(X, y, weights, more)

    def _real_type(self, X):
        return np.dtype(np.float64) if self.solver == "liblinear" else super()._real_type(X)

    def _plan(self, rows, eval_rows, more, *, l1_ratio, penalised, constraints=None):
        n_outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        liblinear = self.solver == "liblinear"
        if liblinear and isinstance(rows.X, data.Blocked):
            raise ValueError(
                "solver='liblinear' does not take a stream of rows; choose 'lbfgs', which has the "
                "same optimum but for the penalty on the intercept."
            )
        if liblinear:
            # Its own limits are those of X before the first pass over it.
            data.check_features(rows.X, estimator=self, reset=False)
            self._check_liblinear(rows.X, len(self.classes_))
            rows = rows._replace(X=data.as_type(rows.X, self._real_type(rows.X)))
        if self.solver in ("liblinear", "sag", "saga"):
            self._check_indices(rows.X)
        coef, intercept = validation.start_weights(
            self, (n_outputs, rows.X.shape[1]), data.real_type(rows.X),
            self.warm_start and not liblinear,
        )  # fmt: skip
        if constraints is not None:
            return self._plan_constrained(
                rows, eval_rows, constraints, coef, intercept, tol=self.tol,
                max_iter=self.max_iter, started=self.warm_start,
            )  # fmt: skip
        learnt, validate = objective.on_rows(
            rows, eval_rows, LOSSES["log_loss"] if n_outputs == 1 else MULTINOMIAL, coef, intercept,
            alpha=self._alpha(rows, penalised), l1_ratio=l1_ratio,
            fit_intercept=self.fit_intercept,
        )  # fmt: skip
        run = SecondOrder(
            learnt, coef, intercept, tol=self.tol * _TOL_SHARE.get(self.solver, 1.0),
            intercept_scaling=self.intercept_scaling if liblinear else None,
        )  # fmt: skip
        tasks = vars(self).get("_tasks")
        if tasks is not None:
            tasks.begin(coef, intercept)
        return Plan(
            run, self.max_iter, eval_rows, validate=validate,
            callbacks=() if tasks is None else (tasks,),
        )  # fmt: skip

    def _alpha(self, rows, penalised):
        """Strength of the penalty of the mean loss."""
        total = rows.X.shape[0] if rows.sample_weight is None else float(rows.sample_weight.sum())
        return 1 / (self.C * total) if penalised else 0.0

    def _fit_path(self, X, y, sample_weight, Cs):
        """Fit with one C after the other, each from the weights of the one before.

        Yields after each; `coef_` and `intercept_` are the same arrays all along.
        """
        self.C = Cs[0]
        options = self._options(False)
        rows = self._check_rows(X, y, sample_weight, False)
        plan = self._plan(rows, None, False, **options)

        def penalties():
            for self.C in Cs:
                yield self._alpha(rows, options["penalised"]), options["l1_ratio"]

        for outcome in driver.run_path(plan.run, penalties(), self.max_iter):
            if outcome.stop_reason == "diverged":
                raise plan.run.divergence_error()
            self._store(outcome, plan.run.unrecorded, False)
            self._keep(rows, plan, outcome, False)
            yield

    def _keep(self, rows, plan, outcome, more):
        run = plan.run
        self.coef_, self.intercept_ = run.state.coef, run.state.intercept
        self.n_iter_ = np.array([outcome.n_iter], np.int32)
        if outcome.stop_reason == "precision" and run.is_within(self.tol):
            # It was held to a share of it.
            self.stop_reason_, self.converged_ = "converged", True
        if "_tasks" in vars(self):
            self._tasks.close()
            del self._tasks
        if self.stop_reason_ == "precision":
            text = (
                f"{self.solver} failed to converge: after {outcome.n_iter} iteration(s) rounding "
                f"hides any further descent, and {run.unconverged(rounding=True)}"
            )
            warn(text, ConvergenceWarning)
        elif self.stop_reason_ == "separated":
            text = (
                f"{self.solver} failed to converge: {run.separation()} Give C a finite value "
                f"(now {self.C})."
            )
            warn(text, ConvergenceWarning)
        elif self.stop_reason_ == "max_iter":
            name = self.solver
            if name == "newton-cholesky" and run.method == "lbfgs":
                name = "lbfgs"
            text = _UNCONVERGED[name].format(
                n=outcome.n_iter, max_iter=self.max_iter, loss=outcome.loss,
                reached=run.reached(),
            )  # fmt: skip
            warn(text, ConvergenceWarning)
        self._look_for_separation(rows, run)

    _couples = True

    def _penalties(self, total, n_rows):
        penalty = self._penalty()
        if penalty is None or math.isinf(self.C):
            return 0.0, 0.0, 0.0
        l1_ratio = self._l1_share(penalty)
        l2 = (1 - l1_ratio) / self.C
        intercept = l2 / self.intercept_scaling**2 if self.solver == "liblinear" else 0.0
        return l2, l1_ratio / self.C, intercept

    def _validate_params(self):
        validation.check_parameters(self)

    _drop_in = True

    def _probabilities(self, X, log):
        return (log_softmax if log else softmax)(self._answers(X, Activation.IDENTITY), axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # The kernels read memory of this process only.
        tags.array_api_support = False
        return tags

    def _penalty(self):
        """Name of the penalty, whichever parameters say it."""
        if self.penalty != "deprecated":
            return self.penalty
        if math.isinf(self.C):
            return None
        return {0: "l2", 1: "l1"}.get(self.l1_ratio or 0, "elasticnet")

    def _l1_share(self, penalty):
        return {"l1": 1.0, "elasticnet": self.l1_ratio}.get(penalty, 0.0)

    def _resolve_penalty(self):
        """Share of the L1 penalty, and whether there is a penalty; scikit-learn's warnings."""
        penalty = self._penalty()
        if self.penalty == "deprecated":
            if self.l1_ratio is None:
                warn(
                    "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in "
                    "1.10. Use 0<=l1_ratio<=1 instead.",
                    FutureWarning,
                )
        else:
            warn(
                "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid "
                "this warning, leave 'penalty' set to its default value and use 'l1_ratio' or "
                "'C' instead. Use l1_ratio=0 instead of penalty='l2', l1_ratio=1 instead of "
                "penalty='l1', l1_ratio set to a float between 0 and 1 instead of "
                "penalty='elasticnet', and C=np.inf instead of penalty=None.",
                FutureWarning,
            )
        _check_solver(self.solver, penalty, self.dual)
        if penalty != "elasticnet" and self.l1_ratio is not None and 0 < self.l1_ratio < 1:
            warn(
                f"l1_ratio parameter is only used when penalty is 'elasticnet'. "
                f"Got (penalty={penalty})",
            )
        if (self.penalty == "l2" and self.l1_ratio != 0) or (
            self.penalty == "l1" and self.l1_ratio != 1
        ):
            warn(
                f"Inconsistent values: penalty={self.penalty} with l1_ratio={self.l1_ratio}. "
                "penalty is deprecated. Please use l1_ratio only.",
            )
        if penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
        if self.penalty is None and self.C != 1.0:
            warn("Setting penalty=None will ignore the C and l1_ratio parameters")
        if self.n_jobs is not None:
            warn(
                "'n_jobs' has no effect since 1.8 and will be removed in 1.10. You provided "
                f"'n_jobs={self.n_jobs}', please leave it unspecified.",
                FutureWarning,
            )
        return self._l1_share(penalty), penalty is not None and not math.isinf(self.C)

    def _check_indices(self, X):
        if sp.issparse(X) and X.indices.dtype == np.int64:
            raise ValueError(
                "Only sparse matrices with 32-bit integer indices are accepted by solver="
                f"{self.solver!r}. Got int64 indices. Choose solver='lbfgs', which takes both."
            )

    def _check_liblinear(self, X, n_classes):
        if n_classes > 2:
            raise ValueError(
                "The 'liblinear' solver does not support multiclass classification (n_classes "
                ">= 3). Either use another solver or wrap the estimator in a "
                "OneVsRestClassifier to keep applying a one-versus-rest scheme."
            )
        # Of a sparse matrix itself `max` would sort and merge the arrays, which are the caller's.
        if (X.data if sp.issparse(X) else X).max(initial=0) > 1e30:
            raise ValueError(
                "Using the 'liblinear' solver while X contains a maximum value > 1e30 results "
                "in a frozen fit. Please choose another solver or rescale the input X."
            )


class _Tasks:
    """Tells scikit-learn's callbacks of each iteration, as its own estimator does.

    There is one task for the fit, one in it for each iteration (at least one), and an empty
    one at the end.
    """

    every = 1

    def __init__(self, estimator, X, y, sample_weight):
        self._estimator = estimator
        self._data = {
            "X": X, "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }  # fmt: skip
        self._context = estimator._init_callback_context(
            max_subtasks=max(estimator.max_iter, 1) + 1
        )
        self._context.call_on_fit_task_begin(estimator=estimator, **self._data)
        self._called = False

    def begin(self, coef, intercept):
        """Take up the arrays in which the weights come to be."""
        self._arrays = coef, intercept
        self._begin()

    def __call__(self, info):
        self._called = True
        self._task.call_on_fit_task_end(
            estimator=self._estimator, **self._data, reconstruction_attributes=self._weights()
        )
        self._begin()

    def close(self):
        if not self._called:
            self(None)
        self._task.call_on_fit_task_end(estimator=self._estimator)
        self._context.call_on_fit_task_end(
            estimator=self._estimator, **self._data, reconstruction_attributes={}
        )

    def _begin(self):
        self._task = self._context.subcontext(task_name="lbfgs-iter")
        self._task.call_on_fit_task_begin(
            estimator=self._estimator, **self._data, reconstruction_attributes=self._weights()
        )

    def _weights(self):
        coef, intercept = self._arrays
        return {"coef_": coef.copy(), "intercept_": intercept.copy()}
