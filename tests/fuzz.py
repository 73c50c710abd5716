"""A coverage-guided fuzzer (atheris) for what reads bytes from elsewhere.

    python -m tests.fuzz expression --runs 1000000 [--corpus FOLDER] [--seconds N]

Targets: `model` and `checkpoint` (files of `schuss.save` and of ``checkpoint=``), `table` (CSV and
its relatives), `expression`. Anything but a result or the error that a target documents is a crash:
the fuzzer stops, keeps the input, and exits with another code than 0. Interesting inputs are kept
in ``tests/corpus``, from which every run starts; `tests/test_fuzz.py` reads each of them once.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def _expression() -> Callable[[bytes], None]:
    from schuss.expressions import Expression, ExpressionError

    def one(content: bytes) -> None:
        try:
            f = Expression(content.decode("utf-8", "replace"))
        except ExpressionError:
            return
        x = [0.5] * len(f.variables)
        try:
            f(x), f.jac(x), f.hess(x), f.tree()
        except (OverflowError, ZeroDivisionError):
            return

    return one


def _model() -> Callable[[bytes], None]:
    from schuss import tensors
    from schuss.persistence import ModelFileError, load

    def one(content: bytes) -> None:
        # What the checksum protects is reached, too.
        for data in (content, _with_checksum(tensors, content)):
            path = _written(data, ".safetensors")
            try:
                model = load(path)
            except (ModelFileError, OSError):
                continue
            try:
                model.predict([[0.0] * getattr(model, "n_features_in_", 1)])
            except (ValueError, TypeError):
                continue

    return one


def _checkpoint() -> Callable[[bytes], None]:
    import numpy as np

    import schuss

    X, y = np.arange(8.0)[:, None], np.tile([0.0, 1.0], 4)

    def one(content: bytes) -> None:
        from schuss import tensors

        for data in (content, _with_checksum(tensors, content)):
            path = _written(data, ".checkpoint")
            try:
                schuss.train(X, y, epochs=3, learning_rate=0.1, solver="adam", random_state=0,
                             checkpoint=path)  # fmt: skip
            except (ValueError, OSError):
                continue

    return one


def _table() -> Callable[[bytes], None]:
    from schuss.tables import TableError, read_table

    def one(content: bytes) -> None:
        try:
            table = read_table(_written(content, ".csv"))
        except (TableError, OSError):
            return
        assert table.num_rows > 0 and table.column_names

    return one


TARGETS = {"checkpoint": _checkpoint, "expression": _expression, "model": _model, "table": _table}


def _written(content: bytes, suffix: str) -> str:
    """A file of these bytes, the same for all of a process."""
    path = os.path.join(_folder(), f"input{suffix}")
    with open(path, "wb") as file:
        file.write(content)
    return path


_made: list[tempfile.TemporaryDirectory] = []


def _folder() -> str:
    if not _made:
        # In memory where there is such a place: millions of files would wear out a disk.
        shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
        _made.append(tempfile.TemporaryDirectory(dir=shm))
    return _made[0].name


def _with_checksum(tensors, content: bytes) -> bytes:
    """The same file with the checksum that its bytes have, where it is one at all."""
    size = int.from_bytes(content[:8], "little")
    if not 8 < size < len(content) - 8:
        return content
    head, data = content[8 : 8 + size], content[8 + size :]
    return content[:8] + tensors.signed(head, data) + data


def seeds(target: str) -> list[Path]:
    return sorted(path for path in (CORPUS / target).glob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--corpus", default=None)
    given = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["schuss"], enable_loader_override=False):
        one = TARGETS[given.target]()
        # Modules are loaded at first use.
        for seed in seeds(given.target)[:1]:
            one(seed.read_bytes())
    folder = given.corpus or str(CORPUS / given.target)
    os.makedirs(folder, exist_ok=True)
    options = [f"-runs={given.runs}", "-timeout=30", "-rss_limit_mb=4096", "-close_fd_mask=0"]
    if given.seconds:
        options.append(f"-max_total_time={given.seconds}")

    def quietly(content: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one(content)

    folders = [folder, *([str(CORPUS / given.target)] if given.corpus else [])]
    atheris.Setup([sys.argv[0], *folders, *options], quietly)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
