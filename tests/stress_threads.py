"""Fits in Python threads, in many processes: same bits, no deadlock, BLAS left as it was.

    python -m tests.stress_threads --processes 2000

Each process is a fork that runs all fits of `FITS` in eight threads, without limits of BLAS or
within some of threadpoolctl, and compares every weight with that of a serial fit.
"""

import argparse
import collections
import contextlib
import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_info, threadpool_limits

import schuss

N_THREADS = 8
SECONDS = 120
# What is around all fits of a process, or around each.
LIMITS = (
    ("none", None, None),
    ("one thread", {"limits": 1}, None),
    ("two threads of BLAS", {"limits": 2, "user_api": "blas"}, None),
    ("two threads of BLAS in each thread", None, {"limits": 2, "user_api": "blas"}),
)


def _rows(n, d, k, dtype=np.float64):
    rng = np.random.default_rng(n + d)
    X = rng.standard_normal((n, d)).astype(dtype)
    return X, (X @ rng.standard_normal((d, k)) + rng.gumbel(size=(n, k))).argmax(axis=1)


def _logistic(X, y, **options):
    model = schuss.LogisticRegression(**options).fit(X, y)
    return model.coef_, model.intercept_


def _network(X, y, **options):
    model = schuss.MLPClassifier(solver="lbfgs", random_state=0, **options).fit(X, y)
    return (*model.coefs_, *model.intercepts_)


def _neuron(X, y, **options):
    model = schuss.SigmoidClassifier(**options).fit(X, y)
    return model.coef_, model.intercept_


FITS = {
    # Newton's method with a factor that is made in blocks, L-BFGS, and one from a sample.
    "softmax": lambda: _logistic(*_rows(200, 30, 4)),
    "softmax in float32": lambda: _logistic(*_rows(200, 30, 4, np.float32)),
    "softmax by L-BFGS": lambda: _logistic(*_rows(600, 40, 8)),
    "softmax from a sample": lambda: _logistic(*_rows(6000, 10, 3)),
    "softmax, CSR": lambda: _logistic(sp.csr_array(_rows(200, 9, 3)[0]), _rows(200, 9, 3)[1]),
    "softmax, L1": lambda: _logistic(*_rows(200, 9, 3), l1_ratio=1.0, solver="saga", C=0.1),
    "one neuron": lambda: _logistic(*_rows(300, 20, 2)),
    # More than 10,000 weights: the least length of a vector that OpenBLAS divides.
    "network": lambda: _network(*_rows(100, 50, 3), hidden_layer_sizes=(220,), max_iter=5),
    "learning rate": lambda: _neuron(*_rows(150, 120, 2), max_iter=20),
}


def fit(name):
    """Bytes of the weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return b"".join(np.ascontiguousarray(part).tobytes() for part in FITS[name]())


def state_of_pools():
    return sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info())


def limits(options):
    return threadpool_limits(**options) if options else contextlib.nullcontext()


def differences(number, expected):
    """Names of what went wrong in one process."""
    _, around, inside = LIMITS[number % len(LIMITS)]
    names = list(FITS)
    np.random.default_rng(number).shuffle(names)

    def one(name):
        with limits(inside):
            return fit(name)

    with limits(around):
        before = state_of_pools()
        with ThreadPoolExecutor(N_THREADS) as pool:
            answers = list(pool.map(one, names))
        wrong = [
            name for name, answer in zip(names, answers, strict=True) if answer != expected[name]
        ]
        # Limits that threads enter side by side are left in any order, by threadpoolctl.
        if inside is None and state_of_pools() != before:
            wrong.append("threads of the pools")
    return wrong


def run(number, expected):
    """What one forked process found: "same", "hang", or what differs."""
    child = os.fork()
    if child == 0:
        status = 3
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            wrong = differences(number, expected)
            status = 2 if wrong else 0
            if wrong:
                print(f"process {number}, {LIMITS[number % len(LIMITS)][0]}: {wrong}", flush=True)
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return "hang"
    return "same" if status == 0 else f"status {status}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--processes", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    options = parser.parse_args()
    expected = {name: fit(name) for name in FITS}
    for count in (1, 2, 3):
        with threadpool_limits(count, "blas"):
            other = [name for name in FITS if fit(name) != expected[name]]
        if other:
            print(f"other bits with {count} threads of BLAS: {other}", flush=True)
            raise SystemExit(1)
    assert threading.active_count() == 1, "a fork needs a process of one thread"
    counts = collections.Counter()
    for number in range(options.first, options.first + options.processes):
        counts[run(number, expected)] += 1
        if counts.total() % 100 == 0 or counts.total() == options.processes:
            print(f"{counts.total()} processes of {len(FITS)} fits: {dict(counts)}", flush=True)
    raise SystemExit(set(counts) != {"same"})


if __name__ == "__main__":
    main()
