"""Networks of neurons with scikit-learn's interface: `MLPClassifier`, `MLPRegressor`.

Parameters, checks, initial weights, attributes and tags are scikit-learn's, by inheritance;
training and prediction are the backends'.
"""

import math
from copy import copy, deepcopy
from numbers import Integral
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.neural_network as sklearn_networks
from sklearn.base import _clone_parametrized
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils._param_validation import StrOptions, validate_parameter_constraints
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import _check_y, column_or_1d

from schuss import backends, data, threads, validation
from schuss.backends.contract import Network, NetworkConfig
from schuss.callbacks import Callback
from schuss.constants import Hidden
from schuss.docstrings import borrows
from schuss.errors import warn
from schuss.losses import NETWORK_OUTPUTS
from schuss.methods import Solver
from schuss.objective import NetworkObjective
from schuss.solvers.network import MiniBatches, QuasiNewton
from schuss.solvers.run import Plateau
from schuss.sparse import check_structure
from schuss.training import Incremental, Plan, Rows, Trained, TrainedByChoice, hold_out

# Of `MLPClassifier`, besides those of scikit-learn's constructor.
_OWN_PARAMS = {"class_weight": None, "loss": "log_loss"}
_OWN_CONSTRAINTS = {
    "class_weight": [dict, list, StrOptions({"balanced"}), None],
    "loss": [StrOptions({"log_loss", "squared_error"})],
}

_BATCH_SIZE = 200  # the most that "auto" means


class _Progress(Callback):
    """A line for each iteration, as scikit-learn prints it."""

    def __call__(self, info):
        print(f"Iteration {info.n_iter}, loss = {info.loss:.8f}")
        if info.score is not None:
            print(f"Validation score: {info.score:f}")


class _SchussNetwork(Trained):
    """What both estimators do in another way than scikit-learn."""

    validation_scores_: Any
    best_validation_score_: Any

    def _is_fitted(self):
        return hasattr(self, "coefs_")

    def _resets(self, more):
        return not (self._is_fitted() and (more or self.warm_start))

    def _options(self, more, **given):
        if self._stops_early() and more:
            raise ValueError("partial_fit does not support early_stopping=True")
        return super()._options(more, sizes=self._hidden_sizes(), **given)

    def _real_type(self, X):
        # The line search needs the digits; scikit-learn's weights are float64 here, too.
        return np.float64 if self.solver == "lbfgs" else data.real_type(X)

    def _fit_option(self, name):
        """What `fit` was given, or else the parameter."""
        return getattr(self, name)

    def _stops_early(self):
        return self.early_stopping and self.solver != "lbfgs"

    def _plan(self, rows, eval_rows, more, *, sizes):
        initial, real = data.real_type(rows.X), self._real_type(rows.X)
        X, y = data.as_type(rows.X, real), rows.y
        weights, exponent = validation.scale_weights(rows.sample_weight, real)
        with np.errstate(over="ignore"):
            alpha = float(np.ldexp(self.alpha, exponent))
        units = [X.shape[1], *sizes, 1 if y.ndim == 1 else y.shape[1]]
        self._random_state = check_random_state(self.random_state)
        loss = self._fit_option("loss")
        if self._resets(more):
            self._initialize(y.reshape(len(y), -1), units, initial)
        self.out_activation_ = self._output(loss)
        self._check_units(units)
        coefs, intercepts = validation.network_weights(self, X.shape[1])
        validation.check_finite_weights(coefs_=coefs, intercepts_=intercepts)
        self.n_outputs_ = units[-1]
        network, rows = self._network(coefs, loss), Rows(X, y, weights)
        theta = np.concatenate([a.ravel() for a in (*coefs, *intercepts)], dtype=real)

        early_stopping, learnt_rows = self._stops_early(), None
        if early_stopping and eval_rows is None:
            stratify = y if hasattr(self, "classes_") and y.shape[1] == 1 else None
            learnt_rows, eval_rows = hold_out(
                rows, self.validation_fraction, self._random_state,
                stratify=stratify,
            )  # fmt: skip
            if len(eval_rows.y) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' "
                    "or the size of your dataset."
                )
        backend, n_threads = backends.current(), threads.available()

        def objective(rows, alpha):
            return NetworkObjective(
                backend, rows.X, self._targets(rows.y, real), rows.sample_weight, network,
                alpha=alpha, n_threads=n_threads,
            )  # fmt: skip

        learnt = objective(rows, alpha)
        validate = score = None
        if eval_rows is not None:
            held_out = objective(eval_rows, 0.0)

            def validate():
                return held_out.value(theta)

            if early_stopping:

                def score():
                    return self._score_at(network, theta, *eval_rows)

        if self.solver == "lbfgs":
            run = QuasiNewton(
                learnt, theta, max_iter=self.max_iter, max_fun=self.max_fun, tol=self.tol
            )
            return Plan(run, self.max_iter, eval_rows, validate=validate)
        self._begin_records(early_stopping)
        run = self._mini_batches(learnt, theta, alpha, learnt_rows, more)
        return Plan(
            run, 1 if more else self.max_iter, eval_rows, self._plateau(early_stopping), validate,
            score, early_stopping,
        )  # fmt: skip

    def _progress(self):
        return (_Progress(every=1),) if self.verbose else ()

    def _hidden_sizes(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        for size in sizes:
            if not isinstance(size, Integral) or isinstance(size, bool) or size <= 0:
                raise ValueError(
                    f"hidden_layer_sizes must be > 0, got {sizes}: expected whole numbers of "
                    "neurons, one for each hidden layer."
                )
        return [int(size) for size in sizes]

    def _check_units(self, units):
        came = [len(coef) for coef in self.coefs_] + [np.shape(self.coefs_[-1])[-1]]
        if came != units:
            raise ValueError(
                f"The fitted network has layers of {came} neurons, but hidden_layer_sizes and "
                f"this data need {units}. Keep them as they were, or fit with warm_start=False."
            )

    def _network(self, coefs, loss):
        output = NETWORK_OUTPUTS[self.out_activation_, loss]
        units = tuple(len(coef) for coef in coefs) + (coefs[-1].shape[1],)
        return Network(units, Hidden[self.activation.upper()], output)

    def _mend(self, rows):
        if self.alpha > 1:
            return f"Or use a smaller alpha (now {self.alpha:.6g})."
        return "" if hasattr(self, "classes_") else "Or scale y."

    def _begin_records(self, early_stopping):
        """What scikit-learn sets at the first fit: a warm start may come from another solver."""
        records = vars(self)
        for name in ("best_loss_", "validation_scores_", "best_validation_score_"):
            records.setdefault(name, None)
        records.setdefault("loss_curve_", [])
        records.setdefault("t_", 0)
        records.setdefault("_no_improvement_count", 0)
        if early_stopping:
            self.validation_scores_ = list(self.validation_scores_ or ())
            if self.best_validation_score_ is None:
                self.best_validation_score_ = -np.inf

    def _score_at(self, network, theta, X, y, weights):
        """Score of the rows held out."""
        answers = self._answers(X, network, theta)
        if not np.isfinite(answers).all():
            return math.nan
        answers = answers.ravel() if answers.shape[1] == 1 else answers
        return float(self._score_of(answers, y, weights))

    def _mini_batches(self, objective, theta, alpha, rows, incremental):
        n = objective.n_rows if rows is None else len(rows)
        batch_size = min(_BATCH_SIZE, n)
        if self.batch_size != "auto":
            if self.batch_size > n:
                warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                    "clipped",
                )
            batch_size = min(self.batch_size, n)
        rule = NetworkConfig(
            Solver.ADAM if self.solver == "adam"
            else Solver.NESTEROV if self.nesterovs_momentum else Solver.MOMENTUM,
            float(self.momentum), float(self.beta_1), float(self.beta_2), float(self.epsilon),
            alpha, int(batch_size),
        )  # fmt: skip
        return MiniBatches(
            objective, theta, rule, learning_rate=float(self.learning_rate_init),
            schedule=self.learning_rate if self.solver == "sgd" else "constant",
            power_t=self.power_t, seen=self.t_, rows=rows,
            random_state=self._random_state if self.shuffle else None,
            optimiser=getattr(self, "_optimizer", None) if incremental else None,
        )  # fmt: skip

    def _plateau(self, early_stopping):
        """scikit-learn's rule, which goes on counting where a fit goes on."""
        best = self.best_loss_ if not early_stopping else -self.best_validation_score_
        return Plateau(
            self.tol, self.n_iter_no_change + 1, math.inf if best is None else best,
            self._no_improvement_count,
        )  # fmt: skip

    def _keep(self, rows, plan, outcome, more):
        run, plateau = plan.run, plan.plateau
        self.coefs_, self.intercepts_ = run.split()
        self.n_iter_ = outcome.n_iter
        if self.solver == "lbfgs":
            if outcome.stop_reason in ("max_iter", "precision"):
                warn(run.unconverged(), ConvergenceWarning)
            return
        self.loss_curve_.extend(outcome.history["loss"].tolist())
        self.t_ = int(run.seen)
        self._optimizer = run.optimiser()
        ended = outcome.stop_reason in ("converged", "early_stopping")
        self._no_improvement_count = self.n_iter_no_change + 1 if ended else plateau.waited
        if self._stops_early():
            self.validation_scores_.extend(outcome.scores.tolist())
            self.best_validation_score_ = -plateau.best
        else:
            self.best_loss_ = plateau.best
        if outcome.stop_reason == "max_iter" and not more:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def _forward_pass_fast(self, X, check_input=True):
        if check_input:
            X = data.check_features(X, estimator=self, reset=False)
        coefs, intercepts = validation.network_weights(self, X.shape[1])
        real = np.result_type(data.real_type(X), *coefs, *intercepts)
        if data.real_type(X) != real:
            X = X.astype(real)
        # Answers are the same for every loss of the output; the parameter may have changed.
        loss = next(loss for output, loss in NETWORK_OUTPUTS if output == self.out_activation_)
        network = self._network(coefs, loss)
        theta = np.concatenate([a.ravel() for a in (*coefs, *intercepts)], dtype=real)
        return self._answers(X, network, theta)

    def _answers(self, X, network, theta):
        backend = backends.current()
        out = np.empty((X.shape[0], network.units[-1]), theta.dtype)
        n_threads = threads.useful(threads.available(), X.shape[0] * len(theta))
        backend.network_predict(backend.prepare(X), network, theta, out, n_threads)
        return out


class MLPClassifier(_SchussNetwork, TrainedByChoice, sklearn_networks.MLPClassifier):
    """A network of neurons that tells classes apart, in place of scikit-learn's.

    Methods and attributes are those of `sklearn.neural_network.MLPClassifier`, and so are
    initial weights and the order of the rows: for the same ``random_state`` the weights are
    the same up to rounding. `fit` takes more, and X of type float16, uint8 or int8 is read as
    it lies and trains float32 weights.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate,\
    learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start,\
    momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,\
    epsilon, n_iter_no_change, max_fun
        Those of `sklearn.neural_network.MLPClassifier`, with its defaults.

    Attributes
    ----------
    history_ : dict of ndarray of shape ``(n_iter_,)``
        For each iteration the loss with its penalty (mini-batches: its mean over the
        epoch), the largest entry of the gradient, the step and the seconds since the
        start: ``loss``, ``gradient_norm``, ``step``, ``seconds``; ``validation_loss`` where
        rows are held out. After `partial_fit` of all calls.
    stop_reason_ : str
        "converged", "max_iter", "early_stopping", "callback", "interrupted" (Ctrl-C), or
        "precision": "lbfgs" no longer improves the loss by 2e-9 of it, while the gradient is
        above `tol`.
    converged_ : bool
        Whether ``stop_reason_`` is "converged" or "early_stopping".
    fit_info_ : dict
        What served the last fit, and what it took: `TrainResult.fit_info`.

    Examples
    --------
    >>> from schuss import MLPClassifier
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> model = MLPClassifier((4,), activation="tanh", solver="lbfgs", random_state=0)
    >>> model.fit(X, y).predict(X)
    array([0, 1, 1, 0])
    """

    # Settable, and kept by `clone`, though not of scikit-learn's constructor.
    class_weight = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; `class_weight` and `loss` too, where they have been set.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
        """
        return {**super().get_params(deep), **self._own_params()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also `class_weight` and `loss`: what `fit` takes where it gets none.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        MLPClassifier
        """
        for name in _OWN_PARAMS.keys() & params.keys():
            setattr(self, name, params.pop(name))
        return super().set_params(**params)

    def _own_params(self):
        return {
            name: getattr(self, name)
            for name, default in _OWN_PARAMS.items()
            if type(getattr(self, name)) is not type(default) or getattr(self, name) != default
        }

    def __sklearn_clone__(self):
        own = self._own_params()
        bare = copy(self).set_params(**_OWN_PARAMS) if own else self
        return _clone_parametrized(bare).set_params(**deepcopy(own))

    partial_fit = available_if(lambda estimator: estimator._check_solver())(
        TrainedByChoice.partial_fit
    )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_classes)
            After ``fit(..., loss="squared_error")`` with several classes the answers of
            the outputs, divided by their sum.
        """
        p = super().predict_proba(X)
        if self.out_activation_ == "logistic" and self._label_binarizer.y_type_ == "multiclass":
            p /= p.sum(axis=1, keepdims=True)
        return p

    # Of the last `fit`; also the factors of the classes.
    _fit_options: dict[str, Any] = {}

    def _options(self, more, *, classes=None, loss=None, class_weight=None, **given):
        if more:
            _check_partial_fit_first_call(self, classes)
        # Where none are given, those of the fit that this one goes on from.
        options = {} if not more and self._resets(False) else dict(self._fit_options)
        given_here = {"loss": loss, "class_weight": class_weight}
        options |= {name: value for name, value in given_here.items() if value is not None}
        self._fit_options = options
        own = {name: self._fit_option(name) for name in _OWN_PARAMS}
        validate_parameter_constraints(_OWN_CONSTRAINTS, own, "MLPClassifier")
        if more and "factors" not in options:
            validation.check_partial_class_weight(own["class_weight"])
        return super()._options(more, **given)

    def _identity(self):
        options = {name: self._fit_option(name) for name in _OWN_PARAMS}
        return {**super()._identity(), **options}

    def _fit_option(self, name):
        return self._fit_options.get(name, getattr(self, name))

    def _knows_classes(self, more):
        if more:
            return hasattr(self, "classes_")
        return False if self._resets(more) else "same"

    def _check_targets(self, X, y, known):
        y = _check_labels(X, y)
        # scikit-learn compares real labels with whole numbers, which may overflow.
        with np.errstate(invalid="ignore"):
            if not known:
                self._label_binarizer = LabelBinarizer().fit(y)
                self.classes_ = self._label_binarizer.classes_
            else:
                if not hasattr(self, "_label_binarizer"):
                    several = type_of_target(y).startswith("multilabel")
                    self._label_binarizer = LabelBinarizer().fit(y if several else self.classes_)
                classes = unique_labels(y)
                if known == "same" and set(classes) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same "
                        "classes as in the previous call to fit. Previously "
                        f"got {self.classes_}, `y` has {classes}"
                    )
                unseen = np.setdiff1d(classes, self.classes_, assume_unique=True)
                if len(unseen):
                    validation.refuse_unseen(unseen, self.classes_)
            if y.ndim == 1:
                self.classes_ = self._label_binarizer.classes_ = validation.own_type(
                    self.classes_, y
                )
            return self._label_binarizer.transform(y).astype(bool)

    def _targets(self, y, real):
        """Codes where a row has one class, else reals."""
        if self._label_binarizer.y_type_ == "multiclass":
            return y.argmax(axis=1).astype(np.uint8 if y.shape[1] <= 256 else np.int32)
        return y[:, 0].astype(np.uint8) if y.shape[1] == 1 else y.astype(real)

    def _output(self, loss):
        several = self._label_binarizer.y_type_ == "multiclass"
        return "softmax" if several and loss == "log_loss" else "logistic"

    def _weigh(self, X, y, weights, more):
        """Sample weights times the factors of the classes; `partial_fit` takes those of `fit`."""
        class_weight = self._fit_option("class_weight")
        if class_weight is None:
            return weights
        several = self._label_binarizer.y_type_ == "multiclass"
        codes = y.argmax(axis=1)[:, None] if several else y.astype(int)
        if not more or "factors" not in self._fit_options:
            self._fit_options["factors"] = self._class_factors(class_weight, y, codes)
        factors = self._fit_options["factors"][np.arange(codes.shape[1]), codes].prod(axis=1)
        return factors if weights is None else factors * weights

    def _class_factors(self, class_weight, y, codes):
        """A row for each column of codes, with the factor of each code."""
        labels = self._label_binarizer.inverse_transform(y)
        if isinstance(class_weight, dict) and labels.ndim == 1:
            return validation.class_factors(class_weight, self.classes_, codes)[None]
        try:
            compute_sample_weight(class_weight, labels)
            factors = np.ones((codes.shape[1], max(2, len(self.classes_))))
            for k, column in enumerate(labels.T if labels.ndim == 2 else [labels]):
                own = class_weight[k] if isinstance(class_weight, list) else class_weight
                factors[k, codes[:, k]] = compute_sample_weight(own, column)
        except (IndexError, ValueError) as error:
            raise ValueError(f"class_weight: {error}") from error
        return factors

    def _score_of(self, answers, y, weights):
        labels = map(self._label_binarizer.inverse_transform, (y, answers))
        return accuracy_score(*labels, sample_weight=weights)


@borrows(MLPClassifier, "Attributes")
class MLPRegressor(_SchussNetwork, Incremental, sklearn_networks.MLPRegressor):
    """A network of neurons for real targets, in place of scikit-learn's.

    Methods and attributes are those of `sklearn.neural_network.MLPRegressor`; what
    `MLPClassifier` says of trajectories and feature types holds here as well.

    Parameters
    ----------
    loss, hidden_layer_sizes, activation, solver, alpha, batch_size,\
    learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose,\
    warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,\
    epsilon, n_iter_no_change, max_fun
        Those of `sklearn.neural_network.MLPRegressor`, with its defaults.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import MLPRegressor
    >>> x = np.linspace(0, 3, 40)[:, None]
    >>> model = MLPRegressor(
    ...     hidden_layer_sizes=(8,), activation="tanh", solver="lbfgs", random_state=0
    ... )
    >>> model.fit(x, np.sin(x[:, 0])).score(x, np.sin(x[:, 0])) > 0.99
    True
    """

    partial_fit = available_if(lambda estimator: estimator._check_solver())(Incremental.partial_fit)

    def _check_targets(self, X, y, known):
        y = validation.check_targets(y, X.shape[0], None, several=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self.loss == "poisson" and len(y) and y.min() < 0:
            raise ValueError(
                f"y holds values down to {y.min():.6g}, but loss='poisson' expects 0 or more. "
                "Shift y, or use loss='squared_error'."
            )
        return y

    def _targets(self, y, real):
        return validation.check_range(y, real)

    def _output(self, loss):
        return "exp" if loss == "poisson" else "identity"

    def _score_of(self, answers, y, weights):
        return r2_score(y, answers, sample_weight=weights)


def _check_labels(X, y):
    """y with a label for each row of X, or several: (n,) or (n, K)."""
    if sp.issparse(y):
        check_structure(y, "y")
    else:
        validation.check_not_scalar(y, f"({X.shape[0]},): one label a row")
        y = y if hasattr(y, "ndim") else np.asarray(y)
        if y.ndim == 1 or y.shape[1:] == (1,):
            return validation.label_array(y, X.shape[0])
    y = _check_y(y, multi_output=True)
    validation.check_rows(y.shape[0], X.shape[0], "y")
    return column_or_1d(y, warn=True) if y.shape[1] == 1 else y
