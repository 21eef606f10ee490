"""2Att-2Mt: both attentions and the loss against loops, stages, and runs from end to end."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from linear_probe.cli import main
from linear_probe.heads.goals import Categories, Goal
from linear_probe.heads.layer_maps import layer_maps
from linear_probe.heads.two_level_attention import AttentionPool, ConcordanceLoss, TwoLevelAttention
from linear_probe.records.record import RECORDS_FILE, read_records
from linear_probe.reports.thumbnails import Thumbnails
from linear_probe.tasks.face_sets import rendered_faces
from ssl_faces import FaceEncoder, InputError, save_encoder
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.rendered import RenderedFaces
from tests.support.layouts import put_picture

ROOT = Path(__file__).parents[2]
AFFECT = Goal({"expression": 7, "valence": 1, "arousal": 1})
SMALL = {"picture_size": 32, "width": 0.0625, "dim": 8}


def small(goal=AFFECT, encoder=None, **settings):
    torch.manual_seed(0)
    return TwoLevelAttention(goal, encoder, **(SMALL | settings))


def stirred(head):
    """With queries that don't weigh all alike, as after training."""
    with torch.no_grad():
        for name, weight in head.named_parameters():
            if name.endswith("query.weight"):
                weight.normal_(0, 2)
    return head


def labels_of(faces):
    names = ("expression", "valence", "arousal")
    return torch.tensor([[float(r.labels[n]) for n in names] for r in faces.records])


def test_attention_is_the_softmax_of_what_the_query_says_of_each_vector():
    torch.manual_seed(0)
    pool, x = AttentionPool(5, 4), torch.randn(3, 6, 5)
    torch.testing.assert_close(pool(x), x.mean(1))  # at first
    pool.query.weight.data.normal_(0, 2)
    found, weights = pool(x), pool.weights(x)
    w, b, v = pool.hidden.weight, pool.hidden.bias, pool.query.weight[0]
    for picture in range(3):
        scores = [(v @ torch.tanh(w @ one + b)).item() for one in x[picture]]
        shares = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[picture].tolist(), shares, rtol=1e-4)
        expected = sum(s * one for s, one in zip(shares, x[picture], strict=True))
        torch.testing.assert_close(found[picture], expected.float())


def test_layers_are_those_of_the_fact_sheet():
    """A map of each of several layers, a vector of each map, and a state of each vector by a
    recurrent network that runs both ways."""
    head = TwoLevelAttention(AFFECT, width=1.0, dim=128).eval()
    images = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        maps = head.maps(images)
    sides = [(64, 24, 24), (128, 12, 12), (256, 6, 6), (512, 3, 3)]
    assert [tuple(m.shape[1:]) for m in maps] == sides
    assert head.recurrent.bidirectional
    head.maps = lambda images: maps
    assert head.states(maps).shape == (1, 4, 128)
    features = head.embed(images)
    assert features.shape == (1, 2 * 128)
    assert head.classify(features).shape == (1, 7 + 2)
    places, layers = head.attention(images)
    assert [tuple(p.shape) for p in places] == [(1, *side[1:]) for side in sides]
    assert layers.shape == (1, 4)
    for weights in (*places, layers):
        torch.testing.assert_close(weights.flatten(1).sum(1), torch.ones(1))


def test_states_know_of_shallower_and_of_deeper_layers():
    head = small().eval()
    maps = [m.detach().requires_grad_() for m in head.maps(torch.rand(1, 3, 32, 32))]
    forward, backward = head.states(maps)[0, 1].chunk(2)
    for half, seen in (
        (forward, [True, True, False, False]),
        (backward, [False, True, True, True]),
    ):
        slopes = torch.autograd.grad(half.sum(), maps, retain_graph=True, allow_unused=True)
        assert [s is not None and bool(s.abs().sum() > 0) for s in slopes] == seen


@pytest.mark.parametrize("level", ["position_attention", "layer_attention"])
def test_each_level_is_a_mean_without_its_attention(level):
    images = torch.rand(2, 3, 32, 32)
    head = stirred(small(**{level: False})).eval()
    places, layers = head.attention(images)
    even = [bool((w - w.flatten(1).mean()).abs().max() < 1e-6) for w in (*places, layers)]
    assert even == ([True] * 4 + [False] if level == "position_attention" else [False] * 4 + [True])
    vectors = [one(m) for one, m in zip(head.layer_vectors, head.maps(images), strict=True)]
    if level == "position_attention":
        for one, m, vector in zip(head.layer_vectors, head.maps(images), vectors, strict=True):
            expected = one.project(one.standardise(m).mean((2, 3)))
            torch.testing.assert_close(vector, expected)
    else:
        states = head.recurrent(torch.stack(vectors, 1))[0].mean(1)
        expected = head.branches["category"](states)
        torch.testing.assert_close(head.embed(images)[:, :8], expected)


def test_its_own_network_knows_nothing_of_exposure():
    head = small().eval()
    images = torch.rand(2, 3, 32, 32) / 2
    torch.testing.assert_close(head(images + 0.3), head(images), atol=1e-4, rtol=0)


def test_maps_are_those_at_the_end_of_each_stage():
    encoder = BackboneEncoder("resnet18", 32, 0.0625).eval()
    x = torch.randn(2, 3, 32, 32)
    found = layer_maps(encoder, x, 3)
    network = encoder.network
    expected = network.layer2(network.layer1(network.act1(network.bn1(network.conv1(x)))))
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[2], encoder.last_map(x))
    motion = BackboneEncoder("facecycle", 32, 0.0625).eval()
    sides = [16, 8, 4, 2]
    assert [m.shape[-1] for m in layer_maps(motion, x, 4)] == sides
    torch.testing.assert_close(layer_maps(motion, x, 4)[-1], motion.last_map(x))


def test_blocks_of_vits_lie_evenly_apart():
    encoder = BackboneEncoder("vit_tiny", 32).eval()
    x = torch.randn(1, 3, 32, 32)
    blocks = []
    for number in (3, 7, 11):
        encoder.network.blocks[number].register_forward_hook(
            lambda module, args, out: blocks.append(out)
        )
    found = layer_maps(encoder, x, 3)
    for block, m in zip(blocks, found, strict=True):
        torch.testing.assert_close(m, block[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))


def test_concordance_is_lins():
    rng = np.random.default_rng(0)
    true = rng.uniform(-1, 1, 40)
    shown = 0.5 * true + rng.normal(0, 0.2, 40) + 0.1
    found = 1 - ConcordanceLoss()(torch.tensor(shown), torch.tensor(true)).item()
    n = len(true)
    mean_s, mean_t = sum(shown) / n, sum(true) / n
    cov = sum((s - mean_s) * (t - mean_t) for s, t in zip(shown, true, strict=True)) / n
    var = sum((s - mean_s) ** 2 + (t - mean_t) ** 2 for s, t in zip(shown, true, strict=True)) / n
    assert found == pytest.approx(2 * cov / (var + (mean_s - mean_t) ** 2), rel=1e-5)


def test_concordance_is_of_the_batch_of_all_devices(monkeypatch):
    torch.manual_seed(0)
    shown, true = torch.randn(10), torch.randn(10)
    whole = ConcordanceLoss()(shown, true)
    others = torch.stack((shown[6:], true[6:]), 1)
    monkeypatch.setattr(
        "linear_probe.heads.two_level_attention.gathered", lambda rows: torch.cat((rows, others))
    )
    torch.testing.assert_close(ConcordanceLoss()(shown[:6], true[:6]), whole)


def test_concordance_ends_and_slopes():
    true, loss = torch.linspace(-1, 1, 9), ConcordanceLoss()
    assert loss(true, true).item() == pytest.approx(0, abs=1e-6)
    assert loss(-true, true).item() == pytest.approx(2, abs=1e-6)
    assert loss(true + 5, true).item() > 0.9  # correlation would be content
    for shown, of in ((torch.zeros(9), true), (torch.zeros(1), torch.zeros(1))):
        shown.requires_grad_()
        found = loss(shown, of)
        assert found.item() == 1
        (slope,) = torch.autograd.grad(found, shown)
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("value_loss", ["ccc", "mse"])
def test_categories_come_first_and_values_join_them(value_loss):
    head = small(value_loss=value_loss, first_share=0.4, category_weight=0.5, dropout=0.0).eval()
    images = torch.rand(6, 3, 32, 32)
    labels = torch.cat((torch.arange(6.0)[:, None], torch.rand(6, 2)), 1)
    labels[0, 0] = -1
    shown = head(images)
    expected = {"expression": 0.5 * F.cross_entropy(shown[1:, :7], labels[1:, 0].long())}
    for place, name in ((1, "valence"), (2, "arousal")):
        message, true = shown[:, 6 + place], labels[:, place]
        mse = (message - true).square().mean()
        expected[name] = ConcordanceLoss()(message, true) if value_loss == "ccc" else mse
    for done, share in ((0.0, 0.0), (0.39, 0.0), (0.4, 1.0), (0.99, 1.0), (0.1, 0.0)):
        head.begin_step(done)
        found = head.losses(images, labels)
        assert list(found) == ["expression", "valence", "arousal"]
        torch.testing.assert_close(found["expression"], expected["expression"])
        for name in ("valence", "arousal"):
            torch.testing.assert_close(found[name], share * expected[name])


def test_each_weight_takes_part_in_each_step():
    """Or several processes would wait for it."""
    images, labels = (
        torch.rand(4, 3, 32, 32),
        torch.cat((torch.full((4, 1), -1), torch.rand(4, 2)), 1),
    )
    for settings in ({}, {"two_stages": False, "category_weight": 0.0}):
        for done in (0.0, 0.9):
            head = small(**settings).train()
            head.begin_step(done)
            terms = head.losses(images, labels)
            assert torch.stack([*terms.values()]).isfinite().all()
            torch.stack([*terms.values()]).sum().backward()
            assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("two_stages", [True, False])
def test_values_rest_on_categories_with_two_stages_only(two_stages):
    head = small(two_stages=two_stages).eval()
    shown = head(torch.rand(3, 3, 32, 32))
    weight = head.branches["category"][0].weight
    (slope,) = torch.autograd.grad(shown[:, 7:].sum(), weight, allow_unused=True, retain_graph=True)
    assert (slope is not None and bool(slope.abs().sum() > 0)) == two_stages
    (slope,) = torch.autograd.grad(shown[:, :7].sum(), weight)
    assert slope.abs().sum() > 0


def test_outputs_are_in_the_goals_order():
    goal = Goal({"valence": 1, "expression": 3, "arousal": 1, "gender": 2})
    head = small(goal).eval()
    features = head.embed(torch.rand(2, 3, 32, 32))
    found = goal.parts(head.classify(features))
    category, dimensional = features.split(8, 1)
    classes = head.classifier["category"](category)
    values = head.classifier["dimensional"](dimensional)
    torch.testing.assert_close(found["expression"], classes[:, :3])
    torch.testing.assert_close(found["gender"], classes[:, 3:])
    torch.testing.assert_close(found["valence"], values[:, :1])
    torch.testing.assert_close(found["arousal"], values[:, 1:])


def test_a_goal_of_classes_is_learnt_by_the_category_branch_and_taken_over():
    first = small(Categories(5)).eval()
    images = torch.rand(4, 3, 32, 32)
    assert first(images).shape == (4, 5)
    first.begin_step(0.0)
    expected = {"cross_entropy": F.cross_entropy(first(images), torch.arange(4))}
    torch.testing.assert_close(first.losses(images, torch.arange(4)), expected)
    assert set(first.branches) == {"category"}
    second = small()
    with torch.no_grad():
        for p in first.parameters():
            p.add_(0.1)
    second.take_over(first)
    for name, value in first.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(second.state_dict()[name], value), name


def test_64_pictures_are_learnt_by_heart():
    faces = RenderedFaces(64, 64, "all", size=32)
    images, labels = faces.render_batch(range(64)), labels_of(faces)
    head = small(width=0.125, dim=32, dropout=0.0).train()
    optimizer = torch.optim.AdamW(head.parameters(), 5e-3)
    steps = 60
    for step in range(steps):
        head.begin_step(step / steps)
        optimizer.zero_grad()
        terms = head.losses(head.prepare(images), labels)
        torch.stack([*terms.values()]).sum().backward()
        optimizer.step()
    shown = head.eval()(head.prepare(images)).detach()
    assert (shown[:, :7].argmax(1) == labels[:, 0]).all()
    assert (shown[:, 7:] - labels[:, 1:]).square().mean().sqrt() < 0.05


def test_an_encoder_without_maps_is_refused():
    class Codes(FaceEncoder):
        encoder_name = "codes"

        def features(self, x, spaces):
            return {"code": x.flatten(1)}

    with pytest.raises(InputError, match="maps of several layers are needed, and codes gives none"):
        small(encoder=Codes(32, {}))


def head_words(out, *more):
    words = ["head", "-c", str(ROOT / "configs/head/two_level_attention.yaml"), "--out", str(out)]
    for name, value in SMALL.items():
        words += [f"--head.init_args.{name}", str(value)]
    words += ["--training.epochs", "2", "--bootstrap", "20", "--accelerator", "cpu"]
    return [*words, *more]


def test_it_runs_on_affectnets_layout_on_an_encoder(tmp_path):
    images = tmp_path / "data" / "affectnet"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    header = ["subDirectory_filePath", "expression", "valence", "arousal"]
    for table, count in (("training.csv", 120), ("validation.csv", 24)):
        rows = [list(header)]
        for i in range(count):
            key, values = f"{table[:3]}/{i}.png", rng.uniform(-1, 1, 2).round(3)
            put_picture(images / key, level=(i * 2) % 250)
            rows.append([key, i % 7, *values])
        with (images / table).open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
    encoder = save_encoder(BackboneEncoder("resnet18", 32, 0.0625), tmp_path / "e", {})
    more = ["--data", str(tmp_path / "data"), "--encoder", str(encoder)]
    out = tmp_path / "out"
    assert main(head_words(out, *more, "--training.batch_size", "8")) == 0
    records = read_records(out / RECORDS_FILE)
    metrics = ["CCC valence", "RMSE valence", "CCC arousal", "RMSE arousal"]
    assert [r.metric for r in records] == metrics
    assert {(r.task, r.probe) for r in records} == {("affect", "two_level_attention")}
    assert {r.data_set for r in records} == {"AffectNet"}
    assert {r.n for r in records} == {24}
    assert {r.feature_space for r in records} == {"maps of 4 layers"}


def test_a_larger_set_has_all_faces_of_a_smaller_one():
    usual, odd, large = (rendered_faces(f"rendered{c}", 3) for c in ("", ":1403", ":2000"))
    keys = [{record.key for record in faces.records} for faces in (usual, odd, large) if faces]
    assert [len(k) for k in keys] == [1400, 1403, 2000]
    assert keys[0] < keys[2]
    assert keys[1] < keys[2]
    # Galleries of a report find them too.
    more = sorted(keys[2] - keys[0])[:1]
    assert Thumbnails("rendered:2000").of(more, more, seed=3) != [None]
    assert Thumbnails("rendered").of(more, more, seed=3) == [None]
    assert rendered_faces("/data/rendered", 0) is None
    for wrong in ("rendered:", "rendered:0", "rendered:many", "rendered:-5"):
        with pytest.raises(InputError, match=f"data: '{wrong}'; give rendered, or rendered:COUNT"):
            rendered_faces(wrong, 0)
