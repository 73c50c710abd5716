"""Each special path of the kernels left out, against all of them: ``python -m bench.ablation``.

    python -m bench.ablation                         # every macro of ext/include/switches.h
    python -m bench.ablation PACKED PREFETCH_ROWS    # these
    python -m bench.ablation --rounds 15

Each is a build of its own, of the sources in this folder for this machine's instruction set
(kept in build/ablation). Builds alternate in fresh processes on one thread, and have to return
the same numbers. A path that gains less than 5 % on every shape is to be deleted.
"""

import argparse
import hashlib
import re
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import schuss

SWITCHES = Path("ext", "include", "switches.h")
PREFIX = "SCHUSS_"
GAIN = 1.05
# Elements that a call reads: a few milliseconds.
_ELEMENTS = 10_000_000


def _task(n, d, dtype="float32", order="C", density=None):
    """Rows that are not separable, and labels."""
    rng = np.random.default_rng(0)
    if density is not None:
        X = sp.random_array((n, d), density=density, rng=rng, dtype=dtype).tocsr()
        return X, rng.integers(0, 2, n)
    X = rng.standard_normal((n, d))
    y = X[:, 0] + rng.standard_normal(n) > 0
    if dtype == "uint8":
        X = np.clip(X * 30 + 120, 0, 255)
    return np.asarray(X, dtype, order=order), y


def _train(*shape, **kind):
    task = []

    def call():
        if not task:
            task.extend(_task(*shape, **kind))
        X, y = task
        elements = X.nnz if sp.issparse(X) else X.size
        result = schuss.train(
            X, y, loss="log_loss", learning_rate=1e-3, epochs=max(2, _ELEMENTS // elements),
            tol=0.0, n_jobs=1,
        )  # fmt: skip
        return np.append(result.coef, result.intercept).astype(result.coef.dtype)

    return call


SHAPES = {
    "4x2": (4, 2),
    "100x2": (100, 2),
    "569x30": (569, 30),
    "1797x64": (1797, 64),
    "20000x100": (20_000, 100),
    "100000x2": (100_000, 2),
    "500000x12": (500_000, 12),
    "500000x28": (500_000, 28),
    "100000x100": (100_000, 100),
    "20000x784": (20_000, 784),
}
for _name, _shape in SHAPES.items():
    globals()[f"bench_{_name} float32"] = _train(*_shape)
for _name in ("569x30", "100000x2", "100000x100"):
    globals()[f"bench_{_name} float64"] = _train(*SHAPES[_name], dtype="float64")
for _name in ("20000x100", "500000x12", "20000x784"):
    globals()[f"bench_{_name} float32, Fortran order"] = _train(*SHAPES[_name], order="F")
for _dtype in ("uint8", "float16"):
    globals()[f"bench_20000x784 {_dtype}"] = _train(*SHAPES["20000x784"], dtype=_dtype)
for _dtype in ("float32", "float64"):
    globals()[f"bench_20000x20000 {_dtype}, 50 a row"] = _train(
        20_000, 20_000, dtype=_dtype, density=0.0025
    )


def switches():
    """Names of the macros, without their prefix."""
    found = re.findall(rf"^#define {PREFIX}(\w+) 1$", SWITCHES.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise SystemExit(f"no macros in {SWITCHES}: run this in a checkout of schuss")
    return found


def build(name, cache):
    """A build without the path of this name; None: with all."""
    from schuss.backends.cython_ import ISA
    from schuss.bench import builds

    sources = sorted(path for path in Path("ext").rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*sources, Path("setup.py"))))
    folder = (cache / digest.hexdigest()[:16] / (name or "all")).resolve()
    if not folder.exists():
        print(f"building {f'without {name}' if name else 'with all'} …", flush=True)
        with tempfile.TemporaryDirectory() as source:
            # Not in this folder, whose build/ holds what was compiled with other flags.
            for part in ("src", "ext"):
                ignored = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__")
                shutil.copytree(part, Path(source, part), ignore=ignored)
            for part in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
                shutil.copy(part, source)
            builds.install(
                Path(source), folder, CFLAGS=f"-D{PREFIX}{name}=0" if name else "",
                SCHUSS_BUILD_ISA=ISA.replace("-", "_"),
            )  # fmt: skip
    return folder


def main(arguments=None):
    from schuss.bench.race import Build, race

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", help="macros without SCHUSS_; all by default")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of fresh processes")
    parser.add_argument("--cache", type=Path, default=Path("build", "ablation"))
    options = parser.parse_args(arguments)
    known = switches()
    if unknown := set(options.paths) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    without_all = {name: build(name, options.cache) for name in (None, *(options.paths or known))}
    base = Build("all", folder=without_all.pop(None))
    for name, folder in without_all.items():
        result = race(
            base, Build(f"without {name}", folder=folder), workloads=Path(__file__),
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
