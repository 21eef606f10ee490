"""Tasks on sets of their owners' layouts: folds, pose across sets, valence and arousal, pairs."""

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score, root_mean_squared_error
from torchmetrics.regression import ConcordanceCorrCoef

from linear_probe.features.frozen import Features, Pictures
from linear_probe.probes.logistic import fit_logistic
from linear_probe.probes.ridge import fit_ridge
from linear_probe.stats.intervals import cluster_weights, row_weights
from linear_probe.tasks import (
    TASKS,
    Affect,
    Attributes,
    Classes,
    Expression,
    Identity,
    MissingData,
    Pose,
)
from linear_probe.tasks.affect import concordance
from linear_probe.tasks.landmarks import Landmarks
from linear_probe.tasks.light import Light
from ssl_faces import InputError
from ssl_faces.data import (
    CPLFW,
    EXPRESSIONS,
    AffectNet,
    CKPlus,
    FaceRecord,
    FaceSet,
    find_face_sets,
)
from ssl_faces.rendered import RenderedFaces
from tests.support.layouts import (
    affectnet_csv,
    aflw2000,
    biwi,
    ckplus,
    class_folders,
    cplfw,
    put_picture,
    rafdb,
    w300lp,
)
from tests.support.small_sets import write_fer2013, write_keypoints, write_lfw


def made_up(task, signal, noise=1.0, seed=0):
    """Features of the task's pictures: [records, D] `signal`, and noise."""
    draw = np.random.default_rng(seed)
    values = signal[task.indices] + noise * draw.standard_normal(
        (len(task.indices), len(signal[0]))
    )
    return Features(torch.from_numpy(values).float(), task.indices)


def one_hot(labels, classes=7):
    return np.eye(classes)[np.maximum(labels, 0)]


def pictures_of(task):
    return Pictures(task.faces, task.indices)


def titles(kind, face_sets):
    tasks = [kind([faces]) for faces in kind.serving(face_sets)]
    return [(task.data_set, task.split) for task in tasks]


def test_a_task_is_scored_on_each_set_that_serves(tmp_path):
    write_fer2013(tmp_path)
    write_keypoints(tmp_path)
    write_lfw(tmp_path)
    rafdb(tmp_path / "raf")
    affectnet_csv(tmp_path / "affect")
    ckplus(tmp_path / "ck")
    w300lp(tmp_path / "lp")
    aflw2000(tmp_path / "aflw")
    biwi(tmp_path / "biwi")
    cplfw(tmp_path / "cplfw")
    class_folders(tmp_path / "mine")
    sets = find_face_sets(tmp_path, "all")
    assert sorted(titles(Expression, sets)) == [
        ("AffectNet", "training -> validation"),
        ("AffectNet-8", "training -> validation"),
        ("CK+", "10 folds by person"),
        ("FER-2013", "Training -> PublicTest"),
        ("RAF-DB", "train -> test"),
        ("mine", "by the pictures' bytes, a fifth for the test"),
    ]
    assert sorted(titles(Pose, sets)) == [
        ("AFLW2000-3D", "300W-LP -> AFLW2000-3D"),
        ("BIWI", "by recording"),
        ("YouTube keypoints", "by person"),
    ]
    assert sorted(titles(Identity, sets)) == [
        ("CPLFW", "pairs in 10 folds"),
        ("LFW", "pairs in 3 folds"),
    ]
    assert titles(Affect, sets) == [("AffectNet", "training -> validation")]
    for kind in (Attributes, Classes):
        with pytest.raises(MissingData):
            kind(sets)


def test_rendered_faces_serve_what_they_carry():
    faces = RenderedFaces(240, 60, "all", size=16)
    serving = {name for name, kind in TASKS.items() if kind.serving([faces])}
    expected = {"expression", "pose", "identity", "landmarks", "light", "affect", "attributes"}
    assert serving == {*expected, "identification"}


def test_light_of_rendered_faces():
    faces = RenderedFaces(240, 60, "all", size=16)
    task = Light([faces], replicates=20)
    features, pictures = made_up(task, task.targets, 0.01), pictures_of(task)
    figures = task.score(features, pictures)
    assert [f.metric for f in figures] == ["MAE azimuth", "MAE elevation"]
    rows = task.rows(features, pictures)
    predicted = task.fit(features, rows)(features.values[rows.test]).numpy()
    for i, figure in enumerate(figures):
        true = [float(faces.records[r].labels["light"][i]) for r in features.records[rows.test]]
        by_hand = np.mean([abs(a - b) for a, b in zip(true, predicted[:, i], strict=True)])
        assert figure.value == pytest.approx(by_hand, rel=1e-4)
        assert (figure.unit, figure.n) == ("degrees", len(true))
        assert figure.value < 0.2 * task.references(features, pictures)[0].figures[i].value
    noise = made_up(task, np.zeros_like(task.targets), 1.0)
    assert all(
        f.value == pytest.approx(r.value, rel=0.25)
        for f, r in zip(
            task.score(noise, pictures), task.references(noise, pictures)[0].figures, strict=True
        )
    )


def test_landmarks_of_rendered_faces():
    faces = RenderedFaces(240, 60, "all", size=32)
    task = Landmarks([faces], replicates=20)
    features, pictures = made_up(task, task.targets[:, ::6], 0.01), pictures_of(task)
    (figure,) = task.score(features, pictures)
    rows = task.rows(features, pictures)
    predicted = task.fit(features, rows)(features.values[rows.test]).numpy().reshape(-1, 68, 2)
    errors = []
    for points, record in zip(predicted * 32, features.records[rows.test], strict=True):
        true = faces.records[record].labels["landmarks"].numpy()
        eyes = np.hypot(*(true[36] - true[45]))
        errors.append(
            100 * np.mean([np.hypot(*(a - b)) for a, b in zip(points, true, strict=True)]) / eyes
        )
    assert figure.value == pytest.approx(np.mean(errors), rel=1e-4)
    assert (figure.unit, figure.n) == ("%", len(errors))
    assert figure.value < 0.5 * task.references(features, pictures)[0].figures[0].value


@pytest.fixture
def two_folds(monkeypatch):
    """Fewer fits."""
    monkeypatch.setattr(CKPlus, "fold_count", 2)


@pytest.mark.usefixtures("two_folds")
def test_ckplus_is_predicted_out_of_fold(tmp_path):
    task = Expression([CKPlus(ckplus(tmp_path), "all")], replicates=40)
    features, pictures = made_up(task, one_hot(task.labels), 0.3), pictures_of(task)
    accuracy, recall, *_ = task.score(features, pictures)

    people = np.array([task.faces.records[i].person for i in features.records])
    targets, predicted = task.labels[features.records], np.full(len(people), -1)
    splits = task.splits(features, pictures)
    assert len(splits) == 2
    for rows in splits:
        assert not set(people[rows.train]) & set(people[rows.test])
        train = people[rows.train]
        assert not set(train[rows.validation]) & set(train[~rows.validation])
        probe = fit_logistic(
            features.values[rows.train], torch.from_numpy(targets[rows.train]), rows.validation
        )
        assert (predicted[rows.test] == -1).all()
        predicted[rows.test] = probe(features.values[rows.test]).argmax(1)
    assert (predicted >= 0).all(), "every picture once"
    assert accuracy.n == len(targets) == 76
    assert accuracy.value == pytest.approx(100 * (predicted == targets).mean())
    assert 30 < accuracy.value < 100
    assert recall.value == pytest.approx(100 * recall_score(targets, predicted, average="macro"))
    assert len(accuracy.hyperparameters["l2"]) == 2
    # Whole people are drawn: in the order of the folds, as the figures are.
    order = np.concatenate([rows.test for rows in splits])
    weights = cluster_weights(people[order], 40, 0)
    hits = (predicted == targets)[order]
    expected = 100 * (weights @ hits) / weights.sum(axis=1)
    np.testing.assert_allclose(accuracy.replicates, expected, rtol=1e-5)


@pytest.mark.usefixtures("two_folds")
def test_ckplus_folds_never_see_the_person_they_score(tmp_path):
    task = Expression([CKPlus(ckplus(tmp_path), "all")], replicates=5)
    features, pictures = made_up(task, one_hot(task.labels)), pictures_of(task)
    rows = task.rows(features, pictures, 1)
    before = task.fit(features, rows)
    task.labels[features.records[rows.test]] = EXPRESSIONS.index("neutral")
    features.values[torch.from_numpy(rows.test)] = float("nan")
    after = task.fit(features, task.rows(features, pictures, 1))
    assert (after.l2, after.validation) == (before.l2, before.validation)
    torch.testing.assert_close(after.weight, before.weight, rtol=0, atol=0)


def test_pose_learns_on_one_set_and_is_scored_on_the_other(tmp_path):
    w300lp(tmp_path / "lp", photographs=30)
    aflw2000(tmp_path / "aflw")
    sets = find_face_sets(tmp_path, "all")
    assert Pose.serving([s for s in sets if s.name == "aflw2000"]) == []
    assert Pose.serving([s for s in sets if s.name == "300w_lp"]) == []
    task = Pose(sets, replicates=30)
    features, pictures = made_up(task, task.targets, 3), pictures_of(task)
    figures = task.score(features, pictures)
    rows = task.rows(features, pictures)
    names = [task.faces.records[i].key.split("/")[0] for i in features.records]
    assert {names[i] for i in rows.train} == {"train"}
    assert {names[i] for i in rows.test} == {"test"}
    photographs = np.array([task.faces.records[i].person for i in features.records[rows.train]])
    held_out = set(photographs[rows.validation])
    assert held_out
    assert not held_out & set(photographs[~rows.validation])
    targets = torch.from_numpy(task.targets[features.records])
    probe = fit_ridge(features.values[rows.train], targets[rows.train], rows.validation)
    errors = (probe(features.values[rows.test]) - targets[rows.test]).abs().numpy()
    assert [f.value for f in figures] == pytest.approx(errors.mean(axis=0).tolist(), rel=1e-5)
    # No person is known there: pictures are drawn.
    weights = row_weights(5, 30, 0)
    np.testing.assert_allclose(figures[0].replicates, weights @ errors[:, 0] / 5, rtol=1e-5)
    assert "bootstrap over pictures" in task.protocol


def affect_faces(root, count=160):
    draw = np.random.default_rng(3)

    class Faces(FaceSet):
        title, split = "made up", "by halves"

    records = []
    for i in range(count):
        source = put_picture(root / f"{i}.png", i)
        valence, arousal = draw.uniform(-1, 1, 2)
        labels = {"valence": valence, "arousal": arousal} if i % 10 else {}
        records.append(FaceRecord(f"{i:03d}", source, labels=labels))
    return Faces("x", "all", records, test=lambda: Faces("x", "test", records[count // 2 :]))


def test_affect_by_torchmetrics(tmp_path):
    task = Affect([affect_faces(tmp_path)], replicates=30)
    signal = np.nan_to_num(task.targets)
    features, pictures = made_up(task, signal, 0.6), pictures_of(task)
    figures = {figure.metric: figure for figure in task.score(features, pictures)}
    assert list(figures) == ["CCC valence", "RMSE valence", "CCC arousal", "RMSE arousal"]
    rows = task.rows(features, pictures)
    assert (len(rows.train), len(rows.test)) == (72, 72), "a tenth has no labels"
    predicted = task.fit(features, rows)(features.values[rows.test])
    targets = torch.from_numpy(task.targets[features.records[rows.test]]).double()
    expected = ConcordanceCorrCoef(num_outputs=2)(predicted, targets)
    for i, name in enumerate(("valence", "arousal")):
        found = figures[f"CCC {name}"]
        assert found.value == pytest.approx(float(expected[i]), abs=1e-5)
        assert 0.3 < found.value < 0.95
        assert found.low < found.value < found.high
        error = root_mean_squared_error(targets[:, i], predicted[:, i])
        assert figures[f"RMSE {name}"].value == pytest.approx(error, rel=1e-5)
        assert not figures[f"RMSE {name}"].higher_is_better
    reference = task.references(features, pictures)[0].figures
    assert abs(reference[0].value) < 1e-6, "a constant agrees with nothing"


def test_weighted_concordance_is_that_of_repeated_rows():
    draw = np.random.default_rng(0)
    targets = draw.standard_normal(50) + 7
    predicted = 0.5 * targets + draw.standard_normal(50)
    weights = row_weights(50, 20, 1)
    found = concordance(targets, predicted, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        x, y = torch.from_numpy(targets.repeat(row)), torch.from_numpy(predicted.repeat(row))
        assert value == pytest.approx(float(ConcordanceCorrCoef()(y, x)), abs=1e-5)


def test_few_training_pictures_keep_each_class(tmp_path):
    class Faces(FaceSet):
        title, split = "made up", "x"

    source = put_picture(tmp_path / "a.png")
    records = [
        FaceRecord(f"{i:04d}", source, labels={"expression": 3 if i % 100 == 1 else i % 2})
        for i in range(400)
    ]
    faces = Faces("x", "all", records, test=lambda: Faces("x", "test", records[300:]))
    for seed in range(20):
        task = Expression([faces], seed=seed, max_train=100)
        drawn = task.indices[~task.is_test[task.indices]]
        assert len(drawn) == len(set(drawn)) == 100
        assert set(task.labels[drawn]) == {0, 1, 3}
        assert task.split == "x, 100 training pictures"


def test_cut_faces_have_features_of_their_own(tmp_path):
    whole, cut = (AffectNet(affectnet_csv(tmp_path, boxes), "all") for boxes in (False, True))
    one, other = (Pictures(faces, np.arange(3)) for faces in (whole, cut))
    assert one.hashes == other.hashes
    assert one.fingerprint != other.fingerprint


def test_cplfw_pairs_without_a_picture(tmp_path):
    images = cplfw(tmp_path) / "images"
    (images / "Ann_0_1.jpg").unlink()
    (images / "Ann_1_1.jpg").write_bytes(b"broken")
    task = Identity([CPLFW(tmp_path, "all")], replicates=5)
    # Broken ones have no features.
    kept = np.array([i for i in task.indices if task.faces.records[i].key != "Ann_1_1.jpg"])
    values = torch.randn(len(kept), 8, generator=torch.Generator().manual_seed(0))
    accuracy, *_ = task.score(Features(values, kept), pictures_of(task))
    assert accuracy.n == 36
    assert "4 pairs skipped" in accuracy.note
    few = kept[::2]
    with pytest.raises(InputError, match="of 40 pairs of CPLFW lack a picture, more than 20%"):
        task.score(Features(values[::2], few), pictures_of(task))
    for i in range(2, 6):
        (images / f"Ann_{i}_1.jpg").unlink()
    with pytest.raises(InputError, match=r"10 of 40 pairs.*such as Ann_0_1\.jpg"):
        Identity([CPLFW(tmp_path, "all")])
