"""Detectors: what they find on pictures whose faces are known, and what they refuse."""

import numpy as np
import pytest
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.prepare.detectors import faces_of, label_of, open_detector
from ssl_faces.prepare.mtcnn import MTCNN
from tests.support.images import EYES, astronaut, head, scene

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
