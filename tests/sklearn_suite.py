"""scikit-learn's own test modules, out of its wheel, with our classes in their places.

``sklearn_exceptions.toml`` lists the tests that fail, each with the reason; conftest.py makes
them expected failures, and an error where one passes.
"""

import importlib.util
import tomllib
from pathlib import Path

PREFIX = "sklearn_with_ours."


def load(module, package, *classes):
    """The tests of a module whose classes, of some package, are replaced by ours.

    A copy of its own is imported while the package offers ours, because parameters of
    tests hold the classes themselves.

    Returns
    -------
    dict
        What a module of our suite needs to take part: tests, fixtures and marks.
    """
    package = importlib.import_module(package)
    theirs = {cls.__name__: getattr(package, cls.__name__) for cls in classes}
    spec = importlib.util.find_spec(module)
    copy = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location(PREFIX + module.rpartition(".")[2], spec.origin)
    )
    try:
        for cls in classes:
            setattr(package, cls.__name__, cls)
        copy.__spec__.loader.exec_module(copy)
    finally:
        for name, cls in theirs.items():
            setattr(package, name, cls)
    return {
        name: value
        for name, value in vars(copy).items()
        if name.startswith("test_") or name == "pytestmark" or "Fixture" in type(value).__name__
    }


def exceptions():
    """Reasons by ``module::test``."""
    text = Path(__file__).with_name("sklearn_exceptions.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def key(item):
    """What a test is called in the list of exceptions; None for tests of our own."""
    module = getattr(getattr(item, "function", None), "__module__", "")
    if not module.startswith(PREFIX):
        return None
    return f"{module.removeprefix(PREFIX)}::{item.name}"
