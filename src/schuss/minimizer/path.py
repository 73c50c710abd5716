"""The path of a run in bounded memory."""

import numpy as np

# Bytes of the path: initial capacity (memory never written to is free), maximum, and those of a
# chunk of iterates where not all are kept.
_FIRST_BYTES = 1 << 28
_MAX_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 24


class Path:
    """Iterates and their values, in arrays that grow up to a limit.

    Beyond it every `step`-th iterate is kept; `step` doubles whenever the arrays are full.
    """

    def __init__(self, n: int, max_rows: int, keep: bool):
        row_bytes = 8 * (n + 1)
        self.step = 1
        self._max_rows = max(2, _MAX_BYTES // row_bytes) if keep else 1
        self._rows = min(max_rows, self._max_rows, max(2, _FIRST_BYTES // row_bytes))
        self._chunk_rows = max(1, _CHUNK_BYTES // row_bytes)
        # One more row for the last iterate, whatever the step.
        self._points, self._values = np.empty((self._rows + 1, n)), np.empty(self._rows + 1)
        self._chunk = np.empty((0, n)), np.empty(0)
        self._start = 0

    def room(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays for up to `count` iterates from `start` on; those before it are final."""
        self._store(start)
        while self.step == 1 and (
            start >= self._rows or start + count > self._rows and self._rows < self._max_rows
        ):
            self._enlarge()
        if self.step == 1:
            rows = slice(start, min(start + count, self._rows))
            return self._points[rows], self._values[rows]
        count = min(count, self._chunk_rows)
        if len(self._chunk[0]) < count:
            self._chunk = np.empty((count, self._points.shape[1])), np.empty(count)
        self._start = start
        return self._chunk[0][:count], self._chunk[1][:count]

    def rows(self, last: int, x: np.ndarray, value: float) -> tuple[np.ndarray, np.ndarray]:
        """Iterates and values up to iterate `last`, which is x."""
        self._store(last)
        end = -(-last // self.step)
        self._points[end], self._values[end] = x, value
        points, values = self._points[: end + 1], self._values[: end + 1]
        if 2 * len(points) < len(self._points):
            # Release memory that was reserved and not needed.
            points, values = points.copy(), values.copy()
        return points, values

    def _store(self, stop):
        """Copy every `step`-th iterate of the last chunk, up to iterate `stop`."""
        if self.step == 1:
            return
        while (stop - 1) // self.step >= self._rows:
            self._enlarge()
        row = -(-self._start // self.step)
        every = slice(row * self.step - self._start, max(stop - self._start, 0), self.step)
        points, values = (part[every] for part in self._chunk)
        self._points[row : row + len(points)] = points
        self._values[row : row + len(points)] = values

    def _enlarge(self):
        """Double the rows; at the limit, keep every second iterate instead."""
        rows = min(2 * self._rows, self._max_rows)
        stride = 1 if rows > self._rows else 2
        # Not ndarray.resize, which writes zeros to the new rows.
        points, values = np.empty((rows + 1, self._points.shape[1])), np.empty(rows + 1)
        for new, old in ((points, self._points), (values, self._values)):
            kept = old[: self._rows : stride]
            new[: len(kept)] = kept
        # One statement, so that Ctrl-C leaves a consistent state.
        self._points, self._values, self._rows, self.step = points, values, rows, self.step * stride
