"""How often the gate cries wolf, and what it finds: ``python -m bench.gate_trial``.

    python -m bench.gate_trial                           # 20 runs in 55 minutes at the most
    python -m bench.gate_trial --runs 4 --seconds 600

A run is this installation against itself, all benchmarks, of which one lasts 5 % longer and one
10 %: its worker process waits after each call, the product does not know. In the table are
verdicts on benchmarks; with --json the pairs of those without a change are kept, which
``tests/test_bench_gate.py`` judges.
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from schuss.bench import gate, report, suite
from schuss.bench.comparison import Verdict, judge
from schuss.bench.race import Build, race

HERE = Build("this installation")
SHARES = 0.05, 0.1
HEADS = ("slower by", "comparisons", "alarms", "inconclusive", "passed")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate_trial", description=__doc__)
    add = parser.add_argument
    add("--runs", type=report.at_least_one, default=20, help="of all benchmarks [20]")
    add("--seconds", type=float, default=3300, help="for all runs, in equal parts [3300]")
    add("--busy", action="store_true", help="beside another process at work")
    add("--json", type=Path, help="write the pairs of benchmarks without a change to this file")
    options = parser.parse_args(arguments)
    end = time.monotonic() + options.seconds
    counts: dict[float, Counter] = defaultdict(Counter)
    kept = []
    with suite.others(1) if options.busy else nullcontext():
        names = list(race(HERE, HERE, max_pairs=1).pairs)
        for run in range(options.runs):
            start = time.monotonic()
            changed = [names[(run + k * len(names) // 2) % len(names)] for k in range(2)]
            slower = dict(zip(changed, SHARES, strict=True))
            found = race(
                HERE, replace(HERE, name="head", slower=slower),
                decided=lambda pairs, n: judge(pairs, n_benchmarks=n)[0] != Verdict.inconclusive,
                deadline=start + min(gate.MAX_RACE, (end - start) / (options.runs - run)),
            )  # fmt: skip
            verdicts = {
                name: judge(pairs, n_benchmarks=len(names))[0]
                for name, pairs in found.pairs.items()
            }
            for name, verdict in verdicts.items():
                counts[slower.get(name, 0.0)][verdict] += 1
            told = {k: v.value for k, v in verdicts.items() if k in slower or v != Verdict.passed}
            print(f"{run + 1}: {told}, {time.monotonic() - start:.0f} s", file=sys.stderr)
            kept.append({k: asdict(p) for k, p in found.pairs.items() if k not in slower})
            if options.json:
                options.json.write_text(json.dumps(kept))
    verdicts = Verdict.failed, Verdict.inconclusive, Verdict.passed
    rows = [
        (f"{share:.0%}", counts[share].total(), *(counts[share][v] for v in verdicts))
        for share in (0.0, *SHARES)
    ]
    print(report.markdown(HEADS, rows))
    return int(counts[0.0][Verdict.failed] > 0)


if __name__ == "__main__":
    sys.exit(main())
