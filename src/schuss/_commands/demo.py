"""``schuss demo``: a function, a neuron and a network, each beside its loop in NumPy."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from schuss._commands.options import OUTPUT, AsJSON, option
from schuss._commands.output import check_page, console, note, print_json

_ROUNDS = 3


def demo(
    report: Annotated[Path, option(
        OUTPUT, "Report of the neuron's training to write, one HTML page.", "FILE",
    )] = Path("schuss-demo.html"),
    as_json: AsJSON = False,
) -> None:  # fmt: skip
    """Walk from a function to a neuron and a network, on data that scikit-learn ships.

    Each is trained by schuss and by the loop that one writes in NumPy, in
    turns; both must come to the same result. It takes less than a minute.
    """
    check_page("--report", report)
    results = []
    for step in (_function, _neuron, _network):
        results.append(step())
        if not as_json:
            _show(results[-1])
    written = _write_report(report)
    if as_json:
        print_json({"steps": results, "report": str(report) if written else None})
    elif written:
        console().print(f"report of the neuron: {report}", soft_wrap=True)


def _show(result: dict[str, Any]) -> None:
    from schuss.report import new_table

    table = new_table(result["title"], columns=2)
    for line in result["what"]:
        table.add_row("", line)
    for name in ("schuss", "numpy"):
        label = {"schuss": "schuss", "numpy": "NumPy"}[name]
        digits = 2 if result[name] < 1e-4 else 0
        table.add_row(label, f"{1e6 * result[name]:,.{digits}f} µs per {result['per']}")
    table.add_row("ratio", f"{result['numpy'] / result['schuss']:.3g} times as fast")
    console().print(table)


def _in_turns(*programs: Callable[[], Any]) -> list[float]:
    """Seconds of each program, the best of some rounds in turns."""
    seconds = [float("inf")] * len(programs)
    for _ in range(_ROUNDS):
        for k, program in enumerate(programs):
            start = time.perf_counter()
            program()
            seconds[k] = min(seconds[k], time.perf_counter() - start)
    return seconds


def _require_same(what, ours, theirs, tolerance):
    import numpy as np

    if not np.allclose(ours, theirs, rtol=tolerance, atol=tolerance):
        raise ArithmeticError(
            f"{what}: schuss and the NumPy loop differ by {np.abs(ours - theirs).max():.3g}"
        )


def _step(title, what, per, seconds, counts, **figures):
    """What there is to show: `counts` steps or epochs of schuss and of the loop."""
    ours, loops = (span / n for span, n in zip(seconds, counts, strict=True))
    return {"title": title, "what": what, "per": per, "schuss": ours, "numpy": loops, **figures}


def _function():
    """The parabola of the textbook, whose steps shrink its distance from 2 to 0.8 of it."""
    import numpy as np
    from numpy.polynomial import Polynomial

    from schuss import minimize

    n = 20_000
    parabola = Polynomial([6, -4, 1])

    def ours():
        return minimize(parabola, 8.0, learning_rate=0.1, max_iter=n, tol=0).path.ravel()

    def loop():
        path = np.empty(n + 1)
        path[0] = x = 8.0
        for k in range(n):
            x -= 0.1 * (2 * x - 4)
            path[k + 1] = x
        return path

    path, expected = ours(), loop()
    _require_same("path", path, expected[: len(path)], 1e-9)
    seconds = _in_turns(ours, loop)
    steps = ", ".join(f"{x:.5g}" for x in path[:5])
    title = "1. A function: x² − 4x + 6 from x = 8, step 0.1"
    what = [f"{steps}, ... → {path[-1]:.2f}"]
    return _step(title, what, "step", seconds, (len(path) - 1, n), x=float(path[-1]))


def _breast_cancer():
    import numpy as np
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), y


def _neuron():
    """One sigmoid neuron with the squared cost, full batches."""
    import numpy as np

    from schuss import train
    from schuss.bench.baseline import gradient_descent

    X, y = _breast_cancer()
    target, epochs, rate = y.astype(np.float32), 1000, 0.5

    def ours():
        return train(X, y, loss="squared_error", learning_rate=rate, epochs=epochs, tol=0)

    def loop():
        return gradient_descent(X, target, "squared_error", rate, epochs)

    result, (coef, intercept, losses) = ours(), loop()
    _require_same("weights", np.ravel(result.coef), coef, 1e-3)
    seconds = _in_turns(ours, loop)
    right = np.mean((X @ coef + intercept > 0) == (y == 1))
    what = [
        f"{len(X)} rows, {X.shape[1]} features",
        f"cost {losses[0]:.4f} → {float(result.loss):.4f} in {epochs:,} epochs",
        f"{right:.1%} of these rows are right",
    ]
    return _step(
        "2. A neuron: tumours, benign or malignant", what, "epoch", seconds, (epochs, epochs),
        cost=float(result.loss), accuracy=float(right),
    )  # fmt: skip


def _network():
    """A network 64-32-10 that reads handwritten digits, by backpropagation over all rows."""
    import warnings

    import numpy as np
    from sklearn.datasets import load_digits

    from schuss import MLPClassifier

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    epochs, rate = 100, 0.5
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (32,), "activation": "logistic", "solver": "sgd", "momentum": 0.0,
        "alpha": 0.0, "batch_size": len(X), "shuffle": False, "tol": 0.0, "random_state": 0,
        "n_iter_no_change": 10**6,
    }  # fmt: skip

    def ours(epochs=epochs, rate=rate):
        with warnings.catch_warnings(action="ignore"):
            network = MLPClassifier(**settings, max_iter=epochs, learning_rate_init=rate)
            return network.fit(X, y)

    # A step of nothing leaves the initial weights.
    start = ours(1, 1e-30)
    one_hot = np.eye(10, dtype=np.float32)[y]

    def loop():
        (w1, w2), (b1, b2) = ([a.copy() for a in arrays] for arrays in (
            start.coefs_, start.intercepts_))  # fmt: skip
        for _ in range(epochs):
            hidden = 1 / (1 + np.exp(-(X @ w1 + b1)))
            scores = hidden @ w2 + b2
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            delta = (p - one_hot) * np.float32(rate / len(X))
            back = delta @ w2.T * hidden * (1 - hidden)
            w2 -= hidden.T @ delta
            b2 -= delta.sum(axis=0)
            w1 -= X.T @ back
            b1 -= back.sum(axis=0)
        return w1, b1, w2, b2

    network, (w1, _, w2, _) = ours(), loop()
    for mine, theirs in ((network.coefs_[0], w1), (network.coefs_[1], w2)):
        _require_same("weights", mine, theirs, 1e-3)
    seconds = _in_turns(ours, loop)
    right = float(network.score(X, y))
    what = [
        f"{len(X):,} pictures of 8 × 8 pixels",
        f"loss {network.history_['loss'][0]:.3f} → {network.loss_:.3f} in {epochs} epochs",
        f"{right:.1%} of these rows are right",
    ]
    return _step(
        "3. A network 64-32-10: handwritten digits", what, "epoch", seconds, (epochs, epochs),
        cost=float(network.loss_), accuracy=right,
    )  # fmt: skip


def _write_report(path: Path) -> bool:
    """Train the neuron by ``schuss train``, with its report, where there is matplotlib."""
    if find_spec("matplotlib") is None:
        note("note", 'no report, which needs matplotlib: pip install "schuss[plot]"')
        return False
    from schuss._commands import app

    app(["train", "--quiet", "--no-save", "--report", str(path)], standalone_mode=False)
    return True
