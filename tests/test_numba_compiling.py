"""What the Numba backend keeps on disk."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

from schuss.backends.numba_kernels import compiling

EARLIER = "0123456789abcdef"
SUPERSEDED = (
    f"predict.predict_{EARLIER}-250.py311.nbi",
    f"predict.predict_{EARLIER}-250.py311.12.nbc",
    f"descend.gone_since_then_{EARLIER}-3.py313t.1.nbc",
)
OTHERS = (
    f"predict.predict_{compiling._DIGEST}-250.py311.nbi",
    f"predict.predict_{compiling._DIGEST}-250.py311.1.nbc",
    "predict.cpython-311.pyc",
    f"elsewhere.predict_{EARLIER}-250.py311.nbi",
    "predict.predict-250.py311.nbi",
    f"predict.predict_{EARLIER}-250.py311.nbi.tmp.00",
)


def fill(folder):
    for name in (*SUPERSEDED, *OTHERS):
        (folder / name).touch()


def test_superseded_code_is_removed_and_nothing_else(tmp_path):
    fill(tmp_path)
    compiling._remove_superseded(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(OTHERS)


def test_what_cannot_be_removed_stays(tmp_path):
    # A folder cannot be unlinked, whoever runs this.
    (tmp_path / SUPERSEDED[0]).mkdir()
    compiling._remove_superseded(tmp_path)
    assert (tmp_path / SUPERSEDED[0]).exists()
    compiling._remove_superseded(tmp_path / "nowhere")


COMPILED = """
import numpy as np
from schuss.backends import numba_
z = np.zeros(3)
numba_.pointwise(z, z, 0, z.copy(), z.copy())
"""


def test_only_what_compiles_removes(tmp_path):
    def run():
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", COMPILED]
        subprocess.run(command, check=True, timeout=300, env=environment)

    run()
    compiled = f"pointwise.pointwise_{compiling._DIGEST}-*"
    folder = next(tmp_path.rglob(compiled)).parent
    fill(folder)
    run()
    assert {*SUPERSEDED, *OTHERS} <= {path.name for path in folder.iterdir()}
    for path in folder.glob(compiled):
        path.unlink()
    run()
    left = {path.name for path in folder.iterdir()}
    assert set(OTHERS) <= left
    assert not left.intersection(SUPERSEDED)


PLAIN = """
import numpy as np
from schuss.backends import numba_, numpy_
from schuss.backends.contract import Data
X = np.random.default_rng(0).standard_normal((5, 2))
y, coef, intercept = np.array([0, 1, 1, 0, 1], np.uint8), np.ones((1, 2)), np.ones(1)
for backend in (numba_, numpy_):
    grad = np.empty((1, 2)), np.empty(1)
    value = backend.gradient(
        Data(backend.prepare(X), y, None, 0.2), 0, coef, intercept, *grad, 1
    )
    print([round(float(number), 12) for number in (value, *grad[0][0], *grad[1])])
"""


def test_the_kernels_are_plain_python_too():
    """For debuggers and coverage."""
    output = subprocess.run(
        [sys.executable, "-c", PLAIN], check=True, timeout=300, capture_output=True, text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    ).stdout.splitlines()  # fmt: skip
    assert len(output) == 2 and output[0] == output[1]
