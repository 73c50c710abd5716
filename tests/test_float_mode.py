"""Kernels compute by IEEE in any mode of the processor, and leave it as it was."""

import ctypes
import platform
import shutil
import subprocess

import numpy as np
import pytest

import schuss
from schuss.backends import get_backend
from schuss.backends.contract import Data
from schuss.constants import Activation
from schuss.losses import Loss
from tests.conformance import cases
from tests.conftest import load_backend

SOURCES = {
    # Flush to zero, and subnormal operands are zeros; rounding towards zero.
    "x86_64": """
#include <xmmintrin.h>
unsigned int mode(void) { return _mm_getcsr() & 0xE040u; }
void set(unsigned int mode) { _mm_setcsr((_mm_getcsr() & ~0xE040u) | mode); }
""",
    "aarch64": """
unsigned int mode(void) {
    unsigned long m; __asm__ volatile("mrs %0, fpcr" : "=r"(m)); return m & 0x1C00000u; }
void set(unsigned int mode) {
    unsigned long m; __asm__ volatile("mrs %0, fpcr" : "=r"(m));
    __asm__ volatile("msr fpcr, %0" : : "r"((m & ~0x1C00000ul) | mode)); }
""",
}
MODES = {
    "x86_64": {"flush to zero": 0x8040, "round towards zero": 0x6000},
    "aarch64": {"flush to zero": 0x1000000, "round towards zero": 0xC00000},
}
MACHINE = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    """Functions that read and set the mode of this thread."""
    if MACHINE not in SOURCES or shutil.which("gcc") is None:
        pytest.skip("sets the mode of x86-64 and of arm64, with gcc")
    if get_backend() != "cython":
        pytest.skip("NumPy and Numba compute in the mode that they find")
    folder = tmp_path_factory.mktemp("mode")
    (folder / "mode.c").write_text(SOURCES[MACHINE])
    command = ["gcc", "-shared", "-fPIC", "-o", folder / "mode.so", folder / "mode.c"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "mode.so"))


FITS = {
    "first order": lambda X, y: schuss.SigmoidClassifier(max_iter=20).fit(X, y),
    "lbfgs": lambda X, y: schuss.SigmoidClassifier(solver="lbfgs", n_jobs=2).fit(X, y),
    "newton": lambda X, y: schuss.LogisticRegression().fit(X, y),
    "L1": lambda X, y: schuss.LogisticRegression(l1_ratio=1, solver="saga").fit(X, y),
    "SGD": lambda X, y: schuss.SGDClassifier(random_state=0).fit(X, y),
    "network": lambda X, y: schuss.MLPClassifier((5,), max_iter=5, random_state=0).fit(X, y),
    "many": lambda X, y: schuss.fit_many(X, y, groups=np.arange(len(y)) % 3),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
def test_flushing_to_zero_changes_no_fit_and_stays_on(processor, name):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 12)).astype(np.float32)
    y = (X[:, 1] > rng.standard_normal(2000)).astype(int)
    expected, mode = FITS[name](X, y), MODES[MACHINE]["flush to zero"]
    processor.set(mode)
    try:
        found = FITS[name](X, y)
        with pytest.raises(ValueError):
            FITS[name](np.full_like(X, np.nan), y)
        left = processor.mode()
    finally:
        processor.set(0)
    assert left == mode
    for attribute in ("coef", "coef_", "coefs_"):
        if hasattr(expected, attribute):
            np.testing.assert_equal(getattr(found, attribute), getattr(expected, attribute))


@pytest.mark.parametrize("mode", MODES.get(MACHINE, ()))
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_kernels_compute_as_in_the_usual_mode(processor, mode, dtype):
    backend, rng = load_backend("cython"), np.random.default_rng(0)
    X = cases.dense(dtype, 70_000, 9, rng)
    X[:, ::2] *= np.finfo(dtype).tiny
    p = cases.problem(X, (3, True, "real", Loss.LOG_LOSS), rng)
    codes = (rng.random(len(X)) < 0.5).astype(np.uint8)

    def answers():
        # Of two threads, which take the mode of the one that starts them.
        answers = [*cases.gradient(backend, p, 2), cases.predict(backend, p, Activation.LOGISTIC)]
        data = Data(backend.prepare(X), codes, None, 1.0)
        evaluate = backend.information(data, None, True, False, 1e-12, 2)
        gradient, information = np.empty(10), np.empty((10, 10))
        value = evaluate(np.full(10, 2.0), gradient, information)
        return [
            *answers,
            value,
            gradient,
            information,
            backend.take_columns(backend.prepare(X), np.arange(4, dtype=np.int32)).values,
        ]

    expected = answers()
    processor.set(MODES[MACHINE][mode])
    try:
        found, left = answers(), processor.mode()
    finally:
        processor.set(0)
    assert left == MODES[MACHINE][mode]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
