"""Training from packs: the same as from the pictures, in memory or not, whole or streamed."""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from ssl_faces.data.faces import FaceRecord, FaceSet
from ssl_faces.data.store.packing import pack_sets
from ssl_faces.data.store.selection import held_out_by
from ssl_faces.pairs.module import FaceData
from tests.support.packed import noise
from tests.support.refusals import message_of
from tests.support.waiting import eventually

SIZE, COUNT, SHARD = 8, 60, 12


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr("ssl_faces.data.store.packing.SHARD_BYTES", SHARD * 3 * SIZE * SIZE)


pixels = partial(noise, SIZE, SIZE)


def faces(name="noise", numbers=range(COUNT), tested=None):
    """Picture i shows person i // 3. Some tests hold out a person and one picture."""
    records = [FaceRecord(str(i), pixels(i), f"p{i // 3}") for i in numbers]
    if tested is None:
        return FaceSet(name, "all", records)
    test = FaceSet(name, "test", [FaceRecord("test", pixels(tested[1]), tested[0])])
    return FaceSet(
        name, "train", records, held_out_people=frozenset({tested[0]}), test=lambda: test
    )


KNOWN = {pixels(i).transpose(2, 0, 1).tobytes(): i for i in range(COUNT)}


def packed(folder, *sets):
    pack_sets(sets, folder, SIZE, held_out=held_out_by(sets))
    return folder


@pytest.fixture
def pack(tmp_path):
    """60 pictures in 5 shards."""
    return packed(tmp_path / "pack", faces())


def ready(packs, rank=0, world_size=1, **kwargs):
    place = None if packs is None else str(packs)
    data = FaceData(packs=place, **{"batch_size": 4, "size": SIZE, **kwargs})
    data.prepare_data()
    data.setup()
    progress = SimpleNamespace(current=SimpleNamespace(processed=0))
    data.trainer = SimpleNamespace(
        current_epoch=0,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        world_size=world_size,
        global_rank=rank,
        num_devices=1,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return data


def batches(data):
    return list(data.train_dataloader())


def numbers(found):
    """First picture, second picture, whether the second is mirrored."""
    rows = []
    for batch in found:
        for first, second in batch["pairs"]:
            upright = KNOWN.get(second.contiguous().numpy().tobytes())
            other = KNOWN[second.flip(-1).contiguous().numpy().tobytes()] if upright is None else -1
            number = KNOWN[first.contiguous().numpy().tobytes()]
            rows.append((number, other if upright is None else upright, upright is None))
    return rows


def same(ours, theirs):
    return len(ours) == len(theirs) and all(
        torch.equal(a["pairs"], b["pairs"]) and a["seed"] == b["seed"]
        for a, b in zip(ours, theirs, strict=True)
    )


# The same as from the pictures -------------------------------------------------------------------


def test_a_pack_trains_as_its_sets_do(tmp_path):
    sets = [faces("one", range(30), ("p4", 1)), faces("two", range(30, COUNT), ("p12", 50))]
    ours = ready(packed(tmp_path / "pack", *sets))
    theirs = ready(None, sets=sets)
    assert sorted(ours.trained_on()) == sorted(theirs.trained_on())
    assert len(ours.trained_on()) == COUNT - 3 - 3 - 1 - 1
    assert ours.description == theirs.description
    assert ours.description[0]["left_out_as_pictures_of_test_people"] == 3
    assert ours.description[0]["left_out_as_copies_of_test_pictures"] == 1
    assert ours.has_people


def test_tests_of_one_pack_are_left_out_of_the_others(tmp_path):
    """Person 4 and picture 1 are in the second pack, and tested by a set of the first."""
    one = packed(tmp_path / "one", faces("one", range(30, COUNT), ("p4", 1)))
    two = packed(tmp_path / "two", faces("two", range(30)))
    data = ready(f"{one},{two}")
    keys = {key for _, key, _ in data.trained_on()}
    assert keys == {str(i) for i in range(COUNT)} - {"1", "12", "13", "14"}
    assert data.description[1]["left_out_as_pictures_of_test_people"] == 3
    assert data.description[1]["left_out_as_copies_of_test_pictures"] == 1
    kept = ready(f"{one},{two}", leave_out_tests=False)
    assert len(kept.trained_on()) == COUNT
    assert kept.leaves_tests_out, "the first pack has, as far as its own pictures go"
    assert not ready(str(two), leave_out_tests=False).leaves_tests_out


def test_where_pictures_lie_changes_nothing(pack):
    on_disk = ready(pack, in_memory=False)
    there = ready(pack, in_memory=True)
    assert same(batches(on_disk), batches(there))
    assert on_disk.faces.memory is None
    assert there.faces.memory is not None


def test_auto_is_a_quarter_of_a_gpus_free_memory(pack, monkeypatch):
    data = ready(pack)
    data.train_dataloader()
    assert data.faces.memory is None, "on a CPU pictures are read from disk"
    taken = COUNT * 3 * SIZE * SIZE
    for free, kept in ((4 * taken, False), (4 * taken + 1, True)):
        monkeypatch.setattr(
            "ssl_faces.pairs.module.free_gpu_memory", lambda device, free=free: free
        )
        assert data._much_room(torch.device("cuda")) == kept
        assert not data._much_room(torch.device("cpu"))


def test_pairs_gathered_on_the_device_are_the_same(pack):
    """The processor stands in for a GPU that holds all pictures."""
    data, usual = ready(pack), batches(ready(pack))
    data._on_device = data.faces.load()
    data.augmentation = lambda pairs, mirrored: pairs
    found = batches(data)
    assert all("pairs" not in batch for batch in found)
    assert same([data.on_after_batch_transfer(batch, 0) for batch in found], usual)


# An epoch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("world_size", "workers"), [(1, 2), (2, 0), (3, 1)])
def test_ranks_and_workers_together_see_each_picture_once(pack, world_size, workers, streamed):
    """60 pictures, of which 3 ranks drop the last 60 - 4 * 15."""
    place, more = (f"file://{pack}", tight(pack)) if streamed else (str(pack), {})
    seen = []
    for rank in range(world_size):
        data = ready(place, rank, world_size, num_workers=workers, batch_size=5, **more)
        assert data.streamed == streamed
        seen += [first for first, _, _ in numbers(batches(data))]
    assert sorted(seen) == list(range(COUNT))


def tight(pack):
    """Settings with which four of the five shards can be kept: windows of two."""
    longest = max(path.stat().st_size for path in pack.glob("shard-*"))
    return {"cache_gb": (4 * longest + 1) / 1e9, "window": 2}


def test_streamed_pairs_are_of_one_person_in_two_levels(pack, own_cache):
    data = ready(f"file://{pack}", flip_share=0.0, batch_size=3, **tight(pack))
    shards = {key: k for k, keys in enumerate(shard_keys(data)) for key in keys}
    orders = []

    def kept_is_small():
        kept = (own_cache / "fetched").glob("*.npy")
        return sum(path.stat().st_size for path in kept) <= data.cache_gb * 1e9

    for epoch in range(3):
        data.trainer.current_epoch = epoch
        rows = numbers(batches(data))
        assert sorted(first for first, _, _ in rows) == list(range(COUNT))
        assert all(first // 3 == second // 3 and first != second for first, second, _ in rows)
        windows = [shards[str(first)] for first, _, _ in rows]
        assert len(set(windows[: 2 * SHARD])) == 2, "two shards first"
        orders.append([first for first, _, _ in rows])
        # A shard that is being fetched ahead may stand there before another one goes.
        eventually(kept_is_small)
    assert orders[0] != orders[1] != orders[2]


def shard_keys(data):
    index = data.packs[0].index
    keys = index.images.key_list()
    return [keys[begin:end] for begin, end in pairwise(index.starts().tolist())]


def test_a_remote_pack_that_fits_the_cache_trains_as_one_that_is_here(pack):
    here, remote = ready(pack), ready(f"file://{pack}")
    fits = ready(f"file://{pack}", cache_gb=1.0)
    assert not remote.streamed
    assert not fits.streamed
    assert same(batches(here), batches(remote))
    assert same(batches(here), batches(fits))


@pytest.mark.parametrize("streamed", [False, True])
def test_an_epoch_is_resumed_at_the_next_pair_with_other_workers(pack, streamed):
    place, more = (f"file://{pack}", tight(pack)) if streamed else (str(pack), {})
    whole = batches(ready(place, num_workers=2, **more))
    state = ready(place, **more).state_dict()
    for workers in (0, 1, 2):
        data = ready(place, num_workers=workers, **more)
        data.load_state_dict(state)
        data.trainer.fit_loop.epoch_loop.batch_progress.current.processed = 7
        assert same(batches(data), whole[7:])


def test_packs_that_are_here_go_by_windows_when_asked(pack):
    """In the very order in which they would be streamed."""
    streamed = batches(ready(f"file://{pack}", **tight(pack)))
    assert same(batches(ready(pack, window=2)), streamed)
    assert same(batches(ready(pack, window=2, in_memory=False)), streamed)
    assert not same(batches(ready(pack)), streamed)


def test_loader_processes_of_one_that_has_fetched(pack):
    """Its threads stay behind when they are forked."""
    data = ready(f"file://{pack}", **tight(pack))
    alone = batches(data)
    data.num_workers = 2
    assert same(batches(data), alone)


def test_another_window_is_another_order_and_not_resumed(pack):
    more = tight(pack)
    state = {"epoch": 0, "batch": 7, "order": ready(f"file://{pack}", **more)._order()}
    data = ready(f"file://{pack}")
    assert "window 2 (now None)" in message_of(data.load_state_dict, state)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_sample(pack, streamed):
    place, more = (f"file://{pack}", tight(pack)) if streamed else (str(pack), {})
    sample = ready(place, **more).sample(6)["pairs"]
    found = numbers([{"pairs": (255 * sample).round().to(torch.uint8)}])
    assert len({first for first, _, _ in found}) == 6
    assert all(first // 3 == second // 3 for first, second, _ in found)


# Bad input --------------------------------------------------------------------------------------


def test_invalid_settings(pack, tmp_path):
    assert "data.packs and data.root" in message_of(ready, pack, root=tmp_path)
    assert "data.window: 0" in message_of(ready, pack, window=0)
    assert "data.cache_gb: 0;" in message_of(ready, pack, cache_gb=0.0)
    text = message_of(ready, pack, size=16)
    assert f"{pack}: a pack of 8 px, and data.size is 16; set data.size=8" in text
    assert "no such folder" in message_of(ready, tmp_path / "none")
    text = message_of(ready, f"file://{pack}", cache_gb=9e-6, window=2)
    assert "data.cache_gb: 9e-06 holds fewer than two windows of 2 shards" in text
    data = ready(f"file://{pack}", in_memory=True, **tight(pack))
    assert "set data.in_memory=false" in message_of(data.train_dataloader)


def test_streamed_packs_leave_out_each_others_tests(tmp_path):
    one = packed(tmp_path / "one", faces("one", range(30, COUNT), ("p4", 1)))
    two = packed(tmp_path / "two", faces("two", range(30)))
    expected = {str(i) for i in range(COUNT)} - {"1", "12", "13", "14"}
    longest = max(path.stat().st_size for path in tmp_path.glob("*/shard-*"))
    more = {"cache_gb": (2 * longest + 1) / 1e9, "window": 1}
    data = ready(f"file://{one},file://{two}", **more)
    assert data.streamed
    assert {key for _, key, _ in data.trained_on()} == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_goes_missing_in_training(pack, workers):
    """Told in one sentence, from a loader's process too."""
    data = ready(f"file://{pack}", num_workers=workers, **tight(pack))
    loader = iter(data.train_dataloader())
    for path in pack.glob("shard-*"):
        path.unlink()
    text = message_of(lambda: list(loader))
    assert ".npy: not there" in text
