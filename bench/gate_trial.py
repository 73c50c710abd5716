"""How often the gate cries wolf, and what it finds: ``python -m bench.gate_trial``.

This installation races itself, as it is and with single benchmarks that last longer by a share:
the worker process waits after each call, the product does not know. What stands in the table
are verdicts on benchmarks; with --json the pairs of the races without a change are kept, which
``tests/test_bench_gate.py`` judges.
"""

import argparse
import json
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from schuss.bench import gate, report, suite
from schuss.bench.comparison import Verdict, judge
from schuss.bench.race import Build, race

HERE = Build("this installation")
HEADS = ("slower by", "comparisons", "alarms", "inconclusive", "passed", "seconds each")


def compared(head: Build, names=None):
    """The pairs of one comparison, the verdicts, and its seconds."""
    start = time.monotonic()
    found = race(
        HERE, head, only=names, deadline=start + gate.MAX_RACE,
        decided=lambda pairs, n: judge(pairs, n_benchmarks=n)[0] != Verdict.inconclusive,
    )  # fmt: skip
    # An alarm has to be as sure as in a run of all benchmarks.
    n = len(found.pairs)
    verdicts = {name: judge(pairs, n_benchmarks=n)[0] for name, pairs in found.pairs.items()}
    return found, verdicts, time.monotonic() - start


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate_trial", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=23, help="of all benchmarks, without a change [23]")
    add("--slowed", type=int, default=20, help="benchmarks made slower by each share [20]")
    add("--shares", type=json.loads, default=[0.05, 0.1], help="[[0.05, 0.1]]")
    add("--seconds", type=float, default=float("inf"), help="begin nothing after so long")
    add("--busy", action="store_true", help="beside another process at work")
    add("--json", type=Path, help="add the pairs of runs without a change to this file")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    counts: dict[float, Counter] = {}
    spent: dict[float, list[float]] = {}
    with suite.others(1) if options.busy else nullcontext():
        names = list(compared_names())
        todo = [(0.0, None)] * options.runs
        todo += [(s, names[k % len(names)]) for s in options.shares for k in range(options.slowed)]
        for share, name in todo:
            if time.monotonic() - begun > options.seconds:
                break
            head = replace(HERE, name="head", slower={name: share} if name else {})
            found, verdicts, seconds = compared(head, [name] if name else None)
            counts.setdefault(share, Counter()).update(verdicts.values())
            spent.setdefault(share, []).append(seconds)
            told = {k: v.value for k, v in verdicts.items() if share or v != Verdict.passed}
            print(f"{share:.0%}: {told} in {seconds:.0f} s", file=sys.stderr, flush=True)
            if not share and options.json:
                kept.append({k: asdict(pairs) for k, pairs in found.pairs.items()})
                options.json.write_text(json.dumps(kept))
    rows = [
        (f"{share:.0%}", found.total(), found[Verdict.failed], found[Verdict.inconclusive],
         found[Verdict.passed], f"{np.median(spent[share]):.0f}")
        for share, found in counts.items()
    ]  # fmt: skip
    print(report.markdown(HEADS, rows))
    return int(counts.get(0.0, Counter())[Verdict.failed] > 0)


def compared_names():
    """The benchmarks of the suite."""
    return race(HERE, HERE, max_pairs=1, deadline=float("inf")).pairs


if __name__ == "__main__":
    sys.exit(main())
