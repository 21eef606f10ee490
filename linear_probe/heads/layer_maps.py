"""Maps of several layers of an encoder, from the shallow ones to the deep ones."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from ssl_faces import FaceEncoder, InputError
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.networks.motion_encoder import MotionEncoder

T = TypeVar("T")


def layer_maps(encoder: FaceEncoder, x: Tensor, count: int) -> list[Tensor]:
    """The maps [B, C, h, w] of `count` layers, each with its own C, h and w, shallow ones first.

    Of networks whose maps get smaller, those at the end of the last `count` stages, a stage being
    all layers of one side; of ViTs, the patch tokens in their places after evenly spaced blocks,
    the last one among them. Of FaceCycle, its expression encoder's.

    Args:
        x: normalised images [B, 3, input_size, input_size].

    Raises:
        InputError: an encoder of another kind, or with fewer layers.
    """
    network: Any = None
    if isinstance(encoder, FaceCycleEncoder):
        network = encoder.motion
    elif isinstance(encoder, BackboneEncoder):
        network = encoder.network
    if isinstance(network, MotionEncoder):
        return _last(_stages(network, x), count)
    if not hasattr(network, "forward_intermediates"):
        name = encoder.config.get("name", encoder.encoder_name)
        raise InputError(
            f"encoder: maps of several layers are needed, and {name} gives none; give one of the "
            "encoders of `ssl-faces fit` by name"
        )
    taken = _layers([layer["reduction"] for layer in network.feature_info], count)
    return network.forward_intermediates(x, taken, intermediates_only=True)


def _stages(network: MotionEncoder, x: Tensor) -> list[Tensor]:
    """The last map of each side."""
    last_of: dict[int, Tensor] = {}
    for layer in network.convs:
        x = layer(x)
        last_of[x.shape[-1]] = x
    return list(last_of.values())


def _layers(reductions: list[int], count: int) -> list[int]:
    """Which of the layers, by how much smaller than the picture each is."""
    if len({*reductions}) > 1:
        last_of = {reduction: number for number, reduction in enumerate(reductions)}
        return _last(list(last_of.values()), count)
    n = len(reductions)
    return [(k + 1) * n // count - 1 for k in range(len(_last(reductions, count)))]


def _last(of: list[T], count: int) -> list[T]:
    if not 1 <= count <= len(of):
        raise InputError(f"head.layers: {count}; this encoder has 1 to {len(of)}")
    return of[-count:]
