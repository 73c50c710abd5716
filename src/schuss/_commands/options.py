"""Options and arguments that several commands have, and their parsers."""

import codecs
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from schuss.files import STDIN, STDOUT

DATA = "Data"
OUTPUT = "Output"
OPTIONS = None  # the panel of commands with few options


def option(
    panel: str | None, help: str, metavar: str | None = None, *names: str,
    default: str | bool = True, **settings: Any,
) -> Any:  # fmt: skip
    """An option in a panel of the help; `default` describes a default of None."""
    return typer.Option(
        *names, help=help, metavar=metavar, rich_help_panel=panel, show_default=default, **settings
    )


def one_of(choices: Collection[str]) -> Callable[[str | None], str | None]:
    """Callback of an option with a set of values."""

    def check(name):
        if name is not None and name not in choices:
            raise typer.BadParameter(f"{name!r}; expected one of {', '.join(choices)}")
        return name

    return check


def listed(entries: Mapping[str, Any]) -> str:
    """The choices of an option with their summaries, for its help text."""
    return "; ".join(f"[bold]{name}[/]: {entry.summary}" for name, entry in entries.items()) + "."


def input_file(name: str) -> Path:
    """Parser of files to read."""
    return STDIN if name == "-" else Path(name)


def output_file(name: str) -> Path:
    """Parser of files to write."""
    return STDOUT if name == "-" else Path(name)


def _check_delimiter(text):
    if text in ("tab", r"\t"):
        return "\t"
    if text is not None and (len(text) != 1 or not text.isascii() or text in '"\r\n'):
        raise typer.BadParameter(f"{text!r}; expected one character, or tab")
    return text


def _check_decimal(mark):
    if mark not in (None, ".", ","):
        raise typer.BadParameter(f"{mark!r}; expected . or ,")
    return mark


def _check_encoding(name):
    if name is None:
        return None
    try:
        codecs.lookup(name)
    except LookupError:
        raise typer.BadParameter(
            f"{name!r}; expected an encoding such as utf-8, cp1252 or utf-16"
        ) from None
    return name


TABLE_HELP = "CSV or Parquet file, compressed or not; -: stdin."

ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Model file saved by [bold]schuss train[/]; -: stdin.",
        parser=input_file,
    ),
]
PICTURES_HELP = " For a model of pictures: pictures, or folders of them."
DataFile = Annotated[
    Path, typer.Argument(metavar="FILE", help=TABLE_HELP + PICTURES_HELP, parser=input_file)
]
DataFiles = Annotated[
    list[Path], typer.Argument(metavar="FILE", help=TABLE_HELP + PICTURES_HELP, parser=input_file)
]
Delimiter = Annotated[
    str | None,
    option(
        DATA, "Field delimiter of a CSV file, one character, or tab.", "CHAR",
        default="found out", callback=_check_delimiter,
    ),
]  # fmt: skip
Encoding = Annotated[
    str | None,
    option(
        DATA, "Encoding of a CSV file, such as cp1252.", "NAME", default="UTF-8, or UTF-16",
        callback=_check_encoding,
    ),
]  # fmt: skip
Decimal = Annotated[
    str | None,
    option(
        DATA, "Decimal mark of numbers in a CSV file, . or ,", "CHAR",
        default="each column's own", callback=_check_decimal,
    ),
]  # fmt: skip
SkipBadRows = Annotated[
    bool,
    option(
        DATA, "Rows of a CSV file that cannot be read are left out, with a note.", None,
        "--skip-bad-rows",
    ),
]  # fmt: skip
AsJSON = Annotated[bool, option(OUTPUT, 'JSON output; errors as {"error": ...}.', None, "--json")]


def parse_learning_rate(text: str) -> float | str:
    """A number, or "auto"."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}; expected a number, or auto", param_hint="'--learning-rate'"
        ) from None


def parse_names(options: Sequence[str] | None) -> list[str] | None:
    """The names in ``a,b`` and repeated options; None without the option."""
    if options is None:
        return None
    return [name.strip() for option in options for name in option.split(",") if name.strip()]


def parse_numbers(text: str, name: str, variables: Sequence[str]) -> list[float]:
    """The numbers in ``-1,2``, one for each variable."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(variables):
        raise typer.BadParameter(f"{text!r}; expected {counted(variables)}", param_hint=f"'{name}'")
    return numbers


def counted(variables: Sequence[str]) -> str:
    """What an option expects for these variables."""
    return f"{len(variables)} number{'s' * (len(variables) > 1)} for {', '.join(variables)}"
