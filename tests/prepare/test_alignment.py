"""Faces are detected, followed and aligned."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.transform import SimilarityTransform

from ssl_faces import InputError, align
from ssl_faces.prepare import numpy_alignment
from ssl_faces.prepare.alignment import TEMPLATE, aligned, similarity
from ssl_faces.prepare.detectors import faces_of, label_of, open_detector
from ssl_faces.prepare.mtcnn import MTCNN
from ssl_faces.prepare.quality import NearDuplicates, perceptual_hash, sharpness
from ssl_faces.prepare.tracks import Tracker, overlap
from tests.support.images import EYES, astronaut, faces_at, head, scene

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


APART = float(np.linalg.norm(EYES[1] - EYES[0]))


@pytest.fixture(scope="module")
def detector():
    return MTCNN(32)


def test_the_eyes_are_where_they_are(detector):
    found = detector(astronaut())
    assert len(found.scores) == 1
    assert found.scores[0] > 0.98
    error = np.linalg.norm(found.landmarks[0, :2] - EYES, axis=1) / APART
    assert error.max() < 0.05
    left, top, right, bottom = found.boxes[0]
    assert (left < EYES[:, 0]).all()
    assert (EYES[:, 0] < right).all()
    assert top < EYES.min() < bottom


def test_a_mirrored_picture_has_mirrored_landmarks(detector):
    """Left stays the picture's left."""
    one = detector(astronaut()).landmarks[0]
    other = detector(np.ascontiguousarray(astronaut()[:, ::-1])).landmarks[0]
    mirrored = other[[1, 0, 2, 4, 3]] * (-1, 1) + (512, 0)
    assert np.abs(one - mirrored).max() < 0.06 * APART


def test_all_of_a_group_are_found(detector):
    at = [(40, 30, 100), (160, 30, 140), (320, 60, 180), (60, 200, 220)]
    group = scene([(head(side), x, y) for x, y, side in at], 640, 480)
    found = detector(group)
    assert len(found.scores) == len(at)
    share = (EYES.mean(0) - (125, 20)) / 200
    for x, y, side in at:
        middle = found.landmarks[:, :2].mean(1)
        assert np.linalg.norm(middle - share * side - (x, y), axis=1).min() < 0.05 * side


def test_no_face_in_noise_or_a_speck(detector):
    draw = np.random.default_rng(0)
    for shape in ((200, 300, 3), (9, 9, 3), (8, 400, 3)):
        found = detector(draw.integers(0, 256, shape, dtype=np.uint8))
        assert found.boxes.shape == (0, 4)
        assert found.landmarks.shape == (0, 5, 2)


def test_of_a_large_picture_landmarks_are_in_its_own_pixels():
    large = np.asarray(Image.fromarray(astronaut()).resize((3072, 2560)))
    found = faces_of(MTCNN(150), large)
    error = np.linalg.norm(found.landmarks[0, :2] / (6, 5) - EYES, axis=1)
    assert error.max() < 0.06 * APART


def test_detectors_that_there_are_not(tmp_path):
    for given in ("retina", "mtcnn:x", ""):
        with pytest.raises(InputError, match="not known; give mtcnn, or yunet:FILE"):
            open_detector(given, 40)
    with pytest.raises(InputError, match=r"no such file; fetch face_detection_yunet_2023mar"):
        open_detector(f"yunet:{tmp_path / 'none.onnx'}", 40)
    (tmp_path / "broken.onnx").write_text("no network")
    with pytest.raises(InputError, match=r"broken.onnx: not a YuNet; fetch"):
        open_detector(f"yunet:{tmp_path / 'broken.onnx'}", 40)


def test_yunet_reads_what_opencv_decodes(tmp_path):
    """A network of YuNet's outputs that says one face: in the cell at row 3, column 5 of those of
    16 px, twice as wide as a cell, its landmarks in a row."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    side = 64
    nodes, outputs, weights = [], [], []
    for stride in (8, 16, 32):
        cells = (side // stride) ** 2
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            value = np.zeros((1, cells, width), np.float32)
            if stride == 16:
                cell = 3 * (side // stride) + 2
                row = {"cls": [0.81], "obj": [1.0], "bbox": [0, 0, np.log(2), np.log(2)]}
                points = [-1, 0, 1, 0, 0, 0, -1, 1, 1, 1]
                value[0, cell] = row.get(name, points)
            weights.append(numpy_helper.from_array(value, f"w_{name}_{stride}"))
            # Something of the picture has to be in it, or it is no output of the network.
            nodes.append(
                helper.make_node("Add", [f"w_{name}_{stride}", "zero"], [f"{name}_{stride}"])
            )
            outputs.append(
                helper.make_tensor_value_info(
                    f"{name}_{stride}", TensorProto.FLOAT, [1, cells, width]
                )
            )
    weights.append(numpy_helper.from_array(np.zeros(1, np.float32), "nought"))
    weights.append(numpy_helper.from_array(np.array([1, 1, 1], np.int64), "shape"))
    first = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "nought"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["zero"]),
    ]
    graph = helper.make_graph(
        first + nodes,
        "yunet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        sorted(outputs, key=lambda o: ("cls", "obj", "bbox", "kps").index(o.name.split("_")[0])),
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "yunet.onnx"
    onnx.save(model, str(path))
    found = open_detector(f"yunet:{path}", 40)(np.zeros((side, side, 3), np.uint8))
    assert len(found.scores) == 1
    assert found.scores[0] == pytest.approx(0.9, abs=1e-3)  # the root of 0.81
    # Its centre at (2, 3) cells, 32 px wide.
    assert found.boxes[0] == pytest.approx([16, 32, 48, 64], abs=0.1)
    expected = [[16, 48], [48, 48], [32, 48], [16, 64], [48, 64]]
    assert found.landmarks[0] == pytest.approx(np.array(expected), abs=0.1)
    assert label_of(f"yunet:{path}").startswith("yunet:")


GREY = np.full((36, 64, 3), 90, np.uint8)
DRAW = np.random.default_rng(0)
ANNA, BEN = DRAW.random((2, 256)) < 0.5


def step(tracker, time, *faces, frame=GREY):
    """Faces 100 px wide with their left sides there, and who they look like."""
    found = faces_at([(left, 0, left + 100, 100) for left, _ in faces])
    bits = np.array([who for _, who in faces], bool).reshape(-1, 256)
    return tracker.step(time, frame, found.boxes, found.landmarks, bits)


def test_faces_that_move_keep_their_clips_in_whatever_order_they_come():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA), (300, BEN)) == [0, 1]
    assert step(tracker, 0.2, (280, BEN), (20, ANNA)) == [1, 0]
    assert step(tracker, 0.4, (40, ANNA), (260, BEN)) == [0, 1]


def test_a_gap_ends_a_clip():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2) == []
    assert step(tracker, 0.4, (0, ANNA)) == [0]
    assert step(tracker, 1.0, (0, ANNA)) == [1]


def test_a_cut_ends_a_clip():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (0, ANNA), frame=GREY + 100) == [1]
    assert step(tracker, 0.4, (0, ANNA), frame=GREY + 105) == [1]


def test_another_person_at_the_same_place_begins_a_clip():
    """As where a film cuts between two who talk, before the same wall."""
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (0, BEN)) == [1]


def test_a_jump_begins_a_clip():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (70, ANNA)) == [1]


def test_where_two_could_be_one_nobody_goes_on():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (10, ANNA), (20, ANNA)) == [1, 2]
    assert step(tracker, 0.4, (15, ANNA)) == [3]
    assert step(tracker, 0.6, (15, ANNA)) == [3]


def test_overlap_in_closed_form():
    one, other, far = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]], float)
    assert overlap(one, one) == 1
    assert overlap(one, other) == 50 / 150
    assert overlap(one, far) == 0
    assert overlap(one, one * 0) == 0
