"""Milliseconds an epoch of `SGDClassifier` beside scikit-learn's: ``python -m bench.sgd``.

The coefficients must be equal first, to 1e-9 of the largest in float64 (float32: 1e-3). An epoch is
the difference between fits of one epoch and of several, over their number; fits alternate, and the
ratio is the median of the rounds'. ``alpha`` is 0.01: with the default, first steps of length 10
make the log-loss chaotic, and a rounding error in X changes scikit-learn's own coefficients.
"""

import argparse
import sys
import warnings
from statistics import median
from time import perf_counter

import numpy as np
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning

import schuss
from schuss.bench.problems import _gaussian

SIZES = ((1000, 20), (100_000, 20), (100_000, 100), (20_000, 1000))
CLOSE = {"float64": 1e-9, "float32": 1e-3}
# Epochs of about this many elements are timed together.
ELEMENTS = 20_000_000


def compare(n, d, dtype, loss, rounds):
    """Print a row; returns whether the coefficients were equal."""
    X, y = _gaussian(n, d, seed=0)
    X = X.astype(dtype)
    epochs = max(3, ELEMENTS // (n * d))

    def fit(classes, max_iter):
        model = classes(loss=loss, alpha=0.01, random_state=0, tol=None, max_iter=max_iter)
        start = perf_counter()
        model.fit(X, y)
        return perf_counter() - start, model

    classes = schuss.SGDClassifier, linear_model.SGDClassifier
    ours, theirs = (fit(c, 1 + epochs)[1].coef_.astype(np.float64) for c in classes)
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not difference <= CLOSE[dtype]:
        print(f"{n} x {d} {dtype} {loss}: refused, coefficients differ by {difference:.1e}")
        return False
    times = [
        [(fit(c, 1 + epochs)[0] - fit(c, 1)[0]) / epochs for c in classes] for _ in range(rounds)
    ]
    mine, other = (1e3 * median(column) for column in zip(*times, strict=True))
    ratio = median(b / a for a, b in times)
    print(
        f"{n:>7} x {d:<5} {dtype}  {loss:<9} ours {mine:7.3f} ms   scikit-learn {other:7.3f} ms   "
        f"{ratio:5.2f} x   equal to {difference:.0e}",
        flush=True,
    )
    return True


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.sgd", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--loss", nargs="+", default=["log_loss"])
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    equal = [
        compare(n, d, dtype, loss, options.rounds)
        for loss in options.loss
        for dtype in CLOSE
        for n, d in SIZES
    ]
    return int(not all(equal))


if __name__ == "__main__":
    sys.exit(main())
