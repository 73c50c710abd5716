"""Checkpoints: resuming leaves no trace; damage is found, and what is strange refused."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import scipy.sparse as sp

from schuss import (
    MLPClassifier,
    MLPRegressor,
    SGDClassifier,
    SGDRegressor,
    SigmoidClassifier,
    SigmoidRegressor,
    checkpoint,
    tensors,
    threads,
    train,
)
from schuss.constants import Counter
from tests import kills

FORMAT, VERSION = "schuss-checkpoint", 3
OPTIONS = {"solver": "sgd", "random_state": 0, "batch_size": 4}

SIGMOID = {"loss": "log_loss", "max_iter": 30, "tol": 1e-9, "random_state": 0}
SGD = {"max_iter": 30, "random_state": 0}
MLP = {"hidden_layer_sizes": (5,), "max_iter": 30, "random_state": 0, "batch_size": 32}
STOP = {"early_stopping": True, "n_iter_no_change": 6, "tol": 1e-3}

# Estimator, its parameters, and those of `fit` by name.
CASES = {
    **{
        f"neuron {solver}{' early' * early}": (
            SigmoidClassifier, {**SIGMOID, "solver": solver, **(STOP if early else {})}, "",
        )
        for solver in ("gd", "momentum", "nesterov", "adaptive", "adam", "sgd")
        for early in (False, True)
    },
    "neuron eval_set": (SigmoidClassifier, {**SIGMOID, **STOP, "solver": "adam"}, "eval_set"),
    "neuron weights": (SigmoidClassifier, {**SIGMOID, "class_weight": {0: 2, 1: 1, 2: 3}},
                       "sample_weight"),
    "neuron plateau": (SigmoidClassifier, {**SIGMOID, "solver": "sgd", "tol": 0.1}, ""),
    "neuron in order": (SigmoidRegressor, {**SIGMOID, "solver": "sgd", "shuffle": False}, ""),
    "neuron real": (SigmoidRegressor, {**SIGMOID, "solver": "adam", "l1_ratio": 0.5,
                                       "alpha": 1e-3}, "sparse"),
    "sgd": (SGDClassifier, {**SGD, "tol": None}, ""),
    "sgd converges": (SGDClassifier, {**SGD, "tol": 1e-2}, "eval_set"),
    "sgd adaptive": (SGDClassifier, {**SGD, "learning_rate": "adaptive", "eta0": 0.1,
                                     "n_iter_no_change": 2}, "sparse"),
    "sgd averages": (SGDClassifier, {**SGD, "average": 40, "penalty": "l1", "tol": None},
                     "sample_weight"),
    "sgd early": (SGDClassifier, {**SGD, **STOP}, ""),
    "sgd early adaptive": (SGDClassifier, {**SGD, **STOP, "learning_rate": "adaptive",
                                           "eta0": 0.1, "n_iter_no_change": 2}, "eval_set"),
    "sgd real": (SGDRegressor, {**SGD, "tol": None, "average": True}, ""),
    "sgd real early": (SGDRegressor, {**SGD, **STOP, "n_iter_no_change": 9}, ""),
    "sgd in order": (SGDRegressor, {**SGD, "tol": None, "shuffle": False}, "sample_weight"),
    "network adam": (MLPClassifier, MLP, ""),
    "network sgd": (MLPClassifier, {**MLP, "solver": "sgd", "momentum": 0.5}, "eval_set"),
    "network adaptive": (MLPClassifier, {**MLP, "solver": "sgd", "learning_rate": "adaptive",
                                         "n_iter_no_change": 2, "tol": 0.05}, ""),
    "network invscaling": (MLPClassifier, {**MLP, "solver": "sgd", "shuffle": False,
                                           "learning_rate": "invscaling"}, "sample_weight"),
    "network early": (MLPClassifier, {**MLP, **STOP}, ""),
    "network early in order": (MLPClassifier, {**MLP, **STOP, "shuffle": False}, "eval_set"),
    "network plateau": (MLPClassifier, {**MLP, "n_iter_no_change": 5, "tol": 0.05}, ""),
    "network options": (MLPClassifier, MLP, "class_weight loss"),
    "network real": (MLPRegressor, MLP, "sparse"),
    "network real early": (MLPRegressor, {**MLP, **STOP, "solver": "sgd"}, ""),
}  # fmt: skip

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training interrupted"),
]


def call_of(name):
    """An estimator's class and parameters, and the arguments of its `fit`."""
    estimator, parameters, options = CASES[name]
    rng = np.random.default_rng(3)
    X = rng.standard_normal((160, 5))
    if "sparse" in options:
        X[abs(X) < 0.7] = 0
    score = X[:, 0] - X[:, 1] + rng.standard_normal(160)
    y = np.digitize(score, [-0.5, 0.5]) if "Classifier" in estimator.__name__ else score
    if estimator is SigmoidRegressor:
        y = 1 / (1 + np.exp(-score))
    given = {
        "eval_set": (X[120:], y[120:]),
        "sample_weight": rng.uniform(0.5, 2, 160),
        "class_weight": "balanced",
        "loss": "squared_error",
    }
    arguments = {key: value for key, value in given.items() if key in options}
    return estimator, parameters, (sp.csr_array(X) if "sparse" in options else X, y), arguments


def flat(value, name=""):
    """What a fitted attribute consists of, by name."""
    if isinstance(value, np.random.RandomState):
        value = value.get_state()
    if isinstance(value, dict | list | tuple):
        keyed = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, part in keyed for k, v in flat(part, f"{name}.{key}").items()}
    return {name: value} if isinstance(value, np.ndarray | int | float | str | None) else {}


def assert_same(one, other):
    one, other = (flat({**vars(model), "fit_info_": None}) for model in (one, other))
    assert one.keys() == other.keys()
    for name, value in one.items():
        if name == "._optimizer.1":
            # Those of the last chunk, as long as that was.
            value[Counter.EPOCHS] = other[name][Counter.EPOCHS] = 0
        if "seconds" not in name:
            np.testing.assert_array_equal(value, other[name], err_msg=name, strict=True)


def ends(how, iterations):
    """A callback that ends a fit."""

    def end(info):
        if info.n_iter >= iterations:
            if how == "error":
                raise ZeroDivisionError
            if how == "interrupt":
                raise KeyboardInterrupt
            return True
        return False

    end.every = 1
    return end


@pytest.mark.parametrize("how", ["error", "interrupt", "stop", "max_iter"])
@pytest.mark.parametrize("name", CASES)
def test_resuming_leaves_no_trace(tmp_path, monkeypatch, name, how):
    monkeypatch.setattr(threads, "MIN_ELEMENTS_PER_THREAD", 100)
    path = tmp_path / "run.ckpt"
    estimator, parameters, rows, arguments = call_of(name)
    monkeypatch.setenv(threads.VARIABLE, "1")
    whole = estimator(**parameters).fit(*rows, **arguments)
    assert whole.n_iter_ > 5
    for iterations, n_threads in ((2, 2), (5, 1)):
        monkeypatch.setenv(threads.VARIABLE, str(n_threads))
        model = estimator(**parameters)
        options = {"checkpoint": path, **arguments}
        if how == "max_iter":
            model.set_params(max_iter=iterations).fit(*rows, **options)
        elif how == "error":
            with pytest.raises(ZeroDivisionError):
                model.fit(*rows, callbacks=ends(how, iterations), **options)
        else:
            model.fit(*rows, callbacks=ends(how, iterations), **options)
        assert len(tensors.read(path, FORMAT, VERSION)[1]["history"]) == iterations
    monkeypatch.setenv(threads.VARIABLE, "2")
    again = estimator(**parameters).fit(*rows, **arguments, checkpoint=path)
    assert_same(whole, again)
    # It has come to its end; other numbers would not change what is left to do.
    content = path.read_bytes()
    if again.stop_reason_ != "max_iter" and name.partition(" ")[2] in ("eval_set", "converges"):
        again = estimator(**{**parameters, "max_iter": 99}).fit(*rows, **arguments, checkpoint=path)
        assert_same(whole, again.set_params(max_iter=parameters["max_iter"]))
    assert_same(whole, estimator(**parameters).fit(*rows, **arguments, checkpoint=path))
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["run.ckpt"]


@pytest.mark.parametrize("name", ["neuron sgd", "sgd", "network adam"])
def test_the_order_of_the_rows_is_in_the_file(tmp_path, name):
    """Of a run without a seed, too, as long as no rows are held out."""
    path = tmp_path / "run.ckpt"
    estimator, parameters, rows, arguments = call_of(name)
    whole = estimator(**parameters).fit(*rows, **arguments)
    first = estimator(**{**parameters, "max_iter": 4})
    first.fit(*rows, **arguments, checkpoint=path)
    parameters = {**parameters, "random_state": None}
    again = estimator(**parameters).fit(*rows, **arguments, checkpoint=path)
    weights = "coefs_" if "network" in name else "coef_"
    for mine, theirs in zip(getattr(whole, weights), getattr(again, weights), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["neuron sgd early", "sgd early", "network early"])
def test_other_rows_held_out_are_refused(tmp_path, name):
    path = tmp_path / "run.ckpt"
    estimator, parameters, rows, _ = call_of(name)
    estimator(**{**parameters, "max_iter": 4}).fit(*rows, checkpoint=path)
    other = estimator(**{**parameters, "random_state": 1})
    with pytest.raises(ValueError, match="belongs to another call: .*(held out|others)"):
        other.fit(*rows, checkpoint=path)


@pytest.mark.parametrize("name", ["neuron sgd", "sgd real", "network options", "network real"])
def test_checkpoints_of_other_calls_are_refused(tmp_path, name):
    path = tmp_path / "run.ckpt"
    estimator, parameters, (X, y), arguments = call_of(name)
    estimator(**{**parameters, "max_iter": 4}).fit(X, y, **arguments, checkpoint=path)
    before = path.read_bytes()

    def refused(message, X=X, y=y, estimator=estimator, arguments=arguments, **changes):
        model = estimator(**{**parameters, **changes})
        with pytest.raises(ValueError, match=f"belongs to another call: {message}"):
            model.fit(X, y, checkpoint=path, **arguments)
        assert not hasattr(model, "n_iter_") and path.read_bytes() == before

    refused(r"alpha was .* there and is 0\.5 here", alpha=0.5)
    refused("X, y or the weights of the rows are others", y=y[::-1].copy())
    refused("X, y or the weights of the rows are others", X=X * 2)
    refused(r"X, y .* of shape \[160, 5\] there and \[160, 4\] here", X=X[:, 1:])
    refused(r"X, y .* of shape \[160, 5\] there and \[159, 5\] here", X=X[1:], y=y[1:])
    held_out = {**arguments, "eval_set": (X[:50], y[:50])}
    refused("it has no rows to validate there and rows to validate here", arguments=held_out)
    refused("X, y or .* for weights of float64 .* float32", X=X.astype(np.float32))
    weights = {**arguments, "sample_weight": np.arange(1.0, 161)}
    refused("X, y or the weights of the rows are others", arguments=weights)
    if "options" in name:
        refused(
            "loss was 'squared_error' there and is 'log_loss' here", arguments={
                "class_weight": "balanced"
            },
        )  # fmt: skip
    if estimator is SGDRegressor:
        start = {"coef_init": np.ones(5)}
        refused("coef_init was None there", arguments=start)
        parameters = {}
        refused("estimator was 'SGDRegressor' there", estimator=SGDClassifier, y=y > 0)


def test_solvers_that_keep_no_state_take_no_checkpoint(tmp_path):
    path = tmp_path / "run.ckpt"
    for name, solver in (
        ("neuron gd", "newton"),
        ("neuron gd", "lbfgs"),
        ("network real", "lbfgs"),
    ):
        estimator, parameters, rows, _ = call_of(name)
        message = f"checkpoint=.* with solver='{solver}': this solver .*Leave checkpoint=None"
        with pytest.raises(ValueError, match=message):
            estimator(**{**parameters, "solver": solver}).fit(*rows, checkpoint=path)
    with pytest.raises(ValueError, match="with solver='lbfgs': this solver"):
        train(np.eye(3), [0, 1, 0], solver="lbfgs", checkpoint=path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["neuron gd", "sgd", "network adam"])
def test_a_checkpoint_that_cannot_be_written_is_told_at_once(tmp_path, name):
    estimator, parameters, rows, _ = call_of(name)
    with pytest.raises(FileNotFoundError, match="^checkpoint: .*the folder .* does not exist"):
        estimator(**parameters).fit(*rows, checkpoint=tmp_path / "no" / "run.ckpt")


def test_a_run_that_diverges_leaves_no_file(tmp_path):
    path = tmp_path / "run.ckpt"
    estimator, parameters, rows, _ = call_of("network sgd")
    model = estimator(**{**parameters, "learning_rate_init": 1e300})
    with pytest.raises(ArithmeticError):
        model.fit(*rows, checkpoint=path)
    assert not path.exists()


def test_long_parameters_are_compared_by_their_digest(tmp_path):
    path = tmp_path / "run.ckpt"
    X = np.random.default_rng(0).standard_normal((10, 400))
    y, start = np.arange(10) % 2, np.linspace(0, 0.01, 400)
    train(X, y, epochs=3, coef_init=start, checkpoint=path)
    assert train(X, y, epochs=5, coef_init=start, checkpoint=path).n_iter == 5
    with pytest.raises(ValueError, match="coef_init was 'sha256:.*' there and is 'sha256:.*' here"):
        train(X, y, epochs=7, coef_init=-start, checkpoint=path)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
@pytest.mark.parametrize("name", ["neuron sgd", "sgd early", "network early"])
def test_a_killed_process_loses_nothing_that_was_written(tmp_path, name):
    path = tmp_path / "run.ckpt"
    script = textwrap.dedent(
        f"""
        import sys, time
        from schuss import checkpoint
        from tests.test_checkpoint import call_of

        checkpoint._PERIOD = 0.0
        estimator, parameters, rows, arguments = call_of({name!r})

        def wait(info):
            print(info.n_iter, flush=True)
            time.sleep(0.05)

        wait.every = 1
        estimator(**parameters).fit(*rows, checkpoint={str(path)!r}, callbacks=wait, **arguments)
        """
    )
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        while process.stdout.readline() not in ("4\n", ""):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = len(tensors.read(path, FORMAT, VERSION)[1]["history"])
    estimator, parameters, rows, arguments = call_of(name)
    whole = estimator(**parameters).fit(*rows, **arguments)
    assert 4 <= done < whole.n_iter_
    assert_same(whole, estimator(**parameters).fit(*rows, **arguments, checkpoint=path))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a child of fork")
@pytest.mark.parametrize("name", ["sgd averages", "neuron adam"])
def test_fits_survive_kills_at_random_moments(tmp_path, monkeypatch, name):
    monkeypatch.setattr(kills, "_MOST_KILLS", 4)
    kills.survive(name, random.Random(0), tmp_path)


def test_files_are_written_at_times_and_at_the_end(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    written = []
    write = tensors.write
    monkeypatch.setattr(checkpoint, "_PERIOD", 0.2)
    monkeypatch.setattr(
        tensors, "write", lambda *args: written.append(time.monotonic()) or write(*args)
    )

    def wait(info):
        time.sleep(0.05)

    wait.every = 1
    train(np.eye(4), [0, 1, 0, 1], epochs=12, checkpoint=path, callbacks=wait)
    assert 2 <= len(written) <= 4 and min(np.diff(written)[:-1], default=1) >= 0.2
    assert len(tensors.read(path, FORMAT, VERSION)[1]["history"]) == 12


@pytest.fixture
def rows():
    X = np.random.default_rng(0).normal(size=(12, 2))
    return X, (X[:, 0] > 0).astype(float)


@pytest.fixture
def path(tmp_path, rows):
    path = tmp_path / "run.ckpt"
    train(*rows, epochs=3, checkpoint=path, **OPTIONS)
    return path


def test_every_changed_byte_and_every_cut_is_found(path, rows):
    content = path.read_bytes()

    def refused():
        with pytest.raises(ValueError, match="is not a checkpoint that this version of schuss"):
            train(*rows, epochs=4, checkpoint=path, **OPTIONS)
        with pytest.raises(tensors.TensorFileError):
            tensors.read(path, FORMAT, VERSION)

    with open(path, "r+b", buffering=0) as file:
        for i, byte in enumerate(content):
            file.seek(i)
            file.write(bytes([byte ^ 1 << i % 8]))
            refused()
            file.seek(i)
            file.write(bytes([byte]))
        train(*rows, epochs=3, checkpoint=path, **OPTIONS)
    path.write_bytes(content)
    with open(path, "r+b", buffering=0) as file:
        for size in reversed(range(len(content))):
            file.truncate(size)
            refused()


def _array(name, value):
    return lambda arrays, document: arrays.__setitem__(name, np.asarray(value))


def _entry(name, value):
    return lambda arrays, document: document.__setitem__(name, value)


def _state(name, value):
    return lambda arrays, document: document["state"].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_entry("format", "schuss-model"), "format 'schuss-model' 3"),
        (_entry("format_version", 4), "reads 'schuss-checkpoint' up to 3"),
        (_entry("format_version", 2), "its format is 2, not 3"),
        (_entry("parameters", []), "it lacks something"),
        (_entry("parameters", {}), "belongs to another call: estimator was None there"),
        (_entry("state", []), "it lacks something"),
        (_entry("state", {}), "it lacks state.run.generator.bit_generator"),
        (_entry("rows", None), "it lacks something"),
        (_entry("rows", [[12, 2], [1, 2]]), "it lacks something"),
        (_entry("rows", []), "no rows to validate"),
        (_entry("rows", [[1, 2]]), r"of shape \[1, 2\] there and \[12, 2\] here"),
        (_entry("stop_reason", "diverged"), "it lacks something"),
        (lambda arrays, document: document.pop("stop_reason"), "it lacks something"),
        (_state("run.generator.bit_generator", "PCG64DXSM"), "holds more than this run has"),
        (_state("state.run.generator.bit_generator", "MT19937"), "PCG64"),
        (_state("state.run.generator.state.inc", "many"), "lacks state.run.generator.state.inc"),
        (_state("state.run.generator.state.inc", 1 << 200), "too big|too large"),
        (_state("state.plateau", 1), "it lacks state.plateau"),
        (lambda arrays, document: arrays.pop("state.run.state.slots"), "it lacks state.run.state"),
        (lambda arrays, document: arrays.pop("rows.0"), "it lacks something"),
        (lambda arrays, document: arrays.pop("history"), "it lacks something"),
        (_array("more", [1.0]), "holds more than this run has"),
        (_array("history", np.ones((3, 9))), "other columns"),
        (_array("history", np.ones((3, 4), np.float32)), "it lacks something"),
        (_array("history", 1.0), "it lacks something"),
        (_array("state.run.state.coef", [[np.nan, 1.0]]), "not finite"),
        (_array("state.run.state.counters", [1.0]), "counters is float64 of shape"),
        (_array("state.run.state.coef", np.ones((1, 3))), "coef is float64 of shape"),
        (_array("state.run.norm", [1.0]), "norm is float64 of shape"),
        (_array("rows.0", [1]), "for weights of"),
        (_array("rows.0", [[True, True, False]]), "for weights of"),
    ],
)
def test_strange_checkpoints_are_refused(path, rows, change, message):
    document, arrays = tensors.read(path, FORMAT, VERSION)
    change(arrays, document)
    tensors.write(path, arrays, document)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(*rows, epochs=9, checkpoint=path, **OPTIONS)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("network adam", _array("state.run.order", np.arange(160, dtype=np.int32) + 1), "order"),
        ("network adam", _array("state.run.order", np.zeros(160, np.int32)), "order of the rows"),
        ("network adam", _state("state.run.generator.2", 625), "at 625 of 624 numbers"),
        ("network adam", _state("state.run.generator.2", -1), "at -1 of 624 numbers"),
        ("sgd", _array("state.run.sweep.order", np.full((3, 160), -1, np.int32)), "order of the"),
    ],
)
def test_numbers_that_the_kernels_trust_are_checked(tmp_path, name, change, message):
    path = tmp_path / "run.ckpt"
    estimator, parameters, rows, _ = call_of(name)
    estimator(**{**parameters, "max_iter": 2}).fit(*rows, checkpoint=path)
    document, arrays = tensors.read(path, FORMAT, VERSION)
    change(arrays, document)
    tensors.write(path, arrays, document)
    with pytest.raises(ValueError, match=f"is not a checkpoint .*{message}"):
        estimator(**parameters).fit(*rows, checkpoint=path)


def test_parameters_of_every_kind_of_number(tmp_path, rows):
    path = tmp_path / "run.ckpt"
    options = {"tol": 1, "alpha": np.float32(0.1), "batch_size": np.int64(4), "solver": "sgd"}
    options |= {"fit_intercept": np.bool_(True), "random_state": 0}
    first = train(*rows, epochs=9, checkpoint=path, **options)
    again = train(*rows, epochs=9, checkpoint=path, **options)
    np.testing.assert_array_equal(first.coef, again.coef)
