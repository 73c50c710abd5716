"""Sphinx: `make docs` builds the pages, runs the gallery's examples, and writes the guided page."""

import re
import warnings
import zlib
from pathlib import Path

import typer.main

import schuss
from schuss._commands import app
from schuss.pages import learn_page

HERE = Path(__file__).parent

project = "schuss"
author = copyright = "The schuss developers"
release = version = schuss.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/*.ipynb"]
default_role = "code"
smartquotes = False
myst_heading_anchors = 3
# Attributes of several classes have the same names, and are listed by hand where they matter.
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
copybutton_prompt_text = ">>> |... "
copybutton_prompt_is_regexp = True
html_theme = "furo"
html_title = "schuss"
html_show_sourcelink = False
html_extra_path = ["_build/extra"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Commands and formulas are not Python.
highlight_language = "none"

# Names of other projects that the pages link to. A build needs no network: their inventories are
# written here, with these names alone.
LINKS = {
    "sklearn": ("https://scikit-learn.org/stable/", {
        name: f"modules/generated/{name}.html#{name}"
        for name in (
            "sklearn.linear_model.LogisticRegression",
            "sklearn.linear_model.LogisticRegressionCV",
            "sklearn.linear_model.SGDClassifier",
            "sklearn.linear_model.SGDRegressor",
            "sklearn.linear_model.Perceptron",
            "sklearn.neural_network.MLPClassifier",
            "sklearn.neural_network.MLPRegressor",
            "sklearn.pipeline.Pipeline",
        )
    }),
    "numpy": ("https://numpy.org/doc/stable/", {
        "numpy.ndarray": "reference/generated/numpy.ndarray.html#numpy.ndarray",
        "numpy.polynomial.polynomial.Polynomial": "reference/generated/"
        "numpy.polynomial.polynomial.Polynomial.html#numpy.polynomial.polynomial.Polynomial",
    }),
    "scipy": ("https://docs.scipy.org/doc/scipy/", {
        "scipy.optimize.OptimizeResult": "reference/generated/"
        "scipy.optimize.OptimizeResult.html#scipy.optimize.OptimizeResult",
    }),
}  # fmt: skip

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    # Scripts, not pages.
    "ignore_pattern": r"(^|[/\\])(?!plot_)[^/\\]*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "capture_repr": (),
    "show_memory": False,
    "min_reported_time": 1e9,
    "remove_config_comments": True,
    "matplotlib_animations": False,
    "image_scrapers": ("matplotlib",),
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


def _write_inventories():
    """Return `intersphinx_mapping`, with inventories in the form of Sphinx."""
    mapping = {}
    for project, (url, names) in LINKS.items():
        path = HERE / "_build" / "inventories" / f"{project}.inv"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = (
            f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
            "# The remainder of this file is compressed using zlib.\n"
        )
        lines = "".join(f"{name} py:class 1 {uri} -\n" for name, uri in names.items())
        path.write_bytes(head.encode() + zlib.compress(lines.encode()))
        mapping[project] = (url, str(path))
    return mapping


intersphinx_mapping = _write_inventories()


def _write_command_line():
    """The page of the command line, from the help texts."""
    group = typer.main.get_command(app)
    lines = ["# Command line", "", "`schuss COMMAND --help` shows the same.", ""]
    for name, command in group.commands.items():
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["schuss", name, *command.collect_usage_pieces(context)])
        text = (command.help or "").replace("[bold]", "**").replace("[/]", "**")
        text = re.sub("^ *schuss ", "    schuss ", text, flags=re.MULTILINE)
        lines += [f"## schuss {name}", "", f"    {usage}", "", text, ""]
        lines += ["| option | meaning |", "|---|---|"]
        for parameter in command.get_params(context):
            if record := parameter.get_help_record(context):
                shown = [cell.replace("|", "\\|").replace("\n", " ") for cell in record]
                lines.append(f"| `{shown[0]}` | {shown[1]} |")
        lines.append("")
    (HERE / "command_line.md").write_text("\n".join(lines), encoding="utf-8")


def _write_pages(_app):
    extra = HERE / "_build" / "extra"
    extra.mkdir(parents=True, exist_ok=True)
    (extra / "learn.html").write_text(learn_page(), encoding="utf-8")


def _close_examples(_app, _name, source):
    """Leave out the blank line by which doctest finds the end of an example."""
    source[0] = re.sub(r"(?<=\n)\n(?=```\n(?:\n|$))", "", source[0])


def _name_levels(app, error):
    """Give the captions of the navigation the level that readers of screens need."""
    if error is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            text = path.read_text(encoding="utf-8")
            named = text.replace('role="heading">', 'role="heading" aria-level="2">')
            if named != text:
                path.write_text(named, encoding="utf-8")


_write_command_line()
(HERE / "_build" / "extra").mkdir(parents=True, exist_ok=True)


def setup(app):
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", _close_examples)
    app.connect("build-finished", _name_levels)
