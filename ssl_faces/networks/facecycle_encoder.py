"""FaceCycle's encoder as users get it: motion and identity encoder behind one contract."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor

from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.networks.motion_encoder import Design, MotionEncoder


class FaceCycleEncoder(FaceEncoder):
    """Expression and (after stage 2) identity features of FaceCycle (ICCV 2021).

    Feature spaces: `expression`, the motion encoder's code; `expression_map`, its last conv map,
    flattened channel-first; `identity` and `identity_map` likewise.

    Args:
        width: of both encoders; 64 in the paper.
        code_dim: length of each code.
        code_size: side of the pictures that codes are of: those it was trained on.
        map_size: side of the pictures that the maps are of, from `code_size` on; None is
            `code_size`. The paper trains at 64 and probes the map of 100x100 pictures.
        identity: whether the identity encoder is there.
        linear_std, design: see `MotionEncoder`.

    Raises:
        ValueError: `map_size` below `code_size`.
    """

    encoder_name = "facecycle"

    def __init__(
        self,
        width: int = 64,
        code_dim: int = 256,
        code_size: int = 64,
        map_size: int | None = None,
        identity: bool = False,
        linear_std: float = 0.01,
        design: Design = "paper",
    ) -> None:
        map_size = map_size or code_size
        if map_size < code_size:
            raise ValueError(f"map_size {map_size} is below code_size {code_size}")
        super().__init__(
            map_size,
            {
                "width": width,
                "code_dim": code_dim,
                "code_size": code_size,
                "map_size": map_size,
                "identity": identity,
                "linear_std": linear_std,
                "design": design,
            },
        )
        self.code_size = code_size
        settings = (width, code_dim, code_size, linear_std, design)
        self.motion = MotionEncoder(*settings)
        self.identity = MotionEncoder(*settings) if identity else None
        map_dim = 2 * width * math.ceil(map_size / 16) ** 2
        for name in self._encoders():
            self.feature_dims |= {name: code_dim, f"{name}_map": map_dim}

    def _encoders(self) -> dict[str, MotionEncoder]:
        encoders = {"expression": self.motion, "identity": self.identity}
        return {name: encoder for name, encoder in encoders.items() if encoder is not None}

    def features(self, x: Tensor, spaces: Collection[str]) -> dict[str, Tensor]:
        small = x
        if x.shape[-1] != self.code_size:
            size = (self.code_size, self.code_size)
            small = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        features: dict[str, Tensor] = {}
        for name, encoder in self._encoders().items():
            map_name = f"{name}_map"
            conv_map = None
            if name in spaces:
                conv_map, features[name] = encoder(small)
            if map_name in spaces:
                if conv_map is None or small is not x:
                    conv_map = encoder.convs(x)
                features[map_name] = conv_map.flatten(1)
        return features
