"""What the fits of all estimators share: all or nothing, and one way to store a result."""

from contextlib import contextmanager

import numpy as np

_MISSING = object()


@contextmanager
def atomic_fit(estimator):
    """A copy to fit, whose attributes the estimator takes over in one step at the end.

    An error or Ctrl-C before that leaves ``vars(estimator)`` as it was. So do lists among the
    fitted attributes, to which the fit may append. NumPy's floating-point warnings are off:
    what overflows on the way is judged by where it leads.

    Parameters
    ----------
    estimator : object

    Yields
    ------
    object
        Of the same class, with the same attributes.
    """
    before = vars(estimator).copy()
    lengths = [
        (value, len(value))
        for name, value in before.items()
        if name.endswith("_") and type(value) is list
    ]
    work = object.__new__(type(estimator))
    vars(work).update(before)
    fitted = None
    try:
        with np.errstate(all="ignore"):
            yield work
        after = vars(work)
        # What a callback has set on the estimator itself stays.
        kept = {k: v for k, v in vars(estimator).items() if k in after or k not in before}
        changed = {k: v for k, v in after.items() if v is not before.get(k, _MISSING)}
        fitted = kept | changed
        # One store, which no signal handler divides.
        estimator.__dict__ = fitted
    except BaseException:
        if vars(estimator) is not fitted:
            for values, length in lengths:
                del values[length:]
        raise


def store_result(estimator, outcome, *, append=False):
    """Set the attributes that say how a run went, the same for all estimators.

    Parameters
    ----------
    estimator : object
    outcome : driver.Outcome
    append : bool
        Whether the run goes on with the history there is.
    """
    history = outcome.history
    if append and "history_" in vars(estimator):
        history = append_history(estimator.history_, history)
    estimator.history_ = history
    estimator.loss_ = outcome.loss
    estimator.stop_reason_ = outcome.stop_reason
    estimator.converged_ = outcome.stop_reason in ("converged", "early_stopping")


def raise_divergence(solver, outcome, mend=""):
    """Raise the solver's `DivergenceError`, with the history, for a run that diverged.

    `mend` is what else may help, as a sentence.
    """
    if outcome.stop_reason == "diverged":
        error = solver.divergence_error()
        error.args = (f"{error} {mend}".rstrip(),)
        error.history = outcome.history
        raise error


class History(dict):
    """Columns of a history, as views of a table with room for more rows.

    Copies and pickles of it are plain dicts.
    """

    def __init__(self, names, table, n_rows):
        super().__init__((name, table.columns[i, :n_rows]) for i, name in enumerate(names))
        self.table = table

    def __reduce__(self):
        return dict, (dict(self),)


class _Table:
    """Columns side by side, the first `n_rows` entries of which are in use."""

    def __init__(self, n_columns, capacity):
        self.columns = np.empty((n_columns, capacity))
        self.n_rows = 0


def append_history(earlier, later):
    """One history of two runs, in the columns that both have.

    A series of calls takes time in proportion to the rows appended: the table doubles.

    Parameters
    ----------
    earlier, later : dict of ndarray
        `earlier` stays as it is. Seconds are those of both.

    Returns
    -------
    History
    """
    names = [name for name in later if name in earlier]
    past = [np.asarray(earlier[name], float) for name in names]
    n = len(past[0]) if past else 0
    total = n + (len(later[names[0]]) if past else 0)
    table = getattr(earlier, "table", None)
    # Another history of the same table may have taken the rows behind this one's.
    if not (
        table is not None
        and names == list(earlier)
        and all(column.base is table.columns for column in past)
        and n == table.n_rows
        and total <= table.columns.shape[1]
    ):
        table = _Table(len(names), 2 * total)
        for row, column in zip(table.columns, past, strict=True):
            row[:n] = column
    for row, name in zip(table.columns, names, strict=True):
        row[n:total] = later[name]
        if name == "seconds" and n:
            row[n:total] += row[n - 1]
    table.n_rows = total
    return History(names, table, total)
