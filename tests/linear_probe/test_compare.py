"""Bootstrap intervals and paired comparisons: against loops and closed forms."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.records.record import RECORDS_FILE, write_records
from linear_probe.records.replicates import REPLICATES_FILE, interval, write_replicates
from linear_probe.stats import intervals
from linear_probe.stats.intervals import cluster_weights, pair_weights, row_weights
from linear_probe.stats.paired import compare, difference
from linear_probe.tasks.identity import person_numbers
from ssl_faces import InputError
from ssl_faces.data import FacePair
from tests.support.records import ONE


def test_rows_are_drawn_n_at_a_time():
    weights = row_weights(7, 50, seed=0)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert len(np.unique(weights, axis=0)) > 40


def test_clusters_stay_together():
    clusters = np.array([3, 3, 9, 9, 9, 5])
    weights = cluster_weights(clusters, 50, seed=0)
    for cluster in (3, 9):
        rows = weights[:, clusters == cluster]
        assert (rows == rows[:, :1]).all()
    assert (weights[:, 0] + weights[:, 2] + weights[:, 5] == 3).all()


def test_pairs_that_share_a_person_vary_together():
    people = np.array([[0, 1], [1, 2], [2, 2], [2, 2], [3, 4]])
    weights = pair_weights(people, np.arange(5) * 0, 20000, seed=0)
    assert np.allclose(weights.sum(axis=1), 5, rtol=1e-5)
    assert (weights > 0).all()
    related = np.corrcoef(weights.T)
    shared = (people[:, None, :, None] == people[None, :, None, :]).any(axis=(2, 3))
    np.fill_diagonal(shared, False)
    apart = ~shared & ~np.eye(5, dtype=bool)
    assert related[shared].min() > related[apart].max() + 0.3
    # The two pairs of one person are one cluster.
    assert related[2, 3] == pytest.approx(1)


def test_strata_keep_their_number_of_pairs():
    strata = np.array([0, 1, 0, 1, 0, 1])
    weights = pair_weights(np.arange(12).reshape(6, 2), strata, 2000, seed=0)
    for stratum in (0, 1):
        assert np.allclose(weights[:, strata == stratum].sum(axis=1), 3, rtol=1e-5)
    # Pairs without a common person are drawn apart, with the variance of a bootstrap's.
    assert abs(np.corrcoef(weights.T)[0, 1]) < 0.1
    many = pair_weights(np.arange(600).reshape(300, 2), np.zeros(300), 400, seed=0)
    assert many.var() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("connected", ["eigenvalues", "incidence"])
def test_pairs_of_people_who_differ_need_people_to_be_covered(connected, monkeypatch):
    """As in CFP: ten folds of people, each in several pairs, some easier to verify."""
    if connected == "incidence":
        monkeypatch.setattr(intervals, "_MOST_PAIRS", 0)
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(10), 60)
    local = np.array([rng.choice(15, 2, replace=False) for _ in range(600)])
    local[::2, 1] = local[::2, 0]
    people = local + 15 * folds[:, None]
    effects = rng.normal(size=(200, 150))
    right = effects[:, people].mean(axis=2) + rng.normal(size=(200, 600)) > 0
    covered = {}
    for name, weights in (
        ("people", pair_weights(people, np.arange(600) % 2, 300, 0)),
        ("pairs", row_weights(600, 300, 0)),
    ):
        low, high = np.transpose([interval(r) for r in right @ weights.T / 600])
        covered[name] = np.mean((low <= 0.5) & (high >= 0.5))
    assert covered["pairs"] < 0.8
    assert covered["people"] >= 0.92
    if connected == "eigenvalues":  # not much wider than they need to be
        assert covered["people"] <= 0.985


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        correct = rng.random(150) < 0.7
        low, high = interval(row_weights(150, 400, seed=trial) @ correct / 150)
        covered += low <= 0.7 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_clustered_errors_need_clusters_to_be_covered():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 10)
    covered = {"clusters": 0, "rows": 0}
    for trial in range(100):
        errors = (5 + rng.normal(size=40))[clusters] + rng.normal(size=400)
        for name, weights in (
            ("clusters", cluster_weights(clusters, 300, trial)),
            ("rows", row_weights(400, 300, trial)),
        ):
            low, high = interval(weights @ errors / weights.sum(axis=1))
            covered[name] += low <= 5 <= high
    assert covered["clusters"] >= 86
    assert covered["rows"] < 75


def test_nan_replicates_are_left_out():
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)


def test_who_is_in_the_pairs():
    """By name; without one by the pairs that show one person."""
    pairs = [
        *(FacePair("a1", "a2", True, 0), FacePair("a1", "x1", False, 0)),
        *(FacePair("x1", "x2", True, 1), FacePair("x2", "y1", False, 1)),
    ]
    person = person_numbers(pairs, {"a1": "Ann", "a2": "Ann", "y1": None})
    assert person["a1"] == person["a2"]
    assert person["x1"] == person["x2"]
    assert len({person[key] for key in ("a1", "x1", "y1")}) == 3


def save(folder, rows):
    write_records(folder / RECORDS_FILE, [record for record, _ in rows])
    write_replicates(folder / REPLICATES_FILE, {r.name: values for r, values in rows})
    return folder


@cache
def draws(n):
    return row_weights(n, 2000, 0)


def scored(name, correct, space="map", sample="s"):
    """A record of which test rows an encoder got right, and its replicates."""
    n = len(correct)
    replicates = 100 * draws(n) @ correct.astype(np.float32) / n
    value = 100 * float(correct.mean())
    record = replace(ONE, encoder=name, feature_space=space, value=value, n=n, sample=sample)
    return record, replicates


def test_the_interval_is_that_of_paired_differences():
    """Of n paired 0/1 outcomes the difference's standard error has a closed form (McNemar's)."""
    draw = np.random.default_rng(0)
    easy = draw.uniform(size=1000) < 0.6
    a = easy ^ (draw.uniform(size=1000) < 0.05)
    b = easy ^ (draw.uniform(size=1000) < 0.08)
    found = difference(*_split(scored("a", a), scored("b", b)))
    gaps = a.astype(float) - b
    error = 100 * gaps.std() / np.sqrt(len(gaps))
    assert found.value == pytest.approx(100 * gaps.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    # Unpaired intervals would be far wider.
    assert error < 0.6 * 100 * np.sqrt(a.var() / 1000 + b.var() / 1000)


def _split(one, other):
    return one[0], other[0], one[1], other[1]


def test_p_is_even_where_there_is_no_difference():
    """Of encoders that are equally good, about 5 % differ with p below 0.05."""
    draw = np.random.default_rng(1)
    below = 0
    for _ in range(200):
        a, b = draw.uniform(size=(2, 300)) < 0.5
        below += difference(*_split(scored("a", a), scored("b", b))).p < 0.05
    assert 2 <= below <= 22


def test_words(tmp_path, capsys):
    good, bad = np.arange(400) % 10 < 7, np.arange(400) % 10 < 4
    error = replace(ONE, task="pose", metric="MAE yaw", unit="degrees", higher_is_better=False)
    rows = [
        scored("a", good),
        scored("b", bad),
        (replace(error, encoder="a", feature_space="map", value=5.0, sample="p"), np.full(9, 5.0)),
        (replace(error, encoder="b", feature_space="map", value=7.0, sample="p"), np.full(9, 7.0)),
    ]
    folder = save(tmp_path / "out", rows)
    assert main(["compare", str(folder), "b", "a"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("expression, accuracy: a=map better than b=map by 30.00 points [2")
    # A lower error is the better one.
    assert second.startswith(
        "pose, MAE yaw: a=map better than b=map by 2.00 degrees [2.00, 2.00], p = 0.111"
    )
    few = "only 6 test people: intervals and p-values are too narrow"
    rows[2:] = [
        (replace(r, metric="score", unit="", note=f"n 2; {few}"), values) for r, values in rows[2:]
    ]
    assert main(["compare", str(save(tmp_path / "few", rows)), "b", "a"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "people" not in first
    assert second.endswith(f"better than b=map by 2.00 [2.00, 2.00], p = 0.111 ({few})")
    rows[1] = scored("b", good[::-1])
    folder = save(tmp_path / "even", rows)
    assert main(["compare", str(folder), "a", "b"]) == 0
    assert (
        "a=map and b=map are not significantly different: +0.00 points [-"
        in capsys.readouterr().out
    )


def test_spaces(tmp_path):
    outcome = np.arange(50) % 2 == 0
    names = [("a", "map"), ("a", "code"), ("b", "map"), ("b", "code"), ("pixels", "grey")]
    folder = save(tmp_path, [scored(name, outcome, space) for name, space in names])

    def compared(one, other):
        found = compare(folder, one, other)
        return [(d.one.feature_space, d.other.feature_space) for d in found]

    assert compared("a", "b") == [("map", "map"), ("code", "code")]
    assert compared("a", "pixels") == [("map", "grey"), ("code", "grey")]
    assert compared("a=map", "b=code") == [("map", "code")]
    assert compared("a=code", "a=map") == [("code", "map")]


def test_what_cannot_be_compared(tmp_path, capsys):
    outcome = np.arange(50) % 2 == 0
    rows = [scored("a", outcome), scored("b", outcome, sample="others"), scored("c", outcome)]
    folder = save(tmp_path / "out", rows)
    with pytest.raises(InputError, match="not scored on the same test rows"):
        compare(folder, "a", "b")
    with pytest.raises(InputError, match=r"no row 'd'; there are a=map, b=map, c=map"):
        compare(folder, "a", "d")
    other_task = (replace(rows[2][0], task="other"), rows[2][1])
    with pytest.raises(InputError, match="no figure in common"):
        compare(save(tmp_path / "two", [rows[0], other_task]), "a", "c")
    (folder / REPLICATES_FILE).unlink()
    with pytest.raises(InputError, match="no bootstrap replicates of a=map"):
        compare(folder, "a", "c")
    (folder / REPLICATES_FILE).write_bytes(b"no safetensors")
    assert main(["compare", str(folder), "a", "c"]) == 2
    assert "delete it and run" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "none"), "a", "c"]) == 2
