"""The stack of spatial and temporal graph convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head
from ssl_faces import InputError

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
