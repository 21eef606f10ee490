"""The comparison of two faces equals the output of encoder, probe and method."""

import shutil

import numpy as np
import pytest
import torch
from torchvision.utils import flow_to_image

from ssl_faces import InputError, embed, load_encoder, load_method
from ssl_faces.apps.demo.comparison import FaceComparison
from tests.support.demo import CLASSES, a_probe
from tests.support.images import as_images, photo, rendered


def assert_shown(panel, expected):
    values = expected.permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(np.stack(panel).astype(float) - values).max() <= 0.51


def test_similarity_and_probabilities(comparison, with_probe):
    pictures = rendered(2)
    found = comparison(pictures[0], pictures[1])
    codes = {
        k: v.double().numpy() for k, v in load_encoder(with_probe)(as_images(pictures)).items()
    }
    one, other = codes["identity"] - [0.1, -0.2, 0.3, 0.0, 0.05, -0.4]
    cosine = one @ other / np.sqrt((one @ one) * (other @ other))
    assert found.similarity is not None
    assert found.similarity.value == pytest.approx(cosine, abs=1e-5)
    assert found.similarity.threshold == 0.25
    assert "61.2 % [58.0, 64.5] of 900 pairs of LFW" in found.similarity.meaning
    probe = a_probe()
    x = (codes["expression"] - probe.mean.numpy()) / probe.scale.numpy()
    logits = (x @ probe.weight.numpy() + probe.bias.numpy()) / 1.5
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found.probabilities == pytest.approx(expected, abs=1e-5)
    assert found.probabilities is not None
    assert found.probabilities.shape == (2, len(CLASSES))
    assert np.array_equal(np.stack(found.faces), pictures)


def test_stage_2_shows_every_panel(comparison, run_of):
    pictures = rendered(2)
    panels = comparison(pictures[0], pictures[1]).panels
    method = load_method(run_of("facecycle_identity"))
    x = as_images(pictures)
    assert list(panels) == ["neutral face", "mean face", "flow", "translation"]
    assert_shown(panels["neutral face"], method.neutral_face(x))
    # B's person moved like A under A, and A's like B under B.
    assert_shown(panels["translation"], method.transfer_motion(x, x.flip(0)))
    with method.editing():
        normalised = method.encoder.normalise(x)
        flow, _, neutral = method.motion.neutralise(normalised, method.motion.maps(normalised))
        coarse = method.motion.generator_trunk(neutral)["relu3_1"]
        code = method.identity(normalised)[1]
        mean_face = method.renormaliser(coarse, code, "deidentify")
    assert_shown(panels["mean face"], method.encoder.denormalise(mean_face))
    assert_shown(panels["flow"], flow_to_image(flow) / 255)
    assert len({pixels[0].tobytes() for pixels in panels.values()}) == 4


def test_the_hybrid_shows_what_it_has(with_probe, run_of):
    run = run_of("facecycle_contrast")
    pictures = rendered(2)
    comparison = FaceComparison(with_probe, run)
    panels = comparison(pictures[0], pictures[1]).panels
    method = load_method(run)
    x = as_images(pictures)
    assert list(panels) == ["neutral face", "flow", "translation"]
    assert_shown(panels["neutral face"], method.neutral_face(x))
    assert_shown(panels["translation"], method.identity_swap(x, x.flip(0)))
    with torch.no_grad():
        flow = method.motion(method.codes(x)[0])
    assert_shown(panels["flow"], flow_to_image(flow) / 255)
    (lack,) = comparison.lacking
    assert lack.startswith("No mean face: facecycle_contrast has none")
    assert "--with" in lack


def test_a_comparison_without_a_method_or_probe(encoder_folder, run_of, tmp_path):
    pictures = rendered(2)
    alone = FaceComparison(encoder_folder)
    found = alone(pictures[0], pictures[1])
    assert found.panels == {}
    assert found.probabilities is None
    assert found.similarity is not None
    assert [line.split(":")[0] for line in alone.lacking] == [
        "No neutral faces, flows and translations",
        "No expressions",
    ]
    assert f"save-probe --encoder {encoder_folder}" in alone.lacking[1]
    # Stage 1's encoder has no identity code; its run edits pictures without being named twice.
    of_run = FaceComparison(run_of("facecycle_motion"))
    assert of_run.method is not None
    found = of_run(pictures[0], pictures[1])
    assert found.similarity is None
    assert "neutral face" in found.panels
    with pytest.raises(InputError, match="no such file"):
        FaceComparison(encoder_folder, tmp_path / "nowhere")
    with pytest.raises(InputError, match="no card"):
        FaceComparison(tmp_path / "nowhere")
    shutil.copytree(encoder_folder, tmp_path / "broken")
    (tmp_path / "broken/expression_probe.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"expression_probe.safetensors: no whole probe"):
        FaceComparison(tmp_path / "broken")


@pytest.mark.usefixtures("stub")
def test_faces_are_detected_as_by_embed(comparison):
    pictures = [photo((40, 30, 90), (200, 100, 60)), photo((100, 50, 120))]
    found = comparison(*pictures)
    codes = embed(comparison.encoder, pictures, largest=True, spaces=["identity"])["identity"]
    kept = comparison.encoder.card["verification"]["mean"]
    one, other = codes.double() - torch.tensor(kept).double()
    expected = float(one @ other / (one.norm() * other.norm()))
    assert found.similarity is not None
    assert found.similarity.value == pytest.approx(expected, abs=1e-6)
    whole = comparison(*pictures, whole=True)
    assert not np.array_equal(found.faces[0], whole.faces[0])
    # The largest face of each image is boxed, and nothing where it was taken whole.
    assert [picture.faces for picture in found.pictures] == [2, 1]
    assert [picture.faces for picture in whole.pictures] == [0, 0]
    for shown, plain, box in zip(
        found.pictures, whole.pictures, ((40, 30, 130, 120), (100, 50, 220, 170)), strict=True
    ):
        assert shown.pixels.shape == (225, 300, 3)
        changed = (shown.pixels != plain.pixels).any(2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        edges = (columns[0], rows[0], columns[-1], rows[-1])
        assert np.array(edges) == pytest.approx(np.array(box) * 300 / 320, abs=4)
        assert not changed[rows[0] + 5 : rows[-1] - 5, columns[0] + 5 : columns[-1] - 5].any()


@pytest.mark.usefixtures("stub")
def test_a_picture_without_a_face_is_refused_unless_it_is_a_crop(comparison):
    face = photo((40, 30, 90))
    for pictures, name in (((photo(), face), "A"), ((face, photo()), "B")):
        with pytest.raises(InputError) as caught:
            comparison(*pictures)
        assert str(caught.value) == (
            f"face {name}: no face found; give a photograph with a face, or tick that it is a face "
            "crop"
        )
    assert comparison(photo(), face, whole=True).probabilities is not None
