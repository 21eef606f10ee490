"""The page without a browser: answers, refusals, and nothing from elsewhere."""

import base64
import html
import io
import re
import shutil
import socket

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.utils import flow_to_image

from ssl_faces import InputError, embed, load_encoder, load_method
from ssl_faces.apps.demo.comparison import FaceComparison
from ssl_faces.apps.web.uploads import Limits, read_upload
from tests.support.commands import refusal, run
from tests.support.demo import CLASSES, NOT_PICTURES, a_probe, black
from tests.support.images import BAD_FILES, as_images, encoded, photo, rendered
from tests.support.refusals import message_of

for package in ("fastapi", "httpx", "prometheus_client"):
    pytest.importorskip(package)
LIMITS = Limits(0.1, 1_000_000)
HOME = "http://127.0.0.1:7860"


@pytest.fixture
def client(comparison):
    from starlette.testclient import TestClient

    from ssl_faces.apps.demo.app import build_app

    with TestClient(build_app(comparison, LIMITS, loopback=True), base_url=HOME) as client:
        yield client


def request(*files, whole=False):
    images = [None if data is None else base64.b64encode(data).decode() for data in files]
    return {"images": images, "whole": whole}


def test_an_answer_shows_the_comparison(comparison):
    from ssl_faces.apps.demo.app import answer

    pictures = rendered(2)
    found = comparison(pictures[0], pictures[1])
    text = answer(comparison, LIMITS, *map(encoded, pictures))
    assert found.similarity is not None
    assert f'<strong id="similarity">{found.similarity.value:.3f}</strong>' in text
    side = "above" if found.similarity.value >= 0.25 else "below"
    assert f"{found.similarity.value:.3f} is {side} the threshold 0.250" in text
    assert "right in 61.2 % [58.0, 64.5] of 900 pairs of LFW (chance: 50 %)" in text
    assert "does not show whether two pictures are of one person" in text
    # Nothing looks like a verdict.
    assert re.findall("<strong[^>]*>([^<]*)", text) == [f"{found.similarity.value:.3f}"]
    assert "same person" not in text
    assert "right in 48.1 % [46.0, 50.0] of 3,589 test pictures of FER-2013" in text
    assert "off by 2.5 points" in text
    # Names are escaped.
    assert "<b>glad" not in text
    assert found.probabilities is not None
    for name, shares in zip(
        ("calm", "&lt;b&gt;glad&lt;/b&gt;", "sad"), found.probabilities.T, strict=True
    ):
        row = re.search(f'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', text)
        assert row
        shown = [float(share) for share in re.findall(r"</meter> ([\d.]+) %", row[1])]
        assert shown == pytest.approx(100 * shares, abs=0.051)
    panels = re.findall(
        r'data-panel="([^"]+)"><img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', text
    )
    assert [name for name, _, _ in panels] == 2 * ["face", *found.panels]
    assert len({alt for _, _, alt in panels}) == len(panels)
    for i, (name, data, _) in enumerate(panels):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        which = i // (len(panels) // 2)
        pixels = found.faces[which] if name == "face" else found.panels[name][which]
        large = Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC)
        assert np.array_equal(shown, np.asarray(large)), name


def test_wrong_pictures_get_one_sentence_on_the_page(comparison, capsys):
    from ssl_faces.apps.demo.app import answer

    face = encoded(rendered(1)[0])
    for second, message in (
        (None, "Face B: no picture yet"),
        (b"no picture", "Face B: no picture or video of a known kind"),
    ):
        text = answer(comparison, LIMITS, face, second)
        assert text.count("<p ") == 1
        assert f'<p role="alert">{message}' in text
        assert "Traceback" not in text
    capsys.readouterr()

    class Broken:
        def __call__(self, *given, **more):
            raise RuntimeError("<secret>")

    text = answer(Broken(), LIMITS, face, face)
    assert "these pictures could not be compared" in text.lower()
    assert "secret" not in html.unescape(text)


def test_two_faces_are_compared(client, tmp_path):
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert re.search(r"'nonce-([^']+)'", policy)[1] in page.text
    assert not re.search(r'(src|href)="(?!data:)', page.text)
    files = list(map(encoded, rendered(2)))
    answered = client.post("/compare", json=request(*files, whole=True))
    assert answered.status_code == 200
    assert 'id="similarity"' in answered.text
    answered = client.post("/compare", json=request(files[0], None))
    assert "Face B: no picture yet" in answered.text
    data, message = NOT_PICTURES["bomb.png"]
    assert message in client.post("/compare", json=request(files[0], data)).text


def test_other_requests_are_refused(client):
    large = black(20, 20).tobytes() + bytes(2 * LIMITS.most_bytes)
    for status, words, more in (
        (403, {}, {"headers": {"origin": "http://evil.example"}}),
        (403, {}, {"headers": {"sec-fetch-site": "cross-site"}}),
        (400, {}, {"headers": {"host": "evil.example"}}),
        (400, {"images": ["***", None]}, {}),
        (400, {"images": [None]}, {}),
        (413, request(large, large), {}),
    ):
        body = {**request(None, None), **words}
        assert client.post("/compare", json=body, **more).status_code == status
    assert client.get("/docs").status_code == 404


def test_a_port_in_use(with_probe, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refusal(capsys, "demo", "--encoder", with_probe, "--port", port)
    assert f"--port {port}: can't be listened" in message


def test_a_public_host_gives_a_warning(with_probe, monkeypatch, capsys):
    served = []
    built = []
    monkeypatch.setattr("ssl_faces.apps.web.running.run_app", lambda *args: served.append(args))
    monkeypatch.setattr("ssl_faces.apps.demo.app.build_app", lambda *args: built.append(args))
    assert run("demo", "--encoder", with_probe) == 0
    assert "warning" not in capsys.readouterr().err
    # The encoder has no networks that edit faces; the released method has.
    assert built[0][0].method.name == "facecycle_identity"
    assert run("demo", "--encoder", with_probe, "--host", "0.0.0.0") == 0
    assert "warning: --host 0.0.0.0: whoever can reach this machine" in capsys.readouterr().err
    assert [args[1:] for args in built] == [(Limits(), True), (Limits(), False)]
    assert [args[1:] for args in served] == [("127.0.0.1", 7860), ("0.0.0.0", 7860)]


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_without_fastapi(command, monkeypatch, capsys):
    monkeypatch.setattr("ssl_faces.apps.web.find_spec", lambda name: None)
    assert f"pip install 'ssl-faces[{command}]'" in refusal(capsys, command)


WRONG = NOT_PICTURES | {"one.png": BAD_FILES["one.png"], "cut.jpg": BAD_FILES["cut.jpg"]}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uploads(name):
    data, message = WRONG[name]
    sentence = message_of(read_upload, data, "face A", Limits(0.05, 50_000))
    assert sentence.startswith("face A: ")
    assert message in sentence
    assert "; give " in sentence
    assert "\n" not in sentence
    assert "face B: no picture yet" in message_of(read_upload, None, "face B", Limits())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_within_the_limits(kind):
    pixels = black(48, 64) + 3 * np.arange(64, dtype=np.uint8)[:, None, None]
    data = encoded(pixels, kind, **({} if kind == "JPEG" else {"lossless": True}))
    upload = read_upload(data, "face A", Limits(len(data) / 2**20, 64 * 48))
    assert upload.shape == (64, 48, 3)
    assert np.abs(upload.astype(int) - pixels).max() <= (6 if kind == "JPEG" else 0)


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
