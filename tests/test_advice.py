"""Notes on columns that a user should know about before training."""

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from schuss.advice import column_notes  # noqa: E402

N = 100
RNG = np.random.default_rng(0)
CLASS = RNG.integers(0, 3, N)
SHARE = RNG.random(N)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("x", np.arange(N) + 7, "numbers the rows"),
        ("user_id", RNG.permutation(10**6)[:N], "another whole number in each row"),
        ("amount", RNG.permutation(10**6)[:N], None),
        ("id", np.repeat(np.arange(N // 2), 2), None),
        ("code", [f"n{i}" for i in range(N)], "100 different texts"),
        ("day", [f"2013-01-{1 + i % 28:02}" for i in range(N)], "holds dates such as '2013-01-01'"),
        ("day", [f"{1 + i % 28}.1.2013 7:05" for i in range(N)], "holds dates"),
        ("version", [f"1.{i % 20}.3" for i in range(N)], None),
        ("late", 10 * CLASS + RNG.random(N), "alone tells the target"),
        ("overlap", 10 * CLASS + 11 * RNG.random(N), None),
        ("code", [f"{'abc'[c]}{i % 2}" for i, c in enumerate(CLASS)], "alone tells the target"),
        ("name", [f"{'abc'[c]}{i % 40}" for i, c in enumerate(CLASS)], None),
        ("noise", RNG.normal(size=N), None),
        ("few", [1.0] * 9 + [None] * (N - 9), None),
    ],
)
def test_columns(name, values, words):
    table = pa.table({name: values})
    notes = column_notes(table, [name], CLASS)
    assert len(notes) == (words is not None)
    assert not words or words in notes[0] and notes[0].endswith(f"leave it out (--drop {name})")
    assert not column_notes(table[:40], [name], CLASS[:40])


def test_fractions():
    table = pa.table({"per_cent": 100 * SHARE + 1, "other": SHARE**2, "same": np.ones(N)})
    notes = column_notes(table, table.column_names, SHARE)
    assert len(notes) == 1 and "'per_cent' alone tells the target" in notes[0]
