"""Files of arrays: any damage is found, nothing hostile is let in, others can read them."""

import json
import os
import threading
import tracemalloc

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
from safetensors import safe_open

from schuss import tensors
from schuss.tensors import TensorFileError

DOCUMENT = {"format": "test", "format_version": 2, "text": 'été "sha256":"\ud800', "n": [1, 0.5]}
ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3),
    "b": np.array([True, False]),
    "c": np.array(7, np.uint8),
    "d": np.zeros((0, 3), np.float32),
    "e": np.asfortranarray(np.arange(6, dtype=">i2").reshape(3, 2)),
    "f": np.arange(8, dtype=np.float16)[::-2],
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    tensors.write(path, ARRAYS, DOCUMENT)
    return path


def read(path, version=2):
    return tensors.read(path, "test", version)


def test_what_is_written_is_read(path, tmp_path):
    document, arrays = read(path)
    assert document.pop("schuss_version")
    assert document == DOCUMENT and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype.newbyteorder("=")
        assert arrays[name].flags.writeable and arrays[name].flags.owndata
        np.testing.assert_array_equal(arrays[name], array)
    tensors.write(tmp_path / "again", dict(reversed(ARRAYS.items())), DOCUMENT)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_others_read_it(path):
    for name, array in safetensors_numpy.load_file(path).items():
        np.testing.assert_array_equal(array, ARRAYS[name])
    with safe_open(path, framework="numpy") as file:
        assert set(file.metadata()) == {"schuss", "sha256"}


def test_every_changed_byte_is_found(path):
    """Each bit, white space for white space, another digit, another case."""
    content = path.read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for i, byte in enumerate(content):
            others = {byte ^ 1 << bit for bit in range(8)} | set(b"\t\n 01af{}")
            for other in others - {byte}:
                file.seek(i)
                file.write(bytes([other]))
                with pytest.raises(TensorFileError):
                    read(path)
            file.seek(i)
            file.write(bytes([byte]))
    read(path)


def test_every_cut_and_every_growth_is_found(path):
    content = path.read_bytes()
    for more in (b"\0", b" ", content):
        path.write_bytes(content + more)
        with pytest.raises(TensorFileError):
            read(path)
    with open(path, "r+b", buffering=0) as file:
        for size in reversed(range(len(content))):
            file.truncate(size)
            with pytest.raises(TensorFileError):
                read(path)


def test_pipes_are_read_and_cut_ones_refused(path, tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes")
    content, pipe = path.read_bytes(), tmp_path / "pipe"
    os.mkfifo(pipe)
    for sent, whole in ((content, True), (content[:-1], False)):
        writer = threading.Thread(target=pipe.write_bytes, args=(sent,))
        writer.start()
        if whole:
            assert read(pipe)[0]["n"] == [1, 0.5]
        else:
            with pytest.raises(TensorFileError, match="bytes of arrays, expected"):
                read(pipe)
        writer.join()


def test_only_what_the_checksum_confirms_is_parsed(path, monkeypatch):
    monkeypatch.setattr(tensors, "load", lambda content: pytest.fail("parsed"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x55")
    with pytest.raises(TensorFileError, match="checksum does not match"):
        read(path)


# ----- versions -------------------------------------------------------------------------


def raw(path, header, data=b""):
    """A file of this header (text, or what becomes JSON), without a checksum."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def versioned(path, version, **others):
    document = json.dumps({"format": "test", "format_version": version})
    raw(path, {"__metadata__": {"schuss": document, **others}})


def test_versions(tmp_path):
    path = tmp_path / "file"
    versioned(path, 1)
    assert read(path) == ({"format": "test", "format_version": 1}, {})
    versioned(path, 2)
    with pytest.raises(TensorFileError, match="checksum is missing"):
        read(path)
    versioned(path, 3)
    with pytest.raises(TensorFileError, match="format 'test' 3, written by schuss None.*up to 2"):
        read(path)
    for version in (0, -1, True, 1.0, "1", None, [1]):
        versioned(path, version)
        with pytest.raises(TensorFileError, match="up to 2"):
            read(path)
    versioned(path, 1, sha256="")
    with pytest.raises(TensorFileError, match="checksum does not match"):
        read(path)


# ----- hostile files --------------------------------------------------------------------


def entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def header_of(**entries):
    document = json.dumps({"format": "test", "format_version": 1})
    return {"__metadata__": {"schuss": document}, **entries}


def document_of(text):
    return {"__metadata__": {"schuss": text}}


HEADERS = {
    "nested": b"[" * 5000 + b"]" * 5000,
    "nested objects": b'{"a":' * 100_000,
    "nested document": document_of('{"a":' * 5000 + "1" + "}" * 5000),
    "nested list in document": document_of('{"a":' + "[" * 5000 + "]" * 5000 + "}"),
    "nan": document_of('{"format": "test", "format_version": 1, "x": NaN}'),
    "infinity": document_of('{"format": "test", "format_version": 1, "x": -Infinity}'),
    "1e999": document_of('{"format": "test", "format_version": 1, "x": 1e999}'),
    "long number": document_of('{"format": "test", "format_version": ' + "1" * 10_000 + "}"),
    "repeated key": b'{"__metadata__": {}, "__metadata__": {"schuss": "{}"}}',
    "repeated key in document": document_of('{"format": 1, "format": "test", "format_version": 1}'),
    "a list": [],
    "a number": 1,
    "null": None,
    "not utf-8": b'{"\xff": 1}',
    "utf-16": json.dumps(header_of()).encode("utf-16"),
    "no metadata": {},
    "metadata of others": {"__metadata__": {"a": "b" * 100_000}},
    "metadata is a list": {"__metadata__": ["schuss"]},
    "document is a number": document_of(1),
    "document is null": document_of(None),
    "document is a list": document_of("[]"),
    "document is an object": document_of({"format": "test", "format_version": 1}),
    "format is a list": document_of('{"format": [], "format_version": 1}'),
    "checksum is a number": {"__metadata__": {"schuss": "{}", "sha256": 1}},
    "entry is null": header_of(a=None),
    "entry lacks a key": header_of(a={"dtype": "F64", "shape": [1]}),
    "entry has another key": header_of(a={**entry(), "x": 1}),
    "unknown dtype": header_of(a=entry("BF16", (4,))),
    "dtype of numpy": header_of(a=entry("<U500000000")),
    "complex": header_of(a=entry("C64")),
    "dtype is a list": header_of(a=entry(["F64"])),
    "negative size": header_of(a=entry(shape=(-1,))),
    "two negative sizes": header_of(a=entry(shape=(-1, -1))),
    "huge size": header_of(a=entry(shape=(1 << 60,))),
    "huge sizes that wrap": header_of(a=entry(shape=(1 << 32, 1 << 32, 2), offsets=(0, 0))),
    "huge sizes of nothing": header_of(
        a=entry(shape=(0, *[1 << 47] * 7), offsets=(0, 0)), b=entry()
    ),
    "huge offsets": header_of(a=entry(shape=(1 << 40,), offsets=(0, 1 << 43))),
    "boolean size": header_of(a=entry(shape=(True,))),
    "float size": header_of(a=entry(shape=(1.0,))),
    "many dimensions": header_of(a=entry(shape=(1,) * 100_000)),
    "three offsets": header_of(a=entry(offsets=(0, 8, 8))),
    "no list of offsets": header_of(a={**entry(), "data_offsets": 8}),
    "offsets of text": header_of(a=entry(offsets=("0", "8"))),
    "float offsets": header_of(a=entry(offsets=(0.0, 8.0))),
    "long offsets": header_of(a=entry(offsets=(0, 10**4000))),
    "negative offsets": header_of(a=entry(offsets=(-8, 0))),
    "offsets turned": header_of(a=entry(offsets=(8, 0))),
    "overlap": header_of(a=entry(), b=entry()),
    "hole": header_of(a=entry(offsets=(1, 9))),
    "too short": header_of(a=entry(shape=(2,), offsets=(0, 16))),
    "too long": header_of(),
    "hole after a long name": header_of(**{"n" * 100_000: entry(shape=(0,), offsets=(8, 8))}),
    "many arrays": header_of(**{str(i): entry(shape=(0,), offsets=(0, 0)) for i in range(5000)}),
    "no boolean": header_of(a=entry("BOOL", (8,))),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_hostile_headers(tmp_path, header):
    path = tmp_path / "file"
    raw(path, header, b"\2" * 8)
    tracemalloc.start()
    with pytest.raises(TensorFileError) as caught:
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000 and str(caught.value).startswith(str(path))


@pytest.mark.parametrize("size", [0, 1, 9, 1 << 25, (1 << 25) + 1, 1 << 62, (1 << 64) - 1])
def test_hostile_sizes_of_the_header(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(size.to_bytes(8, "little") + b"{}")
    with pytest.raises(TensorFileError, match="not a whole safetensors file"):
        read(path)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "file"
    raw(path, header_of())
    with open(path, "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(TensorFileError, match="bytes, expected"):
        read(path)


def test_what_cannot_be_read_again_is_not_written(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(ValueError, match="5,000 arrays"):
        tensors.write(path, {str(i): np.zeros(0) for i in range(5000)}, DOCUMENT)
    with pytest.raises(ValueError, match="bytes of text"):
        tensors.write(path, {}, {**DOCUMENT, "names": "n" * (1 << 25)})
    with pytest.raises(ValueError, match="header too large|bytes of text"):
        tensors.write(path, {}, {**DOCUMENT, "names": "n" * 100_000_000})
    with pytest.raises(ValueError, match="JSON"):
        tensors.write(path, {}, {**DOCUMENT, "x": float("nan")})
    assert not path.exists()
