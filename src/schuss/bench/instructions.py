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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from rich import box
from rich.console import Console
from rich.table import Table

from schuss.backends.contract import Data
from schuss.bench.libraries import kernel_run
from schuss.bench.problems import PROBLEMS, Problem, Task
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


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("descend"),
        Kernel("descend", dtype="float64"),
        Kernel("descend", order="F"),
        Kernel("descend", dtype="float64", order="F"),
        Kernel("descend", dtype="uint8"),
        Kernel("descend", dtype="uint8", order="F"),
        Kernel("descend", dtype="int8"),
        Kernel("descend", dtype="float16"),
        Kernel("descend", _SPARSE),
        Kernel("descend", PROBLEMS["4x2"]),
        Kernel("descend", PROBLEMS["100x2"]),
        Kernel("descend", PROBLEMS["breast-cancer"]),
        Kernel("descend", PROBLEMS["digits"]),
        Kernel("gradient"),
        Kernel("gradient", order="F"),
        Kernel("gradient", _SPARSE),
        Kernel("predict"),
        Kernel("predict", order="F"),
        Kernel("predict", dtype="uint8"),
        Kernel("predict", _SPARSE),
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


def count(kernel: str, isa: str) -> float:
    """Instructions for an element of X; `kernel` is a key of `KERNELS`."""
    return counts(isa, [kernel])[kernel]


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
            "valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no",
            f"--callgrind-out-file={folder / 'counts'}",
            sys.executable, "-m", "schuss.bench.instructions", "--worker", name,
            "--kernels", ",".join(kernels),
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


def table(results: dict[str, dict[str, float]]) -> Table:
    """One line for each kernel, one column for each instruction set, in Markdown."""
    lines = Table("instructions an element", *results, box=box.MARKDOWN)
    for column in lines.columns[1:]:
        column.justify = "right"
    for kernel in next(iter(results.values())):
        lines.add_row(kernel, *(f"{found[kernel]:.4g}" for found in results.values()))
    return lines


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
    Console(width=120, highlight=False).print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m schuss.bench.instructions", description=__doc__
    )
    add = parser.add_argument
    add("--isa", type=_some_of(ISAS), default=ISAS, help=f"some of {', '.join(ISAS)}")
    add(
        "--kernels",
        type=_some_of(KERNELS),
        default=tuple(KERNELS),
        help=f"some of: {', '.join(KERNELS)}",
    )
    add("--json", type=Path, metavar="FILE", help="write the counts as well")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    return parser


def _some_of(known):
    def parse(text):
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)} unknown, choose from {', '.join(known)}"
            )
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
