"""Two builds in alternating fresh processes: the timings that `comparison` judges.

Each pair is two new processes, so that where a build's code and data happen to lie is
drawn anew. Within a pair the two are asked in turn for every workload, B H H B B H …, and
the quickest timing of each counts: the neighbours only ever make one longer.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from schuss.bench.comparison import MIN_PAIRS, Pairs

WORKER = Path(__file__).with_name("worker.py")
WORKLOADS = Path(__file__).with_name("workloads.py")
# Timings of each workload in a pair, and how long one lasts.
TURNS = 12
SECONDS = 0.005
# Largest relative difference of equal results, for float32 and for the rest.
TOLERANCE = (1e-4, 1e-8)


class RaceError(Exception):
    """A build cannot be raced; the message says which, and why."""


@dataclass(frozen=True)
class Build:
    """A Python, and a folder that it imports packages from before all others.

    Attributes
    ----------
    name : str
        What messages call it.
    """

    name: str
    python: str = sys.executable
    folder: Path | None = None

    def environment(self) -> dict[str, str]:
        path = os.environ.get("PYTHONPATH", "")
        if self.folder:
            path = str(self.folder)
        # One thread each: the two share the machine's processors.
        return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}  # fmt: skip


@dataclass
class Race:
    """Timings by workload, and why some have none."""

    pairs: dict[str, Pairs] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


class _Process:
    def __init__(self, build: Build, workloads: Path):
        self.build = build
        self.process = subprocess.Popen(
            [build.python, str(WORKER), str(workloads)],
            env=build.environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        # Its stderr may be long: read it, or the process waits for ever.
        self.process.communicate()

    def greet(self):
        self.hello = self._answer()
        folder, path = self.build.folder, self.hello["build"].get("path")
        if folder and path and not Path(path).is_relative_to(folder.resolve()):
            raise RaceError(f"{self.build.name}: imports {path}, which is not in {folder}")

    def time(self, name: str, repeats: int):
        print(name, repeats, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            _, error = self.process.communicate()
            last = error.strip().splitlines()[-1:] or ["no message"]
            raise RaceError(f"{self.build.name}: the workloads do not run: {last[0]}")
        return json.loads(line)


def race(
    base: Build,
    head: Build,
    *,
    workloads: Path = WORKLOADS,
    only: Iterable[str] | None = None,
    n_pairs: int = MIN_PAIRS,
    progress: Callable[[int], object] = lambda done: None,
    deadline: float = math.inf,
) -> Race:
    """Time the workloads in so many pairs of fresh processes.

    Parameters
    ----------
    base, head : Build
    workloads : Path
        A file with functions named ``bench_…``; what they return has to be the same.
    only : iterable of str, optional
        Names of workloads, without the prefix.
    deadline : float
        On `time.monotonic`'s clock; no further pair is begun after it.

    Raises
    ------
    RaceError
        Where a build cannot be loaded, or is not of the same kind as the other.
    """
    result = Race()
    repeats: dict[str, int] = {}
    for pair in range(n_pairs):
        if time.monotonic() > deadline:
            break
        with ExitStack() as stack:
            both = [stack.enter_context(_Process(build, workloads)) for build in (base, head)]
            for process in both:
                process.greet()
            names = _common(both, only, result)
            for turn, name in enumerate(names):
                if name in result.refused:
                    continue
                seconds, briefs = _one_pair(both, name, repeats, first=(pair + turn) % 2)
                if reason := _unequal(*briefs):
                    result.refused[name] = reason
                    result.pairs.pop(name, None)
                    continue
                pairs = result.pairs.setdefault(name, Pairs([], []))
                pairs.base.append(seconds[0])
                pairs.head.append(seconds[1])
        progress(pair + 1)
    return result


def _common(both, only, result):
    """Names of the workloads that both have."""
    kinds = [{k: v for k, v in p.hello["build"].items() if k != "path"} for p in both]
    base, head = both
    if kinds[0] != kinds[1]:
        raise RaceError(
            f"not the same kind of build: {base.build.name} is {kinds[0]}, "
            f"{head.build.name} is {kinds[1]}"
        )
    names = [n for n in head.hello["names"] if only is None or n in set(only)]
    result.absent = [n for n in names if n not in base.hello["names"]]
    return [n for n in names if n not in result.absent]


def _one_pair(both, name, repeats, first):
    # The first calls find caches cold; the slower build's time sets the number of calls.
    warm = [process.time(name, 1)[0] for process in both]
    if name not in repeats:
        warm = [process.time(name, 1)[0] for process in both]
        repeats[name] = max(1, math.ceil(SECONDS / max(*warm, 1e-9)))
    best, briefs = [math.inf, math.inf], [None, None]
    for turn in range(TURNS):
        for side in (0, 1) if (turn + first) % 2 else (1, 0):
            seconds, briefs[side] = both[side].time(name, repeats[name])
            best[side] = min(best[side], seconds)
    return best, briefs


def _unequal(base, head) -> str:
    """How two results differ, or nothing."""
    if base is None and head is None:
        return ""
    if base is None or head is None or base[0] != head[0]:
        shapes = ["nothing" if b is None else f"shape {tuple(b[0])}" for b in (base, head)]
        return f"unequal work: results of {shapes[0]} and {shapes[1]}"
    scale = max(base[2], head[2], 1e-300)
    difference = max(abs(b - h) for b, h in zip(base[2:], head[2:], strict=True)) / scale
    tolerance = TOLERANCE[0] if base[1] or head[1] else TOLERANCE[1]
    if not difference <= tolerance:
        return f"unequal work: the results differ by {difference:.1e}, more than {tolerance:.0e}"
    return ""
