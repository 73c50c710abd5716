"""Two threads against one while other processes keep the processors busy.

    python -m bench.busy                    # no other process, one, and two
    python -m bench.busy --seconds 20

Runs with one thread and with two alternate, so that both meet the same load. The bar is 1.2
times the time of one thread, whatever others do.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from schuss import threads, train
from schuss.network import MLPClassifier
from schuss.neuron import SigmoidClassifier

# Ends with the process that started it, however that ends.
BUSY = "import os, sys\nparent = int(sys.argv[1])\nwhile os.getppid() == parent: sum(range(10**6))"


def jobs():
    """Functions of a number of threads, by name."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100_000, 100), np.float32)
    y = X[:, 0] + rng.standard_normal(len(X)) > 0
    few, classes = X[:10_000, :4].copy(), X[:10_000, :4].argmax(axis=1)
    start = X[:20_000].copy(), y[:20_000].astype(float)

    def network(n_threads):
        os.environ[threads.VARIABLE] = str(n_threads)
        MLPClassifier(
            (32, 16), activation="tanh", batch_size=len(few), max_iter=50, shuffle=False,
            n_iter_no_change=50, random_state=0,
        ).fit(few, classes)  # fmt: skip

    return {
        "20 epochs of 20,000 x 100": lambda n: train(*start, epochs=20, n_jobs=n),
        "50 epochs of 4-32-16-4 on 10,000 rows, full batch": network,
        "fit of 100,000 x 100": lambda n: SigmoidClassifier(n_jobs=n).fit(X, y),
    }


def ratio(job, seconds):
    """Time of two threads as a multiple of that of one: medians of runs that alternate."""
    times, end = {1: [], 2: []}, time.perf_counter() + seconds
    job(2)
    while time.perf_counter() < end or len(times[2]) < 3:
        for n_threads, taken in times.items():
            begin = time.perf_counter()
            job(n_threads)
            taken.append(time.perf_counter() - begin)
    return np.median(times[2]) / np.median(times[1])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="for each job and load")
    seconds = parser.parse_args(arguments).seconds
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{'time of two threads / of one, with':50} none   one   two  busy processes")
    for name, job in jobs().items():
        ratios = []
        for n_busy in range(3):
            command = [sys.executable, "-c", BUSY, str(os.getpid())]
            others = [subprocess.Popen(command) for _ in range(n_busy)]
            try:
                ratios.append(ratio(job, seconds))
            finally:
                for other in others:
                    other.kill()
                    other.wait()
        print(f"{name:50}" + "".join(f"{r:5.2f} " for r in ratios), flush=True)


if __name__ == "__main__":
    main()
