"""Models that leave: to ONNX, to scikit-learn and back, and a neuron as C, SQL or a formula.

ONNX needs ``pip install "schuss[export]"``; the rest needs nothing besides the core.
"""

import copy
import json
import math
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import LogisticRegression as _LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from schuss import validation
from schuss.files import PathLike, write_whole
from schuss.losses import LOSSES

__all__ = ["from_sklearn", "to_c", "to_formula", "to_onnx", "to_sklearn", "to_sql"]

# Of the operators, and of those of machine learning (OneHotEncoder).
_OPSET, _ML_OPSET = 18, 3
_IR_VERSION = 9

# Our classes by the names that they share with scikit-learn's, and where those are.
_SHARED = {
    "LogisticRegression": ("schuss.linear", "sklearn.linear_model"),
    "LogisticRegressionCV": ("schuss.linear", "sklearn.linear_model"),
    "Perceptron": ("schuss.linear", "sklearn.linear_model"),
    "SGDClassifier": ("schuss.linear", "sklearn.linear_model"),
    "SGDRegressor": ("schuss.linear", "sklearn.linear_model"),
    "MLPClassifier": ("schuss.network", "sklearn.neural_network"),
    "MLPRegressor": ("schuss.network", "sklearn.neural_network"),
}


# ---------------------------------------------------------------- scikit-learn


def to_sklearn(model: Any) -> Any:
    """The same fitted model of scikit-learn's class, which needs no schuss.

    Parameters
    ----------
    model : estimator of schuss, or sklearn.pipeline.Pipeline with one at its end
        Fitted.

    Returns
    -------
    estimator of scikit-learn
        Of the class of the same name, with the same parameters and fitted attributes. A
        `SigmoidClassifier` becomes a ``LogisticRegression``, of several classes a
        ``OneVsRestClassifier`` of them, a `SigmoidRegressor` a ``TransformedTargetRegressor``:
        they predict the same, but cannot be fitted on.

    See Also
    --------
    from_sklearn : The way back.

    Examples
    --------
    >>> from schuss import LogisticRegression
    >>> from schuss.export import from_sklearn, to_sklearn
    >>> model = LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 0, 1])
    >>> type(to_sklearn(model)).__module__
    'sklearn.linear_model._logistic'
    >>> bool((from_sklearn(to_sklearn(model)).coef_ == model.coef_).all())
    True
    """
    if isinstance(model, Pipeline):
        return _last_replaced(model, to_sklearn)
    name = type(model).__name__
    check_is_fitted(model)
    if name in ("SigmoidClassifier", "SigmoidRegressor"):
        return _neuron_to_sklearn(model)
    if (
        name == "MLPClassifier"
        and model.out_activation_ == "logistic"
        and model._label_binarizer.y_type_ == "multiclass"
    ):
        raise ValueError(
            "model is a network of several classes with loss='squared_error', whose probabilities "
            "scikit-learn's class does not have; expected loss='log_loss'. Use to_onnx."
        )
    return _as_class(model, _counterpart(model, 0))


def from_sklearn(model: Any) -> Any:
    """The same fitted model of our class of the same name.

    Parameters
    ----------
    model : estimator of scikit-learn, or sklearn.pipeline.Pipeline with one at its end
        One of ``LogisticRegression``, ``LogisticRegressionCV``, ``Perceptron``,
        ``SGDClassifier``, ``SGDRegressor``, ``MLPClassifier`` and ``MLPRegressor``, fitted.

    Returns
    -------
    estimator of schuss

    See Also
    --------
    to_sklearn : Has an example.
    """
    if isinstance(model, Pipeline):
        return _last_replaced(model, from_sklearn)
    check_is_fitted(model)
    return _as_class(model, _counterpart(model, 1))


def _last_replaced(pipeline, convert):
    steps = list(pipeline.steps)
    steps[-1] = steps[-1][0], convert(steps[-1][1])
    return Pipeline(steps, memory=pipeline.memory, verbose=pipeline.verbose)


def _counterpart(model, place):
    """The class of the same name in the other library; `place` is the model's own."""
    name, module = type(model).__name__, type(model).__module__
    own = ("schuss", "sklearn")[place]
    if name not in _SHARED or module.partition(".")[0] != own:
        raise TypeError(
            f"model is a {module}.{name}; expected one of {own}'s {', '.join(_SHARED)}"
            + (", SigmoidClassifier, SigmoidRegressor" if place == 0 else "")
            + ", or a Pipeline with one at its end."
        )
    return getattr(import_module(_SHARED[name][1 - place]), name)


def _as_class(model, cls):
    """A copy of another class, with all attributes."""
    new = cls(**model.get_params(deep=False))
    vars(new).update(copy.deepcopy(vars(model)))
    return new


def _neuron_to_sklearn(model):
    _refuse_other_probabilities(model)
    coef, intercept = validation.linear_weights(model, model.n_features_in_)

    def fitted(new, **attributes):
        names = getattr(model, "feature_names_in_", None)
        attributes |= {} if names is None else {"feature_names_in_": names}
        vars(new).update(n_features_in_=model.n_features_in_, **attributes)
        return new

    if not is_classifier(model):
        linear = fitted(LinearRegression(), coef_=coef[0], intercept_=float(intercept[0]))
        return fitted(
            TransformedTargetRegressor(linear, inverse_func=expit, check_inverse=False),
            regressor_=linear, _training_dim=1,
            transformer_=FunctionTransformer(inverse_func=expit, check_inverse=False).fit(
                np.zeros((1, 1))
            ),
        )  # fmt: skip
    n_iter = np.array([model.n_iter_], np.int32)

    def neuron(k, classes):
        return fitted(
            _LogisticRegression(C=np.inf), coef_=coef[k : k + 1].copy(), classes_=classes,
            intercept_=intercept[k : k + 1].copy(), n_iter_=n_iter,
        )  # fmt: skip

    if len(model.classes_) == 2:
        return neuron(0, model.classes_)
    return fitted(
        OneVsRestClassifier(_LogisticRegression(C=np.inf)),
        estimators_=[neuron(k, np.array([0, 1])) for k in range(len(coef))],
        classes_=model.classes_,
        label_binarizer_=LabelBinarizer(sparse_output=True).fit(model.classes_),
    )  # fmt: skip


def _refuse_other_probabilities(model):
    loss = getattr(model, "loss", "log_loss")
    if loss in LOSSES and LOSSES[loss].probabilities is not None:
        raise ValueError(
            f"model has loss={loss!r}, whose probabilities are not the logistic function's; "
            "expected another loss."
        )


# ---------------------------------------------------------------- one neuron


def to_c(model: Any, name: str = "predict") -> str:
    """A neuron as one function in C99.

    Parameters
    ----------
    model : SigmoidClassifier, SigmoidRegressor, LogisticRegression, ...
        Fitted, of two classes, or a regressor.
    name : str, default="predict"
        Name of the function.

    Returns
    -------
    str
        Source of ``double name(const double *x)``, which returns the probability of
        ``classes_[1]``, or what `predict` of a regressor returns, for the features in order.

    Examples
    --------
    >>> from schuss import SigmoidRegressor
    >>> from schuss.export import to_c
    >>> model = SigmoidRegressor(max_iter=1).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> print(to_c(model))
    #include <math.h>
    <BLANKLINE>
    /* x0 */
    double predict(const double *x)
    {
        double z = ...;
        z += ... * x[0];
        return z < 0 ? exp(z) / (1 + exp(z)) : 1 / (1 + exp(-z));
    }
    <BLANKLINE>
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError(f"name={name!r}: expected a name of C: letters, digits and underscores.")
    weights, bias, logistic, features = _neuron(model)
    described = ", ".join(features).replace("*/", "* /").replace("\n", " ")
    terms = "".join(f"    z += {w!r} * x[{j}];\n" for j, w in enumerate(weights) if w)
    answer = "z < 0 ? exp(z) / (1 + exp(z)) : 1 / (1 + exp(-z))" if logistic else "z"
    return (
        f"#include <math.h>\n\n/* {described} */\ndouble {name}(const double *x)\n{{\n"
        f"    double z = {bias!r};\n{terms}    return {answer};\n}}\n"
    )


def to_sql(model: Any, columns: list[str] | None = None) -> str:
    """A neuron as one expression of standard SQL.

    Parameters
    ----------
    model : SigmoidClassifier, SigmoidRegressor, LogisticRegression, ...
        Fitted, of two classes, or a regressor.
    columns : list of str, default=None
        Names of the columns, those of the features in order; None: ``feature_names_in_``, else
        "x0", "x1", and so on.

    Returns
    -------
    str
        Probability of ``classes_[1]``, or what `predict` of a regressor returns. NULL where a
        column is.

    Examples
    --------
    >>> from schuss import LogisticRegression
    >>> from schuss.export import to_sql
    >>> model = LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 0, 1])
    >>> model.coef_[:], model.intercept_[:] = 0.5, -1
    >>> to_sql(model, ["age"])
    'CASE WHEN -1.0 + 0.5 * "age" < -700 THEN 0.0 ELSE 1.0 / (1.0 + EXP(-(-1.0 + 0.5 * "age"))) END'
    """
    weights, bias, logistic, features = _neuron(model, columns)
    quoted = ['"' + name.replace('"', '""') + '"' for name in features]
    z = _sum(weights, bias, quoted, exponent="e")
    if not logistic:
        return z
    # Larger exponentials are errors, or infinite, as the system likes it.
    return f"CASE WHEN {z} < -700 THEN 0.0 ELSE 1.0 / (1.0 + EXP(-({z}))) END"


def to_formula(model: Any, cells: list[str] | None = None) -> str:
    """A neuron as one formula of a spreadsheet.

    Parameters
    ----------
    model : SigmoidClassifier, SigmoidRegressor, LogisticRegression, ...
        Fitted, of two classes, or a regressor.
    cells : list of str, default=None
        Cells or names of the features in order; None: "A2", "B2", and so on, for a header in the
        first row.

    Returns
    -------
    str
        Probability of ``classes_[1]``, or what `predict` of a regressor returns, in the English
        notation of Excel, LibreOffice and Google Sheets.

    Examples
    --------
    >>> from schuss import LogisticRegression
    >>> from schuss.export import to_formula
    >>> model = LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 0, 1])
    >>> model.coef_[:], model.intercept_[:] = 0.5, -1
    >>> to_formula(model)
    '=1/(1+EXP(MIN(700,-(-1.0 + 0.5 * A2))))'
    """
    weights, bias, logistic, features = _neuron(model)
    if cells is None:
        cells = [f"{_letters(j)}2" for j in range(len(features))]
    _check_count("cells", cells, features)
    z = _sum(weights, bias, cells, exponent="E")
    return f"=1/(1+EXP(MIN(700,-({z}))))" if logistic else f"={z}"


def _letters(j):
    text = ""
    while j >= 0:
        text = chr(ord("A") + j % 26) + text
        j = j // 26 - 1
    return text


def _sum(weights, bias, names, exponent):
    def number(x):
        return repr(x).replace("e", exponent)

    terms = [number(bias)]
    for w, name in zip(weights, names, strict=True):
        if w:
            terms.append(f"{'-' if w < 0 else '+'} {number(abs(w))} * {name}")
    return " ".join(terms)


def _neuron(model, columns=None):
    """Weights, intercept, whether the logistic function follows, and names of the features."""
    if isinstance(model, Pipeline):
        raise TypeError(
            "model is a Pipeline; expected one neuron. Pass its last step, whose features are "
            "those that the steps before make, or use to_onnx."
        )
    if not hasattr(model, "coef_"):
        check_is_fitted(model)
        raise TypeError(
            f"model is a {type(model).__name__}, no single neuron; expected a linear model. Use "
            "to_onnx."
        )
    name = type(model).__name__
    coef, intercept = validation.linear_weights(model, np.shape(model.coef_)[-1])
    coef = coef.toarray() if hasattr(coef, "toarray") else coef
    if len(coef) > 1:
        raise ValueError(
            f"model has {len(coef)} classes, each with a neuron; expected two classes. Use to_onnx."
        )
    logistic = name == "SigmoidRegressor" or is_classifier(model)
    if logistic:
        _refuse_other_probabilities(model)
        if is_classifier(model) and not hasattr(model, "predict_proba"):
            raise ValueError(
                f"model has loss={getattr(model, 'loss', None)!r} and so no probabilities; "
                "expected a model with predict_proba, such as loss='log_loss'."
            )
        if getattr(model, "loss", None) == "modified_huber":
            raise ValueError("model has loss='modified_huber'; expected loss='log_loss'.")
    weights, bias = [float(w) for w in coef[0]], float(intercept[0])
    if not all(map(math.isfinite, [*weights, bias])):
        raise ValueError("model has weights that are not finite. Fit it anew.")
    names = getattr(model, "feature_names_in_", None)
    names = [f"x{j}" for j in range(len(weights))] if names is None else list(map(str, names))
    if columns is not None:
        _check_count("columns", columns, names)
        names = columns
    return weights, bias, logistic, names


def _check_count(argument, came, features):
    if len(came) != len(features):
        raise ValueError(
            f"{argument} has {len(came)} entries, expected one for each of {len(features)} "
            "features."
        )


# ---------------------------------------------------------------- ONNX


def to_onnx(model: Any, path: PathLike | None = None, *, dtype: Any = None) -> Any:
    """A fitted model, with the preprocessing of a table, as ONNX.

    Parameters
    ----------
    model : estimator of schuss, or sklearn.pipeline.Pipeline
        Fitted. A pipeline holds a `schuss.tables.TablePreprocessor` and an estimator, as files of
        ``schuss train`` do.
    path : str or path-like, default=None
        Where to write the model, too.
    dtype : {"float32", "float64"}, default=None
        Type of the input "X"; None: that of the weights. What is computed is float64.

    Returns
    -------
    onnx.ModelProto
        With the input "X" of shape (n, d), or of a table one input of shape (n, 1) for each
        column, by its name: float64, NaN being missing, or strings, "" being missing. Its outputs
        are "label" (classifiers: of shape (n,); integers, strings, floats or booleans, as
        ``classes_``), "probabilities" of shape (n, n_classes), or "scores", the decision function,
        where there are no probabilities; of regressors "prediction". The metadata hold under
        "schuss" what ``schuss predict`` needs to know.

    Raises
    ------
    TypeError
        For other models.
    ImportError
        Where onnx is not installed: ``pip install "schuss[export]"``.

    Examples
    --------
    >>> from schuss import LogisticRegression
    >>> from schuss.export import to_onnx
    >>> model = LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 0, 1])
    >>> [output.name for output in to_onnx(model).graph.output]
    ['label', 'probabilities']
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f'schuss.export.to_onnx needs onnx: pip install "schuss[export]" ({error})'
        ) from error
    graph = _Graph(onnx)
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    if len(steps) > 2 or (len(steps) == 2 and type(steps[0]).__name__ != "TablePreprocessor"):
        raise TypeError(
            f"model is a Pipeline of {', '.join(type(step).__name__ for step in steps)}; expected "
            "a TablePreprocessor and an estimator of schuss."
        )
    estimator = steps[-1]
    check_is_fitted(estimator)
    facts: dict[str, Any] = {"version": 1, "estimator": type(estimator).__name__}
    if is_classifier(estimator):
        facts["classes"] = [str(label) for label in estimator.classes_]
    if len(steps) == 2:
        X = graph.table(steps[0])
        facts |= {
            "numeric": steps[0].numeric_columns_, "categorical": steps[0].categorical_columns_,
            "target": steps[0].target,
        }  # fmt: skip
    else:
        X = graph.matrix(estimator, dtype)
        names = getattr(estimator, "feature_names_in_", None)
        facts["features"] = None if names is None else list(map(str, names))
    _answer(graph, estimator, X)
    proto = graph.model(facts)
    onnx.checker.check_model(proto)
    if path is not None:
        with write_whole(path) as file:
            file.write(proto.SerializeToString())
    return proto


class _Graph:
    """A graph under way; methods add nodes and return the names of their outputs."""

    def __init__(self, onnx):
        self.onnx, self.helper = onnx, onnx.helper
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.constants: list[Any] = []
        self._n = 0

    def add(self, kind, *inputs, out=None, domain="", **attributes):
        self._n += 1
        out = out or f"v{self._n}"
        self.nodes.append(
            self.helper.make_node(kind, list(inputs), [out], domain=domain, **attributes)
        )
        return out

    def constant(self, values):
        self._n += 1
        name = f"c{self._n}"
        values = np.asarray(values)
        if values.dtype.kind in "UO":
            tensor = self.helper.make_tensor(
                name, self.onnx.TensorProto.STRING, values.shape,
                [str(value).encode() for value in values.ravel()],
            )  # fmt: skip
        else:
            tensor = self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        self.constants.append(tensor)
        return name

    def cast(self, x, kind, **options):
        return self.add("Cast", x, to=getattr(self.onnx.TensorProto, kind), **options)

    def input(self, name, kind, shape):
        kind = getattr(self.onnx.TensorProto, kind)
        self.inputs.append(self.helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, x, name, kind, shape):
        self.add("Identity", x, out=name)
        kind = getattr(self.onnx.TensorProto, kind)
        self.outputs.append(self.helper.make_tensor_value_info(name, kind, shape))

    def model(self, facts):
        graph = self.helper.make_graph(
            self.nodes, "schuss", self.inputs, self.outputs, initializer=self.constants
        )
        opsets = [
            self.helper.make_opsetid("", _OPSET),
            self.helper.make_opsetid("ai.onnx.ml", _ML_OPSET),
        ]
        proto = self.helper.make_model(
            graph, opset_imports=opsets, producer_name="schuss", ir_version=_IR_VERSION
        )
        self.helper.set_model_props(proto, {"schuss": json.dumps(facts)})
        return proto

    # ------------------------------------------------------------ features

    def matrix(self, estimator, dtype):
        """X as float64."""
        weights = estimator.coefs_[0] if hasattr(estimator, "coefs_") else estimator.coef_
        dtype = np.dtype(dtype or getattr(weights, "dtype", np.float64))
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype={dtype.name!r}: expected 'float32' or 'float64'.")
        kind = "FLOAT" if dtype == np.float32 else "DOUBLE"
        return self.cast(self.input("X", kind, [None, estimator.n_features_in_]), "DOUBLE")

    def table(self, preprocessor):
        """What a `TablePreprocessor` makes of the columns of a table, as float64."""
        parts = []
        if preprocessor.numeric_columns_:
            columns = [
                self.input(name, "DOUBLE", [None, 1]) for name in preprocessor.numeric_columns_
            ]
            x = self.add("Concat", *columns, axis=1)
            x = self.add("Where", self.add("IsNaN", x), self.constant(preprocessor.median_), x)
            x = self.add("Sub", x, self.constant(preprocessor.mean_))
            x = self.add("Div", x, self.constant(preprocessor.scale_))
            # As the estimator was trained.
            parts.append(self.cast(self.cast(x, "FLOAT"), "DOUBLE"))
        for name, levels in zip(
            preprocessor.categorical_columns_, preprocessor.categories_, strict=True
        ):
            if "" in levels and None in levels:
                raise ValueError(
                    f"model knows missing values and empty texts of column {name!r}, which are the "
                    "same in ONNX. Train on a table with one of them."
                )
            x = self.add("Reshape", self.input(name, "STRING", [None, 1]), self.constant([-1]))
            hot = self.add(
                "OneHotEncoder", x, domain="ai.onnx.ml", zeros=1,
                cats_strings=["" if level is None else level for level in levels],
            )  # fmt: skip
            parts.append(self.cast(hot, "DOUBLE"))
        return self.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    # ------------------------------------------------------------ formulas

    def affine(self, x, weights, bias):
        """x @ weights + bias."""
        product = self.add("MatMul", x, self.constant(np.asarray(weights, np.float64)))
        return self.add("Add", product, self.constant(np.asarray(bias, np.float64)))

    def log_logistic(self, z):
        """log sigma(z), of any size."""
        one = self.constant(np.float64(1))
        small = self.add("Exp", self.add("Neg", self.add("Abs", z)))
        rest = self.add("Log", self.add("Add", one, small))
        return self.add("Sub", self.add("Min", z, self.constant(np.float64(0))), rest)

    def share(self, p):
        """Rows divided by their sums."""
        return self.add("Div", p, self.add("ReduceSum", p, self.constant([1]), keepdims=1))

    def both(self, p, others):
        return self.add("Concat", others, p, axis=1)

    # ------------------------------------------------------------ answers

    def labels(self, z, classes):
        """Labels of the largest of several columns, or of one above 0."""
        kinds = {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "DOUBLE", "U": "STRING",
                 "O": "STRING"}  # fmt: skip
        kind = kinds[classes.dtype.kind]
        values = classes.astype({"INT64": np.int64, "DOUBLE": np.float64}.get(kind, classes.dtype))
        if len(classes) == 2:
            above = self.add("Greater", z, self.constant(np.float64(0)))
            place = self.add("Reshape", self.cast(above, "INT64"), self.constant([-1]))
        else:
            place = self.add("ArgMax", z, axis=1, keepdims=0)
        label = self.add("Gather", self.constant(values), place, axis=0)
        self.output(label, "label", kind, [None])

    def probabilities(self, p, k):
        self.output(p, "probabilities", "DOUBLE", [None, k])

    def prediction(self, x, k):
        if k == 1:
            x = self.add("Reshape", x, self.constant([-1]))
        self.output(x, "prediction", "DOUBLE", [None] if k == 1 else [None, k])


def _answer(graph, estimator, X):
    """Add the outputs of an estimator."""
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("schuss."):
        raise TypeError(
            f"model is or ends in a {type(estimator).__module__}.{name}; expected an estimator of "
            "schuss. from_sklearn makes one of scikit-learn's."
        )
    if hasattr(estimator, "coefs_"):
        _answer_network(graph, estimator, X)
    elif hasattr(estimator, "coef_"):
        _answer_linear(graph, estimator, X)
    else:
        raise TypeError(f"model is or ends in a {name}; expected a linear model or a network.")


def _answer_linear(graph, estimator, X):
    name = type(estimator).__name__
    _refuse_other_probabilities(estimator)
    n_features = np.shape(estimator.coef_)[-1]
    coef, intercept = validation.linear_weights(estimator, n_features)
    coef = coef.toarray() if hasattr(coef, "toarray") else coef
    z = graph.affine(X, coef.T, intercept)
    if not is_classifier(estimator):
        graph.prediction(graph.add("Sigmoid", z) if name == "SigmoidRegressor" else z, 1)
        return
    classes = estimator.classes_
    graph.labels(z, classes)
    k = len(classes)
    loss = getattr(estimator, "loss", "log_loss")
    if name in ("SGDClassifier", "Perceptron") and loss == "modified_huber":
        graph.probabilities(_modified_huber(graph, z, k), k)
    elif name in ("SGDClassifier", "Perceptron") and loss != "log_loss":
        if k == 2:
            z = graph.add("Reshape", z, graph.constant([-1]))
        graph.output(z, "scores", "DOUBLE", [None] if k == 2 else [None, k])
    elif k == 2:
        p = graph.add("Sigmoid", z)
        graph.probabilities(graph.both(p, graph.add("Sigmoid", graph.add("Neg", z))), k)
    elif name in ("LogisticRegression", "LogisticRegressionCV"):
        graph.probabilities(graph.add("Softmax", z, axis=1), k)
    else:
        # Sigmoids divided by their sum, which may be smaller than any number.
        graph.probabilities(graph.add("Softmax", graph.log_logistic(z), axis=1), k)


def _modified_huber(graph, z, k):
    one, half = graph.constant(np.float64(1)), graph.constant(np.float64(0.5))
    clipped = graph.add("Clip", z, graph.constant(np.float64(-1)), one)
    p = graph.add("Mul", graph.add("Add", clipped, one), half)
    if k == 2:
        return graph.both(p, graph.add("Sub", one, p))
    total = graph.add("ReduceSum", p, graph.constant([1]), keepdims=1)
    none = graph.add("Equal", total, graph.constant(np.float64(0)))
    p = graph.add("Where", none, one, p)
    return graph.share(p)


def _answer_network(graph, estimator, X):
    coefs, intercepts = validation.network_weights(estimator, estimator.n_features_in_)
    hidden = {"identity": "Identity", "logistic": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
    x = X
    for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        x = graph.affine(x, coef, intercept)
        if i < len(coefs) - 1:
            x = graph.add(hidden[estimator.activation], x)
    k = coefs[-1].shape[1]
    output = estimator.out_activation_
    if not is_classifier(estimator):
        graph.prediction(graph.add("Exp", x) if output == "exp" else x, k)
        return
    classes = estimator.classes_
    if estimator._label_binarizer.y_type_ == "multilabel-indicator":
        above = graph.cast(graph.add("Greater", x, graph.constant(np.float64(0))), "INT64")
        graph.output(above, "label", "INT64", [None, k])
        graph.probabilities(graph.add("Sigmoid", x), k)
        return
    graph.labels(x, classes)
    if output == "softmax":
        graph.probabilities(graph.add("Softmax", x, axis=1), k)
    elif k == 1:
        p = graph.add("Sigmoid", x)
        one = graph.constant(np.float64(1))
        graph.probabilities(graph.both(p, graph.add("Sub", one, p)), 2)
    else:
        graph.probabilities(graph.share(graph.add("Sigmoid", x)), k)


# ---------------------------------------------------------------- files of ONNX


class OnnxTable:
    """Columns of a table as a model in ONNX takes them; in place of a preprocessor.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    path : str or path-like
        Named in errors.
    """

    def __init__(self, session, path):
        facts = json.loads(session.get_modelmeta().custom_metadata_map.get("schuss", "{}"))
        self.target, self.classes = facts.get("target"), facts.get("classes")
        given = session.get_inputs()
        self._types = {one.name: one.type for one in given}
        strings = [name for name, kind in self._types.items() if kind == "tensor(string)"]
        others = [name for name in self._types if name not in strings]
        self._matrix = None
        if len(given) == 1 and others and given[0].shape[-1:] != [1]:
            if not facts.get("features"):
                raise ValueError(
                    f"{path}: its input {others[0]!r} is a matrix whose columns have no names; "
                    "expected a model that schuss.export.to_onnx wrote of one fitted on a data "
                    "frame or a table. Use onnxruntime in Python for this one"
                )
            self._matrix, others = others[0], facts["features"]
        self.numeric_columns_, self.categorical_columns_ = others, strings

    def transform(self, table):
        """Inputs of the model, by name."""
        from schuss import tables

        numbers, texts = self.numeric_columns_, self.categorical_columns_
        table = tables.as_table(table, text=texts, numbers=numbers)
        tables._require_columns(table.column_names, [*numbers, *texts], "the model needs it")
        columns = {name: tables._floats(table.column(name))[:, None] for name in numbers}
        for name in texts:
            values = [value or "" for value in table.column(name).to_pylist()]
            columns[name] = np.array(values, object)[:, None]
        if self._matrix is not None:
            columns = {self._matrix: np.hstack(list(columns.values()))}
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        given = _Inputs(
            {name: x.astype(kinds.get(self._types[name], x.dtype)) for name, x in columns.items()}
        )
        given.shape = table.num_rows, len(columns)
        return given


class _Inputs(dict):
    shape: tuple[int, int]


class OnnxModel:
    """A model in ONNX, with the methods that commands call.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    classes : list of str, or None
    """

    def __init__(self, session, classes):
        self._session = session
        outputs = [output.name for output in session.get_outputs()]
        self._answer = next((n for n in ("label", "prediction") if n in outputs), outputs[0])
        if "probabilities" in outputs and classes is not None:
            self.classes_ = np.array(classes)

    def predict(self, X):
        return np.ravel(self._session.run([self._answer], X)[0])

    def predict_proba(self, X):
        return self._session.run(["probabilities"], X)[0]


def read_onnx(path: PathLike) -> tuple[OnnxTable, OnnxModel]:
    """A model in ONNX, for the commands: what makes its inputs of a table, and the model.

    Parameters
    ----------
    path : str or path-like
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f'{path}: ONNX files need onnxruntime: pip install "schuss[export]" ({error})'
        ) from error
    content = Path(path).read_bytes()
    try:
        session = onnxruntime.InferenceSession(content)
    except Exception as error:
        raise ValueError(f"{path}: not a model in ONNX that can be run ({error})") from None
    table = OnnxTable(session, path)
    return table, OnnxModel(session, table.classes)
