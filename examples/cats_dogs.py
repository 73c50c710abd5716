"""Cats and dogs: one neuron on uint8 images, compared with scikit-learn on a float64 copy.

    python examples/cats_dogs.py [animals.npz]

The file holds ``images`` (uint8, one image per row), ``labels`` and ``names``; by default it is in
the folder named by SCHUSS_DATA. schuss reads the bytes without a copy. scikit-learn gets float64
values in [0, 1], which suit its solver best; the time includes the copy. The settings of both
(number of iterations and C) were the best of a few on other splits than those printed.

Each runs in its own process, so that peak memory is measured separately.
"""

# No large imports here: a new process inherits the peak memory of its parent.
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SPLITS = 5


def load(path):
    """Images of cats and dogs, and whether each is a dog."""
    import numpy as np

    with np.load(path) as file:
        cat, dog = (list(file["names"]).index(name) for name in ("cat", "dog"))
        rows = np.isin(file["labels"], (cat, dog))
        return file["images"][rows].reshape(rows.sum(), -1), file["labels"][rows] == dog


def schuss(X, y):
    from schuss import SigmoidClassifier

    # The number of iterations is the regularisation, so all of them are run (tol=0).
    model = SigmoidClassifier(solver="nesterov", max_iter=200, tol=0.0)
    return model.fit(X, y).score


def sklearn(X, y):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.1, max_iter=1000).fit(X / 255.0, y)
    return lambda X, y: model.score(X / 255.0, y)


LEARNERS = {"schuss": schuss, "scikit-learn": sklearn}


def measure(learner, path):
    """Held-out accuracy, seconds per fit, and memory in MB."""
    import resource
    import time

    import numpy as np
    from sklearn.model_selection import train_test_split

    def peak():
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest / (1e6 if sys.platform == "darwin" else 1e6 / 1024)

    X, y = load(path)
    # Imports and allocations of the first fit are not measured.
    learner(X[:: len(X) // 20], y[:: len(X) // 20])
    before = peak()
    accuracy, seconds = [], []
    for split in range(SPLITS):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.25, random_state=split, stratify=y
        )
        start = time.perf_counter()
        score = learner(X_train, y_train)
        seconds.append(time.perf_counter() - start)
        accuracy.append(score(X_test, y_test))
    return {
        "rows": len(X_train),
        "held_out": len(X_test),
        "accuracy": float(np.mean(accuracy)),
        "spread": float(np.std(accuracy)),
        "seconds": float(np.median(seconds)),
        "peak": peak(),
        "growth": peak() - before,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, help="animals.npz")
    parser.add_argument("--only", choices=LEARNERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    path = options.path or Path(os.environ.get("SCHUSS_DATA", ".")) / "animals.npz"
    if not path.is_file():
        print(f"skipped: no file {path}; give its path, or set SCHUSS_DATA to its folder")
        return
    if options.only:
        print(json.dumps(measure(LEARNERS[options.only], path)))
        return
    print("|              | held-out accuracy | seconds a fit | peak memory | due to fits |")
    print("|--------------|-------------------|---------------|-------------|-------------|")
    for name in LEARNERS:
        command = [sys.executable, __file__, str(path), "--only", name]
        result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(
            f"| {name:12} | {result['accuracy']:8.3f} ± {result['spread']:.3f}  "
            f"| {result['seconds']:13.3f} | {result['peak']:8.0f} MB "
            f"| {result['growth']:8.1f} MB |"
        )
    print(f"\n{result['rows']} training images, {result['held_out']} held out, ", end="")
    print(f"mean and standard deviation over {SPLITS} splits.")


if __name__ == "__main__":
    main()
