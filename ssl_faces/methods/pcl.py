"""PCL: contrastive learning that keeps the pose, in features of its own.

Liu, Wang, Zhan, Feng, Liu, Chen: Pose-disentangled Contrastive Learning for Self-supervised Facial
Representation, CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from ssl_faces.common.ranges import LayerWidth, NonNegativeFloat, PositiveFloat, UnitFloat
from ssl_faces.data.pairs.augment import Augmentation, PairAugmentation
from ssl_faces.losses.orthogonality import OrthogonalityLoss
from ssl_faces.losses.own_negatives import OwnNegativesLoss
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings
from ssl_faces.networks.blocks import conv, init_facecycle, leaky
from ssl_faces.networks.picture_decoder import PictureDecoder

BRANCH = 128  # channels of the branches, as in the paper


class Disentangled(NamedTuple):
    """Features [b, D] of pictures and of their mirror images."""

    face: Tensor
    pose: Tensor
    mirror_face: Tensor
    mirror_pose: Tensor


class PCL(JointEmbedding):
    """PCL.

    Two branches on the encoder's last map give face-aware and pose-related features. Terms:

    - reconstruction: from the sum of a picture's face-aware and pose-related features, of length 1,
      a decoder renders it; as a picture and its mirror image have the same face but mirrored poses,
      either's face-aware features do: the L1 of all four combinations, summed
    - orthogonality: of both features, see `OrthogonalityLoss`; of pictures and of mirror images
    - face: SimCLR's loss of the face-aware features of both pictures of a pair
    - pose: a picture's pose-related features are near to those of the same picture in other
      colours, and far from those of its mirror image

    As in the paper it is the encoder's own spaces that are scored. From the authors' code: the
    branches, the terms, the temperature. Ours: pictures are shared by the terms where they can be,
    which makes 4 passes of the encoder a pair; the mirror image is one negative (theirs are a
    hundred, in as many colours); negatives are not mixed; weights are constant (theirs follow
    how fast each contrastive loss falls); maps larger than 4x4 are averaged to that.

    Layers of the encoder behind its last map (FaceCycle's code) are not trained.

    Args:
        encoder: which encoder, with a map.
        optimizer: how it is trained.
        temperature: of both contrastive losses.
        projection_dim: length of the embeddings that they compare.
        decoder_width: channels of the decoder's last layer.
        colours: strength of the colour jitter of the pose term, see `Augmentation`.
        orthogonality_weight, face_weight, pose_weight: of the terms; reconstruction has 1.

    Raises:
        InputError: an encoder without a map.
    """

    name = "pcl"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        temperature: PositiveFloat = 0.07,
        projection_dim: LayerWidth = 512,
        decoder_width: LayerWidth = 32,
        colours: UnitFloat = 0.8,
        orthogonality_weight: NonNegativeFloat = 1.0,
        face_weight: NonNegativeFloat = 1.0,
        pose_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(
            *(encoder, optimizer),
            temperature=temperature,
            projection_dim=projection_dim,
            decoder_width=decoder_width,
            colours=colours,
            orthogonality_weight=orthogonality_weight,
            face_weight=face_weight,
            pose_weight=pose_weight,
        )
        self.weights = {
            "reconstruction": 1.0,
            "orthogonality": orthogonality_weight,
            "face": face_weight,
            "pose": pose_weight,
        }
        size = encoder.input_size
        channels, side = self._train_up_to_map(size)
        dim = BRANCH * min(side, 4) ** 2
        self.face_branch = _branch(channels)
        self.pose_branch = _branch(channels)
        self.decoder = PictureDecoder(dim, size, decoder_width)
        self.face_projector = SimCLRProjectionHead(dim, dim, projection_dim)
        self.pose_projector = SimCLRProjectionHead(dim, dim, projection_dim)
        self.recolour = PairAugmentation(
            size,
            Augmentation(
                crop_scale=(1.0, 1.0),
                crop_ratio=(1.0, 1.0),
                jitter=colours,
                hue=colours / 4,
                grey_share=0.2,
                flip_share=0.0,
                alike=False,
            ),
        )
        self.face_loss = NTXentLoss(temperature, gather_distributed=True)
        self.pose_loss = OwnNegativesLoss(temperature, other_faces=False)
        self.orthogonality = OrthogonalityLoss()

    def _train_up_to_map(self, size: int) -> tuple[int, int]:
        """Channels and side of the encoder's last map; what it doesn't come from is frozen."""
        training = self.encoder.training
        found = self.encoder.eval().last_map(torch.zeros(1, 3, size, size))
        trained = [p for p in self.encoder.parameters() if p.requires_grad]
        grads = torch.autograd.grad(found.sum(), trained, allow_unused=True)
        for parameter, grad in zip(trained, grads, strict=True):
            parameter.requires_grad_(grad is not None)
        self.encoder.train(training)
        return found.shape[1], found.shape[-1]

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        first, second = x.chunk(2)
        features = self.features(torch.cat((first, first.flip(-1), second, self.recoloured(first))))
        face, mirror_face, second_face, _ = features[0].chunk(4)
        pose, mirror_pose, _, recoloured_pose = features[1].chunk(4)
        found = Disentangled(face, pose, mirror_face, mirror_pose)
        target = torch.cat((first, first, first.flip(-1), first.flip(-1)))
        faces = self.face_projector(torch.cat((face, second_face)))
        poses = self.pose_projector(torch.cat((pose, recoloured_pose, mirror_pose)))
        anchors, same, mirrored = poses.chunk(3)
        terms = {
            "reconstruction": 4 * F.l1_loss(self.rendered(found), target),
            "orthogonality": self.orthogonality(face, pose)
            + self.orthogonality(mirror_face, mirror_pose),
            "face": self.face_loss(*faces.chunk(2)),
            "pose": self.pose_loss(anchors, same, mirrored[:, None]),
        }
        return {name: self.weights[name] * value for name, value in terms.items()}

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Face-aware and pose-related features [B, D], float32, of normalised pictures."""
        x = x.contiguous(memory_format=torch.channels_last)
        with self.reduced_precision():
            found = self.encoder.last_map(x)
            if found.shape[-1] > 4:
                found = F.adaptive_avg_pool2d(found, 4)
            face, pose = self.face_branch(found), self.pose_branch(found)
        return face.flatten(1).float(), pose.flatten(1).float()

    def rendered(self, found: Disentangled) -> Tensor:
        """Pictures [4b, 3, S, S]: by the pose, first of pictures, then of mirror images; of either,
        first with the picture's face, then with the mirror image's."""
        faces, mirror_faces = found.face, found.mirror_face
        sums = (
            faces + found.pose,
            mirror_faces + found.pose,
            faces + found.mirror_pose,
            mirror_faces + found.mirror_pose,
        )
        return self._render(torch.cat(sums))

    def _render(self, sums: Tensor) -> Tensor:
        # Of mean square 1 instead of length 1: the decoder's first layer expects such inputs.
        unit = F.normalize(sums, dim=1) * sums.shape[1] ** 0.5
        with self.reduced_precision():
            pictures: Tensor = self.decoder(unit)
        return pictures

    def recoloured(self, x: Tensor) -> Tensor:
        """Normalised pictures [b, 3, S, S] in other colours, each by itself."""
        shown = self.encoder.denormalise(x)
        # It takes pairs, and jitters each picture of one by itself: pairs of one picture and none.
        changed = self.recolour(torch.stack((shown, shown), 1))[:, 0]
        return self.encoder.normalise(changed)

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Pictures [b, 3, S, S] in [0, 1] to look at, by name."""
        with self.editing(), torch.autocast(self.device.type, enabled=False):
            x = self.views(batch).chunk(2)[0]
            mirror = x.flip(-1)
            face, pose = self.features(x)
            found = Disentangled(face, pose, *self.features(mirror))
            itself, mirrors_face, mirrors_pose, _ = self.rendered(found).chunk(4)
            pictures = {
                "picture": x,
                "in other colours": self.recoloured(x),
                "reconstruction": itself,
                "mirror's face": mirrors_face,
                "mirror's pose": mirrors_pose,
                "next one's pose": self._render(face + pose.roll(-1, 0)),
            }
            return {name: self.encoder.denormalise(value) for name, value in pictures.items()}


def _branch(channels: int) -> nn.Module:
    branch = nn.Sequential(conv(channels, BRANCH), leaky(), conv(BRANCH, BRANCH), leaky())
    branch.apply(init_facecycle)
    return branch
