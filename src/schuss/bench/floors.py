"""Floors: how many times quicker than the NumPy loop the kernels have to be.

The two take turns in one process, as everywhere in `schuss.bench`. What was measured on a
processor stands in ``floors.json``; on that processor a kernel may fall short of it by
`ROOM`, on others by `OTHER_ROOM`, as the ratio of two programs depends on the processor.

A ratio below the floor is measured again, in a fresh process. It says nothing where other
programs were at work meanwhile (Linux tells), or, on a processor that is known, where a fixed
matrix product took longer than on the idle machine, as it does when somebody who cannot be
seen from here uses the same core.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from schuss.bench.comparison import Verdict
from schuss.bench.libraries import BASELINE, LIBRARIES
from schuss.bench.problems import PROBLEMS
from schuss.bench.report import processor
from schuss.bench.runner import (
    Reference,
    Refused,
    Work,
    as_work,
    interleave,
    limit_threads,
    steady,
    verify,
)

FILE = Path(__file__).with_name("floors.json")
ROOM = 0.12
OTHER_ROOM = 0.5
# Of a matrix product, beyond which the core was not all ours.
MAX_SLOWDOWN = 1.10
# Of one processor's time, used by others.
MAX_OTHERS = 0.2
ATTEMPTS = 3
ROUNDS = 11
MIN_SECONDS = 0.008
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


def isas() -> list[str]:
    """The instruction sets that this processor has and that were compiled."""
    found = []
    for isa in import_module("schuss.backends.cython_")._FOLDERS:
        code = "import schuss.backends.cython_"
        if _run(["-c", code], isa).returncode == 0:
            found.append(isa)
    return found


def measured(isa: str, works: Iterable[str] = ALL) -> Measured:
    """Some works, in a process of its own that uses this instruction set."""
    result = _run(["-m", "schuss.bench.floors", *works], isa)
    if result.returncode:
        raise RuntimeError(f"the measuring process failed:\n{result.stdout}{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def _run(arguments, isa):
    environment = {**os.environ, "SCHUSS_ISA": isa}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True
    )


def measure(works: Iterable[str] = ALL) -> Measured:
    """Some works, in this process."""
    with limit_threads(1):
        return {work: _one(PROBLEMS[work.split()[0]].load(work.split()[1])) for work in works}


def _one(task):
    reference = Reference(task)
    works = {}
    try:
        for name in (BASELINE.name, KERNEL):
            run = LIBRARIES[name].prepare(task, 1)
            verify(run, task, reference)
            works[name] = as_work(run, task, reference)
    except Refused as error:
        return {"refused": f"{name}: {error}"}
    # In the first cache, and as the kernels bound by multiplications.
    matrix = np.ones((64, 64), np.float32)
    product = np.empty_like(matrix)
    works["arithmetic"] = Work(lambda: np.matmul(matrix, matrix, out=product))
    with _others() as others:
        timed = interleave(works, rounds=ROUNDS, min_seconds=MIN_SECONDS)
    if timed.refused:
        return {"refused": "; ".join(f"{name}: {why}" for name, why in timed.refused.items())}
    ratios = timed.ratio(KERNEL, to=BASELINE.name)[steady(timed.probe_seconds)]
    return {
        "ratio": float(np.median(ratios)),
        "arithmetic": float(np.median(timed.seconds["arithmetic"])),
        "others": others[0],
    }


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


def floor(recorded: dict, isa: str, work: str, here: str) -> tuple[float | None, float | None]:
    """The least ratio and the longest matrix product; None where nothing is recorded."""
    known = recorded["processors"].get(here, {}).get(isa, {}).get(work)
    if known:
        return known["ratio"] * (1 - ROOM), known["arithmetic"] * MAX_SLOWDOWN
    others = [
        entry[isa][work]["ratio"]
        for entry in recorded["processors"].values()
        if work in entry.get(isa, {})
    ]
    return (min(others) * (1 - OTHER_ROOM) if others else None), None


def judge(attempts: list[dict], least: float | None, longest: float | None) -> tuple[Verdict, str]:
    """The verdict on one work after one attempt or more."""
    for attempt in attempts:
        if "refused" in attempt:
            return Verdict.refused, attempt["refused"]
    if least is None:
        return Verdict.skipped, "no floor is recorded"
    if max(attempt["ratio"] for attempt in attempts) >= least:
        return Verdict.passed, f"attempt {len(attempts)}" if len(attempts) > 1 else ""
    disturbed = [
        a
        for a in attempts
        if a["others"] > MAX_OTHERS or (longest is not None and a["arithmetic"] > longest)
    ]
    if disturbed:
        told = f"the machine was not all ours in {len(disturbed)} of {len(attempts)} attempts"
        return Verdict.inconclusive, told
    return Verdict.failed, f"below the floor in {len(attempts)} attempts"


def check(
    recorded: dict,
    which: Iterable[str],
    measured: Callable[..., Measured] = measured,
    here: str | None = None,
):
    """Measure, again where it is needed, and judge.

    Yields
    ------
    isa, work, ratio, floor, verdict, note
    """
    here = here or processor()
    for isa in which:
        attempts: dict[str, list[dict]] = {}
        verdicts: dict[str, tuple[Verdict, str]] = {}
        again: tuple[str, ...] = ALL
        for _ in range(ATTEMPTS):
            for work, found in measured(isa, again).items():
                attempts.setdefault(work, []).append(found)
                verdicts[work] = judge(attempts[work], *floor(recorded, isa, work, here))
            below = (Verdict.failed, Verdict.inconclusive)
            again = tuple(work for work, (verdict, _) in verdicts.items() if verdict in below)
            if not again:
                break
        for work, (verdict, note) in verdicts.items():
            ratio = max(found.get("ratio", np.nan) for found in attempts[work])
            yield isa, work, ratio, floor(recorded, isa, work, here)[0], verdict, note


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
    return {**recorded, "processors": {**recorded["processors"], here or processor(): entry}}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:])))
