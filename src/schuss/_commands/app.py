"""The application that the commands belong to, and its exit codes."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from schuss._commands.output import message_of, note, print_json
from schuss.cli import OUTPUT_CLOSED

INTERRUPTED = 130  # what shells report for Ctrl-C
BAD_INPUT = 2

# Of click, or of typer's own copy of it.
_UsageError: Any = typer.BadParameter.__base__


def report_error(error: BaseException, as_json: bool) -> int:
    """Print an error that ends a command, and return the exit code."""
    interrupted = isinstance(error, KeyboardInterrupt)
    text = "interrupted" if interrupted else message_of(error)
    note("error", text, "bold red")
    if as_json:
        _print_error(text)
    return INTERRUPTED if interrupted else BAD_INPUT


def _print_error(text):
    # A stdout that takes nothing may be the very error.
    with contextlib.suppress(OSError):
        print_json({"error": text})
        sys.stdout.flush()


class _Commands(typer.core.TyperGroup):
    """Turns errors into one message and an exit code, without a traceback."""

    def make_context(self, info_name, args, *rest, **extra):
        self._as_json = "--json" in args
        given = [*args]
        with self._reported_errors():
            context = super().make_context(info_name, args, *rest, **extra)
        # For reports that say how to repeat a command.
        context.obj = given
        return context

    def invoke(self, ctx):
        with self._reported_errors():
            return super().invoke(ctx)

    @contextlib.contextmanager
    def _reported_errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # The reader closed the pipe, as `head` does.
            raise typer.Exit(OUTPUT_CLOSED) from None
        except _UsageError as error:
            if self._as_json:
                _print_error(error.format_message())
            raise
        except (ValueError, OSError, ImportError, ArithmeticError, KeyboardInterrupt) as error:
            raise typer.Exit(report_error(error, self._as_json)) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train sigmoid neurons by gradient descent, and use them.",
)


def _print_version(value):
    if value:
        from schuss import __version__

        typer.echo(f"schuss {__version__}")
        raise typer.Exit()


@app.callback()
def _start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Version of schuss."
        ),
    ] = False,
):
    pass
