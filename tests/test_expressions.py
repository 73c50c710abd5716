"""Formulas: values, exact derivatives, and what is refused, with its place."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from schuss.expressions import Expression, ExpressionError

FORMULAS = {
    "x**2 - 4*x + 6": lambda x: x**2 - 4 * x + 6,
    "sin(x)*exp(-y)/(1 + z**2)": lambda x, y, z: math.sin(x) * math.exp(-y) / (1 + z * z),
    "2**x + x**y + abs(x - 3*y)": lambda x, y: 2**x + x**y + abs(x - 3 * y),
    "sqrt(x) + log(y)*tanh(x) - cosh(y) + sinh(x)*atan(y)": lambda x, y: (
        math.sqrt(x) + math.log(y) * math.tanh(x) - math.cosh(y) + math.sinh(x) * math.atan(y)
    ),
    "-x**-2 + pi*e + tan(x/3) + cos(+x)": lambda x: (
        -(x**-2) + math.pi * math.e + math.tan(x / 3) + math.cos(x)
    ),
    "(-x)**3 - 1e-1": lambda x: (-x) ** 3 - 0.1,
}


@pytest.mark.parametrize("text", FORMULAS)
def test_values_and_derivatives(text):
    f = Expression(text)
    x = np.array([1.3, 0.7, 0.4])[: len(f.variables)]
    assert f(x) == pytest.approx(FORMULAS[text](*x), rel=1e-14)
    h = 1e-5
    sides = [(x + h * e, x - h * e) for e in np.eye(len(x))]
    assert_allclose(f.jac(x), [(f(a) - f(b)) / (2 * h) for a, b in sides], rtol=1e-7, atol=1e-9)
    hessian = [(f.jac(a) - f.jac(b)) / (2 * h) for a, b in sides]
    assert_allclose(f.hess(x), hessian, rtol=1e-7, atol=1e-9)


def test_derivatives_where_powers_vanish():
    f = Expression("x**0 + x**1 + x**2 + x**3")
    assert f.jac(0.0) == 1 and f.hess(0.0) == 2


def test_polynomials_are_known():
    assert_allclose(
        Expression("(x - 1)**3/2 - x*pi").polynomial.coef, [-0.5, 1.5 - np.pi, -1.5, 0.5]
    )
    for text in ("x**0.5", "x**-1", "x**x", "1/x", "sin(x)", "x + y", "x**1000"):
        assert Expression(text).polynomial is None


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("x^2", 2, "a power is written **"),
        ("é*x^2", 4, "a power is written **"),
        ("  x + foo(x)", 7, "unknown function; expected one of sin"),
        ("__import__('os').system('true')", 1, "unknown function"),
        ("x + y.real", 5, "expected numbers, names"),
        ("1 + [x]", 5, "expected numbers, names"),
        ("x if x else y", 1, "expected numbers, names"),
        ("x + 1j", 5, "expected a number"),
        ("'a'", 1, "expected a number"),
        ("x == 2", 1, "expected numbers, names"),
        ("lambda: 1", 1, "expected numbers, names"),
        ("2 + sin", 5, "sin is a function"),
        ("sin(x, y)", 1, "sin takes one argument"),
        ("sin(x=2)", 1, "sin takes one argument"),
        ("x**2) + (3", 5, "unmatched"),
        ("(x", 1, "never closed"),
        ("2x", 2, "a product is written with *: 2*x"),
        ("x +", 4, "invalid syntax"),
        ("1e999*x", 1, "too large"),
        ("x // 2", 3, "unknown operator"),
        ("not x", 1, "unknown operator"),
        ("x\0", 2, "this character is not allowed"),
        ("x # 2", 3, "this character is not allowed"),
    ],
)  # fmt: skip
def test_faults_have_a_place(text, column, words):
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    assert f"column {column}, " in str(caught.value), caught.value
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("2x**2-4x", 2, "a product is written with *: 2*x"),
        ("x**2 - 4.5x", 11, "4.5*x"),
        ("x(x-4)", 2, "a product is written with *: x*(...)"),
        ("2(x-1)", 2, "2*(...)"),
        ("(x-1)(x-3)", 6, "a product is written with *: (...)*(...)"),
        ("( (x-1) ) (x-3)", 11, "(...)*(...)"),
        ("(x-1)x", 6, "(...)*x"),
        ("sin(x)cos(x)", 7, "(...)*cos"),
        ("é + x y", 7, "x*y"),
        ("2pi", 2, "2*pi"),
        ("e(x + 1)", 2, "e*(...)"),
        ("2e", 2, "2*e"),
        ("0x1 + x", 2, "0*x"),
        ("2j*x", 1, "a product is written with *"),
        ("x² − 4x", 2, "a power is written **: x**2"),
        ("2*x¹²y", 4, "x**12"),
        ("x − 4", 3, "a minus is written -"),
        ("x – 4", 3, "a minus is written -"),
        ("2·x", 2, "a product is written with *"),
        ("x ÷ 2", 3, "a quotient is written with /"),
        ("√x", 1, "sqrt(x)"),
        ("|x - 1|", 1, "abs(x)"),
        ("sin x", 1, "sin takes its argument in parentheses: sin(...)"),
        ("2*ln x", 3, "the natural logarithm is written log"),
        ("2*log 3", 3, "log takes its argument in parentheses"),
        ("ln(x)", 1, "the natural logarithm is written log"),
        ("arctan(x)", 1, "it is written atan"),
        ("np.sin(x)", 1, "it is written sin"),
        ("π*x", 1, "written pi"),
        ("y = x**2", 3, "the formula alone"),
        ("x == 2x", 3, "the formula alone"),
        ("3,5*x", 1, "a decimal point is written ."),
        ("3,5x", 2, "a decimal point is written ."),
        ("[x - 1]*2", 1, "parentheses are written ( and )"),
    ],
)  # fmt: skip
def test_formulas_as_on_paper_are_explained(text, column, words):
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    assert f"column {column}, " in str(caught.value), caught.value
    assert words in str(caught.value)


def test_letters_of_mathematics_are_letters():
    assert Expression("ch + ln").variables == ("ch", "ln")
    f = Expression("𝑥**2 + é*x")
    assert f.variables == ("x", "é") and f([2.0, 3.0]) == 10


@pytest.mark.parametrize(
    "text", ["", " \n", "(" * 150 + "x", "-" * 9000 + "x", "x" * 20_000, "x + " * 2400 + "x"]
)
def test_empty_and_endless_text_is_refused(text):
    with pytest.raises(ExpressionError):
        Expression(text)


def test_large_powers_cost_nothing():
    f = Expression("9**9**9**9*x")
    assert f.polynomial is None and f(1.0) == math.inf
