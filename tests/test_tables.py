"""Reading tables and turning them into features."""

import bz2
import gzip
import io
import lzma
import warnings
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import schuss

pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")
import pyarrow.parquet  # noqa: E402, F401

from schuss import tables  # noqa: E402
from schuss.columns import decimal_commas, is_text, plain_table  # noqa: E402
from schuss.tables import (  # noqa: E402
    Reading,
    TableError,
    TablePreprocessor,
    locate,
    read_table,
    target_values,
)


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
    for reading in (Reading(), Reading(delimiter=mark)):
        assert read_table(path, reading=reading).column_names == ["a", "b"]


def _zipped(content, *names):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress, bz2.compress, lzma.compress, lambda content: _zipped(content, "a/data.csv"),
        lambda content: pa.Codec("zstd").compress(content, asbytes=True),
        lambda content: content.decode().encode("utf-16"),
    ],
    ids=["gz", "bz2", "xz", "zip", "zst", "utf-16"],
)  # fmt: skip
def test_packed_files(csv_file, pack):
    path = csv_file(pack("a,b\n1,é\n2,y\n".encode()))
    assert read_table(path).to_pydict() == {"a": [1, 2], "b": ["é", "y"]}
    assert locate(path, 1) == f"{path}, line 3"


def test_archives_of_several_files_are_refused(csv_file):
    for names, words in (
        (("a", "b"), "archive of 2 files"),
        (("[Content_Types].xml",), "workbook"),
    ):
        with pytest.raises(TableError, match=words):
            read_table(csv_file(_zipped(b"a\n1\n", *names)))


def test_encodings(csv_file):
    path = csv_file("a;b\n1;café €\n".encode("cp1252"))
    expected = {"a": [1], "b": ["café €"]}
    assert read_table(path, reading=Reading(encoding="cp1252")).to_pydict() == expected
    with pytest.raises(TableError, match=r"line 2: byte 6 is 0xe9.*--encoding cp1252"):
        read_table(path)
    with pytest.raises(TableError, match=r"cannot be read \('ascii' codec can't decode"):
        read_table(path, reading=Reading(encoding="ascii"))


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("sep=|\na|b\n1|x\n", {"a": [1], "b": ["x"]}),
        ("\n\nSEP=;\na;b\n1,5;x\n", {"a": [1.5], "b": ["x"]}),
        ("Sales of 2013\n\na,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
        ("1,2.5,x\n3,4.5,y\n", {"column1": [1, 3], "column2": [2.5, 4.5], "column3": ["x", "y"]}),
        ("2012,2013,y\n1,2,no\n3,4,yes\n", {"2012": [1, 3], "2013": [2, 4], "y": ["no", "yes"]}),
        ("zip,n\n01067,1\n10115,2\n", {"zip": ["01067", "10115"], "n": [1, 2]}),
        ("a,b\n'x,y',1\n'z',2\n", {"a": ["x,y", "z"], "b": [1, 2]}),
        ("a,b\r\n1,2\n3,4\r\n", {"a": [1, 3], "b": [2, 4]}),
        ("a,b\n-5,-1.5\n0,0.5\n", {"a": [-5, 0], "b": [-1.5, 0.5]}),
        (f"a,b\n{-(2**63)},{2**63}\n{2**63 - 1},7\n",
         {"a": [-(2**63), 2**63 - 1], "b": [2.0**63, 7]}),
        (f"a\n{'9' * 40}\n1\n", {"a": [1e40, 1]}),
        (f"a,b\n{'0' * 25}7,1\n1,2\n", {"a": ["0" * 25 + "7", "1"], "b": [1, 2]}),
        ("a,b\nyes,2013-01-31\nno,2013-02-01\n",
         {"a": ["yes", "no"], "b": ["2013-01-31", "2013-02-01"]}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:column:UserWarning")
@pytest.mark.filterwarnings("ignore:.*data.csv. (no|what stands) :UserWarning")
def test_files_as_people_have_them(csv_file, content, columns):
    path = csv_file(content)
    assert read_table(path).to_pydict() == columns
    *above, _ = content.splitlines()
    assert locate(path, read_table(path).num_rows - 1) == f"{path}, line {len(above) + 1}"


def test_what_is_found_out_is_told(csv_file):
    with pytest.warns(UserWarning, match=r"above the header in line 3 is left out: 'Sales'"):
        read_table(csv_file("Sales\n\na,b\n1,2\n3,4\n"))
    with pytest.warns(UserWarning, match="no header line; the columns are called column1, column2"):
        read_table(csv_file("1,2\n3,4\n"))


def test_rows_that_cannot_be_read(csv_file):
    path = csv_file("a,b\n1,x\n2\n3,y\n4,z,1\n")
    with pytest.raises(
        TableError, match=r"line 3: 1 field, expected 2 .*; 2 such lines: 3, 5\. .*--skip-bad-rows"
    ):
        read_table(path)
    with pytest.warns(UserWarning, match="2 rows that are not 2 fields of text.*: lines 3, 5"):
        table = read_table(path, reading=Reading(skip_bad_rows=True))
    assert table.to_pydict() == {"a": [1, 3], "b": ["x", "y"]}


def test_names_of_files_are_no_patterns(csv_file):
    csv_file("a\n1\n", "a1.csv")
    for name in ("a[1].csv", "a*.csv", "it's.csv"):
        assert read_table(csv_file("b,y\n2,x\n", name)).column_names == ["b", "y"]


def test_too_many_columns(csv_file, monkeypatch):
    monkeypatch.setattr(tables, "MAX_COLUMNS", 3)
    with pytest.raises(TableError, match=r"line 1: 4 columns; expected at most 3"):
        read_table(csv_file("a,b,c,d\n1,2,3,4\n"))


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
        (b"a,b\n1,\x00\xff\n", r"not text; expected a CSV or Parquet file"),
        (b"PK\x03\x04-\x00\x08\xba\n1,2\n", r"cannot be read \(File is not a zip file\)"),
        (b"\xfd7zXZ\0-", r"data\.csv: cannot be read"),
        (b"BZh9-", r"data\.csv: cannot be read"),
        (b"\x28\xb5\x2f\xfd-", r"data\.csv: cannot be read"),
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
    ("text", "value"),
    [
        ("{},5", 100.5), ("${}", 100), ("{}.50 €", 100.5), ("{} %", 1), ("({}.52)", -100.52),
        ("1.{}.000,00", 1_100_000), ("1'{}.5", 1100.5), ("−{}", -100), ("{} EUR", 100),
        ("1,{}", 1100), ("EUR {},5", 100.5), ("-1 {}", -1100), ("12\u202f{}", 12100),
        ("A{}", None), ("2013-01-{}", None), ("{}:30", None), ("10.0.0.{}", None), ("AB{}", None),
        ("{} m²", None), ("7{}A", None), ("1,2,{}", None),
    ],
)  # fmt: skip
def test_numbers_in_another_notation(text, value):
    table = pa.table({"amount": [text.format(100 + i) for i in range(30)] + [None]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain = plain_table(table)
        again = plain_table(table, numbers=["amount"]) if value else None
        assert plain_table(table, text=["amount"]) == table
    assert len(caught) == (value is not None)
    if value is None:
        assert plain == table
    else:
        assert plain.column("amount")[0].as_py() == pytest.approx(value, rel=1e-15)
        assert plain.column("amount")[30].as_py() is None and plain == again
        assert repr(text.format(100)) in str(caught[0].message)
        assert f" as {value:.15g};" in str(caught[0].message)
        assert "--categorical amount" in str(caught[0].message)


@pytest.mark.filterwarnings("ignore:column:UserWarning")
def test_decimal_marks():
    """A column that can be read in both ways is read as the others, or as is said."""
    table = pa.table({"a": ["1,163", "2,500"], "b": ["1,5", "2,25"], "c": ["1.163", "2.250"]})
    assert plain_table(table.select(["a"])).to_pydict() == {"a": [1163, 2500]}
    mixed = plain_table(table)
    assert mixed.to_pydict() == {"a": [1.163, 2.5], "b": [1.5, 2.25], "c": [1.163, 2.25]}
    assert decimal_commas(mixed) == ["a", "b"]
    german = plain_table(table, decimal=",").to_pydict()
    assert german == {"a": [1.163, 2.5], "b": [1.5, 2.25], "c": [1163, 2250]}
    commas = plain_table(table.select(["a"]), numbers=["a"], commas=["a"])
    assert commas.to_pydict() == {"a": [1.163, 2.5]}
    for units in (["$5", "€6"], ["5 %", "6"], ["1,163.5.2", "1"]):
        assert is_text(plain_table(pa.table({"a": units})).column("a").type)


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
    dense_one = TablePreprocessor().fit(table)
    for X, rows in zip(matrices, (table, other), strict=True):
        dense = dense_one.transform(rows)
        assert isinstance(dense, np.ndarray)
        np.testing.assert_array_equal(X.toarray(), dense)


def test_it_is_a_column_transformer_of_scikit_learn(training):
    """Medians, scales and categories are those of scikit-learn's own steps on the same columns."""
    preprocessor = TablePreprocessor(target="y").fit(training)
    assert isinstance(preprocessor, ColumnTransformer)
    numbers = preprocessor.named_transformers_["numbers"]
    x = np.array([[1.0], [2.0], [9.0], [np.nan]])
    peer = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(x)
    assert numbers[0].statistics_[0] == peer[0].statistics_[0] == preprocessor.median_[0]
    assert numbers[1].mean_[0] == peer[1].mean_[0] == preprocessor.mean_[0]
    assert numbers[1].scale_[0] == peer[1].scale_[0] == preprocessor.scale_[0]
    encoder = preprocessor.named_transformers_["categories"]
    assert encoder.categories_[0].tolist() == ["a", "b", None] == preprocessor.categories_[0]
    again = clone(preprocessor)
    assert not hasattr(again, "transformers_") and again.get_params()["target"] == "y"
    np.testing.assert_array_equal(again.fit_transform(training), preprocessor.transform(training))
    # What it computes itself is what the steps give.
    columns = {"x": [1.0, np.nan, 4.5], "flag": [0.0, 1.0, np.nan], "name": ["a", "b", None]}
    steps = ColumnTransformer.transform(preprocessor, pa.table(columns))
    own = preprocessor.transform(pa.table(columns))
    np.testing.assert_array_equal(own, steps)
    for model in (preprocessor, TablePreprocessor()):
        assert "OneHotEncoder" in estimator_html_repr(model)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(training, library):
    frames = pytest.importorskip(library)
    preprocessor = TablePreprocessor(target="y").set_output(transform=library)
    X = preprocessor.fit_transform(training)
    assert isinstance(X, frames.DataFrame)
    assert list(X.columns) == preprocessor.get_feature_names_out().tolist()
    plain = TablePreprocessor(target="y").fit_transform(training)
    np.testing.assert_allclose(X.to_numpy(), plain, rtol=1e-6)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_saved_pipeline_predicts_on_data_frames(training, library, tmp_path):
    table = pa.concat_tables([training] * 10).append_column(
        "price", pa.array([f"{i},{i % 4}" for i in range(40)])
    )
    labels = table.column("y").to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_pipeline(TablePreprocessor(target="y"), schuss.SigmoidClassifier("log_loss"))
        model.fit(table, labels)
    schuss.save(model, tmp_path / "m")
    again = schuss.load(tmp_path / "m")
    assert again[0].decimal_commas_ == ["price"]
    frame = {
        "pandas": lambda: table.to_pandas(),
        "polars": lambda: pytest.importorskip("polars").from_arrow(table),
        "pyarrow": lambda: table,
    }[library]()
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(table))
    np.testing.assert_array_equal(again[0].transform(frame), model[0].transform(table))
    assert again[0].get_feature_names_out().tolist() == model[0].get_feature_names_out().tolist()


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
