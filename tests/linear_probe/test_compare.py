"""Paired comparisons: against loops and closed forms, and what can't be compared."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from linear_probe.cli import main
from linear_probe.records.record import RECORDS_FILE, write_records
from linear_probe.records.replicates import REPLICATES_FILE, write_replicates
from linear_probe.stats.intervals import row_weights
from linear_probe.stats.paired import compare, difference
from ssl_faces import InputError
from tests.support.records import ONE


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
