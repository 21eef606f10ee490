"""InfoNCE with a face's own negatives: a loop over views, and SimCLR's loss without them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import NTXentLoss

from ssl_faces.losses.own_negatives import OwnNegativesLoss
from tests.support.processes import results_of_two


def naive(views, negatives, temperature, others, people, valid):
    """views [2, b, D], negatives [b, m, D]."""

    def similar(a, b):
        return math.exp((a @ b / (a.norm() * b.norm())).item() / temperature)

    losses = []
    for v in range(2):
        for i in range(views.shape[1]):
            anchor = views[v, i]
            near = similar(anchor, views[1 - v, i])
            far = sum(similar(anchor, n) for n, v in zip(negatives[i], valid[i], strict=True) if v)
            if others:
                for j, person in enumerate(people):
                    if j != i and (person < 0 or person != people[i]):
                        far += sum(similar(anchor, views[w, j]) for w in range(2))
            losses.append(-math.log(near / (near + far)))
    return sum(losses) / len(losses)


@settings(max_examples=25, deadline=None)
@given(
    faces=st.integers(1, 4),
    own=st.integers(0, 3),
    others=st.booleans(),
    temperature=st.floats(0.2, 2.0),
    seed=st.integers(0, 99),
)
def test_as_a_loop_over_views(faces, own, others, temperature, seed):
    draw = torch.Generator().manual_seed(seed)
    views = torch.randn(2, faces, 5, generator=draw, dtype=torch.float64)
    negatives = torch.randn(faces, own, 5, generator=draw, dtype=torch.float64)
    people = torch.randint(-1, 2, (faces,), generator=draw)
    valid = torch.rand(faces, own, generator=draw) < 0.7
    loss = OwnNegativesLoss(temperature, others)(*views, negatives, people, valid)
    lists = (people.tolist(), valid.tolist())
    expected = naive(views, negatives, temperature, others, *lists)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_without_own_negatives_it_is_simclrs():
    first, second = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    ours = OwnNegativesLoss(0.1, True)(first, second, first.new_zeros(6, 0, 8))
    torch.testing.assert_close(ours, NTXentLoss(0.1)(first, second))


PEOPLE = torch.tensor([5, -1, 5, 7])  # one of them on both devices


def drawn():
    """Views [2, 4, 5] and negatives [4, 2, 5] of four faces."""
    draw = torch.Generator().manual_seed(3)
    return torch.randn(2, 4, 5, generator=draw), torch.randn(4, 2, 5, generator=draw)


def loss_of(rank):
    views, negatives = drawn()
    mine = slice(2 * rank, 2 * rank + 2)
    views = views[:, mine].requires_grad_()
    loss = OwnNegativesLoss(0.5, True)(views[0], views[1], negatives[mine], PEOPLE[mine])
    loss.backward()
    assert views.grad is not None
    return loss.detach(), views.grad


def test_two_processes_have_each_others_faces_for_negatives(tmp_path):
    (loss0, grad0), (loss1, grad1) = results_of_two(loss_of, tmp_path)
    views, negatives = drawn()
    views.requires_grad_()
    loss = OwnNegativesLoss(0.5, True)(views[0], views[1], negatives, PEOPLE)
    loss.backward()
    assert (loss0 + loss1).item() / 2 == pytest.approx(loss.item(), abs=1e-5)
    # Gradients are those of the sum of both losses; training averages them.
    torch.testing.assert_close(torch.cat((grad0, grad1), 1) / 2, views.grad)
