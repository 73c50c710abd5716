"""The sequential read rate: what a pass over the data costs at the least."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Data smaller than this stay in the innermost caches, where NumPy's read is bound by its
# own instructions and says nothing about the machine.
MIN_BYTES = 1 << 20
# Read in one call of a sustained reader, or more where the data are larger.
_SUSTAINED_BYTES = 1 << 27


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


def sustained_reader(buffers: list[np.ndarray], n_threads: int) -> tuple[Callable, int]:
    """Return a function that reads the buffers again and again, and how many times it does.

    Each thread reads its own part of them, as in a run of many epochs: what it costs to
    start threads is spread over many reads.
    """
    times = max(1, _SUSTAINED_BYTES // max(1, sum(buffer.nbytes for buffer in buffers)))
    split = [np.array_split(_words(buffer), n_threads) for buffer in buffers]
    readers = [reader(list(parts), 1) for parts in zip(*split, strict=True)]

    def read(reads):
        for _ in range(times):
            reads()

    if n_threads == 1:
        return lambda: read(readers[0]), times
    pool = ThreadPoolExecutor(n_threads)
    return lambda: list(pool.map(read, readers)), times


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
