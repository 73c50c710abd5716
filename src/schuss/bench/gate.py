"""The regression gate: ``python -m schuss.bench.gate [PART ...]``.

floors    the kernels against the NumPy loop, for each instruction set of this machine
counts    instructions of the benchmarks in two builds, under valgrind
compare   times of the benchmarks in two builds, in alternating fresh processes

Exit code 1 says that something is slower than it may be, that results are wrong, or that fewer
benchmarks ran than were declared; a check that was skipped or is inconclusive says so and fails
nothing. A file of your own with functions named bench_... can be raced as well: --workloads FILE.
"""

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from schuss.bench import builds, floors, instructions, report
from schuss.bench.comparison import (
    ALARM_ERROR,
    BAD,
    LIMIT,
    MAX_PAIRS,
    MIN_SECONDS,
    NOTICED,
    TOLERATED,
    Check,
    Verdict,
    judge,
)
from schuss.bench.race import WORKLOADS, Build, RaceError, race

# In this order, and none later than at this share of the time that is given: what is left
# over goes to the next.
PARTS = {"floors": 0.2, "counts": 0.7, "compare": 1.0}
# Instructions may grow by this much: layout and the code of a library move them a little.
COUNTS_LIMIT = 0.02
# Seconds of the longest race, and of counting the instructions of what became slower.
MAX_RACE, MAX_EXPLAINING = 600.0, 120.0


def check_floors(file: Path = floors.FILE, deadline: float = math.inf) -> Iterator[Check]:
    if reason := _no_kernels():
        yield Check("floors", "", Verdict.skipped, note=reason)
    else:
        recorded = json.loads(file.read_text(encoding="utf-8"))["floors"]
        yield from floors.check(recorded, floors.isas(), deadline=deadline)


def check_counts(
    old: Build, new: Build, workloads: Path, only: list[str] | None, deadline: float = math.inf
) -> Iterator[Check]:
    """Instructions of each benchmark in two builds."""
    if reason := instructions.missing():
        yield Check("counts", "", Verdict.skipped, note=reason)
        return
    try:
        found = instructions.of_both(old, new, workloads, only, _left(deadline))
    except (instructions.Late, RaceError) as error:
        yield Check("counts", "", Verdict.inconclusive, note=str(error))
        return
    for name, (before, after) in found.items():
        change = after.total / before.total - 1
        check = Check("counts", name, Verdict.passed, f"{change:+.2%}", f"< +{COUNTS_LIMIT:.0%}")
        check.value = float(after.total)
        if change > COUNTS_LIMIT:
            check.verdict, check.note = Verdict.failed, instructions.told(before, after)
        yield check


def _left(deadline):
    """Seconds until then, at least one; None for ever."""
    return None if math.isinf(deadline) else max(1.0, deadline - time.monotonic())


def check_builds(
    old: Build,
    new: Build,
    workloads: Path = WORKLOADS,
    only: list[str] | None = None,
    *,
    max_pairs: int = MAX_PAIRS,
    limit: float = LIMIT,
    min_seconds: float = MIN_SECONDS,
    bisect: Path | None = None,
    timings: dict | None = None,
    deadline: float = math.inf,
) -> Iterator[Check]:
    """Race the base against the head, which runs twice, until each benchmark has a verdict.

    With a folder for builds, `bisect`, an alarm names the commit.
    """
    deadline = min(deadline, time.monotonic() + MAX_RACE)

    def raced(build, names, until):
        """The race of a build with the base, and the verdict on each benchmark."""
        verdict = partial(judge, limit=limit, min_seconds=min_seconds)
        found = race(
            old, build, workloads=workloads, only=names, max_pairs=max_pairs, progress=_progress,
            decided=lambda pairs, n: verdict(pairs, n_benchmarks=n)[0] != Verdict.inconclusive,
            deadline=until,
        )  # fmt: skip
        n = len(found.pairs)
        return found, {k: verdict(p, n_benchmarks=n) for k, p in found.pairs.items()}

    def verdict_on(name, build):
        found, verdicts = raced(build, [name], time.monotonic() + MAX_RACE)
        return verdicts[name][0] if name in verdicts else Verdict.refused

    try:
        found, verdicts = raced(new, only, deadline)
    except RaceError as error:
        # A base of before the benchmarks is no fault of the head's; a file without any is.
        refused = error.build is new or "no function whose name" in str(error)
        verdict = Verdict.refused if refused else Verdict.skipped
        yield Check("compare", "", verdict, note=str(error))
        return
    if timings is not None:
        timings |= {name: asdict(pairs) for name, pairs in found.pairs.items()}
    for name in found.absent:
        yield Check("compare", name, Verdict.skipped, note=f"not in {old.name}")
    for name, reason in found.refused.items():
        yield Check("compare", name, Verdict.refused, note=reason)
    if not found.pairs and not found.refused:
        note = "there was no time for a pair"
        yield Check("compare", "", Verdict.inconclusive, note=note)
    for name, pairs in found.pairs.items():
        if name in found.refused:
            continue
        verdict, note = verdicts[name]
        if verdict == Verdict.failed:
            note += f"; {_explained(old, new, workloads, name, deadline)}"
            if bisect:
                note += f"; {builds.culprit(old, new, partial(verdict_on, name), bisect)}"
        low, median, high = pairs.ratio if pairs.base else (math.nan,) * 3
        ends = f" ({low:.3f}–{high:.3f})" if 0 < low < high < math.inf else ""
        yield Check(
            "compare", name, verdict, f"{median:.3f}{ends}", f"< {1 + NOTICED * limit:g}", note,
            float(np.median(pairs.head)) if pairs.head else None,
        )  # fmt: skip


def _explained(old, new, workloads, name, deadline):
    if reason := instructions.missing():
        return f"instructions not counted: {reason}"
    left = min(MAX_EXPLAINING, _left(deadline) or MAX_EXPLAINING)
    try:
        return instructions.told(
            *instructions.of_both(old, new, workloads, [name], max(left, 30.0), True)[name]
        )
    except (instructions.Late, RaceError) as error:
        return str(error)


def _progress(pairs, left):
    if sys.stderr.isatty():
        end = "\n" if not left else ""
        print(f"\rpair {pairs}, {left} undecided ", end=end, file=sys.stderr, flush=True)


def _no_kernels():
    try:
        importlib.import_module("schuss.backends.cython_")
    except ImportError as error:
        return f"without the compiled kernels: {error}"
    return None


def renew(file: Path, reason: str) -> None:
    """Record floors measured now, with the reason."""
    if problem := _no_kernels():
        raise RuntimeError(f"nothing recorded: {problem}")
    content: dict[str, Any] = {"renewed": datetime.now(UTC).date().isoformat(), "reason": reason}
    content |= {"floors": floors.renewed(floors.isas())}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def accept(checks: list[Check], reasons: dict[str, str]) -> None:
    """Pass what became slower where a commit says "Slower: NAME: why"."""
    for check in checks:
        if check.verdict == Verdict.failed and check.work in reasons:
            check.verdict = Verdict.passed
            check.note = f"accepted: {reasons[check.work]}; {check.note}"


def table(checks: list[Check], padded: bool = True) -> str:
    heads = ("part", "work", "measured", "allowed", "verdict", "note")
    rows = [(c.part, c.work, c.measured, c.allowed, c.verdict, c.note) for c in checks]
    return report.markdown(heads, rows, padded)


def comment(checks: list[Check], told: str) -> str:
    """Markdown for a pull request: what is wrong first, the rest folded."""
    bad = [check for check in checks if check.verdict in BAD]
    title = "Something became slower, or is wrong" if bad else "No slowdown found"
    shown = f"{table(bad, padded=False)}\n\n" if bad else ""
    return (
        f"### {title}\n\n{shown}{told}. Chance that an unchanged benchmark is called slower: at "
        f"most {ALARM_ERROR:.0%} a run.\n\n<details><summary>All checks</summary>\n\n"
        f"{table(checks, padded=False)}\n\n</details>\n"
    )


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.renew is not None:
        return _renew(options)
    timings: dict = {}
    checks: list[Check] = []
    seconds: dict[str, float] = {}
    chosen = [part for part in PARTS if part in (options.parts or PARTS)]
    begun = time.monotonic()
    until = {part: begun + PARTS[part] * options.seconds for part in chosen}
    until[chosen[-1]] = begun + options.seconds
    both: tuple[Build, Build] | None = None
    for part in chosen:
        start = time.monotonic()
        if part != "floors" and both is None:
            rest = options.cache, _left(begun + options.seconds)
            try:
                head = Build("this installation")
                if options.head:
                    head = builds.find(options.head, *rest)
                both = builds.find(options.base, *rest), head
            except builds.NoBase as error:
                checks.append(Check("compare", "", Verdict.skipped, note=str(error)))
                break
        if both is None:
            checks += check_floors(options.floors, until[part])
        elif part == "counts":
            checks += check_counts(*both, options.workloads, options.only, until[part])
        else:
            checks += check_builds(
                *both, options.workloads, options.only, max_pairs=options.pairs,
                limit=options.limit, min_seconds=options.min_seconds,
                bisect=options.cache if options.bisect else None, timings=timings,
                deadline=until[part],
            )  # fmt: skip
        seconds[part] = round(time.monotonic() - start, 1)
    accept(checks, builds.accepted(both[0]) if both else {})
    print(table(checks))
    found = {v: sum(check.verdict == v for check in checks) for v in Verdict}
    told = ", ".join(f"{number} {v}" for v, number in found.items() if number)
    told += f" ({', '.join(f'{part} {s} s' for part, s in seconds.items())})"
    print(f"gate: {told}")
    if options.markdown:
        options.markdown.write_text(comment(checks, told), encoding="utf-8")
    if options.json:
        content = {
            "environment": report.environment(),
            "revision": builds.revision(),
            "seconds": seconds,
            "checks": [asdict(check) for check in checks],
            "timings": timings,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(check.verdict in BAD for check in checks))


def _renew(options):
    if not options.renew.strip() or list(options.parts) != ["floors"]:
        told = '--renew: expected the part floors and a reason: floors --renew "AVX-512 dots"'
        print(told, file=sys.stderr)
        return 2
    try:
        renew(options.floors, options.renew)
    except (RuntimeError, floors.Refused) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m schuss.bench.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", type=report.one_of(PARTS),
        help="floors, counts, compare; all of them without any")  # fmt: skip
    add("--base", help="a git revision, which is built; a folder that a build was installed "
        "into; or another Python [the common ancestor with main]")  # fmt: skip
    add("--head", help="the same for what is judged [this installation]")
    add("--bisect", action="store_true",
        help="name the commit that made a benchmark slower, by building those between")  # fmt: skip
    add("--workloads", type=_file, default=WORKLOADS, metavar="FILE",
        help="functions named bench_..., whose results have to be equal")  # fmt: skip
    add("--only", type=lambda text: text.split(","), metavar="NAMES", help="some workloads: a,b,c")
    add("--pairs", type=report.at_least_one, default=MAX_PAIRS, help=f"at the most [{MAX_PAIRS}]")
    add("--limit", type=_share, default=LIMIT, metavar="SHARE",
        help=f"a slowdown to be found [{LIMIT}]; {TOLERATED:.0%} of it is no alarm")  # fmt: skip
    add("--seconds", type=float, default=math.inf, metavar="S",
        help="what is not done after so long is inconclusive [no limit]")  # fmt: skip
    add("--min-seconds", type=float, default=MIN_SECONDS, metavar="S",
        help=f"a smaller loss in one call does not count [{MIN_SECONDS:g}]")  # fmt: skip
    # The checkout's, where one is here: an installed copy is not what is renewed.
    here = Path("src", "schuss", "bench", floors.FILE.name)
    add("--floors", type=Path, default=here if here.exists() else floors.FILE, metavar="FILE")
    add("--cache", type=Path, default=Path("build", "gate"), metavar="FOLDER",
        help="of builds of revisions [build/gate]")  # fmt: skip
    add("--renew", metavar="REASON", help="record the floors that are measured now")
    add("--json", type=Path, metavar="FILE", help="write checks and timings, as for the history")
    add("--markdown", type=Path, metavar="FILE", help="write a comment for a pull request")
    return parser


def _file(text):
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: there is no such file")
    return Path(text).resolve()


def _share(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 10:
        raise argparse.ArgumentTypeError(f"{text} given, a positive share as 0.1 expected")
    return value


if __name__ == "__main__":
    sys.exit(main())
