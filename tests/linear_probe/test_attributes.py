"""Attributes of UTKFace, and near-copies of test images that are left out of training."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import recall_score

from linear_probe.features.frozen import FeatureCache, Features, Pictures
from linear_probe.sources.baselines import HogSource, PixelSource
from linear_probe.tasks import Attributes, Expression
from ssl_faces.data import find_face_sets
from ssl_faces.data.sets.utkface import UTKFace
from tests.support.photographs import CHANGES, photographs_of_people, saved
from tests.support.small_sets import noise, save_grey


@pytest.fixture
def root(tmp_path):
    """Age is how bright the top is, gender the middle, race which of five columns is bright."""
    rng = np.random.default_rng(0)
    for i in range(260):
        age, gender, race = int(rng.integers(1, 90)), i % 2, i % 5
        pixels = noise(rng, 20)
        pixels[:16] += age
        pixels[16:32] += 60 * gender
        pixels[32:, 9 * race : 9 * race + 9] += 60
        save_grey(tmp_path / f"data/utkface/{age}_{gender}_{race}_2017{i:05d}.jpg.chip.png", pixels)
    return tmp_path / "data"


def prepared(root, **more):
    task = Attributes(find_face_sets(root, "all"), replicates=50, **more)
    pictures = Pictures(task.faces, task.indices)
    cache, source = FeatureCache(root / "features"), PixelSource(12)
    cache.fill([source], pictures)
    return task, cache.read(source, pictures, source.space), pictures


def test_figures_are_of_what_was_learnt(root):
    task, features, pictures = prepared(root)
    figures = {figure.metric: figure for figure in task.score(features, pictures)}
    assert list(figures) == [
        "MAE age",
        *("gender accuracy", "gender mean class recall"),
        *("race accuracy", "race mean class recall"),
    ]
    rows = task.rows(features, pictures)
    train, test, validation = rows.train, rows.test, rows.validation
    ages = task.labels["age"][features.records[test]]
    assert figures["MAE age"].value < 0.4 * np.abs(ages - ages.mean()).mean()
    assert (figures["MAE age"].unit, figures["MAE age"].higher_is_better) == ("years", False)
    assert figures["gender accuracy"].value > 90
    assert figures["race mean class recall"].value > 90
    for figure in figures.values():
        assert figure.n == len(test)
        assert figure.low <= figure.value <= figure.high
        assert figure.hyperparameters["validation"]
    keys = [{task.faces.records[i].key for i in features.records[part]} for part in (train, test)]
    assert not keys[0] & keys[1]
    assert 0 < validation.sum() < len(train)


def test_labels_that_say_nothing_score_as_chance(root):
    task, features, pictures = prepared(root)
    draw = torch.Generator().manual_seed(0)
    blind = Features(torch.randn(features.values.shape, generator=draw), features.records)
    figures = {figure.metric: figure for figure in task.score(blind, pictures)}
    test = task.rows(features, pictures).test
    ages = task.labels["age"][features.records[test]]
    assert figures["MAE age"].value > 0.7 * np.abs(ages - ages.mean()).mean()
    assert 25 < figures["gender accuracy"].value < 75
    assert figures["race accuracy"].value < 45


def test_mean_class_recall_is_scikit_learns(root):
    from linear_probe.probes.logistic import fit_logistic

    task, features, pictures = prepared(root)
    values = features.values + 0.5 * torch.randn(
        features.values.shape, generator=torch.Generator().manual_seed(0)
    )
    noisy = Features(values, features.records)
    found = {figure.metric: figure for figure in task.score(noisy, pictures)}
    rows = task.rows(noisy, pictures)
    train, test, validation = rows.train, rows.test, rows.validation
    races = task.labels["race"][features.records]
    probe = fit_logistic(values[train], torch.from_numpy(races[train]), validation)
    predicted = probe(values[test]).argmax(1)
    expected = 100 * recall_score(races[test], predicted, average="macro")
    assert found["race mean class recall"].value == pytest.approx(expected)


COPIES = 6


@pytest.fixture(scope="module")
def people(real_data):
    return [first for first, _ in photographs_of_people(real_data)]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "cache"))


def test_they_are_in_neither_the_probe_nor_the_bank(people, tmp_path):
    test = [*(CHANGES["darker"](image) for image in people[:COPIES]), *people[40:]]
    for usage, images in (("Training", people[:40]), ("PublicTest", test)):
        for place, kind in enumerate(("happy", "sad")):
            saved(tmp_path / "data" / usage / kind, images[place::2])
    task = Expression(find_face_sets(tmp_path / "data", "all"), replicates=50)
    pictures = Pictures(task.faces, task.indices)
    cache, source = FeatureCache(tmp_path / "features"), HogSource(48)
    cache.fill([source], pictures)
    features = cache.read(source, pictures, source.space)

    (rows,) = task.splits(features, pictures)
    assert (len(rows.train), len(rows.test), rows.near_copies) == (34, 26, COPIES)
    trained = {task.faces.records[i].key for i in features.records[rows.train]}
    copied = {f"Training/{kind}/{i:03d}.png" for kind in ("happy", "sad") for i in range(3)}
    assert not trained & copied

    figures = task.score(features, pictures)
    assert [(figure.metric, figure.n) for figure in figures] == [
        ("accuracy, no copies", 20),
        ("accuracy", 26),
        ("mean class recall", 26),
        ("kNN accuracy, no copies", 20),
        ("kNN accuracy", 26),
    ]
    originals = task.originals(features.records[rows.test])
    predicted = figures[1].predictions
    correct = predicted.predicted == predicted.targets
    assert figures[0].value == pytest.approx(100 * correct[originals].mean())
    assert figures[1].value == pytest.approx(100 * correct.mean())
    for figure in figures:
        assert "6 training pictures left out as near-copies of test pictures" in figure.note


def test_attributes_have_figures_without_them(people, tmp_path):
    root = tmp_path / "UTKFace"
    root.mkdir()
    for i, image in enumerate(people):
        image.save(root / f"{20 + i}_{i % 2}_{i % 2}_{i}.png")
    test = {record.key for record in UTKFace(root, "test").records}
    (copied, *_) = sorted(test)
    # The near-copy is in the training part or, by its bytes, in the test part too: try some.
    for quality in range(30, 60):
        path = root / f"30_{quality % 2}_{quality % 2}_{quality}.jpg"
        Image.open(root / copied).save(path, "JPEG", quality=quality)
        if path.name not in {record.key for record in UTKFace(root, "test").records}:
            break
        path.unlink()
    task = Attributes([UTKFace(root, "all")], replicates=50)
    pictures = Pictures(task.faces, task.indices)
    cache, source = FeatureCache(tmp_path / "features"), HogSource(48)
    cache.fill([source], pictures)
    figures = task.score(cache.read(source, pictures, source.space), pictures)
    n = {figure.metric: figure.n for figure in figures}
    assert n["MAE age"] == n["gender accuracy"] == len(test)
    assert n["MAE age, no copies"] == n["gender accuracy, no copies"] == len(test) - 1
    assert np.isfinite([figure.value for figure in figures]).all()
