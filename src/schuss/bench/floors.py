"""Floors: how many times faster than the NumPy loop the kernels have to be.

The two take turns in one process, as everywhere in `schuss.bench`. ``floors.json`` holds what was
measured on one processor; as the ratio of two programs depends on processor, NumPy and BLAS, a
kernel fails where it reaches less than half of that in each of several fresh processes. What is
finer, `compare` and `counts` find.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from schuss.bench.comparison import Check, Verdict
from schuss.bench.libraries import BASELINE, LIBRARIES, Refused
from schuss.bench.problems import PROBLEMS
from schuss.bench.runner import fair_environment, measure, steady

FILE = Path(__file__).with_name("floors.json")
ROOM = 0.5
ATTEMPTS = 3
KERNEL = "schuss-cython"
ALL = (
    "4x2 float32", "100x2 float32", "breast-cancer float32", "digits float32", "digits float64",
    "digits uint8", "20000x100 float32",
)  # fmt: skip


def isas() -> list[str]:
    """The instruction sets that this processor has and that were compiled."""
    folders = import_module("schuss.backends.cython_")._FOLDERS
    command = ["-c", "import schuss.backends.cython_"]
    return [isa for isa in folders if _run(command, isa).returncode == 0]


def measured(isa: str, works: Iterable[str] = ALL, timeout: float | None = None) -> dict:
    """Ratios, or why there is none, by a process with this instruction set; until the timeout."""
    try:
        result = _run(["-m", "schuss.bench.floors", *works], isa, timeout)
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").splitlines(keepends=True)
        return dict(json.loads(line) for line in lines if line.endswith(b"\n"))
    if result.returncode:
        raise RuntimeError(f"the measuring process failed:\n{result.stdout}{result.stderr}")
    return dict(map(json.loads, result.stdout.splitlines()))


def _run(arguments, isa, timeout=None):
    return subprocess.run(
        [sys.executable, *arguments], env=fair_environment(SCHUSS_ISA=isa), text=True,
        capture_output=True, timeout=timeout,
    )  # fmt: skip


def measured_here(work: str) -> float | str:
    """The ratio of one work, in this process; or why there is none."""
    name, dtype = work.split()
    result = measure(
        PROBLEMS[name].load(dtype), [BASELINE, LIBRARIES[KERNEL]], rounds=11, min_seconds=0.008,
        budget=10.0,
    )  # fmt: skip
    if notes := [f"{row.library}: {row.note}" for row in result.rows if row.note]:
        return "; ".join(notes)
    return float(np.median(result.ratio(result.rows[1])[steady(result.probe_seconds)]))


def check(
    recorded: dict[str, dict[str, float]],
    which: Iterable[str],
    measured: Callable[..., dict] = measured,
    deadline: float = math.inf,
) -> Iterator[Check]:
    """Measure the works with some instruction sets; no more than once after the deadline."""
    for isa in which:
        best: dict[str, float] = {}
        todo = list(ALL)
        for attempt in range(1, ATTEMPTS + 1):
            left = deadline - time.monotonic()
            if not todo or attempt > 1 and left <= 0:
                break
            for work, found in measured(
                isa, todo, None if left == math.inf else max(1, left)
            ).items():
                check = Check("floors", f"{isa}, {work}", Verdict.passed)
                least = recorded.get(isa, {}).get(work)
                if isinstance(found, str):
                    check.verdict, check.note = Verdict.refused, found
                elif least is None:
                    check.verdict, check.note = Verdict.skipped, "no floor is recorded"
                else:
                    best[work] = max(found, best.get(work, 0))
                    check.measured, check.value = f"{best[work]:.3g} × NumPy", best[work]
                    check.allowed = f"≥ {least * (1 - ROOM):.3g}"
                    if best[work] < least * (1 - ROOM):
                        if attempt < ATTEMPTS:
                            continue
                        check.verdict, check.note = Verdict.failed, f"in {ATTEMPTS} attempts"
                todo.remove(work)
                yield check
        for work in todo:
            told = f"{best[work]:.3g} × NumPy, too little time" if work in best else "no time"
            yield Check("floors", f"{isa}, {work}", Verdict.inconclusive, note=told)


def renewed(which: Iterable[str]) -> dict[str, dict[str, float]]:
    """What is to be recorded: medians of fresh processes."""
    found: dict[str, dict[str, float]] = {}
    for isa in which:
        runs = [measured(isa) for _ in range(ATTEMPTS)]
        if wrong := [f"{work}: {r}" for run in runs for work, r in run.items() if type(r) is str]:
            raise Refused("; ".join(wrong))
        found[isa] = {w: float(f"{np.median([run[w] for run in runs]):.4g}") for w in runs[0]}
    return found


if __name__ == "__main__":
    for _work in sys.argv[1:]:
        print(json.dumps([_work, measured_here(_work)]), flush=True)
