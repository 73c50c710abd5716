"""Model files: parameters and fitted attributes in safetensors, without pickle.

A file of `schuss.tensors` holds the arrays, a checksum, and everything else as one document::

    {"format": "schuss-model", "format_version": 2, "schuss_version": "...",
     "models": [{"class": ..., "parameters": {...}, "attributes": {...}}, ...],
     "steps": [names of a pipeline's steps] or None}

with one model, or two: a `schuss.tables.TablePreprocessor` and the estimator behind it. In
it ``{"tensor": name}`` stands for an array, ``{"strings": [...], "dtype": ...}`` for an array
of text, ``{"items": [[key, value], ...]}`` for a dict, ``{"tuple": [...]}`` for a tuple,
``{"float": "inf"}`` for a number that strict JSON has no word for, and ``{"model": ...}`` for a
model within a model. Reading one runs no code but the constructors of the classes in `_SAVED`.
"""

import itertools
import math
import re
import reprlib
from collections.abc import Callable
from importlib import import_module
from types import NoneType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline

from schuss import tensors
from schuss.files import PathLike, check_writable
from schuss.losses import LOSSES

__all__ = ["ModelFileError", "is_model_file", "load", "save"]

FORMAT = "schuss-model"
FORMAT_VERSION = 2

# Of all arrays of text; each takes as much for every entry as for its longest one.
MAX_TEXT_BYTES = 1 << 28

_TEXT_DTYPE = re.compile(r"[<>=|]?(U[0-9]{1,9}|O|T[0-9]{0,3})")
_PUBLIC = re.compile(r"[a-z][a-z0-9_]*_")


class ModelFileError(ValueError):
    """A file that is not a whole model of a version this one knows; says what was found."""


def save(model: Any, path: PathLike) -> None:
    """Write a fitted estimator, or a pipeline of a preprocessor and an estimator, to a file.

    The file is safetensors with JSON metadata. It is written whole or not at all: a file
    that is already there stays as it was until the new one takes its place.

    What the file holds is the model, not the state of its optimiser: after `load`,
    ``partial_fit``, and ``fit`` with ``warm_start``, begin from the same weights with an
    optimiser that remembers nothing (momentum, Adam's averages, order of the rows). `SGDClassifier`
    and `SGDRegressor` have no such state and go on exactly, averages included. To go on exactly
    with the others, pickle the estimator, or pass `checkpoint` to `fit` or `schuss.train`.

    Parameters
    ----------
    model : estimator of schuss, ManyResult, or sklearn.pipeline.Pipeline
        Fitted. A pipeline may hold a `schuss.tables.TablePreprocessor` and one of them. A
        `random_state` that is a generator is saved as None.
    path : str or path-like

    See Also
    --------
    load : Read it back.

    Examples
    --------
    >>> import os, tempfile
    >>> import schuss
    >>> model = schuss.SigmoidClassifier(tol=0).fit([[0.0], [1.0]], ["no", "yes"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     schuss.save(model, path)
    ...     schuss.load(path).predict([[0.9]])
    array(['yes'], dtype='<U3')
    """
    check_writable(path)
    pipeline = isinstance(model, Pipeline)
    names, steps = zip(*model.steps, strict=True) if pipeline else (None, [model])
    arrays = _Arrays()
    described = [_describe(step, f"{i}", arrays) for i, step in enumerate(steps)]
    try:
        _check(names, steps)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"model cannot be saved, as it could not predict: {error}") from error
    tensors.write(
        path,
        arrays.tensors,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "models": described,
            "steps": names,
        },
    )


def load(path: PathLike) -> Any:
    """Read a model that `save` wrote.

    It predicts as the saved one did. Training that goes on from it, by ``partial_fit`` or
    ``warm_start``, keeps the weights and begins anew with everything else that an optimiser
    remembers.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    estimator of schuss, ManyResult, or sklearn.pipeline.Pipeline

    Raises
    ------
    ModelFileError
        If the file is damaged in any byte, cut, or not a model file of a version this one
        knows; names the file and what was found. Files of format version 1 have no checksum.

    See Also
    --------
    save : Has an example.
    """
    document, read = _read(path)
    arrays = _Arrays(read)
    try:
        steps = [_build(description, arrays) for description in document["models"]]
        names = document.get("steps")
        _check(names, steps)
        if names is not None:
            return Pipeline(list(zip(names, steps, strict=True)))
        return steps[0] if len(steps) == 1 else make_pipeline(*steps)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"{path}: a damaged model file ({type(error).__name__}: {error})"
        ) from error


def is_model_file(path):
    """Say whether a file is a model that `load` may try to read.

    Parameters
    ----------
    path : str or path-like
    """
    try:
        _read(path)
    except ModelFileError:
        return False
    return True


def _read(path):
    try:
        return tensors.read(path, FORMAT, FORMAT_VERSION)
    except tensors.TensorFileError as error:
        raise ModelFileError(
            f"{error}; expected a model that schuss.save or schuss train wrote"
        ) from None


class _Arrays:
    """The arrays of a file by name, each once: what was one array before is one after."""

    def __init__(self, tensors=()):
        self.tensors = dict(tensors)
        self._names = {}
        self._text_bytes = 0

    def add(self, array, name):
        if id(array) not in self._names:
            while name in self.tensors:
                name += "_"
            self.tensors[name] = np.asarray(array)
            # The array is kept, so that no other one can have its id.
            self._names[id(array)] = name, array
        return self._names[id(array)][0]

    def text(self, strings, dtype):
        """An array of text, unless those of the file together are too large."""
        self._text_bytes += np.dtype(dtype).itemsize * len(strings)
        if self._text_bytes > MAX_TEXT_BYTES:
            raise ValueError(
                f"arrays of text take more than {MAX_TEXT_BYTES:,} bytes, with {len(strings):,} "
                f"texts of dtype {dtype}; use shorter ones, or an array of objects"
            )
        return np.array(strings, dtype)


# ----- writing ----------------------------------------------------------------------


def _describe(model, prefix, arrays):
    name = type(model).__name__
    saved = _SAVED.get(name)
    if saved is None or saved.module != type(model).__module__:
        raise TypeError(
            f"model is or contains a {type(model).__module__}.{name}; expected "
            f"{', '.join(_SAVED)}, or a Pipeline of them"
        )
    private = _private(model)
    state = getattr(model, "fitted_state", None)
    attributes = {
        key: value for key, value in vars(model).items() if _PUBLIC.fullmatch(key) or key in private
    }
    if state and attributes:
        attributes = state()
    if not any(key in private or _PUBLIC.fullmatch(key) for key in attributes):
        raise NotFittedError(f"this {name} is not fitted yet, so there is nothing to save: fit it")
    # The models of `fit_many` have none.
    parameters = model.get_params(deep=False) if hasattr(model, "get_params") else {}
    if isinstance(parameters.get("random_state"), np.random.RandomState | np.random.Generator):
        parameters["random_state"] = None
    return {
        "class": name,
        "parameters": _encode_named(parameters, f"{prefix}.parameters", arrays),
        "attributes": _encode_named(attributes, prefix, arrays),
    }


def _private(model):
    # Without averages, those of an earlier fit may be left over.
    return _SAVED[type(model).__name__].private if getattr(model, "average", True) else ()


def _encode_named(values, prefix, arrays):
    return {key: _encode(value, f"{prefix}.{key}", arrays) for key, value in values.items()}


def _encode(value, name, arrays):
    if value is None or isinstance(value, bool | int | float | str):
        # np.float64 is a float, np.str_ is a str.
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        return value
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict):
        return {
            "items": [
                [_encode(key, f"{name}.{i}.key", arrays), _encode(item, f"{name}.{key}", arrays)]
                for i, (key, item) in enumerate(value.items())
            ]
        }
    if isinstance(value, np.ndarray | np.generic):
        dtype = value.dtype
        if dtype.kind in "biuf" and dtype.itemsize <= 8:
            return {"tensor": arrays.add(value, name)}
        if value.ndim == 1 and all(isinstance(item, str) for item in value.tolist()):
            return {"strings": arrays.text(value, dtype).tolist(), "dtype": dtype.str}
    if type(value).__name__ in _SAVED:
        return {"model": _describe(value, name, arrays)}
    raise TypeError(
        f"{name} is {value!r} of type {type(value).__name__}, which a model file cannot hold; "
        "expected numbers, text, or arrays, lists and dicts of them"
    )


# ----- reading ----------------------------------------------------------------------


def _build(description, arrays):
    name = description["class"]
    if name not in _SAVED:
        raise ValueError(f"class {name!r}; expected one of {', '.join(_SAVED)}")
    saved = _SAVED[name]
    cls = getattr(import_module(saved.module), name)
    if name == "ManyResult":
        return cls(**_decode_named(description["attributes"], arrays))
    model = cls(**_decode_named(description["parameters"], arrays))
    private = _private(model)
    attributes = _decode_named(description["attributes"], arrays)
    if hasattr(model, "set_fitted_state"):
        saved.check(SimpleNamespace(**attributes))
        model.set_fitted_state(attributes)
        return model
    for key, value in attributes.items():
        if key not in private and (not _PUBLIC.fullmatch(key) or hasattr(cls, key)):
            raise ValueError(f"attribute {key!r}")
        setattr(model, key, value)
    return model


def _decode_named(values, arrays):
    return {key: _decode(value, arrays) for key, value in values.items()}


def _decode(value, arrays):
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"strings", "dtype"}:
        strings, dtype = value["strings"], value["dtype"]
        if not _TEXT_DTYPE.fullmatch(dtype) or not all(isinstance(item, str) for item in strings):
            raise ValueError(f"text of dtype {dtype}")
        return arrays.text(strings, dtype)
    [(kind, content)] = value.items()
    if kind == "tensor":
        array = arrays.tensors[content]
        # () makes a NumPy scalar of an array without dimensions.
        return array if array.ndim else array[()]
    if kind == "items":
        return {_decode(key, arrays): _decode(item, arrays) for key, item in content}
    if kind == "tuple":
        return tuple(_decode(content, arrays))
    if kind == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if kind == "model":
        return _build(content, arrays)
    raise ValueError(f"a value of the kind {kind!r}")


# ----- checks, before saving and after reading --------------------------------------


def _check(names, steps):
    if not 1 <= len(steps) <= 2:
        raise ValueError(f"{len(steps)} models; expected one or two")
    if names is not None and not _are_texts(names):
        raise ValueError(f"names of steps {names!r}")
    for step in steps:
        _check_model(step)
    if len(steps) == 2 and steps[0].n_features_out_ != steps[1].n_features_in_:
        raise ValueError(
            f"the preprocessor makes {steps[0].n_features_out_} features, the estimator "
            f"takes {steps[1].n_features_in_}"
        )


def _check_model(model):
    _SAVED[type(model).__name__].check(model)
    if hasattr(model, "_parameter_constraints"):
        model._validate_params()


def _check_linear(model):
    n_classes = _check_classes(model, 2) if is_classifier(model) else 2
    n_outputs = 1 if n_classes == 2 else n_classes
    n_features = _n_features(model, np.shape(model.coef_)[-1:])
    one = n_outputs == 1
    _check_array("coef_", model.coef_, (n_outputs, n_features), *[(n_features,)] * one)
    _check_array("intercept_", model.intercept_, (n_outputs,), *[()] * one)
    averages = _private(model)
    if any(hasattr(model, name) for name in averages):
        for name in averages:
            like = np.atleast_1d(model.coef_ if name.endswith("coef") else model.intercept_)
            _check_array(name, getattr(model, name), like.shape, *[(like.size,)] * one)
    _check_training(model)


def _check_network(model):
    coefs, intercepts = model.coefs_, model.intercepts_
    if not (isinstance(coefs, list) and isinstance(intercepts, list) and coefs):
        raise ValueError("coefs_ and intercepts_ are no lists of arrays")
    units = [_n_features(model, np.shape(coefs[0])[:1]), *map(np.size, intercepts)]
    shapes = itertools.pairwise(units)
    for coef, intercept, shape in zip(coefs, intercepts, shapes, strict=True):
        _check_array("coefs_", coef, shape)
        _check_array("intercepts_", intercept, shape[1:])
    outputs: tuple[str, ...] = ("identity", "exp")
    n_classes, several = 0, False
    if is_classifier(model):
        n_classes, binarizer = _check_classes(model), model._label_binarizer
        _check_model(binarizer)
        kind = binarizer.y_type_
        several = kind == "multilabel-indicator"
        outputs = ("logistic", "softmax") if kind == "multiclass" else ("logistic",)
        if not np.array_equal(binarizer.classes_, model.classes_):
            raise ValueError("classes_ are not those of _label_binarizer")
        if units[-1] != (1 if kind == "binary" else n_classes):
            raise ValueError(f"{units[-1]} outputs for {n_classes} classes, which are {kind}")
    if model.n_outputs_ != units[-1] or model.out_activation_ not in outputs:
        raise ValueError(
            f"n_outputs_={model.n_outputs_!r}, out_activation_={model.out_activation_!r}; "
            f"expected {units[-1]} and {' or '.join(outputs)}"
        )
    _check_fit_options(getattr(model, "_fit_options", {}), n_classes, several)
    _check_records(model)
    _check_training(model)


def _check_fit_options(options, n_classes, several):
    """What a network's `fit` was told; a regressor's has none of it."""
    names = {"loss", "class_weight", "factors"} if n_classes else set()
    if (
        not isinstance(options, dict)
        or not options.keys() <= names
        or ("class_weight" in options) != ("factors" in options)
        or options.get("loss", "log_loss") not in ("log_loss", "squared_error")
        or not isinstance(options.get("factors", np.ones(0)), np.ndarray)
    ):
        raise ValueError(f"_fit_options={options!r}")
    if "factors" in options:
        rows = n_classes if several else 1
        shapes = (rows, n_classes), (rows, max(2, n_classes))
        _check_array("factors of the classes", options["factors"], *shapes)


def _check_records(model):
    """What a network's mini-batches go on from; each may be missing."""
    for name, kinds in _RECORDS.items():
        records = vars(model)
        if name in records and not isinstance(records[name], kinds):
            raise ValueError(f"{name}={reprlib.repr(records[name])}")


def _check_many(model):
    """The models of `fit_many`."""
    m, k, d = np.shape(model.coef)
    for name, shape in (
        ("coef", (m, k, d)), ("intercept", (m, k)), ("n_iter", (m,)), ("loss", (m,)),
        ("standard_error", (m, k, d)), ("intercept_standard_error", (m, k)),
    ):  # fmt: skip
        array = getattr(model, name)
        if array is None and name.endswith("standard_error"):
            continue
        # Those of models without an optimum are NaN.
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "if":
            raise ValueError(f"{name} is no array of numbers")
        _check_array(name, np.nan_to_num(array), shape)
    names = model.feature_names
    if model.loss_name not in LOSSES or not isinstance(model.fit_intercept, bool):
        raise ValueError(f"loss_name={model.loss_name!r}, fit_intercept={model.fit_intercept!r}")
    if names is not None and not (_are_texts(names.tolist()) and len(names) == d):
        raise ValueError(f"feature_names is no vector of {d} different texts")
    if not (isinstance(model.keys, dict) and _are_texts(list(model.keys)) and "C" in model.keys):
        raise ValueError("keys is no dict of vectors, with C")
    columns = {"stop_reason": model.stop_reason, **model.keys}
    for name, column in columns.items():
        if not isinstance(column, np.ndarray) or column.shape != (m,):
            raise ValueError(f"{name} is no vector of {m} entries")
    if model.classes is not None and np.shape(model.classes) != (2,):
        raise ValueError(f"classes is {model.classes!r}, expected two")


def _check_binarizer(model):
    _check_classes(model)
    several = model.y_type_ == "multilabel-indicator"
    if not (several or model.y_type_ in ("binary", "multiclass")):
        raise ValueError(f"y_type_={model.y_type_!r}")
    if not isinstance(model.sparse_input_, bool) or model.sparse_input_ > several:
        raise ValueError(
            f"sparse_input_={model.sparse_input_!r} of labels that are {model.y_type_}"
        )


def _check_preprocessor(model):
    numeric, categorical = model.numeric_columns_, model.categorical_columns_
    levels = [[level for level in some if level is not None] for some in model.categories_]
    if not all(map(_are_texts, (numeric, categorical, *levels))):
        raise ValueError("names of columns or categories are no lists of different texts")
    for name in ("median_", "mean_", "scale_"):
        _check_array(name, getattr(model, name), (len(numeric),))
    if not np.all(model.scale_ > 0):
        raise ValueError("scale_ is not above 0")
    if len(categorical) != len(model.categories_):
        raise ValueError("categories_ does not fit the columns of names")
    n_features = len(numeric) + sum(map(len, model.categories_))
    if n_features != model.n_features_out_:
        raise ValueError(f"n_features_out_ is {model.n_features_out_!r}, not {n_features}")


def _check_images(model):
    if type(model.size_) is not int or not 1 <= model.size_ <= 1024:
        raise ValueError(f"size_={model.size_!r}")
    if type(model.colour) is not bool or model.n_features_out_ != model.size_**2 * (
        3 if model.colour else 1
    ):
        raise ValueError(f"colour={model.colour!r}, n_features_out_={model.n_features_out_!r}")


def _check_classes(model, least=1):
    classes = model.classes_
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) < least:
        raise ValueError(f"classes_ is {classes!r}, expected a vector of {least} labels or more")
    if len(np.unique(classes)) < len(classes):
        raise ValueError("classes_ has a label twice")
    return len(classes)


def _n_features(model, shape):
    """As the model says; where the weights were set by hand, as they say."""
    n_features = getattr(model, "n_features_in_", *shape)
    if type(n_features) is not int:
        raise ValueError(f"n_features_in_={n_features!r}")
    names = getattr(model, "feature_names_in_", None)
    if names is not None and not (
        isinstance(names, np.ndarray) and len(names) == n_features and _are_texts(names.tolist())
    ):
        raise ValueError(f"feature_names_in_ is no vector of {n_features} different texts")
    return n_features


def _check_training(model):
    """What training goes on from, besides the weights."""
    t = getattr(model, "t_", 0)
    if not (isinstance(t, int | float) and 0 <= t < math.inf):
        raise ValueError(f"t_={t!r}")
    history = getattr(model, "history_", dict.fromkeys(("loss", "seconds"), np.ones(0)))
    columns: list[Any] = list(history.values()) if isinstance(history, dict) else [None]
    if (
        not all(isinstance(column, np.ndarray) and column.dtype.kind == "f" for column in columns)
        or len({column.shape for column in columns}) != 1
        or columns[0].ndim != 1
        or not {"loss", "seconds"} <= history.keys()
    ):
        raise ValueError("history_ is no dict of vectors of one length, with loss and seconds")


def _check_array(name, array, *shapes):
    array = np.asarray(array)
    if array.dtype.kind not in "iuf" or array.shape not in shapes:
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}, expected numbers of shape "
            f"{' or '.join(map(str, shapes))}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")


def _are_texts(values):
    return (
        isinstance(values, list | tuple)
        and all(isinstance(value, str) for value in values)
        and len(set(values)) == len(values)
    )


class _Saved(NamedTuple):
    """What a file holds of a class: the fitted attributes, which end with _, and `private`."""

    module: str
    check: Callable
    private: tuple[str, ...] = ()


_AVERAGES = ("_standard_coef", "_standard_intercept", "_average_coef", "_average_intercept")
_RECORDS = {
    "loss_curve_": (list,),
    "validation_scores_": (list, NoneType),
    "best_loss_": (float, int, NoneType),
    "best_validation_score_": (float, int, NoneType),
    "_no_improvement_count": (int,),
}
_MANY = (
    "coef", "intercept", "n_iter", "loss", "stop_reason", "keys", "classes", "loss_name",
    "fit_intercept", "feature_names", "standard_error", "intercept_standard_error",
)  # fmt: skip
_GOES_ON = ("_fit_options", "_no_improvement_count")
_SAVED = {
    "SigmoidClassifier": _Saved("schuss.neuron", _check_linear),
    "SigmoidRegressor": _Saved("schuss.neuron", _check_linear),
    "LogisticRegression": _Saved("schuss.linear.logistic", _check_linear),
    "Perceptron": _Saved("schuss.linear.sgd", _check_linear),
    "SGDClassifier": _Saved("schuss.linear.sgd", _check_linear, _AVERAGES),
    "SGDRegressor": _Saved("schuss.linear.sgd", _check_linear, _AVERAGES),
    "MLPClassifier": _Saved("schuss.network", _check_network, ("_label_binarizer", *_GOES_ON)),
    "MLPRegressor": _Saved("schuss.network", _check_network, _GOES_ON),
    "ManyResult": _Saved("schuss.many.result", _check_many, _MANY),
    "PixelNetwork": _Saved("schuss.images", _check_network, ("_label_binarizer", *_GOES_ON)),
    "TablePreprocessor": _Saved("schuss.tables", _check_preprocessor),
    "Images": _Saved("schuss.images", _check_images),
    "LabelBinarizer": _Saved("sklearn.preprocessing._label", _check_binarizer),
}
