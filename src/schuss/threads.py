"""Number of threads of a call."""

import os
from numbers import Integral
from typing import cast

from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

VARIABLE = "SCHUSS_NUM_THREADS"

# With fewer elements of X for each thread, starting threads costs more than it saves.
MIN_ELEMENTS_PER_THREAD = 1_000_000


def available(n_jobs: int | None = None) -> int:
    """Maximum number of threads of a fit.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib: a number, -1 for all, -2 for all but one. None stands for
        ``SCHUSS_NUM_THREADS``, or if it is not set for all that the process may use (control
        groups, affinity, ``OMP_NUM_THREADS``, threadpoolctl and joblib's workers are
        respected).

    Examples
    --------
    >>> available(3)
    3
    """
    name, given = "n_jobs", cast(object, n_jobs)
    if n_jobs is None:
        name, text = VARIABLE, os.environ.get(VARIABLE, "").strip()
        try:
            given = int(text) if text else None
        except ValueError:
            given = text
    if given is None:
        return max(1, _openmp_effective_n_threads(None))
    if not isinstance(given, Integral) or isinstance(given, bool) or given == 0:
        raise ValueError(
            f"{name}={given!r}: expected a positive number of threads, or a negative one "
            "that counts from all of them (-1: all)."
        )
    return max(1, _openmp_effective_n_threads(int(given)))


def processors() -> int:
    """Number of processors on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def useful(n_threads: int, elements: int, minimum: int | None = None) -> int:
    """Number of threads, at most `n_threads`, that make one pass over `elements` faster.

    Each thread has at least `minimum` elements, None being `MIN_ELEMENTS_PER_THREAD`, and a
    processor: a fit of 100,000 x 100 with eight threads on two busy processors took five times
    as long as with one.

    Examples
    --------
    >>> useful(8, elements=4 * 2)
    1
    >>> useful(8, elements=10**9) == min(8, processors())
    True
    """
    most = elements // (minimum or MIN_ELEMENTS_PER_THREAD)
    return 1 if n_threads == 1 or most < 2 else min(n_threads, most, processors())


def for_pass(n_jobs: int | None, elements: int) -> int:
    """Number of threads for one pass over `elements`; few elements skip the look-up.

    Examples
    --------
    >>> for_pass(8, elements=4 * 2)
    1
    """
    return 1 if elements < 2 * MIN_ELEMENTS_PER_THREAD else useful(available(n_jobs), elements)
