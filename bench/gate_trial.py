"""What the gate catches, and how often it cries wolf: ``python -m bench.gate_trial``.

Builds the sources here twice, the second time with every fifth pass over the rows done
twice, which makes a run of epochs a fifth slower and changes no result. Then each part of
the gate judges both builds, as often as asked. The timings of the runs without a change are
what ``tests/test_bench_gate.py`` draws its thousand samples from.

On a shared machine, do it in pieces: builds are kept, ``--runs 0`` makes nothing else, and
``--json`` adds to a file that is there.
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

ROOT = Path(__file__).resolve().parents[1]
KERNEL = Path("ext", "descent.pxi")
LINE = "            total += whole_pass(p, rows, start, stop, scale / share) * share\n"
SLOWDOWN = (
    "            if epoch % 5 == 4:\n"
    "                whole_pass(p, rows, start, stop, scale / share)\n"
)  # fmt: skip
PARTS = ("floors", "counts", "compare")
BUILDS = ("unchanged", "slowed")
# One kernel for each kind of loop; all of them would take a minute a run.
COUNTED = "descend 4000x100 float32 C,descend 4000x100 float32 F,descend digits float32 C"


def build(folder: Path, name: str) -> Path:
    """Install the package, slowed down or as it is; return where."""
    target = folder / name
    if target.exists():
        return target
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.so", "__pycache__")
    )
    if name == "slowed":
        text = (source / KERNEL).read_text()
        if text.count(LINE) != 1:
            raise SystemExit(f"{KERNEL}: the line to slow down is not there once:\n{LINE}")
        (source / KERNEL).write_text(text.replace(LINE, SLOWDOWN + LINE))
    builds.install(source, target)
    return target


def gate(build: Path, part: str, result: Path, *options) -> dict:
    """The gate of a build, in a process of its own: what it writes as JSON."""
    command = [sys.executable, "-m", "schuss.bench.gate", part, "--json", str(result), *options]
    environment = {**os.environ, "PYTHONPATH": str(build)}
    # Away from the checkout, whose record of floors and counts is another one.
    process = subprocess.run(
        command, env=environment, cwd=build.parent, capture_output=True, text=True
    )
    if not result.exists():
        raise SystemExit(f"{' '.join(command)}:\n{process.stdout}{process.stderr}")
    found = json.loads(result.read_text())
    result.unlink()
    return {**found, "red": process.returncode}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate_trial", description=__doc__)
    add = parser.add_argument
    add("--folder", type=Path, default=ROOT / "build" / "trial", help="for the two builds")
    add("--parts", default=",".join(PARTS))
    add("--builds", default=",".join(BUILDS), help="which of them to judge")
    add("--runs", type=int, default=10, help="of each part, for each build")
    add("--json", type=Path, help="timings of the races without a change, for the test")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    trees = {name: build(folder, name) for name in BUILDS}
    clean = trees["unchanged"]
    result = folder / f"result-{os.getpid()}.json"
    timings = []
    if options.json and options.json.exists():
        timings = json.loads(options.json.read_text())

    for part in options.parts.split(",") if options.runs else ():
        extra = {"floors": ["--floors"], "counts": ["--counts"], "compare": ["--base"]}[part]
        extra.append(str(clean if part == "compare" else folder / f"{part}.json"))
        if part == "counts":
            extra += ["--kernels", COUNTED]
        if part != "compare" and not (folder / f"{part}.json").exists():
            # The build as it is sets what is allowed.
            command = [sys.executable, "-m", "schuss.bench.gate", part, *extra]
            subprocess.run(
                [*command, "--renew", "trial"],
                env={**os.environ, "PYTHONPATH": str(clean)}, cwd=folder, check=True,
            )  # fmt: skip
        for what in options.builds.split(","):
            for run in range(options.runs):
                found = gate(trees[what], part, result, *extra)
                verdicts = Counter(check["verdict"] for check in found["checks"])
                print(part, what, run + 1, "red" if found["red"] else "green", dict(verdicts),
                      found["seconds"], flush=True)  # fmt: skip
                for check in found["checks"]:
                    if check["verdict"] != "passed":
                        print("   ", *check.values(), sep=" | ", flush=True)
                if part == "compare" and what == "unchanged":
                    timings.append(found["timings"])
                    if options.json:
                        options.json.write_text(json.dumps(timings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
