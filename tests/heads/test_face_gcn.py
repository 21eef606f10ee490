"""Face-GCN: graphs, convolutions and node features against what they are by definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import nn

from linear_probe.cli import main
from linear_probe.heads.face_gcn.data import LandmarkFolder, RenderedLandmarks
from linear_probe.heads.face_gcn.network import FaceGCN, GraphConvolution, adjacency, edges_of
from linear_probe.heads.face_gcn.nodes import SHAPE, aligned, local_shape, nearest, patches, sampled
from linear_probe.heads.goals import Categories
from linear_probe.records.record import RECORDS_FILE, read_records
from ssl_faces import InputError, save_encoder
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.rendered import RenderedClips, camera
from tests.support.heads import SQUARE
from tests.support.refusals import error_of

ROOT = Path(__file__).parents[2]


def face(seed=0):
    return np.random.default_rng(seed).normal(size=(68, 3))


def test_each_triangle_of_the_mean_face_is_three_edges():
    assert edges_of("delaunay", SQUARE) == [
        *((0, 1), (0, 3), (0, 4), (1, 2), (1, 4), (2, 3), (2, 4), (3, 4))
    ]


def test_contours_join_all_68_points():
    edges = edges_of("contours", face())
    reached, known = {0}, [0]
    while known:
        here = known.pop()
        beside = {b if a == here else a for a, b in edges if here in (a, b)} - reached
        reached |= beside
        known += beside
    assert reached == set(range(68))
    assert (36, 41) in edges  # an eye is closed
    assert (0, 16) not in edges  # the jaw is not
    with pytest.raises(InputError, match="contours are of 68 landmarks, and there are 5"):
        edges_of("contours", SQUARE)
    with pytest.raises(InputError, match="span no triangle"):
        edges_of("delaunay", np.array([[0.0, 0, 0], [1, 1, 0]]))


def test_a_node_hears_itself_those_nearer_to_the_middle_and_those_farther_out():
    own, inner, outer = adjacency(edges_of("delaunay", SQUARE), SQUARE)
    total = own + inner + outer
    assert torch.allclose(total.sum(0), torch.ones(5))
    # A corner hears itself, two corners as far out as it is, and the middle.
    assert own[0, 0] == inner[4, 0] == outer[1, 0] == outer[3, 0] == 0.25
    # The middle hears itself and four corners, all farther out.
    assert own[4, 4] == outer[0, 4] == outer[2, 4] == pytest.approx(0.2)
    assert inner[:, 4].sum() == 0


def test_a_graph_convolution_is_a_sum_over_edges():
    torch.manual_seed(0)
    matrices = adjacency(edges_of("delaunay", SQUARE), SQUARE)
    layer = GraphConvolution(3, 4, matrices)
    nn.init.normal_(layer.edges)
    x = torch.randn(2, 3, 6, 5)
    found = layer(x)
    weight = layer.mix.weight.view(3, 4, 3)
    assert layer.mix.bias is not None
    bias = layer.mix.bias.view(3, 4)
    for b, t, w in ((0, 0, 0), (1, 5, 4), (0, 3, 2)):
        expected = torch.zeros(4)
        for p in range(3):
            for v in range(5):
                message = weight[p] @ x[b, :, t, v] + bias[p]
                expected += message * matrices[p, v, w] * layer.edges[p, v, w]
        assert torch.allclose(found[b, :, t, w], expected, atol=1e-5)


def test_the_papers_stack():
    head = FaceGCN(Categories(9), 3, adjacency(edges_of("delaunay", face()), face()))
    shapes = [tuple(unit.time[2].weight.shape) for unit in head.units]
    widths = [64] * 4 + [128] * 3 + [256] * 3
    assert [s[0] for s in shapes] == widths
    assert {s[2:] for s in shapes} == {(9, 1)}
    with torch.no_grad():
        x = torch.rand(1, 3, 20, 68)
        assert head.eval().units(x).shape == (1, 256, 5, 68)
        assert head(x).shape == (1, 9)


def test_faces_are_turned_onto_the_reference_and_not_mirrored():
    reference = face()
    turn = Rotation.random(random_state=1)
    moved = 3 * turn.apply(reference) + np.array([5.0, -2, 1])
    assert np.allclose(aligned(moved[None], reference)[0], reference)
    mirrored = reference * np.array([-1.0, 1, 1])
    best, _ = Rotation.align_vectors(reference - reference.mean(0), mirrored - mirrored.mean(0))
    found = aligned(mirrored[None], reference)[0]
    x = best.apply(mirrored - mirrored.mean(0))
    scale = (x * (reference - reference.mean(0))).sum() / (x**2).sum()
    assert np.allclose(found - found.mean(0), scale * x, atol=1e-6)


def test_local_shape_tells_a_plane_from_a_line_and_a_ball():
    along = np.linspace(-1, 1, 7)
    line = np.stack([along, 0 * along, 0 * along], 1)
    draw = np.random.default_rng(0)
    plane = np.concatenate([draw.normal(size=(200, 2)), np.zeros((200, 1))], 1)
    ball = draw.normal(size=(200, 3))
    for points, expected in ((line, (1, 0, 0)), (plane, (0, 1, 0)), (ball, (0, 0, 1))):
        count = len(points)
        everybody = np.array([[k for k in range(count) if k != i] for i in range(count)])
        message = local_shape(points[None], everybody)[0, 0]
        assert message.shape == (SHAPE,)
        assert np.allclose(message[:3], expected, atol=0.3)
        if points is plane:
            assert np.allclose(message[4:], (0, 0, 1), atol=1e-6)
    five = local_shape(SQUARE[None], nearest(SQUARE, 4))
    assert five[0, 4, 3] == pytest.approx(2**0.5)  # the middle to four corners
    with pytest.raises(InputError, match="5 points, too few for the 6 neighbours"):
        nearest(SQUARE)


def test_texture_is_of_the_picture_at_the_landmark():
    images = torch.zeros(1, 3, 64, 64)
    images[..., 32:] = 1  # an upright edge at x = 32
    images[:, :, 48:, :16] = torch.linspace(0, 1, 16)[:, None]  # a slope downwards
    places = torch.tensor([[[32.0, 20.0], [8.0, 56.0], [10.0, 10.0]]])
    edge, slope, flat = patches(images, places)[0].view(3, 4, 4)
    assert patches(images, places).shape == (1, 3, 16)
    assert not torch.allclose(edge, slope, atol=0.05)
    moved = patches(images.roll(2, 2), places + torch.tensor([0.0, 2.0]))[0].view(3, 4, 4)
    assert torch.allclose(moved[0], edge, atol=1e-4)
    assert flat.std() < edge.std()


def test_a_frozen_encoders_map_is_read_at_the_landmark():
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 32, 0.125).eval()
    images = torch.rand(2, 3, 32, 32)
    maps = encoder.last_map(encoder.normalise(images))
    side = maps.shape[-1]
    # The middle of the map's first place, in pixels.
    middle = 32 / side / 2 - 0.5
    found = sampled(encoder, images, torch.full((2, 1, 2), middle))
    assert torch.allclose(found[:, 0], maps[:, :, 0, 0], atol=1e-5)
    facecycle = FaceCycleEncoder(width=4, code_dim=16, code_size=32, linear_std=0.04)
    with pytest.raises(InputError, match="texture needs a last map, and a facecycle has none"):
        sampled(facecycle, images, torch.zeros(2, 1, 2))


def test_people_are_told_apart_and_written_down(tmp_path, capsys):
    words = [
        *("landmarks", "-c", str(ROOT / "configs/head/face_gcn.yaml"), "--data.people", "5"),
        *("--data.clips", "2", "--data.frames", "9", "--data.noise", "0", "--data.bias", "0"),
        *("--widths", "[16,16]"),
        *("--nodes", "[coordinates,shape]", "--training.epochs", "60", "--bootstrap", "20"),
        *("--training.batch_size", "5", "--accelerator", "cpu", "--precision", "32-true"),
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    records = read_records(tmp_path / "out" / RECORDS_FILE)
    (one,) = [r for r in records if r.metric == "accuracy"]
    # Without an error of the landmarks the shape of the face gives people away.
    assert one.value >= 60
    assert (one.task, one.encoder, one.n) == (
        *("landmark identity", "face_gcn, coordinates + shape", 10),  # each clip is tested
    )
    folders = {path.parent.name for path in (tmp_path / "out").rglob("last.ckpt")}
    assert folders == {"fold0", "fold1"}
    assert "nodes: coordinates, shape;" in one.protocol
    # What is trained is only scored.
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    encoder = save_encoder(BackboneEncoder("resnet18", 32, 0.0625), tmp_path / "e", {})
    frozen = ["--nodes", "[texture]", "--encoder", str(encoder), "--training.epochs", "1"]
    assert main([*words, *frozen, "--out", str(tmp_path / "frozen")]) == 0
    (other,) = [
        r for r in read_records(tmp_path / "frozen" / RECORDS_FILE) if r.metric == "accuracy"
    ]
    assert (other.encoder, other.feature_space) == (str(encoder), "face_gcn, texture on map")
    first = ["--frames", "first", "--temporal_kernel", "1", "--training.epochs", "1"]
    assert main([*words, *first, "--out", str(tmp_path / "first")]) == 0
    words += ["--out", str(tmp_path / "bad")]
    message = error_of(main, capsys, [*words, "--temporal_kernel", "11"])
    assert "temporal_kernel: 11 frames, and the clip" in message
    message = error_of(main, capsys, [*words, "--nodes", "[colour]"])
    assert "nodes: colour; give some of coordinates, shape, texture" in message


def test_rendered_landmarks_are_exact_but_for_the_error_that_is_asked_for():
    sizes = {"people": 3, "clips": 2, "frames": 4}
    exact = RenderedLandmarks(**sizes, noise=0).clips()
    inexact = RenderedLandmarks(**sizes, noise=3).clips()
    assert exact.folds.tolist() == [0] * 3 + [1] * 3  # of three people, one after another
    assert exact.faces is not None
    assert exact.frames is not None
    truth = exact.faces.records[int(exact.frames[2][1])].labels["landmarks_3d"]
    assert np.allclose(exact.points[2][1], truth)
    height = np.mean([np.ptp(clip[0, :, 1]) for clip in exact.points])
    errors = np.concatenate([a - b for a, b in zip(exact.points, inexact.points, strict=True)])
    assert errors.std() == pytest.approx(0.03 * height, rel=0.05)
    # An error that stays is the same in all frames of a clip, and another in the next clip.
    biased = RenderedLandmarks(**sizes, noise=0, bias=3).clips()
    stays = np.stack([a - b for a, b in zip(exact.points, biased.points, strict=True)])
    assert np.allclose(stays, stays[:, :1])
    assert stays[:, 0].std() == pytest.approx(0.03 * height, rel=0.1)
    assert abs(np.corrcoef(stays[0, 0].ravel(), stays[1, 0].ravel())[0, 1]) < 0.3
    assert "and of 3 % that stays through a clip" in biased.split
    assert exact.images(0).shape == (4, 3, 64, 64)


def test_texture_is_taken_where_the_erroneous_landmarks_lie():
    """Against the renderer's own camera, which projects any points of the head's frame."""
    sizes = {"people": 2, "clips": 2, "frames": 4}
    noisy = RenderedLandmarks(**sizes, noise=2, bias=3).clips()
    assert noisy.faces is not None
    assert noisy.frames is not None
    assert noisy.places is not None
    faces = RenderedClips(4, 2, 4, 8.0, "all", 64, 0, "mild")
    for clip, rows in enumerate(noisy.frames):
        factors = faces.factors(rows)
        seen = camera(factors, 64).project(torch.from_numpy(noisy.points[clip])).numpy()
        exact = np.stack([faces.records[i].labels["landmarks"] for i in rows])
        moved = np.abs(seen - exact).mean()
        assert moved > 0.5  # pixels
        assert np.abs(64 * noisy.places[clip] - seen).mean() < 0.1 * moved


def written(root, frames=3):
    """Two people with two clips of BU-4DFE's layout, the one in `.bnd`, the other in CSV."""
    for person, ending in (("F001", "bnd"), ("M002", "csv")):
        for number, clip in enumerate(("Angry", "Happy")):
            for frame in range(frames):
                points = face(frame + 10 * number)[:8]
                path = root / person / clip / f"{frame + 8}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = [" ".join(map(str, (i, *row))) for i, row in enumerate(points.tolist())]
                if ending == "csv":
                    rows = ["X, y, z", *(",".join(map(str, row)) for row in points.tolist())]
                path.write_text("\n".join(rows) + "\n")
    return root


def test_folders_of_landmark_files(tmp_path):
    clips = LandmarkFolder(str(written(tmp_path))).clips()
    assert list(clips.keys) == ["F001/Angry", "F001/Happy", "M002/Angry", "M002/Happy"]
    assert clips.folds.tolist() == [-1, 0] * 2
    # Frames by number: 8, 9, 10.
    assert np.allclose(clips.points[1], np.stack([face(10 + i)[:8] for i in range(3)]))
    assert np.allclose(clips.points[0], clips.points[2])
    other = LandmarkFolder(str(tmp_path), tested="Angry").clips()
    assert other.folds.tolist() == [0, -1] * 2
    with pytest.raises(InputError, match="texture needs pictures"):
        clips.images(0)


def test_pictures_beside_the_landmarks(tmp_path):
    root = written(tmp_path / "clips")
    for path in root.rglob("*.bnd"):
        path.unlink()
    for person in ("F001", "M002"):
        for clip in ("Angry", "Happy"):
            for frame in (8, 9, 10):
                path = root / person / clip / f"{frame}.csv"
                rows = "\n".join(f"{i},{i * i},1,0.5,0.25" for i in range(8))
                path.write_text(f"x,y,z,u,v\n{rows}\n")
                grey = (20 * frame,) * 3
                Image.new("RGB", (32, 32), grey).save(path.with_suffix(".png"))
    clips = LandmarkFolder(str(root)).clips()
    assert clips.places is not None
    assert clips.places[0].shape == (3, 8, 2)
    assert np.allclose(clips.places[0], (0.5, 0.25))
    assert (clips.images(0)[:, 0, 0, 0] * 255).tolist() == [160, 180, 200]
    (root / "F001" / "Angry" / "9.png").unlink()
    with pytest.raises(InputError, match="F001/Angry/9 has u and v and no picture"):
        LandmarkFolder(str(root)).clips()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("9.csv", "x,y\n1,2\n", "column z is missing"),
        ("9.csv", "x,y,z\n1,2,three\n", "line 2: z is 'three', not a number"),
        ("9.csv", "x,y,z\n", "holds no landmark"),
        ("9.csv", "x,y,z\n1,2,3\n", r"9\.csv: 1 landmarks of 3 numbers, and 8\.csv has 8"),
    ],
)
def test_files_that_cannot_be_used(name, text, message, tmp_path):
    (written(tmp_path) / "M002" / "Happy" / name).write_text(text)
    with pytest.raises(InputError, match=message):
        LandmarkFolder(str(tmp_path)).clips()


def test_data_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        LandmarkFolder(str(tmp_path / "none")).clips()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no PERSON/CLIP/FRAME\.csv"):
        LandmarkFolder(str(tmp_path / "empty")).clips()
    root = written(tmp_path / "clips")
    with pytest.raises(InputError, match="2 people to learn from and 0 clips"):
        LandmarkFolder(str(root), tested="Surprise").clips()
    for path in (root / "M002").rglob("*.csv"):
        path.write_text("x,y,z\n" + "1,2,3\n" * 5)
    with pytest.raises(InputError, match="clips have 5, 8 landmarks a face, M002/Angry another"):
        LandmarkFolder(str(root)).clips()
