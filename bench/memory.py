"""The sequential read rate: what a pass over the data costs at the least."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Data smaller than this stay in the innermost caches, where NumPy's read is bound by its
# own instructions and says nothing about the machine.
MIN_BYTES = 1 << 20


def reader(buffers: list[np.ndarray], n_threads: int) -> Callable[[], object]:
    """Return a function that reads the buffers from end to end, once.

    The compiled backend's ``read_once(buffer, n_threads)`` where there is one, else
    NumPy's quickest reduction (an integer "or", which no bit pattern can slow down), the
    buffers cut in as many parts as there are threads.
    """
    words = [_words(buffer) for buffer in buffers]
    try:
        read_once = importlib.import_module("schuss.backends.cython_").read_once
    except (ImportError, AttributeError):
        return _numpy_reader(words, n_threads)
    return lambda: [read_once(buffer, n_threads) for buffer in words]


def _words(buffer):
    """The buffer as 64-bit words, without the last bytes that fill none."""
    data = buffer.view(np.uint8)
    return data[: len(data) // 8 * 8].view(np.uint64)


def _numpy_reader(words, n_threads):
    if n_threads == 1:
        return lambda: [np.bitwise_or.reduce(buffer) for buffer in words]
    parts = [part for buffer in words for part in np.array_split(buffer, n_threads)]
    pool = ThreadPoolExecutor(n_threads)
    return lambda: list(pool.map(np.bitwise_or.reduce, parts))
