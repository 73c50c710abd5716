"""The regression gate: ``python -m schuss.bench.gate [PART ...]``.

counts    instructions of the kernels under valgrind, against those recorded
floors    the kernels against the NumPy loop, for each instruction set of this machine
compare   two builds against each other, in alternating fresh processes

Exit code 1 says that something is slower than it may be, or that results are wrong; a check
that was skipped or is inconclusive says so and fails nothing. A file of your own with
functions named bench_... can be raced as well: --workloads FILE.
"""

import argparse
import importlib
import json
import math
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from schuss.bench import builds, floors, instructions, report
from schuss.bench.comparison import (
    ALARM_ERROR,
    BAD,
    LIMIT,
    MAX_PAIRS,
    MIN_SECONDS,
    NOTICED,
    TOLERATED,
    Verdict,
    judge,
)
from schuss.bench.race import WORKLOADS, Build, RaceError, race
from schuss.bench.run import at_least_one

# In this order, and none later than at this share of the time that is given: what is left
# over goes to the next.
PARTS = {"counts": 0.5, "floors": 0.75, "compare": 1.0}
# Counts may grow by this much: layout and the code of a library move them a little.
COUNTS_LIMIT = 0.02
COUNTS_FILE = floors.FILE.with_name("counts.json")
# Seconds of the longest race, and of counting the instructions of what became slower.
MAX_RACE, MAX_EXPLAINING = 600.0, 120.0


@dataclass
class Check:
    """One line of the gate's table."""

    part: str
    work: str
    verdict: Verdict
    measured: str = ""
    allowed: str = ""
    note: str = ""


def check_floors(file: Path = floors.FILE, deadline: float = math.inf) -> Iterator[Check]:
    if reason := _no_kernels():
        yield Check("floors", "", Verdict.skipped, note=reason)
        return
    which, ran = floors.isas(), set()
    found = floors.check(_load(file), which, deadline=deadline)
    for isa, work, ratio, least, result, note in found:
        ran.add((isa, work))
        allowed = "" if least is None else f"≥ {least:.3g}"
        shown = "" if math.isnan(ratio) else f"{ratio:.3g} × NumPy"
        yield Check("floors", f"{isa}, {work}", result, shown, allowed, note)
    for isa, work in sorted({(isa, work) for isa in which for work in floors.ALL} - ran):
        yield Check("floors", f"{isa}, {work}", Verdict.refused, note="it did not run")


def check_counts(
    file: Path = COUNTS_FILE,
    kernels: tuple[str, ...] = tuple(instructions.KERNELS),
    deadline: float = math.inf,
) -> Iterator[Check]:
    recorded = _load(file)
    reason = _no_kernels() or instructions.missing() or _other_tools(recorded["tools"])
    if reason:
        yield Check("counts", "", Verdict.skipped, note=reason)
        return
    try:
        found = _counts(kernels, _left(deadline))
    except subprocess.TimeoutExpired as error:
        note = f"not done in {error.timeout:.0f} seconds"
        yield Check("counts", "", Verdict.inconclusive, note=note)
        return
    for isa, counts in found.items():
        unknown = set(recorded["counts"].get(isa, {})) - set(instructions.KERNELS)
        for kernel in sorted((unknown | set(kernels)) - set(counts)):
            yield Check("counts", f"{isa}, {kernel}", Verdict.refused, note="it did not run")
        for kernel, count in counts.items():
            before = recorded["counts"].get(isa, {}).get(kernel)
            check = Check("counts", f"{isa}, {kernel}", Verdict.passed, f"{count:.4g} an element")
            if before is None:
                check.verdict, check.note = Verdict.skipped, "not recorded yet"
            else:
                check.allowed = f"≤ {before * (1 + COUNTS_LIMIT):.4g}"
                change = count / before - 1
                if change > COUNTS_LIMIT:
                    check.verdict, check.note = Verdict.failed, f"{change:+.1%}"
                elif change < -COUNTS_LIMIT:
                    check.note = f"{change:+.1%}: record it, so that it stays"
            yield check


def _left(deadline):
    """Seconds until then, at least one; None for ever."""
    return None if math.isinf(deadline) else max(1.0, deadline - time.monotonic())


def _counts(kernels, timeout=None):
    """Instructions by instruction set and kernel; nothing here is timed, so at once."""
    with ThreadPoolExecutor(len(instructions.ISAS)) as pool:
        found = pool.map(lambda isa: instructions.counts(isa, kernels, timeout), instructions.ISAS)
        return dict(zip(instructions.ISAS, found, strict=True))


def tools() -> dict[str, str]:
    """What the counts depend on beside the sources."""
    build = importlib.import_module("schuss.backends.cython_").BUILD
    answer = subprocess.run(["valgrind", "--version"], capture_output=True, text=True)
    return {
        "compiler": build.get("compiler", "unknown"),
        "cython": build.get("cython", "unknown"),
        "valgrind": answer.stdout.strip(),
        "machine": platform.machine(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "python_flags": sysconfig.get_config_var("CFLAGS") or "",
    }


def _other_tools(recorded):
    here = tools()
    other = [name for name in here if here[name] != recorded.get(name)]
    if not other:
        return None
    told = ", ".join(f"{name} {recorded.get(name)!r}, here {here[name]!r}" for name in other)
    return f"the counts were recorded with other tools: {told}"


def check_builds(
    base: str | None = None,
    head: str | None = None,
    *,
    workloads: Path = WORKLOADS,
    only: list[str] | None = None,
    max_pairs: int = MAX_PAIRS,
    limit: float = LIMIT,
    min_seconds: float = MIN_SECONDS,
    cache: Path = Path("build", "gate"),
    timings: dict | None = None,
    deadline: float = math.inf,
) -> Iterator[Check]:
    """Race the base against the head, which runs twice, until each benchmark has a verdict."""
    deadline = min(deadline, time.monotonic() + MAX_RACE)
    try:
        old = builds.find(base, cache=cache, timeout=_left(deadline))
        new = Build("this installation")
        if head:
            new = builds.find(head, cache=cache, timeout=_left(deadline))
    except builds.NoBase as error:
        yield Check("compare", "", Verdict.skipped, note=str(error))
        return

    def judged(pairs, n_benchmarks):
        return judge(pairs, limit, min_seconds, n_benchmarks)

    try:
        found = race(
            old, new, workloads=workloads, only=only, max_pairs=max_pairs, progress=_progress,
            decided=lambda pairs, n: judged(pairs, n)[0] != Verdict.inconclusive,
            deadline=deadline,
        )  # fmt: skip
    except RaceError as error:
        verdict = Verdict.refused if error.build is new else Verdict.skipped
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
        verdict, note = judged(pairs, len(found.pairs))
        if verdict == Verdict.failed:
            left = min(MAX_EXPLAINING, _left(deadline) or MAX_EXPLAINING)
            note += f"; {instructions.explain(old, new, workloads, name, left)}"
        low, median, high = pairs.ratio if pairs.base else (math.nan,) * 3
        ends = f" ({low:.3f}–{high:.3f})" if 0 < low < high < math.inf else ""
        shown = f"{median:.3f}{ends}"
        yield Check("compare", name, verdict, shown, f"< {1 + NOTICED * limit:g}", note)


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


def _load(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))


def renew(
    part: str, file: Path, reason: str, kernels: tuple[str, ...] = tuple(instructions.KERNELS)
) -> None:
    """Record what is measured now, and commit the file with the reason."""
    if problem := _no_kernels() or (instructions.missing() if part == "counts" else None):
        raise RuntimeError(f"nothing recorded: {problem}")
    date = datetime.now(UTC).date().isoformat()
    if part == "counts" and tools()["compiler"] == "unknown":
        raise RuntimeError("nothing recorded: this build does not tell its compiler; use pip")
    if part == "floors":
        before = _load(file) if file.exists() else {"processors": {}}
        content = floors.renewed(before, floors.isas())
    else:
        rounded = {
            isa: {kernel: float(f"{count:.5g}") for kernel, count in counts.items()}
            for isa, counts in _counts(kernels).items()
        }
        content = {"tools": tools(), "counts": rounded}
    content = {"renewed": date, "reason": reason, **_without(content, "renewed", "reason")}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    subject = f"Renew the gate's {part}"
    command = ["git", "commit", "--quiet", "-m", subject, "-m", reason, "--", str(file)]
    if shutil.which("git") and _in_git(file):
        subprocess.run(["git", "add", str(file)], check=True)
        subprocess.run(command, check=True)


def _in_git(file):
    """Whether the file is kept, or would be, by the repository of this folder."""
    inside = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], capture_output=True)
    ignored = subprocess.run(["git", "check-ignore", "--quiet", str(file)], capture_output=True)
    return not inside.returncode and ignored.returncode == 1


def _without(content, *keys):
    return {key: value for key, value in content.items() if key not in keys}


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
    parts = {
        "counts": lambda by: check_counts(options.counts, options.kernels, by),
        "floors": lambda by: check_floors(options.floors, by),
        "compare": lambda by: check_builds(
            options.base,
            options.head,
            workloads=options.workloads,
            only=options.only,
            max_pairs=options.pairs,
            limit=options.limit,
            min_seconds=options.min_seconds,
            cache=options.cache,
            timings=timings,
            deadline=by,
        ),
    }
    checks, seconds = [], {}
    chosen = [part for part in PARTS if part in (options.parts or PARTS)]
    begun = time.monotonic()
    for part in chosen:
        start = time.monotonic()
        share = 1.0 if part == chosen[-1] else PARTS[part]
        checks += list(parts[part](begun + share * options.seconds))
        seconds[part] = round(time.monotonic() - start, 1)
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
            "seconds": seconds,
            "checks": [asdict(check) for check in checks],
            "timings": timings,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(check.verdict in BAD for check in checks))


def _renew(options):
    if not options.renew.strip() or list(options.parts) not in (["floors"], ["counts"]):
        print('--renew: expected one part and a reason, as in: counts --renew "AVX-512 dots"',
              file=sys.stderr)  # fmt: skip
        return 2
    (part,) = options.parts
    try:
        file = {"floors": options.floors, "counts": options.counts}[part]
        renew(part, file, options.renew, options.kernels)
    except (RuntimeError, floors.Refused, subprocess.CalledProcessError) as error:
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
    add("parts", nargs="*", metavar="PART", type=_part,
        help="counts, floors, compare; all of them without any")  # fmt: skip
    add("--base", help="a git revision, which is built; a folder that a build was installed "
        "into; or another Python [the common ancestor with main]")  # fmt: skip
    add("--head", help="the same for what is judged [this installation]")
    add("--workloads", type=_file, default=WORKLOADS, metavar="FILE",
        help="functions named bench_..., whose results have to be equal")  # fmt: skip
    add("--only", type=lambda text: text.split(","), metavar="NAMES", help="some workloads: a,b,c")
    add("--kernels", type=lambda text: tuple(text.split(",")), metavar="NAMES",
        default=tuple(instructions.KERNELS), help="some kernels to count: a,b,c")  # fmt: skip
    add("--pairs", type=at_least_one, default=MAX_PAIRS, help=f"at the most [{MAX_PAIRS}]")
    add("--limit", type=_share, default=LIMIT, metavar="SHARE",
        help=f"a slowdown to be found [{LIMIT}]; {TOLERATED:.0%} of it is no alarm")  # fmt: skip
    add("--seconds", type=float, default=math.inf, metavar="S",
        help="what is not done after so long is inconclusive [no limit]")  # fmt: skip
    add("--min-seconds", type=float, default=MIN_SECONDS, metavar="S",
        help=f"a smaller loss in one call does not [{MIN_SECONDS:g}]")  # fmt: skip
    add("--floors", type=Path, default=_recorded(floors.FILE), metavar="FILE")
    add("--counts", type=Path, default=_recorded(COUNTS_FILE), metavar="FILE")
    add("--cache", type=Path, default=Path("build", "gate"), metavar="FOLDER",
        help="of builds of revisions [build/gate]")  # fmt: skip
    add("--renew", metavar="REASON",
        help="record what is measured now, of the part named, and commit it")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write checks and timings as well")
    add("--markdown", type=Path, metavar="FILE", help="write a comment for a pull request")
    return parser


def _recorded(file):
    """The checkout's file, where one is here: an installed copy is not what is renewed."""
    here = Path("src", "schuss", "bench", file.name)
    return here if here.parent.is_dir() else file


def _part(text):
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"{text} unknown, choose from {', '.join(PARTS)}")
    return text


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
