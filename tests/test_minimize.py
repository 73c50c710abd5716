"""`schuss.minimize`: the textbook's table, methods, steps, functions in C, bad input."""

import ctypes
import math
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import scipy.optimize
from numpy.polynomial import Chebyshev, Polynomial
from scipy import LowLevelCallable

import schuss
from schuss.methods import MINIMIZERS as METHODS

POLYNOMIAL = Polynomial([6, -4, 1])
DESCENTS = [method for method in METHODS if method != "grid"]


def parabola(x):
    return x**2 - 4 * x + 6


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def beale(x):
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), 1))


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


@pytest.mark.parametrize("fun", [POLYNOMIAL, parabola], ids=["polynomial", "callable"])
def test_the_textbooks_table(fun):
    result = schuss.minimize(fun, 8.0, learning_rate=0.1, max_iter=40)
    assert result.path.shape == (41, 1) and result.nit == 40
    tolerance = 1e-12 if fun is POLYNOMIAL else 1e-8
    expected = 2 + 6 * 0.8 ** np.arange(41)
    np.testing.assert_allclose(result.path[:, 0], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(result.path_fun, parabola(result.path[:, 0]), rtol=1e-14)
    assert result.x == result.path[-1] and result.stop_reason == "max_iter" and not result.success


@pytest.mark.parametrize("backend", ["cython", "numba", "numpy"])
def test_each_backend_descends_a_polynomial(backend):
    if backend not in schuss.show_config()["backends"]:
        pytest.skip(f"the {backend} backend is not installed")
    with schuss.use_backend(backend):
        result = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=0.1)
    assert result.success and result.nit == 74
    assert abs(2 * result.path[-2, 0] - 4) > 1e-6 >= abs(result.jac[0])


@pytest.mark.parametrize("method", DESCENTS)
@pytest.mark.parametrize(
    ("fun", "x0", "expected"),
    [
        (POLYNOMIAL, 8.0, [2.0]),
        (parabola, 8.0, [2.0]),
        (rosenbrock, [-1.0, 2.0], [1.0, 1.0]),
        (beale, [1.0, 1.0], [3.0, 0.5]),
    ],
    ids=["polynomial", "callable", "Rosenbrock", "Beale"],
)
def test_methods_agree_with_scipy(method, fun, x0, expected):
    result = schuss.minimize(fun, x0, method=method, max_iter=50_000)
    assert result.success, result.message
    theirs = scipy.optimize.minimize(fun, x0)
    np.testing.assert_allclose(result.x, expected, atol=5e-5)
    assert result.fun <= theirs.fun + 1e-8
    np.testing.assert_array_equal(result.path[-1], result.x)
    assert len(result.path) == len(result.path_fun) == result.nit + 1
    assert result.nfev > 0 and result.njev > 0
    assert result.derivatives == ("exact" if fun is POLYNOMIAL else "numerical")
    assert ("numerical" in result.message) == (fun is not POLYNOMIAL)


@pytest.mark.parametrize("method", DESCENTS)
def test_himmelblau_ends_in_one_of_its_four_minima(method):
    result = schuss.minimize(himmelblau, [0.0, 0.0], method=method, max_iter=20_000)
    assert result.success and result.fun < 1e-9


@pytest.mark.parametrize("method", ["nesterov", "adam", "newton", "momentum"])
def test_ill_conditioned_quadratic(method):
    scale = np.logspace(0, 3, 100)
    result = schuss.minimize(
        lambda x: 0.5 * x @ (scale * x), np.ones(100), jac=lambda x: scale * x,
        hess=np.diag(scale), method=method,
    )  # fmt: skip
    assert result.success and result.derivatives == "given"
    assert np.abs(result.x).max() < 1e-5


def test_grid():
    result = schuss.minimize(
        himmelblau, method="grid", bounds=[(-5, 5), (-5, 5)], n_points=[21, 11]
    )
    assert result.path.shape == (231, 2) and result.nit == 230
    assert result.fun == result.path_fun.min() == himmelblau(result.x)
    np.testing.assert_array_equal(result.x, [3, 2])
    assert result.success and "231 points" in result.message
    line = schuss.minimize(POLYNOMIAL, method="grid", bounds=(0, 5), n_points=6)
    assert line.x == 2 and line.nfev == 6
    box = scipy.optimize.Bounds([0], [5])
    assert schuss.minimize(parabola, 1.0, method="grid", bounds=box, n_points=6).x == 2
    partly = schuss.minimize(
        lambda x: math.nan if x < 0 else x, method="grid", bounds=(-1, 1), n_points=5
    )
    assert partly.x == 0 and "2 of them not finite" in partly.message


# ----- steps ---------------------------------------------------------------------------


def test_auto_is_the_inverse_of_the_curvature():
    result = schuss.minimize(POLYNOMIAL, 8.0)
    assert result.learning_rate == 0.5 and result.nit == 1 and result.x == 2
    # x^4 from 2: f'' is at most 48 on [-2, 2]
    quartic = schuss.minimize(Polynomial([0, 0, 0, 0, 1]), 2.0, tol=1e-3)
    assert quartic.learning_rate == pytest.approx(1 / 48) and quartic.success
    assert (np.diff(quartic.path_fun) < 0).all()
    constant = schuss.minimize(lambda x: 5 * x @ x, [1.0, 2.0], hess=10 * np.eye(2))
    assert constant.learning_rate == pytest.approx(0.1) and constant.nit <= 2


@pytest.mark.parametrize("seed", range(20))
def test_auto_never_climbs_on_polynomials(seed):
    rng = np.random.default_rng(seed)
    coef = np.append(rng.normal(size=rng.integers(2, 8) // 2 * 2), 1.0)
    result = schuss.minimize(Polynomial(coef), rng.normal() * 3, max_iter=2000)
    assert result.stop_reason != "diverged"
    assert (np.diff(result.path_fun) <= 1e-12 * (1 + abs(result.path_fun[:-1]))).all()


def test_schedules():
    by_call = schuss.minimize(parabola, 8.0, learning_rate=lambda k: 0.4 / (k + 1), max_iter=9)
    by_array = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=0.4 / np.arange(1, 10), max_iter=9)
    np.testing.assert_allclose(by_call.path, by_array.path, rtol=1e-8)
    x = 8 - 0.4 * 12
    assert by_array.path[2] == pytest.approx(x - 0.2 * (2 * x - 4))
    last = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=[0.1, 0.2], max_iter=4)
    assert last.path[3] - 2 == pytest.approx(0.6 * (last.path[2] - 2))


def test_stops_on_step_and_value():
    step = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=0.1, tol=0, xtol=1e-3)
    assert step.success and "xtol" in step.message and abs(step.path[-1] - step.path[-2]) <= 1e-3
    fall = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=0.1, tol=0, ftol=1e-3)
    assert fall.success and "ftol" in fall.message
    newton = schuss.minimize(parabola, 8.0, method="newton", tol=0, xtol=1e-3)
    assert newton.success and "xtol" in newton.message


@pytest.mark.parametrize("fun", [POLYNOMIAL, parabola], ids=["polynomial", "callable"])
@pytest.mark.parametrize("rate", [1.0, 1.1, 1e300])
def test_a_learning_rate_that_is_too_large_is_explained(fun, rate):
    if fun is parabola and rate > 2:
        fun = lambda x: float(parabola(np.float64(x)))  # noqa: E731 - Python's ** would raise
    result = schuss.minimize(fun, 8.0, learning_rate=rate)
    assert not result.success and result.stop_reason == "diverged" and result.nit < 60
    for words in ("The iterates oscillate", f"It is {rate:.6g};", "at most 2,", "= 1.",
                  "learning_rate=0.5"):  # fmt: skip
        assert words in result.message, result.message
    assert np.isfinite(result.path).all() and np.isfinite(result.x).all()


def test_oscillation_in_several_dimensions_names_the_largest_curvature():
    scale = np.array([1.0, 10.0])
    result = schuss.minimize(lambda x: 0.5 * x @ (scale * x), [1.0, 1.0], learning_rate=0.25)
    assert result.stop_reason == "diverged"
    assert "is at most 10," in result.message and "learning_rate=0.1 " in result.message


def test_newton_raphson_is_plain_with_a_number():
    quartic = Polynomial([0, 0, 0, 0, 1])
    result = schuss.minimize(quartic, 3.0, method="newton", learning_rate=1.0, max_iter=5)
    np.testing.assert_allclose(result.path[:, 0], 3 * (2 / 3) ** np.arange(6))
    maximum = schuss.minimize(np.cos, 0.3, method="newton", learning_rate=1.0)
    assert abs(maximum.x[0]) < 1e-6 and not maximum.success
    assert maximum.stop_reason == "saddle" and "maximum or a saddle" in maximum.message
    down = schuss.minimize(np.cos, 0.3, method="newton")
    assert down.success and down.x == pytest.approx(math.pi, abs=1e-6)
    flat = schuss.minimize(Polynomial([0, 1]), 0.0, method="newton", learning_rate=1.0)
    assert flat.stop_reason == "diverged" and "singular" in flat.message


# ----- what may be minimised -----------------------------------------------------------


def test_kinds_of_polynomials():
    shifted = Polynomial([1, 2, 3], domain=[0, 4], window=[-1, 1])
    for fun in (Chebyshev([1, -2, 3]), shifted, np.poly1d([1, -4, 6])):
        result = schuss.minimize(fun, 0.7)
        assert result.success and result.derivatives == "exact"
        assert result.fun == pytest.approx(scipy.optimize.minimize_scalar(fun).fun)
    falls = schuss.minimize(Polynomial([0, 0, 0, 1]), 1.0, max_iter=200)
    assert np.isfinite(falls.x).all()


def test_functions_without_a_minimum_are_told():
    result = schuss.minimize(Polynomial([0, 0, 0, 1]), -1.0)
    assert not result.success and result.stop_reason == "max_iter"
    assert "seems unbounded below" in result.message


def test_scalars_and_arrays_go_to_the_function_as_they_came():
    seen = []

    def fun(x):
        seen.append(x)
        return math.cosh(x) if isinstance(x, float) else float(np.cosh(x).sum())

    assert schuss.minimize(fun, 1).success and {type(x) for x in seen} == {float}
    seen.clear()
    assert schuss.minimize(fun, [1]).success and all(x.shape == (1,) for x in seen)
    kept = np.array([1.0, 2.0])
    schuss.minimize(lambda x: x.fill(0) or 0.0, kept, max_iter=2)
    np.testing.assert_array_equal(kept, [1, 2])


def test_derivatives_that_are_given():
    given = schuss.minimize(parabola, 8.0, jac=lambda x: 2 * x - 4, learning_rate=0.1)
    both = schuss.minimize(lambda x: (parabola(x), 2 * x - 4), 8.0, jac=True, learning_rate=0.1)
    np.testing.assert_array_equal(given.path, both.path)
    assert given.derivatives == both.derivatives == "given" and given.nit == 74
    forward = schuss.minimize(parabola, 8.0, jac="2-point", learning_rate=0.1, tol=1e-5)
    assert forward.x == pytest.approx(2, abs=1e-5) and forward.derivatives == "numerical"
    arguments = schuss.minimize(
        lambda x, a: (x - a) ** 2, 0.0, args=3, jac=lambda x, a: 2 * (x - a)
    )
    assert arguments.x == pytest.approx(3)
    newton = schuss.minimize(
        rosenbrock, [-1.2, 1.0], jac=scipy.optimize.rosen_der, hess=scipy.optimize.rosen_hess,
        method="newton",
    )  # fmt: skip
    np.testing.assert_allclose(newton.x, 1, atol=1e-8)


DOUBLE, INT, POINTER = ctypes.c_double, ctypes.c_int, ctypes.POINTER(ctypes.c_double)


def test_functions_in_c():
    calls = []

    @ctypes.CFUNCTYPE(DOUBLE, DOUBLE)
    def value(x):
        calls.append(x)
        return parabola(x)

    @ctypes.CFUNCTYPE(DOUBLE, DOUBLE)
    def slope(x):
        return 2 * x - 4

    with_slope = schuss.minimize(
        LowLevelCallable(value), 8.0, jac=LowLevelCallable(slope), learning_rate=0.1
    )
    exact = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=0.1)
    np.testing.assert_allclose(with_slope.path, exact.path, rtol=1e-12)
    assert with_slope.derivatives == "given" and calls
    alone = schuss.minimize(LowLevelCallable(value), 8.0, learning_rate=0.1)
    np.testing.assert_allclose(alone.path[:40], exact.path[:40], atol=1e-7)
    assert alone.derivatives == "numerical"


def test_functions_in_c_of_arrays_with_data():
    shift = ctypes.c_double(3.0)

    @ctypes.CFUNCTYPE(DOUBLE, INT, POINTER, ctypes.c_void_p)
    def value(n, x, data):
        a = ctypes.cast(data, POINTER)[0]
        return sum((j + 1) * (x[j] - a) ** 2 for j in range(n))

    @ctypes.CFUNCTYPE(None, INT, POINTER, POINTER)
    def gradient(n, x, out):
        for j in range(n):
            out[j] = 2 * (j + 1) * (x[j] - 3.0)

    data = ctypes.cast(ctypes.pointer(shift), ctypes.c_void_p)
    fun = LowLevelCallable(value, data)
    for backend in schuss.show_config()["backends"]:
        with schuss.use_backend(backend):
            for jac in (None, LowLevelCallable(gradient)):
                for method in ("gd", "nesterov", "newton"):
                    result = schuss.minimize(fun, np.zeros(5), jac=jac, method=method)
                    np.testing.assert_allclose(result.x, 3, atol=1e-5)
                    assert result.success


def test_numba_cfuncs_run_compiled():
    numba = pytest.importorskip("numba")

    @numba.cfunc("float64(intc, CPointer(float64))")
    def value(n, x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    @numba.cfunc("void(intc, CPointer(float64), CPointer(float64))")
    def gradient(n, x, out):
        out[0] = -2 * (1 - x[0]) - 400 * x[0] * (x[1] - x[0] ** 2)
        out[1] = 200 * (x[1] - x[0] ** 2)

    compiled = schuss.minimize(value, [-1.2, 1.0], jac=gradient, learning_rate=1e-3, tol=1e-4)
    plain = schuss.minimize(
        rosenbrock, [-1.2, 1.0], jac=scipy.optimize.rosen_der, learning_rate=1e-3, max_iter=300
    )
    np.testing.assert_allclose(compiled.path[:300], plain.path[:300], rtol=1e-8)
    # Numerical, too; and with more iterations than Python would do in this time.
    many = schuss.minimize(value, [-1.2, 1.0], learning_rate=1e-5, max_iter=1_000_000, tol=0)
    assert many.nit == 1_000_000 and rosenbrock(many.x) < 0.1


def test_scipys_minimize_takes_the_methods():
    for method in METHODS:
        bounds = [(-1, 3), (-1, 3)] if method == "grid" else None
        options = {"n_points": 5} if method == "grid" else {"maxiter": 50_000}
        result = scipy.optimize.minimize(
            rosenbrock, [-1.0, 2.0], method=getattr(schuss, method), bounds=bounds, tol=1e-6,
            options=options,
        )  # fmt: skip
        assert result.success and result.method == method
        np.testing.assert_allclose(result.x, 1, atol=1e-4)
    both = scipy.optimize.minimize(
        lambda x, a: ((x[0] - a) ** 2, [2 * (x[0] - a)]), 8.0, args=(2.0,), jac=True,
        method=schuss.gd, options={"learning_rate": 0.1, "max_iter": 40},
    )  # fmt: skip
    np.testing.assert_allclose(both.path[:, 0], 2 + 6 * 0.8 ** np.arange(41), atol=1e-12)
    with pytest.raises(ValueError, match="takes no constraints"):
        scipy.optimize.minimize(
            rosenbrock, [0, 0], method=schuss.gd,
            constraints=scipy.optimize.LinearConstraint(np.eye(2)),
        )  # fmt: skip


# ----- callbacks, memory, interrupts ---------------------------------------------------


@pytest.mark.parametrize("method", ["gd", "newton"])
def test_callbacks(method):
    seen, values = [], []
    rate = 0.5
    free = schuss.minimize(
        parabola, 8.0, method=method, learning_rate=rate / 5, callback=seen.append, max_iter=30
    )
    np.testing.assert_array_equal(np.array(seen), free.path[1:])

    def named(intermediate_result):
        values.append(intermediate_result.fun)
        return len(values) == 3

    stopped = schuss.minimize(parabola, 8.0, method=method, learning_rate=0.1, callback=named)
    assert stopped.nit == 3 and stopped.stop_reason == "callback" and stopped.status == 99
    np.testing.assert_array_equal(values, stopped.path_fun[1:])
    np.testing.assert_array_equal(stopped.x, stopped.path[-1])

    def stop(xk):
        raise StopIteration

    assert schuss.minimize(POLYNOMIAL, 8.0, learning_rate=0.1, callback=stop).nit == 1


def test_path_is_kept_or_not():
    kept = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=1e-4, max_iter=300_000, tol=0)
    assert kept.path.shape == (300_001, 1) and kept.stop_reason == "max_iter"
    ends = schuss.minimize(
        POLYNOMIAL, 8.0, learning_rate=1e-4, max_iter=300_000, tol=0, keep_path=False
    )
    np.testing.assert_array_equal(ends.path, kept.path[[0, -1]])
    np.testing.assert_array_equal(ends.path_fun, kept.path_fun[[0, -1]])


def test_newton_keeps_the_path_or_not():
    kept = schuss.minimize(rosenbrock, [-1.0, 2.0], method="newton", tol=0, xtol=1e-3)
    ends = schuss.minimize(
        rosenbrock, [-1.0, 2.0], method="newton", tol=0, xtol=1e-3, keep_path=False
    )
    np.testing.assert_array_equal(ends.path, kept.path[[0, -1]])
    assert ends.nit == kept.nit and ends.message == kept.message


def test_ctrl_c_in_newton_keeps_the_path():
    calls = []

    def hess(x):
        calls.append(x)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return scipy.optimize.rosen_hess(x)

    with pytest.warns(UserWarning, match="Interrupted after 2"):
        result = schuss.minimize(
            rosenbrock, [-1.0, 2.0], jac=scipy.optimize.rosen_der, hess=hess, method="newton"
        )
    assert result.stop_reason == "interrupted" and result.path.shape == (3, 2)


def test_paths_outgrow_what_was_reserved(monkeypatch):
    monkeypatch.setattr("schuss.minimizer.path._FIRST_BYTES", 1000)
    grown = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=1e-3, max_iter=5000, tol=0)
    monkeypatch.undo()
    whole = schuss.minimize(POLYNOMIAL, 8.0, learning_rate=1e-3, max_iter=5000, tol=0)
    np.testing.assert_array_equal(grown.path, whole.path)


@pytest.mark.parametrize("method", ["gd", "adam"])
@pytest.mark.parametrize("fun", [POLYNOMIAL, parabola], ids=["polynomial", "callable"])
@pytest.mark.parametrize("rows", [2, 7, 64])
def test_long_paths_are_thinned(monkeypatch, fun, method, rows):
    settings = {"method": method, "learning_rate": 1e-3, "max_iter": 1234, "tol": 0}
    whole = schuss.minimize(fun, 8.0, **settings)
    assert whole.path_step == 1 and len(whole.path) == 1235
    monkeypatch.setattr("schuss.minimizer.path._MAX_BYTES", 16 * rows)
    thinned = schuss.minimize(fun, 8.0, **settings)
    assert thinned.nit == 1234 and rows / 2 <= len(thinned.path) <= rows + 1
    kept = np.minimum(np.arange(len(thinned.path)) * thinned.path_step, 1234)
    assert kept[-1] == 1234 and kept[-2] < 1234
    np.testing.assert_array_equal(thinned.path, whole.path[kept])
    np.testing.assert_array_equal(thinned.path_fun, whole.path_fun[kept])
    assert thinned.nfev == whole.nfev and thinned.message == whole.message
    # Newton's, callbacks and a path that just fits.
    settings = {"method": "newton", "learning_rate": 0.01, "max_iter": 100, "tol": 0}
    newton = schuss.minimize(fun, 8.0, **settings, callback=lambda x: False)
    kept = np.minimum(np.arange(len(newton.path)) * newton.path_step, 100)
    monkeypatch.undo()
    np.testing.assert_array_equal(newton.path, schuss.minimize(fun, 8.0, **settings).path[kept])
    monkeypatch.setattr("schuss.minimizer.path._MAX_BYTES", 16 * 101)
    assert schuss.minimize(fun, 8.0, **settings).path_step == 1


def test_memory_of_a_long_path_is_bounded():
    code = """
        import resource
        import schuss.minimizer.path
        from numpy.polynomial import Polynomial
        schuss.minimizer.path._MAX_BYTES = schuss.minimizer.path._FIRST_BYTES = 1 << 24
        run = lambda n: schuss.minimize(
            Polynomial([6, -4, 1]), 8.0, learning_rate=1e-9, max_iter=n, tol=0
        )
        run(10_000)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = run(20_000_000)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
        print(result.nit, result.path_step, len(result.path), grown)
    """
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    nit, step, rows, grown = map(int, done.stdout.split())
    assert (nit, step, rows) == (20_000_000, 32, 625_001), done.stderr
    # 320 MB would be the whole path; kilobytes but on macOS, where they are bytes.
    assert grown < 60_000 * (1024 if sys.platform == "darwin" else 1)


def test_ctrl_c_in_a_thinned_path(monkeypatch):
    monkeypatch.setattr("schuss.minimizer.path._MAX_BYTES", 64)
    calls = []

    def fun(x):
        calls.append(x)
        if len(calls) == 300:
            raise KeyboardInterrupt
        return parabola(x)

    with pytest.warns(UserWarning, match="Interrupted after"):
        result = schuss.minimize(fun, 8.0, learning_rate=1e-3, jac=lambda x: 2 * x - 4)
    kept = np.minimum(np.arange(len(result.path)) * result.path_step, result.nit)
    np.testing.assert_allclose(result.path[:, 0], 2 + 6 * 0.998**kept, rtol=1e-12)
    assert result.nit > 200 and len(result.path) <= 5


def test_ctrl_c_ends_a_compiled_loop():
    code = """
        import os, signal, threading, warnings
        import schuss
        from numpy.polynomial import Polynomial
        schuss.minimize, schuss.get_backend()
        # Shells start what runs in the background with this signal ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        warnings.simplefilter("ignore")
        result = schuss.minimize(
            Polynomial([6, -4, 1]), 8.0, learning_rate=1e-12, max_iter=10**12, tol=0,
            keep_path=False,
        )
        print(result.stop_reason, 0 < result.nit < 10**12, result.path[-1] == result.x)
    """
    if sys.platform == "win32":
        pytest.skip("signals go to the whole console there")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["interrupted", "True", "[", "True]"], done.stdout + done.stderr


@pytest.mark.parametrize("method", ["gd", "newton", "grid"])
def test_ctrl_c_is_not_lost_in_a_function_in_c(method):
    code = f"""
        import ctypes, signal, warnings
        import numpy as np, schuss
        from scipy import LowLevelCallable
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warnings.simplefilter("ignore")
        calls = []
        @ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
        def value(x):
            calls.append(x)
            if len(calls) == 1000:
                signal.raise_signal(signal.SIGINT)
            return (x - 2) ** 2
        settings = dict(bounds=(0, 1), n_points=100_000) if {method!r} == "grid" else dict(
            learning_rate=1e-5, tol=0)
        result = schuss.minimize(LowLevelCallable(value), 8.0, method={method!r}, **settings)
        print(result.stop_reason, len(calls), result.nit, result.path.min())
        print(np.allclose(result.path_fun, (result.path[:, 0] - 2) ** 2))
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stderr == "", done.stderr
    reason, calls, nit, least, right, restored = done.stdout.split()
    assert (reason, right, restored) == ("interrupted", "True", "True")
    assert int(calls) < 10_000 and int(nit) < 9_999
    assert float(least) >= 0 if method == "grid" else float(least) > 2


def test_ctrl_c_in_a_python_function_keeps_the_path():
    def fun(x):
        if x < 4:
            raise KeyboardInterrupt
        return parabola(x)

    with pytest.warns(UserWarning, match="Interrupted after"):
        result = schuss.minimize(fun, 8.0, learning_rate=0.1, jac=lambda x: 2 * x - 4)
    assert result.stop_reason == "interrupted" and not result.success
    np.testing.assert_allclose(result.path[:, 0], 2 + 6 * 0.8 ** np.arange(5))
    assert result.x == result.path[-1]


# ----- bad input -----------------------------------------------------------------------


def test_what_functions_raise_comes_through_with_the_iteration():
    class Mine(Exception):
        pass

    def fun(x):
        if x < 4.5:
            raise Mine("no further")
        return parabola(x)

    with pytest.raises(Mine, match="no further") as caught:
        schuss.minimize(fun, 8.0, learning_rate=0.1, jac=lambda x: 2 * x - 4)
    assert any("in iteration 4" in note for note in caught.value.__notes__)
    with pytest.raises(Mine) as caught:
        schuss.minimize(fun, 8.0, method="newton")
    assert any("iteration" in note for note in caught.value.__notes__)
    with pytest.raises(Mine) as caught:
        schuss.minimize(fun, method="grid", bounds=(0, 9))
    assert any("iteration 0" in note for note in caught.value.__notes__)


def test_functions_that_end_in_nan():
    def fun(x):
        return x - math.sqrt(x) if x >= 0 else math.nan

    for method in ("gd", "momentum"):
        result = schuss.minimize(lambda x: np.log(x), 3.0, method=method, learning_rate=1.0)
        assert result.stop_reason == "diverged" and "fun returned nan" in result.message
        assert np.isfinite(result.x).all() and np.isfinite(result.path_fun).all()
    newton = schuss.minimize(fun, 1.0, method="newton", learning_rate=1.0)
    assert newton.stop_reason == "diverged" and "fun returned nan" in newton.message
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"fun\(x0\) is {bad}"):
            schuss.minimize(lambda x, bad=bad: bad, 3.0)
    with pytest.raises(ValueError, match=r"the gradient at x0 is \[nan\]"):
        schuss.minimize(parabola, 3.0, jac=lambda x: math.nan)
    with pytest.raises(ValueError, match="not finite at any of the 5 points"):
        schuss.minimize(lambda x: math.nan, method="grid", bounds=(0, 1), n_points=5)


def quartic(x):
    return x**4 - 2 * x**3 + 1


def quartic_gradient(x):
    return 4 * x**3 - 6 * x**2


@pytest.mark.parametrize(
    "settings",
    [
        {"jac": quartic_gradient},
        {},
        {"jac": "2-point"},
        {"fun": lambda x: (quartic(x), quartic_gradient(x)), "jac": True},
        {"jac": quartic_gradient, "method": "momentum"},
        {"jac": quartic_gradient, "method": "nesterov"},
    ],
)
def test_overflow_of_pythons_floats_is_divergence(settings):
    result = schuss.minimize(**{"fun": quartic, "x0": 2.0, "learning_rate": 0.5, **settings})
    assert result.stop_reason == "diverged" and not result.success
    assert np.isfinite(result.x).all() and np.isfinite(result.jac).all()
    assert result.fun == quartic(float(result.x[0])) and np.isfinite(result.path).all()
    assert "learning_rate=0.04166" in result.message


@pytest.mark.parametrize(
    ("fun", "words"),
    [
        (lambda x: 1 - 2 * math.sqrt(x) + x, "fun raised ValueError: "),
        (lambda x: x - 2 * x**0.5, "which is not real"),
        (lambda x: x + 1 / max(x, 0.0), "fun raised ZeroDivisionError: "),
        (lambda x: -math.exp(x * x), "fun raised OverflowError: math range error"),
        (lambda x: float(np.float64(x) - 3 * np.sqrt(np.float64(x))), "fun returned nan"),
    ],
)
@pytest.mark.parametrize("method", ["gd", "newton"])
def test_leaving_the_domain_of_pythons_floats_is_divergence(fun, words, method):
    downhill = -9.0 if fun(2.0) < -50 else 9.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = schuss.minimize(
            fun, 2.0, jac=lambda x: downhill, hess=np.eye(1) if method == "newton" else None,
            method=method, learning_rate=3.0,
        )  # fmt: skip
    assert result.stop_reason == "diverged" and result.nit == 0 and result.x == 2
    assert words in result.message, result.message


def test_errors_of_jac_and_hess_are_divergence_too():
    def jac(x):
        return 1 / 0 if x[0] < 3 else 2 * x - 4

    result = schuss.minimize(lambda x: parabola(x[0]), [8.0], jac=jac, learning_rate=0.1)
    assert result.stop_reason == "diverged" and result.path.shape == (9, 1)

    def hess(x):
        return 1 / 0 if x < 8 else 8.0

    result = schuss.minimize(parabola, 8.0, hess=hess, method="newton", learning_rate=1.0)
    assert result.stop_reason == "diverged" and "hess raised ZeroDivisionError" in result.message
    line_search = schuss.minimize(lambda x: x - math.log(x), 3.0, method="newton")
    assert line_search.success and line_search.x == pytest.approx(1)
    grid = schuss.minimize(lambda x: 1 / x + x, method="grid", bounds=(0, 2), n_points=5)
    assert grid.x == 1 and "1 of them not finite" in grid.message


def test_errors_at_the_start_are_the_callers():
    for fun, x0, error in ((lambda x: 1 / x, 0.0, ZeroDivisionError), (math.log, -1.0, ValueError),
                           (math.exp, 1e3, OverflowError)):  # fmt: skip
        for method in ("gd", "newton"):
            with pytest.raises(error) as caught:
                schuss.minimize(fun, x0, method=method)
            assert any("iteration 0" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match=r"the gradient at x0 is \[nan\].*fun raised ValueError"):
        schuss.minimize(math.sqrt, 1e-9)

    def fun(x):
        if x < 5:
            raise ValueError("mine")
        return parabola(x)

    with pytest.raises(ValueError, match="mine"):
        schuss.minimize(fun, 8.0, learning_rate=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_functions_may_write_to_their_argument(method):
    settings = {"method": method, "max_iter": 20}
    if method == "grid":
        settings |= {"bounds": [(-2, 2)] * 2, "n_points": 5}

    def spoiling(function):
        def call(x):
            result = np.copy(function(x))
            x[:] = np.nan
            return result if result.ndim else float(result)

        return call

    plain = {"jac": scipy.optimize.rosen_der, "hess": scipy.optimize.rosen_hess}
    right = schuss.minimize(rosenbrock, [-1.0, 2.0], **plain, **settings)
    spoilt = schuss.minimize(
        spoiling(rosenbrock), [-1.0, 2.0], **settings,
        **{name: spoiling(function) for name, function in plain.items()},
    )  # fmt: skip
    np.testing.assert_array_equal(spoilt.path, right.path)
    np.testing.assert_array_equal(spoilt.path_fun, right.path_fun)

    @ctypes.CFUNCTYPE(DOUBLE, INT, POINTER)
    def value(n, x):
        result = rosenbrock(x)
        x[0] = x[1] = math.nan
        return result

    @ctypes.CFUNCTYPE(None, INT, POINTER, POINTER)
    def gradient(n, x, out):
        out[0], out[1] = scipy.optimize.rosen_der(np.array([x[0], x[1]]))
        x[0] = x[1] = math.nan

    for backend in schuss.show_config()["backends"]:
        with schuss.use_backend(backend):
            for jac in (None, LowLevelCallable(gradient)):
                in_c = schuss.minimize(LowLevelCallable(value), [-1.0, 2.0], jac=jac, **settings)
                given = plain["jac"] if jac else None
                right = schuss.minimize(rosenbrock, [-1.0, 2.0], jac=given, **settings)
                np.testing.assert_allclose(in_c.path[:5], right.path[:5], rtol=1e-3)
                assert np.isfinite(in_c.path).all()


def test_a_contradicting_gradient_is_told_once():
    with pytest.warns(UserWarning, match=r"jac says 12\.5, but differences of fun say 12") as told:
        schuss.minimize(parabola, 8.0, jac=lambda x: 2 * x - 3.5, learning_rate=0.1, max_iter=50)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schuss.minimize(parabola, 8.0, jac=lambda x: 2 * x - 4, learning_rate=0.1)
        schuss.minimize(rosenbrock, [1.0, 1.0], jac=scipy.optimize.rosen_der)
        schuss.minimize(lambda x: parabola(x) + 1e6, 8.0, jac=lambda x: 2 * x - 4)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"x0": None}, ValueError, "x0 is missing"),
        ({"x0": math.inf}, ValueError, "NaN or infinity"),
        ({"x0": [[1.0]]}, ValueError, r"shape \(1, 1\)"),
        ({"x0": "a"}, ValueError, "dtype <U1"),
        ({"x0": []}, ValueError, r"shape \(0,\)"),
        ({"method": "bfgs"}, ValueError, "method='bfgs' is unknown; choose one of gd"),
        ({"learning_rate": 0}, ValueError, "learning_rate=0: expected positive"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate='fast'"),
        ({"learning_rate": lambda k: -1.0}, ValueError, r"learning_rate\(0\) returned -1.0"),
        ({"max_iter": 0}, ValueError, "max_iter=0"),
        ({"tol": -1}, ValueError, "tol=-1"),
        ({"tol": math.nan}, ValueError, "tol=nan"),
        ({"bounds": [(0, 1)]}, ValueError, "takes no bounds"),
        ({"method": "grid"}, ValueError, "needs bounds"),
        ({"method": "grid", "bounds": [(1, 0)]}, ValueError, "low < high"),
        ({"method": "grid", "bounds": [(0, 1)] * 2}, ValueError, "bounds has 2; expected one"),
        ({"callback": 3}, TypeError, "callback=3"),
        ({"jac": "cs"}, TypeError, "jac='cs'"),
        ({"fun": 3}, TypeError, "fun=3: expected a callable"),
        ({"fun": lambda x: [1.0, 2.0]}, ValueError, r"fun\(x\) returned shape \(2,\)"),
        ({"fun": lambda x: None}, ValueError, r"fun\(x\) returned None"),
        ({"fun": lambda x: 1j}, ValueError, r"fun\(x\) returned 1j"),
        ({"jac": lambda x: [1.0, 2.0]}, ValueError, r"jac\(x\) has shape \(2,\)"),
        ({"jac": True}, ValueError, r"jac=True, but fun\(x\) returned"),
        ({"method": "newton", "hess": [1.0, 2.0]}, ValueError, r"hess has shape \(2,\)"),
        ({"fun": POLYNOMIAL, "x0": [1.0, 2.0]}, ValueError, "a polynomial has one variable"),
        ({"fun": POLYNOMIAL, "jac": parabola}, ValueError, "has exact derivatives"),
        ({"fun": Polynomial([1.0, math.nan])}, ValueError, "finite numbers"),
        ({"fun": Polynomial([1.0, 1j])}, TypeError, "complex128"),
    ],
)  # fmt: skip
def test_bad_input(settings, error, words):
    with pytest.raises(error, match=words):
        schuss.minimize(**{"fun": parabola, "x0": 8.0, **settings})


def test_grids_too_large_for_memory_are_refused_with_their_size():
    with pytest.raises(ValueError, match=r"101 x 101 .* = 110,462,212,541,120,451,001 points"):
        schuss.minimize(lambda x: 0.0, method="grid", bounds=[(0, 1)] * 10)


def test_wrong_signatures_in_c():
    @ctypes.CFUNCTYPE(DOUBLE, DOUBLE, DOUBLE)
    def two(x, y):
        return x

    @ctypes.CFUNCTYPE(DOUBLE, DOUBLE)
    def one(x):
        return x

    @ctypes.CFUNCTYPE(DOUBLE, INT, POINTER)
    def several(n, x):
        return x[0]

    with pytest.raises(ValueError, match="expected double \\(double\\) or double \\(int, double"):
        schuss.minimize(LowLevelCallable(two), 1.0)
    with pytest.raises(ValueError, match="x0 has 2 entries, but the C function"):
        schuss.minimize(LowLevelCallable(one), [1.0, 2.0])
    with pytest.raises(ValueError, match="expected both to take a number"):
        schuss.minimize(LowLevelCallable(several), 1.0, jac=LowLevelCallable(one))
    with pytest.raises(ValueError, match="takes none"):
        schuss.minimize(LowLevelCallable(one), 1.0, args=(2,))


def test_values_that_overflow_downwards_end_the_run():
    result = schuss.minimize(Polynomial([0.0, 0.0, 0.0, 1.0]), 1.0, learning_rate=2.0, max_iter=50)

    assert result.stop_reason == "diverged" and np.isfinite(result.fun)
    assert np.isfinite(result.path_fun).all() and result.fun == result.x[0] ** 3


def test_a_root_that_is_too_large_for_a_float_is_none():
    """Of x + 1e-309 x^2 one is -1e309; NumPy refused the matrix of its quotients."""
    result = schuss.minimize(np.polynomial.Polynomial([0, 1, 1e-309]), 0.0, max_iter=5)
    assert np.isfinite(result.x).all() and result.fun < 0
