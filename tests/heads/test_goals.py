"""Goals, SAM, crops and people: their losses, steps and images by hand."""

import math

import pytest
import torch

from linear_probe.heads.crops import (
    SHIFT,
    mirrored_and_moved,
    random_crops,
    standardised,
    ten_crops,
)
from linear_probe.heads.goals import AGES, Categories, Goal, expected_age
from linear_probe.heads.pictures import Decoded, People
from linear_probe.heads.sam import SAMAdamW
from linear_probe.tasks import MissingData
from ssl_faces.data import FaceRecord, FaceSet


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


def loss_at(w):
    return (w[0] ** 4 + 3 * (w[1] - 1) ** 2 + w[0] * w[1]).sum()


def test_a_step_is_adamw_on_the_gradient_where_the_loss_is_worse():
    start, radius = torch.tensor([0.7, -0.4]), 0.1
    w = torch.nn.Parameter(start.clone())
    optimizer = SAMAdamW([w], radius, lr=0.01, weight_decay=0.1)
    other = torch.nn.Parameter(start.clone())
    plain = torch.optim.AdamW([other], lr=0.01, weight_decay=0.1)
    for _ in range(3):
        calls = []

        def closure(calls=calls):
            optimizer.zero_grad()
            value = loss_at(w)
            value.backward()
            calls.append(value.item())
            return value

        here = other.detach().clone().requires_grad_()
        (g,) = torch.autograd.grad(loss_at(here), here)
        there = (here.detach() + radius * g / g.norm()).requires_grad_()
        (other.grad,) = torch.autograd.grad(loss_at(there), there)
        plain.step()
        given = optimizer.step(closure)
        assert float(given) == calls[0]  # at the weights as they were
        assert calls[1] > calls[0]
        assert torch.allclose(w, other, atol=1e-6)


def test_without_a_closure_it_is_refused():
    with pytest.raises(TypeError, match="closure"):
        SAMAdamW([torch.nn.Parameter(torch.ones(1))], 0.1).step()


def test_ten_crops_are_corners_middle_and_their_mirror_images():
    images = torch.rand(2, 3, 10, 10)
    found = ten_crops(images, 6)
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    expected = [images[..., y : y + 6, x : x + 6] for y, x in places]
    mirrored = images.flip(-1)
    expected += [mirrored[..., y : y + 6, x : x + 6] for y, x in places]
    assert torch.equal(found, torch.stack(expected))


def test_random_crops_are_slices_each_of_its_own():
    torch.manual_seed(0)
    one = torch.arange(3 * 8 * 8).view(1, 3, 8, 8)
    found = random_crops(one.expand(200, -1, -1, -1), 6)
    slices = {
        tuple(image[:, y : y + 6, x : x + 6].flatten().tolist())
        for image in (one[0], one[0].flip(-1))
        for y in range(3)
        for x in range(3)
    }
    assert {tuple(crop.flatten().tolist()) for crop in found} == slices


def test_moved_images_are_the_originals_mirrored_or_shifted():
    size = 12
    images = torch.randint(0, 256, (40, 3, size, size), dtype=torch.uint8)
    torch.manual_seed(1)
    moved = (mirrored_and_moved(images) * 255).round().byte()
    padded = torch.nn.functional.pad(images.float(), (SHIFT,) * 4, mode="replicate").byte()
    ways = set()
    for image, wide in zip(moved, padded, strict=True):
        fits = [
            (down, right, mirrored)
            for down in range(2 * SHIFT + 1)
            for right in range(2 * SHIFT + 1)
            for mirrored in (False, True)
            if torch.equal(cut := wide[:, down : down + size, right : right + size], image)
            or (mirrored and torch.equal(cut.flip(-1), image))
        ]
        assert fits
        ways.add(fits[0])
    assert {way[2] for way in ways} == {False, True}
    assert len({way[:2] for way in ways}) > 10


def test_standardised_images_hardly_depend_on_exposure_and_contrast():
    image = torch.randint(60, 180, (1, 3, 16, 16), dtype=torch.uint8)
    assert (standardised(image) - standardised(image // 2)).abs().max() < 0.3
    assert standardised(image).mean().abs() < 1e-4


class Named(FaceSet):
    def __init__(self, name, people, held_out=None):
        records = [FaceRecord(f"{i}.jpg", b"", p) for i, p in enumerate(people)]
        super().__init__(name, "all", records, held_out_people=frozenset(held_out or ()))


def decode(faces, indices):
    # The image's value is its record.
    values = torch.from_numpy(indices).to(torch.uint8)[:, None, None, None]
    return Decoded(values.expand(-1, 3, 2, 2).clone(), indices, [])


def test_classes_are_people_of_a_set_with_two_pictures_or_more():
    one = Named("one", ["a"] * 20 + ["b", None, "test"] + ["c"] * 10, {"test"})
    # Its "a" is another person, and "test" is a test person of the first set.
    two = Named("two", ["a", "a", "test", "test"])
    people = People([one, two])
    assert people.count == people.goal().outputs == 3
    taught = people.pictures(decode, 0)
    assert len(taught.images) == 32
    of_class = {k: taught.images[taught.labels == k, 0, 0, 0].tolist() for k in range(3)}
    assert of_class == {0: list(range(20)), 1: list(range(23, 33)), 2: [0, 1]}
    assert sorted([*taught.train.tolist(), *taught.validation.tolist()]) == list(range(32))
    counts = taught.labels[taught.validation].bincount(minlength=3).tolist()
    assert counts == [2, 1, 0]


def test_few_pictures_are_of_the_most_photographed_people():
    faces = Named("one", ["a"] * 5 + ["b"] * 4 + ["c"] * 3)
    people = People([faces], max_train=9)
    assert people.count == 2
    assert len(people.pictures(decode, 0).images) == 9


def test_without_people_it_says_what_is_missing():
    with pytest.raises(MissingData, match="people: 1 with 2 pictures or more"):
        People([Named("one", ["a", "a", "b", None])])
