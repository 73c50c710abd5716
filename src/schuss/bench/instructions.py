"""Instructions for an element of X in each kernel: ``python -m schuss.bench.instructions``.

Times depend on the neighbours, counts do not: the same build gives the same numbers, so a
change shows however noisy the machine is. They are counted by valgrind's tool callgrind,
which runs the kernels as they were compiled (AVX-512 apart, which it does not know).

A worker process runs each kernel for k and then for 2k epochs or calls; the difference is
what k of them need, so that Python, NumPy and the set-up of a run fall out. Counting
starts after the imports, which takes a few lines of C: counted as well, they would take
minutes.
"""

import argparse
import ctypes
import gc
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from schuss.backends.contract import Data
from schuss.bench.libraries import kernel_run
from schuss.bench.problems import ORDERS, PROBLEMS, Problem, Task
from schuss.bench.race import Build, RaceError, Worker
from schuss.bench.report import markdown
from schuss.bench.run import names_of
from schuss.constants import Activation
from schuss.losses import LOSSES

ISAS = ("x86-64-v3", "baseline")
# k makes a run read this many elements at least: what differs in Python from one call to
# the next is some hundred instructions.
ELEMENTS = 1_000_000
# Calls after which Python has adapted its own code to them.
WARM_UP = 50

# Small, because callgrind is slow; but too large to be packed, and several chunks.
_DENSE = Problem("4000x100", 4_000, 100, 1, PROBLEMS["20000x100"].make)
_SPARSE = Problem("4000x2000", 4_000, 2_000, 1, PROBLEMS["sparse"].make, sparse=True)

_SWITCH = """\
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; }
void begin(void) { CALLGRIND_ZERO_STATS; }
void end(const char *label) { CALLGRIND_DUMP_STATS_AT(label); }
"""


@dataclass(frozen=True)
class Kernel:
    """A function of the contract over one kind of X.

    Attributes
    ----------
    function : {"descend", "gradient", "predict"}
    """

    function: str
    problem: Problem = _DENSE
    dtype: str = "float32"
    order: str = "C"

    @property
    def name(self) -> str:
        kind = "CSR" if self.problem.sparse else self.order
        return f"{self.function} {self.problem.name} {self.dtype} {kind}"

    def prepare(self, backend) -> tuple[Callable[[int], object], int]:
        """Return a function that does some epochs or calls, and the elements of X."""
        task = self.problem.load(self.dtype, self.order)
        size = task.X.nnz if sp.issparse(task.X) else task.X.size
        if self.function == "descend":
            return kernel_run(backend, task, task.real, 1), size
        call = {"gradient": _gradient, "predict": _predict}[self.function](backend, task)

        def run(calls):
            for _ in range(calls):
                call()

        return run, size


def _gradient(backend, task: Task):
    n, d = task.X.shape
    data = Data(backend.prepare(task.X), task.codes, None, 1.0 / n)
    coef, intercept = np.zeros((1, d), task.real), np.zeros(1, task.real)
    out = np.empty_like(coef), np.empty_like(intercept)
    return lambda: backend.gradient(data, LOSSES[task.loss].code, coef, intercept, *out, 1)


def _predict(backend, task: Task):
    n, d = task.X.shape
    X = backend.prepare(task.X)
    coef, intercept = np.zeros((1, d), task.real), np.zeros(1, task.real)
    out = np.empty((n, 1), task.real)
    return lambda: backend.predict(X, coef, intercept, Activation.LOGISTIC, out, 1)


_DTYPES = [("float32", "CF"), ("float64", "CF"), ("uint8", "CF"), ("int8", "C"), ("float16", "C")]
KERNELS = {
    kernel.name: kernel
    for kernel in (
        *(Kernel("descend", _DENSE, dtype, order) for dtype, orders in _DTYPES for order in orders),
        Kernel("descend", _SPARSE),
        *(Kernel("descend", PROBLEMS[n]) for n in ("4x2", "100x2", "breast-cancer", "digits")),
        *(Kernel(f, _DENSE, order=order) for f in ("gradient", "predict") for order in ORDERS),
        Kernel("predict", dtype="uint8"),
        *(Kernel(function, _SPARSE) for function in ("gradient", "predict")),
    )
}


def missing() -> str | None:
    """Why nothing can be counted here, or None."""
    for program, purpose in (("valgrind", "counts"), ("cc", "compiles its switch")):
        if shutil.which(program) is None:
            return f"{program}, which {purpose}, is not installed"
    with tempfile.TemporaryDirectory() as folder:
        try:
            _compile_switch(Path(folder))
        except subprocess.CalledProcessError as error:
            return f"valgrind/callgrind.h cannot be compiled: {error.stderr.strip()}"
    return None


def counts(
    isa: str, kernels: Iterable[str] = tuple(KERNELS), timeout: float | None = None
) -> dict[str, float]:
    """The counts of several kernels, from one worker process.

    Raises
    ------
    subprocess.TimeoutExpired
        Where they take longer than `timeout` seconds.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _compile_switch(folder)
        command = [
            *_callgrind(folder), sys.executable, "-m", "schuss.bench.instructions",
            "--worker", name, "--kernels", ",".join(kernels),
        ]  # fmt: skip
        # Threads and hashes would make Python's own part of the two runs differ.
        alone = {"SCHUSS_ISA": isa, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        result = subprocess.run(
            command, env={**os.environ, **alone}, capture_output=True, text=True, timeout=timeout
        )
        if result.returncode:
            raise RuntimeError(f"the counting process failed:\n{result.stdout}{result.stderr}")
        measured = _read(folder)
        sizes = json.loads(result.stdout.splitlines()[-1])
    return {
        kernel: (measured[f"{kernel}: 2k"] - measured[f"{kernel}: k"]) / (_repeats(size) * size)
        for kernel, size in sizes.items()
    }


def _callgrind(folder):
    out = f"--callgrind-out-file={folder / 'counts'}"
    return ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", out]


def _repeats(size):
    return -(-ELEMENTS // size)


def _compile_switch(folder):
    source, library = folder / "switch.c", folder / "switch.so"
    source.write_text(_SWITCH)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _read(folder):
    """Instructions of each labelled part; callgrind numbers the files of the parts."""
    measured = {}
    for path in folder.glob("counts.*"):
        text = path.read_text()
        label = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
        total = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
        if label and total:
            measured[label[1]] = int(total[1])
    return measured


def _work(folder: Path, kernels: Iterable[str]) -> None:
    """In the worker: the two runs of each kernel, and the size of its X on the last line."""
    switch = ctypes.CDLL(str(folder / "switch.so"))
    backend = importlib.import_module("schuss.backends.cython_")
    prepared = {kernel: KERNELS[kernel].prepare(backend) for kernel in kernels}
    for run, _ in prepared.values():
        for _ in range(WARM_UP):
            run(1)
    gc.disable()
    switch.start()
    for kernel, (run, size) in prepared.items():
        # The first is a rehearsal: what happens once, such as looking up a symbol, is in it.
        for label, times in (("rehearsal", 1), ("k", 1), ("2k", 2)):
            switch.begin()
            run(times * _repeats(size))
            switch.end(f"{kernel}: {label}".encode())
    print(json.dumps({kernel: size for kernel, (_, size) in prepared.items()}))


def by_function(build: Build, workloads: Path, name: str, timeout: float) -> Counter[str]:
    """Instructions of each function in one call of a benchmark, its callees apart.

    callgrind does not know AVX-512, so the kernels of schuss are those for AVX2.
    """
    with tempfile.TemporaryDirectory() as folder:
        _compile_switch(Path(folder))
        command = _callgrind(Path(folder))
        switch = {"SCHUSS_SWITCH": str(Path(folder, "switch.so")), "SCHUSS_ISA": "x86-64-v3"}
        with Worker(build, workloads, command, **switch) as worker:
            alarm = threading.Timer(timeout, worker.process.kill)
            alarm.start()
            try:
                worker.greet()
                worker.time(name, 0)
            finally:
                alarm.cancel()
        return _functions(Path(folder))


def _functions(folder):
    """What callgrind wrote: names are told once, and then by number."""
    names: dict[str, str] = {}
    totals: Counter[str] = Counter()
    for path in folder.glob("counts.*"):
        current, of_callee = "", False
        for line in path.read_text().splitlines():
            if found := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
                names.setdefault(found[1], found[2] or "")
                if line[0] == "f":
                    current = names[found[1]]
            elif line.startswith("calls="):
                of_callee = True
            elif found := re.match(r"[+\-*\d]\S* (\d+)", line):
                totals[current] += 0 if of_callee else int(found[1])
                of_callee = False
    return totals


def explain(base: Build, head: Build, workloads: Path, name: str, timeout: float) -> str:
    """Which function of the head executes more instructions, for a benchmark that is slower."""
    if reason := missing():
        return f"instructions not counted: {reason}"
    try:
        before, after = (by_function(b, workloads, name, timeout / 2) for b in (base, head))
    except RaceError as error:
        return f"instructions not counted: {error}"
    total = sum(after.values()) / max(1, sum(before.values())) - 1
    function = max(after, key=lambda f: after[f] - before[f])
    if after[function] <= before[function] * 1.001:
        return f"instructions {total:+.1%}: no function has more, so caches or layout"
    was = f"{before[function]:,} to " if before[function] else "none to "
    return f"instructions {total:+.1%}; {function}: {was}{after[function]:,}"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.worker:
        _work(options.worker, options.kernels)
        return 0
    reason = missing()
    if reason is not None:
        print(f"no instructions counted: {reason}")
        return 0
    results = {isa: counts(isa, options.kernels) for isa in options.isa}
    rows = [
        (kernel, *(f"{found[kernel]:.4g}" for found in results.values()))
        for kernel in options.kernels
    ]
    print(markdown(("instructions an element", *results), rows))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m schuss.bench.instructions", description=__doc__
    )
    add = parser.add_argument
    add("--isa", type=names_of(ISAS), default=ISAS, help=f"some of {', '.join(ISAS)}")
    add("--kernels", type=names_of(KERNELS), default=tuple(KERNELS),
        help=f"some of: {', '.join(KERNELS)}")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write the counts as well")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
