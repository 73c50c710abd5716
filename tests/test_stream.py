"""Streams: the same answers as in memory, whatever the rows come from."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp

import schuss
from schuss import LogisticRegression, SGDClassifier, SGDRegressor, SigmoidClassifier, Stream, train
from schuss.blocks import survey, tree_sum
from schuss.neuron import SigmoidRegressor

N, D = 3000, 6
FULL = ("gd", "momentum", "nesterov", "adaptive", "lbfgs", "newton")


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(5)
    X = generator.normal(size=(N, D)) * [1, 2, 0.5, 1, 1, 3]
    z = X @ generator.normal(size=D) - 0.5
    classes = np.array(["no", "perhaps", "yes"])[(z > -1).astype(int) + (z > 1)]
    return X, z > generator.normal(size=N), 1 / (1 + np.exp(-z)), classes


def batches(X, y, weights=None, sizes=(700, 1, 900)):
    """The rows in blocks of several sizes, as an iterable that can be read again."""
    out, start = [], 0
    while start < X.shape[0]:
        rows = slice(start, start + sizes[len(out) % len(sizes)])
        out.append((X[rows], y[rows]) if weights is None else (X[rows], y[rows], weights[rows]))
        start = rows.stop
    return out


def test_the_tree_is_that_of_pairs():
    parts = [(1e16,), (1.0,), (-1e16,), (1.0,), (1.0,)]
    assert tree_sum(parts) == (((1e16 + 1.0) + (-1e16 + 1.0)) + 1.0,)


@pytest.mark.parametrize("solver", FULL)
@pytest.mark.parametrize("sparse", [False, True])
def test_solvers_agree_with_memory(problem, solver, sparse):
    X, y, _, _ = problem
    X = sp.csr_array(np.where(X > 0, X, 0.0)) if sparse else X
    options = {"solver": solver, "loss": "log_loss", "max_iter": 20, "tol": 1e-9, "alpha": 0.01}
    with pytest.warns() if solver in FULL[:4] else _nothing():
        there = SigmoidClassifier(**options).fit(X, y)
        here = SigmoidClassifier(**options).fit(Stream(batches(X, y)))
    np.testing.assert_allclose(here.coef_, there.coef_, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(here.intercept_, there.intercept_, rtol=1e-7, atol=1e-10)
    assert here.n_iter_ == there.n_iter_ or solver in FULL[4:]
    assert here.loss_ == pytest.approx(there.loss_, rel=1e-12)


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *error):
        return False


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint8", "int8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_maps_of_every_type(problem, tmp_path, dtype, order):
    X, y, _, _ = problem
    X = np.asarray(np.clip(X * 4, 0 if dtype == "uint8" else -9, 9), dtype, order=order)
    np.save(tmp_path / "X.npy", X)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    there = train(np.array(X, order=order), y, epochs=5)
    stream = Stream(X, y, block_rows=1024)
    here = train(stream, epochs=5)
    assert here.coef.dtype == there.coef.dtype
    np.testing.assert_allclose(here.coef, there.coef, rtol=3e-5 if dtype != "float64" else 1e-12)
    # Blocks are views of the map.
    for part, _, _ in stream:
        assert np.shares_memory(part, X)


def test_equal_blocks_give_equal_bits(problem, tmp_path):
    X, y, _, _ = problem
    X = X.astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    sizes = (1000,)
    models = [
        LogisticRegression().fit(stream)
        for stream in (
            Stream(X, y, block_rows=1000),
            Stream(mapped, y, block_rows=1000),
            Stream(batches(X, y, sizes=sizes)),
            Stream(lambda: iter(batches(X, y, sizes=sizes))),
        )
    ]
    for model in models[1:]:
        assert (model.coef_ == models[0].coef_).all() and model.n_iter_ == models[0].n_iter_


def test_one_block_is_as_in_memory_to_the_bit(problem):
    X, y = np.tile(problem[0], (20, 1)), np.tile(problem[1], 20)
    options = {"epochs": 3, "solver": "lbfgs", "loss": "log_loss"}
    here, there = train(Stream(X, y), **options), train(X, y, **options)
    assert (here.history["loss"] == there.history["loss"]).all()
    assert (here.coef == there.coef).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"no": 2.0, "yes": 0.5}])
def test_several_classes_and_weights(problem, weighted, class_weight):
    X, _, _, y = problem
    weights = np.random.default_rng(0).random(N) * 30 if weighted else None
    for model in (
        LogisticRegression(class_weight=class_weight, tol=1e-8),
        SigmoidClassifier(class_weight=class_weight, solver="lbfgs", loss="log_loss", tol=1e-8),
    ):
        there = schuss_clone(model).fit(X, y, sample_weight=weights)
        # A class is missing in most blocks: the labels are sorted.
        order = np.argsort(y, kind="stable")
        own = None if weights is None else weights[order]
        here = model.fit(Stream(batches(X[order], y[order], own)))
        np.testing.assert_array_equal(here.classes_, there.classes_)
        np.testing.assert_allclose(here.coef_, there.coef_, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(here.predict(X[:50]), there.predict(X[:50]))


def schuss_clone(model):
    from sklearn.base import clone

    return clone(model)


def test_soft_targets_of_several_neurons(problem):
    X, _, soft, _ = problem
    y = np.column_stack([soft, 1 - soft**2])
    here, there = train(Stream(batches(X, y)), epochs=8), train(X, y, epochs=8)
    np.testing.assert_allclose(here.coef, there.coef, rtol=1e-10)
    regressor = SigmoidRegressor(loss="log_loss", solver="lbfgs", tol=1e-9)
    fitted = regressor.fit(Stream(batches(X, soft)))
    assert fitted.converged_ and fitted.score(X, soft) > 0.999


def test_batches_in_order_are_those_of_memory(problem):
    X, y, _, _ = problem
    options = {"solver": "sgd", "batch_size": 50, "shuffle": False, "epochs": 3}
    options |= {"learning_rate": 0.05, "alpha": 0.1, "loss": "log_loss"}
    here = train(Stream(batches(X, y, sizes=(500,))), **options)
    there = train(X, y, **options)
    np.testing.assert_allclose(here.coef, there.coef, rtol=1e-10)
    np.testing.assert_allclose(here.history["loss"], there.history["loss"], rtol=0.05)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_shuffled_batches_learn_and_repeat(problem, solver):
    X, y, _, _ = problem
    options = {"solver": solver, "loss": "log_loss", "epochs": 20, "random_state": 3}
    options["learning_rate"] = {"sgd": 0.1, "adam": 0.02}[solver]
    runs = [train(Stream(batches(X, y, sizes=(1000,))), **options) for _ in range(2)]
    assert (runs[0].coef == runs[1].coef).all()
    best = train(X, y, solver="lbfgs", loss="log_loss", epochs=50).loss
    assert runs[0].loss < 1.05 * best


def test_rows_one_by_one(problem):
    X, y, soft, classes = problem
    options = {"loss": "log_loss", "random_state": 0, "average": True, "max_iter": 15, "tol": None}
    for sparse in (False, True):
        data = sp.csr_array(X) if sparse else X
        model = SGDClassifier(**options)
        model.fit(Stream(batches(data, classes, sizes=(1000,))))
        there = SGDClassifier(**options).fit(data, classes)
        assert model.score(data, classes) > there.score(data, classes) - 0.03
        assert model.t_ == model.n_iter_ * N + 1
    # In their own order rows are taken as in memory.
    options = {"shuffle": False, "max_iter": 3, "tol": None, "learning_rate": "constant"}
    here = SGDRegressor(**options).fit(Stream(batches(X, soft)))
    there = SGDRegressor(**options).fit(X, soft)
    np.testing.assert_allclose(here.coef_, there.coef_, rtol=1e-9)
    np.testing.assert_allclose(here.history_["loss"], there.history_["loss"], rtol=1e-9)


def test_balanced_rows_one_by_one(problem):
    X, y, _, _ = problem
    y = (X[:, 0] > 1.5).astype(int)
    options = {"class_weight": "balanced", "shuffle": False, "max_iter": 2, "tol": None}
    here = SGDClassifier(**options).fit(Stream(batches(X, y)))
    there = SGDClassifier(**options).fit(X, y)
    np.testing.assert_allclose(here.coef_, there.coef_, rtol=1e-9)


def test_validation_callbacks_and_checkpoints(problem, tmp_path):
    X, y, _, _ = problem
    stream = Stream(batches(X, y))
    seen = []

    def stop(info):
        seen.append(info.n_iter)
        return info.n_iter >= 5

    stop.every = 1
    path = tmp_path / "run.checkpoint"
    options = {"solver": "nesterov", "loss": "log_loss", "epochs": 12}
    part = train(stream, **options, callbacks=[stop], checkpoint=path)
    assert part.stop_reason == "callback" and seen == [1, 2, 3, 4, 5]
    whole = train(stream, **options, checkpoint=path)
    assert (whole.coef == train(stream, **options).coef).all()
    with pytest.raises(ValueError, match="belongs to another call"):
        train(Stream(batches(X, ~y)), **options, checkpoint=path)
    model = SigmoidClassifier(early_stopping=True, max_iter=30)
    model.fit(stream, eval_set=Stream(batches(X[:500], y[:500])))
    assert len(model.history_["validation_loss"]) == model.n_iter_
    with pytest.raises(ValueError, match="eval_set"):
        SigmoidClassifier(early_stopping=True).fit(stream)


def test_a_large_map_streams_by_itself(problem, tmp_path, monkeypatch):
    X, y, _, _ = problem
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert LogisticRegression().fit(mapped, y).fit_info_["passes"]
    monkeypatch.setattr("schuss.stream.free_memory", lambda: X.nbytes)
    monkeypatch.setattr("schuss.stream.BLOCK_BYTES", 1 << 16)
    model = LogisticRegression(tol=1e-9).fit(mapped, y)
    there = LogisticRegression(tol=1e-9).fit(X, y)
    assert 0 < np.abs(model.coef_ - there.coef_).max() < 1e-6


class Vanishing:
    """Batches that differ from pass to pass."""

    def __init__(self, *passes):
        self.passes = list(passes)

    def __call__(self):
        return iter(self.passes.pop(0) if len(self.passes) > 1 else self.passes[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "this pass gave .* rows in 5 blocks"),
        (lambda b: [(x[:-1], y[:-1]) for x, y in b], "batch 0: has .* rows, where there were"),
        (lambda b: [*b, b[0]], "batch 6: .* no in the first pass"),
        (lambda b: [(x[:, 1:], y) for x, y in b], "batch 0: has 5 columns .* expected 6"),
        (lambda b: [(x.astype("f4"), y) for x, y in b], "batch 0: .* of float32, expected 6 of"),
        (lambda b: [(x, y + 7) for x, y in b], "batch 0: y holds labels that are not among"),
    ],
)
def test_rows_that_change_between_passes(problem, change, message):
    X, y, _, _ = problem
    good = batches(X, y.astype(int))
    model = SigmoidClassifier()
    with pytest.raises(ValueError, match=message):
        model.fit(Stream(Vanishing(good, change(good))))
    assert not hasattr(model, "coef_")


def test_bad_streams(problem):
    X, y, _, _ = problem
    with pytest.raises(TypeError, match="read only once"):
        Stream(iter(batches(X, y)))
    with pytest.raises(TypeError, match="batch 1: got ndarray, expected a tuple"):
        train(Stream([(X, y), X]))
    with pytest.raises(TypeError, match="got int"):
        Stream(3)
    with pytest.raises(ValueError, match="needs y"):
        Stream(X)
    with pytest.raises(ValueError, match="y has 5 rows, but X has 3000"):
        Stream(X, y[:5])
    with pytest.raises(ValueError, match="no rows"):
        train(Stream([]))
    with pytest.raises(ValueError, match="batch 1: has 5 columns"):
        train(Stream([(X, y), (X[:, 1:], y)]))
    with pytest.raises(ValueError, match="holds only one class"):
        LogisticRegression().fit(Stream([(X, np.zeros(N, int))]))
    with pytest.raises(ValueError, match="has its own"):
        LogisticRegression().fit(Stream([(X, y)]), y)
    with pytest.raises(ValueError, match="partial_fit"):
        SGDClassifier().partial_fit(Stream([(X, y)]), None, classes=[0, 1])
    with pytest.raises(ValueError, match="liblinear"):
        LogisticRegression(solver="liblinear").fit(Stream([(X, y)]))
    with pytest.raises(TypeError, match="does not take a stream"):
        schuss.MLPClassifier().fit(Stream([(X, y)]), None)
    broken = X.copy()
    broken[2000, 2] = np.nan
    for fit in (train, LogisticRegression().fit, SigmoidClassifier().fit):
        with pytest.raises(ValueError, match="batch 3: Input X contains NaN"):
            fit(Stream(batches(broken, y)))


def test_survey_reads_once(problem):
    X, _, _, classes = problem
    passes = []

    def source():
        passes.append(1)
        return iter(batches(X, classes))

    found = survey(Stream(source), labels=True)
    assert found.shape == (N, D) and found.classes.tolist() == ["no", "perhaps", "yes"]
    assert found.by_class("counts").sum() == N and len(passes) == 1


def test_ctrl_c_while_the_thread_that_decodes_begins(monkeypatch):
    begin = threading.Thread.start

    def start(thread):
        begin(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        list(Stream(np.zeros((100, 1)), np.zeros(100), block_rows=1))
    assert all(thread.name != "schuss-stream" for thread in threading.enumerate())
