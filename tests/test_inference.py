"""Standard errors, tests, intervals, offsets, bounds, Firth's penalty: against R and SciPy.

The numbers of R come from `inference_fixtures.R`, in the JSON file of its name, which tells the
versions of R, sandwich and brglm2.
"""

import json
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import schuss
from schuss import LogisticRegression, SGDClassifier, SigmoidClassifier, SigmoidRegressor

PROBLEMS = json.loads(
    Path(__file__).with_name("inference_fixtures.json").read_text(encoding="utf-8")
)["problems"]


class Problem:
    """A problem of the file, fitted."""

    def __init__(self, record, sparse=False, **given):
        self.record = record
        self.X, self.y = np.array(record["X"]), np.array(record["y"])
        self.X = sp.csr_array(self.X) if sparse else self.X
        self.rows = {"sample_weight": record["weight"], "offset": record["offset"]}
        model = LogisticRegression(C=np.inf, tol=1e-11, fit_intercept=record["intercept"])
        with warnings.catch_warnings():
            # Rounding may end it a little above so small a tolerance.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model = model.fit(self.X, self.y, **self.rows, **given)

    def summary(self, **options):
        return self.model.summary(self.X, self.y, **self.rows, **options)


@pytest.fixture(scope="module", params=range(len(PROBLEMS)))
def problem(request):
    return Problem(PROBLEMS[request.param])


def near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)


def test_estimates_and_covariance(problem):
    result = problem.summary()
    near(result.coef, problem.record["coef"])
    near(result.cov, problem.record["cov"])
    near(result.std_err, np.sqrt(np.diag(problem.record["cov"])))
    near(result.z, result.coef / result.std_err)
    assert result.n_obs == len(problem.y) and result.df_model == len(result.coef)


@pytest.mark.parametrize("cov_type", ["HC0", "HC1", "HC2", "HC3"])
def test_robust_covariance(problem, cov_type):
    near(problem.summary(cov_type=cov_type).cov, problem.record["robust"][cov_type])


def test_clustered_covariance(problem):
    result = problem.summary(cov_type="cluster", groups=problem.record["groups"])
    near(result.cov, problem.record["cluster"])


def test_criteria_and_tests(problem):
    result = problem.summary()
    near(result.log_likelihood, problem.record["log_likelihood"])
    near((result.aic, result.bic), (problem.record["aic"], problem.record["bic"]))
    near(result.lr_test().statistic, problem.record["lr"])
    near(result.score_test().statistic, problem.record["score"])
    cov = np.array(problem.record["cov"])[-1, -1]
    near(result.wald_test(result.names[-1]).statistic, problem.record["coef"][-1] ** 2 / cov)


def test_profile_intervals(problem):
    near(problem.summary().conf_int(method="profile"), problem.record["profile"])


def test_firth():
    for record in PROBLEMS:
        problem = Problem(record, bias_reduction="firth")
        result = problem.summary()
        near(result.coef, record["firth"]["coef"])
        near(result.cov, record["firth"]["cov"])
        near(result.log_likelihood, record["firth"]["value"])


def test_sparse_rows_are_the_same():
    for record in PROBLEMS[2:5]:
        for given in ({}, {"bias_reduction": "firth"}):
            dense, sparse = Problem(record, **given), Problem(record, sparse=True, **given)
            near(sparse.model.coef_, dense.model.coef_)
            kinds = ("nonrobust",) if given else ("nonrobust", "HC0", "HC3")
            for cov_type in kinds:
                expected = dense.summary(cov_type=cov_type).cov
                near(sparse.summary(cov_type=cov_type).cov, expected)
            if not given:
                options = {"cov_type": "cluster", "groups": record["groups"]}
                near(sparse.summary(**options).cov, dense.summary(**options).cov)


def penalised(theta, M, y):
    """Firth's penalised log-likelihood, with its sign changed."""
    z = M @ theta
    information = M.T @ (M * (expit(z) * expit(-z))[:, None])
    return (np.logaddexp(0, z) - y * z).sum() - 0.5 * np.linalg.slogdet(information)[1]


def test_profiles_and_tests_with_firths_penalty():
    record = PROBLEMS[0]
    problem = Problem(record, bias_reduction="firth")
    result = problem.summary()
    M = np.column_stack([np.ones(len(problem.y)), problem.X])
    ends = result.conf_int(method="profile")
    for j in range(M.shape[1]):
        for end in ends[j]:
            others = np.delete(np.arange(M.shape[1]), j)

            def value(rest, j=j, others=others, end=end):
                theta = np.empty(M.shape[1])
                theta[others], theta[j] = rest, end
                return penalised(theta, M, problem.y)

            found = minimize(value, result.coef[others], method="BFGS", options={"gtol": 1e-9})
            fallen = found.fun - penalised(result.coef, M, problem.y)
            assert 2 * fallen == pytest.approx(3.841458820694124, abs=1e-6)
    without = minimize(
        lambda b: penalised(np.array([b[0], 0, 0]), M, problem.y), [0.0], method="BFGS"
    )
    fallen = without.fun - penalised(result.coef, M, problem.y)
    assert result.lr_test().statistic == pytest.approx(2 * fallen, abs=1e-6)


# ---------------------------------------------------------------- against statsmodels


def test_several_classes_as_statsmodels():
    from statsmodels import api

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 3)), rng.integers(0, 3, 300)
    groups = rng.integers(0, 25, 300)
    model = LogisticRegression(C=np.inf, tol=1e-12).fit(X, y)
    for cov_type, options in (
        ("nonrobust", {}), ("HC0", {}), ("cluster", {"groups": groups}),
    ):  # fmt: skip
        theirs = api.MNLogit(y, api.add_constant(X)).fit(
            disp=0, tol=1e-14, cov_type=cov_type, cov_kwds=options or None
        )
        ours = model.summary(X, y, cov_type=cov_type, **options)
        near(ours.coef, theirs.params.T.ravel())
        near(ours.std_err, theirs.bse.T.ravel())
        near(ours.log_likelihood, theirs.llf)
        assert ours.lr_test().statistic == pytest.approx(theirs.llr, rel=1e-6)
    assert ours.df_model == 8 and ours.names[4] == "2: intercept"


def test_two_classes_as_statsmodels():
    from statsmodels import api

    rng = np.random.default_rng(1)
    X = rng.standard_normal((500, 6))
    y = (rng.random(500) < expit(X[:, 0] - 0.3)).astype(int)
    groups, offset = rng.integers(0, 31, 500), rng.standard_normal(500) / 2
    model = LogisticRegression(C=np.inf, tol=1e-12).fit(X, y, offset=offset)
    for cov_type, options in (
        ("nonrobust", {}), ("HC0", {}), ("cluster", {"groups": groups}),
    ):  # fmt: skip
        theirs = api.GLM(y, api.add_constant(X), api.families.Binomial(), offset=offset).fit(
            tol=1e-14, cov_type=cov_type, cov_kwds=options or None
        )
        ours = model.summary(X, y, offset=offset, cov_type=cov_type, **options)
        near(ours.std_err, theirs.bse)
        near(ours.p_values, theirs.pvalues)
        near(ours.conf_int(0.9), theirs.conf_int(0.1))
    near(ours.wald_test(["x0", "x3"]).statistic,
         theirs.wald_test(np.eye(7)[[1, 4]], scalar=True).statistic)  # fmt: skip


# ---------------------------------------------------------------- other estimators, penalties


@pytest.fixture(scope="module")
def plain():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, 3))
    return X, (rng.random(200) < expit(X @ [1.0, -0.5, 0] + 0.2)).astype(int)


def test_estimators_agree(plain):
    X, y = plain
    expected = LogisticRegression(C=np.inf, tol=1e-11).fit(X, y).summary(X, y)
    neuron = SigmoidClassifier(loss="log_loss", solver="newton", tol=1e-11).fit(X, y)
    near(neuron.summary(X, y).cov, expected.cov)
    rates = SigmoidRegressor(loss="log_loss", solver="newton", tol=1e-11).fit(X, y)
    got = rates.summary(X, y, cov_type="HC1")
    near(got.cov, neuron.summary(X, y, cov_type="HC1").cov)
    assert "fractional" in got.notes[0]
    with pytest.warns(ConvergenceWarning, match="standard errors"):
        rough = SGDClassifier(loss="log_loss", penalty=None, max_iter=1, tol=None).fit(X, y)
        rough.summary(X, y)


def test_threads_share_a_summary(plain):
    X, y = plain
    result = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y).summary(X, y)
    expected = result.conf_int(method="profile")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: result.conf_int(method="profile"), range(8)))
    assert all((ends == expected).all() for ends in found)


def test_float32_rows(plain):
    X, y = plain
    wide = X.astype(np.float32)
    model = LogisticRegression(C=np.inf, tol=1e-5).fit(wide, y)
    expected = LogisticRegression(C=np.inf, tol=1e-11).fit(wide.astype(float), y)
    for cov_type in ("nonrobust", "HC3"):
        got = model.summary(wide, y, cov_type=cov_type).std_err
        wanted = expected.summary(wide.astype(float), y, cov_type=cov_type).std_err
        np.testing.assert_allclose(got, wanted, rtol=1e-4)


def test_an_offset_where_rounding_hides_the_optimum():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 5)).astype(np.float32)
    y, offset = rng.integers(0, 2, 2000), rng.standard_normal(2000)
    with pytest.warns(ConvergenceWarning, match="rounding hides any further descent"):
        model = LogisticRegression(C=np.inf, tol=1e-12).fit(X, y, offset=offset)
    exact = LogisticRegression(C=np.inf, tol=1e-12).fit(X.astype(float), y, offset=offset)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("weight", [1e300, 1e-300])
def test_weights_that_float32_cannot_hold_are_named(weight):
    X, y = np.arange(40, dtype=np.float32).reshape(20, 2) % 7, np.arange(20) % 2
    weights = np.full(20, weight)
    with pytest.raises(ValueError, match=r"sample_weight: .* is 0 or infinite in float32"):
        LogisticRegression(C=np.inf).fit(X, y, sample_weight=weights, offset=np.ones(20))


def test_a_penalty_is_said(plain):
    X, y = plain
    model = LogisticRegression(C=0.5, tol=1e-11).fit(X, y)
    result = model.summary(X, y)
    assert "shrinks" in result.notes[0] and "Note: a penalty shrinks" in str(result)
    M = np.column_stack([np.ones(len(y)), X])
    p = model.predict_proba(X)[:, 1]
    information = M.T @ (M * (p * (1 - p))[:, None])
    whole = information + np.diag([0, 2.0, 2, 2])
    near(result.cov, np.linalg.inv(whole))
    near(result.df_model, np.trace(np.linalg.solve(whole, information)))
    near(result.log_likelihood, np.log(np.where(y == 1, p, 1 - p)).sum())
    for test in (result.lr_test, result.score_test, lambda: result.conf_int(method="profile")):
        with pytest.raises(ValueError, match="penalty shrinks"):
            test()
    several = LogisticRegression(C=0.5, tol=1e-11).fit(X, y + (X[:, 1] > 0))
    shrunk = several.summary(X, y + (X[:, 1] > 0))
    assert shrunk.df_model < 8 and np.isfinite(shrunk.std_err).all()


def test_tables(plain):
    import pandas as pd

    X, y = plain
    frame = pd.DataFrame(X, columns=["age", "dose & <kind>", "x"])
    result = LogisticRegression(C=np.inf, tol=1e-9).fit(frame, y).summary(frame, y)
    assert result.names == ["intercept", "age", "dose & <kind>", "x"]
    table = result.to_frame(0.9)
    assert table.index.tolist() == result.names
    near(table[["lower", "upper"]], result.conf_int(0.9))
    near(table["odds_ratio"], result.odds_ratios()[:, 0])
    near(result.odds_ratios()[:, 1:], np.exp(result.conf_int()))
    assert "<th>dose &amp; &lt;kind&gt;</th>" in result.to_html() == result._repr_html_()
    lines = str(result).splitlines()
    assert len({len(line) for line in lines if line.startswith(("-", "age", "x"))}) == 1
    assert "likelihood-ratio test" in str(result)
    assert len(pickle.loads(pickle.dumps(result.to_frame()))) == 4


# ---------------------------------------------------------------- bounds, separation


def test_bounds_are_those_of_scipy(plain):
    X, y = plain

    def value(theta, weight):
        z = X @ theta[:3] + theta[3]
        return (np.logaddexp(0, z) - y * z).sum() + weight / 2 * theta[:3] @ theta[:3]

    for C, bounds, pairs in (
        (np.inf, (-0.2, 0.7), [(-0.2, 0.7)] * 3),
        (1.0, {"x0": (2, 3), 1: (-np.inf, -1)}, [(2, 3), (None, -1), (None, None)]),
        (np.inf, (np.array([0, 0, 0.3]), np.inf), [(0, None), (0, None), (0.3, None)]),
    ):
        model = LogisticRegression(C=C, tol=1e-10)
        if isinstance(bounds, dict):
            import pandas as pd

            model.fit(pd.DataFrame(X, columns=["x0", "b", "c"]), y, bounds=bounds)
        else:
            model.fit(X, y, bounds=bounds)
        found = minimize(
            value, np.clip(np.zeros(4), *np.array([*[(p[0] or -9, p[1] or 9) for p in pairs],
                                                   (-9, 9)]).T),
            args=(1 / C,), bounds=[*pairs, (None, None)], method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-8},
        )  # fmt: skip
        np.testing.assert_allclose(model.coef_[0], found.x[:3], atol=1e-5)
        assert model.converged_ and model.stop_reason_ == "converged"


def test_monotone_is_a_bound_at_0(plain):
    X, y = plain
    one = LogisticRegression(C=np.inf, tol=1e-10)
    one.fit(X, y, monotone=[-1, "increasing", 0])
    other = clone(one).fit(X, y, bounds=([-np.inf, 0, -np.inf], [0, np.inf, np.inf]))
    assert (one.coef_ == other.coef_).all() and (one.coef_[0, :2] == 0).all()
    result = one.summary(X, y)
    assert np.isnan(result.std_err[1:3]).all() and np.isfinite(result.std_err[[0, 3]]).all()
    assert result.df_model == 2 and "x0, x1" in result.notes[-1]
    neuron = SigmoidClassifier(loss="log_loss", solver="newton", tol=1e-10)
    near(neuron.fit(X, y, monotone={0: "decreasing", 1: 1}).coef_, one.coef_)


def test_a_saved_model_knows_its_constraints(plain, tmp_path):
    X, y = plain
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y, monotone=[-1, 1, 0])
    schuss.save(model, tmp_path / "model.safetensors")
    again = schuss.load(tmp_path / "model.safetensors").summary(X, y)
    np.testing.assert_array_equal(again.cov, model.summary(X, y).cov)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_separation_is_found_and_named(plain, kind):
    X, y = plain
    rng = np.random.default_rng(0)
    rare = ((y == 1) & (rng.random(len(y)) < 0.1)).astype(float)
    for column, rows in ((rare, int(rare.sum())), (y + rng.random(len(y)) / 2, None)):
        wide = kind(np.column_stack([X, column]))
        model = LogisticRegression(C=np.inf, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(wide, y)
        assert model.fit_info_["separation"] == ["x3"]
        with pytest.warns(schuss.SeparationWarning, match="column 'x3' separates") as caught:
            model.summary(wide, y)
        text = str(caught[0].message)
        assert rows is None or f"separates {rows} rows" in text
        with (
            pytest.warns(ConvergenceWarning),
            pytest.warns(schuss.SeparationWarning, match="'x3'"),
        ):
            clone(model).set_params(max_iter=3).fit(wide, y)
        finite = clone(model).fit(wide, y, bias_reduction="firth")
        assert finite.converged_ and np.abs(finite.coef_).max() < 30
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two = LogisticRegression(C=np.inf).fit(np.column_stack([X, y - X[:, 2]]), y)
    assert two.fit_info_["separation"] == ["x2", "x3"]


def test_no_separation_where_there_is_none(plain):
    X, y = plain
    # The second has scores of hundreds, and yet a row on the wrong side.
    odd = np.append(X[:, 0], -50), np.append((X[:, 0] > 0).astype(int), 1)
    for rows, labels, C in (
        (X * [1, 1000, 1e-3], y, np.inf), (odd[0][:, None], odd[1], np.inf),
        (y[:, None] * 1.0, y, 1e6),
    ):  # fmt: skip
        model = LogisticRegression(C=C).fit(rows, labels)
        assert "separation" not in model.fit_info_


# ---------------------------------------------------------------- bad input


def refuse(match, call):
    with pytest.raises(ValueError, match=match):
        call()


def test_what_a_summary_refuses(plain):
    X, y = plain
    model = LogisticRegression(C=np.inf).fit(X, y)
    collinear = np.column_stack([X, X[:, 0] - 2 * X[:, 1]])
    wide = LogisticRegression(C=np.inf).fit(collinear, y)
    refuse("'x3' is a combination of 'x0', 'x1'", lambda: wide.summary(collinear, y))
    zero = np.column_stack([X, 0 * y])
    refuse("'x3' is 0", lambda: LogisticRegression(C=np.inf).fit(zero, y).summary(zero, y))
    groups = np.arange(200) % 7
    refuse("cov_type='HC9' is unknown", lambda: model.summary(X, y, cov_type="HC9"))
    refuse("groups is missing", lambda: model.summary(X, y, cov_type="cluster"))
    refuse("groups came with", lambda: model.summary(X, y, groups=groups))
    for wrong, match in (
        (np.zeros(200), "one cluster alone"), (np.arange(200), "a cluster of its own"),
        (groups[:5], "groups has 5 rows"), (groups[:, None], "groups has shape"),
    ):  # fmt: skip
        refuse(match, lambda wrong=wrong: model.summary(X, y, cov_type="cluster", groups=wrong))
    refuse("labels that are not among", lambda: model.summary(X, y + 7))
    refuse("offset: the model was fitted without", lambda: model.summary(X, y, offset=y))
    refuse("NaN", lambda: model.summary(np.where(X > 2, np.nan, X), y))
    result = model.summary(X, y)
    refuse("columns: 'nobody'", lambda: result.wald_test("nobody"))
    refuse("level=95", lambda: result.conf_int(95))
    refuse("method='boot'", lambda: result.conf_int(method="boot"))
    lasso = LogisticRegression(l1_ratio=1, solver="saga", C=0.1).fit(X, y)
    refuse("L1 penalty", lambda: lasso.summary(X, y))
    for hinge in (SGDClassifier(), schuss.Perceptron()):
        refuse("likelihood", lambda hinge=hinge: hinge.fit(X, y).summary(X, y))
    refuse("likelihood", lambda: SigmoidClassifier().fit(X, y).summary(X, y))
    refuse("X is a stream", lambda: model.summary(schuss.Stream(X, y), None))
    several = SigmoidClassifier(loss="log_loss").fit(X, y + (X[:, 1] > 0))
    refuse("neuron of its own", lambda: several.summary(X, y + (X[:, 1] > 0)))
    firth = LogisticRegression(C=np.inf).fit(X, y, bias_reduction="firth")
    refuse("nonrobust", lambda: firth.summary(X, y, cov_type="HC1"))
    with pytest.warns(ConvergenceWarning, match="not the optimum of these rows"):
        model.summary(X[:150], y[:150])


def test_what_a_fit_refuses(plain):
    X, y = plain
    offset = np.zeros(200)
    model = LogisticRegression(C=np.inf)
    before = vars(model).copy()
    for given, match in (
        ({"offset": offset[:9]}, "offset has 9 rows"),
        ({"offset": np.where(offset == 0, np.inf, 0)}, "offset is inf in row 0"),
        ({"offset": np.zeros((200, 2))}, "offset has shape"),
        ({"offset": ["a"] * 200}, "offset: "),
        ({"bounds": (1, 0)}, "no coefficient of 'x0' is between 1 and 0"),
        ({"bounds": (np.nan, 0)}, "no coefficient of 'x0'"),
        ({"bounds": {"age": (0, 1)}}, "bounds: 'age' is no feature"),
        ({"bounds": {0: 3}}, "expected a pair"),
        ({"bounds": ([0, 1], [2, 3])}, "expected a pair"),
        ({"bounds": (1, 2), "monotone": [-1, 0, 0]}, "bounds and monotone"),
        ({"monotone": [1, 1]}, "monotone has 2 entries"),
        ({"monotone": [1, 2, 0]}, "monotone: got 2"),
        ({"bias_reduction": "cauchy"}, "bias_reduction='cauchy'"),
        ({"offset": offset, "eval_set": (X, y)}, "offset with eval_set"),
    ):
        refuse(match, lambda given=given: model.fit(X, y, **given))
        assert vars(model) == before
    stream = schuss.Stream(X, y)
    refuse("X is a stream", lambda: model.fit(stream, monotone=[1, 0, 0]))
    refuse("of its own", lambda: LogisticRegression().fit(X, y, bias_reduction="firth"))
    collinear = np.column_stack([X, X[:, 0]])
    refuse("'x[03]' is a combination", lambda: model.fit(collinear, y, bias_reduction="firth"))
    refuse("3 classes", lambda: model.fit(X, y + (X[:, 1] > 0), monotone=[1, 0, 0]))
    lasso = LogisticRegression(l1_ratio=1, solver="saga")
    refuse("L1 penalty", lambda: lasso.fit(X, y, monotone=[1, 0, 0]))
    warm = LogisticRegression(warm_start=True).fit(X, y)
    refuse("starts at .* outside", lambda: warm.fit(X, y, bounds=(5, 6)))
    refuse("solver='newton'", lambda: SigmoidClassifier(loss="log_loss").fit(X, y, offset=offset))
    squared = SigmoidClassifier(solver="newton")
    refuse("likelihood", lambda: squared.fit(X, y, offset=offset))
