"""Reading tables and turning them into features."""

import gzip
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")
import pyarrow.parquet  # noqa: E402, F401

from schuss import tables  # noqa: E402
from schuss.tables import TableError, TablePreprocessor, locate, read_table, target_values  # noqa: E402


@pytest.fixture
def csv_file(tmp_path):
    def write(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# ----- reading ----------------------------------------------------------------------


def test_kinds_of_columns(csv_file):
    path = csv_file("i,f,t,b,d\n1,1.5,x,true,2013-01-01\n2,,?,False,\n")
    table = read_table(path)
    assert table.to_pydict() == {
        "i": [1, 2],
        "f": [1.5, None],
        "t": ["x", None],
        "b": [True, False],
        "d": ["2013-01-01", None],
    }


def test_numbers_and_text_as_people_write_them(csv_file):
    path = csv_file(" a , b\n 1 , x\n+2, x \n .5e1, NA\n ?,\n")
    table = read_table(path)
    assert table.to_pydict() == {"a": [1.0, 2.0, 5.0, None], "b": ["x", "x", None, None]}


def test_dates_and_times_keep_their_own_text(csv_file):
    path = csv_file("a,b\n2013-01-01T05:00:00Z,5:00\n2013-01-02T05:00:00Z,05:00\n")
    assert read_table(path).column("b").to_pylist() == ["5:00", "05:00"]
    assert read_table(path).column("a").to_pylist()[0] == "2013-01-01T05:00:00Z"


def test_compressed_byte_order_mark_windows_lines_and_quotes(csv_file):
    content = b'\xef\xbb\xbfa,b\r\n1,"x, y"\r\n\r\n2,"two\r\nlines"\r\n'
    expected = {"a": [1, 2], "b": ["x, y", "two\r\nlines"]}
    assert read_table(csv_file(content)).to_pydict() == expected
    # Compression is recognised by content, not by name.
    assert read_table(csv_file(gzip.compress(content), "packed.csv")).to_pydict() == expected


@pytest.mark.parametrize("blank", ["\n", "\r\n", "\n\n\n", "\ufeff\n\n"])
@pytest.mark.parametrize("header", ["a,b\n", '"a\n",b\n', "\na,b\n\n"])
def test_blank_lines_before_the_header(csv_file, blank, header):
    assert read_table(csv_file(blank + header + "1,x\n\n2,y\n")).to_pydict() == {
        "a": [1, 2],
        "b": ["x", "y"],
    }
    with pytest.raises(TableError, match="a header but no rows"):
        read_table(csv_file(blank + header))


def test_lines_that_end_in_a_carriage_return_alone(csv_file):
    path = csv_file('a,b\r1,x\r2,"y\rz"\r')
    assert read_table(path).to_pydict() == {"a": [1, 2], "b": ["x", "y\rz"]}
    with pytest.raises(TableError, match=r"line 3: 3 fields, expected 2"):
        read_table(csv_file("a,b\r1,2\r1,2,3\r"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_break_within_quotes_across_blocks(csv_file, pack):
    """Arrow reads a mebibyte at a time."""
    row, filler = b'1,"A\r\nB"\r\n', b"0,filler\r\n"
    for place in range(len(row) + 1):
        before = (1 << 20) - place
        fillers = (before - len(b"n,t\n")) // len(filler) - 1
        content = b"n,t\n" + filler * fillers
        content += b"0," + b"x" * (before - len(content) - 4) + b"\r\n" + row + filler * 9
        table = read_table(csv_file(pack(content)))
        assert table.num_rows == fillers + 11
        assert table.column("t")[fillers + 1].as_py() == "A\r\nB", place


def test_whole_numbers_beyond_int64(csv_file, tmp_path):
    labels = [2**63, 2**63 + 1, 5]
    unsigned = pa.array(labels, pa.uint64())
    pa.parquet.write_table(pa.table({"x": unsigned, "y": unsigned}), tmp_path / "a.parquet")
    lines = csv_file("x,y\n" + "".join(f"{label},{label}\n" for label in labels))
    for path in (lines, tmp_path / "a.parquet"):
        table = read_table(path, labels=["y"])
        assert table.column("x").to_pylist() == [float(label) for label in labels]
        assert target_values(table, "y")[0].tolist() == [str(label) for label in labels]
        with pytest.raises(TableError, match=r"'x' holds whole numbers beyond 2\*\*53.*--categ"):
            target_values(table, "x")


@pytest.mark.parametrize(("name", "mark"), [("a.tsv", "\t"), ("a.csv", ";")])
def test_delimiters(csv_file, name, mark):
    path = csv_file(f"a{mark}b\n1{mark}2\n", name)
    delimiter = None if name.endswith(".tsv") else mark
    assert read_table(path, delimiter=delimiter).column_names == ["a", "b"]


def test_text_that_begins_after_the_first_block_is_text(csv_file):
    """Types are those of all rows, not of the first megabyte."""
    rows = [f"{i},1" for i in range(200_000)]
    path = csv_file("a,b\n" + "\n".join(rows) + "\nx,1.5\n")
    with pytest.raises(TableError, match=r"data\.csv, line 200002: column 'a' holds 'x'"):
        read_table(path)
    table = read_table(path, text=["a"])
    assert table.column("a")[-1].as_py() == "x"
    assert pa.types.is_floating(table.column("b").type)


def test_parquet_gives_the_same_table(tmp_path):
    table = pa.table(
        {
            "i": pa.array([1, 2], pa.int16()),
            "f": pa.array([1.5, float("nan")], pa.float32()),
            "t": pa.array(["x", "NA"]).dictionary_encode(),
            "b": [True, None],
        }
    )
    path = tmp_path / "data.anything"
    pa.parquet.write_table(table, path)
    assert read_table(path).to_pydict() == {
        "i": [1, 2],
        "f": [1.5, None],
        "t": ["x", None],
        "b": [True, None],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", r"data\.csv, line 3: 3 fields, expected 2 as in the header"),
        ('a,b\n\n"x\ny",2\n1\n', r"line 5: 1 field, expected 2"),
        ('a,b\n1,2\n"3,4\n5,6\n', r"line 3: 1 field, expected 2"),
        ("", r"data\.csv: the file is empty"),
        ("\n\n", r"only blank lines"),
        ("a,b\n", r"a header but no rows"),
        (b"a,b\n1,x\n2,caf\xe9\n", r"line 3: byte 6 is 0xe9, which is not UTF-8"),
        (b"a,b\n1,x\n\xff2,3\n", r"line 3: byte 1 is 0xff, which is not UTF-8"),
        (b"a,caf\xe9\n1,x\n", r"line 1: byte 6 is 0xe9, which is not UTF-8"),
        ("a,b\n1,2".encode("utf-16"), r"line 1: byte 1 is 0xff, .* \(iconv -f utf-16 "),
        (b"PK\x03\x04-\x00\x08\xba\n1,2\n", r"not text; expected a CSV or Parquet file"),
        ("a,b,a\n1,2,3\n", r"line 1: 2 columns are called 'a'"),
        ("a,,c\n1,2,3\n", r"line 1: column 2 of 3 has no name"),
        ("a,b\n1,2\n3,4\nfive,6\n", r"line 4: column 'a' holds 'five', expected a number; 2 of 3"),
        ("a,b\n\n1,2\n3,inf\n", r"line 4: column 'b' holds inf; expected finite numbers"),
        ("a,b\n1,2\n3,1e400\n", r"line 3: column 'b' holds inf"),
        ("a,b\n1,2\n3,-1e200\n", r"line 3: column 'b' holds -1e\+200"),
        (b"PAR1 not really", r"not a whole Parquet file"),
        (gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:30], r"data\.csv: cannot be read"),
    ],
)
def test_faults_are_named_with_file_and_line(csv_file, content, message):
    path = csv_file(content)
    with pytest.raises(TableError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_files_and_folders(tmp_path, csv_file):
    csv_file("a\n1\n", "flights.csv")
    with pytest.raises(TableError, match=r"no such file; did you mean .*flights\.csv"):
        read_table(tmp_path / "flihgts.csv")
    with pytest.raises(TableError, match="a folder; expected a CSV or Parquet file"):
        read_table(tmp_path)


def test_columns_that_must_be_numbers(csv_file):
    path = csv_file("a,b\nx,1\ny,2\n3,3\n")
    assert read_table(path).column("a").to_pylist() == ["x", "y", "3"]
    with pytest.raises(
        TableError, match="line 2: column 'a' holds 'x', expected a number. Correct"
    ):
        read_table(path, numbers=["a"])


def test_locate(csv_file):
    path = csv_file('a,b\n\n1,"x\ny"\n2,z\n')
    assert [locate(path, row) for row in (0, 1)] == [f"{path}, line 3", f"{path}, line 5"]


def test_nested_columns_are_refused(tmp_path):
    path = tmp_path / "nested.parquet"
    pa.parquet.write_table(pa.table({"a": [[1, 2], [3]]}), path)
    with pytest.raises(TableError, match="column 'a' is of type list.* expected numbers or text"):
        read_table(path)


# ----- targets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (["x", None, "y"], ["x", "y"]),
        ([3, 1, None], [3, 1]),
        ([1.0, 0.0, None], [1, 0]),
        ([True, False, None], [1, 0]),
        ([0.25, None, 1.0], [0.25, 1.0]),
    ],
)
def test_target_values(column, values):
    got, rows = target_values(pa.table({"y": column}), "y")
    assert got.tolist() == values
    assert [type(value) for value in got.tolist()] == [type(value) for value in values]
    assert rows.tolist() == [i for i, value in enumerate(column) if value is not None]


def test_target_faults():
    table = pa.table({"Late": [0, 1], "carrier": ["a", "b"], "f": [0.5, 1.5]})
    with pytest.raises(TableError, match=r"no column 'late' .*Did you mean 'Late'\?.*carrier"):
        target_values(table, "late")
    with pytest.raises(TableError, match=r"from 0\.5 to 1\.5; expected classes, or fractions"):
        target_values(table, "f")
    with pytest.raises(TableError, match="has no values"):
        target_values(pa.table({"y": pa.nulls(2, pa.float64())}), "y")
    with pytest.raises(TableError, match="separated by ';': see --delimiter"):
        target_values(pa.table({"a;y": ["1;2"]}), "y")
    many = pa.table({"y": np.arange(tables.MAX_CLASSES + 1)})
    with pytest.raises(TableError, match="1,001 different values, more than 1,000"):
        target_values(many, "y")


# ----- preprocessing ----------------------------------------------------------------


@pytest.fixture
def training():
    return pa.table(
        {
            "x": [1.0, 2.0, 9.0, None],
            "name": ["b", "a", None, "b"],
            "y": [0, 1, 0, 1],
            "flag": [True, False, True, True],
            "same": [7, 7, None, 7],
            "none": pa.nulls(4, pa.float64()),
            "one": ["z", "z", "z", "z"],
        }
    )


def test_features_of_the_training_rows(training):
    preprocessor = TablePreprocessor(target="y")
    X = preprocessor.fit_transform(training)
    names = preprocessor.get_feature_names_out().tolist()
    assert names == ["x", "flag", "name=a", "name=b", "name=(missing)"]
    x = np.array([1, 2, 9, 2.0])
    np.testing.assert_allclose(X[:, 0], (x - x.mean()) / x.std(), rtol=1e-6)
    np.testing.assert_allclose(X[:, 1].mean(), 0, atol=1e-6)
    assert X[:, 2:].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert X.dtype == np.float32 and X.flags.c_contiguous
    assert preprocessor.left_out_ == {
        "same": "one value only",
        "none": "no values",
        "one": "one value only",
    }


def test_other_rows_are_seen_with_the_training_rows_figures(training):
    preprocessor = TablePreprocessor(target="y").fit(training)
    other = pa.table({"more": [1, 2], "name": ["new", "a"], "flag": [1, None], "x": [None, 3.5]})
    with pytest.warns(UserWarning, match="'name': 1 of 2 values are unknown to the model.* 'new'"):
        X = preprocessor.transform(other)
    assert X[0, 2:].tolist() == [0, 0, 0]  # a name that was not there
    assert X[1, 2:].tolist() == [1, 0, 0]
    assert X[1, 0] == 0  # 3.5 is the mean
    assert X[0, 0] == pytest.approx((2.0 - 3.5) / np.std([1, 2, 9, 2]))  # the median
    assert X[1, 1] > 0  # true, the median of flag


@pytest.mark.parametrize(("learnt", "seen"), [("1", "1.0"), ("1.0", "1"), ("1", "+1.00")])
def test_whole_numbers_as_names(learnt, seen):
    table = pa.table({"code": [learnt, "2", None, "x"]})
    preprocessor = TablePreprocessor(categorical=["code"]).fit(table)
    known = preprocessor.transform(table)[0]
    if seen.startswith("+"):
        with pytest.warns(UserWarning, match=r"'code': 1 of 2 values are unknown.*'\+1\.00'"):
            preprocessor.transform(pa.table({"code": [seen, None]}))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            X = preprocessor.transform(pa.table({"code": [seen, None]}))
        np.testing.assert_array_equal(X[0], known)
    # Where both are known they are two names.
    both = pa.table({"code": ["1", "1.0"]})
    assert TablePreprocessor(categorical=["code"]).fit_transform(both).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "is_doubtful"),
    [
        ("{},5", True), ("${}", True), ("{}.50 €", True), ("{} %", True), ("({}.52)", True),
        ("1.{}.000,00", True), ("1'{}.5", True), ("−{}", True), ("{} EUR", True),
        ("A{}", False), ("2013-01-{}", False), ("{}:30", False), ("10.0.0.{}", False),
    ],
)  # fmt: skip
def test_numbers_in_another_notation_are_told(text, is_doubtful):
    table = pa.table({"amount": [text.format(100 + i) for i in range(30)]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TablePreprocessor().fit(table)
        TablePreprocessor(categorical=["amount"]).fit(table)
        TablePreprocessor().fit(table[:20])
    assert len(caught) == is_doubtful
    for warning in caught:
        assert text.format(100) in str(warning.message)
        assert "--categorical amount" in str(warning.message)


def test_missing_columns_are_named(training):
    preprocessor = TablePreprocessor(target="y").fit(training)
    with pytest.raises(TableError, match=r"no column 'x' \(the model needs it\).*Columns: name"):
        preprocessor.transform(training.drop_columns(["x"]))
    with pytest.raises(TableError, match="column 'x' holds 'much', expected a number"):
        preprocessor.transform(training.set_column(0, "x", [["much", "1", "2", "3"]]))


def test_choice_of_columns(training):
    preprocessor = TablePreprocessor("y", features=["y", "x", "name"], drop=["name"]).fit(training)
    assert preprocessor.get_feature_names_out().tolist() == ["x"]
    with pytest.raises(TableError, match=r"no column 'nam' \(a feature\). Did you mean 'name'"):
        TablePreprocessor(features=["nam"]).fit(training)
    with pytest.raises(TableError, match="no column is left to learn from.*same"):
        TablePreprocessor("y", features=["y", "same"]).fit(training)
    preprocessor = TablePreprocessor(features=["x"], categorical=["x"]).fit(training)
    assert preprocessor.categories_ == [["1", "2", "9", None]]


def test_too_many_names_are_refused():
    table = pa.table({"id": [f"n{i}" for i in range(11)]})
    with pytest.raises(
        TableError, match=r"column 'id' has 11 different texts, more than 10.*--drop"
    ):
        TablePreprocessor(max_levels=10).fit(table)
    TablePreprocessor(max_levels=11).fit(table)


@pytest.mark.filterwarnings("ignore:column 'name'. 1 of 2 values are unknown:UserWarning")
def test_wide_matrices_are_sparse_and_equal_to_dense_ones(monkeypatch):
    rng = np.random.default_rng(0)
    names = [f"n{i}" for i in rng.integers(0, 50, 300)]
    table = pa.table({"x": rng.normal(size=300), "name": names})
    preprocessor = TablePreprocessor().fit(table)
    other = pa.table({"x": [0.0, None], "name": ["n1", "new"]})
    matrices = [preprocessor.transform(table), preprocessor.transform(other)]
    assert all(sp.issparse(X) and X.dtype == np.float32 for X in matrices)
    assert matrices[0].indices.dtype == np.int32
    monkeypatch.setattr(tables, "SPARSE_DENSITY", 0)
    for X, rows in zip(matrices, (table, other), strict=True):
        dense = preprocessor.transform(rows)
        assert isinstance(dense, np.ndarray)
        np.testing.assert_array_equal(X.toarray(), dense)


def test_large_numbers_do_not_overflow():
    with np.errstate(all="raise"):
        X = TablePreprocessor().fit_transform(pa.table({"x": [-1e150, 1e150, 0.0]}))
    np.testing.assert_allclose(X.ravel(), [-1.2247449, 1.2247449, 0], rtol=1e-6)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(training, library):
    frames = pytest.importorskip(library)
    columns = {"x": [1.0, 2.0, 9.0, None], "name": ["b", "a", None, "b"]}
    X = TablePreprocessor().fit_transform(frames.DataFrame(columns))
    np.testing.assert_array_equal(
        X, TablePreprocessor(features=["x", "name"]).fit_transform(training)
    )


def test_what_is_no_table_is_refused():
    with pytest.raises(TypeError, match="X is a ndarray; expected a table with named columns"):
        TablePreprocessor().fit(np.ones((2, 2)))


@pytest.mark.parametrize("kind", ["nullable", "sparse", "mixed", "category"])
def test_frames_of_pandas_give_the_features_of_arrays(kind):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    plain = pd.DataFrame({"a": rng.standard_normal(40), "b": rng.integers(0, 9, 40) * 1.0})
    plain["c"] = (rng.random(40) > 0.5) * 1.0
    frame = {
        "nullable": lambda: plain.convert_dtypes(),
        "sparse": lambda: plain.astype(pd.SparseDtype(float)),
        "mixed": lambda: plain.assign(
            b=pd.arrays.SparseArray(plain["b"].to_numpy()), c=plain["c"] == 1
        ),
        "category": lambda: plain.assign(d=pd.Categorical(["x", "y"] * 20)),
    }[kind]()
    found = TablePreprocessor().fit_transform(frame)[:, :3]
    np.testing.assert_allclose(found, TablePreprocessor().fit_transform(plain), atol=1e-6)
