"""Attributes of UTKFace: what is learnt, on which pictures, and figures that are right."""

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score

from linear_probe.features.frozen import FeatureCache, Features, Pictures
from linear_probe.sources.baselines import PixelSource
from linear_probe.tasks import Attributes
from ssl_faces.data import find_face_sets
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
