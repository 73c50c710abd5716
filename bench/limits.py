"""How near schuss comes to the machine's limit: ``python -m bench.limits``.

Nine rows, each measured in rounds of its own with whatever it is compared with, beside the
value aimed at:

a  one epoch, as a share of the sequential read rate
b  uint8 features against float32, and the memory that a fit takes beside X
c  against the NumPy loop
d  against JAX's jitted loop
e  two threads against one
f  sparse rows against SciPy's two products
g  prediction against NumPy, and of one row against scikit-learn
h  the Numba backend against the NumPy loop
i  more threads than are of use, against one
"""

import argparse
import gc
import json
import multiprocessing
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from schuss import SigmoidClassifier, SigmoidRegressor, threads, train
from schuss.bench import memory, report
from schuss.bench.libraries import LIBRARIES
from schuss.bench.problems import ORDERS, PROBLEMS, Problem, Task
from schuss.bench.runner import (
    SHORT_EPOCHS,
    Reference,
    Refused,
    Rounds,
    Work,
    as_work,
    interleave,
    measure,
    quartiles,
    steady,
    verify,
)
from schuss.constants import Activation

KERNEL = LIBRARIES["schuss-cython"]
TRAIN = LIBRARIES["train-cython"]
NUMBA = LIBRARIES["schuss-numba"]
JAX = LIBRARIES["jax"]

# What each row aims at: the least ratio or share, but for the memory, which is the most.
READ_SHARE = {"C": 0.85, "F": 0.75}
UINT8_GAIN = 1.6
PEAK_MEMORY = 1.05
NUMPY_GAIN = {
    "4x2": 250, "100x2": 100, "breast-cancer": 9, "digits": 6,
    "20000x100": 3, "100000x100": 5, "1000000x100": 3.5,
}  # fmt: skip
JAX_GAIN = 1.0
THREADS_GAIN = 1.7
SPARSE_GAIN = 2.5
PREDICT_GAIN = 1.3
ONE_ROW_GAIN = 4.0
NUMBA_GAIN = 2.0
NUMBA_MIN_ROWS = 569
NO_HARM = 0.98
# What row i allows, and the epochs of a fit: few, so that what a thread costs at all shows.
ALLOWED_THREADS = (2, 8)
FEW_EPOCHS = 50


@dataclass(frozen=True)
class Plan:
    """The sizes that the rows are measured at, and for how long."""

    nbytes: int = 128_000_000
    widths: tuple[int, ...] = (16, 28, 100, 256, 784, 2000)
    loops: tuple[Problem, ...] = tuple(PROBLEMS[name] for name in NUMPY_GAIN)
    scaling: tuple[Problem, ...] = tuple(
        PROBLEMS[name] for name in ("20000x100", "100000x100", "1000000x100")
    )
    small: tuple[Problem, ...] = tuple(
        PROBLEMS[name] for name in ("4x2", "100x2", "breast-cancer", "digits")
    )
    crowded: tuple[Problem, ...] = (PROBLEMS["20000x100"], PROBLEMS["100000x100"])
    large: Problem = PROBLEMS["1000000x100"]
    sparse: Problem = PROBLEMS["sparse"]
    one_row: Problem = PROBLEMS["breast-cancer"]
    rounds: int = 15
    min_seconds: float = 0.02
    n_threads: tuple[int, ...] = (1, 2)
    fitted: tuple[str, ...] = ("uint8", "float32", "float16")

    @property
    def timing(self):
        return {"rounds": self.rounds, "min_seconds": self.min_seconds}


PLANS = {
    "full": Plan(),
    "quick": Plan(
        widths=(28, 100),
        loops=Plan.loops[:-1],
        scaling=Plan.scaling[:-1],
        large=PROBLEMS["100000x100"],
        rounds=7,
    ),
}


@dataclass
class Line:
    """One number of a row.

    Attributes
    ----------
    values : list of float
        One for each round; empty where `note` says why.
    target : float or None
        None for what is shown for comparison.
    most : bool
        Whether the target is the most, not the least.
    judged : bool
        False where the machine does not allow what the target presupposes.
    """

    row: str
    work: str
    unit: str
    values: list[float]
    probe_seconds: list[float] = field(default_factory=list)
    target: float | None = None
    most: bool = False
    judged: bool = True
    note: str = ""

    @property
    def steady_values(self) -> np.ndarray:
        """Those of the rounds in which the processor ran at its speed."""
        values = np.asarray(self.values)
        return values[steady(self.probe_seconds)] if self.probe_seconds and len(values) else values

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None where there is no saying."""
        median = quartiles(self.steady_values)[1]
        if self.target is None or not self.judged or np.isnan(median):
            return None
        return median <= self.target if self.most else median >= self.target

    @property
    def failed(self) -> bool:
        return self.note.startswith(("refused", "failed"))


def _epochs(task: Task, n_threads: int, reference: Reference) -> Work:
    """A run of the compiled kernel; refused in its first round where it is wrong."""
    run = KERNEL.prepare(task, n_threads)
    work = as_work(run, task, reference)
    try:
        verify(run, task, reference)
    except Refused as error:
        refusal = error

        def check(outcome):
            raise refusal

        return work._replace(check=check)
    return work


def _passes(task: Task, plan: Plan, reference: Reference) -> tuple[Rounds, tuple[int, ...]]:
    """Epochs as "pass 1", sequential reads as "read 1", and so on; and those thread counts."""
    usable = tuple(n for n in plan.n_threads if n <= threads.available())
    works = {}
    for n in usable:
        works[f"read {n}"] = Work(*memory.sustained_reader(task.buffers, n))
        works[f"pass {n}"] = _epochs(task, n, reference)
    return interleave(works, n_threads=max(usable), **plan.timing), usable


def read_share(plan: Plan) -> Iterator[Line]:
    for dtype in ("float32", "float64"):
        for order in ORDERS:
            for d in plan.widths:
                n = plan.nbytes // (d * np.dtype(dtype).itemsize)
                problem = replace(plan.large, name=f"{n}x{d}", n=n, d=d, epochs=SHORT_EPOCHS)
                task = problem.load(dtype, order)
                timed, usable = _passes(task, plan, Reference(task))
                for n_threads in usable:
                    name = f"pass {n_threads}"
                    rate = task.nbytes / quartiles(timed.seconds[f"read {n_threads}"])[1] / 1e9
                    yield Line(
                        "a",
                        f"{dtype} {order} d={d}, {_threads(n_threads)}",
                        "of the read rate",
                        timed.ratio(name, to=f"read {n_threads}").tolist(),
                        timed.probe_seconds,
                        READ_SHARE[order],
                        note=_refusal(timed, name) or f"{rate:.1f} GB/s read",
                    )


def narrow_features(plan: Plan) -> Iterator[Line]:
    tasks = {dtype: plan.large.load(dtype) for dtype in ("float32", "uint8")}
    references = {dtype: Reference(task) for dtype, task in tasks.items()}
    for n_threads in plan.n_threads:
        if n_threads > threads.available():
            continue
        works = {
            dtype: _epochs(task, n_threads, references[dtype]) for dtype, task in tasks.items()
        }
        timed = interleave(works, n_threads=n_threads, **plan.timing)
        yield Line(
            "b",
            f"{plan.large.name} uint8, {_threads(n_threads)}",
            "× float32",
            timed.ratio("uint8", to="float32").tolist(),
            timed.probe_seconds,
            UINT8_GAIN,
            note=_refusal(timed, "uint8", "float32"),
        )
    del tasks, references, works
    gc.collect()
    for dtype in plan.fitted:
        line = Line("b", f"{plan.large.name} {dtype}, fit", "of X at the peak", [])
        line.target, line.most = PEAK_MEMORY, True
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                peak = pool.submit(peak_memory, dtype, plan.large.n, plan.large.d).result()
            line.values = [peak]
        except OSError as error:
            line.note = f"skipped: {error}"
        yield line


def peak_memory(dtype: str, n: int, d: int) -> float:
    """Largest memory of this process while it fits, as a multiple of X.

    What was there before the fit, X apart, is not counted; a small fit comes first, so
    that what is imported and allocated once is there. Linux only.
    """
    X = np.empty((n, d), dtype)
    rng = np.random.default_rng(0)
    for rows in range(0, n, 10_000):
        X[rows : rows + 10_000] = rng.integers(0, 100, X[rows : rows + 10_000].shape)
    codes = (X[:, 0] > X[:, 1]).astype(np.uint8)
    model = SigmoidClassifier(max_iter=3, tol=0.0)
    model.fit(X[:1000], codes[:1000])
    gc.collect()
    # Sets the peak back to what is in use now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    model.fit(X, codes)
    return 1 + (_status("VmHWM") - before) / X.nbytes


def _status(name):
    """Bytes of an entry of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def loops(plan: Plan, rows: Iterable[str]) -> Iterator[Line]:
    """Rows c, d and h: the same problems, so one measurement for all of them."""
    ours = [KERNEL, TRAIN] if {"c", "d"} & set(rows) else []
    libraries = [*ours, *([JAX] if "d" in rows else []), *([NUMBA] if "h" in rows else [])]
    for problem in plan.loops:
        result = measure(problem.load(), libraries, **plan.timing)
        by_name = {row.library: row for row in result.rows}

        def line(letter, library, unit, target, to, result=result, by_name=by_name):
            row, other = by_name[library.name], by_name[to]
            return Line(
                letter,
                f"{result.task} {library.name}",
                unit,
                result.ratio(row, to=to).tolist(),
                result.probe_seconds,
                target,
                note=row.note or other.note,
            )

        for library in ours:
            if "c" in rows:
                target = NUMPY_GAIN.get(problem.name)
                yield line("c", library, "× NumPy", target, "numpy")
            if "d" in rows:
                yield line("d", library, "× JAX", JAX_GAIN, JAX.name)
        if "h" in rows:
            target = NUMBA_GAIN if problem.n >= NUMBA_MIN_ROWS else None
            yield line("h", NUMBA, "× NumPy", target, "numpy")


def two_threads(plan: Plan) -> Iterator[Line]:
    for problem in plan.scaling:
        if max(plan.n_threads) > threads.available() or len(plan.n_threads) < 2:
            yield Line("e", problem.name, "× one thread", [], note="skipped: one processor")
            continue
        task = problem.load()
        one, two = plan.n_threads
        timed, _ = _passes(task, plan, Reference(task))
        read = timed.ratio(f"read {two}", to=f"read {one}").tolist()
        read_line = Line(
            "e", f"{problem.name}, sequential read", "× one thread", read, timed.probe_seconds
        )
        doubles = quartiles(read_line.steady_values)[1] >= THREADS_GAIN
        yield Line(
            "e",
            f"{problem.name}, an epoch",
            "× one thread",
            timed.ratio(f"pass {two}", to=f"pass {one}").tolist(),
            timed.probe_seconds,
            THREADS_GAIN,
            judged=doubles,
            note=_refusal(timed, f"pass {two}", f"pass {one}")
            or ("" if doubles else "the read rate gains less than the target"),
        )
        yield read_line


def sparse_rows(plan: Plan) -> Iterator[Line]:
    n_threads = min(2, threads.available())
    for dtype in ("float32", "float64"):
        task = plan.sparse.load(dtype)
        reference = Reference(task)
        X = task.X
        coef, delta = np.ones(X.shape[1], task.real), np.ones(X.shape[0], task.real)
        works = {
            "schuss": _epochs(task, n_threads, reference),
            "scipy": Work(lambda X=X, coef=coef, delta=delta: (X @ coef, X.T @ delta)),
        }
        timed = interleave(works, n_threads=n_threads, **plan.timing)
        yield Line(
            "f",
            f"{plan.sparse.name} {dtype}, {_threads(n_threads)}",
            "× SciPy's two products",
            timed.ratio("schuss", to="scipy").tolist(),
            timed.probe_seconds,
            SPARSE_GAIN,
            note=_refusal(timed, "schuss"),
        )


def prediction(plan: Plan) -> Iterator[Line]:
    for dtype in ("float32", "float64"):
        task = plan.large.load(dtype)
        yield from _many_rows(task, plan)
    yield _one_row(plan)


def _many_rows(task, plan):
    from schuss.backends import cython_

    X, real = task.X, task.real
    model = SigmoidRegressor(max_iter=5, tol=0.0, n_jobs=1).fit(X[:1000], task.codes[:1000])
    coef, intercept = model.coef_, real.type(model.intercept_)
    biases = np.array([intercept])

    def numpy():
        return 1 / (1 + np.exp(-(X @ coef + intercept)))

    def kernel():
        out = np.empty((len(X), 1), real)
        prepared = cython_.prepare(X)
        cython_.predict(prepared, coef[None], biases, Activation.LOGISTIC, out, 1)
        return out[:, 0]

    expected = numpy()
    works = {
        "numpy": Work(numpy),
        "kernel": Work(kernel, check=lambda got: _same(got, expected)),
        "SigmoidRegressor.predict": Work(
            lambda: model.predict(X), check=lambda got: _same(got, expected)
        ),
    }
    timed = interleave(works, **plan.timing)
    for name in list(works)[1:]:
        yield Line(
            "g",
            f"{task.name} {X.dtype}, {name}",
            "× NumPy",
            timed.ratio(name, to="numpy").tolist(),
            timed.probe_seconds,
            PREDICT_GAIN,
            note=_refusal(timed, name),
        )


def _one_row(plan):
    task = plan.one_row.load("float64")
    row = task.X[:1]
    ours = SigmoidClassifier(loss="log_loss", solver="nesterov", alpha=1e-2)
    theirs = LogisticRegression(max_iter=1000)
    for model in (ours, theirs):
        model.fit(task.X, task.codes)
    second = 1 / (1 + np.exp(-(row @ ours.coef_[0] + ours.intercept_)))
    expected = np.c_[1 - second, second]
    works = {
        "schuss": Work(lambda: ours.predict_proba(row), check=lambda got: _same(got, expected)),
        "sklearn": Work(lambda: theirs.predict_proba(row)),
    }
    timed = interleave(works, **plan.timing)
    microseconds = quartiles(timed.seconds["schuss"])[1] * 1e6
    return Line(
        "g",
        f"{task.name}, predict_proba of one row",
        "× scikit-learn",
        timed.ratio("schuss", to="sklearn").tolist(),
        timed.probe_seconds,
        ONE_ROW_GAIN,
        note=_refusal(timed, "schuss") or f"{microseconds:.0f} µs",
    )


def harmless_threads(plan: Plan) -> Iterator[Line]:
    for problem in plan.small:
        yield from _allowed(problem.load(), plan, "")
    with _busy_processors():
        for problem in plan.crowded:
            yield from _allowed(problem.load(), plan, ", all processors busy")


def _allowed(task, plan, where):
    """`train` and a fit, with each number of threads against one."""
    calls = {
        "train": lambda n: train(
            task.X, task.codes, learning_rate=task.learning_rate, epochs=FEW_EPOCHS, n_jobs=n
        ).coef[0],
        "SigmoidClassifier.fit": lambda n: SigmoidClassifier(
            learning_rate=task.learning_rate, max_iter=FEW_EPOCHS, tol=0.0, n_jobs=n
        ).fit(task.X, task.codes).coef_[0],
    }  # fmt: skip
    for name, call in calls.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = call(1)

            def check(coef, expected=expected):
                if not np.array_equal(coef, expected):
                    raise Refused("another number of threads gave other bits")

            works = {
                f"{n}": Work(lambda n=n, call=call: call(n), check=check)
                for n in (1, *ALLOWED_THREADS)
            }
            timed = interleave(works, n_threads=min(2, threads.available()), **plan.timing)
        for n in ALLOWED_THREADS:
            yield Line(
                "i",
                f"{task.name} {name}, {_threads(n)}{where}",
                "× one thread",
                timed.ratio(f"{n}", to="1").tolist(),
                timed.probe_seconds,
                NO_HARM,
                note=_refusal(timed, f"{n}", "1"),
            )


@contextmanager
def _busy_processors():
    """As many processes that do nothing but work as this one may use processors."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_spin, daemon=True) for _ in range(threads.available())]
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


def _same(got, expected):
    tolerance = 1e-5 if got.dtype == np.float32 else 1e-12
    if got.shape != expected.shape or not np.allclose(got, expected, rtol=0, atol=tolerance):
        raise Refused("the probabilities differ from NumPy's")


def _refusal(timed: Rounds, *names: str) -> str:
    """Why one of them was refused, if one was."""
    return next((f"refused: {timed.refused[name]}" for name in names if name in timed.refused), "")


def _threads(n):
    return "1 thread" if n == 1 else f"{n} threads"


# c, d and h are measured together, by `loops`.
ROWS = {
    "a": read_share,
    "b": narrow_features,
    "c": loops,
    "d": loops,
    "e": two_threads,
    "f": sparse_rows,
    "g": prediction,
    "h": loops,
    "i": harmless_threads,
}


def measured(plan: Plan, rows: Iterable[str] = tuple(ROWS)) -> Iterator[Line]:
    """All lines of the rows asked for, as they are measured."""
    rows = tuple(rows)
    asked = tuple(letter for letter in rows if ROWS[letter] is loops)
    for letter in rows:
        if letter not in asked:
            yield from ROWS[letter](plan)
    if asked:
        yield from loops(plan, asked)


_COLUMNS = ("row", "work", "median", "quartiles", "", "target", "met", "rounds", "slowest", "note")


def table(lines: Iterable[Line]) -> Table:
    """The lines in Markdown, in the order of the rows.

    "rounds" are those kept of those run; "slowest" is how much longer than in the quickest
    round the fixed arithmetic took in the slowest.
    """
    result = Table(*_COLUMNS, box=box.MARKDOWN)
    for line in sorted(lines, key=lambda line: line.row):
        low, median, high = quartiles(line.steady_values)
        probe = line.probe_seconds
        result.add_row(
            line.row,
            line.work,
            _number(median),
            "" if len(line.values) < 2 else f"{_number(low)}–{_number(high)}",
            line.unit,
            "" if line.target is None else f"{'≤' if line.most else '≥'} {line.target:g}",
            {True: "yes", False: "NO", None: ""}[line.met],
            f"{len(line.steady_values)}/{len(line.values)}" if probe else "",
            f"× {max(probe) / min(probe):.2f}" if probe else "",
            line.note,
        )
    return result


def _number(value):
    return "–" if np.isnan(value) else f"{value:.3g}"


def write_json(lines: Iterable[Line], path: str | Path) -> None:
    content = {
        "environment": report.environment(),
        "lines": [{**asdict(line), "met": line.met} for line in lines],
    }
    Path(path).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if reason := KERNEL.missing():
        print(f"nothing to measure without the compiled kernels: {reason}", file=sys.stderr)
        return 1
    plan = PLANS[options.rows]
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    lines = []
    for line in measured(plan, options.only):
        print(f"{line.row}: {line.work} {line.note}", file=sys.stderr)
        lines.append(line)
    # Markdown is read by programs too: never break a line at the terminal's edge.
    Console(width=250, highlight=False).print(table(lines))
    if options.json:
        write_json(lines, options.json)
    return int(any(line.failed for line in lines))


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m bench.limits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rows", choices=tuple(PLANS), default="full", help="all sizes, or a few of them")
    add("--only", type=_letters, default=tuple(ROWS), help="letters of rows, as in a,c")
    add("--rounds", type=int, help="timings of each work")
    add("--json", metavar="FILE", help="write the raw numbers as well")
    return parser


def _letters(text):
    letters = tuple(text.split(","))
    unknown = [letter for letter in letters if letter not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)!s} unknown, choose from {', '.join(ROWS)}"
        )
    return letters


if __name__ == "__main__":
    sys.exit(main())
