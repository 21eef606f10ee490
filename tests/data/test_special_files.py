"""Pipes, sockets, devices and links to them are never opened: reading them may never end."""

import os
import signal
import socket

import numpy as np
import pytest
from PIL import Image

from linear_probe.cli import main as linear_probe
from linear_probe.sources.table import EmbeddingTable
from ssl_faces.cli import main
from ssl_faces.common.checkpoints import read_checkpoint
from ssl_faces.common.yaml_settings import read_yaml
from ssl_faces.data import ImageFolder, decode_image, find_face_sets
from ssl_faces.data.pictures import MOST_BYTES, BadImage
from ssl_faces.data.sets.class_folders import ClassFolders
from ssl_faces.data.sets.fer2013 import Fer2013
from ssl_faces.data.sets.lfw import read_pairs
from ssl_faces.data.store.index import INDEX
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.tables import read_table
from ssl_faces.methods.released import read_state
from tests.support.refusals import message_of

NOT_REGULAR = "a pipe, a socket or a device"


@pytest.fixture(autouse=True)
def no_waiting():
    """A test that waits for a pipe fails."""

    def fail(number, frame):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def socket_at(path):
    # Bound by a short name: addresses are 108 bytes at most.
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


KINDS = {"pipe": pipe, "device": device, "socket": socket_at}


@pytest.fixture(params=KINDS)
def special(request):
    def make(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        KINDS[request.param](path)
        return path

    return make


def save(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(path)


def test_images_are_skipped_and_listed(special, tmp_path):
    save(tmp_path / "faces" / "a.png", 1)
    special(tmp_path / "faces" / "x.jpg")
    (tmp_path / "faces" / "y.jpg").symlink_to("y.jpg")
    done = pack_sets([ImageFolder(tmp_path / "faces")], tmp_path / "pack", 16)
    assert (done.pictures, done.skipped) == (1, 2)
    reasons = {item.key: item.reason for _, item in Pack(tmp_path / "pack").skipped()}
    assert reasons["x.jpg"] == f"can't be read ({NOT_REGULAR})"
    assert "symbolic links" in reasons["y.jpg"]


def test_images_of_labelled_sets_are_skipped(special, tmp_path):
    for i in range(4):
        save(tmp_path / "faces" / ("happy" if i % 2 else "sad") / f"{i}.png", i)
    special(tmp_path / "faces" / "happy" / "x.jpg")
    special(tmp_path / "faces" / "sad" / "labels.csv")
    (train,) = find_face_sets(tmp_path / "faces")
    assert isinstance(train, ClassFolders)
    assert [item.key for item in train.skipped] == ["happy/x.jpg"]
    everything = ClassFolders(tmp_path / "faces")
    place = [record.key for record in everything.records].index("happy/x.jpg")
    with pytest.raises(BadImage, match=NOT_REGULAR):
        everything.content_hash(place)


READERS = {
    "table.csv": lambda path: list(read_table(path, ["image"])),
    "settings.yaml": lambda path: read_yaml(path, "configs"),
    "last.ckpt": lambda path: read_checkpoint(path),
    "fer2013.csv": lambda path: Fer2013(path.parent),
    "pairs.txt": lambda path: read_pairs(path),
    "method.safetensors": lambda path: read_state(path.parent),
    "features.npz": lambda path: EmbeddingTable(str(path)),
    "index.json": lambda path: Pack(path.parent),
}


@pytest.mark.parametrize("name", READERS)
def test_other_files_are_refused(name, special, tmp_path):
    path = special(tmp_path / "folder" / name)
    text = message_of(READERS[name], path)
    assert str(path) in text
    assert NOT_REGULAR in text


def test_arguments_of_the_commands_are_refused(special, tmp_path, capsys):
    path = special(tmp_path / "x")
    for command, words in (
        (main, ["fit", "-c", str(path), "--out", str(tmp_path / "run")]),
        (main, ["fit", f"--config={path}", "--out", str(tmp_path / "run")]),
        (linear_probe, ["head", "-c", str(path), "--out", str(tmp_path / "run")]),
    ):
        assert command(words) == 2
        assert f"error: {path}: is {NOT_REGULAR}; give a" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_file_of_many_bytes_is_not_read(tmp_path):
    with (tmp_path / "x.jpg").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(BadImage, match="more than 1,073,741,824 bytes"):
        decode_image(tmp_path / "x.jpg")


def test_packing_beside_an_index_that_is_no_file(special, tmp_path):
    save(tmp_path / "faces" / "a.png", 1)
    special(tmp_path / "pack" / INDEX)
    text = message_of(pack_sets, [ImageFolder(tmp_path / "faces")], tmp_path / "pack", 16)
    assert f"{INDEX}: can't be read ({NOT_REGULAR})" in text
