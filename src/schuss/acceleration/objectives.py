"""The objectives that scikit-learn documents, for `verify=True`."""

import numpy as np
from scipy.special import logsumexp
from sklearn.utils import check_array, compute_sample_weight
from sklearn.utils.extmath import safe_sparse_dot


def _modified_huber(m):
    return np.where(m >= -1, np.maximum(0, 1 - m) ** 2, -4 * m)


def _huber(r, epsilon):
    return np.where(abs(r) <= epsilon, r * r / 2, epsilon * abs(r) - epsilon * epsilon / 2)


_OF_MARGINS = {
    "hinge": lambda m: np.maximum(0, 1 - m),
    "perceptron": lambda m: np.maximum(0, -m),
    "squared_hinge": lambda m: np.maximum(0, 1 - m) ** 2,
    "log_loss": lambda m: np.logaddexp(0, -m),
    "modified_huber": _modified_huber,
}
_OF_RESIDUALS = {
    "squared_error": lambda r, epsilon: r * r / 2,
    "huber": _huber,
    "epsilon_insensitive": lambda r, epsilon: np.maximum(0, abs(r) - epsilon),
    "squared_epsilon_insensitive": lambda r, epsilon: np.maximum(0, abs(r) - epsilon) ** 2,
}


def both(ours, theirs, arguments):
    """Objectives of two fits of the same class to the same rows.

    For `LogisticRegressionCV` it is the negative best mean score.

    Parameters
    ----------
    ours, theirs : fitted estimators
    arguments : dict
        Of `fit`.

    Returns
    -------
    (float, float)
    """
    X, y, weights = (arguments.get(name) for name in ("X", "y", "sample_weight"))
    if hasattr(ours, "scores_"):
        value = _score
    elif hasattr(ours, "coefs_"):
        value = _network
    elif hasattr(ours, "loss"):
        value = _sgd
    else:
        value = _logistic
    return tuple(float(value(model, X, y, weights)) for model in (ours, theirs))


def _score(model, X, y, weights):
    scores = model.scores_.values() if isinstance(model.scores_, dict) else [model.scores_]
    return -np.mean([np.mean(score, axis=0).max() for score in scores])


def _scores(model, X):
    X = check_array(X, accept_sparse="csr", dtype=np.float64)
    coef = np.atleast_2d(np.asarray(model.coef_, np.float64))
    return safe_sparse_dot(X, coef.T) + model.intercept_


def _logistic(model, X, y, weights):
    z = _scores(model, X)
    codes = np.searchsorted(model.classes_, y)
    if z.shape[1] == 1:
        losses = np.logaddexp(0, z[:, 0]) - np.where(codes == 1, z[:, 0], 0)
    else:
        losses = logsumexp(z, axis=1) - z[np.arange(len(z)), codes]
    C = model.C
    share = {"l1": 1.0, "l2": 0.0}.get(model.penalty, model.l1_ratio or 0.0)
    coef = np.asarray(model.coef_, np.float64)
    if model.solver == "liblinear" and model.fit_intercept:
        coef = np.append(coef, model.intercept_ / model.intercept_scaling)
    penalty = (1 - share) / 2 * np.sum(coef**2) + share * np.abs(coef).sum()
    if model.penalty is None or np.isinf(C):
        C, penalty = 1.0, 0.0
    return C * (_row_weights(model, y, weights) * losses).sum() + penalty


def _row_weights(model, y, weights):
    factors = compute_sample_weight(getattr(model, "class_weight", None), y)
    return factors if weights is None else factors * np.asarray(weights)


def _sgd(model, X, y, weights):
    z = _scores(model, X)
    weights = _row_weights(model, y, weights)[:, None]
    targets = np.asarray(y)[:, None]
    if hasattr(model, "classes_"):
        positive = model.classes_[1:] if z.shape[1] == 1 else model.classes_
        targets = np.where(targets == positive, 1.0, -1.0)
    if model.loss in _OF_MARGINS:
        losses = _OF_MARGINS[model.loss](targets * z)
    else:
        losses = _OF_RESIDUALS[model.loss](targets - z, model.epsilon)
    share = {"l1": 1.0, "elasticnet": model.l1_ratio}.get(model.penalty, 0.0)
    coef = np.asarray(model.coef_, np.float64)
    penalty = (1 - share) / 2 * np.sum(coef**2) + share * np.abs(coef).sum()
    if model.penalty is None:
        penalty = 0.0
    return (weights * losses).sum() / len(z) + model.alpha * penalty


def _network(model, X, y, weights):
    # Not at the top, where sklearn.neural_network may be half imported.
    from sklearn.neural_network._base import LOSS_FUNCTIONS

    if hasattr(model, "classes_"):
        y = model._label_binarizer.transform(y).astype(np.float64)
    y = np.asarray(y, np.float64).reshape(len(y), -1)
    name = "binary_log_loss" if model.out_activation_ == "logistic" else model.loss
    weights = None if weights is None else np.asarray(weights, np.float64)
    total = len(y) if weights is None else weights.sum()
    squares = sum(float(np.sum(np.square(coef, dtype=np.float64))) for coef in model.coefs_)
    answers = np.asarray(model._forward_pass_fast(X), np.float64)
    return LOSS_FUNCTIONS[name](y, answers, weights) + model.alpha / 2 * squares / total
