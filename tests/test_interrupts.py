"""Ctrl-C ends what takes long, and memory is reserved for what is needed."""

import subprocess
import sys

import numpy as np
import pytest

interrupts = pytest.importorskip("tests.interrupts", reason="run from the root of the checkout")
kernels = pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)


@pytest.mark.slow
@pytest.mark.parametrize("name", interrupts.PHASES)
def test_ctrl_c_ends(monkeypatch, name):
    """Each call takes seconds at least on a machine that does nothing else."""
    monkeypatch.setenv("SCHUSS_BACKEND", "cython")
    seconds, word = interrupts.latency(name, after=0.5, timeout=60)
    assert word == "interrupted"
    assert seconds < 60


PREDICTION = """
import resource
import numpy as np
from schuss.backends import cython_ as kernels
from schuss.constants import Activation
K, d = 1000, {d}
coef, out = np.zeros((K, d)), np.empty((1, K))
X = kernels.prepare(np.zeros((1, d)))
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int({limit} * coef.nbytes),) * 2)
try:
    print(kernels.predict(X, coef, np.zeros(K), Activation.IDENTITY, out, 1))
except MemoryError as error:
    print(error)
"""


def _said(**numbers):
    command = [sys.executable, "-c", PREDICTION.format(**numbers)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")
def test_a_prediction_reserves_no_gradients():
    """Weights twice, as they are given and as rows meet them: 66 times were reserved."""
    assert _said(d=8192, limit=2.1) == "True\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")
def test_memory_that_is_not_to_be_had_is_told():
    text = _said(d=32768, limit=0)
    assert text.startswith("Unable to allocate ")
    assert "the weights of 1000 x 32768" in text


def test_partial_gradients_of_many_large_neurons_are_few():
    """The same bits as with one thread, where their memory bounds the number of chunks."""
    from schuss.backends.contract import Data
    from schuss.losses import Loss

    rng = np.random.default_rng(0)
    n, d, k = 300, 40_000, 40
    X = rng.standard_normal((n, d), dtype=np.float32)
    data = Data(kernels.prepare(X), (np.arange(n) % k).astype(np.uint8), None, 1 / n)
    coef, intercept = np.zeros((k, d), np.float32), np.zeros(k, np.float32)
    found = []
    for n_threads in (1, 2, 5):
        grad = np.empty_like(coef), np.empty_like(intercept)
        kernels.gradient(data, Loss.LOG_LOSS, coef, intercept, *grad, n_threads)
        found.append(grad[0])
    slope = 0.5 - (np.arange(k)[:, None] == np.arange(n) % k)
    np.testing.assert_allclose(found[0], slope @ X / n, atol=1e-5)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
