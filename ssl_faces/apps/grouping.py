"""Groups of codes by their similarity: average linkage, cut at a distance."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor
from torch.nn.functional import normalize


def group_tree(codes: Tensor, mean: Tensor) -> np.ndarray:
    """The tree of merged groups of N codes [N, D] less a mean [D], as of scipy's `linkage`.

    Two groups are as far apart as the mean cosine distance (0 to 2) between their codes. It takes
    about 12 N² bytes.
    """
    values = normalize(codes.double() - mean, dim=1).float()
    distances = (1 - values @ values.T).clamp_(min=0).numpy()
    tree: np.ndarray = linkage(squareform(distances, checks=False), "average")
    return tree


def cut(tree: np.ndarray, distance: float) -> np.ndarray:
    """The group of each code, int [N] from 0, the largest first: groups up to this distance apart
    are merged."""
    groups = fcluster(tree, distance, "distance") - 1
    order = np.argsort(-np.bincount(groups), kind="stable")
    number: np.ndarray = np.argsort(order)[groups]
    return number
