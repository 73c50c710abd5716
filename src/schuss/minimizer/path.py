"""The path of a run in bounded memory."""

import numpy as np

# Bytes of the path: reserved at first (memory that is not written to costs nothing), at the
# most, and of the iterates of a chunk where not all are kept.
_FIRST_BYTES = 1 << 28
_MOST_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 24


class Path:
    """Iterates and their values, in arrays that grow up to a limit.

    Beyond it every `step`-th iterate is kept; `step` doubles whenever the arrays are full.
    """

    def __init__(self, n, max_rows, keep):
        row_bytes = 8 * (n + 1)
        self.step = 1
        self._most = max(2, _MOST_BYTES // row_bytes) if keep else 1
        self._rows = min(max_rows, self._most, max(2, _FIRST_BYTES // row_bytes))
        self._chunk_rows = max(1, _CHUNK_BYTES // row_bytes)
        # One row more for the last iterate, whatever the step.
        self._points, self._values = np.empty((self._rows + 1, n)), np.empty(self._rows + 1)
        self._chunk = np.empty((0, n)), np.empty(0)
        self._start = 0

    def room(self, start, count):
        """Arrays for up to `count` iterates from `start` on; those before it are final."""
        self._store(start)
        while self.step == 1 and (
            start >= self._rows or start + count > self._rows and self._rows < self._most
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

    def whole(self, last, x, value):
        """Rows of the iterates up to `last`, which is x."""
        self._store(last)
        end = -(-last // self.step)
        self._points[end], self._values[end] = x, value
        points, values = self._points[: end + 1], self._values[: end + 1]
        if 2 * len(points) < len(self._points):
            # Not to hold on to memory that was reserved and never needed.
            points, values = points.copy(), values.copy()
        return points, values

    def _store(self, stop):
        """Keep what is due of the last chunk, up to the iterate `stop`."""
        if self.step == 1:
            return
        while (stop - 1) // self.step >= self._rows:
            self._enlarge()
        row = -(-self._start // self.step)
        due = slice(row * self.step - self._start, max(stop - self._start, 0), self.step)
        points, values = (part[due] for part in self._chunk)
        self._points[row : row + len(points)] = points
        self._values[row : row + len(points)] = values

    def _enlarge(self):
        """Twice the rows; at the limit, as many for every second iterate."""
        rows = min(2 * self._rows, self._most)
        stride = 1 if rows > self._rows else 2
        # Copies rather than ndarray.resize, which writes zeros to what is new.
        points, values = np.empty((rows + 1, self._points.shape[1])), np.empty(rows + 1)
        for new, old in ((points, self._points), (values, self._values)):
            kept = old[: self._rows : stride]
            new[: len(kept)] = kept
        # In one go, which Ctrl-C does not divide.
        self._points, self._values, self._rows, self.step = points, values, rows, self.step * stride
