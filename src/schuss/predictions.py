"""Predictions of linear models: neurons and logistic regression."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted, validate_data

from schuss import data, threads, validation
from schuss.constants import Activation
from schuss.losses import LOSSES
from schuss.objective import predict
from schuss.sparse import as_csr


class LinearPredictions:
    """Scores of rows and what is made of them, from weights that anyone may have set."""

    # Whether answers are scikit-learn's: of float32 rows and float64 weights in float64, and of
    # infinite scores, as sigma(inf) is 1. Otherwise scores that overflow are refused.
    _drop_in = False
    coef_: Any
    intercept_: Any

    def _threads_wanted(self) -> int | None:
        return None

    def _loss_function(self):
        return LOSSES["log_loss"]

    def _answers(self, X: Any, activation: Activation, mirrored: bool = False) -> np.ndarray:
        """Activated scores of shape (n, K), or (n, 2) where `mirrored`."""
        probabilities = self._loss_function().probabilities
        if probabilities is not None and activation != Activation.IDENTITY:
            z = self._answers(X, Activation.IDENTITY)
            both = probabilities(z, activation == Activation.LOG_LOGISTIC)
            return np.hstack(both) if mirrored else both[1]
        if not hasattr(self, "coef_"):
            check_is_fitted(self, "coef_")
        given, X = X, data.check_features(X, estimator=self, reset=False, finite=True)
        coef, intercept = validation.linear_weights(self, X.shape[1])
        if sp.issparse(coef):
            coef = coef.toarray()
        if self._drop_in and X.dtype == np.float32 and coef.dtype == np.float64:
            X = X.astype(np.float64)
        n_threads = threads.for_pass(self._threads_wanted(), data.size(X) * len(coef))
        answers, finite = predict(X, coef, intercept, activation, n_threads, mirrored)
        if not finite:
            data.check_features(given, estimator=self, reset=False)
            if not self._drop_in:
                self._refuse_scores(X, coef, intercept, n_threads)
        return answers

    def _refuse_scores(self, X, coef, intercept, n_threads):
        validation.check_finite_weights(coef_=coef, intercept_=intercept)
        z, _ = predict(X, coef, intercept, Activation.IDENTITY, n_threads)
        wrong = np.flatnonzero(~np.isfinite(z).all(axis=1))
        raise ValueError(
            f"X: features up to {data.largest(X):.3g}, times weights of coef_ up to "
            f"{np.abs(coef).max():.3g}, overflow in {z.dtype}, in {len(wrong)} of {len(z)} rows, "
            f"first in row {wrong[0]}. Scale X as the rows that were fitted, leave out rows that "
            "hold placeholders for missing values, or pass X as float64."
        )


class LinearClassifierPredictions(LinearPredictions):
    """Predictions of one neuron, or of one for each class.

    It needs ``_probabilities(X, log)``, those of several classes.
    """

    classes_: np.ndarray

    def _probabilities(self, X: Any, log: bool) -> np.ndarray:
        raise NotImplementedError

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores: log-odds of the second class, or one score a class.

        A row is of the second class where its score is above 0, or of the class of the largest
        score. Of a loss with other probabilities than the logistic function's, the score is that
        of the row less that of p = 1/2.

        Parameters
        ----------
        X : array-like, CSR matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n,), or (n, n_classes) for several classes
        """
        z = self._answers(X, Activation.IDENTITY)
        if even := self._loss_function().even_score:
            z -= even
        return z[:, 0] if z.shape[1] == 1 else z

    def predict(self, X: Any) -> np.ndarray:
        """Labels of the classes that are most probable.

        Parameters
        ----------
        X : array-like, CSR matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n,)
        """
        z = self.decision_function(X)
        return np.take(self.classes_, z.argmax(axis=1) if z.ndim > 1 else (z > 0).astype(int))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like, CSR matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_classes)
            Of several classes those of softmax (`LogisticRegression`), or the answers of their
            neurons divided by their sum (`SigmoidClassifier`).
        """
        if self._has_one_output():
            return self._answers(X, Activation.LOGISTIC, mirrored=True)
        return self._probabilities(X, log=False)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities, finite where the probabilities round to 0.

        Parameters
        ----------
        X : array-like, CSR matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        if self._has_one_output():
            return self._answers(X, Activation.LOG_LOGISTIC, mirrored=True)
        return self._probabilities(X, log=True)

    def _has_one_output(self) -> bool:
        if not hasattr(self, "classes_"):
            check_is_fitted(self)
        return len(self.classes_) == 2


def scores(estimator, X):
    """``X @ coef_.T + intercept_`` as scikit-learn computes it: (n, K), or (n,) for one neuron.

    Parameters
    ----------
    estimator : linear model
        Its `coef_` may be sparse.
    X : array-like, sparse matrix or data frame of shape (n, d)
    """
    check_is_fitted(estimator)
    data.refuse_other_libraries(X)
    with np.errstate(over="ignore", invalid="ignore"):
        X = validate_data(
            estimator, as_csr(X), accept_sparse="csr", dtype=[np.float64, np.float32], reset=False
        )
        coef, intercept = validation.linear_weights(estimator, X.shape[1])
        z = safe_sparse_dot(X, coef.T, dense_output=True) + intercept
    return z[:, 0] if z.shape[1] == 1 else z
