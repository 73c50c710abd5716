"""Estimators on data frames of pandas, Polars and Arrow: as on arrays, with names of features."""

import numpy as np
import pytest

import schuss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] - X[:, 1] > 0).astype(int)
COLUMNS = dict(zip("abc", X.T, strict=True))
ESTIMATORS = {
    "LogisticRegression": lambda: schuss.LogisticRegression(),
    "SGDClassifier": lambda: schuss.SGDClassifier("log_loss", random_state=0),
    "SigmoidClassifier": lambda: schuss.SigmoidClassifier("log_loss", tol=0.01),
    "MLPClassifier": lambda: schuss.MLPClassifier((3,), solver="lbfgs", tol=0.1, random_state=0),
}


def frame(kind):
    if kind == "arrow":
        return pytest.importorskip("pyarrow").table(COLUMNS)
    if kind == "polars":
        return pytest.importorskip("polars").DataFrame(COLUMNS)
    pandas = pytest.importorskip("pandas").DataFrame(COLUMNS)
    return {"pandas": lambda: pandas, "nullable": lambda: pandas.convert_dtypes()}[kind]()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("kind", ["pandas", "nullable", "polars", "arrow"])
def test_frames(name, kind):
    table = frame(kind)
    model = ESTIMATORS[name]().fit(table, Y)
    expected = ESTIMATORS[name]().fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(table), expected, rtol=1e-6)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table.rename({"b": "other"}) if kind == "polars"
                      else table.rename_columns(["a", "other", "c"]) if kind == "arrow"
                      else table.rename(columns={"b": "other"}))  # fmt: skip
