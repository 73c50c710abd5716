"""``schuss learn``."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from schuss._commands.options import OUTPUT, option
from schuss._commands.output import check_page, console
from schuss.files import write_text


def learn(
    file: Annotated[Path, typer.Argument(help="Page to write.", metavar="FILE")] = Path(
        "learn.html"
    ),
    language: Annotated[str, option(OUTPUT, "Language shown first: en or pl.", "NAME")] = "en",
    browser: Annotated[bool, typer.Option(
        "--open/--no-open", help="Page opened in the browser.", rich_help_panel=OUTPUT,
    )] = True,
) -> None:  # fmt: skip
    """Write and open a page to learn gradient descent.

    It leads from a parabola to backpropagation. Every function on it can be
    walked down, step by step, with other starts, learning rates and methods.
    It is one file that needs no network.
    """
    from schuss.pages import learn_page

    check_page("FILE", file)
    write_text(file, learn_page(language=language))
    console().print(f"written: {file}", soft_wrap=True)
    if browser:
        webbrowser.open(file.resolve().as_uri())
