"""Near-copies of test images are left out of a probe's training, and figures without them lead."""

import numpy as np
import pytest
from PIL import Image

from linear_probe.features.frozen import FeatureCache, Pictures
from linear_probe.sources.baselines import HogSource
from linear_probe.tasks import Attributes, Expression
from ssl_faces.data import find_face_sets
from ssl_faces.data.sets.utkface import UTKFace
from tests.support.photographs import CHANGES, photographs_of_people, saved

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
