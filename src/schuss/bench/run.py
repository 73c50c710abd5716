"""Time the libraries on the problems: ``python -m schuss.bench.run``."""

import argparse
import sys

from schuss.bench import report
from schuss.bench.libraries import BACKENDS, BASELINE, LIBRARIES, SOLVERS
from schuss.bench.problems import DENSE, DTYPES, FITS, ORDERS, PROBLEMS, Problem
from schuss.bench.runner import Result, fair_process, measure
from schuss.losses import LOSSES


def one(problem: Problem, libraries, load: dict, timing: dict, fit: bool = False) -> Result:
    """Measure one problem; names of libraries, so that another process can do it."""
    known = SOLVERS if fit else LIBRARIES
    task = problem.load_fit(**load) if fit else problem.load(**load)
    return measure(task, [known[name] for name in libraries], **timing)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if (load := report.load() or 0) > 0.5:
        told = "times will be too long, and ratios less certain"
        print(f"other programs are at work here (load {load:.1f}): {told}", file=sys.stderr)
    timing = {
        "n_threads": options.threads, "rounds": options.rounds,
        "min_seconds": options.min_seconds, "budget": options.budget,
    }  # fmt: skip
    names = FITS if options.fits and options.problems is DENSE else options.problems
    libraries = tuple(SOLVERS) if options.fits else options.libraries
    results = []
    with fair_process() as call:
        for name in names:
            loaded = {"dtype": options.dtype, "order": options.order, "loss": options.loss}
            if options.fits:
                loaded = {"dtype": FITS.get(name, options.dtype)}
            print(name, file=sys.stderr)
            results.append(call(one, PROBLEMS[name], libraries, loaded, timing, options.fits))
        environment = call(report.environment)
    print(report.table(results))
    if options.json:
        found = [report.as_json(result) for result in results]
        report.write_json({"environment": environment, "results": found}, options.json)
    return int(any(row.failed for result in results for row in result.rows))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m schuss.bench.run", description=__doc__)
    add = parser.add_argument
    add("--problems", type=names_of(PROBLEMS, DENSE), default=DENSE,
        help=f"all (the dense ones), or some of {', '.join(PROBLEMS)}")  # fmt: skip
    add("--libraries", type=names_of(LIBRARIES), help=f"all, or some of {', '.join(LIBRARIES)}",
        default=(BASELINE.name, *(f"schuss-{backend}" for backend in BACKENDS[:2])))  # fmt: skip
    add("--fits", action="store_true", help="fits to the optimum, by all solvers")
    add("--dtype", choices=DTYPES, default="float32", help="type of the features")
    add("--order", choices=ORDERS, default="C", help="memory order of X")
    add("--loss", choices=tuple(LOSSES), default="squared_error")
    add("--threads", type=at_least_one, default=1)
    add("--rounds", type=at_least_one, default=7, help="timings of each library")
    add("--min-seconds", type=float, default=0.02, help="one timing lasts at least this long")
    add("--budget", type=float, default=60.0, help="seconds of rounds for one problem")
    add("--json", metavar="FILE", help="write the raw numbers as well")
    return parser


def names_of(known, all_of_them=None):
    """A parser of names, separated by commas; "all" are all that are known unless told."""

    def parse(text):
        if text == "all":
            return tuple(all_of_them or known)
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)} unknown, choose from {', '.join(known)} or all"
            )
        return names

    return parse


def at_least_one(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} given, at least 1 expected")
    return value


if __name__ == "__main__":
    sys.exit(main())
