"""Networks: each backend against the reference, numerical derivatives and scikit-learn."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.utils import shuffle

from schuss.backends.contract import Data, Network, NetworkConfig, NetworkState
from schuss.constants import N_COUNTERS, REAL_TYPE, Counter, Hidden, Status
from schuss.losses import Output
from schuss.methods import Solver

from . import cases

# Layers below, at and above whole registers and tiles, and a network without hidden ones.
UNITS = ((1, 1), (2, 4, 1), (5, 7, 3), (40, 6), (20, 33, 17, 4), (9, 8, 16, 1), (37, 70, 35))
REALS = (np.float64, np.float32)
RULES = (Solver.MOMENTUM, Solver.NESTEROV, Solver.ADAM)
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-3}


def problem(units, n, output, real, rng, *, hidden=Hidden.TANH, weighted=False, X=None):
    X = cases.dense(real, n, units[0], rng) if X is None else X
    if output == Output.SOFTMAX:
        units = (*units[:-1], max(units[-1], 2))
    k = units[-1]
    if output in (Output.IDENTITY, Output.EXPONENTIAL):
        y = rng.random((k, n)).astype(real)
    else:
        y = rng.integers(0, max(k, 2), n).astype(np.uint8)
    weight = rng.random(n).astype(real) if weighted else None
    network = Network(units, hidden, output)
    # Exponential outputs of larger weights overflow when they learn.
    size = 0.05 if output == Output.EXPONENTIAL else 0.4
    theta = (rng.standard_normal(network.n_parameters) * size).astype(real)
    scale = 1 / (n if weight is None else float(weight.sum(dtype=np.float64)))
    return Data(X, y, weight, scale), network, theta


def bind(backend, data):
    return data._replace(X=backend.prepare(data.X))


def gradient(backend, data, network, theta, n_threads=1):
    grad = np.full_like(theta, np.nan)
    value = backend.network_gradient(bind(backend, data), network, theta, grad, n_threads)
    return value, grad


def answers(backend, data, network, theta, n_threads=1):
    out = np.full((data.X.shape[0], network.units[-1]), np.nan, theta.dtype)
    backend.network_predict(backend.prepare(data.X), network, theta, out, n_threads)
    return out


def train(
    backend,
    data,
    network,
    theta,
    *,
    config,
    epochs=3,
    rate=0.02,
    order=None,
    n_threads=1,
    chunk=None,
):
    slots = np.zeros((2 if config.solver == Solver.ADAM else 1, len(theta)), theta.dtype)
    state = NetworkState(theta.copy(), slots, np.zeros(N_COUNTERS))
    history = np.full((epochs, 3), np.nan)
    found = []
    for first in range(0, epochs, chunk or epochs):
        part = slice(first, first + (chunk or epochs))
        found.append(
            backend.network_epochs(
                bind(backend, data), network, state, config, np.full(len(history[part]), rate),
                None if order is None else order[part], history[part], n_threads,
            )
        )  # fmt: skip
    return state, history, found


def network_config(solver=Solver.NESTEROV, batch_size=16, l2=0.01, momentum=0.9):
    return NetworkConfig(solver, momentum, 0.9, 0.99, 1e-8, l2, batch_size)


def close(actual, expected, real):
    scale = np.abs(expected).max(initial=0)
    assert np.abs(actual - expected).max(initial=0) <= TOLERANCE[real] * max(scale, 1e-30)


@pytest.mark.parametrize("output", Output, ids=lambda o: o.name.lower())
@pytest.mark.parametrize("real", REALS)
def test_gradient_and_answers(backend, reference, real, output):
    rng = np.random.default_rng(3)
    for units, n, hidden in itertools.product(UNITS, (1, 9, 300), Hidden):
        p = problem(units, n, output, real, rng, hidden=hidden, weighted=n == 9)
        value, grad = gradient(reference, *p)
        own_value, own_grad = gradient(backend, *p)
        close(np.array([own_value]), np.array([value]), real)
        close(own_grad, grad, real)
        close(answers(backend, *p), answers(reference, *p), real)
        alone = backend.network_gradient(bind(backend, p[0]), *p[1:], None, 1)
        assert alone == own_value


@pytest.mark.parametrize("hidden", Hidden, ids=lambda h: h.name.lower())
@pytest.mark.parametrize("output", Output, ids=lambda o: o.name.lower())
def test_gradient_of_each_layer_is_numerical(backend, output, hidden):
    """Central differences of the cost, in each parameter of each of three layers."""
    rng = np.random.default_rng(5)
    data, network, theta = problem(
        (4, 5, 3, 3), 12, output, np.float64, rng, hidden=hidden, weighted=True
    )
    value, grad = gradient(backend, data, network, theta)
    bound, step = bind(backend, data), 1e-5
    # The value is the mean over the outputs there, the gradient that of their sum.
    factor = 3 if output == Output.IDENTITY else 1
    for place in range(len(theta)):
        moved = np.repeat(theta[None], 2, axis=0)
        moved[0, place] += step
        moved[1, place] -= step
        ahead, behind = (backend.network_gradient(bound, network, t, None, 1) for t in moved)
        assert factor * (ahead - behind) / (2 * step) == pytest.approx(
            grad[place], rel=1e-6, abs=1e-9
        )


@pytest.mark.parametrize("solver", RULES, ids=lambda s: s.name.lower())
@pytest.mark.parametrize("real", REALS)
def test_epochs(backend, reference, real, solver):
    rng = np.random.default_rng(6)
    for units, output, weighted in itertools.product(UNITS, Output, (False, True)):
        n = 50
        p = problem(units, n, output, real, rng, weighted=weighted)
        order = np.array([rng.permutation(n) for _ in range(3)], np.int32)
        # Larger steps make the exponential outputs overflow.
        options = {"config": network_config(solver), "order": order, "rate": 1e-3}
        state, history, found = train(reference, *p, **options)
        own_state, own_history, own_found = train(backend, *p, **options)
        assert own_found == found == [(3, Status.RAN)]
        close(own_state.theta, state.theta, real)
        close(own_state.slots, state.slots, real)
        close(own_history, history, real)
        assert own_state.counters[Counter.STEPS] == 3 * 4


@pytest.mark.parametrize("batch_size", (1, 7, 16, 300, 700, 10_000))
def test_batches_of_any_size(backend, reference, batch_size):
    """Batches of more rows than go through the layers together, too."""
    rng = np.random.default_rng(7)
    p = problem((6, 10, 3), 700, Output.SOFTMAX, np.float64, rng)
    options = {"config": network_config(batch_size=batch_size), "epochs": 1, "rate": 1e-3}
    state, history, _ = train(reference, *p, **options)
    own_state, own_history, _ = train(backend, *p, **options)
    close(own_state.theta, state.theta, np.float64)
    close(own_history, history, np.float64)


def test_part_of_the_rows(backend, reference):
    """An order may leave rows out; nothing is read of them."""
    rng = np.random.default_rng(8)
    data, network, theta = problem((5, 4, 1), 60, Output.LOGISTIC, np.float64, rng)
    data.X[40:] = np.nan
    order = np.array([rng.permutation(40) for _ in range(2)], np.int32)
    state, history, _ = train(
        reference, data, network, theta, config=network_config(), epochs=2, order=order
    )
    own, own_history, _ = train(
        backend, data, network, theta, config=network_config(), epochs=2, order=order
    )
    assert np.isfinite(own.theta).all()
    close(own.theta, state.theta, np.float64)
    close(own_history, history, np.float64)


@pytest.mark.parametrize("n_threads", (2, 3, 5))
def test_threads_do_not_change_a_bit(backend, n_threads):
    rng = np.random.default_rng(9)
    for real, units, n in itertools.product(REALS, UNITS, (3, 100, 600)):
        p = problem(units, n, Output.LOGISTIC, real, rng, weighted=True)
        order = np.array([rng.permutation(n) for _ in range(2)], np.int32)
        for solver, batch_size in ((Solver.NESTEROV, 33), (Solver.ADAM, 400)):
            options = {"config": network_config(solver, batch_size), "epochs": 2, "order": order}
            one, several = (train(backend, *p, n_threads=t, **options) for t in (1, n_threads))
            for a, b in zip((*one[0], one[1]), (*several[0], several[1]), strict=True):
                np.testing.assert_array_equal(a, b)
        for function in (gradient, answers):
            one, several = (function(backend, *p, n_threads=t) for t in (1, n_threads))
            np.testing.assert_equal(one, several)


def test_chunks_do_not_change_a_bit(backend):
    rng = np.random.default_rng(10)
    for solver in RULES:
        p = problem((7, 9, 2), 40, Output.LOGISTIC, np.float32, rng)
        order = np.array([rng.permutation(40) for _ in range(6)], np.int32)
        options = {"config": network_config(solver), "epochs": 6, "order": order}
        whole, parts = train(backend, *p, **options), train(backend, *p, chunk=2, **options)
        for a, b in zip((*whole[0][:2], whole[1]), (*parts[0][:2], parts[1]), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
def test_features_of_any_type_and_layout(backend, reference, dtype):
    rng = np.random.default_rng(11)
    real = REAL_TYPE[np.dtype(dtype)].type
    n, d = 23, 9
    X = cases.dense(dtype, n, d, rng)
    data, network, theta = problem((d, 5, 3), n, Output.SOFTMAX, real, rng)
    theta /= 1 if X.dtype.kind == "f" else 64
    for name, layout in cases.LAYOUTS.items():
        laid = data._replace(X=layout(X))
        expected = gradient(reference, laid, network, theta)
        value, grad = gradient(backend, laid, network, theta)
        close(grad, expected[1], real)
        assert value == pytest.approx(expected[0], rel=TOLERANCE[real]), name


@pytest.mark.parametrize("index", cases.INDEX_TYPES)
@pytest.mark.parametrize("dtype", cases.SPARSE_TYPES)
def test_sparse_features(backend, reference, dtype, index):
    rng = np.random.default_rng(12)
    n, d = 70, 31
    X = cases.sparse(dtype, index, n, d, rng)
    real = np.dtype(dtype).type
    data, network, theta = problem((d, 6, 3), n, Output.SOFTMAX, real, rng, X=X)
    dense = data._replace(X=X.toarray())
    close(gradient(backend, data, network, theta)[1],
          gradient(reference, dense, network, theta)[1], real)  # fmt: skip
    close(answers(backend, data, network, theta), answers(reference, dense, network, theta), real)
    options = {
        "config": network_config(Solver.ADAM),
        "order": rng.permutation(n).astype(np.int32)[None],
    }
    own, expected = (
        train(b, one, network, theta, epochs=1, **options)[0]
        for b, one in ((backend, data), (reference, dense))
    )
    close(own.theta, expected.theta, real)


@pytest.mark.parametrize("real", REALS)
def test_extreme_scores(backend, reference, real):
    """Neither overflow nor lost digits; cross-entropies end at the bounds of [eps, 1 - eps]."""
    X = np.array([[-1e4], [-800.0], [-20], [0], [1e-6], [20], [800], [1e4]], real)
    for hidden, output in itertools.product(
        (Hidden.LOGISTIC, Hidden.TANH), (Output.LOGISTIC, Output.LOGISTIC_SQUARED, Output.SOFTMAX)
    ):
        k = 3 if output == Output.SOFTMAX else 1
        network = Network((1, 2, k), hidden, output)
        theta = np.linspace(-60, 60, network.n_parameters).astype(real)
        data = Data(X, np.arange(8).astype(np.uint8) % max(k, 2), None, 1 / 8)
        value, grad = gradient(backend, data, network, theta)
        expected = gradient(reference, data, network, theta)
        assert value == pytest.approx(expected[0], rel=1e-5)
        close(grad, expected[1], real)
        assert np.isfinite(answers(backend, data, network, theta)).all()


@pytest.mark.parametrize("real", REALS)
def test_tanh_near_zero(backend, real):
    """A network of one tanh neuron between identities gives tanh itself."""
    z = np.concatenate([np.logspace(-30, 1.5, 200), [0.0]]).astype(real)
    z = np.concatenate([z, -z])
    network = Network((1, 1, 1), Hidden.TANH, Output.IDENTITY)
    data = Data(z[:, None], None, None, 1.0)
    out = answers(backend, data, network, np.array([1, 1, 0, 0], real))[:, 0]
    np.testing.assert_allclose(out, np.tanh(z.astype(np.float64)), rtol=8 * np.finfo(real).eps)


@pytest.mark.parametrize("real", REALS)
def test_logistic_far_from_zero(backend, real):
    """A logistic neuron between identities gives sigma itself, down to the smallest numbers."""
    most = 85 if real == np.float32 else 700
    z = np.concatenate([np.linspace(-most, most, 997), [-1e30, 1e30, np.nan]]).astype(real)
    network = Network((1, 1, 1), Hidden.LOGISTIC, Output.IDENTITY)
    data = Data(z[:, None], None, None, 1.0)
    out = answers(backend, data, network, np.array([1, 1, 0, 0], real))[:, 0]
    expected = expit(z.astype(np.float64))
    np.testing.assert_allclose(out[:-3], expected[:-3], rtol=8 * np.finfo(real).eps)
    assert 0 <= out[-3] < 1e-37
    assert out[-2] == 1
    assert np.isnan(out[-1])


def test_nonfinite_costs_end_the_run(backend):
    rng = np.random.default_rng(13)
    data, network, theta = problem((3, 4, 1), 20, Output.IDENTITY, np.float64, rng)
    _, history, found = train(
        backend, data, network, theta, config=network_config(batch_size=5), epochs=200, rate=1e3
    )
    ((done, status),) = found
    assert status == Status.NONFINITE
    assert np.isfinite(history[:done]).all()
    assert done < 200


def test_a_batch_without_weight_teaches_nothing(backend):
    rng = np.random.default_rng(14)
    data, network, theta = problem((3, 2, 1), 8, Output.LOGISTIC, np.float64, rng)
    weight = np.repeat([1.0, 0.0], 4)
    first = network_config(Solver.MOMENTUM, batch_size=4, momentum=0.0)
    options = {"config": first, "epochs": 1}
    both, _, _ = train(backend, data._replace(sample_weight=weight), network, theta, **options)
    order = np.arange(4, dtype=np.int32)[None]
    alone, _, _ = train(backend, data, network, theta, order=order, **options)
    np.testing.assert_array_equal(both.theta, alone.theta)


def test_csr_with_repeated_entries(backend, reference):
    rng = np.random.default_rng(15)
    X = sp.csr_array((np.ones(4), [0, 0, 2, 1], [0, 3, 4]), shape=(2, 3))
    data, network, theta = problem((3, 2, 1), 2, Output.LOGISTIC, np.float64, rng, X=X)
    dense = data._replace(X=X.toarray())
    assert gradient(backend, data, network, theta)[0] == pytest.approx(
        gradient(reference, dense, network, theta)[0], rel=1e-12
    )


@pytest.mark.parametrize("n", (1, 2, 3, 4, 5, 64, 65, 1000))
def test_shuffle_is_scikit_learns(backend, n):
    theirs, ours = np.random.RandomState(n), np.random.RandomState(n)
    order, out = np.arange(n), np.empty((4, n), np.int32)
    backend.shuffle(ours, order.astype(np.int32), out)
    for row in out:
        order = shuffle(order, random_state=theirs)
        np.testing.assert_array_equal(row, order)
    assert theirs.randint(1 << 30) == ours.randint(1 << 30)
