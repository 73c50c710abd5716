"""Pictures as rows of pixels: folders of classes, `Images`, and a network for pixels.

Pictures are rows of uint8, which the kernels read as they are: no floating-point copy is made.
"""

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from schuss import threads
from schuss.network import MLPClassifier

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ImportError as error:
    raise ImportError(
        f'schuss.images needs Pillow: pip install "schuss[files]" ({error})'
    ) from error

__all__ = ["ImageError", "Images", "PixelNetwork", "find_pictures", "labelled_pictures"]

# Larger pictures are refused before they are decoded: few bytes may stand for gigabytes.
MAX_PIXELS = 100_000_000

DEFAULT_SIZE = 32

# Mean and standard deviation of evenly distributed bytes.
_MEAN, _DEVIATION = 127.5, 73.9


class ImageError(ValueError):
    """A picture, or a folder of pictures, that cannot be used; says which and why."""


class Labelled(NamedTuple):
    """Pictures with their classes."""

    paths: list[Path]
    labels: np.ndarray  # (n,) str: the names of their folders
    n_others: int  # files that are no pictures


def find_pictures(folder: PathLike[str] | str) -> tuple[list[Path], int]:
    """The pictures in a folder and its sub-folders, sorted, and the number of other files.

    Parameters
    ----------
    folder : str or path-like
        Names that begin with a dot are passed over.
    """
    Image.init()
    files = [
        path for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]  # fmt: skip
    pictures = [path for path in files if path.suffix.lower() in Image.EXTENSION]
    return pictures, len(files) - len(pictures)


def labelled_pictures(folder: PathLike[str] | str, least: int = 2) -> Labelled:
    """The pictures in the sub-folders of a folder, each of which is a class.

    Parameters
    ----------
    folder : str or path-like
    least : int, default=2
        Classes that there must be.

    Raises
    ------
    ImageError
        If there are fewer classes.
    """
    folder = Path(folder)
    paths: list[Path] = []
    labels: list[str] = []
    n_others = 0
    classes = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    for path in classes:
        pictures, others = find_pictures(path)
        paths += pictures
        labels += [path.name] * len(pictures)
        n_others += others
    found = sorted(set(labels))
    if len(found) < least:
        hint = f": {', '.join(found)}" if found else ""
        raise ImageError(
            f"{folder}: a folder with pictures of {len(found)} class"
            + f"{'es' * (len(found) != 1)}{hint}; expected at least {least} sub-folders with "
            "pictures, one for each class, such as cat and dog"
        )
    return Labelled(paths, np.array(labels), n_others)


class Images(TransformerMixin, BaseEstimator):
    """Rows of pixels of pictures of any format, mode and size.

    A picture is turned upright, put on white where it is transparent, cut to a square around its
    middle, and made smaller or larger.

    Parameters
    ----------
    size : int or None, default=None
        Pixels of a side. None: 32, or the smallest side of all pictures in `fit` if it is less.
    colour : bool, default=False
        Red, green and blue of each pixel; by default its grey.

    Attributes
    ----------
    size_ : int
    n_features_out_ : int
        ``size_**2``, three times that in colour.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.images import Images
    >>> picture = np.arange(12, dtype=np.uint8).reshape(3, 4)  # grey: a row, a pixel
    >>> Images(size=3).fit_transform([picture]).shape
    (1, 9)
    """

    def __init__(self, size: int | None = None, colour: bool = False):
        self.size = size
        self.colour = colour

    def fit(self, X: Iterable[Any], y: Any = None) -> Self:
        """Find the size, where it is not given.

        Parameters
        ----------
        X : list
            As in `transform`.
        y : ignored

        Returns
        -------
        self
        """
        if self.size is not None and not (type(self.size) is int and 1 <= self.size <= 1024):
            raise ValueError(f"size={self.size!r}; expected a whole number from 1 to 1024, or None")
        side = self.size
        if side is None:
            side = min([DEFAULT_SIZE, *_each(_shortest_side, _listed(X))])
        self.size_ = int(side)
        self.n_features_out_ = self.size_**2 * (3 if self.colour else 1)
        return self

    def transform(self, X: Iterable[Any]) -> np.ndarray:
        """Pixels of pictures.

        Parameters
        ----------
        X : list
            File names, `PIL.Image.Image`, or uint8 arrays of shape (rows, columns) or (rows,
            columns, 3).

        Returns
        -------
        ndarray of shape (n, n_features_out_), uint8, C order
            Row by row; in colour red, green and blue of each pixel.
        """
        rows = _each(lambda item: _pixels(item, self.size_, self.colour), _listed(X))
        return np.array(rows, dtype=np.uint8).reshape(len(rows), self.n_features_out_)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the pixels, such as ``row 3 column 5``.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects
        """
        channels = (" red", " green", " blue") if self.colour else ("",)
        return np.array(
            [
                f"row {row} column {column}{channel}"
                for row in range(self.size_) for column in range(self.size_) for channel in channels
            ],
            dtype=object,
        )  # fmt: skip


class PixelNetwork(MLPClassifier):
    """`schuss.MLPClassifier` for rows of uint8 pixels, which it reads as they are.

    Its initial weights are those for pixels that have been standardised, as if by
    ``(X - 127.5) / 73.9``. Weights of pixels are smaller than others by two orders of magnitude,
    so a `learning_rate_init` of 3e-5 serves where 1e-3 would.

    Parameters
    ----------
    hidden_layer_sizes, ...
        Those of `schuss.MLPClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.images import PixelNetwork
    >>> X = np.array([[0, 250], [255, 10]] * 20, dtype=np.uint8)
    >>> network = PixelNetwork((4,), solver="lbfgs", random_state=0).fit(X, [0, 1] * 20)
    >>> network.predict(X[:2])
    array([0, 1])
    """

    def _initialize(self, y, layer_units, dtype):
        super()._initialize(y, layer_units, dtype)
        self.coefs_[0] /= dtype.type(_DEVIATION) if isinstance(dtype, np.dtype) else _DEVIATION
        self.intercepts_[0] -= (_MEAN * self.coefs_[0].sum(axis=0)).astype(self.coefs_[0].dtype)


def _listed(X):
    if isinstance(X, str | PathLike):
        raise ValueError(f"X={X!r}: one name; expected a list of pictures")
    return list(X)


def _each(function, items):
    # Filters of warnings belong to the process: threads that set their own undo each other's.
    with (
        warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
        ThreadPoolExecutor(threads.available()) as pool,
    ):
        return list(pool.map(function, items))


def _opened(item):
    """A picture that is not decoded yet, and its name for messages."""
    if isinstance(item, Image.Image):
        return item, "a picture"
    if isinstance(item, np.ndarray):
        if item.dtype != np.uint8 or item.ndim not in (2, 3):
            raise ImageError(f"a picture is {item.dtype} of shape {item.shape}; expected uint8 "
                             "of shape (rows, columns) or (rows, columns, 3)")  # fmt: skip
        return Image.fromarray(item), "a picture"
    name = fspath(item)
    try:
        return Image.open(name), name
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture that Pillow knows, or damaged") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{name}: cannot be read ({error})") from None


def _shortest_side(item):
    image, name = _opened(item)
    with image:
        return min(_checked(image, name).size)


def _checked(image, name):
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width:,} × {height:,} pixels, more than {MAX_PIXELS:,}; refused, as it may "
            "be a decompression bomb. Make it smaller"
        )
    return image


def _pixels(item, size, colour):
    image, name = _opened(item)
    mode = "RGB" if colour else "L"
    with image:
        _checked(image, name)
        try:
            # A JPEG is decoded at a fraction of its size where that is enough.
            image.draft(mode, (2 * size, 2 * size))
            upright = _to_bytes(ImageOps.exif_transpose(image)).convert(mode)
            small = ImageOps.fit(
                upright,
                (size, size),
                Image.Resampling.BOX if min(upright.size) > 4 * size else Image.Resampling.BICUBIC,
            )
        except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
            raise ImageError(f"{name}: broken ({error})") from None
    return np.asarray(small)


def _to_bytes(image):
    """A picture of 8 bits a channel, on white where it is transparent."""
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535 if image.mode != "F" else max(values.max(initial=0), 1e-300)
        return Image.fromarray((np.clip(values / top, 0, 1) * 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image
