"""``schuss bench``."""

from pathlib import Path
from typing import Annotated

import typer

from schuss._commands.options import OPTIONS, AsJSON, option
from schuss._commands.output import check_page, console, note, print_json


def bench(
    report: Annotated[Path | None, option(
        OPTIONS, "Self-contained HTML page to write.", "FILE", default="no page",
    )] = None,
    quick: Annotated[bool, option(
        OPTIONS, "Small problems and fewer rounds: half a minute.", None, "--quick",
    )] = False,
    seconds: Annotated[float | None, option(
        OPTIONS, "Time limit; rounds are left out to keep it.", "SECONDS", default="300", min=1,
    )] = None,
    n_jobs: Annotated[int | None, option(
        OPTIONS, "Maximum number of threads; -1: all.", "N", default="all",
    )] = None,
    as_json: AsJSON = False,
) -> None:  # fmt: skip
    """Time the kernels, and other libraries that are installed, on this machine.

    Each library is timed only after its results agree with a reference, and the
    libraries take turns. PyTorch, JAX, glum and others are timed where they are
    installed: pip install "schuss\\[peers]". The exit code is 1 if a library
    fails or its results disagree; the others are timed all the same.

    [bold]Example[/]

    schuss bench --report report.html
    """
    from schuss.bench import page, suite
    from schuss.files import write_text

    if report:
        check_page("--report", report)
    content = suite.run(
        suite.QUICK if quick else suite.FULL,
        n_jobs,
        suite.SECONDS if seconds is None else seconds,
        _note_piece if console(stderr=True).is_terminal else lambda *piece: None,
    )
    if report:
        write_text(report, page.page(content))
    if as_json:
        print_json(content)
    else:
        for table in suite.tables(content):
            print(f"{table}\n")
        if report:
            note("report", str(report), "bold green")
    failures = suite.failures(content)
    for name, task, text in failures:
        note("warning", f"{name} on {task} {text}")
    if failures:
        raise typer.Exit(1)


def _note_piece(done: int, total: int, name: str) -> None:
    note(f"{done + 1} of {total}", name, "dim")
