"""Wrappers around methods of scikit-learn's classes."""

import copy
import functools
import inspect
import sys
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.utils import check_random_state

import schuss
from schuss.acceleration import FallbackError, objectives, states

# Attributes that a subclass may override without a change of its fit.
_HARMLESS = {
    "__init__", "__module__", "__doc__", "__dict__", "__weakref__", "__qualname__",
    "__annotations__", "__firstlineno__", "__static_attributes__", "__abstractmethods__",
    "__orig_bases__", "__parameters__", "__repr__", "__str__", "__sklearn_tags__", "_abc_impl",
    "_repr_html_", "_doc_link_module", "_doc_link_template", "_estimator_type", "_more_tags",
    "set_fit_request", "set_partial_fit_request", "set_score_request", "set_predict_request",
    "set_predict_proba_request", "set_decision_function_request", "fit", "partial_fit",
    "fit_predict", "fit_transform",
}  # fmt: skip
_PREDICTIONS = {"predict", "predict_proba", "predict_log_proba", "decision_function", "score"}
# Methods that predictions depend on.
_OF_PREDICTIONS = {
    "predict", "predict_proba", "predict_log_proba", "decision_function", "_predict_proba_lr",
    "_predict", "_forward_pass_fast",
}  # fmt: skip

_OWN = object()  # an estimator of schuss


class _Served(NamedTuple):
    """How one class of scikit-learn is served."""

    state: type[states.State]
    predictions: tuple[str, ...] = ()


_LOGISTIC = ("decision_function", "predict", "predict_proba", "predict_log_proba")
_SERVED = {
    "LogisticRegression": _Served(states.Logistic, _LOGISTIC),
    "LogisticRegressionCV": _Served(states.LogisticCV, _LOGISTIC),
    "SGDClassifier": _Served(states.SGDClassifier),
    "SGDRegressor": _Served(states.SGDRegressor),
    "Perceptron": _Served(states.SGDClassifier),
    "MLPClassifier": _Served(states.Network, ("predict", "predict_proba", "predict_log_proba")),
    "MLPRegressor": _Served(states.Network, ("predict",)),
}

# The attribute that each wrapper replaced; None if it was inherited.
_wrapped: dict[tuple[type, str], Any] = {}


def wrap(theirs, settings, report):
    """Wrap the methods of a class of scikit-learn.

    Parameters
    ----------
    theirs : type
    settings : schuss.acceleration.Settings
    report : schuss.acceleration.report.Report
    """
    served = _SERVED[theirs.__name__]
    ours = functools.cache(lambda: getattr(schuss, theirs.__name__))
    _put(theirs, "fit", _fit, ours, served.state, settings, report)
    for name in served.predictions:
        _put(theirs, name, _prediction, ours, settings, report)


def unwrap_all():
    """Remove all wrappers."""
    for (theirs, name), own in _wrapped.items():
        if own is None:
            delattr(theirs, name)
        else:
            setattr(theirs, name, own)
    _wrapped.clear()


def _put(theirs, name, make, *options):
    original = inspect.getattr_static(theirs, name)
    # An inherited method may be wrapped, too.
    original = getattr(original, "_schuss_original", original)
    method: Any = functools.wraps(original)(make(theirs, name, original, *options))
    method._schuss_original = original
    _wrapped[theirs, name] = vars(theirs).get(name)
    setattr(theirs, name, method)


# ----- fits ---------------------------------------------------------------------------


def _fit(theirs, name, original, ours, state, settings, report):
    parameters = list(inspect.signature(original).parameters.values())[1:]
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    takes_more = len(names) < len(parameters)
    refusal: Any = functools.cache(lambda cls: _refusal(cls, theirs, state.calls))

    def refusal_of_call(estimator, args, kwargs):
        if "_skl_callbacks" in vars(estimator) and not state.tells_callbacks:
            return "callbacks of scikit-learn"
        twice = kwargs.keys() & names[: len(args)]
        if len(args) > len(names) or twice or not (takes_more or kwargs.keys() <= set(names)):
            return "not the arguments of scikit-learn's method"
        return state.refusal(estimator) or _refusal_of_config()

    def fit(self, *args, **kwargs):
        reason = refusal(type(self))
        if reason is _OWN:
            return original(self, *args, **kwargs)
        begin = perf_counter()
        reason = reason or refusal_of_call(self, args, kwargs)
        values = None
        if reason is None:
            arguments = dict(zip(names, args, strict=False)) | kwargs
            plain = _twin(self) if settings.verify else None
            reason = _try_fit(self, ours(), state, arguments)
            seconds = perf_counter() - begin
            if reason is None and plain is not None:
                original(plain, *args, **kwargs)
                values = objectives.both(self, plain, arguments)
        if reason is not None:
            with _strictly(self, theirs, name, reason, settings):
                original(self, *args, **kwargs)
            seconds = perf_counter() - begin
        _tell(report, settings, self, name, seconds, reason, values)
        return self

    return fit


def _try_fit(estimator, ours, state, arguments):
    """Fit, or return the reason of a failure, which leaves estimator and generator unchanged."""
    before: Any = None
    generator: Any = None
    try:
        random_state = vars(estimator).get("random_state", 0)
        if not isinstance(random_state, (int, np.integer)):
            generator = check_random_state(random_state)
            before = generator.get_state()
        _fit_by_ours(estimator, ours, state, arguments)
    except Exception as error:
        if before is not None:
            generator.set_state(before)
        return _words(error)
    return None


def _fit_by_ours(estimator, ours, state, arguments):
    work = _copy(estimator, ours)
    X = _features(arguments["X"], state.widened)
    work.fit(**{**arguments, "X": X})
    if vars(work).get("stop_reason_") == "interrupted" and not state.keeps_interrupted(work):
        raise KeyboardInterrupt
    if state.weights(work).dtype == np.float32 and not _is_float32(X):
        raise TypeError(f"features of {type(X).__name__} would train float32 weights")
    state.finish(work, X, arguments["y"])
    fitted = vars(estimator)
    for name in state.names:
        if name in vars(work):
            fitted[name] = vars(work)[name]
        else:
            fitted.pop(name, None)


@contextmanager
def _strictly(estimator, theirs, method, reason, settings):
    before = vars(estimator).copy()
    yield
    if settings.strict:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise FallbackError(
            f"{theirs.__name__}.{method} would fall back to scikit-learn's: {reason}"
        )


# ----- predictions --------------------------------------------------------------------


def _prediction(theirs, name, original, ours, settings, report):
    refusal: Any = functools.cache(lambda cls: _refusal_of_predictions(cls, theirs))

    def predict(self, X):
        reason = refusal(type(self))
        if reason is _OWN:
            return original(self, X)
        begin = perf_counter()
        reason = reason or _refusal_of_config()
        if reason is None:
            view = object.__new__(ours())
            view.__dict__ = vars(self)
            try:
                answer = getattr(view, name)(_features(X))
            except Exception as error:
                reason = _words(error)
        if reason is not None:
            with _strictly(self, theirs, name, reason, settings):
                answer = original(self, X)
        _tell(report, settings, self, name, perf_counter() - begin, reason)
        return answer

    return predict


# ----- what both have in common ---------------------------------------------------------


def _copy(estimator, cls):
    work = object.__new__(cls)
    vars(work).update(vars(estimator))
    return work


def _twin(estimator):
    """A copy that will draw the same random numbers."""
    twin = copy.deepcopy(estimator)
    if vars(twin).get("random_state", 0) is None:
        twin.random_state = copy.deepcopy(check_random_state(None))
    return twin


def _subclasses(cls, theirs):
    """Classes of the MRO before `theirs`; None if one is from schuss."""
    mro = cls.__mro__
    above = mro[: mro.index(theirs)]
    return None if any(c.__module__.partition(".")[0] == "schuss" for c in above) else above


def _refusal(cls, theirs, calls):
    above = _subclasses(cls, theirs)
    if above is None:
        return _OWN
    allowed = _HARMLESS | (_PREDICTIONS - calls)
    for c in above:
        for name in vars(c):
            if name not in allowed and hasattr(theirs, name):
                return f"{c.__name__} defines {name}"
    return None


def _refusal_of_predictions(cls, theirs):
    above = _subclasses(cls, theirs)
    if above is None:
        return _OWN
    for c in above:
        if changed := _OF_PREDICTIONS & vars(c).keys():
            return f"{c.__name__} defines {min(changed)}"
    return None


def _words(error):
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.150}"


def _refusal_of_config():
    return "array_api_dispatch" if get_config()["array_api_dispatch"] else None


def _features(X, widened=states.State.widened):
    """X in a type that trains weights of scikit-learn's type."""
    if isinstance(X, np.ndarray) or sp.issparse(X):
        small = X.dtype in widened
    else:
        # A frame of pandas.
        small = hasattr(X, "iloc") and {*X.dtypes} <= widened
    return X.astype(np.float64) if small else X


def _is_float32(X):
    if hasattr(X, "dtype"):
        return X.dtype == np.float32
    # Of a data frame.
    return hasattr(X, "dtypes") and all(str(dtype).lower() == "float32" for dtype in X.dtypes)


def _tell(report, settings, estimator, method, seconds, reason, values=None):
    name = type(estimator).__name__
    report.add(name, method, seconds, reason, values)
    if settings.verbose:
        outcome = "served" if reason is None else f"fell back to scikit-learn: {reason}"
        print(f"schuss: {name}.{method} {outcome}, {seconds * 1e3:.3g} ms", file=sys.stderr)
