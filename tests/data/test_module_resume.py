"""A resumed run goes through the rest of its epoch, and needs the images and settings of before."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.support.face_data import keys_of, ready
from tests.support.noise_sets import four_sets, put_picture
from tests.support.refusals import message_of


@pytest.fixture
def root(tmp_path):
    return four_sets(tmp_path / "data")


def put_at(data, epoch, batch):
    """Give `data` a trainer that has trained on so many epochs and batches."""
    progress = SimpleNamespace(current=SimpleNamespace(processed=batch))
    data.trainer = SimpleNamespace(
        current_epoch=epoch,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        world_size=1,
        global_rank=0,
        num_devices=1,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_resumed_epoch_continues_where_it_stopped(root, share):
    whole = list(ready(root, different_share=share).train_dataloader())
    data = ready(root, different_share=share)
    put_at(data, 0, 3)
    rest = list(data.train_dataloader())
    assert [b["seed"] for b in rest] == [b["seed"] for b in whole[3:]]
    assert all(
        torch.equal(one["pairs"], other["pairs"])
        for one, other in zip(rest, whole[3:], strict=True)
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"batch_size": 5}, "batch_size 4 (now 5)"),
        ({"seed": 1}, "seed 0 (now 1)"),
        ({"flip_share": 0.25}, "flip_share 0.5 (now 0.25)"),
        ({"positives": "picture"}, "positives frames (now picture)"),
        ({"size": 24}, "size 16 (now 24)"),
    ],
)
def test_a_run_is_not_resumed_with_other_data(root, change, expected):
    state, other = ready(root).state_dict(), ready(root, **change)
    text = message_of(other.load_state_dict, state)
    assert "can't be resumed with other data settings" in text
    assert expected in text
    assert "--out" in text


def copied(root, to):
    """The same files with other times, listed by the file system in another order."""
    for path in sorted(filter(Path.is_file, root.rglob("*")), reverse=True):
        place = to / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
        os.utime(place, (1, 1))
    return to


@pytest.mark.parametrize("plain", [True, False])
def test_a_run_is_resumed_with_a_copy_of_its_pictures(root, tmp_path, plain, monkeypatch):
    """On another machine, with another cache, in a folder of another name; sets and any folder."""
    source = root / "utk" if plain else root
    if plain:
        (root / "utk" / "sub").mkdir()
        for i, path in enumerate(sorted((root / "utk").glob("*.png"))):
            path.rename(root / "utk" / ("sub" if i % 2 else "") / f"{i}.png")
    whole = ready(source)
    batches = list(whole.train_dataloader())
    state = whole.state_dict()
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "others"))
    other = ready(copied(source, tmp_path / "elsewhere"))
    other.load_state_dict(state)
    put_at(other, 0, 3)
    for one, two in zip(other.train_dataloader(), batches[3:], strict=True):
        assert torch.equal(one["pairs"], two["pairs"])


def test_a_checkpoint_of_before_is_resumed(root):
    data = ready(root)
    order = data._order()
    del order["size"]
    data.load_state_dict({"epoch": 0, "batch": 2, "order": order})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("add", "48, and there are 49 now; added 30_0_0_2018.png; give"),
        ("remove", "48, and there are 44 now; removed {0}, {1}, {2} and 1 more; give"),
        ("replace", "48, and there are 48 now; changed {0}; give"),
        ("rename", "48, and there are 48 now; added 30_0_0_2018.png, removed {0}; give"),
        ("tests", "48, and there are 71 now; added "),
    ],
)
def test_a_run_is_not_resumed_with_other_pictures(root, change, expected):
    data = ready(root)
    state, keys = data.state_dict(), sorted(keys_of(data, "utkface"))
    new, old = root / "utk" / "30_0_0_2018.png", root / "utk" / keys[0]
    if change == "add":
        put_picture(new, 77)
    elif change == "remove":
        for key in keys[:4]:
            (root / "utk" / key).unlink()
    elif change == "replace":
        put_picture(old, 78)
    elif change == "rename":
        old.rename(new)
    text = message_of(ready(root, leave_out_tests=change != "tests").load_state_dict, state)
    assert "can't be resumed with other images: it was trained on 48, and" in text
    assert expected.format(*keys) in text
