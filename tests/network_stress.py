"""Many short fits of networks on several threads, most of which diverge: does one hang?

    python tests/network_stress.py                     # 2,000 fits
    python tests/network_stress.py --fits 100000

Each process does some thousands of fits, with learning rates from 1 to 1e39, 2 to 8 threads and
every optimiser. It ends itself, and tells where, if one takes longer than `--timeout`.
"""

import argparse
import faulthandler
import subprocess
import sys
import time
import warnings

import numpy as np


def fits(first, count, timeout):
    """Networks with the seeds first to first + count; how many of them diverged."""
    from schuss import threads
    from schuss.errors import DivergenceError
    from schuss.network import MLPClassifier, MLPRegressor

    warnings.simplefilter("ignore")
    diverged = 0
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        n_threads = int(rng.integers(2, 9))
        # All that are asked for, however small the network.
        threads.useful = lambda *_, n_threads=n_threads, **__: n_threads
        n, d = int(rng.integers(20, 200)), int(rng.integers(1, 60))
        X = rng.standard_normal((n, d)) * 10.0 ** rng.integers(0, 7)
        model = (MLPRegressor if rng.random() < 0.5 else MLPClassifier)(
            hidden_layer_sizes=rng.integers(1, 40, rng.integers(1, 3)).tolist(),
            solver=rng.choice(["sgd", "adam"]).item(),
            activation=rng.choice(["relu", "tanh", "logistic", "identity"]).item(),
            learning_rate_init=float(10 ** rng.uniform(0, 39)),
            batch_size=int(rng.integers(1, n + 1)) if rng.random() < 0.5 else n,
            max_iter=int(rng.integers(1, 8)),
            random_state=seed,
        )
        y = rng.standard_normal(n) * 10.0 ** rng.integers(0, 10)
        if isinstance(model, MLPClassifier):
            y = np.arange(n) % int(rng.integers(2, 5))
        real = np.float32 if rng.random() < 0.5 else np.float64
        # Its thread needs no interpreter, which a hung fit may never give back.
        faulthandler.dump_traceback_later(timeout, exit=True)
        try:
            model.fit(X.astype(real), y)
        except DivergenceError:
            diverged += 1
    faulthandler.cancel_dump_traceback_later()
    return diverged


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fits", type=int, default=2000, help="how many in all")
    parser.add_argument("--process", type=int, default=2000, help="fits of a process")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for a fit")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        print(fits(options.first, options.fits, options.timeout))
        return 0
    failed = diverged = 0
    begin = time.perf_counter()
    for first in range(options.first, options.first + options.fits, options.process):
        count = min(options.process, options.first + options.fits - first)
        command = [
            sys.executable, __file__, "--inside", f"--first={first}",
            f"--fits={count}", f"--timeout={options.timeout}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            failed += 1
            print(f"exit code {done.returncode}, seeds from {first}:\n{done.stderr}", flush=True)
        else:
            diverged += int(done.stdout)
            print(f"{first + count - options.first} fits", flush=True)
    print(
        f"{options.fits} fits, of which {diverged} diverged, in "
        f"{time.perf_counter() - begin:.0f} s: {failed} processes hung or failed"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
