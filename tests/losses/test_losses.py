"""Losses against naive loops, and their values in simple cases."""

import numpy as np
import pytest
import torch
from torch import nn

from ssl_faces.losses.correlation import CrossCorrelationLoss
from ssl_faces.losses.fold import FoldLoss
from ssl_faces.losses.gram import GramLoss, gram_matrix
from ssl_faces.losses.margin import MarginLoss
from ssl_faces.losses.orthogonality import OrthogonalityLoss
from ssl_faces.losses.symmetry import SymmetryLoss
from tests.support.by_heart import minimise


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Correlation and orthogonality of two codes ---------------------------------------------------


@pytest.mark.parametrize(("count", "first", "second"), [(12, 5, 7), (6, 9, 8)])
def test_correlation_equals_numpys(count, first, second):
    a = draw(count, first)
    b = a @ draw(first, second, seed=1) + draw(count, second, seed=2) + 3
    squares = [
        np.corrcoef(a[:, i].numpy(), b[:, j].numpy())[0, 1] ** 2
        for i in range(first)
        for j in range(second)
    ]
    assert CrossCorrelationLoss()(a, b).item() == pytest.approx(np.mean(squares), rel=1e-4)


def test_a_constant_code_has_no_correlation_and_a_finite_gradient():
    constant = nn.Parameter(torch.ones(8, 2))
    loss = CrossCorrelationLoss()(draw(8, 3), constant)
    loss.backward()
    assert loss.item() == 0
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()


def test_orthogonality_is_pcls_mean_over_column_products_rescaled():
    first, second = draw(6, 4), draw(6, 3, seed=1) + 5
    a, b = first - first.mean(0), second - second.mean(0)
    total = 0.0
    for i in range(4):
        for j in range(3):
            product = sum(a[n, i] / a[n].norm() * b[n, j] / b[n].norm() for n in range(6))
            total += float(product) ** 2
    assert OrthogonalityLoss()(first, second).item() == pytest.approx(total / 36, abs=1e-5)
    # 1 for features that vary in one common direction.
    line = torch.tensor([1.0, -1, 1, -1])[:, None]
    same = OrthogonalityLoss()(line * torch.tensor([[3.0, 4]]), line * torch.tensor([[0, 1.0, 0]]))
    assert same.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "loss", [CrossCorrelationLoss(), OrthogonalityLoss()], ids=["corr", "orth"]
)
def test_training_removes_what_two_codes_share(loss):
    data, first = draw(64, 6), draw(6, 3, seed=1)
    second = (first + 0.1 * draw(6, 3, seed=2)).requires_grad_()
    first.requires_grad_()
    losses = minimise([first, second], lambda: loss(data @ first, data @ second), 100, 0.05)
    assert losses[-1] < 0.2 * losses[0]


# Fold -------------------------------------------------------------------------------------------


def naive_fold(flow, least):
    count, _, height, width = flow.shape
    step_x, step_y = 2 / (width - 1), 2 / (height - 1)
    shortfalls = []
    for b in range(count):
        for y in range(height):
            for x in range(width):
                if x + 1 < width:
                    left = -1 + x * step_x + float(flow[b, 0, y, x])
                    right = -1 + (x + 1) * step_x + float(flow[b, 0, y, x + 1])
                    shortfalls.append(max(0.0, least - (right - left) / step_x))
                if y + 1 < height:
                    above = -1 + y * step_y + float(flow[b, 1, y, x])
                    below = -1 + (y + 1) * step_y + float(flow[b, 1, y + 1, x])
                    shortfalls.append(max(0.0, least - (below - above) / step_y))
    return sum(shortfalls) / len(shortfalls)


@pytest.mark.parametrize("least", [0.0, 0.25, 1.0])
def test_fold_equals_a_loop(least):
    flow = 0.4 * draw(3, 2, 5, 7)
    assert FoldLoss(least)(flow).item() == pytest.approx(naive_fold(flow, least), rel=1e-5)
    assert FoldLoss()(flow.bfloat16()).dtype == torch.float32


def test_only_folds_cost():
    """Not translations and stretches; a mirror image has distances of -1 in one of two axes."""
    line = torch.linspace(-1, 1, 16)
    flow = torch.zeros(1, 2, 16, 16)
    for offset in (torch.full((16,), 0.7), 0.5 * line, -0.7 * line):
        flow[0, 0], flow[0, 1] = offset, offset[:, None]
        assert FoldLoss()(flow).item() == 0
    flow[0, 0], flow[0, 1] = -2 * line, 0
    assert FoldLoss(0.25)(flow).item() == pytest.approx(1.25 / 2, rel=1e-5)


# Gram matrices ----------------------------------------------------------------------------------


def naive_gram(features):
    x = features.double()
    return torch.einsum("bihw,bjhw->bij", x, x) / (x.shape[-2] * x.shape[-1])


def naive_gram_loss(prediction, target):
    """Rendering r of image b is at r·B + b of the prediction."""
    total = torch.zeros((), dtype=torch.float64)
    for layer, features in prediction.items():
        wanted, grams = naive_gram(target[layer]), naive_gram(features)
        squares = [(grams[i] - wanted[i % len(wanted)]) ** 2 for i in range(len(grams))]
        total = total + torch.stack(squares).mean()
    return total


def features_of(images, seed):
    return {
        "relu2_1": draw(images, 2, 4, 3, seed=seed),
        "relu3_1": draw(images, 3, 2, 2, seed=seed),
    }


def test_gram_matrices_equal_a_loop_in_float32():
    features = features_of(2, 0)["relu2_1"]
    torch.testing.assert_close(gram_matrix(features).double(), naive_gram(features))
    assert gram_matrix(features.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("renderings", [1, 3])
def test_gram_loss_and_its_gradient_equal_a_loop(renderings):
    """The target has no gradient."""
    target = {k: v.requires_grad_() for k, v in features_of(2, 0).items()}
    ours = {k: v.requires_grad_() for k, v in features_of(2 * renderings, 1).items()}
    theirs = {k: v.detach().double().requires_grad_() for k, v in ours.items()}
    loss = GramLoss()(ours, target)
    expected = naive_gram_loss(theirs, {k: v.detach() for k, v in target.items()})
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    for layer in ours:
        assert ours[layer].grad is not None
        torch.testing.assert_close(ours[layer].grad.double(), theirs[layer].grad)
        assert target[layer].grad is None


# Margin and symmetry ----------------------------------------------------------------------------


def test_margin_averages_over_pixels_without_clipping():
    """Distances 0, 0.05, 0.3 and 1 with a margin of 0.1: −0.1, −0.05, 0.2 and 0.9."""
    mean_face = torch.tensor([0.0, 0.05, -0.3, 1.0]).view(1, 1, 2, 2)
    loss = MarginLoss()(mean_face, torch.zeros(3, 1, 2, 2))
    assert loss.item() == pytest.approx((-0.1 - 0.05 + 0.2 + 0.9) / 4, abs=1e-7)


@pytest.mark.parametrize("width", [2, 3, 8, 9, 64])
def test_symmetry_equals_a_loop_over_columns(width):
    x = draw(2, 3, 5, width)
    columns = [(x[..., i] - x[..., width - 1 - i]).abs() for i in range(width // 2)]
    torch.testing.assert_close(SymmetryLoss()(x), torch.stack(columns).mean())
