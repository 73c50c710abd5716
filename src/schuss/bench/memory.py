"""Memory: its sequential read rate, the least that a pass over the data takes, and its peak."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

# Data smaller than this stay in the innermost caches.
MIN_BYTES = 1 << 20


def reader(buffers: list[np.ndarray], n_threads: int) -> Callable[[], object] | None:
    """Return a function that reads the buffers from end to end, once; None without kernels."""
    try:
        from schuss.backends.cython_ import read_once
    except ImportError:
        return None
    words = [buffer.view(np.uint8)[: buffer.nbytes // 8 * 8].view(np.uint64) for buffer in buffers]
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
