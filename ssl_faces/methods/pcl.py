"""PCL: contrastive learning with separate features for face and pose.

Liu, Wang, Zhan, Feng, Liu, Chen: Pose-disentangled Contrastive Learning for Self-supervised Facial
Representation, CVPR 2023.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from ssl_faces.common.ranges import LayerWidth, NonNegativeFloat, PositiveFloat, UnitFloat
from ssl_faces.losses.orthogonality import OrthogonalityLoss
from ssl_faces.losses.own_negatives import OwnNegativesLoss
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings
from ssl_faces.networks.blocks import conv, init_facecycle, leaky
from ssl_faces.networks.image_decoder import ImageDecoder
from ssl_faces.pairs.augment import Augmentation, PairAugmentation

BRANCH = 128  # channels of the branches, as in the paper


class Disentangled(NamedTuple):
    """Features [b, D] of images and their mirror images."""

    face: Tensor
    pose: Tensor
    mirror_face: Tensor
    mirror_pose: Tensor


class PCL(JointEmbedding):
    """PCL.

    Two branches on the encoder's last map compute face-aware and pose-related features. Terms:

    - reconstruction: a decoder renders an image from the normalised sum of its face-aware and
      pose-related features. An image and its mirror image share the face and have mirrored poses,
      so the face-aware features of both work: the sum of L1 over all four combinations
    - orthogonality: of both features (see `OrthogonalityLoss`), for images and mirror images
    - face: SimCLR's loss on the face-aware features of the pairs
    - pose: pose-related features of an image are close to those of the same image in other colours
      and far from those of its mirror image

    As in the paper, the encoder's own feature spaces are evaluated. Branches, terms and temperature
    follow the authors' code. Differences: terms share images where possible (4 encoder passes a
    pair); the mirror image is one negative (100 recoloured ones there); negatives are not mixed;
    weights are constant (there they depend on how fast the contrastive losses fall); maps larger
    than 4x4 are pooled to 4x4.

    Layers after the encoder's last map (FaceCycle's code) are frozen.

    Args:
        encoder: the encoder to train; it must have a map.
        optimizer: its optimiser.
        temperature: of both contrastive losses.
        projection_dim: length of their embeddings.
        decoder_width: channels of the decoder's last layer; default: 32 times the encoder's width,
            at least 4, so that the decoder takes less than a third of a step's arithmetic.
        colours: strength of the pose term's colour jitter (see `Augmentation`).
        orthogonality_weight, face_weight, pose_weight: of the terms; reconstruction has weight 1.

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
        decoder_width: LayerWidth | None = None,
        colours: UnitFloat = 0.8,
        orthogonality_weight: NonNegativeFloat = 1.0,
        face_weight: NonNegativeFloat = 1.0,
        pose_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(locals())
        size = encoder.input_size
        channels, side = self._train_up_to_map(size)
        dim = BRANCH * min(side, 4) ** 2
        self.face_branch = _branch(channels)
        self.pose_branch = _branch(channels)
        self.decoder = ImageDecoder(dim, size, decoder_width or max(4, round(32 * encoder.width)))
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
        """Channels and side of the encoder's last map; later layers are frozen."""
        training = self.encoder.training
        last = self.encoder.eval().last_map(torch.zeros(1, 3, size, size))
        trained = [p for p in self.encoder.parameters() if p.requires_grad]
        grads = torch.autograd.grad(last.sum(), trained, allow_unused=True)
        for parameter, grad in zip(trained, grads, strict=True):
            parameter.requires_grad_(grad is not None)
        self.encoder.train(training)
        return last.shape[1], last.shape[-1]

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        first, second = x.chunk(2)
        features = self.features(torch.cat((first, first.flip(-1), second, self.recoloured(first))))
        face, mirror_face, second_face, _ = features[0].chunk(4)
        pose, mirror_pose, _, recoloured_pose = features[1].chunk(4)
        disentangled = Disentangled(face, pose, mirror_face, mirror_pose)
        target = torch.cat((first, first, first.flip(-1), first.flip(-1)))
        faces = self.face_projector(torch.cat((face, second_face)))
        poses = self.pose_projector(torch.cat((pose, recoloured_pose, mirror_pose)))
        anchors, same, mirrored = poses.chunk(3)
        terms = {
            "reconstruction": 4 * F.l1_loss(self.rendered(disentangled), target),
            "orthogonality": self.orthogonality(face, pose)
            + self.orthogonality(mirror_face, mirror_pose),
            "face": self.face_loss(*faces.chunk(2)),
            "pose": self.pose_loss(anchors, same, mirrored[:, None]),
        }
        return self.weighted(terms)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Face-aware and pose-related features [B, D], float32, of normalised images."""
        x = x.contiguous(memory_format=torch.channels_last)
        with self.reduced_precision():
            last = self.encoder.last_map(x)
            if last.shape[-1] > 4:
                last = F.adaptive_avg_pool2d(last, 4)
            face, pose = self.face_branch(last), self.pose_branch(last)
        return face.flatten(1).float(), pose.flatten(1).float()

    def rendered(self, features: Disentangled) -> Tensor:
        """Images [4b, 3, S, S]: with the pose of images, then of mirror images; each first with the
        image's face, then with the mirror image's."""
        face, pose, mirror_face, mirror_pose = features
        sums = (face + pose, mirror_face + pose, face + mirror_pose, mirror_face + mirror_pose)
        return self._render(torch.cat(sums))

    def _render(self, sums: Tensor) -> Tensor:
        # Mean square 1 instead of length 1, as the decoder's first layer expects.
        unit = F.normalize(sums, dim=1) * sums.shape[1] ** 0.5
        with self.reduced_precision():
            images: Tensor = self.decoder(unit)
        return images

    def recoloured(self, x: Tensor) -> Tensor:
        """Normalised images [b, 3, S, S] in other colours, each drawn separately."""
        shown = self.encoder.denormalise(x)
        # The augmentation takes pairs and jitters both images separately.
        changed = self.recolour(torch.stack((shown, shown), 1))[:, 0]
        return self.encoder.normalise(changed)

    def shown(self, x: Tensor) -> dict[str, Tensor]:
        x = x.chunk(2)[0]
        face, pose = self.features(x)
        rendered = self.rendered(Disentangled(face, pose, *self.features(x.flip(-1))))
        itself, mirrors_face, mirrors_pose, _ = rendered.chunk(4)
        return {
            "picture": x,
            "in other colours": self.recoloured(x),
            "reconstruction": itself,
            "mirror's face": mirrors_face,
            "mirror's pose": mirrors_pose,
            "next one's pose": self._render(face + pose.roll(-1, 0)),
        }


def _branch(channels: int) -> nn.Module:
    branch = nn.Sequential(conv(channels, BRANCH), leaky(), conv(BRANCH, BRANCH), leaky())
    branch.apply(init_facecycle)
    return branch
