"""Docstrings of which a part stands elsewhere, once: tables of choices, inherited parameters."""

import inspect
import re


def listing(**tables):
    """Decorator that fills in a docstring what the entries of tables say.

    Parameters
    ----------
    **tables : dict
        Entries with a ``summary``, by the word that stands for the table in the docstring:
        ``{word}`` becomes the set of the names, a line ``{word: summaries}`` one line for each.
    """

    def fill(documented):
        lines = []
        for line in (documented.__doc__ or "").split("\n"):  # without any under python -OO
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


def extends(base):
    """Decorator of a method that is documented as another one, but for some parameters.

    Parameters
    ----------
    base : function
        With the docstring to take over. That of the method holds the entries of the parameters
        that come in addition, or in place of those in `base`; the signature tells their order.
    """

    def fill(method):
        if base.__doc__ is None or method.__doc__ is None:  # under python -OO
            return method
        head, rule, text = inspect.cleandoc(base.__doc__).partition("Parameters\n----------\n")
        inherited, blank, rest = text.partition("\n\n")
        entries = _entries(inherited) | _entries(inspect.cleandoc(method.__doc__))
        named = [entries[name] for name in inspect.signature(method).parameters if name in entries]
        method.__doc__ = head + rule + "\n".join(named) + blank + rest
        return method

    return fill


def borrows(base, *sections):
    """Decorator of a class, whose examples follow sections of another class's docstring."""

    def fill(documented):
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
