"""Goals: their losses by hand, weights of classes, averages over views, the expected age."""

import math

import pytest
import torch

from linear_probe.heads.goals import AGES, Categories, Goal, expected_age


def cross_entropy(logits, label):
    exponents = [math.exp(float(x)) for x in logits]
    return -math.log(exponents[label] / sum(exponents))


def test_rare_classes_weigh_by_the_largest_count_over_their_own():
    torch.manual_seed(0)
    goal = Categories(3)
    goal.count(torch.tensor([0, 0, 0, 0, 1, 1, 2]))
    shown, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 2])
    plain = sum(cross_entropy(row, int(k)) for row, k in zip(shown, labels, strict=True)) / 5
    assert goal.losses(shown, labels)["cross_entropy"].item() == pytest.approx(plain, rel=1e-5)
    weight = {0: 1.0, 1: 2.0, 2: 4.0}
    total = sum(
        weight[int(k)] * cross_entropy(row, int(k)) for row, k in zip(shown, labels, strict=True)
    )
    expected = total / sum(weight[int(k)] for k in labels)
    found = goal.losses(shown, labels, balanced=True)["cross_entropy"].item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_several_things_have_a_loss_each_and_unknown_classes_none():
    torch.manual_seed(1)
    goal = Goal({"expression": 3, "valence": 1, "arousal": 1})
    assert goal.outputs == 5
    labels = torch.tensor([[2.0, 0.5, -0.1], [-1.0, -0.3, 0.2], [0.0, 0.0, 0.9]])
    shown = torch.randn(3, 5)
    found = goal.losses(shown, labels)
    expected = (cross_entropy(shown[0, :3], 2) + cross_entropy(shown[2, :3], 0)) / 2
    assert found["expression"].item() == pytest.approx(expected, rel=1e-5)
    squares = sum((float(shown[i, 3]) - float(labels[i, 1])) ** 2 for i in range(3)) / 3
    assert found["valence"].item() == pytest.approx(squares, rel=1e-5)
    labels[:, 0] = -1
    assert set(goal.losses(shown, labels)) == {"valence", "arousal"}
    goal.count(torch.tensor([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [2, 0, 0]]))
    assert goal.counts["expression"].tolist() == [0, 2, 1]
    assert set(goal.counts) == {"expression"}


def test_views_are_averaged_classes_by_probability():
    torch.manual_seed(2)
    shown = torch.randn(4, 2, 4)
    found = Goal({"gender": 2, "age": 1, "arousal": 1}).average(shown)
    probabilities = shown[..., :2].softmax(-1).mean(0)
    assert torch.allclose(found[:, :2].softmax(1), probabilities, atol=1e-6)
    assert torch.allclose(found[:, 2:], shown[..., 2:].mean(0))
    whole = Categories(4).average(shown)
    assert torch.allclose(whole.exp(), shown.softmax(-1).mean(0), atol=1e-6)


def test_the_expected_age_is_the_mean_under_the_probabilities():
    logits = torch.full((2, AGES), -40.0)
    logits[0, 30] = 0
    logits[1, [20, 40]] = torch.log(torch.tensor([0.75, 0.25]))
    assert expected_age(logits).tolist() == pytest.approx([30.0, 25.0], abs=1e-3)
