"""A soft binary tree: which weak predictors of an ensemble count for a picture, and how much."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_faces import InputError

MAX_DEPTH = 8


class TreeGate(nn.Module):
    """Leaf probabilities of a complete binary tree whose inner nodes go left with a sigmoid's
    probability of what they are given.

    A leaf's probability is the product of the choices on the way to it, so that those of all leaves
    sum to 1 (Arnaud, Dapogny, Bailly: THIN, 2020). Nodes are numbered level by level from the root,
    0, leaves from left to right; node n has the children 2n + 1 and 2n + 2.

    Args:
        inputs: length of what is routed by.
        depth: choices on the way to a leaf, 1 to `MAX_DEPTH`; there are 2^depth leaves.

    Raises:
        InputError: another depth.
    """

    def __init__(self, inputs: int, depth: int) -> None:
        super().__init__()
        if not 1 <= depth <= MAX_DEPTH:
            raise InputError(f"head.depth: {depth}; give 1 to {MAX_DEPTH}")
        self.depth, self.leaves = depth, 2**depth
        # Normalised as the authors' are: no choice starts out certain, or the same for all.
        self.nodes = nn.Sequential(
            nn.Linear(inputs, self.leaves - 1), nn.BatchNorm1d(self.leaves - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, leaves], float32, of [B, inputs]."""
        left = torch.sigmoid(self.nodes(x).float())
        found = left.new_ones(len(x), 1)
        for level in range(self.depth):
            here = left[:, 2**level - 1 : 2 ** (level + 1) - 1]
            found = torch.stack((found * here, found * (1 - here)), 2).flatten(1)
        return found
