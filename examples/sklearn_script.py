"""A script that knows nothing of schuss, to be run both ways.

python examples/sklearn_script.py
python -m schuss --report examples/sklearn_script.py
"""

import pickle
import sys
import time

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def search(X, y):
    """The best penalty of a logistic regression, behind a scaler, by two workers."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, tol=1e-6))
    grid = {"logisticregression__C": [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]}
    return GridSearchCV(model, grid, cv=5, n_jobs=2, scoring="neg_log_loss").fit(X, y)


def fit_and_score(seed, model, X_train, X_test, y_train, y_test):
    """One fit, for one worker."""
    model = clone(model).set_params(sgdclassifier__random_state=seed)
    return model.fit(X_train, y_train).score(X_test, y_test)


def main():
    X, y = make_classification(40_000, 60, n_informative=30, flip_y=0.1, random_state=0)
    parts = train_test_split(X, y, random_state=0)
    found = search(parts[0], parts[2])
    print("penalty:", found.best_params_, f"loss {-found.best_score_:.4f}")
    print(f"log-loss {-found.score(parts[1], parts[3]):.4f} on rows held out")

    model = make_pipeline(StandardScaler(), SGDClassifier(alpha=0.01))
    scores = Parallel(n_jobs=2)(delayed(fit_and_score)(seed, model, *parts) for seed in range(8))
    print(f"eight walks: {np.mean(scores):.3f} +- {np.std(scores):.3f}")

    X, y = load_digits(return_X_y=True)
    network = MLPClassifier((64,), max_iter=60, tol=0.0, random_state=0)
    scores = cross_val_score(make_pipeline(StandardScaler(), network), X, y, cv=3)
    print("network:", np.round(scores, 2))

    members = [("logistic", LogisticRegression(max_iter=500)), ("network", network)]
    voting = VotingClassifier(members, voting="soft").fit(X / 16, y)
    copied = pickle.loads(pickle.dumps(voting))
    print(
        "pickled:",
        type(copied.estimators_[0]),
        bool((copied.predict(X) == voting.predict(X)).all()),
    )


if __name__ == "__main__":
    begin = time.perf_counter()
    main()
    print(f"{time.perf_counter() - begin:.1f} s", file=sys.stderr)
