"""The data module: what it leaves out, what it says of it, and the batches it makes."""

import logging

import pytest
import torch

from ssl_faces.data import LFW, Fer2013, ImageFolder, UTKFace, YouTubeKeypoints, in_test_share
from ssl_faces.pairs.module import FaceData
from ssl_faces.rendered import RenderedFaces
from tests.support.face_data import keys_of, ready
from tests.support.noise_sets import (
    TRAINED,
    about,
    digest,
    four_sets,
    met,
    pictures_by_bytes,
    put_picture,
    who,
)
from tests.support.refusals import message_of


@pytest.fixture
def root(tmp_path):
    return four_sets(tmp_path / "data")


# What is left out -------------------------------------------------------------------------------


def test_test_parts_and_test_people_are_left_out(root):
    data = ready(root)
    assert keys_of(data, "fer2013") == {
        f"Training/{name}/{n}.png" for name in ("angry", "happy") for n in range(3)
    }
    # LFW's own test people, and the one whom the YouTube keypoints test.
    assert keys_of(data, "lfw") == {
        f"{TRAINED[1]}/{TRAINED[1]}_0001.png",
        f"{TRAINED[1]}/{TRAINED[1]}_0002.png",
        f"{TRAINED[2]}/{TRAINED[2]}_0001.png",
    }
    # The YouTube keypoints' own, and the one whom LFW tests.
    assert keys_of(data, "youtube_keypoints") == {
        *(f"{TRAINED[1]}_{n}.png" for n in range(3)),
        f"{TRAINED[3]}_0.png",
    }
    pictures = {path.name for path in (root / "utk").iterdir()}
    tested = {name for name in pictures if in_test_share(digest(root / "utk" / name))}
    assert keys_of(data, "utkface") == pictures - tested
    assert 0 < len(tested) < len(pictures)


def test_it_says_what_it_left_out(root):
    data = ready(root)
    assert {d["name"]: d["pictures"] for d in data.description} == {
        name: len(keys_of(data, name))
        for name in ("fer2013", "lfw", "utkface", "youtube_keypoints")
    }
    assert all(d["part"] == "train" for d in data.description)
    assert about(data, "lfw") == {
        "name": "lfw",
        "part": "train",
        "pictures": 3,
        "left_out_as_copies_of_test_pictures": 0,
        "left_out_as_pictures_of_test_people": 2,
        "left_out_as_near_copies_of_test_pictures": 0,
        "skipped": 0,
        "pairs": "pictures of one person, or mirror images",
    }
    assert about(data, "youtube_keypoints")["left_out_as_pictures_of_test_people"] == 2
    assert about(data, "utkface")["pairs"] == "mirror images"


def test_it_says_what_folders_were_recognised_as(root, capsys):
    data = ready(root)
    lines = [x for x in capsys.readouterr().err.splitlines() if "recognised as" in x]
    assert len(lines) == 4
    (line,) = [x for x in lines if "LFW" in x]
    lfw = about(data, "lfw")
    people = lfw["left_out_as_pictures_of_test_people"]
    assert line == (
        f"{root / 'lfw'}: recognised as LFW; {lfw['pictures']} images to train on; kept back: 4 as "
        f"its test part, {people} of test people; --data.leave_out_tests false trains on them too"
    )
    (line,) = [x for x in lines if "FER-2013" in x]
    assert " as its test part (PublicTest)" in line
    ready(root, leave_out_tests=False)
    text = capsys.readouterr().err
    assert f"{root / 'utk'}: recognised as UTKFace; 40 images to train on\n" in text


def test_byte_identical_copies_of_test_pictures_are_left_out(root):
    public = root / "fer" / "PublicTest" / "angry" / "0.png"
    copies = [
        root / "fer" / "Training" / "happy" / "copy.png",
        root / "lfw" / TRAINED[2] / f"{TRAINED[2]}_0002.png",
        root / "youtube" / "images" / f"{TRAINED[3]}_0.png",
    ]
    for copy in copies:
        copy.write_bytes(public.read_bytes())
    data = ready(root)
    assert digest(public) not in {row[2] for row in data.trained_on()}
    assert "Training/happy/copy.png" not in keys_of(data, "fer2013")
    for name in ("fer2013", "lfw", "youtube_keypoints"):
        assert about(data, name)["left_out_as_copies_of_test_pictures"] == 1
    assert about(data, "utkface")["left_out_as_copies_of_test_pictures"] == 0
    assert len(keys_of(data, "fer2013")) == 6


def test_trained_on_gives_the_hashes_of_the_files(root):
    folders = {
        "fer2013": root / "fer",
        "lfw": root / "lfw",
        "utkface": root / "utk",
        "youtube_keypoints": root / "youtube" / "images",
    }
    rows = ready(root).trained_on()
    assert rows
    for name, key, found in rows:
        assert found == digest(folders[name] / key)


def test_everything_is_trained_on_when_asked(root):
    data = ready(root, leave_out_tests=False)
    assert {d["name"]: (d["part"], d["pictures"]) for d in data.description} == {
        "fer2013": ("all", 12),
        "lfw": ("all", 9),
        "utkface": ("all", 40),
        "youtube_keypoints": ("all", 10),
    }
    assert len(data.trained_on()) == 71


def test_test_parts_are_left_out_of_a_set_given_whole(root):
    """By content and by person, whatever part the set given is."""
    sets = [
        Fer2013(root / "fer", "all"),
        LFW(root / "lfw", "all"),
        UTKFace(root / "utk", "all"),
        YouTubeKeypoints(root / "youtube", "all"),
    ]
    whole, usual = ready(sets=sets), ready(root)
    assert sorted(whole.trained_on()) == sorted(usual.trained_on())


def test_a_test_picture_that_cannot_be_read_is_no_obstacle(root):
    usual = ready(root).trained_on()
    (root / "fer" / "PublicTest" / "angry" / "9.png").symlink_to(root / "nowhere.png")
    (root / "lfw" / TRAINED[0] / f"{TRAINED[0]}_0009.png").symlink_to(root / "nowhere.png")
    assert ready(root).trained_on() == usual


def test_pictures_that_cannot_be_used_are_listed(root):
    (root / "fer" / "Training" / "angry" / "0.png").write_bytes(b"no picture")
    put_picture(root / "utk" / "39_0_2017.png", 1)
    data = ready(root)
    assert sorted((name, item.key) for name, item in data.skipped) == [
        ("fer2013", "Training/angry/0.png"),
        ("utkface", "39_0_2017.png"),
    ]
    assert about(data, "fer2013")["skipped"] == about(data, "utkface")["skipped"] == 1
    assert "Training/angry/0.png" not in keys_of(data, "fer2013")
    assert len(keys_of(data, "fer2013")) == 5


def test_a_skipped_picture_does_not_shift_the_people(root):
    """An early picture of either set with people can't be decoded."""
    lfw_first, youtube_first = f"{TRAINED[1]}/{TRAINED[1]}_0001.png", f"{TRAINED[0]}_0.png"
    (root / "lfw" / lfw_first).write_bytes(b"no picture")
    (root / "youtube" / "images" / youtube_first).write_bytes(b"no picture")
    data = ready(root, batch_size=1, flip_share=0.0)
    assert {item.key for _, item in data.skipped} == {lfw_first, youtube_first}
    assert len(keys_of(data, "lfw")) == 3 - 1
    assert len(keys_of(data, "youtube_keypoints")) == 4, "LFW tests that person"
    people = {key.rpartition("/")[2].rpartition("_")[0] for key in keys_of(data, "lfw")}
    people |= {key.rpartition("_")[0] for key in keys_of(data, "youtube_keypoints")}
    assert people == {TRAINED[1], TRAINED[2], TRAINED[3]}
    for first, second, mirrored in met(data):
        names = [one[1].rpartition("/")[2].rpartition("_")[0] for one in (first, second)]
        if first[0] in ("lfw", "youtube_keypoints"):
            assert names[0] == names[1]
            assert mirrored == (names[0] != TRAINED[1])


def test_setting_up_twice_changes_nothing(root):
    data = ready(root)
    rows, description = data.trained_on(), list(data.description)
    data.setup("fit")
    assert data.trained_on() == rows
    assert data.description == description
    assert data.skipped == []


# Sets given one by one, plain folders, rendered faces -------------------------------------------


def album(root, people=5, each=3):
    for person in range(people):
        for n in range(each):
            put_picture(root / f"p{person}" / f"{n}.png", 10 * person + n)
    return root


def test_a_plain_folder_is_trained_on_whole(tmp_path):
    data = ready(album(tmp_path / "album"))
    assert keys_of(data, "album") == {f"p{p}/{n}.png" for p in range(5) for n in range(3)}
    assert about(data, "album")["part"] == "all"
    assert about(data, "album")["pairs"] == "mirror images"
    pairs = next(iter(ready(tmp_path / "album", candidates=3).train_dataloader()))
    assert pairs["mirrored"].all(), "where nobody is known, there is nothing to choose from"


def test_sets_given_one_by_one(tmp_path):
    album(tmp_path / "album")
    faces = ImageFolder(tmp_path / "album", people_from_folders=True, name="mine")
    data = ready(sets=[faces])
    assert len(keys_of(data, "mine")) == 15
    assert about(data, "mine")["pairs"] == "pictures of one person, or mirror images"


def test_no_set_at_all(tmp_path):
    assert "data.sets" in message_of(ready, sets=[])


@pytest.mark.parametrize("name", ["gone", "empty"])
def test_a_folder_without_faces(tmp_path, name):
    (tmp_path / "empty").mkdir()
    data = FaceData(tmp_path / name)
    assert str(tmp_path / name) in message_of(data.prepare_data)
    assert str(tmp_path / name) in message_of(data.setup)


@pytest.mark.parametrize("name", ["gone", "empty"])
def test_rendered_faces_where_there_are_no_others(tmp_path, monkeypatch, caplog, name):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path / name))
    with caplog.at_level(logging.WARNING):
        data = ready(rendered=300)
    assert f"no faces at {tmp_path / name}: training on rendered ones" in caplog.text
    faces = RenderedFaces(300, size=16)
    assert [key for _, key, _ in sorted(data.trained_on())] == sorted(r.key for r in faces.records)
    assert about(data, "rendered")["part"] == "train"
    assert not set(faces.people) & faces.held_out_people


def test_faces_of_the_default_root(root, monkeypatch, caplog):
    monkeypatch.setenv("SSL_FACES_DATA", str(root))
    data = ready()
    assert sorted(data.trained_on()) == sorted(ready(root).trained_on())
    assert "rendered" not in caplog.text
    ready(rendered=300)
    warning = f"data.rendered has no effect: there are real faces in {root}"
    assert caplog.messages.count(warning) == 1


def test_fewer_pictures_than_a_batch(tmp_path):
    data = ready(album(tmp_path / "album"), batch_size=16)
    text = message_of(data.train_dataloader)
    assert "15 pictures are fewer than one step of 16 pairs on each of 1 device(s)" in text
    assert "lower data.batch_size" in text
    assert len(ready(tmp_path / "album", batch_size=15).train_dataloader()) == 1


# Batches ----------------------------------------------------------------------------------------


def test_pairs_cross_sets_by_name(root):
    """Person 1 has pictures in LFW and among the YouTube keypoints."""
    data = ready(root, batch_size=1, flip_share=0.0)
    partners = {}
    for epoch in range(12):
        loader = data.train_dataloader()
        loader.dataset.epoch = epoch
        known = pictures_by_bytes(data)
        for batch in loader.dataset:
            first, second = batch["pairs"][0]
            partners.setdefault(who(first, known)[0], set()).add(who(second, known)[0])
    shared = {
        *(("lfw", f"{TRAINED[1]}/{TRAINED[1]}_000{n}.png") for n in (1, 2)),
        *(("youtube_keypoints", f"{TRAINED[1]}_{n}.png") for n in range(3)),
    }
    for picture, found in partners.items():
        if picture in shared:
            assert found <= shared - {picture}
        else:
            assert found == {picture}
    crossing = [
        p for p in shared if {name for name, _ in partners[p]} == {"lfw", "youtube_keypoints"}
    ]
    assert crossing


def test_augmentation_follows_the_batch_alone(root):
    data = ready(root)
    batch = next(iter(data.train_dataloader()))
    results = []
    for seed, given in ((0, batch), (1, batch), (0, {**batch, "seed": batch["seed"] + 1})):
        torch.manual_seed(seed)
        results.append(data.on_after_batch_transfer(given, 0))
        results[-1]["draw"] = torch.rand(1).item()
    torch.testing.assert_close(results[0]["pairs"], results[1]["pairs"], rtol=0, atol=0)
    assert results[0]["draw"] == results[1]["draw"] != results[2]["draw"]
    assert (results[0]["pairs"] - results[2]["pairs"]).abs().max() > 0.05
    assert results[0]["pairs"].shape == (4, 2, 3, 16, 16)
    assert results[0]["pairs"].dtype == torch.float32
    assert results[0]["seed"] == batch["seed"]


@pytest.mark.parametrize("count", [1, 6, 100])
def test_a_sample_is_spread_over_the_faces_and_not_augmented(root, count):
    data = ready(root)
    sample = data.sample(count)
    total = len(data.trained_on())
    assert sample["pairs"].shape == (min(count, total), 2, 3, 16, 16)
    known = pictures_by_bytes(data)
    firsts = [who((255 * pair[0]).round().to(torch.uint8), known)[0] for pair in sample["pairs"]]
    assert len(set(firsts)) == len(firsts)
    if count == 6:
        assert len({name for name, _ in firsts}) > 1
    assert torch.equal(data.sample(count)["pairs"], sample["pairs"])
