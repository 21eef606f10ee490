"""Alignment against scikit-image's transform, and crops of pictures whose points are known."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.transform import SimilarityTransform

from ssl_faces import InputError, align
from ssl_faces.prepare import numpy_alignment
from ssl_faces.prepare.alignment import TEMPLATE, aligned, similarity
from ssl_faces.prepare.quality import NearDuplicates, perceptual_hash, sharpness
from tests.support.images import EYES, astronaut

FACE = np.array([*EYES, [225, 129], [201.5, 139.5], [245.5, 141]])


def test_the_transform_is_scikit_images():
    draw = np.random.default_rng(0)
    for _ in range(5):
        points, targets = draw.normal(size=(2, 5, 2)) * 30
        if hasattr(SimilarityTransform, "from_estimate"):
            oracle = SimilarityTransform.from_estimate(points, targets)
        else:
            oracle = SimilarityTransform()
            oracle.estimate(points, targets)
        # Neither mirrors: of random points theirs may, and then there's nothing to compare.
        if np.linalg.det(oracle.params[:2, :2]) > 0 and oracle.scale > 0:
            assert similarity(points, targets) == pytest.approx(oracle.params[:2], abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 30.0, -90.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 5.0])
def test_dots_at_the_landmarks_come_to_rest_on_the_template(angle, scale):
    """However large and turned the face is, within half a pixel."""
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    points = (TEMPLATE - 0.5) * 64 * scale @ turn.T + 320
    for point, target in zip(points, TEMPLATE * 64, strict=True):
        y, x = np.mgrid[:640, :640] + 0.5
        spot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * (3 * scale) ** 2))
        picture = np.repeat((255 * spot).astype(np.uint8)[..., None], 3, 2)
        crop, inside = aligned(picture, points, 64)
        weight = crop[..., 0].astype(float)
        at = np.arange(64) + 0.5
        centre = np.array([(weight.sum(0) * at).sum(), (weight.sum(1) * at).sum()]) / weight.sum()
        assert centre == pytest.approx(target, abs=0.5)
        assert inside == 1


def test_shrinking_averages():
    """A fine chessboard becomes grey, not black or white."""
    board = (np.indices((640, 640)).sum(0) % 2 * 255).astype(np.uint8)
    picture = np.repeat(board[..., None], 3, 2)
    crop, _ = aligned(picture, TEMPLATE * 600 + 20, 64)
    assert abs(crop.astype(int) - 127).max() < 12


def test_a_face_at_the_edge_is_filled():
    crop, inside = aligned(astronaut(), FACE, 64)
    assert inside == 1
    part = np.ascontiguousarray(astronaut()[:, 226:])
    cut, inside = aligned(part, FACE - (226, 0), 64)
    assert 0.3 < inside < 0.7
    assert np.abs(cut[:, 40:60].astype(int) - crop[:, 40:60]).max() < 5
    # The outermost pixels are repeated, along rows that are nearly those of the crop.
    assert np.abs(cut[:, 0].astype(int) - cut[:, 8]).mean() < 15
    assert np.abs(crop[:, 0].astype(int) - crop[:, 8]).mean() > 30


@pytest.mark.parametrize("size", [17, 48, 300])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.7])
@pytest.mark.parametrize("angle", [0.0, 40.0])
def test_the_numpy_file_gives_the_same_crops(angle, scale, size):
    """Also of a face that is cut by the image's edge, whose squares of averaging are cut too."""
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    points = (FACE - FACE.mean(0)) * scale @ turn.T + (180, 140)
    crop = align(astronaut(), points, size)
    alone = numpy_alignment.align(astronaut(), points, size)
    difference = np.abs(crop.astype(int) - alone)
    assert crop.shape == alone.shape == (size, size, 3)
    assert crop.std() > 20
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05  # Pillow averages in fixed point


def test_the_numpy_file_needs_no_other_package():
    source = Path(numpy_alignment.__file__).read_text()
    imports = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
    assert imports == {"__future__", "math", "typing", "numpy"}


def test_68_points_give_the_crop_of_their_five():
    draw = np.random.default_rng(0)
    points = draw.uniform(100, 300, (68, 3))
    for start, eye in ((36, FACE[0]), (42, FACE[1])):
        around = draw.normal(size=(6, 2))
        points[start : start + 6, :2] = eye + around - around.mean(0)
    points[[30, 48, 54], :2] = FACE[2:]
    assert np.array_equal(align(astronaut(), points, 48), align(astronaut(), FACE, 48))


@pytest.mark.parametrize(
    ("image", "points", "message"),
    [
        (astronaut(), FACE[:4], r"landmarks of shape \[4, 2\]; give \[5, 2\] or \[68, 2\]"),
        (astronaut(), FACE * np.nan, "fit no face"),
        (astronaut(), FACE + 5000, "fit no face"),
        (astronaut() / 255, FACE, r"an image of float64 \[512, 512, 3\]; give uint8 RGB"),
    ],
)
def test_what_is_no_face_is_refused(image, points, message):
    with pytest.raises(InputError, match=message):
        align(image, points, 48)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), FACE + 1e7])
def test_landmarks_that_are_none_give_an_empty_crop(points):
    crop, inside = aligned(astronaut(), points, 64)
    assert crop.shape == (64, 64, 3)
    assert inside == 0


def test_sharpness_falls_with_blur_and_not_with_contrast():
    crop, _ = aligned(astronaut(), FACE, 64)
    small = Image.fromarray(crop)
    blurred = [
        sharpness(np.asarray(small.resize((side, side)).resize((64, 64)))) for side in (64, 32, 16)
    ]
    assert blurred[0] > 2 * blurred[1] > 4 * blurred[2] > 0
    dimmed = (crop.astype(float) * 0.5 + 20).astype(np.uint8)
    assert sharpness(dimmed) == pytest.approx(sharpness(crop), rel=0.05)
    assert sharpness(np.full((64, 64, 3), 7, np.uint8)) == 0


def test_near_duplicates_of_other_faces():
    crop, _ = aligned(astronaut(), FACE, 64)
    again = np.asarray(Image.fromarray(crop).resize((45, 45)).resize((64, 64)))
    other = np.ascontiguousarray(crop[:, ::-1])
    hashes = [perceptual_hash(one) for one in (crop, again, other)]
    near, far = (int((hashes[0] != bits).sum()) for bits in hashes[1:3])
    assert near < 32 < far
    seen = NearDuplicates(32)
    assert [seen.add(h, k) for h, k in zip(hashes, "abc", strict=True)] == [None, "a", None]


def test_near_duplicates_against_a_loop():
    draw = np.random.default_rng(0)
    rows = draw.random((2000, 256)) < 0.5
    rows[1200:] = rows[draw.integers(0, 1200, 800)] ^ (draw.random((800, 256)) < 0.1)
    seen = NearDuplicates(26)
    kept = []
    for i, bits in enumerate(rows):
        near = np.flatnonzero((rows[kept] != bits).sum(1) <= 26)
        assert seen.add(bits, str(i)) == (str(kept[near[0]]) if len(near) else None)
        if not len(near):
            kept.append(i)
    assert 1200 < len(kept) < 1900  # more than there was room for at first
