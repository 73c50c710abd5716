"""What the gate compares between two builds: the calls that users make.

Only public names are used here, so that the file runs with older builds too; it is loaded
by its path, and with it the problems, whatever the build in the process has of them.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

import schuss


def _sibling(name):
    spec = importlib.util.spec_from_file_location(
        f"_gate_{name}", Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_PROBLEMS = _sibling("problems").PROBLEMS


def _train(name, epochs, dtype="float32", order="C", **parameters):
    task = _PROBLEMS[name].load(dtype, order)

    def call():
        result = schuss.train(
            task.X, task.codes, loss=task.loss, learning_rate=task.learning_rate,
            epochs=epochs, tol=0.0, n_jobs=1, **parameters,
        )  # fmt: skip
        # An intercept that is a Python number would make it float64, and held to that.
        return np.append(result.coef, result.intercept).astype(result.coef.dtype)

    return call


def _predict(name, dtype="float32"):
    task = _PROBLEMS[name].load(dtype)
    model = schuss.SigmoidClassifier(
        loss="log_loss", learning_rate=task.learning_rate, max_iter=3, tol=0.0, n_jobs=1
    )
    model.fit(task.X, task.codes)
    return lambda: model.predict_proba(task.X)


# About a millisecond each: callgrind takes fifty times as long.
bench_train_4x2 = _train("4x2", 15_000)
bench_train_100x2 = _train("100x2", 8000)
bench_train_breast_cancer = _train("breast-cancer", 800)
bench_train_breast_cancer_float64_nesterov = _train(
    "breast-cancer", 400, "float64", solver="nesterov"
)
bench_train_digits = _train("digits", 100)
bench_train_digits_float64_F = _train("digits", 50, "float64", "F")
bench_train_digits_uint8 = _train("digits", 80, "uint8")
bench_train_digits_float16_F = _train("digits", 50, "float16", "F")
bench_train_20000x100 = _train("20000x100", 5)
bench_train_sparse = _train("small-sparse", 5)
bench_predict_20000x100 = _predict("20000x100")
bench_predict_digits_uint8 = _predict("digits", "uint8")
