"""Identification against all galleries and loops, and thresholds of verification in a card."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from linear_probe.cli import main
from linear_probe.features.frozen import Features
from linear_probe.probes.gallery import Searches, gallery_of, rand_index
from linear_probe.records.record import read_records
from linear_probe.tasks.identification import FALSE_POSITIVES, Identification, rates_of
from ssl_faces import load_encoder, save_encoder
from ssl_faces.apps.embedding import verification_of
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.rendered import RenderedFaces
from tests.support.small_sets import write_lfw


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


def test_no_other_threshold_is_more_accurate(tmp_path, capsys):
    torch.manual_seed(0)
    made = BackboneEncoder("resnet18", 32, 0.125, {"identity": 8})
    folder = save_encoder(made, tmp_path / "encoder", {"records": [], "limits": ["a"]})
    data = write_lfw(tmp_path / "data").parent
    assert main(["threshold", str(folder), "--data", str(data)]) == 0
    assert "mean of 24 pictures and the most accurate threshold on 24 pairs" in (
        capsys.readouterr().out
    )
    encoder = load_encoder(folder)
    assert encoder.card["limits"] == ["a"]
    kept = verification_of(encoder)
    assert kept is not None

    paths = sorted((data / "lfw").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB").resize((32, 32), 2)) for p in paths])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    codes = {p.stem: x for p, x in zip(paths, encoder(images)["identity"].double(), strict=True)}
    mean = torch.stack(list(codes.values())).mean(0)
    torch.testing.assert_close(kept.mean, mean, atol=1e-5, rtol=0)
    similarities, same = [], []
    for line in (data / "lfw/pairs.txt").read_text().splitlines()[1:]:
        words = line.split("\t")
        one = f"{words[0]}_{int(words[1]):04d}"
        name, number = (words[0], words[2]) if len(words) == 3 else (words[2], words[3])
        a, b = codes[one] - mean, codes[f"{name}_{int(number):04d}"] - mean
        similarities.append(float(a @ b / a.norm() / b.norm()))
        same.append(len(words) == 3)
    x, y = np.array(similarities), np.array(same)
    reached = ((x >= kept.threshold) == y).mean()
    assert reached == max(((x >= t) == y).mean() for t in (*x, 2.0))
    assert reached > 0.6


def test_refused(tmp_path, capsys):
    bare = save_encoder(BackboneEncoder("resnet18", 32, 0.125), tmp_path / "bare", {})
    assert main(["threshold", str(bare), "--data", str(tmp_path)]) == 2
    assert "has no space 'identity'" in capsys.readouterr().err
    made = BackboneEncoder("resnet18", 32, 0.125, {"identity": 8})
    folder = save_encoder(made, tmp_path / "encoder", {})
    before = (folder / "card.json").read_text()
    (tmp_path / "data").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "data/a.png")
    assert main(["threshold", str(folder), "--data", str(tmp_path / "data")]) == 2
    assert "holds no LFW with pairs.txt" in capsys.readouterr().err
    assert json.loads(before) == json.loads((folder / "card.json").read_text())
