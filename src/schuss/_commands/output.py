"""Output of the commands, and checks of it before the work begins."""

import contextlib
import json
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schuss.files import check_writable, descriptor


def console(**settings: Any) -> Any:
    """A `rich.console.Console` that prints names and labels verbatim, without markup or emoji."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, **settings)


def note(kind: str, text: str, style: str = "bold yellow") -> None:
    """Print a line to stderr."""
    from rich.text import Text

    line = Text.assemble(("schuss: ", "bold"), (f"{kind}: ", style), text)
    console(stderr=True).print(line, soft_wrap=True)


@contextlib.contextmanager
def warnings_as_notes(quiet: bool = False) -> Iterator[None]:
    """Print warnings as notes, or ignore them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "default")
        warnings.showwarning = lambda message, *_: note("warning", message_of(message))
        yield


def message_of(error: Warning | BaseException | str) -> str:
    """Text of an error or a warning, in one line."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def print_json(values: Any) -> None:
    """Print one JSON document; null stands for NaN and infinities, which JSON does not have."""
    # Escapes can be printed in every encoding of a console or log.
    ascii_only = (sys.stdout.encoding or "utf-8").lower().replace("_", "-") != "utf-8"
    text = json.dumps(_finite(values), indent=2, ensure_ascii=ascii_only, default=str)
    sys.stdout.write(f"{text}\n")


def _finite(value):
    if hasattr(value, "tolist"):  # an array or a number of NumPy
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_report(report: Any, as_json: bool, quiet: bool = False) -> None:
    """Print a report as JSON or as a table."""
    if as_json:
        print_json(report.to_dict())
    elif not quiet:
        console().print(report.table())


def check_suffix(option: str, path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file to write whose name does not end in one of the suffixes."""
    if path.suffix not in suffixes:
        expected = ", ".join(suffixes[:-1]) + " or " * (len(suffixes) > 1) + suffixes[-1]
        raise ValueError(f"{option} {path}: expected a name that ends in {expected}")


def check_page(option: str, path: Path) -> None:
    """Refuse a page to write that has another name than one, or cannot be written."""
    check_suffix(option, path, (".html", ".htm"))
    check_writable(path)


def check_output(out: Path, *inputs: Path) -> None:
    """Refuse a file that cannot be written, or that is one of the inputs."""
    check_writable(out)
    for path in inputs:
        if out.is_file() and path.exists() and out.samefile(path):
            raise FileExistsError(
                f"--out {out}: the same file as {path}, which it would replace; choose another"
            )


def write_table(columns: Mapping[str, Any], out: Path | None) -> None:
    """Write columns as CSV to stdout or a file, or as Parquet."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from schuss.files import write_whole

    table = pa.table(columns)
    if out is None:
        sys.stdout.flush()
    with contextlib.nullcontext(sys.stdout.buffer) if out is None else write_whole(out) as file:
        if out is not None and out.suffix == ".parquet":
            pa.parquet.write_table(table, file)
        else:
            pa.csv.write_csv(table, file, pa.csv.WriteOptions(quoting_style="needed"))


def is_plain_file(path: Path) -> bool:
    """Whether a path to write is a file, or will be one; no pipe, device or descriptor."""
    return descriptor(path) is None and (path.is_file() or not path.exists())
