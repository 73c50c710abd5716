"""Measure studies and keep what was measured: ``python -m bench [STUDY ...]``.

    python -m bench                                  # all studies: hours
    python -m bench epochs --only "4x2;digits"       # some problems of one
    python -m bench table --data people.csv:income   # a table of one's own, which is not kept
    python -m bench tables                           # the tables in README and docs, anew

Each problem is measured in a fresh process. Results are kept as JSON in bench/results/, by
study and problem, and the tables in the documents are made from them.
"""

import argparse
import sys

from bench import tables
from bench.studies import OF_DATA, STUDIES, items, measured
from schuss.bench import report
from schuss.bench.run import at_least_one
from schuss.bench.runner import Result, fair_process


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.studies == ["tables"]:
        return tables.write()
    if set(options.studies) & set(OF_DATA) and not options.data:
        print("--data: table expects FILE:TARGET, pictures an .npz file", file=sys.stderr)
        return 2
    failed = False
    given = {"rounds": options.rounds, "budget": options.budget, "min_seconds": options.min_seconds}
    timing = {name: value for name, value in given.items() if value is not None}
    for study in options.studies or STUDIES:
        found = items(study, options.data)
        if unknown := [key for key in options.only or () if key not in found]:
            print(f"--only: {'; '.join(unknown)} unknown in {study}: {'; '.join(found)}",
                  file=sys.stderr)  # fmt: skip
            return 2
        for key, item in found.items():
            if key not in options.only if options.only else item.asked:
                continue
            with fair_process() as call:
                entry = call(measured, study, key, options.data, timing)
            result = Result.of(entry["result"])
            failed |= any(row.failed for row in result.rows)
            print(f"{study}: {key}\n{report.table([result])}\n", flush=True)
            if study in STUDIES:
                tables.keep(study, key, entry)
    return int(failed)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    known = (*STUDIES, *OF_DATA, "tables")
    add("studies", nargs="*", metavar="STUDY", type=_one_of(known), help=f"of {', '.join(known)}")
    add("--only", type=lambda text: text.split(";"), metavar="A;B", help="some problems")
    add("--data", help="of table and pictures: FILE:TARGET, or an .npz of images and labels")
    add("--rounds", type=at_least_one, help="timings of each library")
    add("--min-seconds", type=float, help="a timing lasts at least this long")
    add("--budget", type=float, help="seconds of rounds for one problem")
    return parser


def _one_of(known):
    def parse(text):
        if text not in known:
            raise argparse.ArgumentTypeError(f"{text} unknown, choose from {', '.join(known)}")
        return text

    return parse


if __name__ == "__main__":
    sys.exit(main())
