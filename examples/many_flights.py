"""Which flights arrive late: a model for each carrier at each airport, in one call.

    python examples/many_flights.py [flights.csv.gz]

By default the file is in the folder named by SCHUSS_DATA. The same models are fitted by a loop of
scikit-learn over the groups, and the table shows what the departure's delay is worth where. Then a
penalty is chosen by cross-validation, which fits folds times penalties from the same rows.
"""

import argparse
import csv
import gzip
import os
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning

import schuss

FEATURES = ("month", "day", "hour", "minute", "dep_delay", "distance")


def load(path):
    """Standardised features, whether each flight was late, and its carrier and origin."""
    with gzip.open(path, "rt", newline="") as file:
        header, *rows = csv.reader(file)
    columns = dict(zip(header, np.array(rows).T, strict=True))
    X = np.column_stack([columns[name].astype(float) for name in FEATURES])
    groups = np.char.add(np.char.add(columns["carrier"], " "), columns["origin"])
    return (X - X.mean(axis=0)) / X.std(axis=0), columns["late"] == "1", groups


def loop(X, y, groups):
    """What one writes without `fit_many`; models of one class are left out."""
    models = {}
    for key in np.unique(groups):
        rows = groups == key
        if len(np.unique(y[rows])) == 2:
            model = linear_model.LogisticRegression(tol=1e-6, max_iter=1000)
            models[key] = model.fit(X[rows], y[rows])
    return models


def timed(function, *arguments, **options):
    begin = perf_counter()
    result = function(*arguments, **options)
    return result, perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = Path(os.environ.get("SCHUSS_DATA", "."), "flights.csv.gz")
    parser.add_argument("path", nargs="?", type=Path, default=default)
    path = parser.parse_args().path
    if not path.is_file():
        print(f"{path} is not there: pass the path of flights.csv.gz, or set SCHUSS_DATA.")
        return
    X, y, groups = load(path)
    schuss.fit_many(X[:1000], y[:1000])
    with warnings.catch_warnings():
        # Of groups in which no flight, or each, was late.
        warnings.simplefilter("ignore", ConvergenceWarning)
        result, seconds = timed(schuss.fit_many, X, y, groups=groups, standard_errors=True)
    models, others = timed(loop, X, y, groups)
    off = max(
        np.abs(result.coef[result.find(group=key)[0]] - model.coef_).max()
        for key, model in models.items()
    )
    print(f"{len(result)} models of {len(y):,} flights: schuss.fit_many {seconds:.3f} s, "
          f"a loop of scikit-learn {others:.2f} s; coefficients differ by {off:.1e}\n")  # fmt: skip
    print("group    flights  log-odds of a late arrival per standard deviation of dep_delay")
    delay = FEATURES.index("dep_delay")
    for i in np.flatnonzero(result.converged)[:8]:
        key = result.keys["group"][i]
        print(f"{key:8} {np.sum(groups == key):7,}  {result.coef[i, 0, delay]:6.2f} "
              f"± {result.standard_error[i, 0, delay]:.2f}")  # fmt: skip
    for i in np.flatnonzero(~result.converged):
        print(f"{result.keys['group'][i]:8} not fitted: {result.stop_reason[i]}")

    options = {"Cs": 10, "cv": 5, "scoring": "neg_log_loss", "use_legacy_attributes": False,
               "l1_ratios": (0,)}  # fmt: skip
    ours, seconds = timed(schuss.LogisticRegressionCV(**options).fit, X, y)
    theirs, others = timed(linear_model.LogisticRegressionCV(**options).fit, X, y)
    print(f"\nLogisticRegressionCV, 10 penalties in 5 folds: schuss {seconds:.2f} s "
          f"(C={ours.C_:.3g}), scikit-learn {others:.2f} s (C={theirs.C_:.3g})")  # fmt: skip


if __name__ == "__main__":
    main()
