"""`fit_many`: each model is its own fit, whatever came together; bad input; Ctrl-C."""

import math
import signal
import threading
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import schuss
from schuss import LogisticRegression, SigmoidRegressor, fit_many
from schuss.many import fit as fitting
from schuss.many import together


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 4))
    groups = rng.integers(10, 16, 900)
    z = X @ [1.0, -1.0, 0.5, 0.0] + 0.3 * (groups - 12)
    return X, (rng.random(900) < 1 / (1 + np.exp(-z))).astype(int), groups


def alone(X, y, sample_weight=None, C=1.0, **options):
    return LogisticRegression(C=C, tol=1e-11, **options).fit(X, y, sample_weight)


def assert_is(result, i, model, close=1e-8):
    assert np.abs(result.coef[i] - model.coef_).max() <= close
    assert np.abs(result.intercept[i] - model.intercept_).max() <= close
    assert result.converged[i] and abs(result.loss[i] - model.loss_) <= close


@pytest.mark.parametrize("kind", ["sorted", "unsorted", "text", "objects", "together"])
def test_groups(rows, kind):
    X, y, groups = rows
    if kind in ("sorted", "together"):
        order = np.argsort(groups, kind="stable")
        X, y, groups = X[order], y[order], groups[order]
    if kind == "together":
        # Keys that lie together, but not in their order.
        groups = 20 - groups
    if kind in ("text", "objects"):
        groups = np.array(
            [f"key {key}" for key in groups], dtype=object if kind == "objects" else None
        )
    result = fit_many(X, y, groups=groups, Cs=[0.1, 10.0], tol=1e-11)
    keys = np.unique(groups)
    assert len(result) == 2 * len(keys) and result.coef.shape == (12, 1, 4)
    assert result.keys["group"].tolist() == np.repeat(keys, 2).tolist()
    for i, (key, C) in enumerate(zip(result.keys["group"], result.keys["C"], strict=True)):
        of = groups == key
        model = alone(X[of], y[of], C=C)
        assert_is(result, i, model)
        assert (result.model(group=key, C=C).predict(X) == model.predict(X)).all()
    proba = result.predict_proba(X, groups)
    assert proba.shape == (2, 900, 2)
    of = groups == keys[1]
    expected = result.model(group=keys[1], C=10.0).predict_proba(X[of])
    assert np.allclose(proba[1, of], expected, rtol=1e-12)
    one = fit_many(X, y, groups=groups)
    assert one.predict_proba(X, groups).shape == (900, 2)


def test_targets(rows):
    X, _, groups = rows
    Y = groups[:, None] == np.unique(groups)
    result = fit_many(X, Y, tol=1e-11)
    for i in range(Y.shape[1]):
        assert_is(result, i, alone(X, Y[:, i].astype(int)))
    assert result.keys["target"].tolist() == list(range(6))
    proba = result.predict_proba(X)
    assert np.allclose(proba[2], result.model(2).predict_proba(X)) and proba.shape == (6, 900, 2)


def test_soft_targets_and_the_squared_loss(rows):
    X, y, groups = rows
    soft = 0.8 * y + 0.1
    for loss, close in (("log_loss", 1e-8), ("squared_error", 1e-6)):
        result = fit_many(X, soft, groups=groups, loss=loss, tol=1e-11, Cs=2.0)
        assert result.classes is None
        of = groups == 12
        model = SigmoidRegressor(loss=loss, solver="newton", alpha=0.5 / of.sum(), tol=1e-11)
        model.fit(X[of], soft[of])
        assert np.abs(result.coef[2, 0] - model.coef_).max() <= close
        assert np.allclose(result.model(group=12).predict(X), model.predict(X), atol=1e-6)


def test_folds_and_penalties(rows):
    X, y, _ = rows
    folds = np.arange(900) % 5
    weights = (folds[:, None] != np.arange(5)).T.astype(float) * 3.0
    Cs = [10.0, math.inf, 0.01]
    result = fit_many(X, y, sample_weight=weights, Cs=Cs, tol=1e-11)
    assert result.keys["weight"].tolist() == np.repeat(range(5), 3).tolist()
    for i, (fold, C) in enumerate(zip(result.keys["weight"], result.keys["C"], strict=True)):
        kept = weights[fold] > 0
        assert_is(result, i, alone(X[kept], y[kept], np.full(kept.sum(), 3.0), C=C))


@pytest.fixture
def wide_rows(monkeypatch):
    """Models on these rows are fitted together, where single fits would be as quick, too."""
    monkeypatch.setattr(fitting, "_LEAST_GAIN", -math.inf)
    rng = np.random.default_rng(3)
    X = rng.standard_normal((3000, 20))
    scores = X[:, :5] + rng.logistic(size=(3000, 5)) + [-2.0, 0.0, 1.0, 3.0, 0.5]
    return X, (scores > 0).astype(np.uint8)


def test_targets_together(wide_rows):
    X, Y = wide_rows
    Y = np.hstack([Y, 1 - Y, np.zeros((3000, 1), np.uint8)])
    assert fitting._LEAST_TOGETHER <= Y.shape[1]
    with pytest.warns(ConvergenceWarning, match="1 of 11 models .* 1 one class"):
        result = fit_many(X, Y, tol=1e-11)
    for i in range(10):
        assert_is(result, i, alone(X, Y[:, i]))
    assert result.stop_reason[10] == "one class" and np.isnan(result.coef[10]).all()
    # A separable one among them, without penalties.
    Y[:, 10] = X[:, 0] > 0
    with pytest.warns(ConvergenceWarning, match="1 separable"):
        result = fit_many(X, Y, Cs=math.inf, tol=1e-11)
    for i in (0, 3, 9):
        assert_is(result, i, alone(X, Y[:, i], C=math.inf))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_replicates_and_penalties_together(wide_rows, dtype):
    X, Y = wide_rows
    y, rng = Y[:, 1], np.random.default_rng(4)
    counts = rng.multinomial(3000, np.full(3000, 1 / 3000), size=6)
    Cs, single = [1e-4, 1.0, math.inf], dtype == "float32"
    options = {"tol": 1e-5 if single else 1e-11, "fit_intercept": not single}
    result = fit_many(X.astype(dtype), y, sample_weight=counts, Cs=Cs, **options)
    assert result.converged.all()
    for i in range(0, 18, 2):
        weight, C = counts[result.keys["weight"][i]].astype(float), result.keys["C"][i]
        model = alone(X, y, weight, C=C, fit_intercept=not single)
        assert_is(result, i, model, 1e-3 if single else 1e-8)
    errors = fit_many(X, y, sample_weight=counts, Cs=Cs, tol=1e-11, standard_errors=True)
    one_by_one = fit_many(X, y, sample_weight=counts[:1], Cs=Cs[-1], tol=1e-11,
                          standard_errors=True)  # fmt: skip
    assert np.allclose(errors.standard_error[2], one_by_one.standard_error[0], rtol=1e-9)


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6, 1e16])
def test_passes_in_float32_change_no_optimum(wide_rows, unit, monkeypatch):
    """Columns in other units, one of them far from 0 beside its spread."""
    X, Y = wide_rows
    X = X * unit
    X[:, 3] += 100 * unit
    Y = np.hstack([Y, np.roll(Y, 1, axis=0)])
    results = []
    for products in (0, math.inf):
        monkeypatch.setattr(together, "_COARSE_PRODUCTS", products)
        results.append(fit_many(X, Y, Cs=[1.0 / unit**2, math.inf], tol=1e-10 * max(unit, 1.0)))
    mixed, exact = results
    assert mixed.converged.all() and exact.converged.all()
    assert np.abs(mixed.coef - exact.coef).max() * unit <= 1e-8
    assert np.abs(mixed.intercept - exact.intercept).max() <= 1e-6


def test_scan_has_the_errors_of_maximum_likelihood(rows):
    sm = pytest.importorskip("statsmodels.api")
    X, y, _ = rows
    Z = np.random.default_rng(1).binomial(2, 0.3, (900, 7))
    result = fit_many(X, y, scan=Z.astype(np.int8), tol=1e-10)
    for i in range(7):
        design = np.column_stack([X, Z[:, i], np.ones(900)])
        other = sm.Logit(y, design).fit(disp=0, tol=1e-12)
        assert np.abs(np.append(result.coef[i], result.intercept[i]) - other.params).max() < 1e-8
        errors = np.append(result.standard_error[i], result.intercept_standard_error[i])
        assert np.allclose(errors, other.bse, rtol=1e-8)
        assert np.allclose(result.z[i, 0], other.tvalues[:-1], rtol=1e-7)
        assert np.allclose(result.p[i, 0], other.pvalues[:-1], rtol=1e-6)


def test_scan_by_groups_and_weights_is_each_its_own(rows):
    X, y, groups = rows
    rng = np.random.default_rng(2)
    Z, weights = rng.standard_normal((900, 3)), rng.random((2, 900)) * 1e6
    result = fit_many(X, y, groups=groups, sample_weight=weights, scan=Z, Cs=3.0, tol=1e-12)
    assert len(result) == 6 * 2 * 3
    for i in (0, 7, 35):
        key, weight, column = (result.keys[name][i] for name in ("group", "weight", "column"))
        of = groups == key
        design = np.column_stack([X[of], Z[of, column]])
        assert_is(result, i, alone(design, y[of], weights[weight, of], C=3.0), 1e-7)
    assert list(result.to_frame().columns[:8]) == [
        "group", "weight", "column", "C", "coef", "standard_error", "z", "p"
    ]  # fmt: skip


def test_scan_of_several_targets_takes_the_columns_of_each(rows):
    X, y, _ = rows
    rng = np.random.default_rng(5)
    # A thread takes the last column of a target and the first one of the next together.
    Y, Z = np.column_stack([y, rng.random(900) < 0.5]).astype(int), rng.standard_normal((900, 65))
    both = fit_many(X, Y, scan=Z, tol=1e-10)
    for t in range(2):
        one = fit_many(X, Y[:, t], scan=Z, tol=1e-10)
        assert np.abs(both.coef[65 * t : 65 * (t + 1)] - one.coef).max() < 1e-8


def test_float32_and_sparse_rows(rows):
    X, y, groups = rows
    wide = fit_many(X, y, groups=groups)
    single = fit_many(X.astype(np.float32), y, groups=groups, tol=1e-5)
    assert np.abs(single.coef - wide.coef).max() < 1e-3
    X = X * (np.abs(X) > 0.5)
    sparse = fit_many(sp.csr_array(X), y, groups=groups)
    assert np.abs(sparse.coef - fit_many(X, y, groups=groups).coef).max() < 1e-12


def test_failed_models_are_named_and_hurt_no_other(rows):
    X, y, groups = rows
    y, groups = y.copy(), groups.copy()
    y[groups == 11] = 1
    groups[3] = 99
    with pytest.warns(ConvergenceWarning, match=r"2 of 7 models have .*2 one class; .*group=11"):
        result = fit_many(X, y, groups=groups)
    assert result.stop_reason[[1, 6]].tolist() == ["one class"] * 2
    assert np.isnan(result.coef[[1, 6]]).all() and np.isfinite(result.coef[2:6]).all()
    of = groups == 12
    assert_is(result, 2, alone(X[of], y[of]), 1e-5)
    with pytest.raises(ValueError, match="model 1 was not fitted: one class"):
        result.model(1)
    assert np.isnan(result.predict_proba(X, groups)[groups == 11]).all()
    with pytest.warns(ConvergenceWarning, match="separable"):
        fit_many(X, X[:, 0] > 0, Cs=math.inf)
    with pytest.warns(ConvergenceWarning, match="1 of 2 models .* 1 collinear"):
        fit_many(X, y, scan=np.column_stack([np.ones(900), X[:, 0] ** 2]))


# More columns than there is memory for models.
HUGE = np.broadcast_to(np.float64(0), (900, 10**10))
BAD = [
    (lambda a: a.update(groups=a["groups"][:5]), ValueError, "groups has 5 rows, but X has 900"),
    (lambda a: a.update(groups=np.where(a["groups"] > 11, a["groups"], np.nan)), ValueError,
     "groups has missing keys: nan in"),
    (lambda a: a.update(groups=[None, *a["groups"][1:]]), ValueError, "missing keys: None in 1 of"),
    (lambda a: a.update(groups=np.array(["x", *a["groups"][1:].tolist()], object)), ValueError,
     r"groups holds keys of several types \(int, str\)"),
    (lambda a: a.update(groups=np.ones((900, 2))), ValueError, r"groups has shape \(900, 2\)"),
    (lambda a: a.update(groups=3), ValueError, "groups is 3"),
    (lambda a: a.update(y=np.full((900, 2), np.nan)), ValueError, "Input y contains NaN"),
    (lambda a: a.update(y=np.full((900, 2), 3.0)), ValueError, "y holds values from 3 to 3"),
    (lambda a: a.update(y=np.arange(900) % 3), ValueError, "y holds 3 classes, expected two"),
    (lambda a: a.update(y=np.zeros(900, int)), ValueError, "only one class"),
    (lambda a: a.update(y=None), ValueError, "y is None"),
    (lambda a: a.update(sample_weight=-np.ones(900)), ValueError, "Negative values"),
    (lambda a: a.update(sample_weight=np.stack([np.ones(900), np.zeros(900)])), ValueError,
     r"sample_weight\[1\] is 0 in every row"),
    (lambda a: a.update(sample_weight=np.ones((2, 5))), ValueError,
     r"sample_weight has shape \(2, 5\)"),
    (lambda a: a.update(sample_weight=np.full((2, 900), np.nan)), ValueError, "contains NaN"),
    (lambda a: a.update(Cs=[1.0, -1.0]), ValueError, r"Cs=\[1.0, -1.0\]: expected a positive"),
    (lambda a: a.update(Cs=[math.nan]), ValueError, "Cs="),
    (lambda a: a.update(Cs=[]), ValueError, "Cs="),
    (lambda a: a.update(scan=np.ones((5, 2))), ValueError, "scan has 5 rows, but X has 900"),
    (lambda a: a.update(scan=np.ones(900)), ValueError, "pass scan\\[:, None\\]"),
    (lambda a: a.update(scan=sp.csr_array(np.ones((900, 2)))), ValueError, "sparse matrix"),
    (lambda a: a.update(scan=np.full((900, 2), np.nan)), ValueError, "Input scan contains NaN"),
    (lambda a: a.update(X=np.full((900, 4), np.inf)), ValueError, "Input X contains inf"),
    (lambda a: a.update(loss="hinge"), ValueError, "loss='hinge' is unknown"),
    (lambda a: a.update(tol=-1.0), ValueError, "tol=-1.0"),
    (lambda a: a.update(max_iter=0), ValueError, "max_iter=0"),
    (lambda a: a.update(n_jobs=0), ValueError, "n_jobs=0"),
    (lambda a: a.update(callbacks=3), TypeError, "callbacks"),
    (lambda a: a.update(groups=None, sample_weight=np.ones((3, 900)), scan=HUGE), MemoryError,
     "30,000,000,000 models of .* GB, more than half"),
]  # fmt: skip


@pytest.mark.parametrize("change, kind, message", BAD)
def test_bad_input(rows, change, kind, message):
    arguments = dict(zip(("X", "y", "groups"), rows, strict=True))
    change(arguments)
    with pytest.raises(kind, match=message):
        fit_many(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_bad_questions_to_a_result(rows):
    X, y, groups = rows
    result = fit_many(X, y, groups=groups)
    for ask, message in (
        (lambda: result.predict_proba(X), "groups is missing"),
        (lambda: result.predict_proba(X, groups + 50), "not among the classes"),
        (lambda: result.predict_proba(X[:, :2], groups), "X has 2 features"),
        (lambda: result.model(C=1.0), "6 models have"),
        (lambda: result.model(shop=1), "shop is no key"),
        (lambda: fit_many(X, y).predict_proba(X, groups), "not of groups"),
        (lambda: fit_many(X, y, scan=X[:, :1] ** 2).predict_proba(X), "scan"),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
    with pytest.raises(IndexError, match="model 6 of 6"):
        result.model(6)


def test_frames(rows):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    X, y, groups = rows
    frame = pd.DataFrame(X, columns=list("abcd"))
    result = fit_many(frame, pd.Series(y), groups=pd.Series(groups), standard_errors=True)
    table = result.to_frame()
    assert list(table.columns[:7]) == ["group", "C", "intercept", "a", "b", "c", "d"]
    assert table["standard_error_d"].to_numpy().tolist() == result.standard_error[:, 0, 3].tolist()
    assert len(table) == 6 and result.model(0).feature_names_in_.tolist() == list("abcd")
    Y = pd.DataFrame({"yes": y, "no": 1 - y})
    assert fit_many(X, Y).keys["target"].tolist() == ["yes", "no"]
    Z = pd.DataFrame({"rs1": X[:, 0] ** 2, "rs2": X[:, 1] ** 2})
    assert fit_many(X, y, scan=Z).to_frame()["column"].tolist() == ["rs1", "rs2"]


def test_saved_and_loaded(rows, tmp_path):
    X, y, groups = rows
    y = np.where(groups == 11, 1, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = fit_many(X, np.where(y, "yes", "no"), groups=groups.astype(str),
                          standard_errors=True)  # fmt: skip
    path = tmp_path / "models.safetensors"
    schuss.save(result, path)
    again = schuss.load(path)
    assert vars(again).keys() == vars(result).keys()
    for name in ("coef", "intercept", "standard_error", "loss", "stop_reason", "classes"):
        assert np.array_equal(
            getattr(again, name), getattr(result, name),
            equal_nan=getattr(result, name).dtype.kind == "f",
        ), name  # fmt: skip
    proba = again.predict_proba(X, groups.astype(str))
    assert np.array_equal(proba, result.predict_proba(X, groups.astype(str)), equal_nan=True)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(schuss.ModelFileError):
        schuss.load(path)


def test_progress_and_callbacks(rows, monkeypatch, capsys):
    X, y, groups = rows
    monkeypatch.setattr(fitting, "_SECONDS_PER_ELEMENT", 1.0)
    monkeypatch.setattr(fitting.driver, "next_chunk", lambda *of: 1.0)
    told = []

    def stop(info):
        told.append((info.unit, info.n_iter, info.max_iter, info.seconds > 0))
        return info.n_iter >= 3

    with pytest.warns(ConvergenceWarning, match="3 interrupted"):
        result = fit_many(X, y, groups=groups, callbacks=stop, verbose=1)
    done = told[-1][1]
    assert told[0][:3] == ("model", 1, 6) and 3 <= done < 6
    assert result.stop_reason.tolist() == ["converged"] * done + ["interrupted"] * (6 - done)
    assert "model 1/6  loss" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_ctrl_c_keeps_what_is_fitted():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4000, 8)), rng.integers(0, 2, 4000)
    weights, calls = rng.integers(0, 3, (300, 4000)), []

    def interrupt(info):
        if not calls:
            calls.append(threading.Timer(0.02, signal.raise_signal, [signal.SIGINT]))
            calls[0].start()

    with pytest.warns(ConvergenceWarning, match="interrupted"):
        result = fit_many(
            X, y, sample_weight=np.tile(weights, (10, 1)), Cs=np.logspace(-3, 3, 40), tol=1e-12,
            n_jobs=1, callbacks=interrupt,
        )  # fmt: skip
    calls[0].join()
    finished = result.stop_reason != "interrupted"
    assert 0 < finished.sum() < len(result) and np.isfinite(result.coef[finished]).all()
    assert np.isnan(result.coef[~finished]).all()


def test_the_same_bits_for_any_number_of_threads(rows, monkeypatch):
    X, y, groups = rows
    monkeypatch.setattr(fitting.threads, "useful", lambda most, elements, minimum=None: most)
    one = fit_many(X, y, groups=groups, n_jobs=1)
    two = fit_many(X, y, groups=groups, n_jobs=2)
    assert (one.coef == two.coef).all() and (one.loss == two.loss).all()


@pytest.mark.parametrize("kind", ["dense", "sorted", "sparse", "weights", "targets", "partitions"])
def test_groups_of_a_stream_are_those_in_memory(rows, kind, monkeypatch):
    X, y, groups = rows
    weights = None
    if kind == "sorted":
        order = np.argsort(groups, kind="stable")
        X, y, groups = X[order], y[order], groups[order]
    if kind == "sparse":
        X = sp.csr_array(np.where(X > 0, X, 0.0))
    if kind == "weights":
        weights = 1.0 + np.arange(900) % 3
    if kind == "targets":
        y = np.stack([y, 1 - y, y * (X[:, 1] > 0)], axis=1)
    options = {"groups": groups, "Cs": [0.1, 10.0]}
    there = fit_many(X, y, sample_weight=weights, **options)
    if kind == "partitions":
        on_dask = pytest.importorskip("schuss.dask")
        array = pytest.importorskip("dask.array").from_array
        stream = on_dask.blocks(array(X, chunks=(250, 4)), array(y, chunks=250))
    else:
        stream = schuss.Stream(X, y, weights, block_rows=70)
    for rows_at_once in (900, 400):
        row_bytes = X.nnz * 12 / 900 + 4 if kind == "sparse" else 32
        monkeypatch.setattr(
            "schuss.many.streamed.free_memory", lambda n=rows_at_once, b=row_bytes: 2.01 * n * b
        )
        seen = []
        here = fit_many(stream, callbacks=seen.append, **options)
        assert (here.coef == there.coef).all() and (here.intercept == there.intercept).all()
        assert here.keys["group"].tolist() == there.keys["group"].tolist()
        assert here.keys["C"].tolist() == there.keys["C"].tolist()
        assert len(seen) == (1 if rows_at_once == 900 else 3)
    assert (here.classes == there.classes).all()


def test_groups_of_a_table_have_a_name(rows, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("duckdb")
    X, y, groups = rows
    columns = {f"x{j}": X[:, j] for j in range(4)}
    shops = np.array([f"shop {key}" for key in groups])
    targets = [None if i % 90 == 7 else int(label) for i, label in enumerate(y)]
    table = pa.table(columns | {"shop": shops, "sold": targets})
    parquet.write_table(table, tmp_path / "sales.parquet", row_group_size=100)
    stream = schuss.Stream(
        tmp_path / "sales.parquet", target="sold", drop=["shop"], dtype="float64"
    )
    here = fit_many(stream, groups="shop")
    known = np.arange(900) % 90 != 7
    there = fit_many(X[known], y[known], groups=shops[known])
    assert (here.coef == there.coef).all()
    assert here.keys["group"].tolist() == there.keys["group"].tolist()
    with pytest.raises(ValueError, match="among the features"):
        fit_many(schuss.Stream(tmp_path / "sales.parquet", target="sold"), groups="shop")
    with pytest.raises(ValueError, match=r"sales.parquet: has no column 'shops', expected one of"):
        fit_many(stream, groups="shops")
    shops = pa.array([None, *shops[1:]])
    parquet.write_table(pa.table(columns | {"shop": shops, "sold": y}), tmp_path / "gap.parquet")
    stream = schuss.Stream(tmp_path / "gap.parquet", target="sold", drop=["shop"])
    with pytest.raises(ValueError, match="'shop' has no value in 1 rows"):
        fit_many(stream, groups="shop")


def test_bad_input_of_a_stream(rows, monkeypatch):
    X, y, groups = rows
    stream = schuss.Stream(X, y)
    with pytest.raises(ValueError, match="groups is missing: of a stream"):
        fit_many(stream)
    with pytest.raises(ValueError, match="y was passed with a stream"):
        fit_many(stream, y, groups=groups)
    with pytest.raises(ValueError, match="sample_weight was passed with a stream"):
        fit_many(stream, sample_weight=np.ones(900), groups=groups)
    with pytest.raises(ValueError, match="scan was passed with a stream"):
        fit_many(stream, scan=X, groups=groups)
    # Blocks whose numbers of targets make up for each other.
    cuts = slice(0, 50), slice(50, 900)
    for name, blocks in {
        "y has 40 rows, but X has 50": [(X[:50], y[:40]), (X[50:], y[40:])],
        "sample_weight": [
            (X[cut], y[cut], np.ones(size)) for cut, size in zip(cuts, (40, 860), strict=True)
        ],
        "targets of shape": [(X[:50], y[:50]), (X[50:], np.column_stack([y, y])[50:])],
    }.items():
        with pytest.raises(ValueError, match=name):
            fit_many(schuss.Stream(blocks), groups=groups)
    with pytest.raises(ValueError, match="groups has 899"):
        fit_many(stream, groups=groups[1:])
    with pytest.raises(ValueError, match="groups='shop': a name stands for a column"):
        fit_many(stream, groups="shop")
    with pytest.raises(ValueError, match="of no table"):
        stream.column("shop")
    broken = X.copy()
    broken[500, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fit_many(schuss.Stream(broken, y), groups=groups)
    mixed = [(X[:400], y[:400]), (X[400:], y[400:].astype(str))]
    with pytest.raises(ValueError, match="batch 1 differs from batch 0 in its text targets"):
        fit_many(schuss.Stream(mixed), groups=groups)
    monkeypatch.setattr("schuss.many.streamed.free_memory", lambda: 2 * 32 * 100)
    with pytest.raises(MemoryError, match=r"group 1\d has 1\d\d rows, but half of the free memory"):
        fit_many(stream, groups=groups)
