"""Networks: problems, and an adapter for each library.

All start from the same weights and take the rows in scikit-learn's orders. Losses and weights
are held to scikit-learn's, in every timed run. A time is that of a whole fit, over its epochs.
"""

import importlib
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from schuss.backends import cython_
from schuss.bench.libraries import Library, installed
from schuss.bench.runner import Refused, Work

RATE, MOMENTUM, SEED = 0.05, 0.9, 0
# Relative deviation of the losses, and of the weights by the largest one.
TOLERANCES = {"float32": (1e-3, 1e-2), "float64": (1e-9, 1e-6)}
CHECKED_EPOCHS = 2
# Some 30 ms: starting threads does not count.
PEAK_REPEATS = 20_000_000


@dataclass(frozen=True)
class Network:
    """A task for `schuss.bench.runner.measure`.

    Attributes
    ----------
    settings : dict
        What the estimators are given beside, or instead of, plain SGD with momentum.
    """

    units: tuple[int, ...]
    n: int
    batch: int
    epochs: int
    settings: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    estimator: str = "MLPClassifier"
    label: str = ""
    checked: int = CHECKED_EPOCHS

    @property
    def name(self):
        return self.label or "-".join(map(str, self.units))

    @property
    def loss(self):
        default = "log_loss" if self.estimator == "MLPClassifier" else "squared_error"
        return self.settings.get("loss", default)

    @property
    def shape(self):
        return self.n, self.units[0]

    @property
    def nbytes(self):
        return self.X.nbytes

    @property
    def operations(self):
        """Of an epoch's matrix products: forward, gradient, and back to the first layer."""
        sizes = [a * b for a, b in zip(self.units[:-1], self.units[1:], strict=True)]
        return 2 * self.n * (3 * sum(sizes) - sizes[0])

    @property
    def parameters(self):
        return {
            "hidden_layer_sizes": self.units[1:-1], "activation": "logistic", "solver": "sgd",
            "alpha": 0.0, "batch_size": self.batch, "learning_rate_init": RATE, "tol": 0.0,
            "momentum": MOMENTUM, "nesterovs_momentum": False, "random_state": SEED,
        } | self.settings  # fmt: skip

    @cached_property
    def data(self):
        rng = np.random.default_rng(SEED)
        d, k = self.units[0], self.units[-1]
        if self.n == 4:
            X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
        elif self.n == 1797:
            X, y = load_digits(return_X_y=True)
            X = X / 16
        else:
            X = rng.standard_normal((self.n, d), dtype=np.float32) / np.sqrt(d / 8)
            y = (X @ rng.standard_normal((d, max(k, 2)))).argmax(axis=1)
        if self.estimator == "MLPRegressor":
            y = np.abs(X[:, 0] + X[:, 1]).astype(self.dtype)
        return np.ascontiguousarray(X, self.dtype), y

    X = property(lambda self: self.data[0])
    y = property(lambda self: self.data[1])

    @cached_property
    def start(self):
        """What scikit-learn draws: weights and intercepts layer by layer, then the orders."""
        random = np.random.RandomState(SEED)
        coefs, intercepts = [], []
        for below, above in zip(self.units[:-1], self.units[1:], strict=True):
            bound = np.sqrt(2.0 / (below + above))
            coefs.append(random.uniform(-bound, bound, (below, above)).astype(np.float32))
            intercepts.append(random.uniform(-bound, bound, above).astype(np.float32))
        orders = np.empty((self.epochs * LONGER, self.n), np.int32)
        order = np.arange(self.n)
        for row in orders:
            places = np.arange(self.n)
            random.shuffle(places)
            order = order[places]
            row[:] = order
        return coefs, intercepts, orders

    @property
    def targets(self):
        """(n, outputs): one-hot, or the label itself for one output."""
        k = self.units[-1]
        return (self.y[:, None] == (np.arange(k) if k > 1 else [1])).astype(np.float32)

    def limit(self, n_threads):
        """An epoch's operations at the rate of fused multiply-adds, of float32."""
        if self.dtype != "float32":
            return None
        done = cython_.multiply_add(1, n_threads) * PEAK_REPEATS
        return Work(partial(cython_.multiply_add, PEAK_REPEATS, n_threads), done / self.operations)

    def reference(self):
        return _Reference(self)


class _Reference:
    def __init__(self, task):
        self.lengths = (min(task.checked, task.epochs),)
        self.tolerances = TOLERANCES[task.dtype]
        self.losses, self.coefs = _estimator("sklearn.neural_network", task, 2)(self.lengths[0])

    def check(self, outcome, epochs):
        losses, coefs = outcome
        if len(losses) != epochs:
            raise Refused(f"{len(losses)} epochs instead of {epochs}")
        deviation = np.abs(np.divide(losses[: len(self.losses)], self.losses) - 1).max()
        if not deviation <= self.tolerances[0]:
            raise Refused(f"losses differ by {deviation:.1e}")
        if epochs == len(self.losses):
            for mine, other in zip(coefs, self.coefs, strict=True):
                off = np.abs(mine - other).max() / np.abs(other).max()
                if not off <= self.tolerances[1]:
                    raise Refused(f"weights differ by {off:.1e}")
        return {"deviation": float(deviation)}


# A library's `prepare(task, n_threads)` returns run(epochs) -> (losses, coefs), from the start.


def _estimator(module, task, n_threads):
    classes = getattr(importlib.import_module(module), task.estimator)

    def run(epochs):
        model = classes(**task.parameters, max_iter=epochs, n_iter_no_change=epochs + 1)
        model.fit(task.X, task.y)
        return model.loss_curve_, model.coefs_

    return run


def _numpy_loop(task, n_threads):
    """What a careful user writes: products into arrays that are there, no copies but rows."""
    X, Y, (coefs, intercepts, orders) = task.X, task.targets, task.start
    depth = len(coefs)

    def run(epochs):
        W, b = [w.copy() for w in coefs], [v.copy() for v in intercepts]
        velocities = [np.zeros_like(p) for p in (*W, *b)]
        grads = [np.empty_like(p) for p in (*W, *b)]
        losses = []
        for order in orders[:epochs]:
            total = 0.0
            for start in range(0, task.n, task.batch):
                rows = order[start : start + task.batch]
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
            losses.append(total / task.n)
        return losses, W

    return run


def _prepare_jax(task, n_threads, whole_run=False):
    """A jitted scan over the batches of an epoch; or over the epochs as well, which a user
    has who wants neither callbacks nor early stopping."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    import jax.numpy as jnp

    X, Y, (coefs, intercepts, orders) = jnp.asarray(task.X), jnp.asarray(task.targets), task.start
    depth = len(coefs)
    whole = task.n // task.batch * task.batch

    def loss(parameters, x, y):
        W, b = parameters
        for i in range(depth - 1):
            x = jax.nn.sigmoid(x @ W[i] + b[i])
        z = x @ W[-1] + b[-1]
        if z.shape[1] == 1:
            return (jax.nn.softplus(z) - y * z).sum() / len(x)
        return -(y * jax.nn.log_softmax(z)).sum() / len(x)

    def step(state, rows):
        parameters, velocity = state
        value, grad = jax.value_and_grad(loss)(parameters, X[rows], Y[rows])
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocity, grad)
        parameters = jax.tree.map(jnp.add, parameters, velocity)
        return (parameters, velocity), value * len(rows)

    def epoch(state, order):
        total = 0.0
        if whole:
            batches = order[:whole].reshape(-1, task.batch)
            state, values = jax.lax.scan(step, state, batches)
            total = values.sum()
        if whole < task.n:
            state, value = step(state, order[whole:])
            total = total + value
        return state, total / task.n

    compiled_epoch = jax.jit(epoch)

    @jax.jit
    def all_epochs(state, orders):
        return jax.lax.scan(epoch, state, orders)

    def one_by_one(state, orders):
        losses = []
        for order in orders:
            state, value = compiled_epoch(state, order)
            losses.append(value)
        return state, losses

    descend = all_epochs if whole_run else one_by_one
    start = [jnp.asarray(w) for w in coefs], [jnp.asarray(v) for v in intercepts]
    zeros = jax.tree.map(jnp.zeros_like, start)
    orders = jnp.asarray(orders) if whole_run else list(map(jnp.asarray, orders))

    def run(epochs):
        (parameters, _), losses = descend((start, zeros), orders[:epochs])
        return np.asarray(losses), [np.asarray(w) for w in parameters[0]]

    return run


def _prepare_torch(task, n_threads):
    import torch
    from torch import nn

    torch.set_num_threads(n_threads)
    X, Y = torch.from_numpy(task.X), torch.from_numpy(task.targets)
    codes = torch.from_numpy(task.y.astype(np.int64))
    coefs, intercepts, orders = task.start
    single = task.units[-1] == 1

    def run(epochs):
        layers: list[Any] = []
        for w, b in zip(coefs, intercepts, strict=True):
            layer = nn.Linear(*w.shape)
            layer.weight.data = torch.from_numpy(w.T.copy())
            layer.bias.data = torch.from_numpy(b.copy())
            layers += [layer, nn.Sigmoid()]
        network = nn.Sequential(*layers[:-1])
        loss = nn.BCEWithLogitsLoss() if single else nn.CrossEntropyLoss()
        optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
        losses = []
        for order in orders[:epochs]:
            total = 0.0
            for start in range(0, task.n, task.batch):
                rows = torch.from_numpy(order[start : start + task.batch])
                optimiser.zero_grad()
                value = loss(network(X[rows]), Y[rows] if single else codes[rows])
                value.backward()
                optimiser.step()
                total += value.item() * len(rows)
            losses.append(total / task.n)
        return losses, [layer.weight.data.numpy().T for layer in layers[::2]]

    return run


def _products(task, n_threads):
    """The matrix products of an epoch by NumPy's BLAS, and nothing else."""
    rows = min(task.batch, task.n)
    coefs = [np.ones(shape, np.float32) for shape in zip(task.units, task.units[1:], strict=False)]
    a = [np.ones((rows, d), np.float32) for d in task.units]
    out = [np.empty_like(x) for x in a]
    grads = [np.empty_like(w) for w in coefs]

    def run(epochs):
        for _ in range(epochs * (task.n // rows)):
            for i, w in enumerate(coefs):
                np.dot(a[i], w, out=out[i + 1])
                np.dot(a[i].T, a[i + 1], out=grads[i])
                if i:
                    np.dot(a[i + 1], w.T, out=out[i])

    return run


# Times the epochs for those whose epochs are short beside their set-up.
LONGER = 5
ESTIMATORS = (
    Library("scikit-learn", partial(_estimator, "sklearn.neural_network")),
    Library("schuss", partial(_estimator, "schuss"), longer=LONGER),
)
LIBRARIES = (
    *ESTIMATORS,
    Library("numpy", _numpy_loop),
    Library("jax", _prepare_jax, lambda: installed("jax"), longer=LONGER),
    Library(
        "jax, one call", partial(_prepare_jax, whole_run=True), lambda: installed("jax"),
        longer=LONGER,
    ),
    Library("torch", _prepare_torch, lambda: installed("torch")),
    Library("products by BLAS", _products, verified=False),
)  # fmt: skip
