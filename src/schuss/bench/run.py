"""Time the libraries on the problems: ``python -m schuss.bench.run``."""

import argparse
import sys

from schuss.bench import report
from schuss.bench.libraries import BACKENDS, BASELINE, LIBRARIES, SOLVERS
from schuss.bench.problems import DENSE, DTYPES, FITS, ORDERS, PROBLEMS, Task
from schuss.bench.runner import measure
from schuss.losses import LOSSES


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    load = report.load()
    if load is not None and load > 0.5:
        print(
            f"other programs are at work here (load {load:.1f}): "
            "times will be too long, and ratios less certain",
            file=sys.stderr,
        )
    results = []
    task: Task
    for name in FITS if options.fits and options.problems is DENSE else options.problems:
        if options.fits:
            task = PROBLEMS[name].load_fit(FITS.get(name, options.dtype))
        else:
            task = PROBLEMS[name].load(options.dtype, options.order, options.loss)
        print(f"{name}: {task.epochs} × {task.nbytes / 1e6:.3g} MB", file=sys.stderr)
        results.append(
            measure(
                task,
                SOLVERS.values()
                if options.fits
                else [LIBRARIES[library] for library in options.libraries],
                n_threads=options.threads,
                rounds=options.rounds,
                min_seconds=options.min_seconds,
                budget=options.budget,
            )
        )
    report.print_table(results)
    if options.json:
        report.write_json(results, options.json)
    return int(any(row.failed for result in results for row in result.rows))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m schuss.bench.run", description=__doc__)
    add = parser.add_argument
    add(
        "--problems",
        type=_names(PROBLEMS, DENSE),
        default=DENSE,
        help=f"all (the dense ones), or some of {', '.join(PROBLEMS)}",
    )
    add(
        "--libraries",
        type=_names(LIBRARIES, tuple(LIBRARIES)),
        default=(BASELINE.name, *(f"schuss-{backend}" for backend in BACKENDS[:2])),
        help=f"all, or some of {', '.join(LIBRARIES)}",
    )
    add("--fits", action="store_true",
        help="time fits to the optimum by all solvers that are installed, not epochs")  # fmt: skip
    add("--dtype", choices=DTYPES, default="float32", help="type of the features")
    add("--order", choices=ORDERS, default="C", help="memory order of X")
    add("--loss", choices=tuple(LOSSES), default="squared_error")
    add("--threads", type=_at_least_one, default=1)
    add("--rounds", type=_at_least_one, default=7, help="timings of each library")
    add("--min-seconds", type=float, default=0.02, help="one timing lasts at least this long")
    add("--budget", type=float, default=60.0, help="seconds of rounds for one problem")
    add("--json", metavar="FILE", help="write the raw numbers as well")
    return parser


def _names(known, all_of_them):
    def parse(text):
        if text == "all":
            return all_of_them
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)!s} unknown, choose from {', '.join(known)} or all"
            )
        return names

    return parse


def _at_least_one(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} given, at least 1 expected")
    return value


if __name__ == "__main__":
    sys.exit(main())
