"""Memory: its sequential read rate, the least that a pass over the data takes, and its peak."""

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

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


class Peak:
    """Bytes by which a block raised the process's memory at the most; None if unknown."""

    bytes: int | None = None


@contextmanager
def peak() -> Iterator[Peak]:
    """Watch the resident memory of this process during a block, where Linux tells it."""
    found, before = Peak(), None
    with suppress(OSError):
        # Sets the peak back to what is in use now.
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    yield found
    if before is not None:
        found.bytes = max(0, _status("VmHWM") - before)


def _status(name):
    """Bytes of an entry of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


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
