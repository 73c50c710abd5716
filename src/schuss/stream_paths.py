"""Files that a `Stream` reads, and whether they stay as they are."""

import os
from glob import glob
from pathlib import Path
from typing import Any

LIBSVM = (".svm", ".libsvm", ".svmlight")
ARROW = (".arrow", ".feather", ".ipc")
TEXTS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".csv.zst", ".tsv.zst")
PARQUET = (".parquet", ".pq")


def paths_of(source: Any) -> list[Path] | None:
    """Files that a name, a pattern, a folder or a list of them stands for; None for others."""
    if isinstance(source, str | os.PathLike):
        source = [source]
    elif not (
        isinstance(source, list | tuple)
        and source
        and all(isinstance(part, str | os.PathLike) for part in source)
    ):
        return None
    found = []
    for part in source:
        path = Path(part)
        if path.is_dir():
            files = sorted(
                file
                for file in path.rglob("*")
                if file.name.endswith((*LIBSVM, *ARROW, *TEXTS, *PARQUET))
            )
            if not files:
                raise FileNotFoundError(
                    f"{path}: the folder holds no CSV, Parquet, Arrow or LIBSVM file"
                )
        elif path.exists():
            files = [path]
        else:
            files = sorted(map(Path, glob(os.fspath(part), recursive=True)))
            if not files:
                raise FileNotFoundError(f"{path}: no such file, and no file of this pattern")
        found += files
    return found


class Watched:
    """Files, and whether they are those of the first pass."""

    def __init__(self, paths):
        self.paths = paths
        self._marks = [self._mark(path) for path in paths]

    @staticmethod
    def _mark(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns

    def check(self):
        """Refuse files that changed or vanished since they were seen first."""
        for path, mark in zip(self.paths, self._marks, strict=True):
            try:
                now = self._mark(path)
            except OSError as error:
                raise OSError(
                    f"{path}: vanished between two passes over it ({error.strerror})"
                ) from None
            if now != mark:
                raise ValueError(
                    f"{path}: changed between two passes over it ({mark[0]:,} bytes before, "
                    f"{now[0]:,} now). Train on a file that nobody writes to."
                )
