"""``schuss learn``."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from schuss._commands.options import OUTPUT, option
from schuss._commands.output import check_suffix, console
from schuss.files import check_writable, write_whole


def learn(
    file: Annotated[Path, typer.Argument(help="Page to write.", metavar="FILE")] = Path(
        "learn.html"
    ),
    language: Annotated[str, option(OUTPUT, "Language shown first: en or pl.", "NAME")] = "en",
    browser: Annotated[bool, typer.Option(
        "--open/--no-open", help="Page opened in the browser.", rich_help_panel=OUTPUT,
    )] = True,
) -> None:  # fmt: skip
    """Write and open a page to learn gradient descent: from a parabola to backpropagation.

    Every function on it can be walked down, step by step, with other starts, learning rates
    and methods. It is one file that needs no network.
    """
    from schuss.pages import learn_page

    check_suffix("FILE", file, (".html", ".htm"))
    check_writable(file)
    text = learn_page(language=language)
    with write_whole(file) as stream:
        stream.write(text.encode())
    console().print(f"written: {file}", soft_wrap=True)
    if browser:
        webbrowser.open(file.resolve().as_uri())
