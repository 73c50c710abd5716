"""How many threads a call may use, decided once."""

import os
from numbers import Integral

from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

VARIABLE = "SCHUSS_NUM_THREADS"

# Below this many elements of X for each thread, waking threads costs more than it saves.
MIN_ELEMENTS_PER_THREAD = 1_000_000


def available(n_jobs=None):
    """Threads that a fit may use.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib: a number, -1 for all, -2 for all but one. None takes
        ``SCHUSS_NUM_THREADS``, and without it what the process may use (control groups,
        affinity, ``OMP_NUM_THREADS``, threadpoolctl and joblib's workers are respected).

    Examples
    --------
    >>> available(3)
    3
    """
    name = "n_jobs"
    if n_jobs is None:
        name, text = VARIABLE, os.environ.get(VARIABLE, "").strip()
        try:
            n_jobs = int(text) if text else None
        except ValueError:
            n_jobs = text
    wrong = n_jobs is not None and (not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool))
    if wrong or n_jobs == 0:
        raise ValueError(
            f"{name}={n_jobs!r}: expected a positive number of threads, or a negative one "
            "that counts from all of them (-1: all)."
        )
    return max(1, _openmp_effective_n_threads(None if n_jobs is None else int(n_jobs)))


def processors():
    """Those on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def useful(n_threads, elements, least=None):
    """Of `n_threads`, those that are worth waking for one pass over `elements`.

    Each shall have `least` of them, None takes `MIN_ELEMENTS_PER_THREAD`, and a processor: with
    eight on two processors that others want, too, a fit of 100,000 x 100 took five times as long
    as with one.

    Examples
    --------
    >>> useful(8, elements=4 * 2)
    1
    >>> useful(8, elements=10**9) == min(8, processors())
    True
    """
    most = elements // (least or MIN_ELEMENTS_PER_THREAD)
    return 1 if n_threads == 1 or most < 2 else min(n_threads, most, processors())


def for_pass(n_jobs, elements):
    """Threads for one pass over `elements`; asks for those available only where it matters.

    Examples
    --------
    >>> for_pass(8, elements=4 * 2)
    1
    """
    return 1 if elements < 2 * MIN_ELEMENTS_PER_THREAD else useful(available(n_jobs), elements)
