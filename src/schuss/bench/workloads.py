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


def _train(name, epochs, dtype="float32", **parameters):
    task = _PROBLEMS[name].load(dtype)

    def call():
        result = schuss.train(
            task.X, task.codes, loss=task.loss, learning_rate=task.learning_rate,
            epochs=epochs, tol=0.0, n_jobs=1, **parameters,
        )  # fmt: skip
        # An intercept that is a Python number would make it float64, and held to that.
        return np.append(result.coef, result.intercept).astype(result.coef.dtype)

    return call


def _predict(name):
    task = _PROBLEMS[name].load()
    model = schuss.SigmoidClassifier(
        loss="log_loss", learning_rate=task.learning_rate, max_iter=3, tol=0.0, n_jobs=1
    )
    model.fit(task.X, task.codes)
    return lambda: model.predict_proba(task.X)


bench_train_4x2 = _train("4x2", 20_000)
bench_train_100x2 = _train("100x2", 10_000)
bench_train_breast_cancer = _train("breast-cancer", 2000)
bench_train_breast_cancer_float64_nesterov = _train(
    "breast-cancer", 1000, "float64", solver="nesterov"
)
bench_train_digits = _train("digits", 500)
bench_train_digits_uint8 = _train("digits", 200, "uint8")
bench_train_20000x100 = _train("20000x100", 20)
bench_predict_20000x100 = _predict("20000x100")
