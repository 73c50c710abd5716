"""The loop of chunks: what stops it, and that its chunks leave no trace."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from schuss import DivergenceError, SigmoidClassifier, train
from schuss.callbacks import Callback, Print, TargetLoss, TimeLimit
from schuss.solvers.first_order import FirstOrder
from schuss.solvers.run import Plateau

SOLVERS = ["gd", "momentum", "nesterov", "adaptive", "adam", "sgd"]


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((130, 4))
    return X, (X[:, 0] + rng.standard_normal(130) > 0).astype(int)


def every(epochs):
    callback = lambda info: None  # noqa: E731
    callback.every = epochs
    return callback


@pytest.mark.parametrize("solver", SOLVERS)
def test_chunks_leave_no_trace(rows, solver):
    options = {"solver": solver, "epochs": 60, "random_state": 0, "l1_ratio": 0.5, "alpha": 1e-3}
    whole = train(*rows, callbacks=[every(60)], **options)
    cut = train(*rows, callbacks=[every(7)], **options)
    single = train(*rows, callbacks=[every(1)], **options)
    for other in (cut, single):
        np.testing.assert_array_equal(whole.coef, other.coef)
        for name in ("loss", "gradient_norm", "step"):
            np.testing.assert_array_equal(whole.history[name], other.history[name])


def test_plateau_is_decided_by_rows_not_chunks(rows):
    options = {"solver": "sgd", "tol": 1e-3, "epochs": 2000, "random_state": 0}
    free = train(*rows, **options)
    single = train(*rows, callbacks=[every(1)], **options)
    assert free.stop_reason == "converged" and 10 < free.n_iter < 2000
    assert free.n_iter == single.n_iter
    np.testing.assert_array_equal(free.coef, single.coef)
    best = np.minimum.accumulate(np.r_[np.inf, free.history["loss"]])[:-1]
    improved = free.history["loss"] <= best - 1e-3
    assert not improved[-10:].any() and improved[-11]


def test_divergence_is_decided_by_rows_not_chunks(rows):
    counts = []
    for callbacks in ([], [every(1)], [every(3)]):
        with pytest.raises(DivergenceError) as caught:
            train(
                *rows, loss="log_loss", learning_rate=300.0, epochs=500, callbacks=callbacks,
                solver="momentum",
            )  # fmt: skip
        counts.append(caught.value.result.n_iter)
    assert len(set(counts)) == 1 and counts[0] < 500


def test_plateau():
    plateau = Plateau(tol=0.1, patience=3)
    assert plateau.find(np.array([1.0, 0.5, 0.45, 0.44])) is None
    assert plateau.find(np.array([0.42, 0.0])) == 0
    steady = Plateau(tol=0.1, patience=3)
    assert steady.find(np.linspace(5, 0, 20)) is None
    assert Plateau(tol=0.0, patience=2).find(np.array([1.0, 2.0, 0.5, 3.0, 3.0])) == 4


def test_callbacks_see_the_run_and_stop_it(rows):
    seen = []

    class Watch(Callback):
        def __call__(self, info):
            seen.append(info)
            assert info.coef.shape == (1, 4) and info.intercept.shape == (1,)
            assert len(info.history["loss"]) == info.n_iter
            info.coef[...] = 7  # a copy
            return info.n_iter >= 30

    result = train(*rows, epochs=100, callbacks=[Watch(every=10), every(4)])
    assert [info.n_iter for info in seen] == [10, 20, 30]
    assert result.stop_reason == "callback" and result.n_iter == 30 and not result.converged
    np.testing.assert_array_equal(result.coef, train(*rows, epochs=30).coef)
    assert seen[-1].max_iter == 100 and seen[-1].validation_loss is None


def test_an_error_in_a_callback_is_not_swallowed(rows):
    def broken(info):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        train(*rows, callbacks=broken)


def test_target_loss_and_time_limit(rows):
    result = train(*rows, epochs=10**9, callbacks=[TimeLimit(0.2)])
    assert result.stop_reason == "callback" and result.history["seconds"][-1] >= 0.2
    result = train(*rows, solver="nesterov", callbacks=[TargetLoss(0.09, every=1)])
    assert result.history["loss"][-1] <= 0.09 < result.history["loss"][-2]
    with pytest.raises(ValueError, match="every=0"):
        TargetLoss(0.1, every=0)


def test_seconds_grow_over_the_run(rows):
    begin = time.perf_counter()
    seconds = train(*rows, epochs=500).history["seconds"]
    took = time.perf_counter() - begin
    assert 0 < seconds[0] and np.all(np.diff(seconds) > 0) and seconds[-1] <= took


def test_verbose_prints_progress(rows, capsys):
    SigmoidClassifier(verbose=1, max_iter=50, tol=0).fit(*rows)
    assert "iteration 50/50  loss 0." in capsys.readouterr().out
    train(*rows, epochs=20, callbacks=Print(seconds=0.0, every=10))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_ctrl_c_in_a_callback_keeps_what_was_reached(rows):
    def interrupt(info):
        if info.n_iter >= 20:
            raise KeyboardInterrupt

    interrupt.every = 10
    with pytest.warns(UserWarning, match="interrupted after 20 of 100"):
        result = train(*rows, epochs=100, callbacks=interrupt)
    assert result.stop_reason == "interrupted"
    np.testing.assert_array_equal(result.coef, train(*rows, epochs=20).coef)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_not_lost_in_a_callback_from_c(rows):
    # As llvmlite has them: exceptions cannot leave such a callback.
    press = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))

    def interrupt(info):
        if info.n_iter == 20:
            press()

    interrupt.every = 10
    before = signal.getsignal(signal.SIGINT)
    with pytest.warns(UserWarning, match="interrupted after 30 of 100"):
        result = train(*rows, epochs=100, callbacks=interrupt)
    assert result.stop_reason == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_ctrl_c_during_a_long_fit(solver):
    script = textwrap.dedent(
        f"""
        import time, warnings
        import numpy as np
        from schuss import SigmoidClassifier

        X = np.random.default_rng(0).standard_normal((20_000, 50))
        y = (X[:, 0] > 0).astype(int)
        model = SigmoidClassifier(solver={solver!r}, max_iter=10**8, tol=0, random_state=0)
        model.set_params(max_iter=2).fit(X, y)  # compile first, where the backend does
        print("ready", flush=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.set_params(max_iter=10**8).fit(X, y)
        assert "interrupted" in str(caught[-1].message), caught
        assert model.stop_reason_ == "interrupted" and not model.converged_
        assert model.n_iter_ == len(model.history_["loss"])
        assert np.isfinite(model.coef_).all() and np.isfinite(model.loss_)
        assert model.score(X, y) > 0.5
        model.set_params(max_iter=5).fit(X, y)
        assert model.n_iter_ == 5
        print("usable", flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert out == "usable\n" and process.returncode == 0


def test_small_steps_are_no_plateau():
    """Offset features allow only tiny steps: the cost hardly falls, yet nothing is learnt."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 4))
    y = (X[:, 0] > 0.3).astype(int)
    model = SigmoidClassifier(solver="sgd", loss="log_loss", random_state=0, max_iter=60)
    with pytest.warns(ConvergenceWarning, match="no better than a constant"):
        model.fit(X + 1e4, y)
    assert model.stop_reason_ == "max_iter" and not model.converged_
    assert model.set_params(max_iter=1000).fit(X, y).converged_


def test_a_plateau_that_is_none_leaves_no_trace(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 4))
    y = (X[:, 0] > 0.3).astype(float)
    options = {"solver": "sgd", "loss": "log_loss", "tol": 1e-4, "random_state": 0}
    X = X + 1e4
    whole = train(X, y, epochs=70, **options)
    assert whole.n_iter == 70
    single = train(X, y, epochs=70, callbacks=[every(1)], **options)
    np.testing.assert_array_equal(whole.coef, single.coef)
    path = tmp_path / "run.ckpt"
    train(X, y, epochs=33, checkpoint=path, **options)
    resumed = train(X, y, epochs=70, checkpoint=path, **options)
    np.testing.assert_array_equal(whole.coef, resumed.coef)


def test_plateau_gives_patience_again():
    plateau = Plateau(tol=0.1, patience=3)
    values = np.ones(9)
    assert plateau.find(values) == 3
    assert plateau.find(values) == 2
    assert plateau.find(values) == 2


def test_first_chunk_is_short(monkeypatch):
    lengths = []
    advance = FirstOrder.advance
    monkeypatch.setattr(
        FirstOrder, "advance", lambda run, epochs: lengths.append(epochs) or advance(run, epochs)
    )
    train(sp.csr_array((20_000, 5)), np.arange(20_000) % 2, epochs=200)
    train(np.eye(4), [0, 1, 0, 1], epochs=5000)
    assert lengths[0] <= 100 and lengths[lengths.index(max(lengths)) - 1] >= max(lengths) / 11


@pytest.mark.parametrize("wrong", [0, -3, 2.5, "10", True])
def test_every_is_a_positive_whole_number(rows, wrong):
    callback = every(1)
    callback.every = wrong
    with pytest.raises(ValueError, match=f"callbacks: .* has every={wrong!r}: expected a positive"):
        train(*rows, callbacks=callback)
    with pytest.raises(ValueError, match=f"^every={wrong!r}: expected a positive whole number"):
        TargetLoss(0.1, every=wrong)
    callback.every = np.int32(3)
    assert train(*rows, epochs=4, callbacks=callback).n_iter == 4
