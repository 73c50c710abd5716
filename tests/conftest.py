"""What the tests of several folders share: the backends, and where real data lie."""

import importlib
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import browser, sklearn_suite

BACKENDS = ("numpy", "numba", "cython")


def load_backend(name):
    """Module of a backend; skips where it is absent, unless the build had to make it."""
    try:
        return importlib.import_module(f"schuss.backends.{name}_")
    except ImportError as error:
        if name == "cython" and os.environ.get("SCHUSS_REQUIRE_EXT") == "1":
            pytest.fail(f"SCHUSS_REQUIRE_EXT=1, but the compiled backend is missing: {error}")
        pytest.skip(f"backend {name} is not here: {error}")


@pytest.fixture(params=BACKENDS, scope="session")
def backend(request):
    """Each backend's module in turn."""
    return load_backend(request.param)


@pytest.fixture(scope="session")
def reference():
    """The plain NumPy backend that the others are held to."""
    return load_backend("numpy")


@pytest.fixture(scope="session")
def data_dir():
    """Folder with real data; ``SCHUSS_DATA``, or ``shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SCHUSS_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (SCHUSS_DATA names another folder)")
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in a folder of its own; returns exit_code, stdout and stderr."""
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    from schuss._commands import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    runner = testing.CliRunner()

    def run(*arguments):
        return runner.invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(params=(*BACKENDS, "numba, rows"))
def kernels(request, monkeypatch):
    """Each backend's module, and each way in which it reads X.

    The Numba backend keeps a small X in column order; read as it reads a large one, the
    sizes of the table reach its other loops.
    """
    name, _, path = request.param.partition(", ")
    module = load_backend(name)
    if path:
        monkeypatch.setattr(module.rows, "SMALL_BYTES", 0)
    return module


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's own tests take where none is given."""
    return 42


# What takes minutes and is not needed at each change: `make test-long` sets it.
LONG = os.environ.get("SCHUSS_LONG_TESTS") == "1"


def pytest_configure(config):
    # Of several processes each would have as many threads of BLAS as there are processors, which
    # spin for one another: scikit-learn's fits of a few hundred rows take 15 times as long.
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Shells start what runs in the background with Ctrl-C ignored, and so would every process
    # that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_NONE = SimpleNamespace(params={})  # of tests without parameters


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    reasons = sklearn_suite.exceptions()
    for item in items:
        # One process, so that what Numba compiles for a module is compiled once.
        if {"numba", "numba, rows"} & {*map(str, getattr(item, "callspec", _NONE).params.values())}:
            item.add_marker(pytest.mark.xdist_group(f"numba {item.path.stem}"))
        reason = reasons.get(sklearn_suite.key(item))
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="session", name="browser")
def _browser(tmp_path_factory):
    pytest.importorskip("selenium.webdriver")
    if not browser.CHROMIUM or not browser.DRIVER:
        pytest.skip("no chromium and chromedriver here (Debian: chromium, chromium-driver)")
    driver = browser.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(name="show")
def _show(request):
    """Opens a page: ``show(file, width=1200, scheme="light")`` returns the driver."""
    driver = request.getfixturevalue("browser")

    def opened(file, width=1200, scheme="light"):
        browser.show(driver, file, width, scheme)
        return driver

    return opened


@pytest.fixture
def violations():
    """Serious findings of axe-core about how everyone can use the page of a driver."""
    axe = pytest.importorskip("axe_core_python")
    program = Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8")

    def violations(driver):
        driver.execute_script(program)
        found = driver.execute_async_script(
            "axe.run().then((found) => arguments[0](found.violations.map("
            "(v) => [v.impact, v.id, v.nodes.map((node) => node.html)])))"
        )
        return [v for v in found if v[0] in ("serious", "critical")]

    return violations
