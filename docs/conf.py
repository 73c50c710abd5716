"""Sphinx: `make docs` builds the pages and runs the gallery's examples."""

import warnings

import schuss

project = "schuss"
author = "The schuss developers"
release = version = schuss.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/*.ipynb"]
default_role = "code"
napoleon_google_docstring = False
# Attributes of several classes have the same names, and are no targets of links.
napoleon_use_ivar = True
autodoc_member_order = "bysource"
html_theme = "alabaster"
html_theme_options = {
    "description": "Sigmoid neurons by gradient descent",
    "page_width": "1100px",
    "show_powered_by": False,
}
html_show_sourcelink = False

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
