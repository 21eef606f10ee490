"""What every head promises: a frozen encoder stays frozen, bad settings are errors, and a few
images are learned by heart."""

import pytest
import torch
import torch.nn.functional as F

from linear_probe.heads.cvt import CVT
from linear_probe.heads.face_gcn.network import FaceGCN, adjacency, edges_of
from linear_probe.heads.goals import AGES, Categories, Goal
from linear_probe.heads.hallucination import Hallucination
from linear_probe.heads.inception_fer import InceptionFER, PlainFER
from linear_probe.heads.mafer import MAFER
from linear_probe.heads.multitask_lightweight import MultitaskLightweight
from linear_probe.heads.thin import THIN
from linear_probe.heads.two_level_attention import TwoLevelAttention
from linear_probe.tasks.toy_sets import RotatedDigits
from ssl_faces import InputError
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.rendered import RenderedFaces
from tests.support.by_heart import learn_by_heart
from tests.support.heads import SQUARE, thin_on_digits

CLASSES = Categories(7)
AFFECT = Goal({"expression": 7, "valence": 1, "arousal": 1})
VALUES = Goal({"valence": 1, "arousal": 1})
MOBILE = "mobilenetv3_small_050"


def backbone():
    torch.manual_seed(0)
    return BackboneEncoder("resnet18", 32, 0.125, {"identity": 8, "expression": 8})


def facecycle():
    torch.manual_seed(0)
    return FaceCycleEncoder(width=4, code_dim=16, code_size=32, linear_std=0.04)


def inner(goal, encoder):
    return InceptionFER(goal, encoder, width=0.0625, hidden=(8, 8), dropout=0.0, margin=0)


ON_ENCODERS = {
    "cvt": (lambda e: CVT(CLASSES, e, dim=16, depth=1, heads=4), "map"),
    "hallucination": (lambda e: Hallucination(CLASSES, e, channels=8, blocks=1), "identity"),
    "inception_fer": (
        lambda e: InceptionFER(CLASSES, e, space="map_2x2", hidden=(16, 8)),
        "map_2x2",
    ),
    "multitask": (lambda e: MultitaskLightweight(CLASSES, e, space="map_2x2"), "map_2x2"),
    "thin": (lambda e: THIN(CLASSES, e, dim=12, depth=2, hidden=4), "expression by identity"),
    "two_level": (lambda e: TwoLevelAttention(CLASSES, e, dim=8, layers=3), "maps of 3 layers"),
}


@pytest.mark.parametrize("name", [*ON_ENCODERS, "two_level on FaceCycle"])
def test_an_encoder_stays_as_it_is_and_all_else_learns(name):
    make, space = ON_ENCODERS[name.split(" on ")[0]]
    encoder = facecycle() if "FaceCycle" in name else backbone()
    head = make(encoder).train()
    assert (head.space, head.read_size - getattr(head, "margin", 0)) == (space, head.picture_size)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    head.begin_step(0.9)
    terms = head.losses(torch.rand(4, 3, head.picture_size, head.picture_size), torch.arange(4))
    torch.stack([*terms.values()]).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    trained = [p for p in head.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None for p in trained)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CVT(CLASSES, picture_size=8), r"head\.picture_size: 8; .* 16 px at least"),
        (lambda: CVT(CLASSES, dim=30), r"head\.dim: 30; give a multiple of head\.heads, 8"),
        (lambda: CVT(CLASSES, facecycle()), "a facecycle has none"),
        (
            lambda: InceptionFER(CLASSES, backbone(), space="map"),
            r"head\.space: 'map'; the encoder has pooled, map_2x2",
        ),
        (lambda: PlainFER(CLASSES, backbone()), "plain_fer is a network of its own"),
        (
            lambda: MultitaskLightweight(CLASSES, backbone=MOBILE, picture_size=8),
            r"head\.picture_size: 8; .* 16 px at least",
        ),
        (
            lambda: MultitaskLightweight(CLASSES, backbone="mobilenetv9"),
            r"head\.backbone: .*timm has no 'mobilenetv9'",
        ),
        (lambda: Hallucination(CLASSES, scale=3), r"head\.scale: 3; give 2, 4, 8"),
        (
            lambda: Hallucination(CLASSES, scale=8, picture_size=36),
            r"head\.scale: 8 does not divide .* side, 36 px",
        ),
        (lambda: Hallucination(CLASSES, picture_size=8), r"head\.picture_size: 8"),
        (lambda: Hallucination(CLASSES, backbone(), space="face"), r"head\.space: 'face'; the"),
        (lambda: Hallucination(Goal({"age": 101})), "task: hallucination learns classes"),
        (
            lambda: MAFER(CLASSES, None, inner, least_side=48),
            r"head\.least_side: 48; give 2 at least, and less than the head's 48",
        ),
        (lambda: MAFER(CLASSES), r"head\.head: missing"),
        (
            lambda: THIN(CLASSES, backbone(), dispelling="cosine"),
            r"head\.dispelling: cosine needs the last layers",
        ),
        (lambda: THIN(CLASSES, backbone(), exogenous="pose"), r"head\.space: 'pose'; the encoder"),
        (
            lambda: THIN(CLASSES).take_over(PlainFER(CLASSES, width=0.0625, hidden=(4, 4))),
            "THIN can't go on from a plain_fer",
        ),
        (lambda: TwoLevelAttention(AFFECT, layers=6), r"head\.layers: 6; this encoder has 1 to 5"),
        (lambda: TwoLevelAttention(AFFECT, dim=9), r"head\.dim: 9; give an even number"),
        (
            lambda: TwoLevelAttention(AFFECT, category_weight=0.0),
            r"head\.two_stages: true, but head\.category_weight",
        ),
        (lambda: TwoLevelAttention(VALUES), "true, but the data have no categories"),
        (lambda: FaceGCN(CLASSES, 3, torch.ones(1, 2, 2), temporal_kernel=4), "give an odd number"),
        (lambda: Categories(1), "1 class to learn"),
    ],
)
def test_bad_settings_are_errors(make, message):
    with pytest.raises(InputError, match=message):
        make()


def faces(size, *labels):
    """64 rendered faces uint8 [64, 3, S, S], and their labels."""
    rendered = RenderedFaces(64, 64, "all", size=48)
    images = F.interpolate(rendered.render_batch(range(64)), size)
    rows = torch.tensor([[round(r.labels[n]) for n in labels] for r in rendered.records])
    return images, rows[:, 0] if len(labels) == 1 else rows.float()


def classes_learned(head, images, labels):
    return bool((head(head.prepare(images)).argmax(1) == labels).all())


def several_learned(head, images, labels):
    parts = head.goal.parts(head(head.prepare(images)))
    return bool((torch.stack([p.argmax(1) for p in parts.values()], 1) == labels).all())


def digits():
    rotated = RotatedDigits("train")
    images = torch.stack([rotated[i]["image"] for i in range(64)])[:, :, ::2, ::2]
    return images, torch.tensor([r.labels["category"] for r in rotated.records[:64]])


@pytest.mark.parametrize(
    ("make", "data", "learned", "rate"),
    [
        (
            lambda: CVT(CLASSES, None, 32, width=0.125, dim=32, depth=2, heads=4, dropout=0.0),
            lambda: faces(32, "expression"),
            classes_learned,
            1e-3,
        ),
        (
            lambda: InceptionFER(CLASSES, width=0.25, hidden=(64, 32), dropout=0.0, margin=0),
            lambda: faces(48, "expression"),
            classes_learned,
            3e-3,
        ),
        (
            lambda: MultitaskLightweight(
                Goal({"age": AGES, "gender": 2}),
                backbone=MOBILE,
                picture_size=32,
                margin=0,
                dropout=0.0,
            ),
            lambda: faces(32, "age", "gender"),
            several_learned,
            3e-3,
        ),
        (
            lambda: thin_on_digits(width=0.0625, dispelling_weight=0.1),
            digits,
            classes_learned,
            5e-3,
        ),
        (
            lambda: FaceGCN(
                CLASSES, 3, adjacency(edges_of("delaunay", SQUARE), SQUARE), (16, 16, 32), 3
            ),
            lambda: (torch.randn(64, 3, 12, 5), torch.randint(7, (64,))),
            classes_learned,
            1e-2,
        ),
    ],
    ids=["cvt", "inception_fer", "multitask", "thin", "face_gcn"],
)
def test_64_images_are_learned_by_heart(make, data, learned, rate):
    torch.manual_seed(0)
    # Still in training mode: running statistics lag behind after so few steps.
    head = make().train()
    images, labels = data()
    learn_by_heart(
        head,
        lambda: head.losses(head.prepare(images), labels),
        lambda: learned(head, images, labels),
        rate,
    )
