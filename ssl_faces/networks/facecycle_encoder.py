"""FaceCycle's encoder as users get it: motion and identity encoder behind one contract."""

from __future__ import annotations

from torch import Tensor

from ssl_faces.encoder import FaceEncoder
from ssl_faces.networks.motion_encoder import MotionEncoder


class FaceCycleEncoder(FaceEncoder):
    """Expression and (after stage 2) identity features of FaceCycle (ICCV 2021).

    Feature spaces: `expression`, the motion encoder's code; `expression_map`, its last conv map,
    flattened channel-first, which the paper's RAF-DB probe uses; `identity` and `identity_map`
    likewise.

    Args:
        width: of both encoders; 64 in the paper.
        code_dim: length of each code.
        input_size: side of the pictures.
        identity: whether the identity encoder is there.
        linear_std: of the linear layers' first weights, see `MotionEncoder`.
    """

    encoder_name = "facecycle"

    def __init__(
        self,
        width: int = 64,
        code_dim: int = 256,
        input_size: int = 64,
        identity: bool = False,
        linear_std: float = 0.01,
    ) -> None:
        super().__init__(
            input_size,
            {
                "width": width,
                "code_dim": code_dim,
                "input_size": input_size,
                "identity": identity,
                "linear_std": linear_std,
            },
        )
        self.motion = MotionEncoder(width, code_dim, input_size, linear_std)
        self.identity = MotionEncoder(width, code_dim, input_size, linear_std) if identity else None
        self.feature_dims = {"expression": code_dim, "expression_map": self.motion.map_dim}
        if self.identity is not None:
            self.feature_dims |= {"identity": code_dim, "identity_map": self.motion.map_dim}

    def features(self, x: Tensor) -> dict[str, Tensor]:
        conv_map, code = self.motion(x)
        found = {"expression": code, "expression_map": conv_map.flatten(1)}
        if self.identity is not None:
            conv_map, code = self.identity(x)
            found |= {"identity": code, "identity_map": conv_map.flatten(1)}
        return found
