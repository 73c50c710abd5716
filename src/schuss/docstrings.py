"""Lists of choices in docstrings, from the tables that hold the choices."""


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
