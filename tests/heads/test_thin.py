"""THIN: the tree against a recursion, losses against loops, what is frozen, the test beds."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from linear_probe.cli import main
from linear_probe.heads.goals import AGES, Categories, Goal
from linear_probe.heads.head_tasks import READOUT, exogenous_readout, has_readout
from linear_probe.heads.thin import (
    THIN,
    CosineDispelling,
    ExogenousNetwork,
    TreeGate,
    WeakPredictors,
)
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.exogenous import Exogenous
from linear_probe.tasks.toy_sets import SHAPES, RotatedDigits, ScaledShapes
from ssl_faces.networks.backbone import BackboneEncoder
from tests.support.heads import SMALL_THIN
from tests.support.heads import thin_on_digits as own
from tests.support.refusals import error_of

ROOT = Path(__file__).parents[2]


def on_codes(**settings):
    torch.manual_seed(0)
    encoder = BackboneEncoder("resnet18", 16, 0.0625, {"identity": 8, "expression": 6})
    return THIN(Categories(7), encoder, dim=12, depth=2, hidden=4, **settings)


def recursion(left, node, leaves_from):
    """Probabilities of the leaves below a node, from left to right."""
    if node >= leaves_from:
        return [1.0]
    below = [recursion(left, child, leaves_from) for child in (2 * node + 1, 2 * node + 2)]
    return [left[node] * p for p in below[0]] + [(1 - left[node]) * p for p in below[1]]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_leaf_probabilities_are_the_products_of_the_choices(depth):
    torch.manual_seed(depth)
    gate = TreeGate(5, depth)
    x = 3 * torch.randn(7, 5)
    found = gate(x)
    assert found.shape == (7, 2**depth)
    torch.testing.assert_close(found.sum(1), torch.ones(7))
    gate.eval()
    found, logits = gate(x), gate.nodes(x)
    for row, choices in zip(found, logits, strict=True):
        left = [1 / (1 + math.exp(-float(choice))) for choice in choices]
        expected = recursion(left, 0, 2**depth - 1)
        torch.testing.assert_close(row, torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_weak_predictors_share_nothing():
    torch.manual_seed(0)
    weak = WeakPredictors(5, 3, 4, 2)
    x = torch.randn(6, 5)
    found = weak(x)
    for number in range(2):
        units = slice(3 * number, 3 * number + 3)
        outputs = slice(4 * number, 4 * number + 4)
        inner = torch.relu(x @ weak.first.weight[units].T + weak.first.bias[units])
        expected = inner @ weak.second.weight[outputs, :, 0].T + weak.second.bias[outputs]
        torch.testing.assert_close(found[:, number], expected)


@pytest.mark.parametrize("head", [own(), on_codes()])
def test_it_says_the_sum_over_leaves_of_probability_times_weak_predictor(head):
    head.eval()
    images = torch.rand(3, 3, 16, 16)
    shares, weak = head.leaf_probabilities(images), head.classifier(head.representation(images))
    found = head(images)
    for n in range(3):
        expected = sum(shares[n, leaf] * weak[n, leaf] for leaf in range(4))
        torch.testing.assert_close(found[n], expected)
    assert shares.std(0).max() > 0


@pytest.mark.parametrize("make", [own, on_codes])
def test_without_a_gate_it_is_the_mean_of_as_many_weak_predictors(make):
    tree, mean = make().eval(), make(gate="none").eval()
    images = torch.rand(3, 3, 16, 16)
    weak = mean.classifier(mean.representation(images))
    assert weak.shape[1] == 4
    torch.testing.assert_close(mean(images), weak.mean(1))
    sizes = [sum(p.numel() for p in head.classifier.parameters()) for head in (tree, mean)]
    assert sizes[0] == sizes[1]
    assert mean.panels(images) == {}


def test_the_cosine_loss_is_that_of_a_loop():
    torch.manual_seed(0)
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    expected = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        dot = sum(p * q for p, q in zip(x, y, strict=True))
        expected += abs(dot) / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y)) / 6
    assert float(CosineDispelling()(a, b)) == pytest.approx(expected, rel=1e-5)
    assert float(CosineDispelling()(a, -2 * a)) == pytest.approx(1)
    assert float(CosineDispelling()(torch.tensor([[1.0, 0]]), torch.tensor([[0, 3.0]]))) == 0


def test_losses_are_named_and_weighed():
    images, labels = torch.rand(8, 3, 16, 16), torch.arange(8) % 7
    for make, kind in ((own, "cosine"), (own, "correlation"), (on_codes, "correlation")):
        once, thrice = (
            make(dispelling=kind, dispelling_weight=w).losses(images, labels) for w in (1.0, 3.0)
        )
        assert set(once) == {"cross_entropy", "dispelling"}
        torch.testing.assert_close(thrice["dispelling"], 3 * once["dispelling"])
        assert set(make(dispelling_weight=0.0).losses(images, labels)) == {"cross_entropy"}
    head = own(dispelling="cosine")
    exogenous, endogenous = head.both(images)
    expected = CosineDispelling()(head.top(exogenous), head.top(endogenous))
    torch.testing.assert_close(head.losses(images, labels)["dispelling"], expected)


def test_the_endogenous_representation_is_what_dispelling_changes():
    for head in (own(dispelling="cosine"), own(dispelling="correlation"), on_codes()):
        before = {name: value.clone() for name, value in head.state_dict().items()}
        head.train().losses(torch.rand(8, 3, 16, 16), torch.arange(8) % 7)["dispelling"].backward()
        moved = {n.split(".")[0] for n, p in head.named_parameters() if p.grad is not None}
        assert moved == {"layer" if head.encoder else "endogenous"}
        for name, value in head.state_dict().items():  # batch statistics, too
            if name.startswith(("encoder.", "top.") if head.encoder else ("exogenous.", "top.")):
                assert torch.equal(value, before[name]), name


def test_both_networks_start_from_the_exogenous_one():
    torch.manual_seed(0)
    earlier = ExogenousNetwork(Categories(6), **SMALL_THIN)
    head = THIN(Categories(10), **SMALL_THIN)
    head.take_over(earlier)
    for name, value in earlier.trunk.state_dict().items():
        assert torch.equal(head.exogenous.state_dict()[name], value)
        assert torch.equal(head.endogenous.state_dict()[name], value)
    again = THIN(Categories(3), **SMALL_THIN)
    again.take_over(head)
    assert again.informed
    assert torch.equal(again.exogenous.state_dict()[name], value)
    assert again.classifier.second.weight.shape != head.classifier.second.weight.shape


def test_it_says_several_things_too():
    torch.manual_seed(0)
    head = THIN(Goal({"age": AGES, "valence": 1}), **SMALL_THIN)
    head.take_over(ExogenousNetwork(Categories(6), **SMALL_THIN))
    labels = torch.tensor([[30.0, 0.5], [40.0, -0.5]])
    assert set(head.losses(torch.rand(2, 3, 16, 16), labels)) == {"age", "valence", "dispelling"}


def test_of_each_leaf_the_pictures_are_shown_that_are_most_in_it():
    head = own().eval()
    images = torch.rand(20, 3, 16, 16)
    with torch.no_grad():
        rows, shares = head.panels(images), head.leaf_probabilities(images)
    assert len(rows) == 4
    for leaf, (name, row) in enumerate(rows.items()):
        assert name == f"leaf {leaf + 1}: {float(shares[:, leaf].mean()):.0%}"
        assert row.shape == (8, 3, 16, 16)
        order = sorted(range(20), key=lambda i: -float(shares[i, leaf]))
        assert torch.equal(row, images[order[:8]])


@pytest.mark.parametrize("kind", [RotatedDigits, ScaledShapes])
def test_test_beds(kind):
    whole, train, test = kind(), kind("train"), kind("test")
    assert len(whole) == len(train) + len(test)
    assert 0.15 < len(test) / len(whole) < 0.25
    assert not {r.person or r.key for r in train.records} & {
        r.person or r.key for r in test.records
    }
    labels = [[r.labels[n] for r in whole.records] for n in ("category", "exogenous")]
    for name, numbers in zip(("category", "exogenous"), labels, strict=True):
        counts = np.bincount(numbers)
        assert len(counts) == len(whole.class_names[name])
        assert counts.min() > 0.8 * counts.mean()
    # Neither predicts the other.
    assert abs(np.corrcoef(labels)[0, 1]) < 0.05
    assert whole[3]["image"].shape == (3, 32, 32)
    assert whole[3]["image"].dtype == torch.uint8


def test_angles_and_scales_are_those_of_the_labels():
    digits = RotatedDigits()
    ones = [r for r in digits.records if r.labels["category"] == 1]
    slants = {0: [], 5: []}
    for record in ones:
        if record.labels["exogenous"] in slants:
            y, x = np.nonzero(np.asarray(record.source) > 128)
            slants[record.labels["exogenous"]].append(np.cov(x, y)[0, 0] - np.cov(x, y)[1, 1])
    # A one turned by 60 to 90 degrees lies: it is wider than high.
    assert all(np.median(values) > 0 for values in slants.values())
    shapes = ScaledShapes()
    areas = [
        np.median(
            [
                (np.asarray(r.source) > 125).sum()
                for r in shapes.records
                if r.labels["exogenous"] == scale and SHAPES[r.labels["category"]] == "circle"
            ]
        )
        for scale in range(4)
    ]
    # Each bin's radius is (14/4)^(1/4) of the one before.
    ratios = np.array(areas[1:]) / np.array(areas[:-1])
    np.testing.assert_allclose(ratios, 3.5**0.5, rtol=0.25)


def test_the_readout_is_of_the_exogenous_label_alone():
    task = Classes([RotatedDigits()], replicates=20, max_train=300)
    assert has_readout(task)
    assert not has_readout(Exogenous([RotatedDigits()], replicates=20, max_train=300))
    truth = torch.tensor([task.faces.records[i].labels["exogenous"] for i in task.indices])
    torch.manual_seed(0)
    telling = torch.eye(6)[truth] + 0.01 * torch.randn(len(truth), 6)
    all_of_it = exogenous_readout(task, task.indices, telling)
    assert all_of_it.metric == READOUT
    assert all_of_it.value > 99
    assert not all_of_it.higher_is_better
    nothing = exogenous_readout(task, task.indices, torch.randn(len(truth), 6))
    assert nothing.value < 100 / 6 + 8
    assert all_of_it.n == nothing.n == len(RotatedDigits("test"))


TINY = [
    *("head", "-c", str(ROOT / "configs/head/thin_digits.yaml"), "--max_train", "128"),
    *("--head.init_args.picture_size", "16", "--head.init_args.width", "0.0625"),
    *("--training.epochs", "1", "--bootstrap", "20", "--accelerator", "cpu"),
    *("--precision", "32-true"),
]


def before(width=0.0625):
    kind = "linear_probe.heads.thin.ExogenousNetwork"
    settings = f"{{picture_size: 16, width: {width}, augment: false}}"
    return (
        f"--before=[{{task: exogenous, data: digits, max_train: 128, training: {{epochs: 1}}, "
        f"head: {{class_path: {kind}, init_args: {settings}}}}}]"
    )


def test_it_is_trained_and_scored_in_both_stages(tmp_path):
    assert main([*TINY, before(), "--out", str(tmp_path)]) == 0
    records = read_records(tmp_path / RECORDS_FILE)
    rows = {(r.task, r.probe, r.metric) for r in records}
    assert {
        ("exogenous", "exogenous_network", "accuracy"),
        ("classes", "thin", "accuracy"),
        ("classes", "thin", READOUT),
    } <= rows
    assert ("exogenous", "exogenous_network", READOUT) not in rows
    (panel,) = tmp_path.glob("heads/thin_*/seed0/panel.png")
    assert panel.stat().st_size > 0
    states = {
        kind: torch.load(path, weights_only=True)["state_dict"]
        for kind in ("exogenous", "thin")
        for path in tmp_path.glob(f"heads/{kind}_*/seed0/last.ckpt")
    }
    taught = [n for n in states["exogenous"] if n.startswith("head.trunk.")]
    assert taught
    for name in taught:
        frozen = states["thin"][name.replace("head.trunk.", "head.exogenous.")]
        assert torch.equal(frozen, states["exogenous"][name]), name
    moved = "head.endogenous.network.network.conv1.weight"
    assert not torch.equal(states["thin"][moved], states["thin"][moved.replace("endo", "exo")])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--before=[]"], "before: THIN needs a stage that learns the exogenous"),
        ([before(width=0.125)], "ExogenousNetwork has another `width` than THIN"),
        ([before(), "--encoder", "hybrid"], "before: ExogenousNetwork is a network of its own"),
        (["--before=[]", "--head.init_args.depth", "9"], "head.depth: 9; give 1 to 8"),
        (
            ["--before=[]", "--data", "rendered"],
            "task classes needs pictures in a folder for each class",
        ),
    ],
)
def test_what_cannot_be(more, message, tmp_path, capsys):
    assert message in error_of(main, capsys, [*TINY, *more, "--out", str(tmp_path)])


@pytest.mark.parametrize("name", ["thin", "thin_own", "thin_digits", "thin_shapes"])
def test_configs_name_one_width_for_both_networks(name):
    config = yaml.safe_load((ROOT / f"configs/head/{name}.yaml").read_text())
    given = config["head"]["init_args"]
    for stage in config.get("before", []):
        settings = stage["head"]["init_args"]
        assert all(given.get(key) == value for key, value in settings.items())
