"""Which landmarks are neighbours, and the matrices that a graph convolution sums by."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import torch
from scipy.spatial import Delaunay, QhullError
from torch import Tensor

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
        found = {*_BRIDGES, *_BRIDGES_MOUTH}
        for first, last, closed in _LINES:
            found |= {*pairwise(range(first, last + 1))}
            if closed:
                found.add((first, last))
    else:
        try:
            triangles = Delaunay(points[:, :2]).simplices
        except (QhullError, ValueError) as error:
            raise InputError(
                f"landmarks: {count} points that span no triangle; give three or more, not in a row"
            ) from error
        found = {pair for row in triangles.tolist() for pair in combinations(row, 2)}
    return sorted({(min(a, b), max(a, b)) for a, b in found})


def adjacency(edges: list[tuple[int, int]], points: np.ndarray) -> Tensor:
    """Matrices [3, V, V] of the partitions of a neighbourhood: each node itself; neighbours nearer
    to the face's middle; those farther out ("spatial configuration", Yan et al.). Column w of
    their sum has the shares of the nodes that node w hears, 1 together.

    Args:
        points: float [V, 3], the mean face.
    """
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
