"""Folders of images: of a user's own classes, and without labels."""

import resource

import pytest
import torch
from torch.utils.data import DataLoader

from ssl_faces.data import (
    BadImage,
    ClassFolders,
    FaceRecord,
    FaceSet,
    ImageFolder,
    YouTubeKeypoints,
    find_face_sets,
    in_test_share,
)
from tests.support import layouts as made
from tests.support.layouts import keys, put_picture
from tests.support.refusals import message_of


def test_class_folders_of_a_users_own_classes(tmp_path):
    mine = ClassFolders(made.class_folders(tmp_path, ("happy", "Sad", "bored")))
    assert mine.categories == ("Sad", "bored", "happy")
    assert mine.records[-1].labels == {"category": 2}
    assert type(find_face_sets(tmp_path)[0]) is ImageFolder


# Any folder -------------------------------------------------------------------------------------


def test_picture_folder_lists_nested_pictures_in_order(tmp_path):
    faces = ImageFolder(made.album(tmp_path))
    assert keys(faces) == ["a/3.jpg", "b/2.PNG", "b/deep/er/1.jpeg", "top.bmp"]
    assert faces.ignored == {".txt": 1, ".mp4": 1, "no ending": 1}
    assert [set(sample) for sample in faces] == [{"image", "key"}] * 4
    assert faces.name == tmp_path.name
    assert ImageFolder(tmp_path, name="album").name == "album"
    people = [r.person for r in ImageFolder(tmp_path, people_from_folders=True).records]
    assert people == ["a", "b", "b/deep/er", None]


@pytest.mark.parametrize("people_from_folders", [True, False])
def test_picture_folder_parts_are_disjoint_and_stay(tmp_path, people_from_folders):
    def parts(people):
        for person in people:
            for i in range(3):
                put_picture(tmp_path / f"p{person}" / f"{i}.jpg")
        names = ("train", "test", "all")
        return {p: ImageFolder(tmp_path, people_from_folders, p) for p in names}

    found = parts(range(40))
    listed = {part: set(keys(faces)) for part, faces in found.items()}
    assert listed["train"] | listed["test"] == listed["all"]
    assert not listed["train"] & listed["test"]
    assert 0 < len(listed["test"]) < len(listed["train"])
    assert not set(found["train"].people) & set(found["test"].people)
    more = set(keys(parts(range(40, 60))["test"]))
    assert {key for key in more if key in listed["all"]} == listed["test"]


def test_picture_folder_follows_links_once(tmp_path):
    put_picture(tmp_path / "elsewhere" / "1.jpg")
    root = tmp_path / "root"
    put_picture(root / "2.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert keys(ImageFolder(root)) == ["2.jpg", "linked/1.jpg"]


def test_picture_folder_bad_roots(tmp_path):
    assert f"{tmp_path / 'gone'} does not exist" in message_of(ImageFolder, tmp_path / "gone")
    file = put_picture(tmp_path / "a.jpg")
    assert f"{file} is a file" in message_of(ImageFolder, file)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty} holds no picture" in message_of(ImageFolder, empty)
    (empty / "clip.mp4").touch()
    assert "it holds files ending in .mp4" in message_of(ImageFolder, empty)


def test_file_names_that_are_no_unicode_are_listed(tmp_path):
    try:
        put_picture(tmp_path / "a.jpg").rename(tmp_path / "caf\udce9.jpg")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    part = "test" if in_test_share("caf\udce9.jpg") else "train"
    assert len(ImageFolder(tmp_path, part=part)[0]["image"]) == 3


# Reading ----------------------------------------------------------------------------------------


def test_a_bad_picture_is_known_when_it_is_read(tmp_path):
    put_picture(tmp_path / "good.jpg")
    (tmp_path / "zero.jpg").touch()
    faces = ImageFolder(tmp_path)
    assert faces[0]["image"].shape == (3, 10, 12)
    with pytest.raises(BadImage, match="0 bytes"):
        faces[1]


def test_a_box_outside_the_picture_is_a_bad_picture(tmp_path):
    path = put_picture(tmp_path / "a.png", size=(40, 40))
    boxes = [(-5, -5, 20, 20), (30, 30, 60, 37), (50, 50, 60, 60)]
    faces = FaceSet("x", "all", [FaceRecord(str(i), path, box=b) for i, b in enumerate(boxes)])
    assert faces.read(0).shape == (20, 20, 3)
    for i in (1, 2):
        with pytest.raises(BadImage, match="lies outside"):
            faces.read(i)


def test_many_labelled_faces_go_to_a_loader_process(tmp_path):
    """With fewer open files allowed than there are label tensors."""
    rows = [made.youtube_row(f"P{p}_{i}.jpg", f"P{p}") for p in range(30) for i in range(10)]
    faces = YouTubeKeypoints(made.youtube(tmp_path, rows), "all")
    loader = DataLoader(faces, batch_size=100, num_workers=1, multiprocessing_context="forkserver")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        batches = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    landmarks = torch.cat([batch["landmarks"] for batch in batches])
    assert landmarks.shape == (300, 68, 2)
    torch.testing.assert_close(landmarks[7], faces[7]["landmarks"])
