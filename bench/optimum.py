"""Time to the optimum of L2 logistic regression, against the packages that are installed.

    python -m bench.optimum
    python -m bench.optimum --problems "100000x100;sparse" --threads 2 --rounds 5
    python -m bench.optimum --coefficients

Each solver runs at the largest tolerance of a ladder at which its answer is within the gap of the
optimum, by one objective for all: float64, on the same rows, the intercept not penalised. The
solvers take turns, each with a fit that is not timed and one that is, after a pause in which the
idle threads of the last one's packages, and of the objective's BLAS, fall asleep; the timed answers
are held to the same gap.
Peers that are not installed are left out (``pip install "schuss[peers]"`` brings those that are).
"""

import argparse
import json
import time
import warnings
from importlib.util import find_spec

import numpy as np
import scipy.sparse as sp
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression as Theirs
from sklearn.preprocessing import StandardScaler

import schuss
from schuss.bench.runner import limit_threads
from schuss.linear import logistic
from schuss.solvers.second_order import SecondOrder

GAP = 1e-6
TOLERANCES = tuple(10.0 ** (-k / 2) for k in range(2, 21))
# A solver that takes longer than this at one tolerance is not tried at smaller ones.
PATIENCE = 20.0
# OpenBLAS's threads spin for about 0.1 s after a product.
PAUSE = 0.25
BLOCK = 1 << 15


def synthetic(n, d, condition=1.0, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n, d), dtype=np.float32)
    scales = np.logspace(0, -np.log10(condition), d, dtype=np.float32)
    X *= scales
    weights = 3 * generator.standard_normal(d, dtype=np.float32) / (np.sqrt(d) * scales)
    return X, (generator.random(n) < expit(X @ weights - 0.5)).astype(np.int64)


def text(n=100_000, d=50_000, words=60, seed=0):
    """Counts of words whose frequencies follow Zipf's law, by their random weights."""
    generator = np.random.default_rng(seed)
    share = 1 / (np.arange(d) + 10.0)
    columns = generator.choice(d, size=n * words, p=share / share.sum()).astype(np.int32)
    values = np.abs(generator.standard_normal(n * words))
    starts = np.arange(0, n * words + 1, words, dtype=np.int32)
    X = sp.csr_matrix((values, columns, starts), shape=(n, d))
    X.sum_duplicates()
    z = X @ (generator.standard_normal(d) * (generator.random(d) < 0.2))
    return X, (generator.random(n) < expit(2 * z / z.std())).astype(np.int64)


def _scaled(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), (y % 2 if load is load_digits else y)


PROBLEMS = {
    "569x30": lambda: _scaled(load_breast_cancer),
    "1797x64": lambda: _scaled(load_digits),
    "100000x100": lambda: synthetic(100_000, 100),
    "100000x100, condition 100": lambda: synthetic(100_000, 100, 100.0),
    "1000000x28": lambda: synthetic(1_000_000, 28),
    "20000x1000": lambda: synthetic(20_000, 1000),
    "sparse": text,
}


def _scikit(cls, solver, **options):
    def fit(X, y, tol):
        model = cls(solver=solver, tol=tol, max_iter=10_000, **options).fit(X, y)
        return model, model.coef_[0], model.intercept_[0]

    return fit


def _intelex(X, y, tol):
    from sklearnex.linear_model import LogisticRegression

    return _scikit(LogisticRegression, "lbfgs")(X, y, tol)


def _glum(X, y, tol):
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(
        family="binomial", alpha=1 / X.shape[0], l1_ratio=0, gradient_tol=tol, max_iter=1000
    ).fit(X, y.astype(X.dtype))
    return model, model.coef_, model.intercept_


def _snapml(X, y, tol):
    from snapml import LogisticRegression

    model = LogisticRegression(
        regularizer=1.0, fit_intercept=True, intercept_scaling=1000.0, n_jobs=2, tol=tol,
        max_iter=10_000,
    ).fit(X, y)  # fmt: skip
    return model, np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])


# Names, what has to be installed, and what they are left out of: scikit-learn's liblinear with
# an intercept that hardly counts, as it penalises it.
FITS = {
    "schuss": (None, _scikit(schuss.LogisticRegression, "lbfgs")),
    "scikit-learn lbfgs": (None, _scikit(Theirs, "lbfgs")),
    "scikit-learn newton-cholesky": (None, _scikit(Theirs, "newton-cholesky")),
    "scikit-learn newton-cg": (None, _scikit(Theirs, "newton-cg")),
    "scikit-learn liblinear": (None, _scikit(Theirs, "liblinear", intercept_scaling=1000.0)),
    "scikit-learn-intelex": ("sklearnex", _intelex),
    "glum": ("glum", _glum),
    "Snap ML": ("snapml", _snapml),
}


def objective(X, y, coef, intercept):
    """Mean log-loss plus ``||w||^2 / (2 n)``, in float64."""
    n, total = X.shape[0], 0.0
    coef = np.asarray(coef, np.float64)
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        z = X[rows].astype(np.float64) @ coef + float(intercept)
        total += float((np.logaddexp(0.0, z) - y[rows] * z).sum())
    return (total + coef @ coef / 2) / n


def solve(fit, X, y, tol, untimed=False):
    """Seconds, value of the objective, and the model; of the second fit after an untimed one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if untimed:
            fit(X, y, tol)
        start = time.perf_counter()
        model, coef, intercept = fit(X, y, tol)
        seconds = time.perf_counter() - start
    return seconds, objective(X, y, coef, intercept), model


def passes(X, y, tol):
    """How often a fit of ours reads all rows; the sample's rows are not counted.

    Each evaluation of the cost and its gradient is a pass. Where X is an array nothing else
    reads it: that it is finite is seen by the first gradient.
    """
    runs = []

    class Watched(SecondOrder):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            runs.append(self.problem)

    logistic.SecondOrder, kept = Watched, logistic.SecondOrder
    try:
        solve(FITS["schuss"][1], X, y, tol)
    finally:
        logistic.SecondOrder = kept
    return runs[0].passes + 2 * sp.issparse(X)


def compare(name, fits, rounds, patience=PATIENCE):
    """Rows (solver, tolerance, median seconds, gap), the fastest first; None: not reached."""
    X, y = PROBLEMS[name]()
    wide = X.astype(np.float64)
    best = min(
        solve(fit, wide, y, tol)[1]
        for fit, tol in ((FITS["schuss"][1], 1e-11), (FITS["scikit-learn lbfgs"][1], 1e-8))
    )
    chosen, rows, seconds = {}, [], {}
    for label, fit in fits.items():
        reached = None
        for tol in TOLERANCES:
            try:
                took, value, _ = solve(fit, X, y, tol)
            except (MemoryError, ValueError, RuntimeError, TypeError) as error:
                print(f"  {label}: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
                break
            best = min(best, value)
            if value - best <= GAP * best:
                reached = tol
            if reached or took > patience:
                break
        if reached is None:
            rows.append((label, None, None, None))
        else:
            chosen[label], seconds[label] = reached, []
    gaps = {}
    for _ in range(rounds):
        for label, tol in chosen.items():
            time.sleep(PAUSE)
            took, value, _ = solve(fits[label], X, y, tol, untimed=True)
            seconds[label].append(took)
            gaps[label] = (value - best) / best
    if "schuss" in chosen:
        print(f"  schuss: {passes(X, y, chosen['schuss'])} passes over all rows")
    done = [
        (label, chosen[label], float(np.median(seconds[label])), gaps[label]) for label in chosen
    ]
    return sorted(done, key=lambda row: row[2]) + rows


def coefficients(name):
    """Largest difference from scikit-learn's at a tolerance of 1e-10, over its largest."""
    X, y = PROBLEMS[name]()
    X = X.astype(np.float64)
    solver = "newton-cg" if sp.issparse(X) else "newton-cholesky"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (
            np.append(coef, intercept)
            for _, coef, intercept in (
                _scikit(schuss.LogisticRegression, "lbfgs")(X, y, 1e-10),
                _scikit(Theirs, solver)(X, y, 1e-10),
            )
        )
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def small(rounds=200):
    """Median seconds of a fit of 100 x 5 with defaults: schuss, scikit-learn."""
    X, y = synthetic(100, 5)
    X = X.astype(np.float64)
    times = {schuss.LogisticRegression: [], Theirs: []}
    for _ in range(rounds):
        for cls, taken in times.items():
            start = time.perf_counter()
            cls().fit(X, y)
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) for taken in times.values()]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", default=";".join(PROBLEMS), help="separated by ;")
    parser.add_argument("--solvers", default=";".join(FITS), help="separated by ;")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds a fit")
    parser.add_argument(
        "--coefficients", action="store_true", help="compare those at tol=1e-10, and time nothing"
    )
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    fits = {
        label: fit
        for label, (needs, fit) in FITS.items()
        if label in options.solvers.split(";") and (needs is None or find_spec(needs))
    }
    if options.coefficients:
        for name in options.problems.split(";"):
            print(f"{name}: coefficients differ by {coefficients(name):.1e}")
        return
    result = {}
    with limit_threads(options.threads):
        ours, theirs = small()
        print(f"100x5 with defaults: {ours * 1e6:.0f} µs, scikit-learn {theirs / ours:.1f} times")
        for name in options.problems.split(";"):
            print(name)
            result[name] = compare(name, fits, options.rounds, options.patience)
            mine = next((row[2] for row in result[name] if row[0] == "schuss"), None)
            for label, tol, took, gap in result[name]:
                if took is None:
                    print(f"  {label:<30} not reached")
                else:
                    ratio = f"{took / mine:6.2f}" if mine else "     -"
                    print(f"  {label:<30} {took * 1e3:9.2f} ms  {ratio}  tol {tol:.1e} {gap:.1e}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
