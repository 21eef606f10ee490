"""What a pair is: two pictures of a person, or one picture twice; and how they are counted."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.data import LFW, UTKFace, YouTubeKeypoints
from ssl_faces.data.store.selection import only_paired
from ssl_faces.data.store.stored_faces import StoredFaces
from ssl_faces.pairs.module import FaceData
from ssl_faces.rendered import RenderedClips, RenderedFaces
from ssl_faces.training.fit import check
from tests.support.fits import ROOT
from tests.support.noise_sets import about, lfw, met, utkface, youtube
from tests.support.refusals import message_of

FIRST = {"Ann": 3, "Bob": 1, "Cleo": 2, "Dan": 1}
SECOND = {"Bob": 1, "Eve": 1}  # Bob is in both sets, with one picture in each
PAIRED = {"Ann", "Bob", "Cleo"}


@pytest.fixture
def sets(tmp_path):
    """Two sets of known people, and five pictures of nobody known."""
    youtube(tmp_path / "first", FIRST)
    lfw(tmp_path / "second", SECOND, tested=("Bob", "Eve"))
    utkface(tmp_path / "utk", 5)
    return [
        YouTubeKeypoints(tmp_path / "first", "all"),
        LFW(tmp_path / "second", "all"),
        UTKFace(tmp_path / "utk", "all"),
    ]


def ready(sets, positives, **more):
    settings = {"batch_size": 1, "size": 16, "leave_out_tests": False, **more}
    data = FaceData(sets=sets, positives=positives, **settings)
    data.prepare_data()
    data.setup()
    return data


def person_of(key):
    """`Ann_0.png` is of Ann, `Bob/Bob_0001.png` of Bob; UTKFace's, named by numbers, of nobody."""
    name = Path(key).name.partition("_")[0]
    return name if name.isalpha() else ""


def test_only_people_of_two_pictures_are_kept(sets):
    """Against a loop over all pictures."""
    packs = ready(sets, "frames").packs
    listed = []
    for k, one in enumerate(packs):
        keys = one.index.images.key_list()
        listed += [(k, row, person_of(key)) for row, key in enumerate(keys)]
    assert len(listed) == 14
    expected = [[], [], []]
    alone = [0, 0, 0]
    for k, row, person in listed:
        others = [x for x in listed if x[2] == person and x[:2] != (k, row)]
        if person and others:
            expected[k].append(row)
        else:
            alone[k] += 1
    found = only_paired(StoredFaces(packs))
    assert [np.flatnonzero(of_pack).tolist() for of_pack in found.kept] == expected
    assert (found.pictures, found.alone) == (7, 7)
    sets = ("youtube_keypoints", "lfw", "utkface")
    assert found.alone_of == {s: count for s, count in zip(sets, alone, strict=True) if count}


def test_pairs_of_people_are_two_pictures_of_one(sets, caplog):
    with caplog.at_level(logging.WARNING):
        data = ready(sets, "person", flip_share=1.0)
    assert "leaves out 7 pictures that are the only one known of their person; 7 are" in caplog.text
    pairs = met(data)
    assert len(pairs) == len(data.trained_on()) == 7
    assert {person_of(first[1]) for first, _, _ in pairs} == PAIRED
    for first, second, mirrored in pairs:
        assert first != second
        assert person_of(first[1]) == person_of(second[1])
        assert not mirrored, "flip_share is of pairs that may be one picture"


@pytest.mark.parametrize(
    ("positives", "expected"), [("frames", 7 / 14 * 0.75), ("person", 1.0), ("picture", 0.0)]
)
def test_the_share_of_pairs_of_two_pictures(sets, positives, expected):
    """Half of the 14 pictures have a partner."""
    found = ready(sets, positives, flip_share=0.25).two_pictures
    assert found == pytest.approx(expected)


def test_the_mix_is_counted_by_set(sets):
    """Six of the seven images that have a partner are YouTube's, one is LFW's."""
    data = ready(sets, "frames", different_share=0.7, candidates=2)
    assert data.two_images == pytest.approx({"lfw": 0.1, "youtube_keypoints": 0.6})
    assert data.mix() == (
        "pairs: 70 % two images of one person (lfw 10 %, youtube_keypoints 60 %), of 2 partners "
        "the one that differs most; 30 % mirror images"
    )
    assert ready(sets[2:], "frames").mix() == (
        "pairs: 0 % two images of one person; 100 % mirror images"
    )
    for first, _, mirrored in met(data):
        assert mirrored == (person_of(first[1]) not in PAIRED)


def test_a_share_of_pairs_that_nobody_gives(sets):
    text = message_of(ready, sets[2:], "frames", different_share=0.7)
    assert text.startswith("data.different_share: 0.7, but no person has two images; add a set")
    ready(sets[2:], "frames", different_share=0.0)


def test_sets_beside_those_of_a_folder(tmp_path, sets):
    clips = RenderedClips(4, 4, frames=4, fps=1.0, part="all", size=16)
    data = ready([clips], "frames", root=tmp_path, different_share=0.8)
    names = {name for name, _, _ in data.trained_on()}
    assert names == {"rendered_clips", "lfw", "utkface", "youtube_keypoints"}
    assert data.two_images is not None
    assert data.two_images["rendered_clips"] == pytest.approx(0.8 * 16 / 23)
    text = message_of(ready, sets[1:2], "frames", root=tmp_path)
    assert text.startswith("data.sets: lfw is in data.root (")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"candidates": 2, "positives": "picture"}, "has no effect with data.positives=picture"),
        ({"candidates": 2, "positives": "strangers"}, "no partner is another image of the person"),
        ({"epoch_of": "clips", "positives": "picture"}, "data.epoch_of: clips has no effect with"),
        ({"epoch_of": "clips", "different_share": 0.5}, "can't be combined with data.different_sh"),
        ({"different_share": 0.5, "positives": "person"}, "no effect with data.positives=person"),
    ],
)
def test_candidates_that_can_not_be(settings, expected):
    with pytest.raises(InputError, match=expected):
        FaceData(**settings)


def test_the_card_counts_what_was_left_out_for_having_no_partner(sets):
    data = ready(sets[:1] + sets[2:], "person")
    assert data.has_people
    for name, pictures, alone in (("youtube_keypoints", 5, 2), ("utkface", 0, 5)):
        counted = about(data, name)
        assert counted["pictures"] == pictures
        assert counted["left_out_as_only_pictures_of_their_person"] == alone
    assert about(data, "youtube_keypoints")["pairs"] == "pictures of one person"


@pytest.mark.parametrize("positives", ["frames", "person"])
def test_rendered_people_are_no_identity_labels(positives, sets):
    rendered = [RenderedFaces(40, 10, "all", size=16)]
    data = ready(rendered, positives)
    assert data.has_people
    assert not data.uses_identity_labels
    assert ready([*rendered, *sets], positives).uses_identity_labels


def test_without_identity_labels_only_rendered_people_meet(sets):
    """And batches say which pairs are of one person."""
    rendered = [RenderedFaces(12, 4, "all", size=16)]
    more = {"different_share": 0.5, "batch_size": 26}
    data = ready([*rendered, *sets], "frames", identity_labels=False, **more)
    assert not data.uses_identity_labels
    assert data.two_images == pytest.approx({"rendered": 0.5})
    paired = [about(data, name)["pairs"] for name in ("rendered", "lfw", "youtube_keypoints")]
    assert paired == ["pictures of one person, or mirror images", *["mirror images"] * 2]
    (batch,) = data.train_dataloader()
    assert bool(batch["mirrored"].any())
    assert torch.equal(batch["people"] < 0, batch["mirrored"])
    assert len(batch["people"].unique()) == 1 + 4
    for first, second, mirrored in met(data):
        assert mirrored == (first[0] != "rendered") == (first == second)


def test_the_configs_of_positives(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, nuisances in (("rendered_people", "wide"), ("identities", None)):
        words = ["-c", "configs/method/simclr.yaml", "-c", f"configs/data/{name}.yaml"]
        data = check(["fit", *words])["data"]
        assert (data["positives"], data["augmentation"]) == ("person", "views")
        if nuisances:
            (faces,) = data["sets"]
            assert faces["init_args"]["nuisances"] == nuisances
            assert faces["init_args"]["count"] == 4 * faces["init_args"]["people"]


@pytest.mark.parametrize(("positives", "labels"), [("picture", False), ("frames", True)])
def test_other_positives_keep_all(positives, labels, sets):
    data = ready(sets, positives, flip_share=0.0)
    assert data.has_people == labels
    pairs = met(data)
    assert len(pairs) == 14
    for first, second, mirrored in pairs:
        two = person_of(first[1]) in PAIRED and labels
        assert mirrored == (not two)
        assert (first == second) == (not two)
    assert "left_out_as_only_pictures_of_their_person" not in about(data, "utkface")


def test_people_of_one_picture_only(sets):
    with pytest.raises(InputError) as caught:
        ready(sets[1:], "person")
    text = str(caught.value)
    assert text.startswith("data.positives: person, but no person has two pictures; set")
    assert "\n" not in text


def test_pairs_of_strangers(sets, tmp_path):
    data = ready(sets, "strangers", epoch_of="clips")
    pairs = met(data)
    assert len(pairs) == 5 + 5  # five people, and five images of nobody
    assert all(person_of(a[1]) != person_of(b[1]) or not person_of(a[1]) for a, b, _ in pairs)
    assert not any(mirrored for _, _, mirrored in pairs)
    assert data.mix() == "pairs: images of two people each"
    assert data.two_pictures == 0
    # Three of the ten first images have a partner, and half of these meet it.
    assert ready(sets, "frames", epoch_of="clips").two_pictures == pytest.approx(0.15)
    text = message_of(ready, sets, "frames", epoch_of="clips", window=2)
    assert text.startswith("data.positives=strangers and data.epoch_of=clips need all images")
    youtube(tmp_path / "alone", {"Ann": 3})
    text = message_of(ready, [YouTubeKeypoints(tmp_path / "alone", "all")], "strangers")
    assert text.startswith("data.positives: strangers, but all images are of one person; give")


def test_a_resume_with_other_positives_is_refused(sets):
    before, after = ready(sets, "frames"), ready(sets, "picture")
    with pytest.raises(InputError, match=r"has positives frames \(now picture\)"):
        after.load_state_dict({"epoch": 0, "batch": 1, "order": before._order()})
    mixed = ready(sets, "frames", different_share=0.5)
    with pytest.raises(InputError, match=r"has different_share None \(now 0.5\)"):
        mixed.load_state_dict({"order": before._order()})
    added = ("different_share", "candidates", "epoch_of")
    older = {k: v for k, v in before._order().items() if k not in added}
    before.load_state_dict({"order": older})
