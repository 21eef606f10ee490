"""Shares of the training labels, counted by a loop; targets that can't be learnt."""

import numpy as np
import pytest
import torch

from linear_probe.experiments.conditions import constant_note, scores_by_share, share_of_labels
from linear_probe.features.frozen import Features, Pictures
from linear_probe.tasks import Expression, Identity, Pose
from linear_probe.tasks.classification import class_predictions
from ssl_faces.data.sets.discover import find_face_sets


def prepared(root, seed=0):
    """Features that tell the class but for some noise, without decoding a picture."""
    task = Expression(find_face_sets(root, "all"), seed=seed, replicates=20)
    noise = torch.randn(len(task.labels), 7, generator=torch.Generator().manual_seed(0))
    values = torch.nn.functional.one_hot(torch.from_numpy(task.labels), 7) + 0.5 * noise
    return task, Features(values, task.indices), Pictures(task.faces, task.indices)


def test_of_each_class_that_share_and_every_test_row(small_data):
    task, features, _ = prepared(small_data)
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
    other, _, _ = prepared(small_data, seed=1)
    drawn = share_of_labels(other, features, 25)
    assert set(drawn.records.tolist()) != kept[25]


def test_only_pictures_of_the_task_count(small_data):
    task, features, _ = prepared(small_data)
    half = np.flatnonzero(~task.is_test)[::2]
    task.indices = np.sort(np.concatenate([half, np.flatnonzero(task.is_test)]))
    fewer = share_of_labels(task, features, 50)
    fitted = fewer.records[np.isin(fewer.records, half)]
    assert len(fitted) == pytest.approx(len(half) / 2, abs=4)


def test_figures_by_share(small_data):
    task, features, pictures = prepared(small_data)
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
    task, features, pictures = prepared(small_data)
    constant = Features(torch.full_like(features.values, 0.1), features.records)
    assert "features are constant" in constant_note(constant.values)
    accuracy = task.score(constant, pictures)[0]
    assert accuracy.value == pytest.approx(100 / 7)
    one = constant.values.clone()
    one[100, 3] += 0.01
    assert constant_note(one) == ""
    assert constant_note(features.values) == ""
