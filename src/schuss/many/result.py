"""What `fit_many` returns."""

from typing import Any

import numpy as np
from scipy.special import erfc

from schuss import data, objective, threads
from schuss.constants import Activation
from schuss.many.inputs import group_codes

# Rows whose weights are gathered at a time, as so many numbers.
_GATHERED = 1 << 20


class ManyResult:
    """Models that `fit_many` fitted together, along the first axis of each array.

    Attributes
    ----------
    coef : ndarray of shape (M, 1, d), float64
        NaN for a model that has no optimum, or was not fitted. Of a scan d counts the column
        that was added, which is the last.
    intercept : ndarray of shape (M, 1), float64
    n_iter : ndarray of shape (M,), int
    converged : ndarray of shape (M,), bool
    loss : ndarray of shape (M,), float64
        Mean objective, as ``loss_`` of `LogisticRegression`.
    stop_reason : ndarray of shape (M,), text
        "converged", "max_iter", "precision" (rounding hides any further descent), "one class"
        (all targets of the model are the same), "no weight" (all its sample weights are 0),
        "collinear" (some column is a combination of others, and nothing is penalised),
        "separable" (a hyperplane separates the classes, and nothing is penalised, so that the
        weights have no bound), "diverged" (the objective overflows), "interrupted".
    standard_error, z, p : ndarray of shape (M, 1, d), float64, or None
        Standard errors from the inverse of the Hessian, ``coef / standard_error``, and two-sided p
        values of Wald's test.
    intercept_standard_error : ndarray of shape (M, 1), float64, or None
    keys : dict of ndarray of shape (M,)
        What tells the models apart: "group", "target", "weight" or "column", as far as there
        are several, and "C".
    classes : ndarray of shape (2,), or None for real targets
    loss_name : str
        "log_loss" or "squared_error".
    feature_names : ndarray of shape (d,), or None
    """

    def __init__(
        self, *, coef: np.ndarray, intercept: np.ndarray, n_iter: np.ndarray, loss: np.ndarray,
        stop_reason: np.ndarray, keys: dict[str, np.ndarray], classes: np.ndarray | None,
        loss_name: str, fit_intercept: bool, feature_names: np.ndarray | None = None,
        standard_error: np.ndarray | None = None,
        intercept_standard_error: np.ndarray | None = None,
    ):  # fmt: skip
        self.coef, self.intercept = coef, intercept
        self.n_iter, self.loss, self.stop_reason = n_iter, loss, stop_reason
        self.keys, self.classes = keys, classes
        self.loss_name, self.fit_intercept = loss_name, fit_intercept
        self.feature_names = feature_names
        self.standard_error = standard_error
        self.intercept_standard_error = intercept_standard_error

    def __len__(self):
        return len(self.coef)

    def __repr__(self):
        return (
            f"<ManyResult: {len(self)} models of {self.coef.shape[2]} features, "
            f"{int(self.converged.sum())} converged>"
        )

    @property
    def converged(self) -> np.ndarray:
        return self.stop_reason == "converged"

    @property
    def z(self) -> np.ndarray | None:
        return None if self.standard_error is None else self._tests()[0]

    @property
    def p(self) -> np.ndarray | None:
        return None if self.standard_error is None else self._tests()[1]

    def _tests(self):
        with np.errstate(all="ignore"):
            z = self.coef / self.standard_error
            return z, erfc(np.abs(z) / np.sqrt(2))

    def find(self, **keys: Any) -> np.ndarray:
        """Places of the models with some keys.

        Parameters
        ----------
        **keys : object
            Values of entries of `keys`, for example ``group="a"`` or ``C=1.0``.

        Returns
        -------
        ndarray of whole numbers
        """
        unknown = [name for name in keys if name not in self.keys]
        if unknown:
            raise ValueError(
                f"{unknown[0]} is no key of these models; expected some of {', '.join(self.keys)}."
            )
        found = np.ones(len(self), bool)
        for name, value in keys.items():
            found &= self.keys[name] == value
        return np.flatnonzero(found)

    def model(self, i: int | None = None, **keys: Any) -> Any:
        """One of the models as an estimator.

        Parameters
        ----------
        i : int, default=None
            Its place; or pass keys that belong to one model, as of `find`.
        **keys : object

        Returns
        -------
        LogisticRegression, SigmoidClassifier or SigmoidRegressor
            The first for labels and the log-loss, the last for real targets.
        """
        from schuss.linear import LogisticRegression
        from schuss.neuron import SigmoidClassifier, SigmoidRegressor

        if i is None:
            places = self.find(**keys)
            if len(places) != 1:
                raise ValueError(
                    f"{len(places)} models have {keys!r}, expected keys of one. Their names are "
                    f"{', '.join(self.keys)}."
                )
            i = int(places[0])
        if not -len(self) <= i < len(self):
            raise IndexError(f"model {i} of {len(self)}: there is none")
        if not np.isfinite(self.coef[i]).all():
            raise ValueError(f"model {i} was not fitted: {self.stop_reason[i]}.")
        C = float(self.keys["C"][i])
        options = {"fit_intercept": self.fit_intercept}
        model: Any
        if self.classes is None:
            model = SigmoidRegressor(loss=self.loss_name, solver="newton", **options)
        elif self.loss_name == "log_loss":
            model = LogisticRegression(C=C, **options)
        else:
            model = SigmoidClassifier(loss=self.loss_name, solver="newton", **options)
        if self.classes is not None:
            model.classes_ = self.classes
        model.coef_, model.intercept_ = self.coef[i].copy(), self.intercept[i].copy()
        if self.classes is None:
            model.coef_, model.intercept_ = model.coef_[0], float(model.intercept_[0])
        model.n_features_in_ = self.coef.shape[2]
        if self.feature_names is not None and len(self.feature_names) == model.n_features_in_:
            model.feature_names_in_ = self.feature_names
        model.n_iter_ = np.full(1, self.n_iter[i], np.int32)
        model.loss_, model.stop_reason_ = float(self.loss[i]), str(self.stop_reason[i])
        model.converged_ = bool(self.converged[i])
        return model

    def predict_proba(self, X: Any, groups: Any = None) -> np.ndarray:
        """Probabilities of both classes (of real targets: of 0 and 1).

        Parameters
        ----------
        X : array-like, CSR matrix or data frame of shape (n, d)
        groups : array-like of shape (n,), default=None
            Keys of the rows, for models of groups: each row is answered by its group's model.

        Returns
        -------
        ndarray of shape (n, 2) for models of groups
            With several models a group, (m, n, 2).
        ndarray of shape (M, n, 2) for other models
            NaN by models that were not fitted.
        """
        X = data.check_features(X)
        n, d = X.shape
        if "column" in self.keys:
            raise ValueError(
                "These models are a scan: each has a column of its own. Pass X with that column, "
                "the last, to model(i).predict_proba."
            )
        if d != self.coef.shape[2]:
            raise ValueError(
                f"X has {d} features, but these models were fitted with {self.coef.shape[2]}."
            )
        if ("group" in self.keys) != (groups is not None):
            raise ValueError(
                "groups is missing: these models are of groups; pass the key of each row."
                if groups is None
                else "groups was passed, but these models are not of groups."
            )
        if groups is None:
            return self._all_on_all(X)
        first = np.unique(self.keys["group"], return_index=True)[1]
        known = self.keys["group"][np.sort(first)]
        _, codes = group_codes(groups, n, known)
        several = len(self) // len(known)
        out = np.empty((several, n, 2))
        coef = self.coef.reshape(len(known), several, d)
        intercept = self.intercept.reshape(len(known), several)
        step = max(1, _GATHERED // max(d, 1))
        for start in range(0, n, step):
            rows = slice(start, start + step)
            part = X[rows].toarray() if not isinstance(X, np.ndarray) else X[rows]
            for k in range(several):
                z = np.einsum("ij,ij->i", part, coef[codes[rows], k]) + intercept[codes[rows], k]
                out[k, rows] = _both(z)
        return out[0] if several == 1 else out

    def _all_on_all(self, X):
        n_threads = threads.for_pass(None, data.size(X) * len(self))
        z, _ = objective.predict(
            X, self.coef[:, 0], self.intercept[:, 0], Activation.IDENTITY, n_threads
        )
        return _both(z.T)

    def to_frame(self, backend: Any = "pandas") -> Any:
        """A table with a row for each model.

        Its columns are the keys; for a scan ``coef``, ``standard_error``, ``z`` and ``p`` of the
        column that was added, else ``intercept`` and the weight of each feature, and their
        standard errors where there are any; ``n_iter``, ``converged``, ``loss``, ``stop_reason``.

        Parameters
        ----------
        backend : str, default="pandas"
            Of narwhals: "pandas", "polars", "pyarrow", ...

        Returns
        -------
        data frame of the backend
        """
        try:
            import narwhals as nw
        except ImportError as error:
            raise ImportError(
                f'ManyResult.to_frame needs narwhals: pip install "schuss[files]" ({error})'
            ) from error
        columns = dict(self.keys)
        if "column" in self.keys:
            columns["coef"] = self.coef[:, 0, -1]
            if self.standard_error is not None:
                columns["standard_error"] = self.standard_error[:, 0, -1]
                z, p = self._tests()
                columns["z"], columns["p"] = z[:, 0, -1], p[:, 0, -1]
        else:
            names = [f"x{j}" for j in range(self.coef.shape[2])]
            if self.feature_names is not None:
                names = self.feature_names.tolist()
            columns["intercept"] = self.intercept[:, 0]
            columns |= {str(name): self.coef[:, 0, j] for j, name in enumerate(names)}
            if self.standard_error is not None and self.intercept_standard_error is not None:
                columns["standard_error_intercept"] = self.intercept_standard_error[:, 0]
                columns |= {
                    f"standard_error_{name}": self.standard_error[:, 0, j]
                    for j, name in enumerate(names)
                }
        columns["n_iter"], columns["converged"] = self.n_iter, self.converged
        columns["loss"], columns["stop_reason"] = self.loss, self.stop_reason
        plain = {name: np.ascontiguousarray(column) for name, column in columns.items()}
        return nw.from_dict(plain, backend=backend).to_native()


def _both(z):
    """Probabilities of both classes, neither as 1 minus the other."""
    out = np.empty((*z.shape, 2))
    with np.errstate(over="ignore"):
        out[..., 0], out[..., 1] = 1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))
    return out
