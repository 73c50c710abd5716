"""Formulas such as ``x**2 - 4*x + 6``, with exact derivatives.

Python's parser makes a syntax tree of the text. Only a few kinds of nodes are allowed; they are
evaluated here, by forward differentiation to second order, and never as Python code.
"""

import ast
import keyword
import operator
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike

_MAX_LENGTH = 10_000
_MAX_NUMBER = float(np.finfo(np.float64).max)
# Polynomials of a higher degree are evaluated like other functions.
_MAX_DEGREE = 100

_CONSTANTS = {"pi": np.pi, "e": np.e}

# Functions with their first and second derivatives.
_FUNCTIONS: dict[str, tuple[Any, Any, Any]] = {
    "sin": (np.sin, np.cos, lambda u: -np.sin(u)),
    "cos": (np.cos, lambda u: -np.sin(u), lambda u: -np.cos(u)),
    "tan": (np.tan, lambda u: 1 + np.tan(u) ** 2, lambda u: 2 * np.tan(u) * (1 + np.tan(u) ** 2)),
    "atan": (np.arctan, lambda u: 1 / (1 + u * u), lambda u: -2 * u / (1 + u * u) ** 2),
    "sinh": (np.sinh, np.cosh, np.sinh),
    "cosh": (np.cosh, np.sinh, np.cosh),
    "tanh": (
        np.tanh,
        lambda u: 1 - np.tanh(u) ** 2,
        lambda u: -2 * np.tanh(u) * (1 - np.tanh(u) ** 2),
    ),
    "exp": (np.exp, np.exp, np.exp),
    "log": (np.log, lambda u: 1 / u, lambda u: -1 / u**2),
    "sqrt": (np.sqrt, lambda u: 0.5 / np.sqrt(u), lambda u: -0.25 / u**1.5),
    "abs": (np.abs, np.sign, lambda u: 0.0 * u),
}

# Common notation that is not accepted, and what to write instead.
_SPELLINGS = {
    **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}\N{HYPHEN}", "a minus is written -"),
    **dict.fromkeys("×·⋅∙∗", "a product is written with *"),
    **dict.fromkeys("÷∕⁄", "a quotient is written with /"),
    **dict.fromkeys("√", "a square root is written sqrt(x)"),
    **dict.fromkeys("|", "an absolute value is written abs(x)"),
    **dict.fromkeys("[]{}", "parentheses are written ( and )"),
    **dict.fromkeys("=", "expected the formula alone, without y = or f(x) ="),
    **dict.fromkeys(",", "a decimal point is written ."),
    **dict.fromkeys("^", "a power is written **"),
}
_FUNCTION_NAMES = {
    "ln": "the natural logarithm is written log", "log10": "it is log(x)/log(10)",
    "log2": "it is log(x)/log(2)", "arctan": "it is written atan", "pow": "a power is written **",
    "tg": "it is written tan", "sh": "it is written sinh", "ch": "it is written cosh",
}  # fmt: skip
_NUMBER = re.compile(r"(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")

_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}

# Of a unary operator: that of the binary one with 0 on its left.
_SYMBOLS: dict[type, str] = {
    **dict.fromkeys((ast.Add, ast.UAdd), "+"), **dict.fromkeys((ast.Sub, ast.USub), "-"),
    ast.Mult: "*", ast.Div: "/", ast.Pow: "**",
}  # fmt: skip


class ExpressionError(ValueError):
    """A formula that is not valid; the message says where."""


class Expression:
    """A function of its variables, in alphabetical order.

    Parameters
    ----------
    text : str
        Numbers, names of variables, ``pi`` and ``e``, ``+ - * / **``, parentheses, and sin,
        cos, tan, atan, sinh, cosh, tanh, exp, log, sqrt and abs.

    Attributes
    ----------
    variables : tuple of str
    polynomial : numpy.polynomial.Polynomial or None
        The function, if it is one of a single variable.

    Raises
    ------
    ExpressionError
        With the column of the error.

    Examples
    --------
    >>> from schuss.expressions import Expression
    >>> f = Expression("(1 - x)**2 + 100*(y - x**2)**2")
    >>> f.variables, f([-1.0, 2.0])
    (('x', 'y'), 104.0)
    >>> f.jac([-1.0, 2.0])
    array([396., 200.])
    >>> f.hess([-1.0, 2.0])
    array([[402., 400.],
           [400., 200.]])
    """

    def __init__(self, text: str):
        # One line, so that the parser's columns are those of the text.
        self.text = text
        self._line = "".join(" " if c in "\r\n\t\f" else c for c in text)
        if not self._line.strip():
            raise ExpressionError("the expression is empty; expected one such as x**2 - 4*x + 6")
        if len(self._line) > _MAX_LENGTH:
            raise ExpressionError(
                f"the expression has {len(text):,} characters, expected at most {_MAX_LENGTH:,}"
            )
        names: set[str] = set()
        try:
            self._tree = self._parse()
            self._check(self._tree, names)
        except (RecursionError, MemoryError):
            raise ExpressionError("the expression is nested too deeply") from None
        self.variables = tuple(sorted(names))
        self.polynomial = self._as_polynomial() if len(names) == 1 else None

    def __call__(self, x: ArrayLike) -> float:
        """Value at x, an array-like of shape (n,) or, for one variable, a number."""
        x = np.atleast_1d(np.asarray(x, dtype=np.float64))
        return float(self._compute(self._tree, dict(zip(self.variables, x, strict=True))))

    def jac(self, x: ArrayLike) -> np.ndarray:
        """Gradient at x, of shape (n,)."""
        return self._jet(x, order=1).gradient

    def hess(self, x: ArrayLike) -> np.ndarray:
        """Hessian at x, of shape (n, n)."""
        return self._jet(x, order=2).hessian

    def tree(self) -> Any:
        """Return the expression as nested lists for other programs.

        Returns
        -------
        float, str or list
            A number, the name of a variable, or an operator or function before its operands.

        Examples
        --------
        >>> from schuss.expressions import Expression
        >>> Expression("x**2 - sin(y)").tree()
        ['-', ['**', 'x', 2.0], ['sin', 'y']]
        """
        return self._nested(self._tree)

    def _nested(self, node: Any) -> Any:
        if isinstance(node, ast.Constant):
            return float(cast(float, node.value))
        if isinstance(node, ast.Name):
            return float(_CONSTANTS[node.id]) if node.id in _CONSTANTS else node.id
        if isinstance(node, ast.Call):
            return [cast(ast.Name, node.func).id, self._nested(node.args[0])]
        if isinstance(node, ast.UnaryOp):
            return [_SYMBOLS[type(node.op)], 0.0, self._nested(node.operand)]
        return [_SYMBOLS[type(node.op)], *map(self._nested, (node.left, node.right))]

    def _jet(self, x, order):
        x = np.atleast_1d(np.asarray(x, dtype=np.float64))
        n = len(self.variables)
        constant = _Jet.constant(n, order)
        jets = {
            name: _Jet(value, row, constant.hessian)
            for name, value, row in zip(self.variables, x, np.eye(n), strict=True)
        }
        # The sum is a jet even if the expression has no variables.
        return constant + self._compute(self._tree, jets)

    def _parse(self):
        # Leading blanks would be an indentation.
        formula = self._line.lstrip()
        self._blanks = len(self._line) - len(formula)
        # Python ignores what follows a #, and stops at a null character.
        if wrong := re.search("[\0#]", self._line):
            raise self._error(wrong.start() + 1, "this character is not allowed in a formula")
        try:
            return ast.parse(formula, mode="eval").body
        except SyntaxError as error:
            self._check_notation()
            column = (error.offset or len(formula) + 1) + self._blanks
            raise self._error(min(column, len(self._line) + 1), error.msg) from None

    def _check_notation(self):
        """Raise an error for handwritten notation, which the parser does not recognise."""
        left, start = "", 0  # the number, name or parenthesis before the token
        for token, column in _tokens(self._line):
            if _SUPERSCRIPT.match(token):
                power = unicodedata.normalize("NFKC", token)
                raise self._error(column, f"a power is written **: {left}**{power}")
            if token in _SPELLINGS:
                raise self._error(column, _SPELLINGS[token])
            if keyword.iskeyword(token) or token in "'\"":
                return
            is_operand = token.isidentifier() or _NUMBER.match(token)
            if left in _FUNCTION_NAMES and is_operand:
                raise self._error(start, _FUNCTION_NAMES[left])
            if left in _FUNCTIONS and is_operand:
                raise self._error(start, f"{left} takes its argument in parentheses: {left}(...)")
            if left and (is_operand or token == "(" and not left.isidentifier()):
                raise self._error(column, _product(left, token))
            left, start = (token if is_operand or token == ")" else ""), column

    def _check(self, node: Any, names: set[str]) -> None:
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            if type(node.op) not in _OPERATORS:
                if isinstance(node, ast.BinOp):
                    raise self._operator_error(node)
                raise self._error_at(node, "unknown operator")
            parts = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.operand,)
            for part in parts:
                self._check(part, names)
        elif isinstance(node, ast.Constant):
            value: Any = node.value
            if type(value) is complex:
                raise self._error_at(
                    node, "expected a number or a name; a product is written with *"
                )
            if type(value) not in (int, float):
                raise self._error_at(node, "expected a number or a name")
            written = self._line[self._column(node.col_offset) - 1 :]
            if written[:1] == "0" and written[1:2].isalpha() and written[1] not in "eE":
                # Python reads a hexadecimal, octal or binary number.
                raise self._error(self._column(node.col_offset) + 1, _product("0", written[1]))
            # 1e999 is read as infinity; an integer may be larger than any float.
            if not -_MAX_NUMBER <= value <= _MAX_NUMBER:
                raise self._error_at(node, "this number is too large")
        elif isinstance(node, ast.Name):
            if node.id in _FUNCTIONS:
                raise self._error_at(node, f"{node.id} is a function; expected {node.id}(...)")
            if node.id == "π":
                raise self._error_at(node, "the number is written pi")
            if node.id not in _CONSTANTS:
                names.add(node.id)
        elif isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
                raise self._call_error(node)
            if len(node.args) != 1 or node.keywords:
                raise self._error_at(node, f"{node.func.id} takes one argument")
            self._check(node.args[0], names)
        else:
            hint = ""
            if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Subscript):
                hint = f"; {_SPELLINGS[',' if isinstance(node, ast.Tuple) else '[']}"
            raise self._error_at(
                node, f"expected numbers, names, + - * / ** and known functions{hint}"
            )

    def _compute(self, node, values):
        with np.errstate(all="ignore"):
            return self._value(node, values)

    def _value(self, node: Any, values: dict[str, Any]) -> Any:
        if isinstance(node, ast.Constant):
            return np.float64(cast(float, node.value))
        if isinstance(node, ast.Name):
            return values[node.id] if node.id in values else np.float64(_CONSTANTS[node.id])
        if isinstance(node, ast.Call):
            argument = self._value(node.args[0], values)
            rules = _FUNCTIONS[cast(ast.Name, node.func).id]
            return argument.through(*rules) if isinstance(argument, _Jet) else rules[0](argument)
        if isinstance(node, ast.UnaryOp):
            return _OPERATORS[type(node.op)](self._value(node.operand, values))
        left, right = self._value(node.left, values), self._value(node.right, values)
        if isinstance(node.op, ast.Pow) and isinstance(right, _Jet) and not isinstance(left, _Jet):
            left = right.constant_like(left)
        elif isinstance(right, _Jet) and not isinstance(left, _Jet):
            # NumPy's numbers would treat a jet as an array of objects.
            left = right.constant_like(left)
        return _OPERATORS[type(node.op)](left, right)

    def _as_polynomial(self):
        try:
            return self._polynomial(self._tree)
        except _NotPolynomial:
            return None

    def _polynomial(self, node: Any) -> Polynomial:
        if isinstance(node, ast.Constant):
            return Polynomial([float(cast(float, node.value))])
        if isinstance(node, ast.Name):
            constant = _CONSTANTS.get(node.id)
            return Polynomial([0.0, 1.0] if constant is None else [constant])
        if isinstance(node, ast.UnaryOp):
            return _OPERATORS[type(node.op)](self._polynomial(node.operand))
        if not isinstance(node, ast.BinOp):
            raise _NotPolynomial
        left, right = self._polynomial(node.left), self._polynomial(node.right)
        if isinstance(node.op, ast.Pow):
            power = right.coef[0]
            if right.degree() or power != int(power) or power < 0:
                raise _NotPolynomial
            if max(left.degree(), 1) * power > _MAX_DEGREE:
                raise _NotPolynomial
            return left ** int(power)
        if isinstance(node.op, ast.Div):
            if right.degree() or right.coef[0] == 0:
                raise _NotPolynomial
            return left / right.coef[0]
        result = _OPERATORS[type(node.op)](left, right)
        if result.degree() > _MAX_DEGREE or not np.isfinite(result.coef).all():
            raise _NotPolynomial
        return result

    def _error_at(self, node, text):
        return self._error(
            self._column(node.col_offset), text,
            self._line[self._column(node.col_offset) - 1 : self._column(node.end_col_offset) - 1],
        )  # fmt: skip

    def _call_error(self, node):
        """Error for a call of something else: a factor, or an unknown function."""
        # Where the arguments begin, after the parentheses around what is called.
        end = self._column(node.func.end_col_offset) - 1
        while self._line[end] != "(":
            end += 1
        name = getattr(node.func, "id", None)
        is_letter = name is not None and re.fullmatch(r"\w\d*", name)
        if is_letter or name in _CONSTANTS or not isinstance(node.func, ast.Name | ast.Attribute):
            left = self._line[self._column(node.col_offset) - 1 : end].strip()
            return self._error(end + 1, _product(left, "("))
        name = name or getattr(node.func, "attr", None)
        known = f"expected one of {', '.join(_FUNCTIONS)}"
        if name in _FUNCTIONS:
            known = f"it is written {name}"
        hint = f"; {_FUNCTION_NAMES[name]}" if name in _FUNCTION_NAMES else ""
        return self._error_at(node, f"unknown function{hint}; {known}")

    def _operator_error(self, node):
        start = self._column(node.left.end_col_offset) - 1
        while self._line[start] in " )":
            start += 1
        hint = f"; {_SPELLINGS[self._line[start]]}" if self._line[start] in _SPELLINGS else ""
        return self._error(start + 1, f"unknown operator{hint}")

    def _column(self, offset):
        """Column, from 1, of the parser's offset in bytes."""
        line = self._line[self._blanks :].encode()
        return len(line[:offset].decode()) + self._blanks + 1

    def _error(self, column, text, what=None):
        what = what or self._line[column - 1 : column + 11].strip() or "the end"
        return ExpressionError(f"column {column}, at {what!r}: {text}, in {self.text!r}")


def _tokens(line: str) -> Iterator[tuple[str, int]]:
    """Numbers, names and other characters of a formula, each with its column from 1."""
    place = 0
    while place < len(line):
        number = _NUMBER.match(line, place) or _SUPERSCRIPT.match(line, place)
        end = number.end() if number else place + 1
        while end < len(line) and line[place : end + 1].isidentifier():
            end += 1
        if not line[place].isspace():
            yield line[place:end], place + 1
        place = end


def _product(left, right):
    """How to write two factors side by side."""
    left = "(...)" if left.endswith(")") else left
    return f"a product is written with *: {left}*{'(...)' if right == '(' else right}"


class _NotPolynomial(Exception):
    pass


class _Jet:
    """A value with its gradient and, for second order, its Hessian (else None)."""

    def __init__(self, value, gradient, hessian):
        self.value, self.gradient, self.hessian = value, gradient, hessian

    @classmethod
    def constant(cls, n, order, value=0.0):
        return cls(np.float64(value), np.zeros(n), np.zeros((n, n)) if order > 1 else None)

    def constant_like(self, value):
        return self.constant(len(self.gradient), 1 + (self.hessian is not None), value)

    def through(self, f, first, second):
        """f of this jet, by the chain rule; f has these derivatives."""
        d1 = first(self.value)
        hessian = None
        if self.hessian is not None:
            hessian = d1 * self.hessian + second(self.value) * np.outer(
                self.gradient, self.gradient
            )
        return _Jet(f(self.value), d1 * self.gradient, hessian)

    def __pos__(self):
        return self

    def __neg__(self):
        return self * np.float64(-1.0)

    def __add__(self, other):
        if not isinstance(other, _Jet):
            return _Jet(self.value + other, self.gradient, self.hessian)
        hessian = None if self.hessian is None else self.hessian + other.hessian
        return _Jet(self.value + other.value, self.gradient + other.gradient, hessian)

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        if not isinstance(other, _Jet):
            other = self.constant_like(other)
        hessian = None
        if self.hessian is not None:
            cross = np.outer(self.gradient, other.gradient)
            hessian = self.value * other.hessian + other.value * self.hessian + cross + cross.T
        gradient = self.value * other.gradient + other.value * self.gradient
        return _Jet(self.value * other.value, gradient, hessian)

    def __truediv__(self, other):
        if not isinstance(other, _Jet):
            other = self.constant_like(other)
        return self * other.through(lambda u: 1 / u, lambda u: -1 / u**2, lambda u: 2 / u**3)

    def __pow__(self, power):
        if isinstance(power, _Jet):
            return (power * self.through(*_FUNCTIONS["log"])).through(*_FUNCTIONS["exp"])
        return self.through(
            lambda u: u**power,
            # 0 times an infinite power of 0 would be NaN.
            lambda u: power * u ** (power - 1) if power else 0.0,
            lambda u: power * (power - 1) * u ** (power - 2) if power * (power - 1) else 0.0,
        )
