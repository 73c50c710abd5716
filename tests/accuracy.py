"""Errors of the scalar formulas, in units in the last place: ``python -m bench accuracy``.

What is measured is what the kernels compute, reached through the contract: sigma and its
logarithm are predictions of one feature with weight 1, log(1 + e^z) and its derivative are
the log-loss of the label 0. sigma' is the derivative of the squared loss where the residual is a
power of two; `flaws` sees that with the label 0, too, it is made of that very number.

The truth for float32 is float64 arithmetic (relative error below 1e-14, which is 1e-7 of a
float32 unit), for float64 it is mpmath.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from schuss.constants import Activation
from schuss.losses import Loss

LIMIT = 2.5

SIGMA = "σ(z)"
SIGMA_DERIVATIVE = "σ'(z)"
LOG_SIGMA = "log σ(z)"
LOSS = "log(1 + e^z)"
LOSS_DERIVATIVE = "d/dz log(1 + e^z)"

# What must come out without any error. At 0 and at infinity, and where e^-|z| is so small
# that the nearest number is 0 or 1.
EXACT = {
    SIGMA: ((0.0, 0.5), (-0.0, 0.5), (1e3, 1), (-1e3, 0), (np.inf, 1), (-np.inf, 0)),
    SIGMA_DERIVATIVE: ((0.0, 0.25), (-0.0, 0.25), (1e3, 0), (-1e3, 0), (np.inf, 0), (-np.inf, 0)),
    LOG_SIGMA: ((1e3, 0), (-1e3, -1e3), (np.inf, 0), (-np.inf, -np.inf)),
    LOSS: ((1e3, 1e3), (-1e3, 0), (np.inf, np.inf), (-np.inf, 0)),
    LOSS_DERIVATIVE: ((0.0, 0.5), (-0.0, 0.5), (1e3, 1), (-1e3, 0), (np.inf, 1), (-np.inf, 0)),
}

# All float32 numbers are 2^32 bit patterns, taken in chunks that fit in a cache.
PATTERNS = 1 << 32
CHUNK = 1 << 17
# A prime: every exponent, sign and low bit has its turn.
STRIDE = 257
POINTS = 40_000
# Bits of mpmath's numbers: those of float64, and as many again.
PRECISION = 120


@dataclass
class Worst:
    """The largest error seen, and the score it was seen at."""

    ulp: float = 0.0
    z: float = np.nan
    inputs: int = 0

    def add(self, z: np.ndarray, errors: np.ndarray) -> None:
        self.inputs += z.size
        if z.size and errors.max() > self.ulp:
            self.ulp, self.z = float(errors.max()), float(z[errors.argmax()])

    def merge(self, other: "Worst") -> None:
        self.inputs += other.inputs
        if other.ulp > self.ulp:
            self.ulp, self.z = other.ulp, other.z


def computed(backend, z: np.ndarray) -> dict[str, np.ndarray]:
    """Each function at the scores, by a backend; its floating-point warnings are errors."""
    # To it a sigma adds nothing.
    far = z.dtype.type(2.0**100)
    with np.errstate(all="raise", under="ignore"):
        sigma = _predicted(backend, z, Activation.LOGISTIC)
        loss, derivative = _pointwise(backend, z, Loss.LOG_LOSS)
        _, moved = _pointwise(backend, z, Loss.SQUARED_ERROR, -far)
        return {
            SIGMA: sigma,
            SIGMA_DERIVATIVE: moved / far,
            LOG_SIGMA: _predicted(backend, z, Activation.LOG_LOGISTIC),
            LOSS: loss,
            LOSS_DERIVATIVE: derivative,
        }


def _predicted(backend, z, activation):
    out = np.empty((z.size, 1), z.dtype)
    weight, intercept = np.ones((1, 1), z.dtype), np.zeros(1, z.dtype)
    backend.predict(backend.prepare(z[:, None]), weight, intercept, activation, out, 1)
    return out[:, 0]


def _pointwise(backend, z, loss, y=0):
    value, derivative = np.empty_like(z), np.empty_like(z)
    backend.pointwise(z, np.full_like(z, y), loss, value, derivative)
    return value, derivative


def expected(
    z: np.ndarray, exp: Callable[[Any], Any] = np.exp, log1p: Callable[[Any], Any] = np.log1p
) -> dict[str, np.ndarray]:
    """The truth, in the arithmetic of `z` and of the two functions.

    No sum here has terms of two signs, so that no digit of it is lost.
    """
    small = exp(-abs(z))
    large, little = 1 / (1 + small), small / (1 + small)
    sigma = np.where(z < 0, little, large)
    rest = log1p(small)
    return {
        SIGMA: sigma,
        SIGMA_DERIVATIVE: large * little,
        LOG_SIGMA: np.minimum(z, 0) - rest,
        LOSS: np.maximum(z, 0) + rest,
        LOSS_DERIVATIVE: sigma,
    }


def expected_by_mpmath(z: np.ndarray) -> dict[str, np.ndarray]:
    """The truth as arrays of mpmath's numbers; within `mpmath.workprec(PRECISION)`."""
    exp, log1p, number = (
        np.frompyfunc(function, 1, 1) for function in (mpmath.exp, mpmath.log1p, mpmath.mpf)
    )
    return expected(number(z.astype(object)), exp, log1p)


def ulps(actual: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Errors in units in the last place of the correctly rounded result.

    Where the truth rounds to an infinity or to no number, everything else is infinitely
    wrong.
    """
    with np.errstate(all="ignore"):
        rounded = truth.astype(np.float64).astype(actual.dtype)
        unit = np.spacing(np.abs(rounded))
        error = np.asarray(abs(actual.astype(truth.dtype) - truth) / unit, np.float64)
    same = (actual == rounded) | (np.isnan(actual) & np.isnan(rounded))
    return np.where(np.isfinite(error), error, np.where(same, 0.0, np.inf))


def errors(backend, z: np.ndarray) -> dict[str, Worst]:
    """The largest error of each function over the scores."""
    found = computed(backend, z)
    if z.dtype == np.float32:
        with np.errstate(under="ignore"):
            return _worst(z, found, expected(z.astype(np.float64)))
    with mpmath.workprec(PRECISION):
        return _worst(z, found, expected_by_mpmath(z))


def _worst(z, found, truth):
    worst = {name: Worst() for name in found}
    for name, row in worst.items():
        row.add(z, ulps(found[name], truth[name]))
    return worst


def flaws(backend, z: np.ndarray) -> list[str]:
    """What is not as it has to be, bit by bit: special values, NaN, and what σ' is made of."""
    real = z.dtype
    found = []
    for name, values in EXACT.items():
        # Alone and in the midst of whole registers, whose lanes have code of their own.
        for (at, value), length in itertools.product(values, (1, 67)):
            actual = computed(backend, np.full(length, at, real))[name]
            if not (actual == real.type(value)).all():
                found.append(f"{real}: {name} at z = {at} is {actual[0]!r}, not {value}")
    for name, actual in computed(backend, np.full(67, np.nan, real)).items():
        if not np.isnan(actual).all():
            found.append(f"{real}: {name} of NaN is not NaN")
    sigma, sigma_derivative = map(computed(backend, z).get, (SIGMA, SIGMA_DERIVATIVE))
    _, derivative = _pointwise(backend, z, Loss.SQUARED_ERROR)
    with np.errstate(under="ignore"):
        other = derivative != sigma * sigma_derivative
    if other.any():
        found.append(
            f"{real}: the squared loss's derivative at z = {z[other][0]} is not σ·σ', "
            "with σ' as it was measured"
        )
    return found


def patterns(start: int, stop: int, stride: int = 1) -> np.ndarray:
    """The float32 numbers, other than NaN, of a range of bit patterns."""
    z = np.arange(start, stop, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return z[~np.isnan(z)]


def every_float(backend, stride: int = 1, n_threads: int = 1) -> Iterator[dict[str, Worst]]:
    """Errors over all float32 numbers, or over each `stride`-th, chunk by chunk."""
    starts = range(0, PATTERNS, CHUNK * stride)

    def chunk(start):
        return errors(backend, patterns(start, min(start + CHUNK * stride, PATTERNS), stride))

    with ThreadPoolExecutor(n_threads) as pool:
        # A few at a time: an interrupt need not wait for all of them.
        for first in range(0, len(starts), 64):
            yield from pool.map(chunk, starts[first : first + 64])


def doubles(count: int = POINTS, seed: int = 0) -> np.ndarray:
    """Scores of type float64: dense where the functions bend, random, and of every size."""
    rng = np.random.default_rng(seed)
    share = count // 4
    sign = rng.choice([-1.0, 1.0], share)
    return np.concatenate(
        [
            np.linspace(-40, 40, share),
            rng.uniform(-40, 40, share),
            # To where e^-|z| is the last subnormal number, and beyond.
            rng.uniform(-750, 750, share),
            sign * 2.0 ** rng.uniform(-1074, 1024, share),
        ]
    )


def total(parts: Iterable[dict[str, Worst]]) -> dict[str, Worst]:
    """The largest errors over several sets of scores."""
    worst: dict[str, Worst] = {}
    for part in parts:
        for name, row in part.items():
            worst.setdefault(name, Worst()).merge(row)
    return worst
