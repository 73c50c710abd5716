"""``schuss info``."""

from typing import Any

from schuss._commands.options import AsJSON
from schuss._commands.output import console, print_json, warnings_as_notes


def info(as_json: AsJSON = False) -> None:
    """Show version, backend, instruction set and number of threads."""
    from schuss import show_config
    from schuss.report import new_table

    with warnings_as_notes():
        config = show_config()
    if as_json:
        print_json(config)
        return
    table = new_table("schuss info", columns=2)
    for key, value in config.items():
        table.add_row(key, _as_text(value))
    console().print(table)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
