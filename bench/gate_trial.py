"""What the gate catches, and how often it cries wolf: ``python -m bench.gate_trial``.

Builds the sources here twice, the second time with some passes over the rows done twice, which
makes a run of epochs slower and changes no result. Then parts of the gate judge both builds, as
often as asked. The pairs of races without a change are what ``tests/test_bench_gate.py`` judges.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from schuss.bench import builds
from schuss.bench.run import names_of

ROOT = Path(__file__).resolve().parents[1]
KERNEL = Path("ext", "descent.pxi")
LINE = "            total += whole_pass(p, rows, start, stop, scale / share) * share\n"
SLOWDOWN = (
    "            if epoch % {every} == 0:\n"
    "                whole_pass(p, rows, start, stop, scale / share)\n"
)  # fmt: skip
PARTS, BUILDS = ("floors", "counts", "compare"), ("unchanged", "slowed")
# One kernel for each kind of loop; all of them would take a minute a run.
COUNTED = "descend 4000x100 float32 C,descend 4000x100 float32 F,descend digits float32 C"


def build(folder: Path, name: str, every: int) -> Path:
    """Install the package, slowed down or as it is; return where."""
    target = folder / (f"{name}-{every}" if name == "slowed" else name)
    if target.exists():
        return target
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    ignored = shutil.ignore_patterns(".*", "build", "*.so", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    if name == "slowed":
        text = (source / KERNEL).read_text()
        if text.count(LINE) != 1:
            raise SystemExit(f"{KERNEL}: the line to slow down is not there once:\n{LINE}")
        slowed = text.replace(LINE, SLOWDOWN.format(every=every) + LINE)
        (source / KERNEL).write_text(slowed)
    builds.install(source, target)
    return target


def gate(build: Path, part: str, *options) -> subprocess.CompletedProcess:
    """The gate of a build, in a process of its own, away from the checkout's record."""
    command = [sys.executable, "-m", "schuss.bench.gate", part, *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(build)}
    return subprocess.run(
        command, env=environment, cwd=build.parent, capture_output=True, text=True
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate_trial", description=__doc__)
    add = parser.add_argument
    add("--folder", type=Path, default=ROOT / "build" / "trial", help="for the two builds")
    add("--parts", type=names_of(PARTS), default=PARTS)
    add("--builds", type=names_of(BUILDS), default=BUILDS, help="which of them to judge")
    add("--slower", type=float, default=20.0, help="per cent, of the slowed build")
    add("--runs", type=int, default=10, help="of each part, for each build")
    add("--only", help="benchmarks of compare, separated by commas")
    add("--json", type=Path, help="the pairs of races without a change, added to what is there")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    trees = {name: build(folder, name, round(100 / options.slower)) for name in BUILDS}
    result = folder / f"result-{os.getpid()}.json"
    timings = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    for part in options.parts:
        base = trees["unchanged"] if part == "compare" else folder / f"{part}.json"
        extra = [{"compare": "--base"}.get(part, f"--{part}"), base]
        extra += ["--kernels", COUNTED] if part == "counts" else []
        extra += ["--only", options.only] if part == "compare" and options.only else []
        if part != "compare" and not base.exists():
            # The build as it is sets what is allowed.
            gate(trees["unchanged"], part, *extra, "--renew", "trial").check_returncode()
        for what in options.builds:
            for run in range(options.runs):
                done = gate(trees[what], part, *extra, "--json", result)
                if not result.exists():
                    raise SystemExit(f"{done.stdout}{done.stderr}")
                found = json.loads(result.read_text())
                result.unlink()
                verdicts = Counter(check["verdict"] for check in found["checks"])
                print(part, what, run + 1, "red" if done.returncode else "green", dict(verdicts),
                      found["seconds"], flush=True)  # fmt: skip
                for check in found["checks"]:
                    if check["verdict"] != "passed":
                        print("   ", *check.values(), sep=" | ", flush=True)
                if part == "compare" and what == "unchanged" and options.json:
                    timings.append(found["timings"])
                    options.json.write_text(json.dumps(timings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
