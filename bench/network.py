"""Networks beside scikit-learn, JAX, PyTorch and a NumPy loop: ``python -m bench.network``.

All start from the same weights, take the rows in the same orders (scikit-learn's) and do
mini-batch gradient descent with momentum, in float32; their costs and weights are compared
before they are timed. A timing is that of a whole fit of some epochs divided by their
number; what comes before the first epoch, and what is compiled, is shown apart. For the
large networks the share of the processor's multiplications and additions is given, measured
in the same rounds; beside it the time that NumPy's BLAS takes for the matrix products alone.

``--animals FILE`` trains 784-100-10 on pictures instead and shows the accuracy; ``--curves``
compares costs of 50 epochs in float64 with scikit-learn's and counts the seeds that learn XOR.
"""

import argparse
import itertools
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import sklearn.neural_network as sklearn_networks
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

import schuss
from schuss.backends import cython_
from schuss.bench.runner import Refused, Work, interleave, limit_threads, quartiles, steady

RATE, MOMENTUM, SEED = 0.05, 0.9, 0
# Relative deviation of the costs, and of the weights by the largest one, in float32.
COST_TOLERANCE, WEIGHT_TOLERANCE = 1e-3, 1e-2
CHECKED_EPOCHS = 2
# Some 30 ms: starting threads does not count.
PEAK_REPEATS = 20_000_000


@dataclass(frozen=True)
class Problem:
    units: tuple[int, ...]
    n: int
    batch: int
    epochs: int  # of a run that is timed
    more: int  # times as many for those whose epochs are short beside their set-up

    def timed(self, library):
        return self.epochs * (self.more if library in ("schuss", "jax", "jax-one-call") else 1)

    @property
    def name(self):
        return "-".join(map(str, self.units))

    @property
    def operations(self):
        """Of an epoch's matrix products: forward, gradient, and back to the first layer."""
        sizes = [a * b for a, b in zip(self.units[:-1], self.units[1:], strict=True)]
        return 2 * self.n * (3 * sum(sizes) - sizes[0])


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem((2, 4, 1), 4, 4, 1000, 50),
        Problem((64, 32, 10), 1797, 32, 20, 10),
        Problem((30, 16, 16, 1), 20_000, 64, 5, 10),
        Problem((784, 100, 10), 60_000, 128, 2, 3),
        Problem((784, 256, 128, 10), 60_000, 256, 2, 3),
    )
}


@dataclass(frozen=True)
class Task:
    """A problem's data, initial weights and orders of the rows."""

    problem: Problem
    X: np.ndarray
    y: np.ndarray
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    orders: np.ndarray  # (epochs, n)

    @property
    def targets(self):
        """(n, outputs): one-hot, or the label itself for one output."""
        k = self.problem.units[-1]
        hot = self.y[:, None] == (np.arange(k) if k > 1 else [1])
        return hot.astype(np.float32)


def parameters(problem, epochs):
    return {
        "hidden_layer_sizes": problem.units[1:-1], "activation": "logistic", "solver": "sgd",
        "alpha": 0.0, "batch_size": problem.batch, "learning_rate_init": RATE, "tol": 0.0,
        "momentum": MOMENTUM, "nesterovs_momentum": False, "max_iter": epochs,
        "n_iter_no_change": epochs + 1, "random_state": SEED,
    }  # fmt: skip


def load(problem: Problem) -> Task:
    rng = np.random.default_rng(SEED)
    d, k = problem.units[0], problem.units[-1]
    if problem.n == 4:
        X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    elif problem.n == 1797:
        X, y = load_digits(return_X_y=True)
        X = X / 16
    else:
        X = rng.standard_normal((problem.n, d), dtype=np.float32) / np.sqrt(d / 8)
        y = (X @ rng.standard_normal((d, max(k, 2)))).argmax(axis=1)
    X = np.ascontiguousarray(X, np.float32)
    # What scikit-learn draws: weights and intercepts layer by layer, then the orders.
    random = np.random.RandomState(SEED)
    coefs, intercepts = [], []
    for below, above in zip(problem.units[:-1], problem.units[1:], strict=True):
        bound = np.sqrt(2.0 / (below + above))
        coefs.append(random.uniform(-bound, bound, (below, above)).astype(np.float32))
        intercepts.append(random.uniform(-bound, bound, above).astype(np.float32))
    orders = np.empty((problem.epochs * problem.more, problem.n), np.int32)
    order = np.arange(problem.n)
    for row in orders:
        places = np.arange(problem.n)
        random.shuffle(places)
        order = order[places]
        row[:] = order
    return Task(problem, X, y, coefs, intercepts, orders)


# A library's `prepare(task)` returns run(epochs) -> (costs, coefs); a fresh start each time.


def _estimator(module, task):
    def run(epochs):
        model = module.MLPClassifier(**parameters(task.problem, epochs)).fit(task.X, task.y)
        return model.loss_curve_, model.coefs_

    return run


def _numpy_loop(task):
    """What a careful user writes: products into arrays that are there, no copies but rows."""
    X, Y, problem = task.X, task.targets, task.problem
    depth = len(task.coefs)

    def run(epochs):
        W, b = [w.copy() for w in task.coefs], [v.copy() for v in task.intercepts]
        velocities = [np.zeros_like(p) for p in (*W, *b)]
        grads = [np.empty_like(p) for p in (*W, *b)]
        costs = []
        for order in task.orders[:epochs]:
            total = 0.0
            for start in range(0, problem.n, problem.batch):
                rows = order[start : start + problem.batch]
                a, m = [X[rows]], len(rows)
                for i in range(depth):
                    z = a[-1] @ W[i]
                    z += b[i]
                    if i + 1 < depth or z.shape[1] == 1:
                        np.negative(z, out=z)
                        np.exp(z, out=z)
                        z += 1
                        np.reciprocal(z, out=z)
                    else:
                        z -= z.max(axis=1, keepdims=True)
                        np.exp(z, out=z)
                        z /= z.sum(axis=1, keepdims=True)
                    a.append(z)
                y, p = Y[rows], a.pop()
                q = p if p.shape[1] > 1 else np.where(y, p, 1 - p)
                chosen = np.where(y, q, 1) if p.shape[1] > 1 else q
                total -= float(np.log(np.maximum(chosen, 1e-7)).sum())
                delta = p
                delta -= y
                delta /= m
                for i in range(depth - 1, -1, -1):
                    np.dot(a[i].T, delta, out=grads[i])
                    delta.sum(axis=0, out=grads[depth + i])
                    if i:
                        delta = delta @ W[i].T
                        delta *= a[i]
                        delta *= 1 - a[i]
                for w, v, g in zip((*W, *b), velocities, grads, strict=True):
                    v *= MOMENTUM
                    g *= RATE
                    v -= g
                    w += v
            costs.append(total / problem.n)
        return costs, W

    return run


def _prepare_jax(task, whole_run=False):
    """A jitted scan over the batches of an epoch; or over the epochs as well, which a user
    has who wants neither callbacks nor early stopping."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    import jax.numpy as jnp

    X, Y = jnp.asarray(task.X), jnp.asarray(task.targets)
    problem, depth = task.problem, len(task.coefs)
    whole = problem.n // problem.batch * problem.batch

    def cost(parameters, x, y):
        W, b = parameters
        for i in range(depth - 1):
            x = jax.nn.sigmoid(x @ W[i] + b[i])
        z = x @ W[-1] + b[-1]
        if z.shape[1] == 1:
            return (jax.nn.softplus(z) - y * z).sum() / len(x)
        return -(y * jax.nn.log_softmax(z)).sum() / len(x)

    def step(state, rows):
        parameters, velocity = state
        value, grad = jax.value_and_grad(cost)(parameters, X[rows], Y[rows])
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocity, grad)
        parameters = jax.tree.map(jnp.add, parameters, velocity)
        return (parameters, velocity), value * len(rows)

    def epoch(state, order):
        total = 0.0
        if whole:
            batches = order[:whole].reshape(-1, problem.batch)
            state, values = jax.lax.scan(step, state, batches)
            total = values.sum()
        if whole < problem.n:
            state, value = step(state, order[whole:])
            total = total + value
        return state, total / problem.n

    compiled_epoch = jax.jit(epoch)

    @jax.jit
    def all_epochs(state, orders):
        return jax.lax.scan(epoch, state, orders)

    def one_by_one(state, orders):
        costs = []
        for order in orders:
            state, value = compiled_epoch(state, order)
            costs.append(value)
        return state, costs

    descend = all_epochs if whole_run else one_by_one

    start = [jnp.asarray(w) for w in task.coefs], [jnp.asarray(v) for v in task.intercepts]
    zeros = jax.tree.map(jnp.zeros_like, start)
    orders = jnp.asarray(task.orders) if whole_run else list(map(jnp.asarray, task.orders))

    def run(epochs):
        (parameters, _), costs = descend((start, zeros), orders[:epochs])
        return np.asarray(costs), [np.asarray(w) for w in parameters[0]]

    return run


def _prepare_torch(task):
    import torch
    from torch import nn

    X, Y = torch.from_numpy(task.X), torch.from_numpy(task.targets)
    codes = torch.from_numpy(task.y.astype(np.int64))
    problem = task.problem
    single = problem.units[-1] == 1

    def run(epochs):
        layers: list[Any] = []
        for w, b in zip(task.coefs, task.intercepts, strict=True):
            layer = nn.Linear(*w.shape)
            layer.weight.data = torch.from_numpy(w.T.copy())
            layer.bias.data = torch.from_numpy(b.copy())
            layers += [layer, nn.Sigmoid()]
        network = nn.Sequential(*layers[:-1])
        loss = nn.BCEWithLogitsLoss() if single else nn.CrossEntropyLoss()
        optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
        costs = []
        for order in task.orders[:epochs]:
            total = 0.0
            for start in range(0, problem.n, problem.batch):
                rows = torch.from_numpy(order[start : start + problem.batch])
                optimiser.zero_grad()
                value = loss(network(X[rows]), Y[rows] if single else codes[rows])
                value.backward()
                optimiser.step()
                total += value.item() * len(rows)
            costs.append(total / problem.n)
        return costs, [layer.weight.data.numpy().T for layer in layers[::2]]

    return run


LIBRARIES: dict[str, Callable[[Task], Callable]] = {
    "scikit-learn": partial(_estimator, sklearn_networks),
    "numpy": _numpy_loop,
    "jax": _prepare_jax,
    "jax-one-call": partial(_prepare_jax, whole_run=True),
    "torch": _prepare_torch,
    "schuss": partial(_estimator, schuss),
}


def check(task: Task, outcome, expected) -> None:
    """Raise `Refused` unless costs and weights are those of scikit-learn."""
    costs, coefs = outcome
    expected_costs, expected_coefs = expected
    if len(costs) != len(expected_costs):
        raise Refused(f"{len(costs)} epochs instead of {len(expected_costs)}")
    deviation = np.abs(np.divide(costs, expected_costs) - 1).max()
    if not deviation <= COST_TOLERANCE:
        raise Refused(f"costs differ by {deviation:.1e}")
    for mine, other in zip(coefs, expected_coefs, strict=True):
        deviation = np.abs(mine - other).max() / np.abs(other).max()
        if not deviation <= WEIGHT_TOLERANCE:
            raise Refused(f"weights differ by {deviation:.1e}")


def _products(task):
    """The matrix products of an epoch by NumPy, and nothing else."""
    problem = task.problem
    rows = min(problem.batch, problem.n)
    a = [np.ones((rows, d), np.float32) for d in problem.units]
    out = [np.empty_like(x) for x in a]
    grads = [np.empty_like(w) for w in task.coefs]

    def run():
        for _ in range(problem.n // rows):
            for i, w in enumerate(task.coefs):
                np.dot(a[i], w, out=out[i + 1])
                np.dot(a[i].T, a[i + 1], out=grads[i])
                if i:
                    np.dot(a[i + 1], w.T, out=out[i])

    return run


def compare(problem: Problem, libraries, n_threads: int, rounds: int, budget: float) -> Table:
    """Verify and time; a row for each library."""
    task = load(problem)
    result = Table(title=f"{problem.name}, {problem.n:,} rows, batches of {problem.batch}")
    for column in ("", "ms an epoch", "quartiles", "schuss is faster", "of the peak", "set-up, s"):
        result.add_column(column, justify="right" if column else "left")
    works, notes, setup = {}, {}, {}
    with limit_threads(n_threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = LIBRARIES["scikit-learn"](task)(min(CHECKED_EPOCHS, problem.epochs))
        for name in libraries:
            start = time.perf_counter()
            try:
                run = LIBRARIES[name](task)
                outcome = run(len(expected[0]))
                check(task, outcome, expected)
            except (ImportError, Refused) as error:
                notes[name] = str(error)
                continue
            epochs = problem.timed(name)
            run(epochs)  # with whatever is compiled for this number of epochs
            begun = time.perf_counter()
            run(epochs)
            an_epoch = (time.perf_counter() - begun) / epochs
            setup[name] = max(begun - start - an_epoch * (len(expected[0]) + epochs), 0.0)
            works[name] = Work(partial(run, epochs), epochs)
        works["peak"] = Work(partial(cython_.multiply_add, PEAK_REPEATS, n_threads))
        works["products by BLAS"] = Work(_products(task))
        measured = interleave(works, n_threads=n_threads, rounds=rounds, budget=budget)
    keep = steady(measured.probe_seconds)
    operations = cython_.multiply_add(1, n_threads) * PEAK_REPEATS
    for name in (*libraries, "products by BLAS"):
        if name in notes:
            result.add_row(name, notes[name])
            continue
        seconds = np.asarray(measured.seconds[name])[keep]
        low, middle, high = quartiles(seconds * 1e3)
        ratio = "" if "schuss" not in works else (
            f"{np.median(seconds / np.asarray(measured.seconds['schuss'])[keep]):.2f}"
        )  # fmt: skip
        peak = operations / np.asarray(measured.seconds["peak"])[keep]
        share = np.median(problem.operations / seconds / peak)
        result.add_row(
            name, f"{middle:.4g}", f"{low:.4g} to {high:.4g}", ratio, f"{share:.1%}",
            f"{setup[name]:.2f}" if name in setup else "",
        )  # fmt: skip
    return result


def curves(epochs: int = 50, seeds: int = 20) -> Table:
    """Whether costs are scikit-learn's to the last digits, and XOR is learnt."""
    X, y = load_digits(return_X_y=True)
    result = Table(
        title=f"digits, 64-32-10, {epochs} epochs in float64; XOR by 2-4-1, {seeds} seeds"
    )
    result.add_column("")
    result.add_column("largest relative difference of loss_curve_, or seeds", justify="right")
    for solver, activation in itertools.product(("sgd", "adam"), ("logistic", "tanh", "relu")):
        settings = {"hidden_layer_sizes": (32,), "activation": activation, "solver": solver,
                    "batch_size": 32, "max_iter": epochs, "tol": 0.0,
                    "n_iter_no_change": epochs, "random_state": SEED}  # fmt: skip
        theirs, ours = (
            module.MLPClassifier(**settings).fit(X / 16, y).loss_curve_
            for module in (sklearn_networks, schuss)
        )
        deviation = np.abs(np.divide(ours, theirs) - 1).max()
        result.add_row(f"{solver}, {activation}", f"{deviation:.1e}")
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([0, 1, 1, 0])
    for loss in ("log_loss", "squared_error"):
        learnt = sum(
            schuss.MLPClassifier(
                (4,), "logistic", solver="sgd", learning_rate_init=1.0, batch_size=4, alpha=0,
                max_iter=5000, tol=0, n_iter_no_change=5000, random_state=seed,
            ).fit(X, y, loss=loss).score(X, y) == 1
            for seed in range(seeds)
        )  # fmt: skip
        result.add_row(f"XOR, {loss}", f"{learnt} of {seeds}")
    return result


def animals(path: str, epochs: int) -> Table:
    """784-100-10 on the pictures of ten animals, with each one's usual way to read them."""
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    X, X_test, y, y_test = train_test_split(
        images, labels, test_size=0.2, random_state=SEED, stratify=labels
    )
    settings = {"hidden_layer_sizes": (100,), "activation": "logistic", "solver": "adam",
                "batch_size": 128, "max_iter": epochs, "tol": 0.0, "n_iter_no_change": epochs,
                "alpha": 1e-3, "random_state": SEED}  # fmt: skip
    result = Table(title=f"animals, {len(X):,} pictures, {epochs} epochs of Adam")
    for column in ("", "test accuracy", "seconds", "bytes of X"):
        result.add_column(column, justify="right" if column else "left")
    inputs = {
        "schuss, uint8 as it lies": (schuss, X, X_test),
        "schuss, float32 in [0, 1]": (schuss, _unit(X), _unit(X_test)),
        "scikit-learn, float32 in [0, 1]": (sklearn_networks, _unit(X), _unit(X_test)),
        "scikit-learn, uint8": (sklearn_networks, X, X_test),
    }
    for name, (module, train, test) in inputs.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            start = time.perf_counter()
            model = module.MLPClassifier(**settings).fit(train, y)
            seconds = time.perf_counter() - start
        result.add_row(
            name, f"{model.score(test, y_test):.4f}", f"{seconds:.2f}", str(train.nbytes)
        )
    return result


def _unit(X):
    return X.astype(np.float32) / np.float32(255)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.network", description=__doc__)
    parser.add_argument("problems", nargs="*", help=f"of {', '.join(PROBLEMS)}; all by default")
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a problem")
    parser.add_argument("--animals", metavar="FILE", help="animals.npz")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--epochs", type=int, default=30, help="with --animals")
    options = parser.parse_args(arguments)
    console = Console(width=100)
    if options.curves:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            console.print(curves())
        return 0
    if options.animals:
        console.print(animals(options.animals, options.epochs))
        return 0
    unknown = [name for name in options.problems if name not in PROBLEMS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    for name in options.problems or PROBLEMS:
        console.print(
            compare(PROBLEMS[name], options.libraries.split(","), options.threads,
                    options.rounds, options.budget)
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
