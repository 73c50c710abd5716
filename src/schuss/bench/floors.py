"""Floors: how many times quicker than the NumPy loop the kernels have to be.

The two take turns in one process, as everywhere in `schuss.bench`. What was measured on a
processor stands in ``floors.json``; on that processor, with that Python and NumPy, a kernel may
fall short of it by `ROOM`. Elsewhere it may by `OTHER_ROOM`, as the ratio of two programs depends
on all of them; so it may where the floors of another processor have been renewed since, for other
kernels.

A ratio below the floor is measured again, in a fresh process, after the other instruction sets.
It says nothing where other programs were at work meanwhile (Linux tells), where the attempts
do not agree, or, on a processor that is known, where a fixed matrix product took longer than on
the idle machine, as it does when somebody who cannot be seen from here uses the same core.
"""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schuss.bench.comparison import Verdict
from schuss.bench.libraries import BASELINE, LIBRARIES, Library
from schuss.bench.problems import PROBLEMS
from schuss.bench.report import processor
from schuss.bench.runner import Refused, measure, steady

FILE = Path(__file__).with_name("floors.json")
ROOM = 0.12
OTHER_ROOM = 0.5
# Of a matrix product, beyond which the core was not all ours.
MAX_SLOWDOWN = 1.10
# Of one processor's time, used by others.
MAX_OTHERS = 0.2
# The best attempt over the worst: what became slower is so each time, by as much.
MAX_SPREAD = 1.06
ATTEMPTS = 3
ROUNDS = 11
MIN_SECONDS = 0.008
# Of the rounds of one work, however busy the machine.
MAX_SECONDS = 10.0
KERNEL = "schuss-cython"
ALL = (
    "4x2 float32",
    "100x2 float32",
    "breast-cancer float32",
    "digits float32",
    "digits float64",
    "digits uint8",
    "20000x100 float32",
)

# For each work: "ratio", "arithmetic" in seconds, "others"; or "refused", and why.
Measured = dict[str, dict[str, Any]]


class Bound(NamedTuple):
    """The least ratio, and the longest matrix product; None where nothing is recorded."""

    least: float | None = None
    longest: float | None = None


def isas() -> list[str]:
    """The instruction sets that this processor has and that were compiled."""
    found = []
    for isa in import_module("schuss.backends.cython_")._FOLDERS:
        code = "import schuss.backends.cython_"
        if _run(["-c", code], isa).returncode == 0:
            found.append(isa)
    return found


def measured(isa: str, works: Iterable[str] = ALL, timeout: float | None = None) -> Measured:
    """Some works, in a process that uses this instruction set; those done before the timeout."""
    try:
        result = _run(["-m", "schuss.bench.floors", *works], isa, timeout)
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").splitlines(keepends=True)
        return dict(json.loads(line) for line in lines if line.endswith(b"\n"))
    if result.returncode:
        raise RuntimeError(f"the measuring process failed:\n{result.stdout}{result.stderr}")
    return dict(map(json.loads, result.stdout.splitlines()))


def _run(arguments, isa, timeout=None):
    environment = {**os.environ, "SCHUSS_ISA": isa}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)


def measured_here(works: Iterable[str] = ALL) -> Iterator[tuple[str, dict]]:
    """Some works, in this process."""
    for work in works:
        name, dtype = work.split()
        yield work, _one(PROBLEMS[name].load(dtype))


def _one(task):
    libraries = [BASELINE, LIBRARIES[KERNEL], _ARITHMETIC]
    with _others() as others:
        result = measure(
            task, libraries, rounds=ROUNDS, min_seconds=MIN_SECONDS, budget=MAX_SECONDS
        )
    if notes := [f"{row.library}: {row.note}" for row in result.rows if row.note]:
        return {"refused": "; ".join(notes)}
    _, kernel, arithmetic = result.rows
    return {
        "ratio": float(np.median(result.ratio(kernel)[steady(result.probe_seconds)])),
        "arithmetic": float(np.median(arithmetic.seconds)),
        "others": others[0],
    }


def _matrix_products(task, n_threads):
    """In the L1 cache, and as the kernels bound by multiplications."""
    matrix = np.ones((64, 64), np.float32)
    product = np.empty_like(matrix)

    def run(times):
        for _ in range(times):
            np.matmul(matrix, matrix, out=product)

    return run


_ARITHMETIC = Library("arithmetic", _matrix_products, verified=False)


@contextmanager
def _others():
    """A list that holds, after the block, how many processors others used; 0 if unknown."""
    found = [0.0]
    busy, own, start = _busy(), time.process_time(), time.perf_counter()
    yield found
    if busy is not None:
        used = _busy() - busy - (time.process_time() - own)
        found[0] = max(0.0, used / (time.perf_counter() - start))


def _busy():
    """Seconds that all processors have worked so far, for us, for others or for other guests."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal
    ticks = [int(field) for field in line.split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def bound(recorded: dict, isa: str, work: str, here: str) -> Bound:
    """What a work may measure on the processor `here`."""
    entry = recorded["processors"].get(here, {})
    known = entry.get("floors", {}).get(isa, {}).get(work)
    current = entry.get("kernels") == recorded["kernels"] and entry.get("versions") == _versions()
    if known and current:
        return Bound(known["ratio"] * (1 - ROOM), known["arithmetic"] * MAX_SLOWDOWN)
    found = [
        entry["floors"][isa][work]["ratio"]
        for entry in recorded["processors"].values()
        if work in entry["floors"].get(isa, {})
    ]
    return Bound(min(found) * (1 - OTHER_ROOM)) if found else Bound()


def judge(attempts: list[dict], bound: Bound) -> tuple[Verdict, str]:
    """The verdict on one work after one attempt or more."""
    for attempt in attempts:
        if "refused" in attempt:
            return Verdict.refused, attempt["refused"]
    if bound.least is None:
        return Verdict.skipped, "no floor is recorded"
    ratios = [attempt["ratio"] for attempt in attempts]
    told = f"{len(attempts)} attempt{'s' if len(attempts) > 1 else ''}"
    if max(ratios) >= bound.least:
        return Verdict.passed, f"the best of {told}" if len(attempts) > 1 else ""
    disturbed = sum(
        attempt["others"] > MAX_OTHERS
        or (bound.longest is not None and attempt["arithmetic"] > bound.longest)
        for attempt in attempts
    )
    if disturbed:
        return Verdict.inconclusive, f"the machine was not all ours in {disturbed} of {told}"
    if len(attempts) < ATTEMPTS:
        return Verdict.inconclusive, f"below the floor, but there was time for {told} only"
    if max(ratios) > MAX_SPREAD * min(ratios):
        return Verdict.inconclusive, f"{min(ratios):.3g} to {max(ratios):.3g} in {told}: too noisy"
    return Verdict.failed, f"below the floor in {told}"


def check(
    recorded: dict,
    which: Iterable[str],
    measured: Callable[[str, Iterable[str], float | None], Measured] = measured,
    here: str | None = None,
    deadline: float = math.inf,
) -> Iterator[tuple[str, str, float, float | None, Verdict, str]]:
    """Measure and judge.

    Parameters
    ----------
    recorded : dict
        The content of ``floors.json``.
    which : iterable of str
        Instruction sets.
    measured : callable
        As `measured`, which it is but in tests.
    here : str, optional
        The processor; this one unless given.
    deadline : float
        On `time.monotonic`'s clock: nothing is measured again after it.

    Yields
    ------
    isa, work, ratio, floor, verdict, note
    """
    here = here or processor()
    attempts: dict[tuple[str, str], list[dict]] = {}
    late = Verdict.inconclusive, "not measured in the time given"
    verdicts = {(isa, work): late for isa in which for work in ALL}
    todo: Mapping[str, Iterable[str]] = dict.fromkeys(which, ALL)
    # Again only after the other instruction sets, as a neighbour at work stays for a while.
    for attempt in range(ATTEMPTS):
        below: dict[str, list[str]] = {}
        for isa, works in todo.items():
            left = deadline - time.monotonic()
            if attempt and left <= 0:
                break
            timeout = None if math.isinf(left) else max(1.0, left)
            for work, found in measured(isa, works, timeout).items():
                attempts.setdefault((isa, work), []).append(found)
                verdict, note = judge(attempts[isa, work], bound(recorded, isa, work, here))
                verdicts[isa, work] = verdict, note
                if verdict in (Verdict.failed, Verdict.inconclusive):
                    below.setdefault(isa, []).append(work)
        todo = below
    for (isa, work), (verdict, note) in verdicts.items():
        ratios = [found.get("ratio", np.nan) for found in attempts.get((isa, work), ())]
        ratio = max(ratios, default=np.nan)
        yield isa, work, ratio, bound(recorded, isa, work, here).least, verdict, note


def renewed(recorded: dict, which: Iterable[str], here: str | None = None) -> dict:
    """What is recorded, with this processor measured anew: medians of fresh processes."""
    entry: dict[str, dict] = {}
    for isa in which:
        runs = [measured(isa) for _ in range(ATTEMPTS)]
        for run in runs:
            for work, found in run.items():
                if "refused" in found:
                    raise Refused(f"{isa}, {work}: {found['refused']}")
        entry[isa] = {
            work: {
                "ratio": float(f"{np.median([run[work]['ratio'] for run in runs]):.4g}"),
                "arithmetic": float(f"{min(run[work]['arithmetic'] for run in runs):.4g}"),
            }
            for work in runs[0]
        }
    kernels = _kernels()
    new = {"kernels": kernels, "versions": _versions(), "floors": entry}
    processors = {**recorded["processors"], here or processor(): new}
    return {**recorded, "kernels": kernels, "processors": processors}


def _versions():
    """Of what runs the loop that is the measure of all ratios; each NumPy has its own BLAS."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, "numpy": np.__version__}


def _kernels():
    """Which kernels these are: git's name for the folder of their sources."""
    if shutil.which("git") is None:
        return None
    command = ["git", "rev-parse", "--quiet", "--verify", "HEAD:ext"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return answer.stdout.strip() or None


if __name__ == "__main__":
    for entry in measured_here(sys.argv[1:]):
        print(json.dumps(entry), flush=True)
