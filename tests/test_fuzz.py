"""Each input that the fuzzer kept is read once; `tests.fuzz` looks for others."""

import warnings

import pytest

from tests import fuzz

SEEDS = [(target, path) for target in fuzz.TARGETS for path in fuzz.seeds(target)]


def test_there_are_inputs():
    assert {target for target, _ in SEEDS} == set(fuzz.TARGETS)


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_kept_inputs_and_their_cuts(target):
    if target == "table":
        pytest.importorskip("duckdb")
    one = fuzz.TARGETS[target]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, path in SEEDS:
            if kind == target:
                content = path.read_bytes()
                for part in (content, content[: len(content) // 2], content[1:]):
                    one(part)
