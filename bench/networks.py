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
from schuss.bench.libraries import Library, Outcome, installed
from schuss.bench.runner import Reference, Work

RATE, MOMENTUM, SEED = 0.05, 0.9, 0
# Of weights and losses, relative to the largest.
TOLERANCES = {"float32": (1e-2, 1e-3), "float64": (1e-6, 1e-9)}
CHECKED_EPOCHS = 2
# Times the epochs for those whose epochs are short beside their set-up.
LONGER = 5
# Some 30 ms: starting threads does not count.
PEAK_REPEATS = 20_000_000


@dataclass(frozen=True)
class Network:
    """A task for `schuss.bench.runner.measure`: plain SGD with momentum, but for `settings`."""

    units: tuple[int, ...]
    n: int
    batch: int
    epochs: int
    settings: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    estimator: str = "MLPClassifier"
    label: str = ""

    name = property(lambda self: self.label or "-".join(map(str, self.units)))
    shape = property(lambda self: (self.n, self.units[0]))
    nbytes = property(lambda self: self.X.nbytes)
    X = property(lambda self: self.data[0])
    y = property(lambda self: self.data[1])

    @property
    def loss(self):
        default = "log_loss" if self.estimator == "MLPClassifier" else "squared_error"
        return self.settings.get("loss", default)

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
        run = _estimator("sklearn.neural_network", self, 2)
        return Reference(run, (min(CHECKED_EPOCHS, self.epochs),), *TOLERANCES[self.dtype])


def _outcome(losses, coefs):
    return Outcome(np.concatenate([np.ravel(w) for w in coefs]), 0.0, losses)


# A library's `prepare(task, n_threads)` returns run(epochs), which begins at the start.


def _estimator(module, task, n_threads):
    classes = getattr(importlib.import_module(module), task.estimator)

    def run(epochs):
        model = classes(**task.parameters, max_iter=epochs, n_iter_no_change=epochs + 1)
        model.fit(task.X, task.y)
        return _outcome(model.loss_curve_, model.coefs_)

    return run


def _prepare_jax(task, n_threads):
    """One jitted scan over the batches and the epochs."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    import jax.numpy as jnp

    X, Y, (coefs, intercepts, orders) = jnp.asarray(task.X), jnp.asarray(task.targets), task.start
    whole = task.n // task.batch * task.batch

    def loss(parameters, x, y):
        *hidden, (W, b) = zip(*parameters, strict=True)
        for w, v in hidden:
            x = jax.nn.sigmoid(x @ w + v)
        z = x @ W + b
        if z.shape[1] == 1:
            return (jax.nn.softplus(z) - y * z).sum() / len(x)
        return -(y * jax.nn.log_softmax(z)).sum() / len(x)

    def step(state, rows):
        parameters, velocity = state
        value, grad = jax.value_and_grad(loss)(parameters, X[rows], Y[rows])
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocity, grad)
        return (jax.tree.map(jnp.add, parameters, velocity), velocity), value * len(rows)

    def epoch(state, order):
        batches = order[:whole].reshape(-1, task.batch)
        state, values = jax.lax.scan(step, state, batches)
        total = values.sum()
        if whole < task.n:
            state, value = step(state, order[whole:])
            total = total + value
        return state, total / task.n

    descend = jax.jit(lambda state, orders: jax.lax.scan(epoch, state, orders))
    start = [jnp.asarray(w) for w in coefs], [jnp.asarray(v) for v in intercepts]
    state, orders = (start, jax.tree.map(jnp.zeros_like, start)), jnp.asarray(orders)

    def run(epochs):
        (parameters, _), losses = descend(state, orders[:epochs])
        return _outcome(np.asarray(losses), parameters[0])

    return run


def _prepare_torch(task, n_threads, compiled=False):
    import torch
    from torch import nn

    torch.set_num_threads(n_threads)
    single = task.units[-1] == 1
    X, Y = torch.from_numpy(task.X), torch.from_numpy(task.targets)
    Y = Y if single else torch.from_numpy(task.y.astype(np.int64))
    coefs, intercepts, orders = task.start
    layers = [nn.Linear(*w.shape) for w in coefs]
    network = nn.Sequential(*(part for layer in layers for part in (layer, nn.Sigmoid())))[:-1]
    loss = nn.BCEWithLogitsLoss() if single else nn.CrossEntropyLoss()

    def objective(x, y):
        return loss(network(x), y)

    objective = torch.compile(objective) if compiled else objective

    def run(epochs):
        with torch.no_grad():
            for layer, w, b in zip(layers, coefs, intercepts, strict=True):
                layer.weight.copy_(torch.from_numpy(w.T))
                layer.bias.copy_(torch.from_numpy(b))
        optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
        losses = []
        for order in orders[:epochs]:
            total = 0.0
            for rows in torch.from_numpy(order).split(task.batch):
                optimiser.zero_grad()
                value = objective(X[rows], Y[rows])
                value.backward()
                optimiser.step()
                total += value.item() * len(rows)
            losses.append(total / task.n)
        return _outcome(losses, [layer.weight.detach().numpy().T for layer in layers])

    return run


def _products(module, task, n_threads):
    """The matrix products of an epoch, and nothing else: by NumPy's BLAS, or PyTorch's oneDNN."""
    np_or_torch = importlib.import_module(module)
    product, ones = np_or_torch.matmul, np_or_torch.ones
    if module == "torch":
        np_or_torch.set_num_threads(n_threads)
    rows = min(task.batch, task.n)
    single = np_or_torch.float32
    coefs = [ones(shape, dtype=single) for shape in zip(task.units, task.units[1:], strict=False)]
    a = [ones((rows, d), dtype=single) for d in task.units]
    out, grads = [ones(x.shape, dtype=single) for x in a], [w * 1 for w in coefs]

    def run(epochs):
        for _ in range(epochs * (task.n // rows)):
            for i, w in enumerate(coefs):
                product(a[i], w, out=out[i + 1])
                product(a[i].T, a[i + 1], out=grads[i])
                if i:
                    product(a[i + 1], w.T, out=out[i])

    return run


# Its authors' figure for 4-32-16-4, tanh, Adam, full batches of 10,000 rows.
SIMPLE_CHAINS = Library(
    "SimpleChains.jl", _estimator,
    lambda: "not run here; published: 41 µs an epoch on 18 cores, about 54 GFLOP/s a core "
    "(https://github.com/PumasAI/SimpleChains.jl)",
)  # fmt: skip
ESTIMATORS = (
    Library("scikit-learn", partial(_estimator, "sklearn.neural_network")),
    Library("schuss", partial(_estimator, "schuss"), longer=LONGER),
)
LIBRARIES = (
    *ESTIMATORS,
    Library("jax", _prepare_jax, installed("jax"), longer=LONGER),
    Library("torch", _prepare_torch, installed("torch")),
    Library("torch, compiled", partial(_prepare_torch, compiled=True), installed("torch")),
    Library("products by NumPy's BLAS", partial(_products, "numpy"), verified=False),
    Library("products by PyTorch", partial(_products, "torch"), installed("torch"), verified=False),
)
