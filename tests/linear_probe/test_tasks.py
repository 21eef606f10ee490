"""Tasks: splits, the unseen test part, shares of the labels, and figures that are right."""

import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score

from linear_probe.experiments.conditions import constant_note, scores_by_share, share_of_labels
from linear_probe.experiments.probe import run_probes
from linear_probe.features.frozen import FeatureCache, Features, Pictures
from linear_probe.sources.baselines import PixelSource
from linear_probe.tasks import TASKS, Expression, Identity, MissingData, Pose
from linear_probe.tasks.classification import class_predictions
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from ssl_faces.data import in_test_share
from ssl_faces.data.sets.discover import find_face_sets


def prepared(kind, root, cache):
    """The task on a data folder, with small grey pictures as features."""
    task = kind(find_face_sets(root, "all"), replicates=50)
    pictures = Pictures(task.faces, task.indices)
    features, source = FeatureCache(cache), PixelSource(12)
    features.fill([source], pictures)
    return task, features.read(source, pictures, source.space), pictures


def test_expression_learns_and_its_figures_are_scikit_learns(small_data, tmp_path):
    task, features, pictures = prepared(Expression, small_data, tmp_path / "f")
    accuracy, recall, knn = task.score(features, pictures)
    assert (knn.metric, knn.probe, knn.n) == ("kNN accuracy", "kNN", 28)
    assert accuracy.n == recall.n == 28
    assert 40 < accuracy.value < 99
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert 40 < accuracy.hyperparameters["validation"]["accuracy"] <= 100
    rows = task.rows(features, pictures)
    predicted = task.fit(features, rows)(features.values[torch.from_numpy(rows.test)]).argmax(1)
    targets = task.labels[features.records[rows.test]]
    assert accuracy.value == pytest.approx(100 * (predicted.numpy() == targets).mean())
    assert recall.value == pytest.approx(100 * recall_score(targets, predicted, average="macro"))
    keys = [task.faces.records[i].key for i in features.records[rows.train]]
    assert len(keys) == 84
    assert all(key.startswith("Training") for key in keys)


def test_training_copies_of_test_pictures_are_left_out_and_told(small_data, tmp_path):
    fer = small_data / "fer2013"
    # Under another label even: what counts is the picture.
    shutil.copy(fer / "PublicTest/sad/PublicTest_0.png", fer / "Training/happy/Training_3.png")
    shutil.copy(fer / "PublicTest/sad/PublicTest_1.png", fer / "Training/sad/new.png")
    for i in range(30):  # copies of each other validate together
        original = fer / f"Training/angry/Training_{i % 3}.png"
        shutil.copy(original, original.with_name(f"copy_{i}.png"))
    task, features, pictures = prepared(Expression, small_data, tmp_path / "f")
    rows = task.rows(features, pictures)
    keys = [task.faces.records[i].key for i in features.records[rows.train]]
    assert len(keys) == 83 + 30
    assert not {"Training/happy/Training_3.png", "Training/sad/new.png"} & set(keys)
    assert rows.copies == 2
    hashes = np.array([h.hex() for h in pictures.hashes])[rows.train]
    for content in np.unique(hashes):
        assert len(np.unique(rows.validation[hashes == content])) == 1
    assert "2 training pictures left out" in task.score(features, pictures)[0].note


def test_expression_never_sees_the_test_part(small_data, tmp_path):
    task, features, pictures = prepared(Expression, small_data, tmp_path / "f")
    rows = task.rows(features, pictures)
    before = task.fit(features, rows)
    task.labels[features.records[rows.test]] = 0
    features.values[torch.from_numpy(rows.test)] = float("nan")
    after_rows = task.rows(features, pictures)
    after = task.fit(features, after_rows)
    assert (after_rows.validation == rows.validation).all()
    assert (after.l2, after.validation) == (before.l2, before.validation)
    for one, other in zip(
        (before.weight, before.bias, *before.standardise),
        (after.weight, after.bias, *after.standardise),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_pose_learns_and_splits_by_person(small_data, tmp_path):
    task, features, pictures = prepared(Pose, small_data, tmp_path / "f")
    yaw, pitch, roll = task.score(features, pictures)
    (reference,) = task.references(features, pictures)
    assert [f.metric for f in (yaw, pitch, roll)] == ["MAE yaw", "MAE pitch", "MAE roll"]
    assert yaw.value < 0.5 * reference.figures[0].value
    rows = task.rows(features, pictures)
    person = np.array([record.person for record in task.faces.records])[features.records]
    assert all(in_test_share(name) for name in person[rows.test])
    assert not any(in_test_share(name) for name in person[rows.train])
    train_people = person[rows.train]
    assert not set(train_people[rows.validation]) & set(train_people[~rows.validation])
    assert "landmark-derived" in task.protocol
    targets, training = task.targets[rows.test], task.targets[rows.train]
    expected = np.abs(targets - training.mean(axis=0)).mean(axis=0)
    assert [f.value for f in reference.figures] == pytest.approx(expected.tolist(), rel=1e-5)


def test_pose_never_sees_the_test_part(small_data, tmp_path):
    task, features, pictures = prepared(Pose, small_data, tmp_path / "f")
    rows = task.rows(features, pictures)
    before = task.fit(features, rows)
    reference = task.references(features, pictures)[0].figures[0].value
    task.targets[features.records[rows.test]] += 50
    features.values[torch.from_numpy(rows.test)] = float("nan")
    after = task.fit(features, task.rows(features, pictures))
    assert (after.l2, after.validation) == (before.l2, before.validation)
    torch.testing.assert_close(after.weight, before.weight, rtol=0, atol=0)
    torch.testing.assert_close(after.bias, before.bias, rtol=0, atol=0)
    assert task.references(features, pictures)[0].figures[0].value > reference + 5


def test_identity_tells_people_apart(small_data, tmp_path):
    task, features, pictures = prepared(Identity, small_data, tmp_path / "f")
    accuracy, area, *_ = task.score(features, pictures)
    assert accuracy.n == 24
    assert accuracy.value > 90
    assert area.value > 95
    assert len(accuracy.hyperparameters["thresholds"]) == 3
    assert "0 pairs skipped" in accuracy.note


def test_pairs_without_a_picture_are_left_out_and_counted(small_data, tmp_path):
    lfw = small_data / "lfw"
    (lfw / "Fold0_Person0/Fold0_Person0_0001.png").write_bytes(b"broken")  # in two pairs
    (lfw / "Fold1_Person2/Fold1_Person2_0002.png").unlink()  # in two others
    task, features, pictures = prepared(Identity, small_data, tmp_path / "f")
    accuracy, *_ = task.score(features, pictures)
    assert accuracy.n == 20
    assert "4 pairs skipped" in accuracy.note
    assert task.faces.skipped == [
        ("Fold1_Person2/Fold1_Person2_0002.jpg", "named in pairs.txt, missing on disk")
    ]


@pytest.mark.parametrize("name", ["expression", "pose", "identity"])
def test_same_seed_same_figures_and_all_seeds_share_the_draws(name, small_data, tmp_path):
    task, features, pictures = prepared(TASKS[name], small_data, tmp_path / "f")
    again, *_ = prepared(TASKS[name], small_data, tmp_path / "f")
    # Worse features: a figure of 100 % has an interval of no width.
    noise = torch.randn(features.values.shape, generator=torch.Generator().manual_seed(0))
    features = Features(features.values + noise, features.records)
    figures = task.score(features, pictures)
    assert again.score(features, pictures) == figures
    other = TASKS[name]([task.faces], seed=1, replicates=50).score(features, pictures)
    assert [f.sample for f in other] == [f.sample for f in figures]
    for one, its in zip(figures, other, strict=True):
        if name == "identity":  # nothing else is drawn
            np.testing.assert_array_equal(one.replicates, its.replicates)


def test_identity_without_pairs_or_with_one_fold(small_data):
    pairs = small_data / "lfw" / "pairs.txt"
    lines = pairs.read_text().splitlines()
    pairs.write_text("\n".join(["4", *lines[1:9]]))
    with pytest.raises(InputError, match="one fold"):
        Identity(find_face_sets(small_data / "lfw", "all"))
    pairs.unlink()
    with pytest.raises(MissingData, match=r"pairs\.txt"):
        Identity(find_face_sets(small_data / "lfw", "all"))


def test_expression_with_one_part_only(small_data):
    shutil.rmtree(small_data / "fer2013" / "PublicTest")
    with pytest.raises(InputError, match="PublicTest"):
        Expression(find_face_sets(small_data, "all"))


def test_test_part_corrupt_throughout(small_data, tmp_path):
    for path in (small_data / "fer2013" / "PublicTest").rglob("*.png"):
        path.write_bytes(b"broken")
    task, features, pictures = prepared(Expression, small_data, tmp_path / "f")
    with pytest.raises(InputError, match="left to score on"):
        task.score(features, pictures)


def told_apart(root, seed=0):
    """Features that tell the class but for some noise, without decoding a picture."""
    task = Expression(find_face_sets(root, "all"), seed=seed, replicates=20)
    noise = torch.randn(len(task.labels), 7, generator=torch.Generator().manual_seed(0))
    values = torch.nn.functional.one_hot(torch.from_numpy(task.labels), 7) + 0.5 * noise
    return task, Features(values, task.indices), Pictures(task.faces, task.indices)


def test_of_each_class_that_share_and_every_test_row(small_data):
    task, features, _ = told_apart(small_data)
    kept = {}
    for percent in (1, 25, 50, 100):
        fewer = share_of_labels(task, features, percent)
        kept[percent] = set(fewer.records.tolist())
        for name in range(7):
            for test in (False, True):
                rows = [
                    i for i in task.indices if (task.labels[i], task.is_test[i]) == (name, test)
                ]
                wanted = len(rows) if test else max(1, round(percent / 100 * len(rows)))
                assert len(kept[percent] & set(rows)) == wanted
        row = {record: i for i, record in enumerate(features.records)}
        for value, record in zip(fewer.values, fewer.records, strict=True):
            assert (value == features.values[row[record]]).all()
    assert kept[1] < kept[25] < kept[50] < kept[100] == set(task.indices.tolist())
    other, _, _ = told_apart(small_data, seed=1)
    drawn = share_of_labels(other, features, 25)
    assert set(drawn.records.tolist()) != kept[25]


def test_only_pictures_of_the_task_count(small_data):
    task, features, _ = told_apart(small_data)
    half = np.flatnonzero(~task.is_test)[::2]
    task.indices = np.sort(np.concatenate([half, np.flatnonzero(task.is_test)]))
    fewer = share_of_labels(task, features, 50)
    fitted = fewer.records[np.isin(fewer.records, half)]
    assert len(fitted) == pytest.approx(len(half) / 2, abs=4)


def test_figures_by_share(small_data):
    task, features, pictures = told_apart(small_data)
    whole = task.score(features, pictures)
    warnings = []
    found = list(scores_by_share(task, features, pictures, [100, 50, 1], whole, warnings.append))
    assert [condition["level"] for condition, _ in found] == [1, 50, 100]
    assert found[2][1] == whole
    assert "trained on 42 pictures" in found[1][1][0].note
    assert "trained on 7 pictures" in found[0][1][0].note
    assert not warnings


def test_poses_by_share_and_no_shares_of_pairs(small_data):
    sets = find_face_sets(small_data, "all")
    pose = Pose(sets)
    features = Features(torch.zeros(len(pose.indices), 1), pose.indices)
    fewer = share_of_labels(pose, features, 20)
    assert (~pose.is_test[fewer.records]).sum() == round(0.2 * (~pose.is_test).sum())
    identity = Identity(sets)
    assert share_of_labels(identity, features, 20) is None


def test_predictions_are_the_probes(small_data):
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    predictions = class_predictions(["a", "b"], np.array([1, 2]), logits, ["x", "y", "z"])
    np.testing.assert_allclose(predictions.scores[:, :2], torch.softmax(logits, 1), rtol=1e-6)
    assert predictions.scores[:, 2].tolist() == [0, 0]
    assert predictions.predicted.tolist() == [0, 1]


def test_constant_features_are_told_and_scored(small_data):
    task, features, pictures = told_apart(small_data)
    constant = Features(torch.full_like(features.values, 0.1), features.records)
    assert "features are constant" in constant_note(constant.values)
    accuracy = task.score(constant, pictures)[0]
    assert accuracy.value == pytest.approx(100 / 7)
    one = constant.values.clone()
    one[100, 3] += 0.01
    assert constant_note(one) == ""
    assert constant_note(features.values) == ""


@pytest.mark.slow
def test_baselines_score_as_they_do_elsewhere(real_data, tmp_path, save_tiny):
    records = run_probes(
        [str(save_tiny(tmp_path / "tiny"))],
        tmp_path / "out",
        data=real_data,
        spaces=["expression"],
        device="cpu",
    )
    found = {(r.task, r.encoder, r.metric): r for r in records if r.probe != WHITENED}
    # Measured with scikit-learn and the L2 that is best on PublicTest.
    assert found["expression", "pixels", "accuracy"].value == pytest.approx(38.2, abs=1.5)
    assert found["expression", "pixels", "accuracy"].n == 3589
    assert found["expression", "HOG", "accuracy"].value == pytest.approx(44.6, abs=1.5)
    # 36.7 was measured elsewhere with fewer patterns; the 59 of Ahonen et al. tell more.
    assert 45 < found["expression", "LBP", "accuracy"].value < 51
    # 60.5 was measured elsewhere, with another mean and another resize.
    assert found["identity", "pixels", "accuracy"].value == pytest.approx(62, abs=2.5)
    assert found["identity", "pixels", "accuracy"].n == 2700
    for angle in ("yaw", "pitch", "roll"):
        mean = found["pose", "predict the mean", f"MAE {angle}"]
        assert mean.n == 594
        assert found["pose", "pixels", f"MAE {angle}"].value < mean.value
