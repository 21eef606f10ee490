"""Hashes of training images: they tell which test images an encoder was trained on."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from linear_probe.cli import main as linear_probe
from linear_probe.experiments.probe import run_probes
from linear_probe.sources.overlap import overlap_in_words
from ssl_faces import load_encoder, save_encoder
from ssl_faces.apps.release import release
from ssl_faces.cli import main as ssl_faces
from ssl_faces.data import ClassFolders, ImageFolder, JoinedFaces
from ssl_faces.data.near_copies import Described
from ssl_faces.encoders.encoder import HASHES, TRAINED_FILE
from ssl_faces.encoders.saved_probe import load_probe
from ssl_faces.encoders.trained_images import (
    BYTES,
    hashes_of,
    load_trained_images,
    make_trained_images,
    save_trained_images,
)
from ssl_faces.methods.moco_v3 import MoCoV3
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder
from ssl_faces.pairs.module import FaceData
from tests.support.fits import fit, method_run, refused, weights
from tests.support.photographs import CHANGES, photographs_of_people, saved
from tests.support.refusals import message_of


@pytest.fixture(scope="module")
def photographs(real_data):
    return photographs_of_people(real_data)


@pytest.fixture
def trained_on(tmp_path):
    """An encoder, as it is saved after training on the images of a folder."""

    def save(root, **settings):
        data = FaceData(root, size=48, cache=tmp_path / "cache", **settings)
        data.prepare_data()
        data.setup()
        torch.manual_seed(0)
        encoder = BackboneEncoder("resnet18", input_size=32, width=0.125)
        place = tmp_path / "encoder"
        _, digest = save_trained_images(place, hashes_of(data))
        card = {"method": "none", "data": data.description, HASHES: {TRAINED_FILE: digest}}
        return save_encoder(encoder, place, card)

    return save


@pytest.fixture
def folders(photographs, tmp_path):
    """Faces of 40 people to learn from, and of 20 others to test on, in two classes."""
    first = [image for image, _ in photographs]
    for side, images in (("train", first[:40]), ("test", first[40:])):
        for place, kind in enumerate(("a", "b")):
            saved(tmp_path / side / kind, images[place::2])
    return tmp_path


def score(encoder, root, out):
    """The overlap in all records of a run on the folders `train` and `test` of `root`."""
    sides = [ClassFolders(root / side) for side in ("train", "test")]
    records = run_probes(
        [str(encoder)],
        out,
        own=[JoinedFaces(*sides, "own_folders", "test", "train -> test")],
        tasks=["classes"],
        baselines=["HOG", "untrained"],
        replicates=20,
    )
    ours = [record for record in records if record.encoder == str(encoder)]
    assert ours
    assert all(record.overlap == ours[0].overlap for record in ours)
    assert all(record.overlap == {} for record in records if record not in ours)
    return ours[0].overlap


def test_all_test_images_that_were_trained_on_are_reported(folders, trained_on, tmp_path, capsys):
    encoder = trained_on(folders / "test")
    overlap = {"images": 20, "identical": 20, "near": 0, "of_people": 0}
    assert score(encoder, folders, tmp_path / "out") == overlap
    line = overlap_in_words(str(encoder), "test", overlap)
    assert "on 20 byte for byte" in line
    assert capsys.readouterr().out.count(line) == 1
    assert linear_probe(["report", str(tmp_path / "out")]) == 0
    # Tables have short names in place of paths.
    assert line.removeprefix(str(encoder)) in capsys.readouterr().out


def test_a_saved_probe_has_the_overlap(photographs, trained_on, tmp_path):
    own = tmp_path / "own"
    for place, kind in enumerate(("happy", "sad")):
        saved(own / kind, [image for image, _ in photographs][place::2])
    encoder = trained_on(own, leave_out_tests=False)
    words = ["--encoder", str(encoder), "--data", str(own), "--out", str(tmp_path / "out")]
    assert linear_probe(["save-probe", *words]) == 0
    probe = load_probe(encoder)
    overlap = probe.about["overlap"]
    assert overlap["identical"] == overlap["images"] == probe.about["accuracy"]["n"]


def test_no_overlap_is_said_only_where_there_is_none(folders, trained_on, tmp_path, capsys):
    encoder = trained_on(folders / "train")
    overlap = score(encoder, folders, tmp_path / "out")
    assert (overlap["images"], overlap["identical"], overlap["of_people"]) == (20, 0, 0)
    assert overlap["near"] <= 1
    (encoder / TRAINED_FILE).unlink()
    capsys.readouterr()
    assert score(encoder, folders, tmp_path / "again") == {}
    printed = capsys.readouterr().out
    assert "no hashes of its training images" in printed
    assert "none of the" not in printed


@pytest.mark.parametrize("how", CHANGES)
def test_near_copies_are_found_and_other_photographs_are_not(
    how, photographs, trained_on, tmp_path
):
    first, second = map(list, zip(*photographs, strict=True))
    trained = load_trained_images(trained_on(saved(tmp_path / "train", first)))
    for name, images, low, high in (
        ("copies", [CHANGES[how](image) for image in first], 54, 60),
        ("others", second, 0, 3),
    ):
        faces = ImageFolder(saved(tmp_path / name, images))
        found = trained.overlap(Described(faces))
        assert (found.images, found.identical) == (60, 0)
        assert low <= found.near <= high


def test_people_count_by_name(photographs, trained_on, tmp_path):
    first, second = map(list, zip(*photographs, strict=True))
    for place in range(4):
        saved(tmp_path / "train" / f"person {place}", [first[place]])
        saved(tmp_path / "test" / f"person {place + 2}", [second[place]])
    sets = [ImageFolder(tmp_path / "train", people_from_folders=True)]
    trained = load_trained_images(trained_on(None, sets=sets))
    assert len(trained.people) == 4
    test = Described(ImageFolder(tmp_path / "test", people_from_folders=True))
    assert trained.overlap(test).of_people == 2


def test_they_are_small_made_again_released_and_checked(folders, trained_on, tmp_path):
    encoder = trained_on(folders / "train")
    path = encoder / TRAINED_FILE
    content = path.read_bytes()
    trained = load_trained_images(encoder)
    assert trained.exact.nbytes + trained.bits.nbytes + trained.sets.nbytes == 40 * BYTES

    path.unlink()
    more = [str(encoder), "--data", str(folders / "train"), "--cache", str(tmp_path / "cache")]
    assert ssl_faces(["trained-images", *more]) == 0
    assert path.read_bytes() == content
    text = message_of(make_trained_images, encoder, folders / "test", tmp_path / "cache")
    assert "was trained on other images than --data has" in text
    assert "40 in the card" in text

    sets = tmp_path / "sets.yaml"
    sets.write_text(
        "data:\n  sets:\n  - class_path: ssl_faces.data.ImageFolder\n"
        f"    init_args: {{root: {folders / 'train'}}}\n"
    )
    path.unlink()
    more = [str(encoder), "-c", str(sets), "--cache", str(tmp_path / "cache")]
    assert ssl_faces(["trained-images", *more]) == 0
    assert path.read_bytes() == content

    release(encoder, "small", tmp_path / "released")
    released = tmp_path / "released" / "small"
    assert (released / TRAINED_FILE).read_bytes() == content
    assert TRAINED_FILE in json.loads((released / "card.json").read_text())[HASHES]
    assert load_encoder(released).place == released

    path.write_bytes(content[:-9])
    assert "its bytes are not those" in message_of(load_trained_images, encoder)


STILL = ("--model.optimizer.peak_learning_rate", "0", "--model.optimizer.weight_decay", "0")
"""Training that changes no weights."""


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of SimCLR."""
    folder = tmp_path_factory.mktemp("first")
    fit(*method_run("simclr", "resnet18", folder, folder / "run"))
    return folder / "run"


def parameters(encoder):
    return {name: value.detach() for name, value in encoder.named_parameters()}


@pytest.mark.parametrize("place", ["", "encoder/encoder.safetensors", "checkpoints/last.ckpt"])
def test_another_method_continues(place, first, tmp_path):
    """From each form of the weights; its card names all images and what it started from."""
    start = ("--model.encoder.weights", str(first / place))
    fit(*method_run("byol", "resnet18", first.parent, tmp_path / "run", *start, *STILL, people=40))
    encoder = load_encoder(tmp_path / "run")
    expected = parameters(load_encoder(first))
    for name, value in parameters(encoder).items():
        assert torch.equal(value, expected[name]), name
    name = "network.conv1.weight"  # the teacher starts as a copy
    torch.testing.assert_close(weights(tmp_path / "run")[f"teacher.encoder.{name}"], expected[name])
    started = encoder.card["started_from"]
    assert started["encoder"] == str(first / place)
    assert (started["method"], started["steps"]) == ("simclr", 2)
    assert "weights" not in encoder.config
    # Overlaps with test images count those that the first was trained on.
    both = load_trained_images(tmp_path / "run")
    earlier = load_trained_images(first)
    assert len(both.mean) == 2 * len(earlier.mean) == 2
    assert {bytes(row) for row in earlier.exact} < {bytes(row) for row in both.exact}


def test_without_hashes_of_the_first_none_are_saved(first, tmp_path, capsys):
    """Rather than some that look like all."""
    file = tmp_path / "own.safetensors"
    save_file(load_encoder(first).state_dict(), file)
    start = ("--model.encoder.weights", str(file))
    fit(*method_run("simclr", "resnet18", first.parent, tmp_path / "run", *start))
    assert f"no hashes of training images: {file} has none" in capsys.readouterr().out
    assert load_trained_images(tmp_path / "run") is None
    card = json.loads((tmp_path / "run/encoder/card.json").read_text())
    assert card["started_from"] == {"encoder": str(file)}


def test_a_resumed_run_equals_an_uninterrupted_one(first, tmp_path):
    words = ("--model.encoder.weights", str(first), "--checkpoint_every", "1")
    for steps in ("1", "2"):
        more = ("--trainer.max_steps", steps, "--ckpt_path", "last")
        fit(*method_run("vicreg", "resnet18", first.parent, tmp_path / "cut", *words, *more))
    assert load_encoder(tmp_path / "cut").card["started_from"]["encoder"] == str(first)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        (
            ("--model.encoder.weights", "{first}", "--model.encoder.width", "0.125"),
            "of another shape network.layer1.0.conv1.weight [4, 64, 3, 3], not [8, 64, 3, 3], net",
        ),
        (("--model.encoder.weights", "facecycle"), "they are of a facecycle encoder"),
        (
            ("--model.encoder.weights", "hybrid"),
            "they need --model.encoder.name resnet18 --model.encoder.input_size 48 "
            "--model.encoder.width 0.5",
        ),
        (("--model.encoder.weights", "hybrit"), "--model.encoder.weights: encoder hybrit: no card"),
        (("--model.encoder.weights", "no.ckpt"), "--model.encoder.weights: encoder no.ckpt: no c"),
    ],
)
def test_weights_of_another_architecture(more, shown, first, tmp_path, capsys):
    words = [word.format(first=first) for word in more]
    run = method_run("simclr", "resnet18", first.parent, tmp_path / "r", *words)
    assert shown in refused(capsys, *run)
    assert not (tmp_path / "r").exists()


def test_codes_that_the_weights_lack_are_new():
    torch.manual_seed(0)
    hybrid = EncoderSettings("resnet18", 48, 0.5, "hybrid")
    expected = load_encoder("hybrid").state_dict()
    new = new_encoder(hybrid, {"identity": 512, "mood": 8}, codes_from="map").state_dict()
    for name, value in new.items():
        assert (name in expected) == ("mood" not in name)
        assert name not in expected or torch.equal(value, expected[name].to(value.dtype))
    text = message_of(new_encoder, hybrid, {"identity": 8}, codes_from="map")
    assert "of another shape codes.identity.weight [512, " in text


def test_moco_keeps_what_it_starts_from(tmp_path):
    """It has its own first patch projections and positions only in a random ViT."""
    torch.manual_seed(0)
    vit = BackboneEncoder("timm:test_vit", 32)
    torch.nn.init.normal_(vit.network.pos_embed)
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    settings = EncoderSettings("timm:test_vit", 32, weights=str(tmp_path / "vit.safetensors"))
    method = MoCoV3(settings, hidden_dim=16, projection_dim=8)
    for name, value in vit.state_dict().items():
        assert torch.equal(method.encoder.state_dict()[name], value), name
    assert not method.encoder.network.pos_embed.requires_grad


def test_the_pages_command(tmp_path, monkeypatch):
    """The released hybrid goes on, by the same losses."""
    page = Path(__file__).parents[2] / "ssl_faces/training/README.md"
    (line,) = [x for x in page.read_text().splitlines() if "--model.encoder.weights hybrid" in x]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path / "none"))
    few = ("--data.rendered", "300", "--data.batch_size", "4", "--trainer.max_steps", "1")
    quiet = ("--panels_every", "0", "--probe_every", "0", "--data.cache", str(tmp_path / "packed"))
    fit(*shlex.split(line)[1:], *few, *quiet, *STILL, "--trainer.precision", "32-true")
    encoder, released = load_encoder("runs/more"), load_encoder("hybrid")
    expected = parameters(released)
    for name, value in parameters(encoder).items():
        assert torch.equal(value, expected[name]), name
    assert encoder.card["started_from"]["data"] == released.card["data"]
