"""Sparse X whose arrays point outside it, lie oddly or hold duplicates, in every estimator."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import schuss
from schuss.losses import LOSSES
from schuss.objective import Objective
from schuss.sparse import as_csr

N, D = 60, 8
BIG = 10**8


def _rows(dtype=np.float64):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((N, D)) * (rng.random((N, D)) < 0.4)
    return dense.astype(dtype)


LABELS = np.arange(N) % 2

ESTIMATORS = {
    "LogisticRegression": lambda: schuss.LogisticRegression(),
    "liblinear": lambda: schuss.LogisticRegression(solver="liblinear"),
    "SigmoidClassifier": lambda: schuss.SigmoidClassifier("log_loss", max_iter=5, tol=0),
    "mini-batches": lambda: schuss.SigmoidClassifier("log_loss", "sgd", max_iter=5, tol=0),
    "SigmoidRegressor": lambda: schuss.SigmoidRegressor("log_loss", max_iter=5, tol=0),
    "SGDClassifier": lambda: schuss.SGDClassifier(loss="log_loss", max_iter=5, tol=None),
    "SGDRegressor": lambda: schuss.SGDRegressor(max_iter=5, tol=None),
    "MLPClassifier": lambda: schuss.MLPClassifier((3,), solver="sgd", max_iter=3, tol=0),
    "MLPRegressor": lambda: schuss.MLPRegressor(
        hidden_layer_sizes=(3,), solver="lbfgs", max_iter=3, tol=0
    ),
}
PREDICTIONS = "predict", "decision_function", "predict_proba", "predict_log_proba"


def _with(X, **arrays):
    for name, array in arrays.items():
        setattr(X, name, array)
    return X


def _changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def _csr(container=sp.csr_array):
    return container(_rows())


def _compressed(container):
    def index(value, kind=np.int32):
        X = container(_rows())
        return _with(X, indices=_changed(X.indices.astype(kind), 3, value))

    def pointer(change):
        X = container(_rows())
        return _with(X, indptr=change(X.indptr))

    def swapped(p):
        p = p.copy()
        p[3], p[5] = p[5] + 1, p[3]
        return p

    def short(name):
        X = container(_rows())
        return _with(X, **{name: getattr(X, name)[:-1]})

    return {
        "large index": lambda: index(BIG),
        "large index of 64 bits": lambda: index(2**40, np.int64),
        "negative index": lambda: index(-1),
        "index of the next column": lambda: index(max(N, D)),
        "pointer beyond the end": lambda: pointer(lambda p: _changed(p, -1, BIG)),
        "pointers not from 0": lambda: pointer(lambda p: _changed(p, 0, 1)),
        "negative pointer": lambda: pointer(lambda p: _changed(p, 2, -BIG)),
        "pointers that fall": lambda: pointer(swapped),
        "pointers too few": lambda: pointer(lambda p: p[:-1]),
        "pointers too many": lambda: pointer(lambda p: np.append(p, p[-1])),
        "real pointers": lambda: pointer(lambda p: p.astype(float)),
        "indices too short": lambda: short("indices"),
        "data too short": lambda: short("data"),
    }


def _blocks():
    return sp.bsr_array(_rows(), blocksize=(2, 2))


def _lists():
    return sp.lil_array(_rows())


def _coordinates(container, part, value):
    X = container(_rows())
    coords = [array.copy() for array in X.coords]
    coords[part][3] = value
    return _with(X, coords=tuple(coords))


def _diagonals(offsets):
    return _with(sp.dia_array((np.ones((2, D)), [0, 1]), shape=(N, D)), offsets=np.array(offsets))


def _longer_list():
    X = _lists()
    X.rows[4] = X.rows[4] + [0]
    return X


def _listed(column):
    X = _lists()
    row = max(range(N), key=lambda i: len(X.rows[i]))
    X.rows[row][-1] = column
    return X


def _keyed(key):
    X = sp.dok_array(_rows())
    X._dict[key] = 1.0
    return X


BAD = {
    f"{kind.__name__}, {name}": make
    for kind in (sp.csr_array, sp.csr_matrix, sp.csc_array, sp.csc_matrix)
    for name, make in _compressed(kind).items()
} | {
    "bsr_array, index": lambda: _with(_blocks(), indices=_changed(_blocks().indices, 3, BIG)),
    "bsr_array, pointer": lambda: _with(_blocks(), indptr=_changed(_blocks().indptr, -1, BIG)),
    "coo_array, column": lambda: _coordinates(sp.coo_array, 1, BIG),
    "coo_array, negative row": lambda: _coordinates(sp.coo_array, 0, -BIG),
    "coo_matrix, row": lambda: _coordinates(sp.coo_matrix, 0, N),
    "coo_array, fewer values": lambda: _with(sp.coo_array(_rows()), data=np.ones(3)),
    "dia_array, offsets twice": lambda: _diagonals([1, 1]),
    "dia_array, fewer offsets": lambda: _diagonals([1]),
    "lil_array, column": lambda: _listed(BIG),
    "lil_array, negative column": lambda: _listed(-1),
    "lil_array, longer row": _longer_list,
    "dok_array, column": lambda: _keyed((0, BIG)),
    "dok_array, negative row": lambda: _keyed((-BIG, 0)),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def estimator(request):
    """A function that makes an estimator, and a fitted one."""
    make = ESTIMATORS[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make, make().fit(_rows(), LABELS)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_arrays_that_point_outside_are_refused(estimator, bad):
    make, fitted = estimator
    calls = [lambda X: make().fit(X, LABELS)]
    calls += [getattr(fitted, name) for name in PREDICTIONS if hasattr(fitted, name)]
    calls.append(lambda X: fitted.score(X, LABELS))
    if hasattr(fitted, "partial_fit"):
        given = {"classes": [0, 1]} if hasattr(fitted, "classes_") else {}
        calls.append(lambda X: make().partial_fit(X, LABELS, **given))
    if isinstance(fitted, schuss.SigmoidClassifier | schuss.MLPClassifier | schuss.MLPRegressor):
        calls.append(lambda X: make().fit(_rows(), LABELS, eval_set=(X, LABELS)))
    for call in calls:
        with pytest.raises(ValueError, match=r"X is a sparse matrix .* structure is damaged"):
            call(BAD[bad]())


@pytest.mark.parametrize("bad", BAD)
def test_train_refuses_arrays_that_point_outside(bad):
    with pytest.raises(ValueError, match=r"X is a sparse matrix .* structure is damaged"):
        schuss.train(BAD[bad](), LABELS, epochs=2)


def test_error_says_what_and_where():
    X = _with(_csr(), indices=_changed(_csr().indices, 3, BIG))
    with pytest.raises(ValueError, match=r"indices holds 100000000 at place 3, expected 0 to 7"):
        as_csr(X)


@pytest.mark.parametrize("container", [sp.csr_array, sp.coo_array])
def test_one_dimension_is_refused(container):
    with pytest.raises(ValueError, match="Expected 2D array"):
        schuss.LogisticRegression().fit(container(np.array([1.0, 0.0, 2.0])), [0, 1, 0])


def test_sparse_labels_are_checked():
    y = sp.csr_array(np.eye(3)[np.arange(N) % 3].astype(int))
    y.indices = _changed(y.indices, 3, BIG)
    with pytest.raises(ValueError, match="y is a sparse matrix"):
        schuss.MLPClassifier((3,), max_iter=2).fit(_rows(), y)


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match="Complex data not supported"):
        schuss.SGDClassifier().fit(_csr().astype(complex), LABELS)


# ----- what lies oddly -----------------------------------------------------------------


def _strided(array):
    return np.repeat(array, 2)[::2]


def _misaligned(array):
    buffer = np.empty(array.nbytes + 1, np.uint8)
    out = buffer[1:].view(array.dtype)
    out[...] = array
    return out


def _swapped_bytes(array):
    return array.astype(array.dtype.newbyteorder(">"))


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _longer(array):
    return np.append(array, np.full(3, 100)).astype(array.dtype)


def _reversed_rows(X):
    """The same rows, the entries of each in reverse order."""
    X = X.copy()
    for low, high in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        X.indices[low:high] = X.indices[low:high][::-1].copy()
        X.data[low:high] = X.data[low:high][::-1].copy()
    return X


def _twice(X):
    """The same rows, each entry in two halves."""
    return sp.csr_array(
        (np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2), shape=X.shape
    )


def _laid(change, parts=("data", "indices", "indptr")):
    def make(X):
        return _with(X, **{name: change(getattr(X, name)) for name in parts})

    return make


ODD = {
    "strided": _laid(_strided),
    "misaligned": _laid(_misaligned),
    "big-endian": _laid(_swapped_bytes),
    "read-only": _laid(_read_only),
    "not pruned": _laid(_longer, ("data", "indices")),
    "indices of 16 bits": _laid(lambda a: a.astype(np.uint16), ("indices",)),
    "pointers of 64 bits": _laid(lambda a: a.astype(np.int64), ("indptr",)),
    "unsorted": lambda X: _laid(_read_only)(_reversed_rows(X)),
    "duplicates": lambda X: _laid(_read_only)(_twice(X)),
    "longdouble": lambda X: X.astype(np.longdouble),
    "whole numbers": lambda X: X,
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_odd_arrays_are_read_and_left_alone(estimator, kind, odd):
    make, fitted = estimator
    X = sp.csr_array(np.round(_rows()))
    if odd == "whole numbers":
        X = X.astype(np.int16)
    X = ODD[odd](X.asformat(kind) if odd not in ("unsorted", "duplicates") else X)
    before = {name: (value, np.array(value)) for name, value in vars(X).items()}
    model = make().set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = model.fit(X, LABELS).predict(X)
    right = sp.csr_array(np.round(_rows()))
    np.testing.assert_allclose(found, model.fit(right, LABELS).predict(right), rtol=1e-6)
    assert set(vars(X)) == set(before)
    for name, (value, content) in before.items():
        assert vars(X)[name] is value
        np.testing.assert_array_equal(np.array(value), content)


def test_values_beyond_float64_are_infinite():
    X = _csr().astype(np.longdouble)
    X.data[3] = np.longdouble("1e4000")
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match="Input X contains infinity"),
    ):
        warnings.simplefilter("error")
        schuss.LogisticRegression().fit(X, LABELS)


def test_diagonals_outside_are_nothing():
    X = _diagonals([0, 10**12])
    right = sp.dia_array((np.ones((1, D)), [0]), shape=(N, D)).toarray()
    np.testing.assert_array_equal(as_csr(X).toarray(), right)


# ----- duplicates ----------------------------------------------------------------------


def _in_parts():
    """Rows of 0.001, and the same where each entry comes as 500 and -499.999."""
    parts = np.tile([500.0, -499.999], 50)
    X = sp.csr_array((parts, np.zeros(100, int), np.arange(0, 101, 2)), shape=(50, 1))
    return np.full((50, 1), 1e-3), X


@pytest.mark.parametrize("batch_size", [1, 10, None])
def test_duplicates_do_not_change_the_learning_rate(batch_size):
    steps = [
        schuss.train(
            X, np.arange(50) % 2, solver="sgd", batch_size=batch_size, epochs=5, random_state=0
        ).history["step"][0]
        for X in _in_parts()
    ]
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-6)
    assert _in_parts()[1].nnz == 100


def test_duplicates_do_not_change_the_hessian_diagonal():
    diagonals = [
        Objective(
            schuss.backends.current(), as_csr(X), np.zeros(50, np.uint8), None, LOSSES["log_loss"]
        ).hessian_diagonal(np.zeros((1, 2)))
        for X in _in_parts()
    ]
    np.testing.assert_allclose(diagonals[1], diagonals[0], rtol=1e-6)
