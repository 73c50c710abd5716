"""Which backend is chosen, and what is said where it cannot be had."""

import subprocess
import sys
import textwrap
import threading

import pytest

import schuss
from schuss import backends
from schuss.errors import BackendUnavailableError


def python(code, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip


def test_use_backend_is_undone_and_nests():
    outside = schuss.get_backend()
    with schuss.use_backend("numpy"):
        assert schuss.get_backend() == "numpy"
        with schuss.use_backend("auto"):
            assert schuss.get_backend() in backends.BACKENDS
        assert schuss.get_backend() == "numpy" and backends.current().NAME == "numpy"
    assert schuss.get_backend() == outside
    with pytest.raises(RuntimeError), schuss.use_backend("numpy"):
        raise RuntimeError
    assert schuss.get_backend() == outside


def test_a_choice_is_that_of_its_thread():
    seen = []
    outside = schuss.get_backend()
    with schuss.use_backend("numpy"):
        thread = threading.Thread(target=lambda: seen.append(schuss.get_backend()))
        thread.start()
        thread.join()
    assert seen == [outside]


def test_unknown_names_are_refused_at_once(monkeypatch):
    with pytest.raises(ValueError, match="backend='cuda' is unknown; choose one of auto, cython"):
        schuss.use_backend("cuda")
    monkeypatch.setenv(backends.VARIABLE, "cuda")
    with pytest.raises(ValueError, match="SCHUSS_BACKEND='cuda' is unknown"):
        schuss.get_backend()


HIDDEN = """
    import importlib.abc, sys, warnings

    class Hide(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name in HIDDEN_NAMES:
                raise ImportError(f"{name} is hidden")

    sys.meta_path.insert(0, Hide())
    import schuss
    from schuss import backends
    backends.find_spec = lambda name: None if name in HIDDEN_NAMES else True
"""


def without(names, code, **environment):
    head = f"HIDDEN_NAMES = {names!r}\n" + textwrap.dedent(HIDDEN)
    return python(head + textwrap.dedent(code), **environment)


@pytest.mark.parametrize(
    ("hidden", "serves"),
    [
        (("schuss.backends.cython_",), "numba"),
        (("schuss.backends.cython_", "numba"), "numpy"),
    ],
)
def test_one_warning_where_the_kernels_are_missing(hidden, serves):
    done = without(
        hidden,
        f"""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert schuss.get_backend() == {serves!r}
            assert schuss.get_backend() == {serves!r}
        assert len(caught) == 1, caught
        text = str(caught[0].message)
        assert "{serves} backend" in text and "is hidden" in text, text
        assert "pip install --force-reinstall" in text and "--no-binary schuss" in text
        assert ('pip install "schuss[numba]"' in text) == ({serves!r} == "numpy"), text
        """,
        SCHUSS_BACKEND="auto",
        SCHUSS_ISA="auto",
    )
    assert done.returncode == 0, done.stderr


def test_a_forced_backend_never_falls_back():
    code = """
        try:
            schuss.train([[0.0], [1.0]], [0, 1])
        except ImportError as error:
            assert "cython backend was asked for" in str(error), error
            assert "C compiler" in str(error)
        else:
            raise AssertionError("it fell back")
        try:
            schuss.use_backend("cython")
        except ImportError:
            print("refused")
    """
    done = without(("schuss.backends.cython_",), code, SCHUSS_BACKEND="cython")
    assert done.stdout == "refused\n", done.stderr


def test_a_forced_instruction_set_never_falls_back():
    done = without(
        ("schuss.backends.cython_",), "schuss.get_backend()",
        SCHUSS_BACKEND="auto", SCHUSS_ISA="baseline",
    )  # fmt: skip
    assert done.returncode != 0 and "BackendUnavailableError" in done.stderr


def test_the_error_is_an_import_error():
    assert issubclass(BackendUnavailableError, ImportError)


def test_show_config_is_a_dictionary_that_reads_well():
    config = schuss.show_config()
    assert config["backend"] == schuss.get_backend()
    assert config["version"] == schuss.__version__ and config["threads"] >= 1
    assert config["backend"] in config["backends"]
    assert f"backend       {config['backend']}" in repr(config).splitlines()


def test_blanks_around_a_choice_do_not_count(monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, " numpy\n")
    assert schuss.get_backend() == "numpy"
    monkeypatch.setenv(backends.VARIABLE, "  ")
    assert schuss.get_backend() in backends.BACKENDS


def test_an_unknown_instruction_set_is_told_only_to_those_who_need_it():
    code = """
        import schuss
        assert "cython" not in schuss.show_config()["backends"]
        try:
            schuss.use_backend("cython")
        except ValueError as error:
            print(error)
    """
    done = python(code, SCHUSS_ISA="sse9", SCHUSS_BACKEND="numpy")
    assert done.stdout.startswith("SCHUSS_ISA='sse9' is unknown; choose one of auto, x86"), done


def test_the_mend_is_that_of_the_cause():
    """An instruction set that the processor lacks is not had by a compiler."""
    pytest.importorskip("schuss._ext.baseline.single")
    code = """
        import importlib, sys
        single = importlib.import_module("schuss._ext.baseline.single")

        class Old:
            processor_level = staticmethod(lambda: 3)

        sys.modules["schuss._ext.baseline.single"] = Old
        import schuss
        try:
            schuss.get_backend()
        except ImportError as error:
            assert type(error).__name__ == "BackendUnavailableError"
            print(error)
    """
    done = python(code, SCHUSS_ISA=" x86-64-v4 ", SCHUSS_BACKEND="auto")
    assert "this processor does not have that instruction set. Unset SCHUSS_ISA" in done.stdout
    assert "one of x86-64-v3, baseline." in done.stdout and "compiler" not in done.stdout, done
