"""Neutral frontal faces of rendered people, beside the pairs that are trained on."""

import numpy as np
import pytest
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.data.store.cached import pack
from ssl_faces.data.store.stored_faces import StoredFaces
from ssl_faces.pairs.augment import PairAugmentation
from ssl_faces.pairs.module import FaceData
from ssl_faces.pairs.pairing import PairBatches, gather
from ssl_faces.rendered import ACTION_UNITS, RenderedClips, RenderedFaces

SIZE = 16
FRAMES = 5


@pytest.fixture(scope="module")
def clips():
    return RenderedClips(24, 12, FRAMES, size=SIZE, head="turn", neutral=True)


@pytest.fixture(scope="module")
def faces(clips, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return StoredFaces([pack(s, SIZE, cache) for s in (clips, RenderedFaces(20, 10, size=SIZE))])


def test_a_clip_ends_in_its_neutral_frontal_face(clips):
    plain = RenderedClips(24, 12, FRAMES, size=SIZE, head="turn")
    count = len(plain) // FRAMES
    assert len(clips) == count * (FRAMES + 1)
    images = clips.render_batch(range(len(clips))).unflatten(0, (count, FRAMES + 1))
    expected = plain.render_batch(range(len(plain))).unflatten(0, (count, FRAMES))
    assert torch.equal(images[:, :FRAMES], expected)
    last = np.arange(FRAMES, len(clips), FRAMES + 1)
    factors, before = clips.factors(last), clips.factors(last - 1)
    for name, values in factors.items():
        if name in (*ACTION_UNITS, "yaw", "pitch", "roll", "gaze"):
            assert not values.any(), name
        elif name != "noise_offset":
            assert torch.equal(values, before[name]), name
    for index in last.tolist():
        record = clips.records[index]
        assert record.key == clips.records[index - 1].key[: -len("/0004")] + "/neutral"
        assert record.labels["expression"] == clips.class_names["expression"].index("neutral")
        assert record.labels["frame"] == FRAMES


@pytest.mark.parametrize("gathered", [True, False], ids=["read", "numbers"])
def test_batches_have_the_neutral_face_of_the_same_clip(clips, faces, gathered):
    """Of the same clip; images of the same people outside of clips have none."""
    memory = torch.empty(int(faces.starts[-1]), 3 * SIZE**2, dtype=torch.uint8)
    faces.read(np.arange(len(memory)), memory.numpy(), np.arange(len(memory)))
    memory = memory.view(-1, 3, SIZE, SIZE)
    keys = [key for one in faces.packs for key in one.index.images.key_list()]
    batches = PairBatches(faces, batch_size=8, gather=gathered, neutral=faces.neutral_faces())
    seen = set()
    for batch in batches:
        numbers = {image.numpy().tobytes(): n for n, image in enumerate(memory)}
        if gathered:
            triples = torch.cat((batch["pairs"], batch["neutral"][:, None]), 1)
        else:
            triples = gather(memory, batch["numbers"], batch["mirrored"])
        for (first, _, neutral), has in zip(triples, batch["has_neutral"].tolist(), strict=True):
            a, b = (numbers[image.numpy().tobytes()] for image in (first, neutral))
            assert has == (a < len(clips))
            if has:
                assert keys[b].endswith("/neutral")
                assert keys[a].split("/")[:2] == keys[b].split("/")[:2]
            else:
                assert a == b
            seen.add(has)
    assert seen == {True, False}


def test_a_third_image_is_augmented_like_the_first():
    first, second = torch.rand(2, 6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    augmented = PairAugmentation(SIZE)(torch.stack((first, second, first), 1))
    assert torch.equal(augmented[:, 0], augmented[:, 2])
    assert not torch.equal(augmented[:, 0], first)


def test_the_data_module_gives_augmented_neutral_faces(clips, tmp_path):
    data = FaceData(sets=[clips], size=SIZE, batch_size=4, cache=tmp_path, neutral_faces=True)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    ready = data.on_after_batch_transfer(batch, 0)
    assert ready["pairs"].shape == (4, 2, 3, SIZE, SIZE)
    assert ready["neutral"].shape == (4, 3, SIZE, SIZE)
    assert ready["neutral"].is_floating_point()
    assert ready["has_neutral"].all()


def test_what_neutral_faces_need(tmp_path):
    with pytest.raises(InputError, match="neutral_faces: true needs an augmentation that both"):
        FaceData(neutral_faces=True, augmentation="views")
    plain = [RenderedFaces(20, 10, size=SIZE)]
    data = FaceData(sets=plain, size=SIZE, batch_size=4, cache=tmp_path, neutral_faces=True)
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(InputError, match=r"no image's key ends in /neutral; add rendered clips"):
        data.train_dataloader()
