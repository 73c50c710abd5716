"""Two builds in alternating fresh processes: the timings that `comparison` judges.

Each pair is new processes, of the base, the head and the head once more, so that where a
build's code and data happen to lie is drawn anew. Within a pair they are asked in turn for every
benchmark that has no verdict yet, and the shortest timing of each counts: the neighbours only
ever make one longer.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from schuss.bench.comparison import MAX_PAIRS, Pairs
from schuss.bench.runner import fair_environment

WORKER = Path(__file__).with_name("worker.py")
WORKLOADS = Path(__file__).with_name("workloads.py")
# Timings of each benchmark in a pair, and how long one lasts.
TURNS = 12
SECONDS = 0.005
# Largest relative difference of equal results, for float32 and for the rest.
TOLERANCE = (1e-4, 1e-8)


@dataclass(frozen=True)
class Build:
    """A Python, and a folder that it imports packages from before all others."""

    name: str  # what messages call it
    python: str = sys.executable
    folder: Path | None = None
    commit: str = ""  # that it was built from, where it was built from one
    # Benchmarks whose calls last longer by a share: for trials of the gate.
    slower: Mapping[str, float] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        # One thread each: they share the machine's processors.
        return fair_environment(
            PYTHONPATH=str(self.folder) if self.folder else os.environ.get("PYTHONPATH", ""),
            OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONHASHSEED="0",
            SCHUSS_BENCH_SLOWER=json.dumps(dict(self.slower)),
        )  # fmt: skip


class RaceError(Exception):
    """A build cannot be raced; the message says which, and why."""

    def __init__(self, build: Build, reason: str):
        super().__init__(f"{build.name}: {reason}")
        self.build = build


@dataclass
class Race:
    """Timings by benchmark, and why some have none."""

    pairs: dict[str, Pairs] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


class Worker:
    """A process that does the benchmarks of a file when it is told to."""

    def __init__(self, build: Build, workloads: Path, command: Iterable[str] = (), **environment):
        self.build = build
        self.process = subprocess.Popen(
            [*command, build.python, str(WORKER), str(workloads)],
            env=build.environment() | environment,
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
            raise RaceError(self.build, f"imports {path}, which is not in {folder}")

    def time(self, name: str, repeats: int):
        print(repeats, name, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            _, error = self.process.communicate()
            last = error.strip().splitlines()[-1:] or ["no message"]
            raise RaceError(self.build, f"the benchmarks do not run: {last[0]}")
        return json.loads(line)


def race(
    base: Build,
    head: Build,
    *,
    workloads: Path = WORKLOADS,
    only: Iterable[str] | None = None,
    decided: Callable[[Pairs, int], bool] = lambda pairs, n_benchmarks: False,
    max_pairs: int = MAX_PAIRS,
    progress: Callable[[int, int], object] = lambda pairs, left: None,
    deadline: float = math.inf,
) -> Race:
    """Time the benchmarks of a file until each is decided; what they return has to be the same.

    `decided` tells whether the pairs of one of so many benchmarks are enough. No pair is begun
    after the deadline, on `time.monotonic`'s clock.

    Raises
    ------
    RaceError
        Where a build cannot be loaded, or is not of the same kind as the other.
    """
    result = Race()
    repeats: dict[str, int] = {}
    names: list[str] = []
    for pair in range(max_pairs):
        if time.monotonic() > deadline:
            break
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(b, workloads)) for b in (base, head, head)]
            for worker in workers:
                worker.greet()
            if not pair:
                names = _common(workers, only, result)
                result.pairs = {name: Pairs() for name in names}
            for turn, name in enumerate(names):
                if time.monotonic() > deadline:
                    break
                seconds, briefs = _one_pair(workers, name, repeats, first=pair + turn)
                reason = _unequal(briefs[0], briefs[1]) or _unequal(briefs[1], briefs[2])
                if reason:
                    result.refused[name] = reason
                    continue
                pairs = result.pairs[name]
                for series, value in zip(
                    (pairs.base, pairs.head, pairs.again), seconds, strict=True
                ):
                    series.append(value)
        names = [
            name
            for name in names
            if name not in result.refused and not decided(result.pairs[name], len(result.pairs))
        ]
        progress(pair + 1, len(names))
        if not names:
            break
    return result


def _common(workers, only, result):
    """Names of the benchmarks; what the head has lost, or nobody has, is refused."""
    base, head, _ = workers
    kinds = [{k: v for k, v in w.hello["build"].items() if k != "path"} for w in (base, head)]
    if kinds[0] != kinds[1]:
        raise RaceError(base.build, f"not the same kind of build: {kinds[0]}, head {kinds[1]}")
    names = head.hello["names"]
    lost = [name for name in base.hello["names"] if name not in names]
    result.refused |= dict.fromkeys(lost, "the base has it, the head does not")
    if only is not None:
        result.refused |= {name: "there is no such benchmark" for name in only if name not in names}
        names = [name for name in names if name in only]
    result.absent = [name for name in names if name not in base.hello["names"]]
    return [name for name in names if name not in result.absent]


def _one_pair(workers, name, repeats, first):
    # The first calls find caches cold; the slower build's time sets the number of calls.
    warm = [worker.time(name, 1)[0] for worker in workers]
    if name not in repeats:
        warm = [worker.time(name, 1)[0] for worker in workers]
        repeats[name] = max(1, math.ceil(SECONDS / max(*warm, 1e-9)))
    best, briefs = [math.inf] * 3, [None] * 3
    for turn in range(TURNS):
        order = [(k + turn + first) % 3 for k in range(3)]
        for side in order if turn % 2 else order[::-1]:
            seconds, briefs[side] = workers[side].time(name, repeats[name])
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
