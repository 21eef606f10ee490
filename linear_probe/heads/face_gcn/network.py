"""Which landmarks are neighbours, and the stack of spatial and temporal graph convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import torch
from scipy.spatial import Delaunay, QhullError
from torch import Tensor, nn

from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head
from ssl_faces import InputError

Topology = Literal["contours", "delaunay"]

# iBUG's 68 points: first, last, whether the line is closed.
_LINES = (
    *((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False)),
    *((36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True)),
)
_BRIDGES = ((21, 22), (27, 21), (27, 22), (30, 33), (27, 39), (27, 42), (33, 51), (0, 17), (16, 26))
_BRIDGES_MOUTH = ((48, 60), (54, 64), (57, 8), (36, 17), (45, 26))


def edges_of(topology: Topology, points: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of neighbours among V landmarks.

    Args:
        topology: `contours`, the lines of the 68 points and bridges between them; `delaunay`, the
            triangles of the mean face seen from the front.
        points: float [V, 3], the mean face; x to the right, y up or down, z towards the viewer.

    Raises:
        InputError: contours of other than 68 points, or points that span no triangle.
    """
    count = len(points)
    if topology == "contours":
        if count != 68:
            raise InputError(
                f"topology: contours are of 68 landmarks, and there are {count}; give delaunay"
            )
        edges = {*_BRIDGES, *_BRIDGES_MOUTH}
        for first, last, closed in _LINES:
            edges |= {*pairwise(range(first, last + 1))}
            if closed:
                edges.add((first, last))
    else:
        try:
            triangles = Delaunay(points[:, :2]).simplices
        except (QhullError, ValueError) as error:
            raise InputError(
                f"landmarks: {count} points that span no triangle; give three or more, not in a row"
            ) from error
        edges = {pair for row in triangles.tolist() for pair in combinations(row, 2)}
    return sorted({(min(a, b), max(a, b)) for a, b in edges})


def adjacency(edges: list[tuple[int, int]], points: np.ndarray) -> Tensor:
    """Matrices [3, V, V] of the partitions of a neighbourhood: each node itself; neighbours nearer
    to the face's middle; those farther out ("spatial configuration", Yan et al.). Column w of
    their sum has the shares of the nodes that node w hears, 1 together. `points`: float [V, 3],
    the mean face."""
    count = len(points)
    whole = np.eye(count)
    for a, b in edges:
        whole[a, b] = whole[b, a] = 1
    shares = whole / whole.sum(axis=0)
    far = np.linalg.norm(points - points.mean(axis=0), axis=1)
    nearer = far[:, None] < far[None, :]
    same = np.eye(count, dtype=bool)
    parts = [np.where(mask, shares, 0) for mask in (same, nearer & ~same, ~nearer & ~same)]
    return torch.from_numpy(np.stack(parts)).float()


WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Channels of the paper's units; time is halved where they double."""


class GraphConvolution(nn.Module):
    """Sum over partitions p of (W_p x) (A_p * M_p) for matrices A [P, V, V], M being learned edge
    weights."""

    def __init__(self, channels: int, out: int, matrices: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrices", matrices)
        self.matrices: Tensor
        self.edges = nn.Parameter(torch.ones_like(matrices))
        self.mix = nn.Conv2d(channels, out * len(matrices), 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, V] to [B, out, T, V]."""
        parts = self.mix(x).unflatten(1, (len(self.matrices), -1))
        return torch.einsum("bpctv,pvw->bctw", parts, self.matrices * self.edges)


class Unit(nn.Module):
    """A graph convolution, then one along time with an odd kernel, with a residual connection or
    not."""

    def __init__(
        self,
        channels: int,
        out: int,
        matrices: Tensor,
        kernel: int,
        stride: int,
        dropout: float,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.space = GraphConvolution(channels, out, matrices)
        self.time = nn.Sequential(
            *(nn.BatchNorm2d(out), nn.ReLU()),
            nn.Conv2d(out, out, (kernel, 1), (stride, 1), (kernel // 2, 0)),
            *(nn.BatchNorm2d(out), nn.Dropout(dropout)),
        )
        self.beside: nn.Module | None = None
        if residual:
            self.beside = nn.Identity()
            if channels != out or stride > 1:
                self.beside = nn.Sequential(
                    nn.Conv2d(channels, out, 1, (stride, 1)), nn.BatchNorm2d(out)
                )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.time(self.space(x))
        if self.beside is not None:
            y = y + self.beside(x)
        return y.relu()


class FaceGCN(Head):
    """Sequences of landmark graphs to classes. Images are node features here: float [B, C, T, V].

    Args:
        goal: see `Head`.
        channels: C, numbers of a node.
        matrices: [P, V, V], from `adjacency`.
        widths: channels of the units; time is halved where they grow.
        temporal_kernel: of the convolutions along time, in frames; odd.
        dropout: in each unit.

    Raises:
        InputError: a kernel that isn't odd.
    """

    name = "face_gcn"
    picture_size = 0

    def __init__(
        self,
        goal: Goal,
        channels: int,
        matrices: Tensor,
        widths: Sequence[int] = WIDTHS,
        temporal_kernel: int = 9,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(goal)
        if temporal_kernel < 1 or temporal_kernel % 2 == 0:
            raise InputError(f"head.temporal_kernel: {temporal_kernel}; give an odd number")
        self.temporal_kernel = temporal_kernel
        nodes = matrices.shape[-1]
        self.norm = nn.BatchNorm1d(channels * nodes)
        units = []
        before = channels
        for number, out in enumerate(widths):
            stride = 2 if number and out > before else 1
            units.append(
                Unit(before, out, matrices, temporal_kernel, stride, dropout, residual=number > 0)
            )
            before = out
        self.units = nn.Sequential(*units)
        self.classifier = nn.Linear(before, goal.outputs)

    def embed(self, images: Tensor) -> Tensor:
        batch, _, frames, nodes = images.shape
        x = images.permute(0, 3, 1, 2).reshape(batch, -1, frames)
        x = self.norm(x).view(batch, nodes, -1, frames).permute(0, 2, 3, 1)
        return self.units(x).mean((2, 3))

    def vary(self, images: Tensor) -> Tensor:
        return images

    def prepare(self, images: Tensor) -> Tensor:
        return images
