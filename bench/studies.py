"""The studies: tables of problems for the one runner, each measured by ``python -m bench``."""

import multiprocessing
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from bench import tasks
from bench.networks import ESTIMATORS, Network
from bench.networks import LIBRARIES as NETWORKS
from schuss import threads
from schuss.bench import report
from schuss.bench.libraries import LIBRARIES, SOLVERS, Library, with_threads
from schuss.bench.problems import FITS, ORDERS, PROBLEMS, Problem
from schuss.bench.runner import SHORT_EPOCHS, measure


@dataclass(frozen=True)
class Item:
    """A problem and who takes part.

    Attributes
    ----------
    busy : bool
        Measured while other programs keep all processors busy.
    asked : bool
        Only measured where it is named.
    """

    load: Callable[[], Any]
    libraries: tuple[Library, ...]
    n_threads: int = 1
    rounds: int = 7
    busy: bool = False
    asked: bool = False


KERNEL, TRAIN = LIBRARIES["schuss-cython"], LIBRARIES["train-cython"]
# schuss as the kernel, in its other compiled backend, and as users call it; then the peers.
PEERS = tuple(
    LIBRARIES[name]
    for name in ("numpy", "schuss-cython", "schuss-numba", "train-cython", "torch", "jax")
)
BASE = (LIBRARIES["numpy"], KERNEL)
BOTH = threads.useful(2, 1 << 40)


def _logits(X, scales, rng):
    weights = 3 * rng.standard_normal(X.shape[1], dtype=np.float32) / np.sqrt(X.shape[1]) / scales
    return (rng.random(X.shape[0]) < expit(X @ weights - 0.5)).astype(np.uint8)


def _scaled(condition, n, d, seed):
    rng = np.random.default_rng(seed)
    scales = np.logspace(0, -np.log10(condition), d, dtype=np.float32)
    X = rng.standard_normal((n, d), dtype=np.float32) * scales
    return X, _logits(X, scales, rng)


def _text(n, d, seed, words=60):
    """Counts of words whose frequencies follow Zipf's law, by their random weights."""
    rng = np.random.default_rng(seed)
    share = 1 / (np.arange(d) + 10.0)
    columns = rng.choice(d, size=n * words, p=share / share.sum()).astype(np.int32)
    values = np.abs(rng.standard_normal(n * words, dtype=np.float32))
    starts = np.arange(0, n * words + 1, words, dtype=np.int32)
    X = sp.csr_array((values, columns, starts), shape=(n, d))
    X.sum_duplicates()
    z = X @ (rng.standard_normal(d) * (rng.random(d) < 0.2))
    return X, (rng.random(n) < expit(2 * z / z.std())).astype(np.uint8)


FITTED = {name: (PROBLEMS[name], dtype) for name, dtype in FITS.items() if name != "sparse"} | {
    "100x5": (Problem("100x5", 100, 5, 1, partial(_scaled, 1.0)), "float64"),
    "100000x100, condition 100": (
        Problem("100000x100, condition 100", 100_000, 100, 1, partial(_scaled, 100.0)), "float32",
    ),
    "20000x1000": (Problem("20000x1000", 20_000, 1000, 1, partial(_scaled, 1.0)), "float32"),
    "text": (Problem("text", 100_000, 50_000, 1, _text, sparse=True), "float64"),
}  # fmt: skip

NETWORK = {
    "2-4-1": Network((2, 4, 1), 4, 4, 1000),
    "64-32-10": Network((64, 32, 10), 1797, 32, 20),
    "30-16-16-1": Network((30, 16, 16, 1), 20_000, 64, 5),
    "784-100-10": Network((784, 100, 10), 60_000, 128, 2),
    "784-256-128-10": Network((784, 256, 128, 10), 60_000, 256, 2),
}
# SimpleChains.jl publishes 41 µs an epoch on 18 cores, about 54 GFLOP/s a core:
# https://github.com/PumasAI/SimpleChains.jl
_CHAIN = Network(
    (4, 32, 16, 4), 10_000, 10_000, 50, {"activation": "tanh", "solver": "adam"},
    label="4-32-16-4, tanh, Adam, full batch",
)  # fmt: skip
_REGRESSION = {
    f"MLPRegressor 30-16-16-1, {loss}": Network(
        (30, 16, 16, 1), 20_000, 64, 5, {"loss": loss}, estimator="MLPRegressor",
        label=f"MLPRegressor 30-16-16-1, {loss}",
    )
    for loss in ("squared_error", "poisson")
}  # fmt: skip
_CURVES = {
    f"{solver}, {activation}": Network(
        (64, 32, 10), 1797, 32, 50,
        {"solver": solver, "activation": activation, "learning_rate_init": 0.001},
        dtype="float64", label=f"loss_curve_, {solver}, {activation}", checked=50,
    )
    for solver, activation in product(("sgd", "adam"), ("logistic", "tanh", "relu"))
}  # fmt: skip
_FEW = 50


def _task(name, epochs=None, **options):
    task = PROBLEMS[name].load(**options)
    return replace(task, epochs=epochs) if epochs else task


def _memory_sized(dtype, order, d, nbytes=128_000_000):
    n = nbytes // (d * np.dtype(dtype).itemsize)
    make = PROBLEMS["1000000x100"].make
    return Problem(f"{n}x{d} {order}", n, d, SHORT_EPOCHS, make).load(dtype, order)


def _shaped(n, d):
    epochs = max(SHORT_EPOCHS, min(5000, 20_000_000 // (n * d)))
    return Problem(f"{n}x{d}", n, d, epochs, PROBLEMS["20000x100"].make).load()


def _useful(problem):
    return threads.useful(BOTH, problem.n * problem.d)


def _networks(network, libraries=NETWORKS, counts=(1, 2)):
    return {
        f"{network.name}, {n} thread{'s' * (n > 1)}": Item(lambda: network, libraries, n, 5)
        for n in counts
    }


STUDIES: dict[str, dict[str, Item]] = {
    "epochs": {name: Item(PROBLEMS[name].load, PEERS) for name in PROBLEMS},
    "fits": {
        name: Item(partial(problem.load_fit, dtype), tuple(SOLVERS.values()), _useful(problem), 5)
        for name, (problem, dtype) in FITTED.items()
    },
    "coefficients": {
        name: Item(
            partial(tasks.coefficients, problem, dtype, "newton-cholesky"), tasks.COEFFICIENTS, 2, 3
        )
        for name, (problem, dtype) in FITTED.items()
        if not problem.sparse
    },
    "limits": {
        f"{dtype} {order} d={d}, {n} thread{'s' * (n > 1)}": Item(
            partial(_memory_sized, dtype, order, d), (KERNEL,), n
        )
        for dtype, order, d, n in product(
            ("float32", "float64"), ORDERS, (16, 28, 100, 256, 784, 2000), (1, 2)
        )
    },
    "dtypes": {
        f"1000000x100 {dtype}": Item(
            partial(_task, "1000000x100", dtype=dtype), (*BASE, TRAIN), 1, 5
        )
        for dtype in ("uint8", "float16", "float32")
    },
    "threads": {
        name: Item(
            PROBLEMS[name].load, (with_threads(KERNEL, 1), with_threads(KERNEL, 2)), 2
        )
        for name in ("20000x100", "100000x100", "1000000x100", "sparse")
    },
    "spare-threads": {
        f"{name}{', all processors busy' * busy}": Item(
            partial(_task, name, _FEW), tuple(with_threads(TRAIN, n) for n in (1, 2, 8)), 2,
            busy=busy,
        )
        for name, busy in (
            *((name, False) for name in ("4x2", "100x2", "breast-cancer", "digits")),
            *((name, True) for name in ("20000x100", "100000x100")),
        )
    },
    "scaling": {
        f"{n}x{d}": Item(partial(_shaped, n, d), BASE)
        for n, d in (
            *((10**k, 28) for k in range(2, 7)),
            *((4_000_000 // d, d) for d in (2, 8, 32, 128, 512, 2048)),
        )
    },
    "networks": {
        key: item
        for network in NETWORK.values()
        for key, item in _networks(network).items()
    } | _networks(_CHAIN, ESTIMATORS)
    | {k: v for n in _REGRESSION.values() for k, v in _networks(n, ESTIMATORS, (2,)).items()},
    "curves": {
        **{name: Item(partial(lambda n: n, network), ESTIMATORS, 2, 3)
           for name, network in _CURVES.items()},
        **{f"XOR, {loss}": Item(partial(tasks.xor, loss), tasks.XOR, 1, 3)
           for loss in ("log_loss", "squared_error")},
    },
    "sgd": {
        f"{n}x{d} {dtype}": Item(partial(tasks.sgd, n, d, dtype), tasks.SGD)
        for dtype in ("float64", "float32")
        for n, d in ((1000, 20), (100_000, 20), (100_000, 100), (20_000, 1000))
    },
    "prediction": {
        f"{estimator}.{method} {n}x{d} {dtype}": Item(
            partial(tasks.prediction, estimator, method, n, d, dtype),
            tasks.PROBABILITIES if (estimator, method) == ("LogisticRegression", "predict_proba")
            else tasks.PREDICTION,
        )
        for estimator, method, d in (
            ("LogisticRegression", "predict_proba", 100), ("LogisticRegression", "predict", 100),
            ("SGDClassifier", "decision_function", 100), ("SGDRegressor", "predict", 100),
            ("MLPClassifier", "predict_proba", 100), ("MLPRegressor", "predict", 100),
        )
        for n, dtype in ((1, "float64"), (100_000, "float64"), (100_000, "float32"))
    },
    "minimise": {
        "x² − 4x + 6": Item(partial(tasks.parabola, 1_000_000), tasks.PARABOLA),
        **{name: Item(partial(tasks.function, name), tasks.methods(name), 1, 3)
           for name in tasks.FUNCTIONS},
    },
    "first-call": {"import and fit": Item(tasks.first_call, tasks.FIRST_CALL)},
    "accuracy": {
        "float32": Item(partial(tasks.formulas, "float32"), tasks.FORMULAS, 2, 3),
        "float64": Item(partial(tasks.formulas, "float64"), tasks.FORMULAS, 2, 3),
        "every float32": Item(
            partial(tasks.formulas, "float32", 1), tasks.FORMULAS, 2, 3, asked=True
        ),
    },
}  # fmt: skip

# With --data: "FILE:TARGET", or an .npz of images and labels.
OF_DATA: dict[str, Callable[[str], dict[str, Item]]] = {
    "table": lambda data: {"table": Item(partial(tasks.table, data), tasks.TABLE)},
    "pictures": lambda data: {
        f"pictures {unit}": Item(partial(tasks.pictures, data, unit), tasks.PICTURES, 2, 3)
        for unit in (True, False)
    },
}


def items(study, data=None):
    """The problems of a study."""
    return STUDIES[study] if study in STUDIES else OF_DATA[study](data)


def measured(study, key, data, options):
    """In the fresh process: the result as JSON keeps it, and where it was measured."""
    item = items(study, data)[key]
    timing = {"n_threads": item.n_threads, "rounds": item.rounds, **options}
    with _busy() if item.busy else nullcontext():
        result = measure(item.load(), item.libraries, **timing)
    return {"environment": report.environment(), "result": report.as_json(result)}


@contextmanager
def _busy():
    """As many processes that do nothing but work as this one may use processors."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=tasks.spin, daemon=True) for _ in range(threads.available())]
    try:
        for other in others:
            other.start()
        yield
    finally:
        for other in others:
            other.terminate()
            other.join()
