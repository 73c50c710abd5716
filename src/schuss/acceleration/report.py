"""Report of the calls: served, or fallen back and why."""

import json
import os
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from typing import NamedTuple

_HEADINGS = ("class", "method", "", "calls", "seconds", "why")


class Row(NamedTuple):
    """Calls with the same outcome."""

    class_name: str
    method: str
    outcome: str  # "served" or "fell back"
    calls: int
    seconds: float
    reason: str


class Verified(NamedTuple):
    """A fit by both: the objectives, and their difference relative to scikit-learn's."""

    class_name: str
    schuss: float
    sklearn: float
    difference: float


class Report:
    """Calls of accelerated classes, including those in child processes.

    Parameters
    ----------
    path : str, optional
        File of the parent process, to which this process appends its calls.

    Attributes
    ----------
    path : str
        File to which child processes append their calls.
    """

    VARIABLE = "SCHUSS_ACCELERATE_REPORT"

    def __init__(self, path=None):
        self._lock = threading.Lock()
        self._counts = {}
        self._verified = []
        self._owner = None
        if not path:
            self._owner = os.getpid()
            descriptor, path = tempfile.mkstemp(prefix="schuss-report-")
            os.close(descriptor)
            weakref.finalize(self, _remove, path, self._owner)
        self.path = path

    def add(self, class_name, method, seconds, reason=None, objectives=None):
        """Count a call.

        Parameters
        ----------
        class_name, method : str
        seconds : float
        reason : str, optional
            Reason of a fallback.
        objectives : (float, float), optional
            Of schuss and of scikit-learn.
        """
        if os.getpid() != self._owner:
            self._tell_owner([class_name, method, seconds, reason, objectives])
            return
        call = class_name, method, seconds, reason, objectives
        with self._lock:
            _count(self._counts, self._verified, *call)

    def _tell_owner(self, call):
        # An appending write of one line is atomic. The owner may have ended.
        with suppress(OSError):
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, json.dumps(call).encode() + b"\n")
            finally:
                os.close(file)

    def _all(self):
        with self._lock:
            counts = {key: list(entry) for key, entry in self._counts.items()}
            verified = list(self._verified)
        with suppress(OSError), open(self.path, encoding="utf-8") as file:
            for line in file:
                _count(counts, verified, *json.loads(line))
        return counts, verified

    def rows(self):
        """Numbers of calls by outcome, served ones first.

        Returns
        -------
        list of Row
        """
        counts, _ = self._all()
        rows = [
            Row(name, method, "fell back" if reason else "served", calls, seconds, reason or "")
            for (name, method, reason), (calls, seconds) in counts.items()
        ]
        return sorted(rows, key=lambda row: (row.outcome != "served", row[:2], -row.calls))

    @property
    def served(self):
        """Number of calls that schuss served."""
        return sum(row.calls for row in self.rows() if row.outcome == "served")

    @property
    def fallen_back(self):
        """Number of calls that scikit-learn served."""
        return sum(row.calls for row in self.rows() if row.outcome != "served")

    @property
    def verified(self):
        """Fits by both, with ``verify=True``: a list of `Verified`."""
        return self._all()[1]

    def _cells(self):
        for row in self.rows():
            yield (*row[:3], str(row.calls), f"{row.seconds:.3g}", row.reason)

    def _notes(self):
        rows, verified = self.rows(), self.verified
        served = sum(row.calls for row in rows if row.outcome == "served")
        yield f"schuss served {served} of {sum(row.calls for row in rows)} calls"
        if verified:
            worst = max(verified, key=lambda one: one.difference)
            yield (
                f"{len(verified)} fits verified: the objective of schuss exceeds that of "
                f"scikit-learn by at most {worst.difference:.2g} of it ({worst.class_name})"
            )

    def __str__(self):
        table = [_HEADINGS, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if i in (3, 4) else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        return "\n".join([*lines, *self._notes()] if len(table) > 1 else self._notes())

    __repr__ = __str__

    def __rich__(self):
        from rich.console import Group
        from rich.table import Table

        table = Table(*_HEADINGS, box=None)
        for i in (3, 4):
            table.columns[i].justify = "right"
        for cells in self._cells():
            table.add_row(*cells, style=None if cells[2] == "served" else "yellow")
        return Group(table, *self._notes())


def _remove(path, owner):
    # Forked children inherit this finaliser.
    if os.getpid() == owner:
        with suppress(OSError):
            os.remove(path)


def _count(counts, verified, class_name, method, seconds, reason, objectives):
    entry = counts.setdefault((class_name, method, reason), [0, 0.0])
    entry[0] += 1
    entry[1] += seconds
    if objectives is not None:
        ours, theirs = objectives
        difference = (ours - theirs) / max(abs(theirs), sys.float_info.min)
        verified.append(Verified(class_name, ours, theirs, difference))
