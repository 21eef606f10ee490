"""Identification: rates against all galleries and naive loops, and what the scored half teaches."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from linear_probe.cli import main
from linear_probe.features.frozen import Features
from linear_probe.probes.gallery import Searches, gallery_of, rand_index
from linear_probe.records.record import read_records
from linear_probe.tasks.identification import FALSE_POSITIVES, Identification, rates_of
from ssl_faces.rendered import RenderedFaces


def some_codes(people, each, spread=1.0):
    draw = torch.Generator().manual_seed(3)
    centres = torch.randn(people, 1, 6, generator=draw)
    codes = centres + spread * torch.randn(people, each, 6, generator=draw)
    return codes.flatten(0, 1), [f"p{i}" for i in range(people) for _ in range(each)]


def test_rates_are_means_over_all_galleries():
    codes, names = some_codes(8, 3)
    gallery = gallery_of(names)
    assert gallery.first.tolist() == [3 * i for i in range(8)]
    searches = Searches.of(codes, gallery, codes.double().mean(0))
    centred = torch.nn.functional.normalize(codes.double() - codes.double().mean(0), dim=1).numpy()
    threshold = 0.4
    for size in (2, 4):
        found = (
            searches.ranked(1, size),
            searches.ranked(2, size),
            searches.hits(threshold, size),
            searches.false_positives(threshold, size),
        )
        for row, (probe, person) in enumerate(zip(gallery.probes, gallery.person, strict=True)):
            similar = centred[gallery.first] @ centred[probe]
            others = [i for i in range(8) if i != person]
            ranks = np.array(
                [
                    1 + sum(similar[i] >= similar[person] for i in drawn)
                    for drawn in combinations(others, size - 1)
                ]
            )
            alarms = [
                any(similar[i] >= threshold for i in drawn) for drawn in combinations(others, size)
            ]
            expected = (
                np.mean(ranks <= 1),
                np.mean(ranks <= 2),
                np.mean(ranks <= 1) * (similar[person] >= threshold),
                np.mean(alarms),
            )
            assert [values[row] for values in found] == pytest.approx(expected)
    chosen = searches.threshold(0.2, 4)
    assert searches.false_positives(chosen, 4).mean() <= 0.2
    assert searches.false_positives(chosen - 1e-4, 4).mean() > 0.19


def test_people_with_many_images_count_no_more_than_five_times():
    gallery = gallery_of(["a"] * 40 + ["b", "c", "c"])
    assert gallery.first.tolist() == [0, 40, 41]
    assert gallery.person.tolist() == [0] * 5 + [2]
    assert len(set(gallery.probes.tolist()) - {*gallery.first.tolist()}) == 6
    assert gallery.probes[[0, 4]].tolist() == [1, 39]


def test_the_rand_index_is_scikit_learns():
    draw = np.random.default_rng(0)
    groups, people = draw.integers(0, 5, 60), draw.integers(0, 4, 60)
    weights = np.ones((3, 60))
    weights[1, :30] = 0
    weights[2, 0] = 2
    found = rand_index(groups, people, weights)
    assert found[0] == pytest.approx(adjusted_rand_score(people, groups))
    assert found[1] == pytest.approx(adjusted_rand_score(people[30:], groups[30:]))
    assert found[2] != found[0]
    assert rand_index(groups, groups, weights) == pytest.approx(1)


@pytest.fixture(scope="module")
def task():
    return Identification([RenderedFaces(1400, 140, "all", size=32)], replicates=20)


def test_the_scored_half_chooses_nothing(task):
    codes = torch.randn(1400, 6, generator=torch.Generator().manual_seed(0))
    features = Features(codes, np.arange(1400))
    chosen = task.choose(features)
    tested = task.scored()
    people = {task.faces.records[i].person for i in tested}
    others = {task.faces.records[i].person for i in np.setdiff1d(task.indices, tested)}
    assert people
    assert not people & others
    changed = codes.clone()
    changed[torch.from_numpy(tested)] = torch.randn(len(tested), 6)
    again = task.choose(Features(changed, np.arange(1400)))
    assert (again.threshold, again.distance) == (chosen.threshold, chosen.distance)
    torch.testing.assert_close(again.mean, chosen.mean)
    # Codes without any information: chance.
    by_metric = {figure.metric: figure for figure in task.figures(features, chosen)}
    rank = by_metric["rank-1, gallery 10"]
    assert rank.value == pytest.approx(10, abs=6)
    assert rank.low < rank.value < rank.high
    assert by_metric["rank-5, gallery 10"].value == pytest.approx(50, abs=12)
    assert abs(by_metric["adjusted Rand index"].value) < 0.1
    (row,) = rates_of(list(by_metric.values()))
    assert row["gallery"] == 10
    assert row["fpir"]["value"] == round(by_metric["FPIR, gallery 10"].value, 2)
    assert row["fpir"]["value"] < 3 * 100 * FALSE_POSITIVES


def test_run_scores_it(tiny, tmp_path):
    words = ["--encoder", str(tiny), "--data", "rendered:1400", "--out", str(tmp_path)]
    more = ["--task", "identification", "--features", "expression", "--no-baselines"]
    assert main(["run", *words, *more, "--bootstrap", "20"]) == 0
    records = {r.metric: r for r in read_records(tmp_path / "records.jsonl")}
    assert records["rank-1, gallery 10"].value > 5
    assert not records["FPIR, gallery 10"].higher_is_better
    assert "people" in records["adjusted Rand index"].note


def test_few_people(tmp_path, tiny, capsys, monkeypatch):
    words = ["run", "--encoder", str(tiny), "--out", str(tmp_path), "--task", "identification"]
    assert main([*words, "--data", "rendered:8"]) == 2
    assert "identification needs LFW, CFP or rendered faces" in capsys.readouterr().err
    monkeypatch.setattr("linear_probe.tasks.identification.in_test_share", lambda *_: True)
    assert main([*words, "--data", "rendered:1400"]) == 2
    assert "too few people with several pictures" in capsys.readouterr().err
