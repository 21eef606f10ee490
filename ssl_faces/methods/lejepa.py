"""LeJEPA: equal embeddings of all crops of an image, distributed as an isotropic Gaussian.

Balestriero, LeCun: LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics,
arXiv 2511.08544, 2025.
"""

from __future__ import annotations

from lightly.loss.lejepa_loss import SIGReg, lejepa_invariance_loss
from lightly.models.modules.heads import LeJEPAProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import (
    ImageSide,
    LayerWidth,
    NonNegativeInt,
    PositiveInt,
    UnitAbove0,
    UnitFloat,
)
from ssl_faces.methods.multi_crop import MultiCrop
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class LeJEPA(MultiCrop):
    """LeJEPA with multi-crop: no teacher, no predictor, no stopped gradient.

    For embeddings z [V, N, D] of V crops of N images, whose first two crops are global:

        invariance = mean over v, n, d of (z_v - mean of the image's global crops)^2
        SIGReg     = mean over v and unit vectors a of N ∫ |φ(t) - exp(-t²/2)|² exp(-t²/2) dt
                     with φ(t) = mean over n of exp(i t a·z_vn), the characteristic function
        loss       = (1 - weight) · invariance + weight · SIGReg

    The integral is a trapezoidal rule of 17 points in [0, 3], twice. The unit vectors are drawn
    anew in each step, the same on all devices; φ is a mean over the images of all devices.

    Args:
        encoder: the encoder to train; see `dino` for the sizes of local crops.
        optimizer: its optimiser.
        local_crops, local_size, local_scale: number for each of the two images (6 in all in the
            paper), side in pixels, and smallest and largest share of the image's area.
        hidden_dim, projection_dim: of the projector's three layers (2048 and 64 in the authors'
            code).
        gaussian_weight: of SIGReg, see above (0.01 to 0.1 in the paper).
        directions: number of unit vectors (1024 in the paper, 256 in its minimal example).
    """

    name = "lejepa"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        local_crops: NonNegativeInt = 2,
        local_size: ImageSide = 32,
        local_scale: tuple[UnitAbove0, UnitAbove0] = (0.15, 0.5),
        hidden_dim: LayerWidth = 1024,
        projection_dim: LayerWidth = 64,
        gaussian_weight: UnitFloat = 0.05,
        directions: PositiveInt = 256,
    ) -> None:
        super().__init__(locals())
        self.projector = LeJEPAProjectionHead(self.representation_dim, hidden_dim, projection_dim)
        self.sigreg = SIGReg(num_vectors=directions, gather_distributed=True)
        self.gaussian_weight = gaussian_weight

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        z = self.projector(self.represent_crops(x)).unflatten(0, (-1, len(x) // 2))
        invariance = lejepa_invariance_loss(all_proj=z, global_proj=z[:2])
        return {
            "invariance": (1 - self.gaussian_weight) * invariance,
            "gaussian": self.gaussian_weight * self.sigreg(z),
        }
