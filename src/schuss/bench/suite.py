"""What ``schuss bench`` measures: five minutes on the user's own machine.

The kernels and whatever peers are installed on the dense problems, fits to the optimum, and
how an epoch's time grows with rows, features and threads. The studies of the checkout are more
tables of the same kind of `Item`.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from schuss import threads
from schuss.bench import report
from schuss.bench.libraries import BASELINE, LIBRARIES, SOLVERS, Library
from schuss.bench.problems import FITS, PROBLEMS, Problem
from schuss.bench.runner import Result, fair_process, measure

# The product, and what it is set against where only one is.
OURS = "schuss-cython"
SECONDS = 300.0
# Elements of X in the largest problem.
FULL, QUICK = 30_000_000, 200_000
SECTIONS = ("kernels", "fits", "rows", "features", "threads")
# Elements that a run of epochs reads at the least, so that NumPy's takes milliseconds.
_ELEMENTS = 20_000_000


@dataclass(frozen=True)
class Item:
    """A problem and who takes part."""

    load: Callable[..., Any]  # returns what `schuss.bench.runner.measure` takes as a task
    libraries: tuple[Library, ...]
    n_threads: int = 1
    rounds: int = 7
    busy: int = 0  # other processes at work meanwhile
    asked: bool = False  # only measured where it is named

    def measure(self, loaded: Mapping[str, Any], timing: Mapping[str, Any]) -> dict[str, Any]:
        """The result as JSON keeps it."""
        timing = {"n_threads": self.n_threads, "rounds": self.rounds, **timing}
        with others(self.busy):
            return report.as_json(measure(self.load(**loaded), self.libraries, **timing))


@contextmanager
def others(count):
    """So many processes that do nothing but work."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_spin, daemon=True) for _ in range(count)]
    try:
        for other in others:
            other.start()
        yield
    finally:
        for other in others:
            other.terminate()
            other.join()


def _spin():
    while True:
        pass


def shaped(n: int, d: int, least_epochs: int = 3) -> Problem:
    """Random rows, and epochs enough to be timed."""
    epochs = max(least_epochs, min(5000, _ELEMENTS // (n * d)))
    return Problem(f"{n}x{d}", n, d, epochs, PROBLEMS["20000x100"].make)


def items(most: int, n_threads: int) -> dict[str, list[Item]]:
    """All measurements by section; no X of more than `most` elements."""
    # The reference backend is there to be compared with, not to be fast.
    everybody = tuple(lib for name, lib in LIBRARIES.items() if not name.endswith("-numpy"))
    two = BASELINE, LIBRARIES[OURS]
    small = {name: p for name, p in PROBLEMS.items() if p.n * p.d <= most and not p.sparse}
    fits = [name for name in FITS if name in small and small[name].n <= 100_000]
    counts = {1 << k for k in range(n_threads.bit_length()) if 1 << k <= n_threads} | {n_threads}
    shapes = {
        "rows": [(10**k, 28) for k in range(2, 7) if 28 * 10**k <= most],
        "features": [
            (min(most, 4_000_000) // d, d) for d in (2, 8, 32, 128, 512, 2048) if 10 * d <= most
        ],
    }
    return {
        "kernels": [Item(problem.load, everybody) for problem in small.values()],
        "fits": [
            # Waking threads for little work would cost the peers' BLAS more than the work.
            Item(
                partial(small[name].load_fit, FITS[name]), tuple(SOLVERS.values()),
                threads.useful(n_threads, small[name].n * small[name].d),
            )
            for name in fits
        ],
        **{
            section: [Item(shaped(*shape).load, two) for shape in found]
            for section, found in shapes.items()
        },
        "threads": [Item(list(small.values())[-1].load, two, count) for count in sorted(counts)],
    }  # fmt: skip


def measured(table: str, arguments: tuple, key: tuple, loaded: dict, timing: dict) -> dict:
    """One item, in a fresh process, for which ``module:function`` makes the table of items."""
    module, function = table.split(":")
    found = getattr(import_module(module), function)(*arguments)
    for part in key:
        found = found[part]
    result = found.measure(loaded, timing)
    return {"environment": report.environment(), "result": result}


def run(
    most: int = FULL,
    n_jobs: int | None = None,
    seconds: float = SECONDS,
    progress: Callable[[int, int, str], object] = lambda done, total, name: None,
) -> dict[str, Any]:
    """Measure everything in X of at most so many elements, with fewer rounds where it takes longer.

    `progress` is called before each item, with the number done, that of all, and its section.
    Returns ``environment``, ``seconds``, and a list of results for each section.
    """
    arguments = most, threads.available(n_jobs)
    todo = [(name, k) for name, found in items(*arguments).items() for k in range(len(found))]
    started = time.perf_counter()
    content: dict[str, Any] = {section: [] for section in SECTIONS}
    with fair_process() as call:
        for done, key in enumerate(todo):
            progress(done, len(todo), key[0])
            left = max(0.0, seconds - (time.perf_counter() - started)) / (len(todo) - done)
            entry = call(measured, f"{__name__}:items", arguments, key, {}, {"budget": left})
            content[key[0]].append(entry["result"])
    taken = round(time.perf_counter() - started, 1)
    return {"environment": entry["environment"], "seconds": taken, **content}


def results(content: dict[str, Any], section: str) -> list[Result]:
    """The results of a section, from what `run` returned or JSON has kept of it."""
    return [Result.of(entry) for entry in content.get(section, ())]


def tables(content: dict[str, Any]) -> list[str]:
    """For the terminal: the epochs beside NumPy, and the fits."""
    found = {"kernels": BASELINE.name, "fits": None}
    return [report.table(results(content, section), to=to) for section, to in found.items()]


def failures(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Library, problem and reason, for each library that did not do the work asked for."""
    found = [
        (row.library, result.task, row.note)
        for section in SECTIONS
        for result in results(content, section)
        for row in result.rows
        if row.failed
    ]
    return list(dict.fromkeys(found))
