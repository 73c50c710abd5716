"""``schuss minimize``."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from schuss._commands.app import BAD_INPUT
from schuss._commands.options import (
    OUTPUT,
    AsJSON,
    counted,
    option,
    parse_learning_rate,
    parse_numbers,
)
from schuss._commands.output import (
    check_page,
    check_suffix,
    console,
    note,
    print_json,
    warnings_as_notes,
)
from schuss.files import check_writable, write_whole
from schuss.methods import MINIMIZERS

METHOD = "Method"


def minimize(
    expression: Annotated[str, typer.Argument(
        metavar="EXPRESSION", help='Function of one variable or more, such as "x**2 - 4*x + 6". '
        "Put -- before one that begins with a minus sign.",
    )],
    x0: Annotated[str | None, option(
        METHOD, "Start: a number for each variable in alphabetical order, such as -1,2.", "NUMBERS",
    )] = None,
    method: Annotated[str, option(
        METHOD, f"Method: {', '.join(MINIMIZERS)}; grid needs --bounds.", "NAME",
    )] = "gd",
    learning_rate: Annotated[str, option(METHOD, "Learning rate, or auto.", "NUMBER")] = "auto",
    max_iter: Annotated[int, option(METHOD, "Maximum number of iterations.", "N", min=1)] = 10_000,
    tol: Annotated[float, option(
        METHOD, "Tolerance: stop when no gradient entry is larger in magnitude.", "NUMBER", min=0,
    )] = 1e-6,
    bounds: Annotated[list[str] | None, option(
        METHOD, "Bounds of the grid, low,high: once, or once for each variable.", "NUMBERS",
    )] = None,
    points: Annotated[int, option(
        METHOD, "Number of grid points for each variable.", "N", min=2,
    )] = 101,
    plot: Annotated[Path | None, option(
        OUTPUT, "Plot of the path to write, .png, .svg or .pdf.", "FILE",
    )] = None,
    html: Annotated[Path | None, option(
        OUTPUT, "Page to write, on which the run can be played and changed.", "FILE",
    )] = None,
    rows: Annotated[int, option(
        OUTPUT, "Number of iterations to print, first and last; 0: all.", "N", min=0,
    )] = 50,
    as_json: AsJSON = False,
) -> None:  # fmt: skip
    """Minimise a function, and print its iterations.

    Derivatives are exact. Expressions may contain + - * / **, parentheses, pi,
    e, sin, cos, tan, atan, sinh, cosh, tanh, exp, log, sqrt and abs.

    [bold]Examples[/]

    schuss minimize "x**2 - 4*x + 6" --x0 8 --learning-rate 0.1

    schuss minimize "(1-x)**2 + 100*(y-x**2)**2" --x0 -1,2 --method newton --html walk.html
    """
    import schuss
    from schuss.expressions import Expression, ExpressionError
    from schuss.report import MinimizeReport

    function = Expression(expression)
    n = len(function.variables)
    if not n:
        raise ExpressionError(f"{expression!r} has no variable; expected one such as x")
    start = None if x0 is None else parse_numbers(x0, "--x0", function.variables)
    if start is None and method != "grid":
        raise typer.BadParameter(
            f"missing; expected {counted(function.variables)}", param_hint="'--x0'"
        )
    region = [parse_numbers(pair, "--bounds", ("low", "high")) for pair in bounds or ()]
    if plot is not None:
        _check_plot(plot)
    if html is not None:
        check_page("--html", html)
    exact: dict[str, Any] = (
        {} if function.polynomial is not None else {"jac": function.jac, "hess": function.hess}
    )
    with warnings_as_notes():
        result = schuss.minimize(
            function.polynomial if function.polynomial is not None else function,
            start[0] if start and n == 1 else start,
            method=method,
            learning_rate=parse_learning_rate(learning_rate),
            max_iter=max_iter,
            tol=tol,
            bounds=(region * n if len(region) == 1 else region) or None,
            n_points=points,
            **exact,
        )
    if plot is not None:
        _plot(result, function, plot)
    if html is not None:
        result.to_html(html, fun=function)
    report = MinimizeReport(expression, function.variables, result, rows)
    if as_json:
        print_json(report.to_dict())
    else:
        for table in report.tables(console().width):
            console().print(table)
    if result.stop_reason == "diverged":
        note("error", result.message, "bold red")
        raise typer.Exit(BAD_INPUT)
    if not as_json:
        console().print(result.message, soft_wrap=True)


def _check_plot(path: Path) -> None:
    check_suffix("--plot", path, (".png", ".svg", ".pdf"))
    check_writable(path)
    if find_spec("matplotlib") is None:
        raise ImportError('--plot needs matplotlib: pip install "schuss[plot]"')


def _plot(result: Any, function: Any, path: Path) -> None:
    import matplotlib

    # No window is opened.
    matplotlib.use("Agg")
    from schuss.plot import DescentDisplay

    display = DescentDisplay.from_result(result, function, variables=function.variables)
    with write_whole(path) as file:
        display.figure_.savefig(file, format=path.suffix[1:], dpi=150)
