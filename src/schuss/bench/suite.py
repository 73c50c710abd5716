"""What ``schuss bench`` measures: five minutes on the user's own machine.

The kernels and whatever peers are installed on the dense problems, fits to the optimum, and
how an epoch's time grows with rows, features and threads.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schuss import threads
from schuss.bench import report
from schuss.bench.libraries import BASELINE, LIBRARIES, SOLVERS
from schuss.bench.problems import FITS, PROBLEMS, Problem
from schuss.bench.run import one
from schuss.bench.runner import Result, fair_process

# The product, and what it is set against where only one is.
OURS = "schuss-cython"
SECONDS = 300.0
# Elements that a run of epochs reads at the least, so that NumPy's takes milliseconds.
_ELEMENTS = 20_000_000


@dataclass(frozen=True)
class Plan:
    """What is measured; a smaller one is for trying things out."""

    problems: tuple[str, ...] = (
        "4x2", "100x2", "breast-cancer", "digits", "20000x100", "100000x100", "1000000x28"
    )  # fmt: skip
    fits: tuple[str, ...] = ("breast-cancer", "digits", "100000x100")
    rows: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    features: tuple[int, ...] = (2, 8, 32, 128, 512, 2048)
    shared: str = "1000000x28"
    width: int = 28
    size: int = 4_000_000  # elements of X where the number of features grows
    rounds: int = 7


PLANS = {
    "full": Plan(),
    "quick": Plan(
        problems=("4x2", "100x2", "breast-cancer", "digits"),
        fits=("breast-cancer",),
        rows=(100, 1_000, 10_000),
        features=(2, 32, 512),
        shared="20000x100",
        size=200_000,
        rounds=5,
    ),
}


@dataclass(frozen=True)
class Piece:
    """One measurement: a section of the report, a problem, and who takes part."""

    section: str
    problem: Problem
    libraries: tuple[str, ...]
    load: dict[str, Any] = field(default_factory=dict)
    n_threads: int = 1


def pieces(plan: Plan, n_threads: int) -> list[Piece]:
    """All measurements of a plan, in the order of the report."""
    # The reference backend is there to be compared with, not to be fast.
    everybody = tuple(name for name in LIBRARIES if not name.endswith("-numpy"))
    two = (BASELINE.name, OURS)
    found = [Piece("kernels", PROBLEMS[name], everybody) for name in plan.problems]
    for name in plan.fits:
        problem = PROBLEMS[name]
        # Waking threads for little work would cost the peers' BLAS more than the work.
        useful = threads.useful(n_threads, problem.n * problem.d)
        found.append(Piece("fits", problem, tuple(SOLVERS), {"dtype": FITS[name]}, useful))
    for section, shapes in (
        ("rows", [(n, plan.width) for n in plan.rows]),
        ("features", [(plan.size // d, d) for d in plan.features]),
    ):
        for n, d in shapes:
            epochs = max(3, min(5000, _ELEMENTS // (n * d)))
            problem = Problem(f"{n}x{d}", n, d, epochs, PROBLEMS["20000x100"].make)
            found.append(Piece(section, problem, two))
    counts = [1 << k for k in range(n_threads.bit_length()) if 1 << k <= n_threads]
    for count in sorted({*counts, n_threads}):
        found.append(Piece("threads", PROBLEMS[plan.shared], two, n_threads=count))
    return found


def run(
    plan: Plan,
    n_jobs: int | None = None,
    seconds: float = SECONDS,
    progress: Callable[[int, int, str], object] = lambda done, total, name: None,
) -> dict[str, Any]:
    """Measure everything of a plan.

    Parameters
    ----------
    n_jobs : int, optional
        Threads at the most; as for the estimators.
    seconds : float
        Rounds are left out towards the end where it takes longer.
    progress : callable
        Called before each piece, with the number done, that of all, and its name.

    Returns
    -------
    dict
        ``environment``, ``seconds``, and a list of results for each section.
    """
    todo = pieces(plan, threads.available(n_jobs))
    started = time.perf_counter()
    content: dict[str, Any] = {piece.section: [] for piece in todo}
    with fair_process() as call:
        for done, piece in enumerate(todo):
            progress(done, len(todo), f"{piece.section}, {piece.problem.name}")
            left = max(0.0, seconds - (time.perf_counter() - started)) / (len(todo) - done)
            timing = {"n_threads": piece.n_threads, "rounds": plan.rounds, "budget": left}
            fit = piece.section == "fits"
            result = call(one, piece.problem, piece.libraries, piece.load, timing, fit)
            content[piece.section].append(report.as_json(result))
        environment = call(report.environment)
    taken = round(time.perf_counter() - started, 1)
    return {"environment": environment, "seconds": taken, **content}


def results(content: dict[str, Any], section: str) -> list[Result]:
    """The results of a section, from what `run` returned or JSON has kept of it."""
    return [Result.of(entry) for entry in content.get(section, ())]


def tables(content: dict[str, Any]) -> list[str]:
    """For the terminal: the epochs, and the fits."""
    return [report.table(results(content, section)) for section in ("kernels", "fits")]


def failures(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Library, problem and reason, for each library that did not do the work asked for."""
    found = [
        (row.library, result.task, row.note)
        for section in ("kernels", "fits", "rows", "features", "threads")
        for result in results(content, section)
        for row in result.rows
        if row.failed
    ]
    return list(dict.fromkeys(found))
