"""Rendered faces: reproducible pixels, and labels that agree with them."""

import pickle
import tracemalloc
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import EXPRESSIONS, in_test_share
from ssl_faces.rendered import (
    FACTORS,
    FOLDS,
    RenderedFaces,
    landmarks_3d,
    project_landmarks,
    render_faces,
)
from ssl_faces.rendered.clips import RenderedClips
from ssl_faces.rendered.records import RenderedRecords
from tests.support.rendered import FRONTAL, drawn, one_thread

__all__ = ["one_thread"]


@pytest.fixture(scope="module")
def everyone():
    return RenderedFaces(count=2000, people=200, part="all", size=32)


def test_memory_does_not_grow_with_the_set():
    def held(count):
        tracemalloc.start()
        try:
            faces = RenderedFaces(count, 50, "train")
            for i in range(0, len(faces), len(faces) // 10):
                faces.records[i]
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert held(200_000) < held(2_000) + (4 << 20)


def test_pixels_do_not_depend_on_workers():
    faces = RenderedFaces(count=24, people=8, part="all", size=24, nuisances="all")
    whole = faces.render_batch(range(24))
    loader = DataLoader(faces, batch_size=None, num_workers=2)
    samples = list(loader)
    assert [sample["key"] for sample in samples] == [record.key for record in faces.records]
    assert torch.equal(torch.stack([sample["image"] for sample in samples]), whole)


def test_a_read_a_sample_and_a_copy_show_one_picture():
    faces = RenderedFaces(count=40, people=10, part="all", size=48)
    batch = faces.render_batch([5, 2])
    assert batch.shape == (2, 3, 48, 48)
    assert batch.dtype == torch.uint8
    picture = faces.read(2, at_least=16)
    assert picture.shape == (48, 48, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, batch[1].permute(1, 2, 0).numpy())
    assert torch.equal(faces[2]["image"], batch[1])
    copy = pickle.loads(pickle.dumps(faces))
    assert np.array_equal(copy.read(2), picture)
    assert copy.records[2].key == faces.records[2].key


def test_listing_in_any_order_computes_no_labels(monkeypatch):
    faces = RenderedFaces(count=3000, people=300, part="all", size=48)
    in_order = [(record.key, record.person, record.source) for record in faces.records]
    shuffled = np.random.default_rng(0).permutation(len(faces)).tolist()
    age = faces.records[2999].labels["age"]
    computed = []
    labels_at = RenderedRecords._labels_at

    def counted(self, places):
        computed.append(len(places))
        return labels_at(self, places)

    monkeypatch.setattr(RenderedRecords, "_labels_at", counted)
    other = RenderedFaces(count=3000, people=300, part="all", size=48)
    for at in shuffled:
        record = other.records[at]
        assert (record.key, record.person, record.source) == in_order[at]
    assert not computed
    assert other.records[2999].labels["age"] == age
    assert sum(computed) <= 256


def test_a_key_names_one_picture_whatever_set_it_is_listed_in():
    large = RenderedFaces(count=600, people=60, part="all", size=32)
    place = {record.key: i for i, record in enumerate(large.records)}
    for other in (
        RenderedFaces(count=600, people=60, part="test", size=32),
        RenderedFaces(count=200, people=50, part="train", size=32),
    ):
        chosen = range(0, len(other), 9)
        places = [place[other.records[i].key] for i in chosen]
        assert torch.equal(other.render_batch(chosen), large.render_batch(places))
        for i, j in zip(chosen, places, strict=True):
            mine, theirs = other.records[i], large.records[j]
            assert mine.person == theirs.person
            assert mine.labels["expression"] == theirs.labels["expression"]
            assert torch.allclose(mine.labels["pose"], theirs.labels["pose"])
            assert torch.allclose(mine.labels["landmarks"], theirs.labels["landmarks"], atol=1e-3)
            assert other.content_hash(i) == large.content_hash(j)


def test_pictures_people_and_hashes_differ_by_index_size_and_seed(everyone):
    pictures = everyone.render_batch(range(300)).flatten(1)
    assert len(pictures.unique(dim=0)) == 300
    hashes = {everyone.content_hash(i) for i in range(len(everyone))}
    assert len(hashes) == len(everyone)
    assert RenderedFaces(2000, 200, "all", size=48).content_hash(0) not in hashes
    reseeded = RenderedFaces(count=2000, people=200, part="all", size=32, seed=1)
    assert reseeded.content_hash(0) not in hashes
    assert not torch.equal(reseeded.render_batch([0]), everyone.render_batch([0]))
    assert not set(reseeded.people) & set(everyone.people)


# Labels.


def test_every_label_is_there_and_well_spread(everyone):
    assert everyone.name == "rendered"
    assert len(everyone) == 2000
    assert "rendered_00012" in everyone.people
    expressions = Counter(record.labels["expression"] for record in everyone.records)
    assert set(expressions) == set(range(len(EXPRESSIONS)))
    assert min(expressions.values()) > 0.8 * 2000 / 7
    poses = torch.stack([record.labels["pose"] for record in everyone.records])
    assert poses.dtype == torch.float32
    for angle, limit in enumerate((60, 25, 25)):
        assert poses[:, angle].abs().max() <= limit
        assert poses[:, angle].min() < -0.8 * limit
        assert poses[:, angle].max() > 0.8 * limit
        assert abs(poses[:, angle].mean()) < 0.05 * limit
    assert (torch.corrcoef(poses.T) - torch.eye(3)).abs().max() < 0.1
    sample = everyone[7]
    assert sample["landmarks"].shape == (68, 2)
    assert sample["person"] == everyone.people.index(everyone.records[7].person or "")


def test_people_have_several_pictures_with_several_expressions(everyone):
    of_person = {}
    for record in everyone.records:
        of_person.setdefault(record.person or "", []).append(record.labels["expression"])
    assert len(of_person) == 200
    assert {len(expressions) for expressions in of_person.values()} == {10}
    assert {len(set(expressions)) for expressions in of_person.values()} == {7}


def test_parts_share_no_person_and_make_up_the_whole(everyone):
    train = RenderedFaces(count=2000, people=200, part="train", size=32)
    test = RenderedFaces(count=2000, people=200, part="test", size=32)
    assert not set(train.people) & set(test.people)
    assert {*train.people, *test.people} == set(everyone.people)
    keys = sorted(record.key for faces in (train, test) for record in faces.records)
    assert keys == sorted(record.key for record in everyone.records)
    assert all(in_test_share(person) for person in test.people)
    assert train.held_out_people == test.held_out_people == frozenset(test.people)
    assert train.pairs == test.pairs == everyone.pairs


def test_pairs_are_balanced_and_their_folds_share_no_person():
    test = RenderedFaces(count=2000, people=200, part="test", size=32)
    person = {record.key: record.person for record in test.records}
    assert len(set(test.pairs)) == len(test.pairs) > 500
    assert {pair.fold for pair in test.pairs} == set(range(FOLDS))
    people = {fold: set() for fold in range(FOLDS)}
    for pair in test.pairs:
        assert pair.first != pair.second
        assert pair.same == (person[pair.first] == person[pair.second])
        people[pair.fold] |= {person[pair.first], person[pair.second]}
    for one, other in combinations(people.values(), 2):
        assert not one & other
    assert set().union(*people.values()) == set(test.people)
    for fold in range(FOLDS):
        same = [pair.same for pair in test.pairs if pair.fold == fold]
        assert sum(same) * 2 == len(same) > 0


def test_too_few_people_make_no_pairs():
    assert RenderedFaces(count=100, people=12, part="all", size=32).pairs == []


def test_pixels_tell_the_expression_of_unseen_people_and_people_apart():
    factors = drawn(90, each=7, **FRONTAL)
    grey = render_faces(factors, 32).float().mean(1)
    expression = np.arange(630) % 7
    pixels = StandardScaler().fit_transform(grey.flatten(1).numpy())
    seen = np.arange(630) < 455  # by person
    probe = LogisticRegression(C=1e-3, max_iter=60).fit(pixels[seen], expression[seen])
    accuracy = probe.score(pixels[~seen], expression[~seen])
    assert accuracy > 0.4  # chance: 0.14
    # And not from anything but the face: a strip of background above it says nothing.
    strip = StandardScaler().fit_transform(grey[:, :2].flatten(1).numpy())
    probe = LogisticRegression(C=1e-3, max_iter=60).fit(strip[seen], expression[seen])
    assert probe.score(strip[~seen], expression[~seen]) < 0.25


def test_missing_factors_have_defaults():
    assert torch.equal(
        render_faces({"yaw": torch.tensor([20.0])}, 32),
        render_faces(
            {name: torch.tensor([factor.default]) for name, factor in FACTORS.items()}
            | {"yaw": torch.tensor([20.0])},
            32,
        ),
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_renders_the_same_faces():
    factors = drawn(64)
    on_gpu = render_faces({name: value.cuda() for name, value in factors.items()})
    difference = (on_gpu.cpu().int() - render_faces(factors).int()).abs()
    assert (difference > 1).float().mean() < 1e-4


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"count": 0}, "rendered.count: 0; give a whole number from 1"),
        ({"people": True}, "people"),
        ({"count": 10, "people": 11}, "people=11 is more than count=10"),
        ({"clips": 5, "people": 6}, "people=6 is more than clips=5"),
        ({"clips": 5, "people": 5, "fps": float("nan")}, "fps"),
        ({"clips": 5, "people": 5, "head": "nod"}, "'nod'"),
        ({"part": "validation"}, "part"),
        ({"nuisances": "some"}, "none, mild, all"),
        ({"counterparts": ["neutrl"]}, "'neutrl'"),
        ({"count": 5, "people": 1, "part": "test"}, "people=1"),
    ],
)
def test_refusals(arguments, names):
    with pytest.raises(InputError, match=names) as caught:
        (RenderedClips if "clips" in arguments else RenderedFaces)(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("factors", "names"),
    [
        ({"yawn": torch.zeros(2)}, "'yawn'"),
        ({"yaw": torch.zeros(2), "pitch": torch.zeros(3)}, "one value a face"),
        ({"yaw": torch.zeros(2, 2)}, "one value a face"),
        ({"yaw": torch.tensor([float("nan")])}, "'yaw'"),
        ({"zoom": torch.tensor([float("inf")])}, "'zoom'"),
        ({"yaw": torch.tensor([10.0, 91.0])}, "'yaw' is 91 for face 1.*from -90 to 90"),
        ({"lip_corner_pul": torch.zeros(1)}, "did you mean 'lip_corner_pull'"),
    ],
)
def test_bad_factors_are_named(factors, names):
    for function in (render_faces, project_landmarks, landmarks_3d):
        with pytest.raises(InputError, match=names):
            function(factors)


def test_an_index_beyond_the_set_is_an_index_error(everyone):
    with pytest.raises(IndexError):
        everyone.render_batch([2000])
    with pytest.raises(IndexError):
        everyone[2000]
    assert everyone.render_batch([]).shape == (0, 3, 32, 32)
