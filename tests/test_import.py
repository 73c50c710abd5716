"""What `import schuss` does to the process, and what it leaves alone."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import schuss
from schuss import backends


def run(code, cwd, **environment):
    """Standard output of `code` in a fresh process, away from the checkout."""
    environment = {**os.environ, "SCHUSS_BACKEND": "auto", **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("first", "statement"),
    [
        ("import sklearn", "import schuss"),
        ("import sklearn.linear_model", "from schuss import SigmoidClassifier"),
    ],
)
def test_import_loads_nothing_heavy(tmp_path, first, statement):
    # scikit-learn comes first: what it loads (rich, where it is installed) is its own matter.
    code = f"""
import json, sys
{first}
before = set(sys.modules)
{statement}
print(json.dumps(sorted(name for name in set(sys.modules) - before if "." not in name)))
"""
    loaded = set(json.loads(run(code, tmp_path)))
    assert "schuss" in loaded
    heavy = {"numba", "pandas", "matplotlib", "dask", "rich", "typer", "pyarrow", "pytest"}
    assert not loaded & heavy


def test_every_public_name_is_there():
    for name in schuss.__all__:
        assert getattr(schuss, name) is not None
    assert set(schuss.__all__) <= set(dir(schuss))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = schuss.no_such_name


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_subnormal_numbers_survive(tmp_path, backend):
    # A linker flag like -ffast-math sets flush-to-zero for the process that loads the library.
    if backend not in schuss.show_config()["backends"]:
        pytest.skip(f"the {backend} backend is not installed")
    code = """
import numpy as np, schuss
schuss.train(np.array([[0.0], [1.0]]), np.array([0, 1]), epochs=2, tol=0)
smallest = np.array([5e-324, 1e-310]), np.array([1e-45, 1e-40], dtype=np.float32)
print(all(((x * 1).view(f"u{x.itemsize}") != 0).all() for x in smallest), 5e-324 * 1.0 != 0)
"""
    output = run(code, tmp_path, SCHUSS_BACKEND=backend, PYTHONWARNINGS="ignore")
    assert output.split() == ["True", "True"]


@pytest.mark.parametrize("module", ["single", "double"])
def test_compiled_functions_know_their_module(module):
    if "cython" not in schuss.show_config()["backends"]:
        pytest.skip("the cython backend is not installed")
    cython_ = pytest.importorskip("schuss.backends.cython_")
    name = f"schuss._ext.{cython_.ISA.replace('-', '_')}.{module}"
    compiled = sys.modules[name]
    functions = [f for f in vars(compiled).values() if type(f).__name__.startswith("cython_func")]
    assert functions
    assert {f.__module__ for f in functions} == {name}


def test_the_reference_has_every_public_name():
    reference = Path(__file__).parents[1] / "docs" / "reference"
    if not reference.is_dir():
        pytest.skip("not in a checkout")
    pages = [page.read_text(encoding="utf-8") for page in reference.glob("*.rst")]
    words = set(re.findall(r"\w+", "".join(pages)))
    assert not set(schuss.__all__) - words


def test_the_package_is_typed():
    files = {path.name for path in Path(schuss.__file__).parent.iterdir()}
    assert {"py.typed", "__init__.pyi"} <= files


def public_functions():
    """All public functions and methods, and the constructors of public classes."""
    objects = {name: getattr(schuss, name) for name in schuss.__all__}
    for module in ("callbacks", "expressions", "files", "plot", "tables", "tensors"):
        module = pytest.importorskip(f"schuss.{module}")
        objects |= {
            f"{module.__name__}.{name}": value
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        }
    for name, value in objects.items():
        members = {"": value}
        if inspect.isclass(value):
            special = ("__init__", "__call__")
            members = {k: v for k, v in vars(value).items() if k[0] != "_" or k in special}
        for member, function in members.items():
            function = getattr(function, "__func__", function)
            if inspect.isfunction(function) and function.__module__.startswith("schuss"):
                yield f"{name}.{member}".rstrip("."), function


def test_public_functions_are_annotated():
    missing = []
    for name, function in public_functions():
        signature = inspect.signature(function)
        missing += [
            f"{name}({parameter.name})"
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
        ]
        if signature.return_annotation is signature.empty and not name.endswith("__init__"):
            missing.append(f"{name} ->")
    assert not missing


def test_solvers_know_only_the_floors_below_them():
    """The arrays of a run go down, never up: see the floors in CONTRIBUTING.md."""
    below = {"backends", "constants", "data", "errors", "losses", "methods", "objective",
             "solvers",
             "sparse", "threads", "validation", "vectors"}  # fmt: skip
    for path in (Path(schuss.__file__).parent / "solvers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module.startswith("schuss"):
                continue
            inside = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            assert set(inside) <= below, f"{path.name} imports {inside}"
