"""Conversion of the fitted attributes of schuss to those of scikit-learn."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from schuss.constants import Counter

_COMMON = ("n_features_in_", "feature_names_in_", "n_iter_")
_LINEAR = (*_COMMON, "coef_", "intercept_")


class State:
    """Common to all classes; `work` is a fitted estimator of schuss.

    Attributes
    ----------
    names : tuple of str
        Attributes that scikit-learn's `fit` sets.
    calls : frozenset of str
        Public methods that it calls.
    tells_callbacks : bool
        Whether schuss calls the callbacks of ``set_callbacks``.
    widened : frozenset of dtype
        Types of features that train float32 weights in schuss, float64 in scikit-learn.
    """

    names: tuple[str, ...]
    calls: frozenset[str] = frozenset()
    tells_callbacks = False
    widened = frozenset(map(np.dtype, ("float16", "uint8", "int8")))

    @staticmethod
    def refusal(estimator: Any) -> str | None:
        """Why schuss does not serve a fit; None if it does."""
        return None

    @staticmethod
    def weights(work: Any) -> np.ndarray:
        """One of the arrays of weights."""
        return work.coef_

    @staticmethod
    def keeps_interrupted(work: Any) -> bool:
        """Whether scikit-learn keeps the weights after Ctrl-C."""
        return False

    @staticmethod
    def finish(work: Any, X: Any, y: Any) -> None:
        """Convert or add the attributes that differ."""


class Logistic(State):
    names = (*_LINEAR, "classes_")
    tells_callbacks = True

    @staticmethod
    def refusal(estimator):
        # scikit-learn's own tests expect its answers far from the optimum.
        return 'solver="sag"' if estimator.solver == "sag" else None

    @staticmethod
    def finish(work, X, y):
        if len(work.classes_) > 2:
            work.coef_ = np.asfortranarray(work.coef_)
        # Draw the number that scikit-learn draws, in case the generator is shared.
        if work.solver in ("liblinear", "saga"):
            low = 0 if work.solver == "liblinear" else 1
            check_random_state(work.random_state).randint(low, np.iinfo(np.int32).max)


class LogisticCV(State):
    names = (
        *_LINEAR, "classes_", "Cs_", "l1_ratios_", "coefs_paths_", "scores_", "C_", "l1_ratio_",
    )  # fmt: skip
    widened = State.widened | {np.dtype("float32")}


def _text(classes):
    """Classes as `unique_labels` returns them: text in place of objects."""
    return np.array(classes.tolist()) if classes.dtype == object else classes


class _SGD(State):
    names: tuple[str, ...] = (
        *_LINEAR, "t_", "_standard_coef", "_standard_intercept", "_average_coef",
        "_average_intercept", "_loss_function_",
    )  # fmt: skip

    @staticmethod
    def _widen(work, names):
        """Convert to float64, which single intercepts of scikit-learn always are."""
        wide: dict[int, np.ndarray] = {}
        for name in names:
            own = vars(work).get(name)
            if own is not None:
                # One array under two names stays one array.
                vars(work)[name] = wide.setdefault(id(own), own.astype(np.float64, copy=False))


class SGDClassifier(_SGD):
    names = (*_SGD.names, "classes_", "_expanded_class_weight")
    # On held-out rows, for early stopping.
    calls = frozenset({"score", "predict", "decision_function"})

    @staticmethod
    def finish(work, X, y):
        work.classes_ = _text(work.classes_)
        work._loss_function_ = work._get_loss_function(work.loss)
        averages = vars(work).get("_average_intercept")
        if len(work.classes_) == 2 and (not work.average or work.intercept_ is not averages):
            _SGD._widen(work, ("intercept_", "_standard_intercept"))


class SGDRegressor(_SGD):
    calls = frozenset({"score", "predict"})

    @staticmethod
    def finish(work, X, y):
        names = ("intercept_", "_standard_intercept", "_average_intercept")
        _SGD._widen(work, names)


class Network(State):
    names = (
        *_COMMON, "classes_", "_label_binarizer", "t_", "n_outputs_", "n_layers_",
        "out_activation_", "coefs_", "intercepts_", "_best_coefs", "_best_intercepts", "loss_",
        "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
        "_no_improvement_count", "_optimizer", "_random_state", "_coef_indptr",
        "_intercept_indptr",
    )  # fmt: skip

    @staticmethod
    def weights(work):
        return work.coefs_[0]

    @staticmethod
    def keeps_interrupted(work):
        return work.solver != "lbfgs"

    @staticmethod
    def finish(work, X, y):
        # The result type of features and targets; labels do not count.
        narrow = all(getattr(a, "dtype", None) == np.float32 for a in (X, y))
        real = np.float32 if narrow and not hasattr(work, "classes_") else np.float64
        work.loss_ = real(work.loss_)
        if hasattr(work, "classes_"):
            work.classes_ = work._label_binarizer.classes_ = _text(work.classes_)
        if work.solver == "lbfgs":
            _set_places(work)
            return
        work.loss_curve_[:] = map(real, work.loss_curve_)
        if work.early_stopping:
            work._best_coefs, work._best_intercepts = work.coefs_, work.intercepts_
        else:
            work.best_loss_ = real(work.best_loss_)
        moments = work.coefs_[0].dtype if hasattr(work, "classes_") else real
        work._optimizer = _optimizer(work, work._optimizer, moments)


def _set_places(work):
    """Set the places of each layer in scikit-learn's vector of all weights."""
    end = 0
    work._coef_indptr, work._intercept_indptr = [], []
    for coef in work.coefs_:
        start, end = end, end + coef.size
        work._coef_indptr.append((start, end, coef.shape))
    for intercept in work.intercepts_:
        start, end = end, end + intercept.size
        work._intercept_indptr.append((start, end))


def _optimizer(work, ours, real):
    """Convert the optimiser state, with which `partial_fit` continues."""
    # Not at the top, where sklearn.neural_network may be half imported.
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    parameters = work.coefs_ + work.intercepts_
    ends = np.cumsum([array.size for array in parameters])[:-1]
    slots = [
        [part.reshape(a.shape) for part, a in zip(np.split(slot, ends), parameters, strict=True)]
        for slot in ours.slots.astype(real, copy=False)
    ]  # fmt: skip
    if work.solver == "adam":
        theirs = AdamOptimizer(
            parameters, work.learning_rate_init, work.beta_1, work.beta_2, work.epsilon
        )
        theirs.ms, theirs.vs = slots
        theirs.t = t = int(ours.counters[Counter.STEPS])
        theirs.learning_rate *= np.sqrt(1 - work.beta_2**t) / (1 - work.beta_1**t)
        return theirs
    theirs = SGDOptimizer(
        parameters, work.learning_rate_init, work.learning_rate, work.momentum,
        work.nesterovs_momentum, work.power_t,
    )  # fmt: skip
    theirs.velocities, theirs.learning_rate = slots[0], ours.learning_rate
    return theirs
