"""Pictures: reading folders of them, training on their bytes, predictions of photos."""

import csv
import json
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

import schuss

PIL = pytest.importorskip("PIL")
from PIL import Image  # noqa: E402

from schuss import images  # noqa: E402
from schuss.images import ImageError, Images, PixelNetwork, labelled_pictures  # noqa: E402

RNG = np.random.default_rng(0)


def grey(side=12, level=128):
    return RNG.integers(max(level - 60, 0), min(level + 60, 255), (side, side), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Pictures that are dark above or below, and what else lies in such folders."""
    for name, rows in (("dark", slice(None, 6)), ("light", slice(6, None))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            pixels = grey(12, 170)
            pixels[rows] = grey(12, 80)[rows]
            picture = Image.fromarray(pixels).resize((12 + i, 12 + i))
            picture.save(tmp_path / "pictures" / name / f"{i:02}.{'png' if i % 2 else 'jpg'}")
    (tmp_path / "pictures" / "dark" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "pictures" / ".DS_Store").write_bytes(b"x")
    return tmp_path / "pictures"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV",
                                  "I", "I;16", "F"])  # fmt: skip
@pytest.mark.parametrize("colour", [False, True])
def test_every_mode(mode, colour):
    """A picture half black, half white is that in each mode."""
    half = np.zeros((8, 8), np.uint8)
    half[:, 4:] = 255
    if mode in ("I", "I;16"):
        picture = Image.fromarray(half.astype(np.uint16) * 257)
        picture = picture if mode == "I;16" else picture.convert("I")
    elif mode == "F":
        picture = Image.fromarray(half / np.float32(255))
    else:
        picture = Image.fromarray(half).convert("RGB").convert(mode)
    pixels = Images(size=8, colour=colour).fit_transform([picture])
    assert pixels.dtype == np.uint8 and pixels.shape == (1, 192 if colour else 64)
    shown = pixels.reshape(8, 8, -1)
    assert shown[:, :4].max() <= 2 and shown[:, 4:].min() >= 253


def test_transparency_orientation_and_shape():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert Images(size=2).fit_transform([clear]).min() == 255
    turned = Image.fromarray(np.array([[0, 0], [255, 255]], np.uint8))
    turned.getexif()[0x0112] = 6  # turned by a quarter
    assert Images(size=2).fit_transform([turned]).tolist() == [[255, 0, 255, 0]]
    wide = np.zeros((2, 10), np.uint8)
    wide[:, 4:6] = 255
    assert Images(size=2).fit_transform([wide]).min() == 255  # cut around its middle
    assert Images().fit([grey(9), grey(40)]).size_ == 9 and Images().fit([grey(99)]).size_ == 32
    names = Images(size=2, colour=True).fit([]).get_feature_names_out()
    assert len(names) == 12 and names[3] == "row 0 column 1 red"


def bomb(path, side=60_000):
    """A PNG of some bytes that says it has billions of pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    return path


def test_faults_name_the_picture(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(grey(50)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:900])
    (tmp_path / "text.png").write_text("no picture")
    bomb(tmp_path / "bomb.png")
    bomb(tmp_path / "large.png", 11_000)
    for name, words in {
        "cut.png": "broken", "text.png": "not a picture", "no.png": "no such file",
        "bomb.png": "decompression bomb", "large.png": "decompression bomb",
    }.items():  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageError, match=f"{name}: .*{words}"):
                Images(size=4).fit_transform([whole, tmp_path / name])
    with pytest.raises(ValueError, match="expected a list of pictures"):
        Images(size=4).fit_transform("whole.png")
    with pytest.raises(ImageError, match=r"a picture is float64 of shape \(2, 2\)"):
        Images(size=4).fit_transform([np.ones((2, 2))])
    with pytest.raises(ValueError, match="size=0; expected a whole number"):
        Images(size=0).fit([])


def test_folders(folder, tmp_path):
    paths, labels, n_others = labelled_pictures(folder)
    assert len(paths) == 40 and labels.tolist() == ["dark"] * 20 + ["light"] * 20
    assert n_others == 1
    (tmp_path / "one" / "cat").mkdir(parents=True)
    Image.fromarray(grey()).save(tmp_path / "one" / "cat" / "a.png")
    for name, words in (("one", "1 class: cat; expected at least 2"), ("one/cat", "0 classes")):
        with pytest.raises(ImageError, match=words):
            labelled_pictures(tmp_path / name)


def test_a_network_of_pixels_is_one_of_standardised_pixels():
    """The same function as scikit-learn's initial weights on (X - mean) / deviation."""
    X, y = RNG.integers(0, 256, (50, 9), dtype=np.uint8), np.arange(50) % 2
    network = PixelNetwork((5,), random_state=0, learning_rate_init=1e-12, max_iter=1)
    plain = schuss.MLPClassifier((5,), random_state=0, learning_rate_init=1e-12, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        standardised = ((X - 127.5) / 73.9).astype(np.float32)
        network.fit(X, y)
        plain.fit(standardised, y)
    assert network.coefs_[0].dtype == np.float32
    np.testing.assert_allclose(
        network.predict_proba(X), plain.predict_proba(standardised), atol=1e-5
    )


@pytest.mark.parametrize("hidden", [None, "8", "8,4"])
@pytest.mark.parametrize("colour", [False, True])
def test_train_predict_evaluate(run, folder, hidden, colour):
    options = (["--hidden", hidden] if hidden else []) + ["--colour", "--mirror"] * colour
    result = run("train", folder, *options, "--image-size", 6, "--json", "--out", "m")
    assert result.exit_code == 0, result.output
    assert "1 files that are no pictures" in result.stderr
    report = json.loads(result.stdout)
    assert report["classes"] == ["dark", "light"] and report["features"] == (108 if colour else 36)
    assert report["estimator"] == ("PixelNetwork" if hidden else "SigmoidClassifier")
    assert report["hidden"] == (hidden and [int(n) for n in hidden.split(",")])
    assert report["metrics"]["accuracy"] == 1 and report["rows_held_out"] == 8
    assert report["rows_trained"] == (64 if colour else 32)
    photo = folder / "light" / "03.png"
    shown = list(csv.DictReader(run("predict", "m", photo, folder / "dark").stdout.splitlines()))
    assert len(shown) == 21 and shown[0]["file"] == str(photo)
    assert shown[0]["prediction"] == "light" and float(shown[0]["probability_light"]) > 0.5
    assert {row["prediction"] for row in shown[1:]} == {"dark"}
    scores = json.loads(run("evaluate", "m", folder, "--json").stdout)["metrics"]
    assert scores["accuracy"] == 1
    model = schuss.load("m")
    assert model.predict([photo, grey(9, 170)]).tolist()[0] == "light"
    assert model[0].transform([photo]).dtype == np.uint8


def test_bad_input(run, folder, tmp_path, monkeypatch):
    def refused(result, *words):
        assert result.exit_code == 2 and "Traceback" not in result.output, result.output
        for word in words:
            assert word in " ".join(result.stderr.split()), result.stderr

    refused(run("train", folder / "dark"), "pictures of 0 classes", "expected at least 2")
    refused(run("train", folder, "--target", "y"), "--target is for tables")
    refused(run("train", folder, "--hidden", "8,x"), "'8,x'; expected whole numbers of neurons")
    refused(
        run("train", folder, "--hidden", "8", "--solver", "lbfgs"), "expected adam for a network"
    )
    refused(run("train", folder, "--hidden", "8", "--n-jobs", "2"), "--n-jobs is not for networks")
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    refused(
        run("train", "t.csv", "--target", "y", "--colour"), "--colour is for a folder of pictures"
    )
    assert run("train", folder, "--out", "m", "-q").exit_code == 0
    refused(run("predict", "m", "t.csv"), "t.csv: not a picture")
    refused(run("evaluate", "m", "t.csv"), "t.csv: no folder")
    (tmp_path / "empty").mkdir()
    refused(run("predict", "m", "empty"), "empty: a folder without pictures")
    (folder / "light").rename(folder / "bright")
    refused(run("evaluate", "m", folder), "class 'bright' of the folders' names is unknown")
    bomb(folder / "dark" / "bomb.png")
    refused(run("train", folder), "bomb.png", "decompression bomb")
    assert sorted(os.listdir(tmp_path)) == ["empty", "m", "pictures", "t.csv"]
    assert images.MAX_PIXELS == 100_000_000


def test_networks_of_tables(run):
    rows = "".join(f"{x},{y},{'same' if (x > 4) == (y > 4) else 'other'}\n"
                   for x in range(10) for y in range(10))  # fmt: skip
    Path("xor.csv").write_text("x,y,z\n" + rows)
    arguments = ("train", "xor.csv", "--target", "z", "--json", "--out", "m")
    result = run(*arguments, "--hidden", "32,8", "--learning-rate", "0.01")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["hidden"] == [32, 8] and report["estimator"] == "MLPClassifier"
    assert report["metrics"]["accuracy"] >= 0.9 > 0.7 > json.loads(
        run(*arguments).stdout)["metrics"]["accuracy"]  # fmt: skip
    Path("f.csv").write_text("x,y\n" + "".join(f"{i},{i / 40}\n" for i in range(40)))
    result = run("train", "f.csv", "--target", "y", "--hidden", "3")
    assert result.exit_code == 2 and "needs a target of classes" in result.stderr
