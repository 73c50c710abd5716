"""Checks of input that touch no kernel."""

import tracemalloc

import numpy as np
import pytest

from schuss import validation
from schuss.data import check_features


def test_plain_arrays_pass_as_they_are():
    for dtype in (np.float64, np.float32, np.float16, np.uint8, np.int8):
        for X in (
            np.ones((5, 3), dtype),
            np.ones((5, 3), dtype, order="F"),
            np.ones((9, 3), dtype)[::2],
        ):
            assert check_features(X) is X
    mapped = np.ones((3, 2)).view(np.memmap)
    assert np.shares_memory(check_features(mapped), mapped)


def test_a_sum_that_overflows_is_not_taken_for_infinity():
    X = np.full((4, 2), 1.5e308)
    assert check_features(X) is not None
    half = np.full((4000, 2), 60_000, np.float16)
    assert check_features(half).dtype == np.float16


def test_other_numbers_become_float64():
    assert check_features(np.ones((2, 2), bool)).dtype == np.float64
    assert check_features([[1, 2], [3, 4]]).dtype == np.float64
    assert check_features(np.ones((2, 2), ">f4")).dtype == np.float32
    with pytest.raises(ValueError, match="could not convert string"):
        check_features([["a", "b"]])
    with pytest.raises(ValueError, match="0 feature"):
        check_features(np.ones((3, 0)))


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_labels_by_table_and_by_sort_agree():
    rng = np.random.default_rng(0)
    for low, high in ((0, 2), (-5, 9), (-(10**9), 10**9), (1000, 1400)):
        y = rng.integers(low, high, 500)
        classes, codes = validation.check_labels(y, 500)
        expected, inverse = np.unique(y, return_inverse=True)
        np.testing.assert_array_equal(classes, expected)
        np.testing.assert_array_equal(codes, inverse)
        assert codes.dtype == (np.uint8 if len(classes) <= 256 else np.int32)
        again = validation.check_labels(y[::-1], 500, classes)[1]
        np.testing.assert_array_equal(again, inverse[::-1])


def test_weights_are_scaled_without_losing_a_digit():
    X = np.zeros((3, 1))

    def scaled(weights, dtype=np.float64):
        return validation.scale_weights(validation.check_weights(weights, X), dtype)

    weights = np.array([3.0, 0.0, 0.7])
    found, exponent = scaled(weights)
    assert 1 <= found.max() < 2
    np.testing.assert_array_equal(np.ldexp(found, -exponent), weights)
    assert scaled(None) == (None, 0)
    assert 1 <= scaled(weights * 1e300, np.float32)[0].max() < 2
    assert scaled([5e-324, 0, 0], np.float32)[0].max() == 1
    np.testing.assert_array_equal(scaled(np.ones(3))[0], 1)


def test_environment_names_the_variable(monkeypatch):
    choices = ("auto", "one")
    monkeypatch.setenv("SCHUSS_X", "two")
    with pytest.raises(ValueError, match="SCHUSS_X='two' is unknown; choose one of auto, one"):
        validation.environment_choice("SCHUSS_X", choices)
    monkeypatch.setenv("SCHUSS_X", "")
    assert validation.environment_choice("SCHUSS_X", choices) == "auto"


INTEGERS = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)]


@pytest.mark.parametrize("dtype", [*INTEGERS, ">i4", ">u8"])
def test_labels_at_the_ends_of_their_type(dtype):
    dtype = np.dtype(dtype)
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    for labels in ([low, low + 1, low + 5], [high - 7, high - 1, high], [low, high]):
        # More than one block of rows.
        y = np.array(labels, dtype)[np.arange(150_001) % len(labels)]
        classes, codes = validation.check_labels(y, len(y))
        assert classes.tolist() == labels and classes.dtype == dtype and codes.dtype == np.uint8
        np.testing.assert_array_equal(codes, np.arange(len(y)) % len(labels))
        np.testing.assert_array_equal(validation.check_labels(y, len(y), classes)[1], codes)


def test_labels_beyond_int64_are_told_apart():
    classes = np.array([2**63, 2**63 + 1, 2**64 - 1], np.uint64)
    codes = validation.check_labels(classes[::-1], 3, classes)[1]
    assert codes.tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match=f"not among the classes: {2**63 + 2}; expected"):
        validation.check_labels(np.array([2**63 + 2], np.uint64), 1, classes)
    with pytest.raises(ValueError, match="not among the classes: -1, 5; expected"):
        validation.check_labels(np.array([5, -1, 5]), 3, classes)
    wide = np.array([3, 2**62 + 1], np.uint64)
    assert validation.check_labels(np.array([2**62 + 1]), 1, wide)[1].tolist() == [1]
    with pytest.raises(ValueError, match="not among the classes"):
        validation.check_labels(np.array([2**62]), 1, wide)


def test_codes_take_a_byte_a_row():
    y = np.random.default_rng(0).integers(0, 3, 1_000_000).astype(np.uint8)
    for classes in (None, np.array([0, 1, 2])):
        tracemalloc.start()
        validation.check_labels(y, len(y), classes)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * len(y)


@pytest.mark.parametrize(
    ("labels", "types"),
    [
        ([1, 0], "int"),
        ([True, False], "bool"),
        ([1, "a"], "int, str"),
        ([b"a", b"b"], "bytes"),
    ],
)
def test_objects_that_are_no_text_are_refused(labels, types):
    y = np.array(labels, dtype=object)
    for classes in (None, np.array(["a", "b"], dtype=object)):
        with pytest.raises(ValueError, match=f"^y has dtype object and holds {types}: Unknown lab"):
            validation.check_labels(y, 2, classes)
    assert validation.check_labels(np.array(["b", "a"], object), 2)[1].tolist() == [1, 0]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_labels_are_refused(missing):
    with pytest.raises(ValueError, match="^y has missing labels: .* first in row 1"):
        validation.check_labels(np.array(["a", missing], dtype=object), 2)
