"""Ways to make a trained network smaller: fewer weights, fewer values of weights, fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import PlainValidator
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn.utils import prune

from ssl_faces import InputError
from ssl_faces.common.arguments import whole
from ssl_faces.common.ranges import NonNegativeInt, UnitBelow1, check_fields
from ssl_faces.encoders.onnx_files import Quantised

MOST_CLUSTERED = 50_000
"""Weights of a layer that k-means looks at; the others go to the nearest of its centres."""

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


@dataclass(frozen=True)
class Compression:
    """A way to compress, or several, applied in the order of the attributes.

    Attributes:
        sparsity: share of the weights that are set to 0, the smallest of the whole network; 0 is
            no pruning.
        epochs: of training after it, with those weights held at 0; the sparsity is reached on a
            cubic schedule (Zhu & Gupta, 2017), a step an epoch. 0: all at once, without training.
        clusters: different values that the weights of each layer may have (k-means); None: any.
        quantise: 8 bits for each weight and activation: `static`, with ranges of activations seen
            on training pictures, or `dynamic`, with each picture's own; None: 32 bits.
    """

    sparsity: UnitBelow1 = 0.0
    epochs: NonNegativeInt = 0
    clusters: Annotated[int, PlainValidator(whole(2, 65_536))] | None = None
    quantise: Quantised | None = None

    def __post_init__(self) -> None:
        check_fields(self, "compressions")
        if self.epochs and not self.sparsity:
            raise InputError(f"compressions.epochs: {self.epochs}; give a sparsity with them")
        if not (self.sparsity or self.clusters or self.quantise):
            raise InputError(
                "compressions: one that changes nothing; the network as it is stands "
                "in the table anyway"
            )

    @property
    def name(self) -> str:
        """Its name in tables, such as `90 % pruned, 16 values, 8 bits`."""
        parts = []
        if self.sparsity:
            several = "s" if self.epochs > 1 else ""
            tuned = f" over {self.epochs} epoch{several}" if self.epochs else ""
            parts.append(f"{100 * self.sparsity:g} % pruned{tuned}")
        if self.clusters:
            parts.append(f"{self.clusters} values")
        if self.quantise:
            parts.append("8 bits" if self.quantise == "static" else "8 bits, dynamic")
        return ", ".join(parts)


def weights_that_run(network: nn.Module, example: Tensor) -> tuple[dict[str, Layer], list[str]]:
    """The layers whose `weight` is pruned and shared, and the names of unchanged weights.

    Layers are the convolutions and linear layers that a forward pass of `example` images calls, by
    name: what a network only trains with, such as MAFER's teacher, is no part of the file either.
    What stays are other weights of two dimensions and more of modules called, such as attention's.
    """
    names = {module: name for name, module in network.named_modules()}
    called: dict[str, nn.Module] = {}

    def note(module: nn.Module, inputs: object) -> None:
        called[names[module]] = module

    handles = [module.register_forward_pre_hook(note) for module in names]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    layers = {name: module for name, module in called.items() if isinstance(module, Layer)}
    if not layers:
        raise InputError(
            f"{type(network).__name__}: calls no convolution or linear layer, so that there is "
            "nothing to prune or to share; leave out sparsity and clusters"
        )
    others = [
        f"{name}.{parameter}".lstrip(".")
        for name, module in called.items()
        if name not in layers
        for parameter, value in module.named_parameters(recurse=False)
        if value.ndim > 1
    ]
    return layers, others


def pruned(
    network: nn.Module,
    example: Tensor,
    compression: Compression,
    train: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """A copy whose smallest weights, over all layers together, are 0.

    Args:
        network, example: as for `weights_that_run`.
        train: trains the network for the epoch of this number, where the compression has some.
    """
    copy = deepcopy(network)
    layers, _ = weights_that_run(copy, example)
    parameters = [(layer, "weight") for layer in layers.values()]
    total = sum(layer.weight.numel() for layer in layers.values())
    steps = max(1, compression.epochs)
    done = 0
    for step in range(1, steps + 1):
        wanted = round(total * compression.sparsity * (1 - (1 - step / steps) ** 3))
        prune.global_unstructured(
            parameters, pruning_method=prune.L1Unstructured, amount=wanted - done
        )
        done = wanted
        if compression.epochs and train is not None:
            train(copy, step - 1)
    for layer, name in parameters:
        prune.remove(layer, name)
    return copy.eval()


def shared(network: nn.Module, example: Tensor, count: int, seed: int = 0) -> nn.Module:
    """A copy in which the weights of each layer have at most `count` different values.

    Each weight is replaced by the nearest centre of a one-dimensional k-means of its layer. Weights
    that are 0 stay 0, as one of these values, so that a pruned network stays pruned. A layer of
    fewer values keeps them.

    Args:
        network, example: as for `weights_that_run`.
        seed: of which weights k-means looks at, where there are more than `MOST_CLUSTERED`.
    """
    copy = deepcopy(network)
    for layer in weights_that_run(copy, example)[0].values():
        weight = layer.weight.data
        values = weight.flatten().cpu().numpy()
        kept = np.flatnonzero(values)
        centres = count - (len(kept) < len(values))
        if len(np.unique(values[kept])) <= centres:
            continue
        looked_at = values[kept]
        if len(looked_at) > MOST_CLUSTERED:
            drawn = np.random.default_rng(seed).choice(len(looked_at), MOST_CLUSTERED, False)
            looked_at = looked_at[drawn]
        means = _centres(looked_at, centres, seed)
        values[kept] = means[np.searchsorted((means[1:] + means[:-1]) / 2, values[kept])]
        weight.copy_(torch.from_numpy(values).view_as(weight))
    return copy


def _centres(values: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted float32 [count], by k-means that starts from centres spread evenly over the range:
    so large weights, which matter most, are not rounded to the many small ones."""
    start = np.linspace(values.min(), values.max(), count)[:, None]
    means = KMeans(count, init=start, n_init=1, random_state=seed).fit(values[:, None])
    return np.sort(means.cluster_centers_[:, 0].astype(np.float32))
