"""Model files: parameters and fitted attributes in safetensors, without pickle.

A file holds the arrays as tensors and everything else as one JSON document in the metadata
entry `METADATA_KEY`::

    {"format": "schuss-model", "format_version": 1, "schuss_version": "...",
     "models": [{"class": ..., "parameters": {...}, "attributes": {...}}, ...]}

with one model, or two: a `schuss.tables.TablePreprocessor` and the estimator behind it. In
it ``{"tensor": name}`` stands for an array, ``{"strings": [...], "dtype": ...}`` for an array
of text and ``{"items": [[key, value], ...]}`` for a dict. Reading one runs no code but the
constructors of the classes in `SAVED_CLASSES`.
"""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline

from schuss.files import check_writable, write_whole

__all__ = ["ModelFileError", "is_model_file", "load", "save"]

FORMAT = "schuss-model"
FORMAT_VERSION = 1
METADATA_KEY = "schuss"

SAVED_CLASSES = {
    "SigmoidClassifier": "schuss.neuron",
    "SigmoidRegressor": "schuss.neuron",
    "TablePreprocessor": "schuss.tables",
}


class ModelFileError(ValueError):
    """A file that is not a model this version can read; the message says what was found."""


def save(model, path):
    """Write a fitted estimator, or a pipeline of a preprocessor and an estimator, to a file.

    The file is safetensors with JSON metadata. It is written whole or not at all: a file
    that is already there stays as it was until the new one takes its place.

    What the file holds is the model, not the state of its optimiser: after `load`,
    ``partial_fit``, and ``fit`` with ``warm_start``, begin from the same weights with an
    optimiser that remembers nothing (momentum, Adam's averages, order of the rows). To go on
    exactly, pickle the estimator, or pass `checkpoint` to `schuss.train`.

    Parameters
    ----------
    model : SigmoidClassifier, SigmoidRegressor or sklearn.pipeline.Pipeline
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
    tensors = {}
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "schuss_version": _version(),
        "models": [_describe(step, f"{i}", tensors) for i, step in enumerate(steps)],
    }
    content = safetensors_numpy.save(
        tensors, metadata={METADATA_KEY: json.dumps(document, ensure_ascii=False)}
    )
    with write_whole(path) as file:
        file.write(content)


def load(path):
    """Read a model that `save` wrote.

    It predicts as the saved one did. Training that goes on from it, by ``partial_fit`` or
    ``warm_start``, keeps the weights and begins anew with everything else that an optimiser
    remembers.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    SigmoidClassifier, SigmoidRegressor or sklearn.pipeline.Pipeline

    Raises
    ------
    ModelFileError
        If the file is not a whole model file of a version this one knows; names the file
        and what was found.

    See Also
    --------
    save : Has an example.
    """
    path = Path(path)
    document, tensors = _read(path)
    try:
        steps = [_build(description, tensors) for description in document["models"]]
        _check_sizes(steps)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(
            f"{path}: a damaged model file ({type(error).__name__}: {error})"
        ) from error
    return steps[0] if len(steps) == 1 else make_pipeline(*steps)


def is_model_file(path):
    """Say whether a file is a model that `load` may try to read.

    Parameters
    ----------
    path : str or path-like
    """
    try:
        _read(Path(path))
    except ModelFileError:
        return False
    return True


def _version():
    from schuss import __version__

    return __version__


# ----- writing ----------------------------------------------------------------------


def _describe(model, prefix, tensors):
    name = type(model).__name__
    if SAVED_CLASSES.get(name) != type(model).__module__:
        raise TypeError(
            f"model is or contains a {type(model).__module__}.{name}; expected "
            f"{', '.join(SAVED_CLASSES)}, or a Pipeline of them"
        )
    attributes = {
        key: value
        for key, value in vars(model).items()
        if key.endswith("_") and not key.startswith("_")
    }
    if not attributes:
        raise NotFittedError(f"this {name} is not fitted yet, so there is nothing to save: fit it")
    parameters = model.get_params(deep=False)
    if isinstance(parameters.get("random_state"), np.random.RandomState | np.random.Generator):
        parameters["random_state"] = None
    return {
        "class": name,
        "parameters": _encode_named(parameters, f"{prefix}.parameters", tensors),
        "attributes": _encode_named(attributes, f"{prefix}", tensors),
    }


def _encode_named(values, prefix, tensors):
    return {key: _encode(value, f"{prefix}.{key}", tensors) for key, value in values.items()}


def _encode(value, name, tensors):
    if value is None or isinstance(value, bool | int | float | str):
        # np.float64 is a float, np.str_ is a str.
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, list | tuple):
        return [_encode(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            "items": [
                [
                    _encode(key, f"{name}.{i}.key", tensors),
                    _encode(item, f"{name}.{key}", tensors),
                ]
                for i, (key, item) in enumerate(value.items())
            ]
        }
    if isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
        if value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
            # safetensors writes the buffer as it lies.
            native = value.dtype.newbyteorder("=")
            tensors[name] = np.array(value, dtype=native, order="C")
            return {"tensor": name}
        if value.ndim == 1 and all(isinstance(item, str) for item in value.tolist()):
            return {"strings": value.tolist(), "dtype": value.dtype.str}
    raise TypeError(
        f"{name} is {value!r} of type {type(value).__name__}, which a model file cannot hold; "
        "expected numbers, text, or arrays, lists and dicts of them"
    )


# ----- reading ----------------------------------------------------------------------


def _read(path):
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        tensors = safetensors_numpy.load(content)
        # Behind the length of the header, eight bytes, lies the header.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a whole safetensors file ({error}); expected a model that "
            f"schuss.save or schuss train wrote, found {len(content):,} bytes that begin with "
            f"{content[:16]!r}"
        ) from None
    metadata = header.get("__metadata__") or {}
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{path}: a safetensors file of something else (metadata {sorted(metadata)}); "
            "expected a model that schuss.save or schuss train wrote"
        )
    try:
        document = json.loads(metadata[METADATA_KEY])
        found = document["format"], document["format_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: a damaged model file ({error!r})") from None
    if found != (FORMAT, FORMAT_VERSION):
        raise ModelFileError(
            f"{path}: format {found[0]} {found[1]}, written by schuss "
            f"{document.get('schuss_version')}; this is schuss {_version()}, which reads "
            f"{FORMAT} {FORMAT_VERSION}"
        )
    return document, tensors


def _build(description, tensors):
    name = description["class"]
    if name not in SAVED_CLASSES:
        raise ValueError(f"class {name!r}; expected one of {', '.join(SAVED_CLASSES)}")
    cls = getattr(import_module(SAVED_CLASSES[name]), name)
    parameters = _decode_named(description["parameters"], tensors)
    model = cls(**parameters)
    for key, value in _decode_named(description["attributes"], tensors).items():
        if not key.endswith("_") or key.startswith("_"):
            raise ValueError(f"attribute {key!r}")
        setattr(model, key, value)
    return model


def _decode_named(values, tensors):
    return {key: _decode(value, tensors) for key, value in values.items()}


def _decode(value, tensors):
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        # () makes a NumPy scalar of an array without dimensions.
        return tensors[value["tensor"]][()]
    if "strings" in value:
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in "UOT":
            raise ValueError(f"text of dtype {dtype}")
        return np.array(value["strings"], dtype=dtype)
    return {_decode(key, tensors): _decode(item, tensors) for key, item in value["items"]}


def _check_sizes(steps):
    if not 1 <= len(steps) <= 2:
        raise ValueError(f"{len(steps)} models; expected one or two")
    for step in steps:
        if type(step).__name__ == "TablePreprocessor":
            _check_preprocessor(step)
        else:
            _check_estimator(step)
    if len(steps) == 2 and steps[0].n_features_out_ != steps[1].n_features_in_:
        raise ValueError(
            f"the preprocessor makes {steps[0].n_features_out_} features, the estimator "
            f"takes {steps[1].n_features_in_}"
        )


def _check_estimator(estimator):
    coef, n_features = np.asarray(estimator.coef_), estimator.n_features_in_
    n_classes = len(getattr(estimator, "classes_", "01"))
    n_outputs = 1 if n_classes == 2 else n_classes
    if coef.shape not in [(n_outputs, n_features), (n_features,)]:
        raise ValueError(
            f"coef_ of shape {coef.shape} for {n_classes} classes and {n_features} features"
        )
    if np.size(estimator.intercept_) != n_outputs:
        raise ValueError(f"{np.size(estimator.intercept_)} intercepts, expected {n_outputs}")
    if not (np.all(np.isfinite(coef)) and np.all(np.isfinite(estimator.intercept_))):
        raise ValueError("weights that are not finite")


def _check_preprocessor(preprocessor):
    n_numeric = len(preprocessor.numeric_columns_)
    for name in ("median_", "mean_", "scale_"):
        if np.shape(getattr(preprocessor, name)) != (n_numeric,):
            raise ValueError(f"{name} does not fit the {n_numeric} columns of numbers")
    if len(preprocessor.categorical_columns_) != len(preprocessor.categories_):
        raise ValueError("categories_ does not fit the columns of names")
    n_features = n_numeric + sum(map(len, preprocessor.categories_))
    if n_features != preprocessor.n_features_out_:
        raise ValueError(f"n_features_out_ is {preprocessor.n_features_out_}, not {n_features}")
