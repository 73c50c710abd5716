"""`schuss train` beside scikit-learn's LogisticRegression on the same table and split.

    python -m bench.tables FILE TARGET [FILE TARGET ...]

Both get the features that the command makes, and penalties of the same strength; shown
are the scores on the rows held out and the seconds of the fit alone, the fits in turn.
"""

import sys
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from schuss import SigmoidClassifier
from schuss.tables import TablePreprocessor, read_table, target_values

ROUNDS = 5


def compare(path: str, target: str) -> Table:
    """Fit both to four fifths of the rows, in turn, and score them on the rest."""
    table = read_table(path)
    labels, rows = target_values(table, target, path)
    table = table.take(rows).drop_columns([target])
    places = np.arange(len(labels))
    train, test = train_test_split(places, test_size=0.2, random_state=0, stratify=labels)
    preprocessor = TablePreprocessor().fit(table.take(train))
    X, X_test = (preprocessor.transform(table.take(part)) for part in (train, test))
    models = {
        "schuss train": SigmoidClassifier("log_loss", "nesterov", alpha=1 / len(train)),
        "LogisticRegression": LogisticRegression(max_iter=1000),
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            start = perf_counter()
            model.fit(X, labels[train])
            seconds[name].append(perf_counter() - start)
    result = Table(title=f"{target}: {X.shape[0]:,} x {X.shape[1]}, {len(test):,} held out")
    for column in ("", "accuracy", "log-loss", "ROC AUC", "iterations", "seconds"):
        result.add_column(column, justify="right" if column else "left")
    for name, model in models.items():
        p = model.predict_proba(X_test)
        result.add_row(
            name,
            f"{accuracy_score(labels[test], model.predict(X_test)):.5f}",
            f"{log_loss(labels[test], p):.5f}",
            f"{roc_auc_score(labels[test] == model.classes_[1], p[:, 1]):.5f}",
            str(int(np.max(model.n_iter_))),
            f"{median(seconds[name]):.3f}",
        )
    return result


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or len(arguments) % 2:
        sys.exit(__doc__)
    for path, target in zip(arguments[::2], arguments[1::2], strict=True):
        Console(width=100).print(compare(path, target))
