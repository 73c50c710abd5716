"""The walk as a widget for notebooks; it needs anywidget."""

import json
from typing import Any

from schuss.pages import PROGRAMS, check_language, source, walk_data

# How anywidget starts a program.
_RENDER = """
export default {
  render({model, el}) {
    el.append(element("style", {}, model.get("style")));
    const root = element("div");
    el.append(root);
    const {walk, texts, language} = model.get("content");
    new Walk(root, walk, texts, language);
  },
};
"""


def walk_widget(result: Any, fun: Any, language: str) -> Any:
    """Return an anywidget.AnyWidget that shows the walk of a run."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise ImportError(
            'widgets need anywidget, which is not installed: pip install "schuss[plot]"'
        ) from error
    check_language(language)

    class WalkWidget(anywidget.AnyWidget):
        """The walk down a function."""

        _esm = "".join(map(source, PROGRAMS)) + _RENDER
        content = traitlets.Dict().tag(sync=True)
        style = traitlets.Unicode().tag(sync=True)

    content = {"walk": walk_data(result, fun), "language": language}
    content["texts"] = json.loads(source("texts.json"))
    return WalkWidget(content=content, style=source("page.css"))
