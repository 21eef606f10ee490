"""Probes from Python: objects in, a frame, differences and figures out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from linear_probe import (
    compare,
    plot_confusion,
    plot_labels,
    plot_pose_error,
    probe,
    read_records,
    table,
)
from ssl_faces import InputError, save_encoder, wrap_encoder
from ssl_faces.networks.backbone import EncoderSettings, new_encoder
from ssl_faces.rendered import RenderedFaces
from tests.support.fits import SIZE

QUICK = {"replicates": 50, "device": "cpu", "spaces": ["pooled"]}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    return new_encoder(EncoderSettings("resnet18", SIZE, 0.125))


@pytest.fixture(scope="module")
def scores(encoder, tmp_path_factory):
    faces = RenderedFaces(160, 16, "all", size=SIZE)
    return probe(
        {"mine": encoder},
        faces,
        tasks=["expression", "pose"],
        out=tmp_path_factory.mktemp("probe"),
        baselines=["HOG", "untrained"],
        label_shares=[50, 100],
        **QUICK,
    )


def test_an_object_is_scored_like_its_folder(encoder, scores, tmp_path):
    assert encoder.training  # the object stays as it was
    frame = table(scores)
    assert set(frame.encoder) == {"mine", "mine, untrained", "HOG", "predict the mean"}
    assert {"accuracy", "kNN accuracy", "MAE yaw"} <= set(frame.metric)
    assert ((frame.low <= frame.value) & (frame.value <= frame.high)).all()
    assert set(frame[frame.factor == "labels"].level) == {50, 100}
    assert len(table(scores.folder)) == len(frame)
    assert list(scores) == read_records(scores.folder / "records.jsonl")
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        heading, first = str(frame).splitlines()[:2]
    assert heading.split()[:2] + heading.split()[-1:] == ["encoder", "task", "result"]
    one = scores[0]
    assert first.endswith(f"{one.value:.2f} % [{one.low:.2f}, {one.high:.2f}]")
    saved = save_encoder(encoder, tmp_path / "saved", {})
    faces = RenderedFaces(160, 16, "all", size=SIZE)
    again = probe(saved, faces, tasks="pose", out=tmp_path / "a", baselines=False, **QUICK)
    (by_name,) = (r.value for r in again if r.metric == "MAE yaw" and r.feature_space)
    plain = frame[(frame.encoder == "mine") & (frame.metric == "MAE yaw") & (frame.factor == "")]
    assert by_name == pytest.approx(plain.value.item())
    # Rows have no paths as names.
    assert set(table(again).encoder) == set(table(again.folder).encoder)
    assert "saved" in set(table(again).encoder)
    assert plot_pose_error(again, "saved").data


def test_any_network_is_wrapped_and_names_are_given(encoder, tmp_path):
    saved = save_encoder(encoder, tmp_path / "saved", {})
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, stride=8), torch.nn.ReLU())
    wrapped = wrap_encoder(network, size=SIZE)
    faces = RenderedFaces(60, 12, "all", size=SIZE)
    both = {"ours": saved, "theirs": wrapped}
    scores = probe(both, faces, tasks="pose", out=tmp_path / "a", baselines=["untrained"], **QUICK)
    rows = {r.encoder for r in scores if r.feature_space}
    assert rows == {"ours", "ours, untrained", "theirs"}


def test_rows_are_compared_on_the_same_test_images(scores):
    differences = compare(scores, "mine", "HOG")
    frame = table(scores)
    plain = frame[frame.factor == ""].set_index(["encoder", "metric"]).value
    by_metric = {d.one.metric: d for d in differences}
    yaw = by_metric["MAE yaw"]
    assert yaw.value == pytest.approx(plain["mine", "MAE yaw"] - plain["HOG", "MAE yaw"])
    assert yaw.low <= yaw.value <= yaw.high
    assert str(yaw) in [str(d) for d in compare(scores.folder, "mine", "HOG")]
    with pytest.raises(InputError, match="no row 'yours'; there are"):
        compare(scores, "yours", "HOG")


def test_figures_show_the_records(scores):
    frame = table(scores)
    labels = plot_labels(scores)
    lines = {line.name: line for line in labels.data}
    mine = frame[(frame.encoder == "mine") & (frame.factor == "labels")]
    mine = mine[mine.metric == "accuracy"].sort_values("level")
    (name,) = (name for name in lines if name.startswith("mine") and "untrained" not in name)
    assert list(lines[name].y) == pytest.approx(mine.value.tolist())
    assert list(lines[name].error_y.array) == pytest.approx((mine.high - mine.value).tolist())
    (heat,) = plot_confusion(scores, "HOG").data
    counts = np.asarray(heat.customdata)
    (n,) = set(frame[(frame.task == "expression") & (frame.encoder == "HOG")].n)
    assert counts.sum() == n
    accuracy = 100 * np.trace(counts) / n
    hog = frame[(frame.encoder == "HOG") & (frame.metric == "accuracy") & (frame.factor == "")]
    assert accuracy == pytest.approx(hog.value.item())
    pose = plot_pose_error(scores, "mine", width=20)
    assert len(pose.data) == 3
    yaw = pose.data[0]
    assert set(np.diff(yaw.x)) <= {20.0, 40.0, 60.0}
    counts = np.asarray(yaw.customdata)[:, 0]
    mean = float(np.average(np.asarray(yaw.y), weights=counts))
    plain = frame[(frame.encoder == "mine") & (frame.metric == "MAE yaw") & (frame.factor == "")]
    assert mean == pytest.approx(plain.value.item(), rel=1e-4)
    with pytest.raises(InputError, match=r"no predictions of pose, none; there are .*mine=pooled"):
        plot_pose_error(scores, "none")
    with pytest.raises(InputError, match="no identity by labels"):
        plot_labels(scores, "identity")


def test_data_sets_of_hugging_face_are_probed(encoder, tmp_path):
    datasets = pytest.importorskip("datasets")
    faces = RenderedFaces(60, 12, "all", size=SIZE)
    images = [faces.read(i) for i in range(60)]
    moods = [int(faces.records[i].labels["expression"]) % 2 for i in range(60)]
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["calm", "loud"])
    )

    def part(rows):
        columns = {"image": [images[i] for i in rows], "label": [moods[i] for i in rows]}
        return datasets.Dataset.from_dict(columns, features=features)

    both = datasets.DatasetDict(train=part(range(40)), test=part(range(40, 60)))
    scores = probe(encoder, both, out=tmp_path / "a", baselines=False, **QUICK)
    assert {(r.task, r.n) for r in scores if r.metric == "accuracy"} == {("classes", 20)}
    leaky = (part(range(40)), part(range(39, 60)))
    with pytest.raises(InputError, match=r"train and test share 1 picture\(s\).*leaks.csv"):
        probe(encoder, leaky, out=tmp_path / "b", baselines=False, **QUICK)
    renamed = both["test"].cast_column("label", datasets.ClassLabel(names=["calm", "noisy"]))
    with pytest.raises(InputError, match="the classes calm, loud, and test calm, noisy"):
        probe(encoder, (both["train"], renamed), out=tmp_path / "c", **QUICK)


@pytest.mark.parametrize(
    ("encoders", "data", "message"),
    [
        (SimpleNamespace(input_size=32), None, "a SimpleNamespace without 'encoder_name'"),
        ("hybrid", {"train": "a"}, "data: no 'test' among train"),
        ("hybrid", ("a", "b", "c"), r"a tuple of 3; give \(train, test\)"),
        ("hybrid", 7, "faces: a int"),
        ("hybrid", ("no", "where"), "no: No such file"),
    ],
)
def test_bad_arguments(encoders, data, message, tmp_path):
    with pytest.raises(InputError, match=message):
        probe(encoders, data, out=tmp_path / "out")
