"""The hybrid: its terms against loops, its codes under mirroring, its cycles, its encoder."""

import pytest
import torch
import torch.nn.functional as F

from ssl_faces import load_encoder
from ssl_faces.common.errors import InputError
from ssl_faces.losses.correlation import CrossCorrelationLoss
from ssl_faces.losses.hog import HOG
from ssl_faces.losses.objectives import PairObjective
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.loading import load_method
from ssl_faces.networks.backbone import EncoderSettings
from ssl_faces.rendered import RenderedFaces
from tests.support.fits import fit, method_run

SIZE = 32
SMALL = EncoderSettings("facecycle", SIZE, 0.25)  # without batch normalisation


def method(**settings):
    torch.manual_seed(0)
    return FaceCycleContrast(
        SMALL, code_dim=16, projection_dim=8, decoder_width=4, **settings
    ).train()


def batch(count=6, mirrored=True):
    faces = RenderedFaces(64, 8, "all", size=SIZE).render_batch(range(2 * count)).float() / 255
    first, second = faces[:count], faces[count:]
    if mirrored:
        second = first.flip(-1)
    return {"pairs": torch.stack((first, second), 1), "mirrored": torch.full((count,), mirrored)}


def nt_xent(first, second, temperature):
    """Each embedding against all others of both halves, one by one."""
    z = F.normalize(torch.cat((first, second)), dim=1).double()
    count, terms = len(z), []
    for i in range(count):
        partner = (i + count // 2) % count
        scores = {j: torch.exp(z[i] @ z[j] / temperature) for j in range(count) if j != i}
        terms.append(-torch.log(scores[partner] / sum(scores.values())))
    return float(sum(terms).detach() / count)


def test_identity_contrast_is_of_both_pictures_of_a_pair():
    one, given = method(cycle_weight=0.0), batch()
    # Without any change of pictures, views are the pairs.
    one.strong = torch.nn.Identity()
    torch.manual_seed(1)
    flips = torch.rand(6, 2) < 0.5
    torch.manual_seed(1)
    result = one.terms(given)
    seen = torch.where(flips[..., None, None, None], given["pairs"].flip(-1), given["pairs"])
    expression, identity = one.codes(seen.transpose(0, 1).flatten(0, 1))
    first, second = one.identity_projector(identity).chunk(2)
    assert result["identity"].item() == pytest.approx(nt_xent(first, second, 0.1), rel=1e-4)
    assert result["independence"].item() == pytest.approx(
        CrossCorrelationLoss()(expression, identity).item(), rel=1e-4
    )
    # Undo the mirroring of each image, relative to the first one.
    turned = expression.clone()
    for row in range(12):
        pair, second_one = row % 6, row >= 6
        if bool(flips[pair, int(second_one)]) != second_one:
            turned[row, 8:] *= -1
    first, second = one.expression_projector(turned).chunk(2)
    assert result["expression"].item() == pytest.approx(nt_xent(first, second, 0.1), rel=1e-4)
    message = one.descriptor(torch.cat((expression, identity), 1))
    target = HOG(8, 9)(seen.transpose(0, 1).flatten(0, 1))
    error = (message - target).square().mean().item()
    assert result["descriptor"].item() == pytest.approx(error, rel=1e-4)


def pairs_of_people():
    """Six pairs of four people; pairs 1 and 4 are mirror images."""
    pairs = batch(6, mirrored=False)["pairs"]
    mirrored = torch.tensor([False, True, False, False, True, False])
    pairs[mirrored, 1] = pairs[mirrored, 0].flip(-1)
    people = torch.tensor([7, -1, 7, 3, -1, 7])
    return {"pairs": pairs, "mirrored": mirrored, "people": people}


@pytest.mark.parametrize("partner_negatives", [False, True])
def test_pairs_of_two_images_of_a_person(partner_negatives):
    """Both contrasts against loops: who attracts whom, and who is whose negative."""
    weights = {"cycle_weight": 0.0, "independence_weight": 0.0, "descriptor_weight": 0.0}
    one = method(partner_negatives=partner_negatives, **weights)
    one.strong = torch.nn.Identity()
    given = pairs_of_people()
    torch.manual_seed(1)
    flips, again = torch.rand(6, 2) < 0.5, torch.rand(4, 2)[:, 0] < 0.5
    torch.manual_seed(1)
    result = one.terms(given)
    seen = torch.where(flips[..., None, None, None], given["pairs"].flip(-1), given["pairs"])
    others = ~given["mirrored"]
    third = given["pairs"][others, 0]
    third = torch.where(again[:, None, None, None], third.flip(-1), third)
    expression, identity = one.codes(torch.cat((seen.transpose(0, 1).flatten(0, 1), third)))
    z = F.normalize(one.identity_projector(identity[:12]), dim=1).double()
    losses = []
    for i in range(12):
        person = given["people"][i % 6]
        scores = {j: torch.exp(z[i] @ z[j] / 0.1) for j in range(12) if j != i}
        partner = (i + 6) % 12
        for j in list(scores):
            same = person >= 0 and given["people"][j % 6] == person
            if same and j != partner:
                del scores[j]  # another pair of the person is no negative
        losses.append(-torch.log(scores[partner] / sum(scores.values())))
    expected = torch.stack(losses).mean().item()
    assert result["identity"].item() == pytest.approx(expected, rel=1e-4)

    turned = torch.cat((flips[:, 0], flips[:, 1] ^ given["mirrored"], again))
    projected = one.expression_projector(one.mirror(expression, turned))
    z = F.normalize(projected, dim=1).double()
    row_of = dict(zip(others.nonzero()[:, 0].tolist(), range(12, 16), strict=True))
    positive = {i: row_of.get(i, i + 6) for i in range(6)}  # of the first view
    losses = []
    for i in range(6):
        for anchor, partner in ((i, positive[i]), (positive[i], i)):
            scores = {partner: torch.exp(z[anchor] @ z[partner] / 0.1)}
            for j in range(6):
                for negative in (j, positive[j]) if j != i else ():
                    scores[negative] = torch.exp(z[anchor] @ z[negative] / 0.1)
            if partner_negatives and i in row_of:
                scores[i + 6] = torch.exp(z[anchor] @ z[i + 6] / 0.1)
            losses.append(-torch.log(scores[partner] / sum(scores.values())))
    expected = torch.stack(losses).mean().item()
    assert result["expression"].item() == pytest.approx(expected, rel=1e-4)


def test_cycles_of_mirror_images_alone():
    given = pairs_of_people()
    weights = {"identity_weight": 0.0, "expression_weight": 0.0, "cycle_share": 1.0}
    results = []
    for mirrored_cycles, pairs in ((False, 1), (True, 1), (False, 0)):
        one = method(mirrored_cycles=mirrored_cycles, **weights)
        batch_of = dict(given)
        if not pairs:
            first = given["pairs"][:, 0]
            batch_of["pairs"] = torch.stack((first, first.flip(-1)), 1)
        results.append(one.terms(batch_of)["cycle"].item())
    assert results[1] == pytest.approx(results[2])
    assert results[0] != pytest.approx(results[2])


@pytest.mark.parametrize("objective", ["lejepa", "vicreg"])
def test_objectives_without_negatives(objective):
    """Two images of a person get closer; identical embeddings of everyone cost more."""
    loss = PairObjective(objective, 0.1)
    draw = torch.Generator().manual_seed(0)
    first = torch.randn(64, 8, generator=draw)
    torch.manual_seed(0)
    near = loss(first, first).item()
    torch.manual_seed(0)
    far = loss(first, torch.randn(64, 8, generator=draw)).item()
    torch.manual_seed(0)
    collapsed = loss(torch.zeros(64, 8), torch.zeros(64, 8)).item()
    assert near < far
    assert near < collapsed


def test_mirroring_a_code_twice_changes_nothing():
    one = method()
    code = torch.randn(4, 16)
    which = torch.tensor([True, False, True, True])
    turned = one.mirror(code, which)
    assert torch.equal(one.mirror(turned, which), code)
    assert torch.equal(turned[:, :8], code[:, :8])
    assert torch.equal(turned[1], code[1])
    assert torch.equal(turned[0, 8:], -code[0, 8:])


@pytest.mark.parametrize("term", ["cycle", "identity", "expression", "independence", "descriptor"])
def test_a_term_of_weight_0_is_left_out(term):
    result = method(**{f"{term}_weight": 0.0}).terms(batch())
    gone = {"cycle", "symmetry", "fold"} if term == "cycle" else {term}
    assert set(result) == set(method().weights) - gone


def test_the_total_weighs_each_term():
    one = method(cycle_weight=2.0, identity_weight=0.5, symmetry_weight=0.25, fold_weight=3.0)
    terms = {k: torch.tensor(float(i + 1)) for i, k in enumerate(one.weights)}
    weights = {
        **{"cycle": 2.0, "identity": 0.5, "expression": 0.3, "independence": 1.0},
        **{"symmetry": 0.5, "fold": 6.0, "descriptor": 400.0},
    }
    expected = sum(weights[k] * float(v) for k, v in terms.items())
    assert one.total(terms).item() == pytest.approx(expected)


def test_without_motion_the_cycles_give_the_other_pictures_faces():
    one, given = method(), batch(3)
    torch.nn.init.zeros_(one.motion.flow.weight)
    x = given["pairs"].transpose(0, 1).flatten(0, 1)
    expression, identity = one.codes(x)
    faces = one.cycle(x, expression, identity)
    other = torch.cat((x[3:], x[:3]))
    torch.testing.assert_close(faces.direct, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(faces.back, other, atol=1e-5, rtol=0)
    neutral = one.neutral_of(identity)
    torch.testing.assert_close(faces.neutral, neutral)
    torch.testing.assert_close(
        faces.remade, torch.cat((neutral[3:], neutral[:3])), atol=1e-5, rtol=0
    )


def judged(one, given):
    """The loss but for independence, over the same 10 draws of views each time, and how dependent
    the codes of the views are."""
    loss, dependence = 0.0, 0.0
    with torch.no_grad():
        for seed in range(10):
            torch.manual_seed(seed)
            terms = one.terms(given)
            loss += one.total({k: v for k, v in terms.items() if k != "independence"}).item()
            views = one.strong(given["pairs"]).flatten(0, 1)
            dependence += CrossCorrelationLoss()(*one.codes(views)).item()
    return loss, dependence


def test_it_learns_and_its_codes_grow_independent():
    given = batch(16)
    dependence = {}
    for weight in (0.0, 10.0):
        one = method(independence_weight=weight)
        before, _ = judged(one, given)
        optimizer = torch.optim.Adam(one.parameters(), lr=3e-4)
        for step in range(100):
            torch.manual_seed(1000 + step)
            total = one.total(one.terms(given))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        after, dependence[weight] = judged(one, given)
        assert after < 0.75 * before
    assert dependence[10.0] < 0.8 * dependence[0.0]


def test_edits_return_images():
    one = method().eval()
    x = batch(2)["pairs"].flatten(0, 1)
    edits = one.edits()
    assert set(edits) == {"neutral face", "frontal face", "identity swap", "motion transfer"}
    for made in (edits["neutral face"](x), edits["identity swap"](x, x.flip(0))):
        assert made.shape == x.shape
        assert made.min() >= 0
        assert made.max() <= 1
    torch.testing.assert_close(edits["neutral face"](x)[:1], edits["neutral face"](x[:1]))


def test_it_is_loaded_from_its_run(tmp_path):
    codes = ("--model.code_dim", "16", "--model.decoder_width", "4")
    fit(*method_run("facecycle_contrast", "resnet18", tmp_path, tmp_path / "run", *codes))
    result, x = load_method(tmp_path / "run"), torch.rand(2, 3, 32, 32)
    saved = load_encoder(tmp_path / "run")(x)
    for code, expected in zip(
        result.codes(x), (saved["expression"], saved["identity"]), strict=True
    ):
        torch.testing.assert_close(code, expected)
    assert set(result.edits()) == {
        "neutral face",
        "frontal face",
        "identity swap",
        "motion transfer",
    }
    fresh = load_method(tmp_path / "run", untrained=True, seed=1)
    assert not torch.equal(fresh.codes(x)[0], result.codes(x)[0])
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    del checkpoint["hyper_parameters"]["encoder"]
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="its settings are not those of facecycle_contrast"):
        load_method(tmp_path / "other.ckpt")
