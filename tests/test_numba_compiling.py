"""What the Numba backend keeps on disk."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

from schuss.backends.numba_kernels import compiling

EARLIER = "0123456789abcdef"
SUPERSEDED = (
    f"neuron.predict_{EARLIER}-250.py311.nbi",
    f"neuron.predict_{EARLIER}-250.py311.12.nbc",
    f"descent.gone_since_then_{EARLIER}-3.py313t.1.nbc",
)
OTHERS = (
    f"neuron.predict_{compiling._DIGEST}-250.py311.nbi",
    f"neuron.predict_{compiling._DIGEST}-250.py311.1.nbc",
    "neuron.cpython-311.pyc",
    f"elsewhere.predict_{EARLIER}-250.py311.nbi",
    "neuron.predict-250.py311.nbi",
    f"neuron.predict_{EARLIER}-250.py311.nbi.tmp.00",
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
print(numba_.formulas.pointwise(z.dtype).stats.cache_path)
"""


def test_only_what_compiles_removes(tmp_path):
    def run():
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", COMPILED]
        return subprocess.run(
            command, check=True, timeout=300, capture_output=True, text=True, env=environment
        ).stdout.strip()

    folder = tmp_path / run()
    fill(folder)
    run()
    assert {*SUPERSEDED, *OTHERS} <= {path.name for path in folder.iterdir()}
    for path in folder.glob(f"formulas.pointwise_{compiling._DIGEST}-*"):
        path.unlink()
    run()
    left = {path.name for path in folder.iterdir()}
    assert set(OTHERS) <= left
    assert not left.intersection(SUPERSEDED)
