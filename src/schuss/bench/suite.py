"""What ``schuss bench`` measures: five minutes on the user's own machine.

The kernels and whatever peers are installed on the dense problems, fits to the optimum, and
how an epoch's time grows with rows, features and threads.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rich import box
from rich.table import Table

from schuss import threads
from schuss.bench import report
from schuss.bench.libraries import BASELINE, LIBRARIES, SOLVERS, Library
from schuss.bench.problems import FITS, PROBLEMS, Problem, Task
from schuss.bench.runner import Result, Row, measure, quartiles

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
    """One measurement: a section of the report, a task, and who takes part."""

    section: str
    load: Callable[[], Task]
    name: str
    libraries: tuple[Library, ...]
    n_threads: int = 1


def pieces(plan: Plan, n_threads: int) -> list[Piece]:
    """All measurements of a plan, in the order of the report."""
    # The reference backend is there to be compared with, not to be quick.
    everybody = tuple(lib for name, lib in LIBRARIES.items() if not name.endswith("-numpy"))
    two = (BASELINE, LIBRARIES[OURS])
    made = PROBLEMS["20000x100"].make
    found = [Piece("kernels", PROBLEMS[name].load, name, everybody) for name in plan.problems]
    solvers = tuple(SOLVERS.values())
    for name in plan.fits:
        load = partial(PROBLEMS[name].load_fit, FITS[name])
        # Waking threads for little work would cost the peers' BLAS more than the work.
        useful = threads.useful(n_threads, PROBLEMS[name].n * PROBLEMS[name].d)
        found.append(Piece("fits", load, name, solvers, useful))
    for section, shapes in (
        ("rows", [(n, plan.width) for n in plan.rows]),
        ("features", [(plan.size // d, d) for d in plan.features]),
    ):
        for n, d in shapes:
            epochs = max(3, min(5000, _ELEMENTS // (n * d)))
            problem = Problem(f"{n}x{d}", n, d, epochs, made)
            found.append(Piece(section, problem.load, problem.name, two))
    counts = [1 << k for k in range(n_threads.bit_length()) if 1 << k <= n_threads]
    for count in sorted({*counts, n_threads}):
        found.append(Piece("threads", PROBLEMS[plan.shared].load, plan.shared, two, count))
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
        Called before each piece, with the number done, that of all, and what comes.

    Returns
    -------
    dict
        ``environment``, ``seconds``, and a list of results for each section.
    """
    todo = pieces(plan, threads.available(n_jobs))
    started = time.perf_counter()
    sections: dict[str, list[Result]] = {piece.section: [] for piece in todo}
    for done, piece in enumerate(todo):
        progress(done, len(todo), f"{piece.section}, {piece.name}")
        left = max(0.0, seconds - (time.perf_counter() - started)) / (len(todo) - done)
        sections[piece.section].append(
            measure(
                piece.load(),
                piece.libraries,
                n_threads=piece.n_threads,
                rounds=plan.rounds,
                budget=left,
            )
        )
    return {
        "environment": report.environment(),
        "seconds": round(time.perf_counter() - started, 1),
        **{name: [asdict(result) for result in results] for name, results in sections.items()},
    }


def results(content: dict[str, Any], section: str) -> Iterator[Result]:
    """The results of a section, from what `run` returned or JSON has kept of it."""
    for entry in content[section]:
        rows = [Row(**row) for row in entry["rows"]]
        yield Result(**{**entry, "shape": tuple(entry["shape"]), "rows": rows})


def tables(content: dict[str, Any]) -> list[Table]:
    """For the terminal: the epochs, and the fits."""
    epochs, fits = (list(results(content, section)) for section in ("kernels", "fits"))
    return [report.table(epochs), fits_table(fits)]


def fits_table(found: list[Result]) -> Table:
    """One line for each solver on each problem, in Markdown."""
    lines = Table("fit", "library", "ms", "quartiles", "note", box=box.MARKDOWN)
    for result in found:
        for row in result.rows:
            low, median, high = (1e3 * value for value in quartiles(row.seconds))
            shown = ("", "") if median != median else (f"{median:.3g}", f"{low:.3g}–{high:.3g}")
            lines.add_row(result.task, row.library, *shown, row.note)
    return lines


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
