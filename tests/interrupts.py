"""How long calls go on after Ctrl-C.

    python tests/interrupts.py                 # all phases, each in a process of its own
    python tests/interrupts.py --phases newton,sgd --after 2 --threads 1

Most calls would take a minute and more, "newton" some seconds; the signal comes some time after
they have begun.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np


def _rows(n, d, n_classes=2, kind=np.float32):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (n, d), np.uint8)
    return X.astype(kind, copy=False), np.arange(n) % n_classes


def _network(**options):
    from schuss.network import MLPClassifier

    return MLPClassifier((3000, 3000), random_state=0, **options)


def _network_prediction():
    model = _network(max_iter=1).fit(*_rows(20, 100))
    X, _ = _rows(600_000, 100)
    return lambda: model.predict_proba(X)


def _network_epoch():
    X, y = _rows(200_000, 100)
    return lambda: _network().fit(X, y)


def _network_full_batch():
    X, y = _rows(200_000, 100)
    return lambda: _network(solver="lbfgs").fit(X, y)


def _neurons():
    from schuss.neuron import SigmoidClassifier

    X, y = _rows(40_000, 2000, 1000, np.uint8)
    return lambda: SigmoidClassifier(max_iter=1000, tol=0).fit(X, y)


def _neurons_prediction():
    from schuss.neuron import SigmoidClassifier

    X, y = _rows(40_000, 5000, 4000, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SigmoidClassifier(learning_rate=1e-9, max_iter=1).fit(X[:4000, :8], y[:4000])
    model.coef_ = np.zeros((4000, 5000), np.float32)
    model.n_features_in_ = 5000
    return lambda: model.decision_function(X)


def _logistic(solver, n, d, n_classes=2):
    from schuss.linear import LogisticRegression

    X, y = _rows(n, d, n_classes)
    y = np.random.default_rng(1).permutation(y)
    return lambda: LogisticRegression(solver=solver, max_iter=10**6, tol=1e-12, C=1e3).fit(X, y)


def _sgd():
    from schuss.linear import SGDClassifier

    X, y = _rows(2_000_000, 20, 3)
    return lambda: SGDClassifier(max_iter=10**5, tol=None, alpha=1e-9).fit(X / 100, y)


# Each returns a call that takes long.
PHASES = {
    "network prediction": _network_prediction,
    "network epoch": _network_epoch,
    "network lbfgs": _network_full_batch,
    "newton": lambda: _logistic("newton-cholesky", 40_000, 4000),
    "softmax": lambda: _logistic("lbfgs", 40_000, 1000, 500),
    "neurons": _neurons,
    "neurons prediction": _neurons_prediction,
    "sgd": _sgd,
}


def _run(name):
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    call = PHASES[name]()
    print("begins", flush=True)
    try:
        result = call()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    else:
        print(getattr(result, "stop_reason_", "done"), flush=True)


def latency(name, after=1.5, n_threads=2, timeout=60.0):
    """Seconds from the signal to the end of a phase, and how it ended: "interrupted", or not.

    The signal comes after so many seconds of it; what does not end within `timeout` seconds of
    that is killed.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, "--inside", name], stdout=subprocess.PIPE,
        text=True, env=os.environ | {"SCHUSS_NUM_THREADS": str(n_threads)},
    )  # fmt: skip
    watchdog = threading.Timer(timeout, process.kill)
    try:
        assert process.stdout.readline() == "begins\n"
        time.sleep(after)
        begin = time.perf_counter()
        watchdog.start()
        process.send_signal(signal.SIGINT)
        word = process.stdout.readline().strip()
        return time.perf_counter() - begin, word
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument("--after", type=float, default=1.5, help="seconds before the signal")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        _run(options.inside)
        return 0
    for name in options.phases.split(","):
        seconds, word = latency(name, options.after, options.threads)
        print(f"{name:20}{seconds:8.2f} s  {word}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
