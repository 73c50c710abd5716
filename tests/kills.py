"""Fits that are killed at random moments, and resumed from their checkpoints until they end.

    python -m tests.kills --kills 200

Each fit is one of `tests.test_checkpoint.CASES`, with more iterations and a checkpoint after each
chunk, in a child process; SIGKILL comes at a random moment of starting, training or writing. The
next child resumes. In the end, every bit has to be that of a fit that was never killed.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

# The child after so many is left in peace.
_MOST_KILLS = 20


def _fit(name, path):
    from tests.test_checkpoint import call_of

    estimator, parameters, rows, arguments = call_of(name)
    parameters = {**parameters, "max_iter": 400}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator(**parameters).fit(
            *rows, **arguments, checkpoint=path, callbacks=_slowly if path else None
        )


def _slowly(info):
    time.sleep(0.002)


_slowly.every = 5


def survive(name: str, generator: random.Random, folder: str) -> int:
    """Kill a fit until one gets through, compare it with one at a stretch; the number of kills."""
    from schuss import checkpoint
    from tests.test_checkpoint import assert_same

    path, kills = str(Path(folder, f"{name}.ckpt")), 0
    while True:
        child = os.fork()
        if child == 0:
            checkpoint._PERIOD = 0.0
            try:
                _fit(name, path)
            except BaseException as error:
                print(f"{name}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if kills < _MOST_KILLS:
            time.sleep(generator.uniform(0.0, 0.12))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            kills += 1
            continue
        assert os.WEXITSTATUS(status) == 0, name
        assert_same(_fit(name, None), _fit(name, path))
        return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from tests.test_checkpoint import CASES

    generator, total, fits = random.Random(given.seed), 0, 0
    names = sorted(CASES)
    while total < given.kills:
        name = generator.choice(names)
        with tempfile.TemporaryDirectory() as folder:
            total += survive(name, generator, folder)
        fits += 1
        print(f"{fits} fits survived {total} kills; the last: {name}", flush=True)


if __name__ == "__main__":
    main()
