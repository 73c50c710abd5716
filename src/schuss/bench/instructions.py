"""Instructions and cache misses of benchmarks, counted by valgrind's tool callgrind.

Times depend on the neighbours, counts do not: the same build gives the same numbers, so a
change shows however noisy the machine is. The kernels run as they were compiled, for AVX2, as
callgrind does not know AVX-512. Counting starts after the imports, which takes a few lines of C:
counted as well, they would take minutes.
"""

import re
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from schuss.bench.race import Build, RaceError, Worker

_SWITCH = """\
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *label) {
    CALLGRIND_DUMP_STATS_AT(label);
    CALLGRIND_STOP_INSTRUMENTATION;
}
"""


class Late(Exception):
    """Counting took longer than it may."""


class Counted(NamedTuple):
    """One call: instructions, misses of the first and of the last cache, and by function."""

    total: int
    misses: tuple[int, int]
    functions: Counter[str]


def missing() -> str | None:
    """Why nothing can be counted here, or None."""
    for program, purpose in (("valgrind", "counts"), ("cc", "compiles its switch")):
        if shutil.which(program) is None:
            return f"{program}, which {purpose}, is not installed"
    with tempfile.TemporaryDirectory() as folder:
        try:
            _compile_switch(Path(folder))
        except subprocess.CalledProcessError as error:
            return f"valgrind/callgrind.h cannot be compiled: {error.stderr.strip()}"
    return None


def of_both(
    base: Build,
    head: Build,
    workloads: Path,
    names: Collection[str] | None,
    timeout: float | None,
    caches: bool = False,
) -> dict[str, tuple[Counted, Counted]]:
    """The counts of some benchmarks, or all, in two builds at once, as nothing is timed."""
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(counts, build, workloads, names, timeout, caches) for build in (base, head)
        ]
        before, after = (future.result() for future in both)
    return {name: (before[name], after[name]) for name in after if name in before}


def counts(
    build: Build,
    workloads: Path,
    names: Collection[str] | None = None,
    timeout: float | None = None,
    caches: bool = False,
) -> dict[str, Counted]:
    """The counts of a call of some benchmarks, or of all of them."""
    late = threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _compile_switch(folder)
        command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no",
                   f"--callgrind-out-file={folder / 'counts'}",
                   f"--cache-sim={'yes' if caches else 'no'}"]  # fmt: skip
        environment = {"SCHUSS_SWITCH": str(folder / "switch.so"), "SCHUSS_ISA": "x86-64-v3"}
        with Worker(build, workloads, command, **environment) as worker:

            def end():
                late.set()
                worker.process.kill()

            alarm = threading.Timer(timeout or threading.TIMEOUT_MAX, end)
            alarm.daemon = True
            alarm.start()
            try:
                worker.greet()
                for benchmark in worker.hello["names"]:
                    if names is None or benchmark in names:
                        worker.time(benchmark, 0)
            except RaceError:
                if late.is_set():
                    raise Late(f"instructions not counted in {timeout:.0f} seconds") from None
                raise
            finally:
                alarm.cancel()
        return _read(folder)


def _compile_switch(folder):
    source, library = folder / "switch.c", folder / "switch.so"
    source.write_text(_SWITCH)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _read(folder) -> dict[str, Counted]:
    """What callgrind wrote, by label: a file for each, functions named once and then by number."""
    names: dict[str, str] = {}
    found = {}
    for path in sorted(folder.glob("counts.*"), key=lambda path: int(path.suffix[1:])):
        text = path.read_text()
        functions: Counter[str] = Counter()
        current, of_callee = "", False
        for line in text.splitlines():
            if told := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
                names.setdefault(told[1], told[2] or "")
                if line[0] == "f":
                    current = names[told[1]]
            elif line.startswith("calls="):
                of_callee = True
            elif told := re.match(r"[+\-*\d]\S* (\d+)", line):
                functions[current] += 0 if of_callee else int(told[1])
                of_callee = False
        label, events, totals = (
            re.search(rf"^(?:{head}): (.*)$", text, re.MULTILINE)
            for head in ("desc: Trigger: Client Request", "events", "summary|totals")
        )
        if label and events and totals:
            of = Counter(dict(zip(events[1].split(), map(int, totals[1].split()), strict=False)))
            misses = of["D1mr"] + of["D1mw"], of["DLmr"] + of["DLmw"]
            found[label[1]] = Counted(of["Ir"], misses, functions)
    return found


def told(before: Counted, after: Counted) -> str:
    """What has changed, and in which function most."""
    parts = [f"instructions {after.total / max(1, before.total) - 1:+.1%}"]
    for cache, was, now in zip(("first", "last"), before.misses, after.misses, strict=True):
        if was or now:
            parts.append(f"misses of the {cache} cache {was:,} to {now:,}")
    function = max(after.functions, key=lambda f: after.functions[f] - before.functions[f])
    was, now = before.functions[function], after.functions[function]
    more = f"{function}: {was:,} to {now:,}" if now > was * 1.001 else "no function has more"
    return f"{', '.join(parts)}; {more}"
