"""Blocks of a `Stream` in files of their own, from which later passes are mapped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from schuss import __version__
from schuss.data import Rows
from schuss.files import write_whole
from schuss.stream_paths import Watched

_INDEX = "blocks.json"
_FORMAT = "schuss.blocks"


def write(folder: Path, stream: Any) -> None:
    """Write the blocks of a stream to a folder; the index, which makes them whole, last."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(
            f"{folder}: the folder is not empty. Give a new one, or read the blocks that it holds "
            "by Stream(folder)."
        )
    n_columns, sparse, count, weighted = 0, False, 0, False
    for count, (X, y, weights) in enumerate(stream, start=1):
        n_columns, sparse, weighted = X.shape[1], sp.issparse(X), weights is not None
        parts = {"data": X.data, "indices": X.indices, "indptr": X.indptr} if sparse else {"X": X}
        y = np.asarray(y)
        parts["y"] = y.astype(str) if y.dtype == object else y
        if weighted:
            parts["weights"] = weights
        for name, values in parts.items():
            np.save(folder / f"{count - 1}.{name}.npy", values, allow_pickle=False)
    index = {
        "format": _FORMAT, "version": __version__, "blocks": count, "features": n_columns,
        "sparse": sparse, "weighted": weighted, "names": stream.feature_names,
    }  # fmt: skip
    with write_whole(folder / _INDEX) as file:
        file.write(json.dumps(index).encode())


def is_cache(path: Path) -> bool:
    """Whether a folder holds what `write` wrote."""
    return (path / _INDEX).is_file()


class Cache:
    """Blocks that `write` wrote."""

    def __init__(self, folder: Path):
        self._folder = folder
        try:
            index = json.loads((folder / _INDEX).read_bytes())
            if index["format"] != _FORMAT:
                raise ValueError(f"its format is {index['format']!r}")
            self._n, self._d = int(index["blocks"]), int(index["features"])
            names = ["data", "indices", "indptr"] if index["sparse"] else ["X"]
            self._names = [*names, "y", *(["weights"] if index["weighted"] else [])]
            self._sparse, self.feature_names = bool(index["sparse"]), index["names"]
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{folder / _INDEX}: not an index of blocks ({error})") from None
        self._files = Watched(
            [folder / f"{i}.{name}.npy" for i in range(self._n) for name in self._names]
        )

    def blocks(self):
        self._files.check()
        for i in range(self._n):
            paths = {name: self._folder / f"{i}.{name}.npy" for name in self._names}
            try:
                parts = {
                    # Labels are small, and looked at more than once.
                    name: np.load(path, mmap_mode=None if name == "y" else "r")
                    for name, path in paths.items()
                }
            except (ValueError, EOFError) as error:
                raise ValueError(f"{self._folder}, block {i}: not whole ({error})") from None
            if self._sparse:
                arrays = (parts["data"], parts["indices"], parts["indptr"])
                X = sp.csr_array(arrays, shape=(len(parts["y"]), self._d))
            else:
                X = parts["X"].view(np.ndarray)
            yield f"{self._folder}, block {i}", Rows(X, parts["y"], parts.get("weights"))
