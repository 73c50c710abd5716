"""The studies: tables of problems for the one runner, each measured by ``python -m bench``."""

from functools import partial
from itertools import product

import numpy as np
import scipy.sparse as sp
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from bench import many, tasks
from bench.networks import ESTIMATORS, SIMPLE_CHAINS, Network
from bench.networks import LIBRARIES as NETWORKS
from schuss import threads
from schuss.bench.libraries import L1_SOLVERS, LIBRARIES, SOLVERS, with_threads
from schuss.bench.problems import FITS, ORDERS, PROBLEMS, Problem, random_sparse
from schuss.bench.suite import Item, shaped

KERNEL, TRAIN = LIBRARIES["schuss-cython"], LIBRARIES["train-cython"]
# schuss as the kernel, in its other compiled backend, and as users call it; then the peers.
PEERS = tuple(
    LIBRARIES[name]
    for name in (
        "numpy", "schuss-cython", "schuss-numba", "train-cython", "torch", "torch, compiled", "jax"
    )
)  # fmt: skip
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


def _expressions(n, d, seed):
    """As those of genes: a few causes of all, and levels of their own."""
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((n, 8), dtype=np.float32)
    sizes = np.exp(rng.standard_normal(d, dtype=np.float32))
    X = causes @ rng.standard_normal((8, d), dtype=np.float32) * sizes
    X += rng.standard_normal((n, d), dtype=np.float32) + 3 * rng.standard_normal(d)
    noise = rng.standard_normal(n, dtype=np.float32)
    return X.astype(np.float32), (causes[:, 0] + noise / 2 > 0).astype(np.uint8)


def _classes(k, n, d, seed):
    """As many classes, by noisy scores of random weights."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d), dtype=np.float32)
    score = X @ rng.standard_normal((d, k), dtype=np.float32)
    noise = rng.gumbel(size=(n, k)) * score.std()
    return X, (score + noise).argmax(axis=1).astype(np.uint8)


def _digits(n, d, seed):
    X, target = load_digits(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), target.astype(np.uint8)


def _pictures(divisor, n, d, seed):
    """Grey pictures of 28 x 28 points, 0 to 255: two of scikit-learn's digits of a class, mixed,
    enlarged to 20 x 20, somewhere in the picture, with noise. Divided, they are floats."""
    rng = np.random.default_rng(seed)
    small, target = load_digits(return_X_y=True)
    codes = rng.integers(0, 10, n).astype(np.uint8)
    order = np.argsort(target, kind="stable")
    counts = np.bincount(target)
    starts = np.cumsum(counts) - counts
    places = np.linspace(0, 7, 20)
    low = np.minimum(places.astype(int), 6)
    enlarge = np.zeros((20, 8), np.float32)
    enlarge[np.arange(20), low] = 1 - (places - low)
    enlarge[np.arange(20), low + 1] += (places - low).astype(np.float32)
    large = np.einsum("ai,nij,bj->nab", enlarge, small.reshape(-1, 8, 8) / 16, enlarge)
    first, second = (
        large[order[starts[codes] + (rng.random(n) * counts[codes]).astype(int)]] for _ in range(2)
    )
    share = (rng.random((n, 1, 1)) / 2).astype(np.float32)
    mixed = (1 - share) * first + share * second
    noise = rng.standard_normal(mixed.shape, dtype=np.float32) * np.float32(0.08)
    mixed = ((mixed - 0.25) * 1.8 + noise * (mixed > 0.05)).clip(0, 1)
    X = np.zeros((n, 28, 28), np.uint8)
    top, left = rng.integers(1, 8, (2, n))
    for place in range(49):
        here = np.flatnonzero((top == 1 + place // 7) & (left == 1 + place % 7))
        rows, columns = (np.arange(20) + 1 + part for part in divmod(place, 7))
        X[here[:, None, None], rows[:, None], columns] = 255 * mixed[here]
    X = X.reshape(n, d)
    return X if divisor == 1 else X / np.float32(divisor), codes


def _topics(k, n, d, seed, words=100):
    """tf-idf of texts whose words follow Zipf's law, one in seven from those of their class."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n).astype(np.uint8)
    share = np.cumsum(1 / (np.arange(d) + 10.0))
    columns = np.searchsorted(share, rng.random(n * words) * share[-1])
    own = rng.integers(0, d, (k, 2000))
    topical = own[np.repeat(codes, words), (2000 * rng.random(n * words) ** 3).astype(int)]
    columns = np.where(rng.random(n * words) < 0.15, topical, columns)
    rows = np.repeat(np.arange(n), words)
    X = sp.csr_array((np.ones(n * words, np.float32), (rows, columns)), shape=(n, d))
    rarity = np.log((1 + n) / (1 + np.bincount(X.indices, minlength=d)))
    X.data = ((1 + np.log(X.data)) * rarity[X.indices]).astype(np.float32)
    norms = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    return sp.csr_array(sp.diags_array(1 / norms.astype(np.float32)) @ X), codes


# Problems of several classes, and the type of the features.
CLASSES = {
    **{
        f"20000x50, {k} classes": (20_000, 50, partial(_classes, k), "float64") for k in (3, 10, 50)
    },
    "100000x50, 10 classes": (100_000, 50, partial(_classes, 10), "float32"),
    "20000x784, 10 classes": (20_000, 784, partial(_classes, 10), "float32"),
    "digits, 10 classes": (1797, 64, _digits, "float64"),
    "pictures, uint8": (60_000, 784, partial(_pictures, 1), "uint8"),
    "pictures, float32": (60_000, 784, partial(_pictures, 255), "float32"),
    "topics, 20 classes": (11_000, 100_000, partial(_topics, 20), "float32"),
}
# More features than rows.
WIDE = {
    f"1000x{d}": Problem(f"1000x{d}", 1000, d, 1, partial(_scaled, 1.0)) for d in (20_000, 50_000)
} | {"150x5000, correlated": Problem("150x5000, correlated", 150, 5000, 1, _expressions)}
WIDE_SOLVERS = {
    name: SOLVERS[name]
    for name in ("schuss", "sklearn-lbfgs", "sklearn-newton-cg", "sklearnex-lbfgs")
}

FITTED = {name: (PROBLEMS[name], dtype) for name, dtype in FITS.items() if name != "sparse"} | {
    "100x5": (Problem("100x5", 100, 5, 1, partial(_scaled, 1.0)), "float64"),
    "100000x100, condition 100": (
        Problem("100000x100, condition 100", 100_000, 100, 1, partial(_scaled, 100.0)), "float32",
    ),
    "20000x1000": (Problem("20000x1000", 20_000, 1000, 1, partial(_scaled, 1.0)), "float32"),
    "text": (Problem("text", 100_000, 50_000, 1, _text, sparse=True), "float64"),
}  # fmt: skip

# With an L1 penalty, a share of the least that leaves no weight.
SELECTED = {
    "breast-cancer": (*FITTED["breast-cancer"], (0.1, 0.01)),
    "20000x1000": (*FITTED["20000x1000"], (0.1, 0.02)),
    "1000x5000": (shaped(1000, 5000), "float32", (0.1,)),
    "2000x50000": (shaped(2000, 50_000), "float32", (0.1,)),
    "text": (*FITTED["text"], (0.1, 0.01)),
    "text 50000x20000": (
        Problem("text 50000x20000", 50_000, 20_000, 1, partial(_text, words=50), sparse=True),
        "float64", (0.01,),
    ),
    # Random entries, not words: many weights are not 0.
    "sparse 50000x20000": (
        Problem("sparse 50000x20000", 50_000, 20_000, 1, partial(random_sparse, row_length=50),
                sparse=True),
        "float64", (0.01,),
    ),
}  # fmt: skip

NETWORK = {
    "2-4-1": Network((2, 4, 1), 4, 4, 1000),
    "64-32-10": Network((64, 32, 10), 1797, 32, 20),
    "30-16-16-1": Network((30, 16, 16, 1), 20_000, 64, 5),
    "784-100-10": Network((784, 100, 10), 60_000, 128, 2),
    "784-256-128-10": Network((784, 256, 128, 10), 60_000, 256, 2),
}
# Those that only scikit-learn trains by the same rules.
SETTINGS = (
    Network(
        (4, 32, 16, 4), 10_000, 10_000, 50, {"activation": "tanh", "solver": "adam"},
        label="4-32-16-4, tanh, Adam, full batch",
    ),
    *(
        Network(
            (64, 32, 10), 1797, 32, 20,
            {"solver": solver, "activation": activation, "learning_rate_init": 0.001},
            label=f"64-32-10, {solver}, {activation}",
        )
        for solver, activation in (("adam", "relu"), ("adam", "tanh"), ("sgd", "relu"))
    ),
    *(
        Network(
            (30, 16, 16, 1), 20_000, 64, 5, {"loss": loss}, estimator="MLPRegressor",
            label=f"MLPRegressor 30-16-16-1, {loss}",
        )
        for loss in ("squared_error", "poisson")
    ),
)  # fmt: skip


def _memory_sized(dtype, order, d, nbytes=128_000_000):
    n = nbytes // (d * np.dtype(dtype).itemsize)
    problem = shaped(n, d)
    return Problem(f"{n}x{d} {order}", n, d, 3, problem.make).load(dtype, order)


def _few(name, epochs=50):
    problem = PROBLEMS[name]
    return Problem(name, problem.n, problem.d, epochs, problem.make).load()


def _fit(problem, dtype, solvers=SOLVERS, **options):
    n_threads = threads.useful(BOTH, problem.n * problem.d)
    load = partial(problem.load_fit, dtype, **options)
    return Item(load, tuple(solvers.values()), n_threads, 5)


def _by_threads(networks, libraries):
    return {
        f"{network.name}, {n} thread{'s' * (n > 1)}": Item(
            partial(lambda it: it, network), libraries, n, 5
        )
        for network in networks
        for n in (1, 2)
    }


def _predictions():
    rows = (1, 100_000)
    plain = [
        *product(
            ("LogisticRegression",),
            ("predict", "decision_function", "predict_proba", "predict_log_proba"),
        ),
        *product(("SGDClassifier",), ("predict", "decision_function", "predict_proba")),
        *product(("MLPClassifier",), ("predict", "predict_proba")),
        ("SGDRegressor", "predict"), ("MLPRegressor", "predict"),
    ]  # fmt: skip
    found = [(*which, n, 100, kind) for which in plain for n in rows
             for kind in (("float64", "float32") if n > 1 else ("float64",))]  # fmt: skip
    found += [("LogisticRegression", "predict_proba", n, 100, "CSR") for n in rows]
    found += [("LogisticRegression", m, n, 100, "float64", 10)
              for m in ("predict", "predict_proba") for n in rows]  # fmt: skip
    for which in found:
        linear = which[0] in ("LogisticRegression", "SGDClassifier") and which[4] != "CSR"
        libraries = tasks.LINEAR_PREDICTION if linear else tasks.PREDICTION
        estimator, method, n, d, kind, *k = which
        key = f"{estimator}.{method} {n}x{d} {kind}{', 10 classes' * len(k)}"
        yield key, Item(partial(tasks.prediction, *which), libraries, 1, 5)


STUDIES: dict[str, dict[str, Item]] = {
    "epochs": {name: Item(PROBLEMS[name].load, PEERS) for name in PROBLEMS},
    "fits": {name: _fit(*problem) for name, problem in FITTED.items()},
    "l1": {
        f"{name}, {share:g}": _fit(problem, dtype, L1_SOLVERS, l1=share)
        for name, (problem, dtype, shares) in SELECTED.items() for share in shares
    } | {"path of 50, 1000x5000": Item(partial(tasks.penalty_path, 1000, 5000), tasks.PATH, 2, 3)},
    "classes": {
        name: _fit(
            Problem(name, n, d, 1, make, sparse=name.startswith("topics")), dtype,
            # Of 784 features newton-cholesky's Hessian has 7840 rows.
            {name: SOLVERS[name] for name in ("schuss", "sklearn-lbfgs",
             *("sklearn-newton-cholesky",) * (d < 100), "sklearn-newton-cg", "sklearnex-lbfgs")},
        )
        for name, (n, d, make, dtype) in CLASSES.items()
    },
    "wide": {name: _fit(problem, "float32", WIDE_SOLVERS) for name, problem in WIDE.items()},
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
            partial(PROBLEMS["1000000x100"].load, dtype), (*BASE, TRAIN), 1, 5
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
            partial(_few, name), tuple(with_threads(TRAIN, n) for n in (1, 2, 8)), 2,
            busy=BOTH * busy,
        )
        for name, busy in (
            *((name, False) for name in ("4x2", "100x2", "breast-cancer", "digits")),
            *((name, True) for name in ("20000x100", "100000x100")),
        )
    },
    "busy": {
        f"{name}, {n} busy": Item(load, (with_threads(it, 1), with_threads(it, 2)), 2, 15, n)
        for name, load, it in (
            ("20000x100", PROBLEMS["20000x100"].load, TRAIN),
            ("4-32-16-4, full batch", partial(lambda it: it, SETTINGS[0]), ESTIMATORS[1]),
            ("fit of 100000x100", partial(PROBLEMS["100000x100"].load_fit, "float32"),
             SOLVERS["schuss"]),
        )
        for n in range(3)
    },
    "scaling": {
        f"{n}x{d}": Item(shaped(n, d).load, BASE)
        for n, d in (
            *((10**k, 28) for k in range(2, 7)),
            *((4_000_000 // d, d) for d in (2, 8, 32, 128, 512, 2048)),
        )
    },
    "networks": _by_threads(NETWORK.values(), NETWORKS)
    | _by_threads(SETTINGS[:1], (*ESTIMATORS, SIMPLE_CHAINS))
    | _by_threads(SETTINGS[1:], ESTIMATORS),
    "sgd": {
        f"{n}x{d} {dtype}": Item(partial(tasks.sgd, n, d, dtype), tasks.SGD)
        for dtype in ("float64", "float32")
        for n, d in ((1000, 20), (100_000, 20), (100_000, 100), (20_000, 1000))
    },
    "many": {
        load.func.__name__ + " " + "x".join(map(str, load.args)): Item(load, libraries, 2, 3)
        for load, libraries in (
            (partial(many.groups, 10_000, 200, 10), (many.TOGETHER, many.LOOP, many.SKLEARN)),
            (partial(many.scan, 2535, 5, 25_956), (many.TOGETHER,)),
            (partial(many.scan, 2535, 5, 2000), (many.TOGETHER, many.LOOP, many.SKLEARN)),
            (partial(many.folds, 100_000, 100, 5, 10), (many.TOGETHER, many.LOOP)),
            (partial(many.targets, 1000, 20_000, 100), (many.TOGETHER, many.LOOP)),
            (partial(many.replicates, 200, 10_000, 30), (many.TOGETHER, many.LOOP, many.SKLEARN)),
        )
    },
    "prediction": dict(_predictions()),
    "memory": {
        f"{estimator} {dtype}": Item(
            partial(tasks.memory_of, estimator, dtype), tasks.MEMORY, 2, 3
        )
        for estimator in ("LogisticRegression", "SGDClassifier", "MLPClassifier")
        for dtype in ("float32", "uint8")
    },
    "minimise": {"x² − 4x + 6": Item(partial(tasks.parabola, 1_000_000), tasks.PARABOLA)},
    "inference": {
        f"{kind} {n}x{d}{', correlated' * correlated}": Item(
            partial(tasks.inference, kind, n, d, correlated), tasks.INFERENCE[kind], n_threads, 5
        )
        for kind, n, d, correlated, n_threads in (
            ("summary", 100_000, 50, False, 2), ("share", 100_000, 100, False, 2),
            ("firth", 569, 15, False, 1), ("firth", 569, 15, True, 1),
            ("profile", 569, 15, False, 1), ("profile", 569, 15, True, 1),
        )
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


def items():
    """Where `schuss.bench.suite.measured` finds them."""
    return STUDIES
