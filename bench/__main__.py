"""Measure studies and keep what was measured: ``python -m bench [STUDY ...]``.

    python -m bench                                  # all studies: hours
    python -m bench --seconds 5400                   # all studies, with fewer rounds
    python -m bench epochs --only "4x2;digits"       # some problems of one
    python -m bench epochs --dtype float64 --order F # other data: printed, not kept
    python -m bench tables                           # the tables in README and docs, anew

Each problem is measured in a fresh process. Results are kept as JSON in bench/results/, by
study and problem, and the tables in the documents are made from them.
"""

import argparse
import sys
import time

from bench import tables
from bench.studies import STUDIES
from schuss.bench import report, suite
from schuss.bench.problems import DTYPES, ORDERS
from schuss.bench.runner import Result, fair_process
from schuss.losses import LOSSES


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.studies == ["tables"]:
        return tables.write()
    given = vars(options)
    loaded = {name: given[name] for name in ("dtype", "order", "loss") if given[name]}
    timing = {name: given[name] for name in ("rounds", "min_seconds", "n_threads") if given[name]}
    studies = options.studies or list(STUDIES)
    todo = [
        (study, key)
        for study in studies
        for key, item in STUDIES[study].items()
        if (key in options.only if options.only else not item.asked)
    ]
    if unknown := set(options.only or ()) - {key for _, key in todo}:
        known = "; ".join(key for study in studies for key in STUDIES[study])
        print(f"--only: {'; '.join(unknown)} unknown: {known}", file=sys.stderr)
        return 2
    failed, begun = False, time.monotonic()
    for done, (study, key) in enumerate(todo):
        if options.seconds:
            left = options.seconds - (time.monotonic() - begun)
            timing["budget"] = max(0.0, left / (len(todo) - done))
        with fair_process() as call:
            entry = call(suite.measured, "bench.studies:items", (), (study, key), loaded, timing)
        result = Result.of(entry["result"])
        failed |= any(row.failed for row in result.rows)
        print(f"{study}: {key}\n{report.table([result])}\n", flush=True)
        if not loaded and "n_threads" not in timing:
            tables.keep(study, key, entry)
    return int(failed)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("studies", nargs="*", metavar="STUDY", type=report.one_of((*STUDIES, "tables")),
        help=f"of {', '.join(STUDIES)}")  # fmt: skip
    add("--only", type=lambda text: text.split(";"), metavar="A;B", help="some problems")
    add("--rounds", type=report.at_least_one, help="timings of each library")
    add("--min-seconds", type=float, help="a timing lasts at least this long")
    add("--seconds", type=float, help="leave out rounds where all would take longer than this")
    add("--dtype", choices=DTYPES, help="of the features of a neuron's problem")
    add("--order", choices=ORDERS, help="of X in memory")
    add("--loss", choices=tuple(LOSSES), help="of the neuron")
    add("--threads", type=report.at_least_one, dest="n_threads", metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
