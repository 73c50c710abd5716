"""Each special path of the kernels left out, against all of them: ``python -m bench.ablation``.

    python -m bench.ablation                         # every macro of ext/include/switches.h
    python -m bench.ablation PACKED PREFETCH_ROWS    # these
    python -m bench.ablation --only sparse --rounds 15

Each is a build of its own, of the commit that is checked out, for this machine's instruction set
(kept in build/ablation). One process loads the kernels of all, which take turns on the same arrays
on one thread, and have to return the same numbers. A path that gains less than 5 % on every shape
is to be deleted.
"""

import argparse
import re
import time
from functools import partial
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import schuss
from schuss import objective
from schuss.backends import cython_
from schuss.bench import builds
from schuss.losses import MULTINOMIAL

SWITCHES = Path("ext", "include", "switches.h")
PREFIX = "SCHUSS_"
GAIN = 1.05
# Elements that a call reads at least, and seconds of the kernels of all builds in a round.
_ELEMENTS = 1_000_000
_SECONDS = 0.3


def _rows(n, d, dtype, order="C"):
    generator = np.random.default_rng(0)
    if dtype == "uint8":
        X = generator.integers(256, size=(n, d), dtype=np.uint8)
    else:
        X = generator.standard_normal((n, d), np.float32).astype(dtype)
    return np.asarray(X, order=order), generator


def _train(n, d, dtype="float32", order="C", **settings):
    X, generator = _rows(n, d, dtype, order)
    return _epochs(X, generator.integers(2, size=n, dtype=np.uint8), X.size, **settings)


def _sparse(n, d, entries, dtype):
    X = sp.random_array((n, d), density=entries / d, format="csr", dtype=dtype, rng=0)
    return _epochs(X, np.arange(n, dtype=np.uint8) % 2, X.nnz, loss="log_loss")


def _epochs(X, y, elements, **settings):
    epochs = min(10_000, max(2, _ELEMENTS // max(elements, 200)))
    rate = 1e-7 if X.dtype == np.uint8 else 1e-3
    settings |= {"learning_rate": rate, "epochs": epochs, "tol": 0.0, "n_jobs": 1}
    return lambda: schuss.train(X, y, **settings).coef


def _softmax(n, d, n_classes):
    X, generator = _rows(n, d, "float32")
    y = generator.integers(n_classes, size=n, dtype=np.uint8)
    weights = np.zeros((n_classes, d), np.float32), np.zeros(n_classes, np.float32)
    gradients = tuple(map(np.empty_like, weights))

    def call():
        data = objective.bind(cython_, X, y, None)
        for _ in range(1 + _ELEMENTS // X.size):
            cython_.gradient(data, MULTINOMIAL.code, *weights, *gradients, 1)
        return gradients[0]

    return call


def shapes():
    """What makes a call of the kernels, by the name of the shape."""
    found = {}
    small = (4, 2), (100, 1), (100, 2), (100, 3), (150, 4), (569, 30), (1797, 64), (2000, 20)
    for n, d in small:
        for dtype in ("float32", "float64"):
            found[f"{n}x{d} {dtype}"] = partial(_train, n, d, dtype)
        found[f"{n}x{d} float32, log-loss"] = partial(_train, n, d, loss="log_loss")
        found[f"{n}x{d} float32, Nesterov"] = partial(_train, n, d, solver="nesterov")
    large = (
        (100_000, 2), (2_000_000, 3), (1_000_000, 10), (500_000, 16), (500_000, 28),
        (20_000, 100), (100_000, 100), (20_000, 784), (50_000, 784),
    )  # fmt: skip
    for n, d in large:
        for dtype in ("float32", "float64"):
            for order in "CF":
                name = f"{n}x{d} {dtype}{', Fortran order' if order == 'F' else ''}"
                found[name] = partial(_train, n, d, dtype, order)
    for dtype in ("uint8", "float16"):
        for n, d in ((20_000, 784), (200_000, 30)):
            found[f"{n}x{d} {dtype}"] = partial(_train, n, d, dtype)
    for dtype in ("float32", "float64"):
        found[f"sparse 50000x10000 {dtype}"] = partial(_sparse, 50_000, 10_000, 60, dtype)
    for n, d, n_classes in ((1797, 64, 10), (50_000, 4, 3), (20_000, 784, 10)):
        found[f"{n}x{d} of {n_classes} classes"] = partial(_softmax, n, d, n_classes)
    return found


def switches():
    """Names of the macros, without their prefix."""
    found = re.findall(rf"^#define {PREFIX}(\w+) 1$", SWITCHES.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise SystemExit(f"no macros in {SWITCHES}: run this in a checkout of schuss")
    return found


def kernels(name, cache):
    """Those of the commit that is checked out without the path of this name; None: with all."""
    flags = f"-D{PREFIX}{name}=0" if name else ""
    print(f"building {flags or 'with all'} …", flush=True)
    isa = cython_.ISA.replace("-", "_")
    build = builds.of_revision(builds.revision(), cache, CFLAGS=flags, SCHUSS_BUILD_ISA=isa)
    modules = []
    for kind in ("single", "double"):
        (path,) = Path(build.folder, "schuss", "_ext", isa).glob(f"{kind}.*")
        full = f"schuss._ext.{isa}.{kind}"
        spec = spec_from_file_location(full, path, loader=ExtensionFileLoader(full, str(path)))
        modules.append(module_from_spec(spec))
        spec.loader.exec_module(modules[-1])
    return modules


def race(call, modules, rounds):
    """Times without each path over those with all: medians of rounds of the shortest times."""
    ratios = {name: [] for name in modules if name}
    for _ in range(rounds):
        seconds = {name: [] for name in modules}
        end, names = time.perf_counter() + _SECONDS, list(modules)
        while len(seconds[None]) < 3 or time.perf_counter() < end:
            results = {}
            for name in names:
                cython_._single, cython_._double = modules[name]
                begin = time.perf_counter()
                results[name] = call().copy()
                seconds[name].append(time.perf_counter() - begin)
            names.append(names.pop(0))
        for name, times in ratios.items():
            most = np.abs(results[None]).max()
            np.testing.assert_allclose(results[name], results[None], rtol=0, atol=1e-3 * most)
            times.append(min(seconds[name]) / min(seconds[None]))
    return {name: float(np.median(times)) for name, times in ratios.items()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", help="macros without SCHUSS_; all by default")
    parser.add_argument("--only", default="", help="shapes whose names match this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("build", "ablation"))
    options = parser.parse_args(arguments)
    known = switches()
    if unknown := set(options.paths) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    modules = {n: kernels(n, options.cache) for n in (None, *(options.paths or known))}
    found = {}
    for shape, make in shapes().items():
        if re.search(options.only, shape):
            found[shape] = race(make(), modules, options.rounds)
            print(shape, *(f"{n} {ratio:.2f}" for n, ratio in found[shape].items()), flush=True)
    for name in filter(None, modules):
        best = sorted(((ratios[name], shape) for shape, ratios in found.items()), reverse=True)[:3]
        told = ", ".join(f"{ratio:.2f} ({shape})" for ratio, shape in best)
        print(f"{name}: {told}" + " – to be deleted" * (not best or best[0][0] < GAIN))


if __name__ == "__main__":
    main()
