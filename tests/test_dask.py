"""Dask's collections: the answers of one machine, whoever computes and whoever dies."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp

import schuss
from schuss import Stream
from schuss.blocks import survey
from tests.conftest import LONG

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from schuss import dask as on_dask  # noqa: E402

N, D = 4000, 5


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 3, "threads_per_worker": 1, "processes": False}
    with (
        dask.config.set({"distributed.worker.memory.terminate": False}),
        distributed.Client(**options, dashboard_address=None) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(3)
    X = generator.normal(size=(N, D)).astype(np.float32)
    z = X @ generator.normal(size=D)
    return X, (z > generator.normal(size=N)).astype(int), np.digitize(z, [-1, 1])


def blocks_of(X, y, n):
    return [(X[i : i + n], y[i : i + n]) for i in range(0, N, n)]


@pytest.mark.parametrize("solver", ["gd", "nesterov", "lbfgs", "newton"])
def test_equal_partitions_give_the_bits_of_a_stream(client, problem, solver):
    X, y, _ = problem
    options = {"solver": solver, "loss": "log_loss", "epochs": 8}
    there = schuss.train(Stream(blocks_of(X, y, 700)), **options)
    here = on_dask.train(da.from_array(X, chunks=(700, 2)), da.from_array(y, chunks=700), **options)
    assert (here.coef == there.coef).all() and (here.history["loss"] == there.history["loss"]).all()
    assert here.stop_reason == there.stop_reason


def test_more_partitions_than_are_added_at_once(client, problem):
    X, y, _ = problem
    here = on_dask.train(da.from_array(X, chunks=(100, D)), da.from_array(y, chunks=100), epochs=2)
    assert (here.coef == schuss.train(Stream(blocks_of(X, y, 100)), epochs=2).coef).all()


def test_classes_that_workers_miss_empty_and_unknown_partitions(client, problem):
    X, _, y = problem
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    lazy_X, lazy_y = da.from_array(X, chunks=(500, D)), da.from_array(y, chunks=500)
    keep = da.from_array((np.arange(N) // 500) % 4 != 1, chunks=500)
    assert np.isnan(lazy_X[keep].chunks[0]).all()
    model = on_dask.LogisticRegression(tol=1e-7).fit(lazy_X[keep], lazy_y[keep])
    there = schuss.LogisticRegression(tol=1e-7).fit(X[keep.compute()], y[keep.compute()])
    np.testing.assert_allclose(model.coef_, there.coef_, atol=1e-4)
    assert model.classes_.tolist() == [0, 1, 2]
    predicted = model.predict(lazy_X[keep])
    assert (predicted.compute() == there.predict(X[keep.compute()])).mean() > 0.999
    assert model.predict_proba(lazy_X).compute().shape == (N, 3)
    assert model.decision_function(lazy_X).compute().shape == (N, 3)


def test_sparse_chunks_frames_and_batches(client, problem):
    X, y, _ = problem
    there = schuss.LogisticRegression(tol=1e-7).fit(X, y)
    sparse = da.from_array(X, chunks=(800, D)).map_blocks(sp.csr_array)
    lazy_y = da.from_array(y, chunks=800)
    frame = da.from_array(X, chunks=(800, D)).to_dask_dataframe(columns=list("abcde"))
    labels = lazy_y.to_dask_dataframe()
    batches = [dask.delayed(part) for part in blocks_of(X, y, 900)]
    for args in ((sparse, lazy_y), (frame, labels), (batches,)):
        model = on_dask.LogisticRegression(tol=1e-7).fit(*args)
        np.testing.assert_allclose(model.coef_, there.coef_, atol=1e-4)
    model = on_dask.LogisticRegression().fit(frame, labels)
    assert model.feature_names_in_.tolist() == list("abcde")
    assert model.predict(frame).compute().shape == (N,)


def test_weights_validation_callbacks_and_checkpoints(client, problem, tmp_path):
    X, y, _ = problem
    lazy = da.from_array(X, chunks=(900, D)), da.from_array(y, chunks=900)
    w = np.random.default_rng(0).random(N)
    weighted = on_dask.LogisticRegression(tol=1e-7, class_weight="balanced").fit(
        *lazy, da.from_array(w, chunks=900)
    )
    there = schuss.LogisticRegression(tol=1e-7, class_weight="balanced").fit(X, y, w)
    np.testing.assert_allclose(weighted.coef_, there.coef_, atol=1e-4)
    seen = []
    model = on_dask.SigmoidClassifier(max_iter=6, tol=0, early_stopping=True)
    model.fit(*lazy, eval_set=lazy, callbacks=[lambda info: seen.append(info.n_iter)])
    assert seen[-1] == 6 and len(model.history_["validation_loss"]) == 6
    path = tmp_path / "run"
    on_dask.train(*lazy, epochs=3, checkpoint=path)
    whole = on_dask.train(*lazy, epochs=6, checkpoint=path)
    assert (whole.coef == on_dask.train(*lazy, epochs=6).coef).all()


def test_without_a_cluster_partitions_are_a_stream(problem):
    X, y, _ = problem
    lazy = da.from_array(X, chunks=(900, D)), da.from_array(y, chunks=900)
    with dask.config.set(scheduler="synchronous"):
        source = on_dask._Partitions(on_dask._partitions(*lazy, None))
        here = schuss.train(Stream(source), epochs=3)
    assert (here.coef == schuss.train(Stream(blocks_of(X, y, 900)), epochs=3).coef).all()


def test_bad_input(client, problem, monkeypatch):
    X, y, _ = problem
    lazy_X, lazy_y = da.from_array(X, chunks=(900, D)), da.from_array(y, chunks=900)
    fit = on_dask.LogisticRegression().fit
    with pytest.raises(TypeError, match="got ndarray, expected a dask Array"):
        fit(X, y)
    with pytest.raises(ValueError, match="y is None"):
        fit(lazy_X)
    with pytest.raises(TypeError, match="y: got ndarray"):
        fit(lazy_X, y)
    with pytest.raises(ValueError, match=r"partition \d: y has \d99 rows, but X has \d00"):
        fit(lazy_X, lazy_y.map_blocks(lambda part: part[1:], chunks=((np.nan,) * 5,)))
    broken = X.copy()
    broken[2000, 1] = np.inf
    with pytest.raises(ValueError, match="partition 2: .*infinity"):
        fit(da.from_array(broken, chunks=(900, D)), lazy_y)
    with pytest.raises(ValueError, match="holds only one class"):
        fit(lazy_X, da.zeros(N, chunks=900, dtype=int))
    mixed = [dask.delayed(part) for part in [(X[:100], y[:100]), (X[:100, 1:], y[:100])]]
    with pytest.raises(ValueError, match="partition 1 differs from partition 0 in its features"):
        fit(mixed)
    with pytest.raises(ValueError, match="Mini-batches go from block to block"):
        on_dask.train(lazy_X, lazy_y, solver="adam")
    monkeypatch.setattr("schuss.dask.__version__", "9.9")
    with pytest.raises(RuntimeError, match=r"worker inproc://.* has schuss .*, but this process"):
        fit(lazy_X, lazy_y)
    monkeypatch.setattr(client, "run", lambda *a, **k: {"tcp://a": ModuleNotFoundError("schuss")})
    with pytest.raises(RuntimeError, match="worker tcp://a cannot import schuss"):
        fit(lazy_X, lazy_y)


def _with_kills(n_fits, rows):
    """Fit again and again while a worker is killed in each; the answers."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(rows, 20)).astype(np.float32)
    y = (X[:, 0] > generator.normal(size=rows)).astype(int)
    chunk = rows // 8
    lazy = da.from_array(X, chunks=(chunk, 20)), da.from_array(y, chunks=chunk)
    parts = [(X[i : i + chunk], y[i : i + chunk]) for i in range(0, rows, chunk)]
    options = {"solver": "momentum", "loss": "log_loss", "epochs": 30}
    expected = schuss.train(Stream(parts), **options).coef
    kills: list[int] = []

    def fit(client):
        at = int(generator.integers(2, 28))

        def kill(info):
            if info.n_iter == at:
                pids = sorted(client.run(os.getpid).values())
                os.kill(pids[int(generator.integers(len(pids)))], signal.SIGKILL)
                kills.append(at)

        kill.every = 1
        got = on_dask.train(*lazy, **options, callbacks=[kill]).coef
        assert (got == expected).all(), len(kills)

    while len(kills) < n_fits:
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            for _ in range(min(5, n_fits - len(kills))):
                # The worker before has come again, and takes part; if its nanny was still starting
                # it when it died, it never does.
                try:
                    client.wait_for_workers(2, timeout=30)
                except TimeoutError:
                    break
                fit(client)
    return kills


def test_workers_that_are_killed():
    n_fits, rows = (20, 80_000) if LONG else (2, 8_000)
    assert len(_with_kills(n_fits, rows)) == n_fits


def test_workers_that_join_are_used(client, problem):
    X, y, _ = problem
    source = on_dask.blocks(da.from_array(X, chunks=(500, D)), da.from_array(y, chunks=500))
    found = survey(source, labels=True)
    assert found.shape == (N, D) and len(found.blocks) == 8
    seen = []
    thread = threading.Thread(target=lambda: (time.sleep(0.05), client.cluster.scale(4)))
    thread.start()
    model = on_dask.SigmoidClassifier(max_iter=30, tol=0)
    model.fit(source, callbacks=[lambda info: seen.append(info.n_iter)])
    thread.join()
    there = schuss.SigmoidClassifier(max_iter=30, tol=0).fit(Stream(blocks_of(X, y, 500)))
    assert (model.coef_ == there.coef_).all()
