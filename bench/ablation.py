"""Each special path of the kernels left out, against all of them: ``python -m bench.ablation``.

    python -m bench.ablation                         # every macro of ext/include/switches.h
    python -m bench.ablation PACKED PREFETCH_ROWS    # these
    python -m bench.ablation --rounds 15

Each is a build of its own, of the commit that is checked out, for this machine's instruction set
(kept in build/ablation). Builds alternate in fresh processes on one thread, and have to return
the same numbers. A path that gains less than 5 % on every shape is to be deleted.
"""

import argparse
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import schuss
from schuss.bench import builds
from schuss.bench.problems import PROBLEMS
from schuss.bench.race import race
from schuss.bench.suite import shaped

SWITCHES = Path("ext", "include", "switches.h")
PREFIX = "SCHUSS_"
GAIN = 1.05
# Elements that a call reads: a few milliseconds.
_ELEMENTS = 10_000_000


def _train(problem, dtype="float32", order="C"):
    tasks = []

    def call():
        if not tasks:
            tasks.append(problem.load(dtype, order))
        (task,) = tasks
        elements = task.X.nnz if problem.sparse else task.X.size
        result = schuss.train(
            task.X, task.codes, loss=task.loss, learning_rate=task.learning_rate,
            epochs=max(2, _ELEMENTS // elements), tol=0.0, n_jobs=1,
        )  # fmt: skip
        return np.append(result.coef, result.intercept).astype(result.coef.dtype)

    return call


SHAPES = (
    *(p for p in PROBLEMS.values() if p.n * p.d < 30_000_000 or p.sparse),
    *(shaped(n, d) for n, d in ((100_000, 2), (500_000, 12), (500_000, 28), (20_000, 784))),
)
BY_NAME = {problem.name: problem for problem in SHAPES}
for _name, _problem in BY_NAME.items():
    globals()[f"bench_{_name} float32"] = _train(_problem)
for _name in ("breast-cancer", "100000x2", "100000x100", "small-sparse"):
    globals()[f"bench_{_name} float64"] = _train(BY_NAME[_name], "float64")
for _name in ("20000x100", "500000x12", "20000x784"):
    globals()[f"bench_{_name} float32, Fortran order"] = _train(BY_NAME[_name], order="F")
for _dtype in ("uint8", "float16"):
    globals()[f"bench_20000x784 {_dtype}"] = _train(BY_NAME["20000x784"], _dtype)


def switches():
    """Names of the macros, without their prefix."""
    found = re.findall(rf"^#define {PREFIX}(\w+) 1$", SWITCHES.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise SystemExit(f"no macros in {SWITCHES}: run this in a checkout of schuss")
    return found


def build(name, cache):
    """The commit that is checked out, built without the path of this name; None: with all."""
    from schuss.backends.cython_ import ISA

    flags = f"-D{PREFIX}{name}=0" if name else ""
    print(f"building {flags or 'with all'} …", flush=True)
    commit, isa = builds.revision(), ISA.replace("-", "_")
    return builds.of_revision(commit, cache, CFLAGS=flags, SCHUSS_BUILD_ISA=isa)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", help="macros without SCHUSS_; all by default")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of fresh processes")
    parser.add_argument("--cache", type=Path, default=Path("build", "ablation"))
    options = parser.parse_args(arguments)
    known = switches()
    if unknown := set(options.paths) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    without_all = {name: build(name, options.cache) for name in (None, *(options.paths or known))}
    base = replace(without_all.pop(None), name="all")
    for name, head in without_all.items():
        result = race(
            base, replace(head, name=f"without {name}"), workloads=Path(__file__),
            max_pairs=options.rounds, decided=partial(_decided, options.rounds),
        )  # fmt: skip
        ratios = {shape: pairs.ratio.median for shape, pairs in result.pairs.items()}
        best = max(ratios.values(), default=0.0)
        print(f"\n{name}: {'earns its place' if best >= GAIN else 'gains less than 5 % anywhere'}")
        for shape, ratio in sorted(ratios.items(), key=lambda item: -item[1]):
            print(f"  {ratio:6.3f}  {shape}", flush=True)
        for shape, reason in result.refused.items():
            print(f"  refused  {shape}: {reason}", flush=True)


def _decided(rounds, pairs, n_benchmarks):
    return len(pairs.base) >= rounds


if __name__ == "__main__":
    main()
