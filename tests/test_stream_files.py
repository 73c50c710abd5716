"""Streams of files and Arrow data: the rows that are in them, and errors that name them."""

import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file
from sklearn.feature_extraction import FeatureHasher
from sklearn.utils import murmurhash3_32

from schuss import LogisticRegression, SGDClassifier, Stream, train
from schuss.hashing import murmur3

N = 4000


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(2, N)).astype(np.float32)
    c = generator.choice(["red", "green", "blue, dark"], N)
    y = np.where(a - b + (c == "red") > generator.normal(size=N), "late", "early")
    return pa.table({"a": a, "b": b, "c": c, "n": generator.integers(0, 9, N), "y": y})


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """The table in files of every kind."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "parts").mkdir()
    for i in range(4):
        part = table.slice(i * N // 4, N // 4)
        pq.write_table(part, folder / "parts" / f"{i}.parquet", row_group_size=300)
    pq.write_table(table, folder / "whole.parquet")
    pa.csv.write_csv(table, folder / "whole.csv")
    pa.feather.write_feather(table, folder / "whole.arrow", compression="uncompressed")
    return folder


def rows_of(stream):
    X, y, _ = zip(*stream, strict=True)
    stack = sp.vstack if sp.issparse(X[0]) else np.concatenate
    return stack(X), np.concatenate(y)


def test_every_source_gives_the_same_blocks(table, folder):
    options = {"target": "y", "features": ["a", "b", "n"], "block_rows": 900}
    expected = np.column_stack([table[name].to_numpy() for name in ("a", "b", "n")])
    models = []
    for source in (
        folder / "whole.parquet",
        str(folder / "parts"),
        str(folder / "parts" / "*.parquet"),
        [folder / "parts" / f"{i}.parquet" for i in range(4)],
        folder / "whole.csv",
        folder / "whole.arrow",
        table,
        pa.dataset.dataset(folder / "parts"),
        lambda: table.to_reader(max_chunksize=333),
    ):
        stream = Stream(source, **options)
        X, y = rows_of(stream)
        np.testing.assert_array_equal(X, expected.astype(np.float32))
        np.testing.assert_array_equal(y, table["y"].to_numpy())
        assert [len(part) for part, _, _ in stream] == [900, 900, 900, 900, 400]
        models.append(LogisticRegression().fit(stream))
        assert models[-1].feature_names_in_.tolist() == ["a", "b", "n"]
    in_memory = Stream(X, y, block_rows=900)
    models.append(LogisticRegression().fit(in_memory))
    for model in models[1:]:
        assert (model.coef_ == models[0].coef_).all()


def test_text_by_dictionary(table, folder):
    X, _ = rows_of(Stream(folder / "whole.parquet", target="y", drop=["n"]))
    c = np.asarray(table["c"].to_pylist())
    expected = np.column_stack(
        [table["a"], table["b"], *(c == level for level in ("blue, dark", "green", "red"))]
    )
    np.testing.assert_array_equal(X.toarray(), expected.astype(np.float32))
    with pytest.raises(ValueError, match="'c' has more than 2 different values"):
        Stream(folder / "whole.parquet", target="y", max_levels=2)


def test_text_by_hashing(table, folder):
    stream = Stream(
        folder / "whole.parquet", target="y", categories="hash", n_hashed=32, block_rows=700
    )
    X, y = rows_of(stream)
    rows = table.drop_columns("y").to_pylist()
    np.testing.assert_allclose(X.toarray(), FeatureHasher(32).transform(rows).toarray(), atol=1e-6)
    options = {"shuffle": False, "max_iter": 3, "tol": None, "learning_rate": "constant"}
    here, there = SGDClassifier(**options).fit(stream), SGDClassifier(**options).fit(X, y)
    np.testing.assert_allclose(here.coef_, there.coef_, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prefix", [b"", b"c", b"colour=", b"abcd"])
def test_murmur3_is_that_of_one_string(prefix):
    words = [b"", b"a", b"ab", b"abc", b"abcd", b"abcde", "grün".encode(), b"\0\0", b"x" * 37]
    offsets = np.cumsum([0, *map(len, words)])
    hashes = murmur3(np.frombuffer(b"".join(words), np.uint8), offsets, prefix)
    assert hashes.tolist() == [murmurhash3_32(prefix + word, 0) for word in words]


def test_missing_numbers_scales_and_weights(tmp_path):
    a = np.array([1.0, 2.0, np.nan, 10.0, 4.0, 8.0])
    w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    data = pa.table({
        "a": pa.array([None if np.isnan(x) else x for x in a]), "b": [5, 5, 7, 7, 9, 9],
        "y": pa.array([0, 1, 0, 1, None, 1]), "w": w,
    })  # fmt: skip
    pq.write_table(data, tmp_path / "t.parquet")
    ((X, y, weights),) = Stream(tmp_path / "t.parquet", target="y", weight="w", dtype="float64")
    assert X[:, 0].tolist() == [1, 2, 5, 10, 8] and y.tolist() == [0, 1, 0, 1, 1]
    assert weights.tolist() == [1, 2, 3, 4, 6]
    ((X, _, _),) = Stream(tmp_path / "t.parquet", target="y", drop=["w", "a"], scale=True)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(X.std(axis=0), 1, rtol=1e-6)


def test_libsvm(tmp_path):
    generator = np.random.default_rng(1)
    X = sp.random(500, 40, 0.2, format="csr", random_state=1, dtype=np.float64)
    y = generator.integers(0, 2, 500)
    dump_svmlight_file(X, y, str(tmp_path / "t.svm"), zero_based=False)
    stream = Stream(tmp_path / "t.svm", dtype="float64", block_rows=120, n_features=40)
    here, labels = rows_of(stream)
    np.testing.assert_allclose(here.toarray(), X.toarray(), rtol=1e-12)
    assert (labels == y).all()
    model, there = LogisticRegression(tol=1e-8), LogisticRegression(tol=1e-8)
    np.testing.assert_allclose(model.fit(stream).coef_, there.fit(X, y).coef_, atol=1e-6)
    for line, shown in (("1 3:1 2:5", "3:1 2:5"), ("1 0:4", "0:4"), ("1 2:x", "2:x"), ("a", "'a'")):
        (tmp_path / "bad.svm").write_text(f"0 1:1 4:2\n{line}\n")
        with pytest.raises(ValueError, match=f"bad.svm, line 2: .*{shown}"):
            Stream(tmp_path / "bad.svm")


def test_files_that_change_vanish_or_are_cut(table, tmp_path):
    path = tmp_path / "t.parquet"

    def stream():
        pq.write_table(table, path)
        return Stream(path, target="y", features=["a", "b"])

    changed = stream()
    pq.write_table(table.slice(0, 100), path)
    with pytest.raises(ValueError, match="t.parquet: changed between two passes"):
        LogisticRegression().fit(changed)
    gone = stream()
    os.remove(path)
    with pytest.raises(OSError, match="t.parquet: vanished between two passes"):
        LogisticRegression().fit(gone)
    stream()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="t.parquet: not a whole Parquet file"):
        Stream(path, target="y")
    between = stream()
    epochs = []

    def touch(info):
        epochs.append(info.n_iter)
        os.utime(path, (1, 1))

    touch.every = 1
    with pytest.raises(ValueError, match="t.parquet: changed"):
        LogisticRegression(tol=1e-9).fit(between, callbacks=[touch])
    assert epochs


def test_bad_tables(table, folder, tmp_path):
    path = folder / "whole.parquet"
    with pytest.raises(FileNotFoundError, match="nothing.parquet: no such file"):
        Stream(tmp_path / "nothing.parquet", target="y")
    with pytest.raises(FileNotFoundError, match="the folder holds no CSV"):
        Stream(tmp_path, target="y")
    with pytest.raises(ValueError, match="which column is the target"):
        Stream(path)
    with pytest.raises(ValueError, match="no column 'z', expected one of 'a', 'b'"):
        Stream(path, target="z")
    with pytest.raises(ValueError, match="categories='onehot': expected"):
        Stream(path, target="y", categories="onehot")
    with pytest.raises(TypeError, match="RecordBatchReader can be read only once"):
        Stream(table.to_reader(), target="y")
    with pytest.raises(ValueError, match="target='y' goes with a table"):
        Stream([(np.eye(2), [0, 1])], target="y")
    with pytest.raises(ValueError, match="of several formats"):
        Stream([path, folder / "whole.csv"], target="y")
    with pytest.raises(ValueError, match="dtype='int8'"):
        Stream(path, target="y", dtype="int8")
    days = table.append_column("d", pa.array([0] * N, pa.date32()))
    with pytest.raises(ValueError, match="'d' is of type DATE, expected numbers or text"):
        Stream(days, target="y")
    with pytest.raises(ValueError, match="real numbers|could not convert"):
        train(Stream(path, target="y", features=["a"]))


def test_no_warnings_and_no_files_left_open(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = Stream(folder / "whole.parquet", target="y", drop=["c"])
        SGDClassifier(max_iter=2, tol=None).fit(stream)
        # A pass that ends early ends its thread, too.
        next(iter(stream))


@pytest.mark.parametrize("categories", ["hash", None])
def test_cached_blocks_are_the_same(folder, tmp_path, categories):
    options = {"drop": ["c"]} if categories is None else {"categories": "hash", "n_hashed": 50}
    stream = Stream(folder / "whole.parquet", target="y", block_rows=900, **options)
    cached = stream.cached(tmp_path / "cache")
    models = [
        LogisticRegression().fit(source) for source in (stream, cached, Stream(tmp_path / "cache"))
    ]
    for model in models[1:]:
        assert (model.coef_ == models[0].coef_).all()
    assert cached.feature_names == stream.feature_names
    with pytest.raises(FileExistsError, match="the folder is not empty"):
        stream.cached(tmp_path / "cache")
    (tmp_path / "cache" / "1.y.npy").unlink()
    with pytest.raises(OSError, match="1.y.npy"):
        LogisticRegression().fit(Stream(tmp_path / "cache"))
    (tmp_path / "cache" / "blocks.json").write_text("{}")
    with pytest.raises(ValueError, match="blocks.json: not an index of blocks"):
        Stream(tmp_path / "cache")
