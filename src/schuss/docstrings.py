"""Parts of docstrings that are written once elsewhere: choices of registries, parameters."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Documented = TypeVar("Documented")


def listing(**tables: Mapping[str, Any]) -> Callable[[Documented], Documented]:
    """Decorator that inserts the entries of registries into a docstring.

    Parameters
    ----------
    **tables : dict
        Registries of entries with a ``summary``, by placeholder: ``{word}`` becomes the set of
        the names, a line ``{word: summaries}`` one line for each entry.
    """

    def fill(documented: Documented) -> Documented:
        lines = []
        for line in (documented.__doc__ or "").split("\n"):  # None under python -OO
            for word, entries in tables.items():
                names = ", ".join(f'"{name}"' for name in entries)
                line = line.replace(f"{{{word}}}", f"{{{names}}}")
                if line.strip() == f"{{{word}: summaries}}":
                    indent = line[: line.index("{")]
                    items = (f'{indent}- "{n}": {entry.summary}' for n, entry in entries.items())
                    line = "\n".join((*items, ""))
            lines.append(line)
        documented.__doc__ = "\n".join(lines)
        return documented

    return fill


def extends(base: Any) -> Callable[[Documented], Documented]:
    """Decorator that copies the docstring of another method, except for some parameters.

    Parameters
    ----------
    base : function
        Method with the docstring to copy. The docstring of the decorated method holds additional
        entries of parameters and replacements; its signature defines their order.
    """

    def fill(method: Any) -> Any:
        if base.__doc__ is None or method.__doc__ is None:  # python -OO
            return method
        head, rule, text = inspect.cleandoc(base.__doc__).partition("Parameters\n----------\n")
        inherited, blank, rest = text.partition("\n\n")
        entries = _entries(inherited) | _entries(inspect.cleandoc(method.__doc__))
        named = [entries[name] for name in inspect.signature(method).parameters if name in entries]
        method.__doc__ = head + rule + "\n".join(named) + blank + rest
        return method

    return fill


def borrows(base: Any, *sections: str) -> Callable[[Documented], Documented]:
    """Decorator that inserts sections of another class's docstring before the examples."""

    def fill(documented: Documented) -> Documented:
        if base.__doc__ and documented.__doc__:
            parts = re.split(r"\n\n(?=[A-Z][a-z]+\n-+\n)", inspect.cleandoc(base.__doc__))
            borrowed = [part for part in parts if part.startswith(sections)]
            head, mark, examples = inspect.cleandoc(documented.__doc__).partition("Examples\n---")
            documented.__doc__ = head + "\n\n".join((*borrowed, mark)) + examples
        return documented

    return fill


def _entries(text):
    """Entries of a section by the names of their parameters."""
    return {part.partition(" :")[0]: part.rstrip() for part in re.split(r"\n(?=\S)", text)}
