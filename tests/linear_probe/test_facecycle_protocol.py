"""FaceCycle's protocols against torch's own layer, least squares and naive loops."""

from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from linear_probe.features.frozen import FeatureCache, Features, Pictures
from linear_probe.probes.verification import plain_similarities
from linear_probe.sources.baselines import PixelSource
from linear_probe.tasks.facecycle import (
    FaceCycleExpression,
    FaceCycleIdentity,
    FaceCyclePose,
    facecycle_tasks,
    train_linear_layer,
)
from ssl_faces import InputError
from ssl_faces.data.sets.discover import find_face_sets
from ssl_faces.rendered import RenderedFaces

# The package's name `facecycle` is the function.
module = import_module("linear_probe.tasks.facecycle")


def some(n=60, dim=5):
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(n) % 3
    features = torch.randn(n, dim, generator=generator)
    features[:, :3] += 0.8 * nn.functional.one_hot(targets, 3)
    return features, targets


def test_the_layer_is_torchs_by_a_loop(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 60)  # one batch: the order drops out, but for rounding
    features, targets = some()
    weight, bias = train_linear_layer(features[None].double().float(), targets, epochs=30, seed=3)
    layer = nn.Linear(5, 3)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        first = (torch.rand(5, 3, generator=generator) * 2 - 1) * 5**-0.5
        layer.weight.copy_(first.T)
        layer.bias.copy_((torch.rand(3, generator=generator) * 2 - 1) * 5**-0.5)
    optimiser = torch.optim.SGD(layer.parameters(), lr=30, momentum=0.9, weight_decay=1e-4)
    for epoch in range(30):
        # A tenth after each 80/300 of the epochs: 8.
        for group in optimiser.param_groups:
            group["lr"] = 30 * 0.1 ** (epoch // 8)
        loss = nn.functional.cross_entropy(layer(features), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(weight.T, layer.weight.detach(), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(bias, layer.bias.detach(), rtol=1e-2, atol=1e-2)


def test_each_view_is_drawn_as_often(monkeypatch):
    """Each view has its own feature, so that the gradient's first step counts the draws."""
    n = 20_000
    views = torch.zeros(4, n, 4)
    for view in range(4):
        views[view, :, view] = 1
    counted = torch.zeros(4)
    entropy = nn.functional.cross_entropy

    def counting(logits, targets):
        return entropy(logits, targets)

    original = torch.Tensor.__matmul__

    def seen(self, other):
        counted.add_(self.detach().sum(dim=0))
        return original(self, other)

    monkeypatch.setattr(module.F, "cross_entropy", counting)
    monkeypatch.setattr(torch.Tensor, "__matmul__", seen)
    train_linear_layer(views, torch.arange(n) % 2, epochs=1)
    shares = counted / n
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.015)


def test_overflow_is_told():
    features, targets = some()
    with pytest.raises(InputError, match="overflow"):
        train_linear_layer(features[None] * 1e30, targets, epochs=3)


def prepared(task, cache):
    pictures, source = Pictures(task.faces, task.indices), PixelSource(12)
    features = FeatureCache(cache)
    features.fill([source], pictures)
    return features.read(source, pictures, source.space), pictures


def test_expression_takes_views_and_looks_at_no_validation(small_data, tmp_path):
    kind = facecycle_tasks(20)["expression"]
    task = kind(find_face_sets(small_data, "all"), replicates=20)
    features, pictures = prepared(task, tmp_path)
    assert len(task.views()) == len({view.factor for view in task.views()}) == 8
    assert "one of 8 views of each image (crop of 0.8-1.2 of the area, jitter 0.05" in task.protocol
    assert "20 epochs (the paper: 300)" in task.protocol
    # Rows of the view in another order than the features' own.
    task.seen = [features, Features(features.values.flip(0) + 0.1, features.records[::-1].copy())]
    accuracy, _ = task.score(features, pictures)
    assert accuracy.hyperparameters == {}
    rows = task.rows(features, pictures)
    train = torch.from_numpy(rows.train)
    views = torch.stack([features.values[train], features.values[train] + 0.1])
    known = torch.from_numpy(task.labels[features.records[rows.train]])
    weight, bias = train_linear_layer(views, known, 20, 0)
    logits = features.values[torch.from_numpy(rows.test)] @ weight + bias
    targets = task.labels[features.records[rows.test]]
    assert accuracy.value == pytest.approx(100 * (logits.argmax(1).numpy() == targets).mean())
    assert task.tested() is None


def test_views_are_augmented_as_by_the_authors():
    settings = module.AUGMENTATION
    assert (settings.crop_scale, settings.crop_ratio) == ((0.8, 1.2), (3 / 4, 4 / 3))
    assert (settings.flip_share, settings.grey_share) == (0.5, 0.2)
    # Brighter to the right, and red.
    ramp = (
        torch.linspace(0.2, 0.8, 32).expand(400, 3, 32, 32)
        * torch.tensor([1, 0.5, 0.5])[:, None, None]
    )
    view = FaceCycleExpression([RenderedFaces(240, 60, "all", size=32)]).views()[0]
    views = view.apply(ramp, 1, list(range(400)))
    torch.testing.assert_close(views[7:8], view.apply(ramp[:1], 1, [7]))
    mirrored = views[..., :16].mean((1, 2, 3)) > views[..., 16:].mean((1, 2, 3))
    grey = (views[:, 0] - views[:, 1]).abs().amax((1, 2)) < 1e-5
    # 400 draws: five standard deviations.
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.125)
    assert grey.float().mean().item() == pytest.approx(0.2, abs=0.1)
    # Crops of less than the whole image have a smaller contrast.
    reach = views.amax((1, 2, 3)) - views.amin((1, 2, 3))
    assert 0.3 < (reach < 0.97 * reach.max()).float().mean() < 1


def test_pose_is_least_squares(small_data, tmp_path):
    task = FaceCyclePose(find_face_sets(small_data, "all"), replicates=20)
    features, pictures = prepared(task, tmp_path)
    values = features.values[:, :20]
    features = Features(values, features.records)
    found = [figure.value for figure in task.score(features, pictures)]
    rows = task.rows(features, pictures)
    x = np.concatenate([values.double().numpy(), np.ones((len(values), 1))], axis=1)
    weight, *_ = np.linalg.lstsq(
        x[rows.train], task.targets[features.records[rows.train]], rcond=None
    )
    errors = np.abs(x[rows.test] @ weight - task.targets[features.records[rows.test]])
    assert found == pytest.approx(errors.mean(axis=0).tolist(), rel=1e-4)


def test_identity_takes_nothing_off(small_data, tmp_path):
    task = FaceCycleIdentity(find_face_sets(small_data, "all"), replicates=20)
    features, pictures = prepared(task, tmp_path)
    accuracy, *_ = task.score(features, pictures)
    row = {task.faces.records[i].key: n for n, i in enumerate(features.records)}
    x = features.values.double().numpy()
    for keys, score in zip(accuracy.predictions.keys, accuracy.predictions.scores, strict=True):
        a, b = (x[row[key]] for key in keys.split("\t"))
        assert score[0] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    zero = plain_similarities(torch.zeros(2, 3), np.array([0]), np.array([1]))
    assert zero.tolist() == [0]
