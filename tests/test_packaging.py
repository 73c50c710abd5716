"""The sdist, and what is installed from it with, without and with half a compiler."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("Cython", reason="building needs Cython, of the extra 'test'")
pytest.importorskip("setuptools", "77", reason="building needs setuptools, of the extra 'test'")
pytest.importorskip("pip", reason="installing needs pip")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("packaging"),  # one process, so that what is built is shared
    pytest.mark.skipif(os.name != "posix", reason="the compilers made here are shell scripts"),
]

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so")

# Compilers, by what they do. Where a real one is called, without optimisation: it is quicker.
COMPILERS = {
    "missing": "exit 127",
    "stops while linking": """
previous=
for argument in "$@"; do
    [ "$previous" = -o ] && echo half > "$argument"
    previous=$argument
done
case "$*" in *-shared*) exit 1;; esac
""",
    "knows the baseline only": """
case "$*" in *-march=x86-64-v*) echo "bad value for -march" >&2; exit 1;; esac
exec cc "$@" -O0
""",
}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    # A copy, because building leaves files behind.
    tree = tmp_path_factory.mktemp("tree") / "schuss"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    target = tmp_path_factory.mktemp("sdist")
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run([sys.executable, "-c", code, target], cwd=tree)
    (archive,) = target.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def install(sdist, tmp_path_factory):
    """Install from the sdist, in an empty folder; return pip's process and the target."""

    @cache
    def install(compiler, require=""):
        folder = tmp_path_factory.mktemp("install")
        script = folder / "compiler"
        script.write_text(f"#!/bin/sh\n{COMPILERS[compiler]}\n")
        script.chmod(0o755)
        target, empty = folder / "target", folder / "empty"
        empty.mkdir()
        command = [sys.executable, "-m", "pip", "install", "--verbose", "--no-cache-dir"]
        command += ["--no-index", "--no-deps", "--no-build-isolation", "--target", target, sdist]
        environment = {"SCHUSS_REQUIRE_EXT": require, "CC": str(script)}
        # Cython takes ten seconds for each: where none is built one will do.
        environment["SCHUSS_BUILD_ISA"] = "baseline"
        if compiler == "knows the baseline only":
            environment["SCHUSS_BUILD_ISA"] += " x86_64_v4"
        process = run(command, cwd=empty, check=False, **environment)
        assert not list(empty.iterdir())
        return process, target

    return install


def run(command, *, cwd, check=True, **environment):
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "SCHUSS_BACKEND": "auto", **environment},
        capture_output=True,
        text=True,
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def run_installed(code, target, **environment):
    """What `code` prints as JSON, with the package in `target`."""
    command = [sys.executable, "-c", code]
    return json.loads(run(command, cwd=target.parent, PYTHONPATH=str(target), **environment).stdout)


def compiled(target):
    return sorted(p.relative_to(target).as_posix() for p in target.rglob("*.so"))


def test_sdist_has_every_source_and_nothing_generated(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "ext").iterdir() if p.suffix != ".c"}
    assert {"ext/single.pyx", "ext/double.pyx"} <= sources <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [n for n in names if n.endswith((".c", ".so", ".pyc", "build_info.py"))]


@pytest.mark.parametrize("compiler", ["missing", "stops while linking"])
def test_failed_build_installs_without_kernels(install, compiler):
    process, target = install(compiler)
    assert process.returncode == 0, process.stdout + process.stderr
    output = process.stdout + process.stderr
    assert output.count("these compiled kernels could not be built") == 1
    assert "Going on without them" in output
    assert (target / "schuss" / "__init__.py").exists()
    assert compiled(target) == []


def test_failed_build_is_an_error_where_kernels_are_required(install):
    process, target = install("missing", require="1")
    assert process.returncode != 0
    assert "SCHUSS_REQUIRE_EXT is set" in process.stdout + process.stderr
    assert not target.exists()


FALLBACK = """
import json, sys, warnings
if {blocked}:
    sys.modules["numba"] = None
import schuss
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    backends = [schuss.get_backend(), schuss.get_backend()]
print(json.dumps([backends, [str(w.message) for w in caught]]))
"""
FORCED = """
import json, schuss
try:
    schuss.train([[0.0], [1.0]], [0, 1], epochs=3)
except ImportError as error:
    print(json.dumps(str(error)))
"""
TRAINED = """
import json, schuss
with schuss.use_backend("numpy"):
    expected = schuss.train([[0.0], [1.0]], [0, 1], epochs=3, tol=0).coef
result = schuss.train([[0.0], [1.0]], [0, 1], epochs=3, tol=0)
difference = float(abs(result.coef - expected).max())
print(json.dumps([schuss.get_backend(), difference, schuss.show_config()["build"]]))
"""


def test_without_kernels_another_backend_serves_and_says_so_once(install):
    _, target = install("missing")
    for blocked, expected in [(False, "numba"), (True, "numpy")]:
        if not blocked:
            pytest.importorskip("numba")
        backends, messages = run_installed(FALLBACK.format(blocked=blocked), target)
        assert backends == [expected, expected]
        assert len(messages) == 1
        assert f"{expected} backend" in messages[0]
        assert "pip install" in messages[0]
    message = run_installed(FORCED, target, SCHUSS_BACKEND="cython")
    assert "cython" in message
    assert "pip install" in message


def test_kernels_that_build_are_installed_and_used(install):
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    process, target = install("knows the baseline only")
    assert process.returncode == 0, process.stdout + process.stderr
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert compiled(target) == [f"schuss/_ext/baseline/{m}{suffix}" for m in ("double", "single")]
    backend, difference, build = run_installed(TRAINED, target)
    assert backend == "cython"
    assert difference < 1e-12
    assert list(build["flags"]) == ["baseline"]
    # Nothing that hides NaN and infinities or reorders sums.
    assert not {"-ffast-math", "-Ofast", "-fassociative-math"} & set(
        build["flags"]["baseline"].split()
    )


BUILT_ON_WINDOWS = """
import json, runpy, sys
from types import SimpleNamespace
from setuptools import Distribution
build = runpy.run_path("setup.py")["BuildKernels"](Distribution())
build.compiler = SimpleNamespace(compiler_type="msvc", cc=sys.argv[1])
told = [build.compiler_version(), build.flags("x86_64_v3")]
build.compiler = SimpleNamespace(compiler_type="msvc")
print(json.dumps([*told, build.compiler_version()]))
"""


@pytest.mark.parametrize(
    ("name", "asked", "stream", "flags"),
    [
        ("clang-cl", "--version", 1, {"/clang:-O3", "/clang:-march=x86-64-v3"}),
        # Without arguments cl tells its version, where errors go.
        ("cl", "", 2, {"/O2", "/arch:AVX2"}),
    ],
)
def test_a_build_on_windows_tells_its_compiler(tmp_path, name, asked, stream, flags):
    compiler = tmp_path / f"{name}.exe"
    compiler.write_text(f'#!/bin/sh\n[ "$*" = "{asked}" ] && echo "{name} 1.2" >&{stream}\n')
    compiler.chmod(0o755)
    done = run([sys.executable, "-c", BUILT_ON_WINDOWS, compiler], cwd=ROOT)
    version, told, without = json.loads(done.stdout)
    assert version == f"{name} 1.2"
    assert flags <= set(told)
    assert without == "none"


ACCELERATED = """
import json, os, site, sys
site.addsitedir(os.path.dirname(os.path.dirname(__import__("schuss").__file__)))
early = "schuss.acceleration" in sys.modules
from sklearn.linear_model import LogisticRegression
print(json.dumps([early, hasattr(LogisticRegression.fit, "_schuss_original")]))
"""


def test_the_startup_file_is_installed_and_idle_without_its_variable(install):
    _, target = install("missing")
    assert (target / "schuss_accelerate.pth").read_text().count("\n") == 1
    (records,) = target.glob("schuss-*.dist-info/RECORD")
    assert "schuss_accelerate.pth" in records.read_text()
    for value, expected in [("1", True), ("0", False), ("", False)]:
        assert run_installed(ACCELERATED, target, SCHUSS_ACCELERATE=value) == [expected, expected]
