"""Near-copies: the same photograph is found however it was changed, and nothing else is."""

import numpy as np
import pytest
from skimage.feature import hog as skimage_hog

import ssl_faces.data.near_copies as near_copies
from ssl_faces.data import ImageFolder, find_face_sets
from ssl_faces.data.hog import hog
from ssl_faces.data.near_copies import Described, find_near_copies
from ssl_faces.data.store.index import Index
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.selection import held_out_by
from ssl_faces.pairs.module import FaceData
from tests.support.photographs import CHANGES, photographs_of_people, saved


@pytest.fixture(scope="module")
def photographs(real_data):
    return photographs_of_people(real_data)


@pytest.fixture(scope="module")
def people(photographs):
    """One photograph of each."""
    return [first for first, _ in photographs]


def found_in(root, train, test):
    faces = ImageFolder(saved(root, [*train, *test]))
    rows = np.arange(len(train)), np.arange(len(train), len(train) + len(test))
    found = find_near_copies(*(Described(faces, side) for side in rows), root.parent / "cache")
    hashes = {faces.content_hash(int(i)) for i in rows[0][found.train]}
    assert {row.tobytes() for row in found.hashes} == hashes
    return found


@pytest.mark.parametrize("how", CHANGES)
def test_copies_are_found_and_other_people_are_not(how, people, tmp_path):
    train, others = people[:40], people[40:]
    copies = [CHANGES[how](image) for image in train[:20]]
    found = found_in(tmp_path / "faces", train, [*copies, *others])
    assert found.test[:20].mean() >= 0.95
    assert found.test[20:].mean() <= 0.05
    assert found.train[:20].mean() >= 0.95
    assert found.train[20:].mean() <= 0.05


def test_another_photograph_of_the_same_person_is_no_copy(photographs, tmp_path):
    first, second = map(list, zip(*photographs, strict=True))
    assert found_in(tmp_path / "faces", first, second).test.mean() <= 0.05


def test_identical_and_broken_images_are_no_near_copies(people, tmp_path):
    darker = CHANGES["darker"](people[3])
    faces = ImageFolder(saved(tmp_path / "faces", [*people[:30], darker, people[5], people[7]]))
    rows = np.arange(30), np.array([30, 31, 32])
    (tmp_path / "faces" / "032.png").write_bytes(b"broken")
    (tmp_path / "faces" / "009.png").write_bytes(b"broken")
    found = find_near_copies(*(Described(faces, side) for side in rows), tmp_path)
    assert np.flatnonzero(found.train).tolist() == [3]
    assert found.test.tolist() == [True, False, False]


def test_they_are_found_once_until_an_image_changes(people, tmp_path, monkeypatch):
    root = saved(tmp_path / "faces", [*people[:30], CHANGES["darker"](people[3])])

    def find(rows=tuple(range(30))):
        faces = ImageFolder(root)
        sides = np.array(rows), np.array([30])
        found = find_near_copies(*(Described(faces, side) for side in sides), tmp_path / "cache")
        return np.array(rows)[found.train].tolist(), found.test.tolist()

    assert find() == ([3], [True])
    with monkeypatch.context() as patched:
        patched.setattr(near_copies, "describe", lambda images: pytest.fail("described again"))
        assert find() == ([3], [True])
        assert find(tuple(reversed(range(30)))) == ([3], [True])  # in any order
    (kept,) = (tmp_path / "cache" / "near_copies").iterdir()
    kept.write_bytes(kept.read_bytes()[:50])
    assert find() == ([3], [True])
    people[40].save(root / "030.png")
    assert find() == ([], [False])


def test_descriptors_are_those_of_scikit_image():
    images = np.random.default_rng(0).random((3, 33, 33)).astype(np.float32)
    images[2] = 0.5
    expected = [
        skimage_hog(x, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
        for x in images
    ]
    np.testing.assert_allclose(hog(images), expected, atol=1e-6)


@pytest.fixture
def fer2013(people, tmp_path):
    """FER-2013's layout: 40 training images, and 10 test images of which 6 have near-copies."""
    root = tmp_path / "data"
    copies = [CHANGES["darker"](image) for image in people[:6]]
    for usage, images in (("Training", people[:40]), ("PublicTest", [*copies, *people[40:44]])):
        for kind, place in (("happy", 0), ("sad", 1)):
            saved(root / usage / kind, images[place::2])
    return root


def test_pretraining_leaves_them_out(fer2013, tmp_path):
    def trained(**settings):
        data = FaceData(fer2013, size=32, cache=tmp_path / "cache", **settings)
        data.prepare_data()
        data.setup()
        return data

    data = trained()
    (about,) = data.description
    assert about["left_out_as_near_copies_of_test_pictures"] == 6
    assert about["pictures"] == len(data.trained_on()) == 34
    copied = {f"Training/{kind}/{i:03d}.png" for kind in ("happy", "sad") for i in range(3)}
    assert not copied & {key for _, key, _ in data.trained_on()}
    assert data.tests_left_out() == [
        "test images of FER-2013 and their byte-identical copies",
        "near-copies (HOG) of test images of FER-2013",
    ]
    kept = trained(leave_out_near_copies=False)
    assert kept.description[0]["pictures"] == 40
    assert len(kept.tests_left_out()) == 1


def test_packs_leave_them_out(fer2013, tmp_path):
    sets = find_face_sets(fer2013, "train")
    packed, later = tmp_path / "packed", tmp_path / "later"
    tests = held_out_by(sets, cache=tmp_path / "cache")
    done = pack_sets(sets, packed, 32, held_out=tests)
    assert (done.pictures, done.near_copies, done.copies, done.skipped) == (34, 6, 0, 0)
    # Known after the images were packed.
    pack_sets(sets, later, 32)
    done = pack_sets(sets, later, 32, held_out=tests)
    assert (done.pictures, done.left_out_since) == (34, 6)
    for place in (packed, later):
        (about,) = Index.read(place).sets
        assert about["left_out_as_near_copies_of_test_pictures"] == 6
        assert about["pictures"] == 34
        assert Pack(place).held_out.near.shape == (6, 32)
        data = FaceData(packs=str(place), size=32, cache=tmp_path / "cache")
        data.setup()
        assert data.description[0]["left_out_as_near_copies_of_test_pictures"] == 6
        assert "near-copies" in data.tests_left_out()[-1]
