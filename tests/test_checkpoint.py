"""Checkpoint files: any damage is found, older ones go on, strange ones are refused."""

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from schuss import tensors, train

FORMAT = "schuss-checkpoint"
OPTIONS = {"solver": "sgd", "random_state": 0, "batch_size": 4}


@pytest.fixture
def rows():
    X = np.random.default_rng(0).normal(size=(12, 2))
    return X, (X[:, 0] > 0).astype(float)


@pytest.fixture
def path(tmp_path, rows):
    path = tmp_path / "run.ckpt"
    train(*rows, epochs=3, checkpoint=path, **OPTIONS)
    return path


def test_every_changed_byte_and_every_cut_is_found(path, rows):
    content = path.read_bytes()

    def refused():
        with pytest.raises(ValueError, match="is not a checkpoint that schuss.train wrote"):
            train(*rows, epochs=4, checkpoint=path, **OPTIONS)
        with pytest.raises(tensors.TensorFileError):
            tensors.read(path, FORMAT, 2)

    with open(path, "r+b", buffering=0) as file:
        for i, byte in enumerate(content):
            file.seek(i)
            file.write(bytes([byte ^ 1 << i % 8]))
            refused()
            file.seek(i)
            file.write(bytes([byte]))
        train(*rows, epochs=3, checkpoint=path, **OPTIONS)
    path.write_bytes(content)
    with open(path, "r+b", buffering=0) as file:
        for size in reversed(range(len(content))):
            file.truncate(size)
            refused()


def test_checkpoints_of_the_first_version_go_on(path, rows):
    document, arrays = tensors.read(path, FORMAT, 2)
    document["format_version"] = 1
    metadata = {"schuss": json.dumps(document)}
    safetensors_numpy.save_file(arrays, path, metadata=metadata)
    resumed = train(*rows, epochs=9, checkpoint=path, **OPTIONS)
    np.testing.assert_array_equal(resumed.coef, train(*rows, epochs=9, **OPTIONS).coef)
    assert tensors.read(path, FORMAT, 2)[0]["format_version"] == 2


def _array(name, value):
    return lambda arrays, document: arrays.__setitem__(name, np.asarray(value))


def _entry(name, value):
    return lambda arrays, document: document.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_entry("format", "schuss-model"), "format 'schuss-model' 2"),
        (_entry("format_version", 3), "reads 'schuss-checkpoint' up to 2"),
        (_entry("parameters", []), "it lacks something"),
        (_entry("parameters", {}), "belongs to another call: loss was None there"),
        (_entry("generator", 1), "it lacks something"),
        (_entry("generator", None), "its random state"),
        (_entry("generator", {}), "its random state"),
        (_entry("generator", {"bit_generator": "PCG64", "state": {}}), "its random state"),
        (_entry("converged", 1), "it lacks something"),
        (lambda arrays, document: document.pop("converged"), "it lacks something"),
        (lambda arrays, document: document.pop("generator"), "it lacks something"),
        (lambda arrays, document: arrays.pop("slots"), "it lacks something"),
        (_array("more", [1.0]), "it lacks something"),
        (_array("history", np.ones((3, 9))), "it lacks something"),
        (_array("history", 1.0), "it lacks something"),
        (_array("coef", [[np.nan, 1.0]]), "not finite"),
        (_array("counters", [np.nan]), "not finite"),
        (_array("counters", [1.0]), "counters is float64 of shape"),
        (_array("coef", np.ones((1, 3))), "coef is float64 of shape"),
        (_array("first_gradient", [1]), "first_gradient is int64 of shape"),
        (_array("first_gradient", [True]), "first_gradient is bool of shape"),
    ],
)
def test_strange_checkpoints_are_refused(path, rows, change, message):
    document, arrays = tensors.read(path, FORMAT, 2)
    change(arrays, document)
    tensors.write(path, arrays, document)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(*rows, epochs=9, checkpoint=path, **OPTIONS)
    assert path.read_bytes() == before


def test_parameters_of_every_kind_of_number(tmp_path, rows):
    path = tmp_path / "run.ckpt"
    options = {"tol": 1, "alpha": np.float32(0.1), "batch_size": np.int64(4), "solver": "sgd"}
    options |= {"fit_intercept": np.bool_(True), "random_state": 0}
    first = train(*rows, epochs=9, checkpoint=path, **options)
    again = train(*rows, epochs=9, checkpoint=path, **options)
    np.testing.assert_array_equal(first.coef, again.coef)
