"""Pictures kept back for the online probe: which they are, and that training never sees them."""

from functools import partial

import numpy as np
import pytest
import torch

from ssl_faces.callbacks.export import left_out
from ssl_faces.common.errors import InputError
from ssl_faces.data import FaceRecord, FaceSet
from ssl_faces.data.store.held_out import HeldOut, number_of
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.selection import held_out_by
from ssl_faces.pairs.module import FaceData
from ssl_faces.pairs.online import LEAST, keep_back
from ssl_faces.rendered import RenderedFaces
from tests.support.packed import noise

SIZE = 16


picture = partial(noise, SIZE, SIZE)
"""An image of noise by its number."""


def records(numbers, people=0, label="expression", first=0):
    """Pictures with a label that is their number, of so many people in turn (0: of nobody)."""
    found = []
    for i in numbers:
        value = i % 7 if label == "expression" else torch.tensor([float(i), 0.0, 0.0])
        person = f"p{i % people}" if people else None
        known = {label: value} if label else {}
        found.append(FaceRecord(f"{first + i}", picture(first + i), person, known))
    return found


class WithTests(FaceSet):
    """A set with a part `test` of given pictures and people."""

    def __init__(self, name, train, test, people):
        part = partial(FaceSet, name, "test", test)
        super().__init__(name, "train", train, held_out_people=frozenset(people), test=part)


def ready(sets=None, **more):
    data = FaceData(sets=sets, size=SIZE, batch_size=4, **more)
    data.prepare_data()
    data.setup()
    return data


def numbers_of_kept(images, most):
    by_bytes = {picture(i).tobytes(): i for i in range(most)}
    return [by_bytes[np.ascontiguousarray(x.permute(1, 2, 0).numpy()).tobytes()] for x in images]


def test_they_are_a_share_of_the_set_and_training_sees_neither_them_nor_copies():
    copies = [FaceRecord(f"copy {i}", picture(i)) for i in range(700)]
    sets = [FaceSet("faces", "train", records(range(700))), FaceSet("copies", "train", copies)]
    data = ready(sets, online_pictures=120)
    (kept,) = data.online.faces
    assert (len(kept.images), kept.bank, kept.by_person) == (120, 96, False)
    numbers = numbers_of_kept(kept.images, 700)
    assert len(set(numbers)) == 120
    assert kept.targets["expression"].tolist() == [i % 7 for i in numbers]
    trained = {(name, key) for name, key, _ in data.trained_on()}
    assert trained == {
        (name, f"{prefix}{i}")
        for name, prefix in (("faces", ""), ("copies", "copy "))
        for i in set(range(700)) - set(numbers)
    }
    assert [d["left_out_for_the_online_probe"] for d in data.description] == [120, 120]
    assert [d["pictures"] for d in data.description] == [580, 580]
    expected = "120 pictures of faces for the online probe, with their people and copies"
    assert left_out(data) == expected
    assert left_out(ready(sets, leave_out_tests=False)) == "nothing"
    # A fifth at most.
    assert len(ready(sets, online_pictures=5000).online.faces[0].images) == 140


def test_people_are_kept_back_whole_in_all_sets():
    other = records(range(100), people=100, label="", first=5000)
    sets = [FaceSet("poses", "train", records(range(800), 100, "pose")), FaceSet("o", "all", other)]
    data = ready(sets, online_pictures=160)
    (kept,) = data.online.faces
    numbers = numbers_of_kept(kept.images, 800)
    assert kept.targets["pose"][:, 0].tolist() == numbers
    people = [i % 100 for i in numbers]
    assert len(numbers) == 160
    assert all(people.count(person) == 8 for person in people), "whole"
    assert not {*people[: kept.bank]} & {*people[kept.bank :]}, "on one side"
    assert kept.bank == 128
    trained = {int(key) % 100 for _, key, _ in data.trained_on()}
    assert trained == set(range(100)) - set(people), "of either set"


def test_neither_test_pictures_nor_test_people_are_among_them():
    faces = WithTests(
        "faces", records(range(800), 200), [FaceRecord("t", picture(3))], ["p5", "p6"]
    )
    other = WithTests("other", records([900], label=""), [FaceRecord("t", picture(44))], ["p7"])
    for leave_out in (True, False):
        data = ready([faces, other], online_pictures=160, leave_out_tests=leave_out)
        numbers = numbers_of_kept(data.online.faces[0].images, 800)
        assert not {3, 44} & set(numbers)
        assert not {5, 6, 7} & {i % 200 for i in numbers}
    # Else they would have been: all others are, if so many are asked for.
    tests = held_out_by([faces, other])
    free = HeldOut.of()
    many = keep_back([faces], free, 10**6, SIZE).held_out
    assert not np.isin(tests.people, many.people).all()
    assert number_of("p5") in tests.people


def test_byte_identical_pictures_are_kept_back_once():
    """Else a query would find itself in the bank."""
    twice = [FaceRecord(f"{i}", picture(i % 400), None, {"expression": 1}) for i in range(800)]
    (kept,) = keep_back([FaceSet("faces", "train", twice)], HeldOut.of(), 160, SIZE).faces
    assert len(set(numbers_of_kept(kept.images, 400))) == len(kept.images) == 160


def test_the_choice_changes_little_with_the_set():
    def chosen(count):
        faces = FaceSet("faces", "train", records(range(count)))
        return set(
            numbers_of_kept(keep_back([faces], HeldOut.of(), 120, SIZE).faces[0].images, count)
        )

    before, after = chosen(700), chosen(710)
    assert before == chosen(700)
    assert len(before & after) >= 110


def test_one_set_serves_both_labels_and_else_the_one_with_most():
    rendered = RenderedFaces(count=700, people=70, size=SIZE)
    kept = keep_back([rendered], held_out_by([rendered]), 110, SIZE)
    (one,) = kept.faces
    assert list(one.targets) == ["expression", "pose"]
    assert one.by_person
    two = keep_back(
        [
            FaceSet("few", "train", records(range(510))),
            FaceSet("poses", "train", records(range(600), label="pose")),
            FaceSet("many", "train", records(range(600))),
        ],
        HeldOut.of(),
        1000,
        SIZE,
    )
    assert [(one.title, list(one.targets)) for one in two.faces] == [
        ("many", ["expression"]),
        ("poses", ["pose"]),
    ]
    assert str(two) == "120 pictures of many, 120 pictures of poses"


def test_too_few_labels_keep_nothing_back():
    few = [FaceSet("few", "train", records(range(5 * LEAST - 1)))]
    data = ready(few, online_pictures=2500)
    assert data.online.faces == []
    assert "no set to train on has 500 pictures" in data.online.off
    assert len(data.trained_on()) == 5 * LEAST - 1
    assert left_out(data) == "nothing"


def test_off_by_default():
    data = ready([FaceSet("faces", "train", records(range(600)))])
    assert (data.online.faces, len(data.trained_on())) == ([], 600)
    assert "left_out_for_the_online_probe" not in data.description[0]


# Packs ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder of 650 pictures in two classes of expression."""
    from PIL import Image

    for i in range(650):
        place = tmp_path / "faces" / ("happy" if i % 2 else "sad")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(place / f"{i}.png")
    return tmp_path / "faces"


def test_packs_need_a_labelled_set(folder, tmp_path):
    from ssl_faces.data import ClassFolders, find_face_sets

    place = tmp_path / "pack"
    pack_sets([ClassFolders(folder, "all")], place, SIZE, held_out=held_out_by([]))
    off = ready(packs=str(place), online_pictures=2500)
    assert off.online.faces == []
    assert "packs carry no labels (give data.online_root" in off.online.off
    data = ready(packs=str(place), online_pictures=2500, online_root=folder)
    (kept,) = data.online.faces
    (labelled,) = find_face_sets(folder)
    assert len(kept.images) == int(len(labelled) * 0.2)
    trained = {key for _, key, _ in data.trained_on()}
    assert len(trained) == 650 - len(kept.images)
    tested = {record.key for record in labelled.test_part().records}
    for number, label in zip(
        numbers_of_kept(kept.images, 650), kept.targets["expression"], strict=True
    ):
        key = f"{'happy' if number % 2 else 'sad'}/{number}.png"
        assert key not in trained
        assert key not in tested
        assert int(label) == (3 if number % 2 else 5)


def test_bad_settings(folder, tmp_path):
    from ssl_faces.data import ImageFolder

    place = tmp_path / "pack"
    pack_sets([ImageFolder(folder)], place, SIZE)
    with pytest.raises(InputError, match=r"data\.online_root: serves data.packs only"):
        FaceData(online_root=folder)
    with pytest.raises(InputError, match=r"data\.online_pictures: -1"):
        FaceData(online_pictures=-1)
    few = tmp_path / "few"
    (few / "happy").mkdir(parents=True)
    (few / "sad").mkdir()
    for i, name in enumerate(("happy", "sad")):
        (folder / name / f"{1 - i}.png").rename(few / name / "0.png")
    with pytest.raises(InputError, match=r"data\.online_root: .*no set there has 500 pictures"):
        ready(packs=str(place), online_pictures=100, online_root=few)
