"""The data module of pretraining: face sets, less what probes test on, as batches of pairs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ssl_faces.data.augment import PairAugmentation
from ssl_faces.data.discover import default_data_root, find_face_sets
from ssl_faces.data.faces import FaceSet, Skipped
from ssl_faces.data.packing import PackedFaces, pack
from ssl_faces.data.pairs import PairBatch, PairBatches
from ssl_faces.data.pictures import BadPicture
from ssl_faces.data.rendered import RenderedFaces
from ssl_faces.errors import InputError

_log = logging.getLogger(__name__)


class FaceDataModule(pl.LightningDataModule):
    """Unlabelled faces for pretraining, in pairs.

    By default everything that a probe tests on is left out: the test parts of the sets, pictures
    byte-identical to one of them, and every picture of a test person in whichever set (LFW and
    the YouTube keypoints share people).

    Args:
        root: folder with face sets (FER-2013, LFW, UTKFace, YouTube keypoints, found by
            what they hold) or with any pictures. Default: `$SSL_FACES_DATA` or
            `~/.cache/ssl-faces/data` if there is one, else rendered faces.
        sets: face sets given one by one instead of `root`; each as its `train` part.
        rendered: how many rendered faces serve where there are no real ones.
        batch_size: pairs a step, on each device.
        size: side of the pictures.
        flip_share: probability that the second frame is the first one's mirror image where the
            person has other pictures.
        use_people: whether pairs may be two pictures of one person; False: mirror images only.
        leave_out_tests: see above; False trains on test faces too, which the card then says.
        seed: of order, pairs and augmentation.
        num_workers: of the loader; pictures come from memory, so that 0 is mostly best.
        cache: where packed faces are kept; default `$SSL_FACES_CACHE` or
            `~/.cache/ssl-faces/packed`.
    """

    def __init__(
        self,
        root: Path | None = None,
        sets: list[FaceSet] | None = None,
        rendered: int = 8192,
        batch_size: int = 16,
        size: int = 64,
        flip_share: float = 0.5,
        use_people: bool = True,
        leave_out_tests: bool = True,
        seed: int = 0,
        num_workers: int = 0,
        cache: Path | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"data.batch_size: {batch_size}; give at least 1 pair")
        if not 0 <= flip_share <= 1:
            raise InputError(f"data.flip_share: {flip_share}; give a probability from 0 to 1")
        if seed < 0:
            raise InputError(f"data.seed: {seed}; give a whole number from 0")
        if sets is not None and not sets:
            raise InputError("data.sets: no face set in it; name at least one, or leave it out")
        self.root = root
        self.sets = sets
        self.rendered = rendered
        self.batch_size = batch_size
        self.size = size
        self.flip_share = flip_share
        self.use_people = use_people
        self.leave_out_tests = leave_out_tests
        self.seed = seed
        self.num_workers = num_workers
        self.cache = cache
        self.augmentation = PairAugmentation(size)
        self.description: list[dict[str, Any]] = []
        self.skipped: list[tuple[str, Skipped]] = []
        self._chosen: np.ndarray | None = None
        self._resume = (0, 0)

    # Faces ---------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Pack every set, once a machine."""
        for faces in _with_pictures(self._face_sets()):
            pack(faces, self.size, self.cache)

    def setup(self, stage: str | None = None) -> None:
        if self._chosen is not None:
            return
        sets = _with_pictures(self._face_sets())
        packs = [pack(faces, self.size, self.cache) for faces in sets]
        # Of all sets: one that is all test has nothing to train on, but much to leave out.
        test_people, test_hashes = self._tests(self._face_sets())
        chosen: list[np.ndarray] = []
        people: list[str | None] = []
        offset = 0
        for faces, packed in zip(sets, packs, strict=True):
            keep = self._keep(faces, packed, test_people, test_hashes)
            chosen.append(offset + keep)
            # LFW and the YouTube keypoints name the same people: pairs may cross sets.
            people += [faces.records[packed.records[i]].person for i in keep]
            offset += len(packed.images)
        self._arrays = [packed.images for packed in packs]
        self._chosen = np.concatenate(chosen)
        names: dict[str, int] = {}
        self._people = np.array(
            [
                -1 if name is None or not self.use_people else names.setdefault(name, len(names))
                for name in people
            ],
            dtype=np.int64,
        )
        self.face_sets, self.packs = sets, packs

    def _face_sets(self) -> list[FaceSet]:
        if self.sets is None:
            part = "train" if self.leave_out_tests else "all"
            if self.root is not None:
                self.sets = find_face_sets(self.root, part)  # type: ignore[arg-type]
            elif default_data_root().is_dir():
                self.sets = find_face_sets(default_data_root(), part)  # type: ignore[arg-type]
            else:
                _log.warning(
                    "no faces at %s: training on rendered ones (give --data.root FOLDER)",
                    default_data_root(),
                )
                self.sets = [RenderedFaces(self.rendered, size=self.size, seed=self.seed)]
        return self.sets

    def _tests(self, sets: list[FaceSet]) -> tuple[frozenset[str], set[str]]:
        """People and picture hashes that pretraining must not see."""
        if not self.leave_out_tests:
            return frozenset(), set()
        hashes: set[str] = set()
        for faces in sets:
            test = faces.test_part()
            if test is None:
                continue
            for i in range(len(test)):
                # A picture that can't be read is none that a probe could test on.
                with contextlib.suppress(BadPicture):
                    hashes.add(test.content_hash(i).hex())
        return frozenset().union(*(faces.held_out_people for faces in sets)), hashes

    def _keep(
        self,
        faces: FaceSet,
        packed: PackedFaces,
        test_people: frozenset[str],
        test_hashes: set[str],
    ) -> np.ndarray:
        keep, copies, of_test_people = [], 0, 0
        for i, index in enumerate(packed.records):
            if faces.records[index].person in test_people:
                of_test_people += 1
            elif packed.hashes[i] in test_hashes:
                copies += 1
            else:
                keep.append(i)
        skipped = [*faces.skipped, *packed.skipped]
        self.skipped += [(faces.name, item) for item in skipped]
        self.description.append(
            {
                "name": faces.name,
                "part": faces.part,
                "pictures": len(keep),
                "left_out_as_copies_of_test_pictures": copies,
                "left_out_as_pictures_of_test_people": of_test_people,
                "skipped": len(skipped),
                "pairs": "pictures of one person, or mirror images"
                if self.use_people and faces.people
                else "mirror images",
            }
        )
        return np.asarray(keep, dtype=np.int64)

    def trained_on(self) -> list[tuple[str, str, str]]:
        """(set, key, SHA-256 of the stored bytes) of every picture that is trained on."""
        assert self._chosen is not None
        rows = []
        starts = np.cumsum([0, *(len(p.images) for p in self.packs)])
        for index in self._chosen:
            k = int(np.searchsorted(starts, index, side="right")) - 1
            i = int(index - starts[k])
            faces, packed = self.face_sets[k], self.packs[k]
            key = faces.records[packed.records[i]].key
            rows.append((faces.name, key, packed.hashes[i]))
        return rows

    # Batches -------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[PairBatch]:
        assert self._chosen is not None
        world_size = self.trainer.world_size if self.trainer else 1
        batches = PairBatches(
            self._arrays,
            self._chosen,
            self._people,
            batch_size=self.batch_size,
            flip_share=self.flip_share,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=world_size,
        )
        if len(batches) == 0:
            raise InputError(
                f"{len(self._chosen)} pictures are fewer than one batch of {self.batch_size} "
                f"pairs on {world_size} device(s); lower data.batch_size or give more pictures"
            )
        return _PairLoader(batches, self)

    def on_after_batch_transfer(self, batch: PairBatch, dataloader_idx: int) -> PairBatch:
        # Augmentation and the step's own noise follow from the batch's seed alone, so that a
        # resumed run draws what the uninterrupted one would have drawn.
        torch.manual_seed(batch["seed"])
        return {**batch, "pairs": self.augmentation(batch["pairs"])}

    def sample(self, count: int) -> PairBatch:
        """`count` pairs spread over the training faces, not augmented: for pictures to look at."""
        assert self._chosen is not None
        step = max(1, len(self._chosen) // count)
        batches = PairBatches(
            self._arrays, self._chosen, self._people, batch_size=count, seed=self.seed
        )
        batch = batches._batch(0, np.arange(0, step * count, step)[: len(self._chosen)])
        return {**batch, "pairs": batch["pairs"].float() / 255}

    # Resume --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        batch = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        if epochs.processed == epochs.ready:
            batch = 0  # of the epoch that would come next, which `current_epoch` is already
        elif batch >= self.trainer.num_training_batches:
            epoch, batch = epoch + 1, 0
        return {"epoch": epoch, "batch": batch, "order": self._order()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        changed = [k for k, v in self._order().items() if state["order"].get(k) != v]
        if changed:
            now = self._order()
            was = ", ".join(f"{k} {state['order'].get(k)} (now {now[k]})" for k in changed)
            raise InputError(
                f"the checkpoint can't be resumed with other data settings: it has {was}; "
                "set them back, or start a new run with another --out"
            )
        self._resume = (state["epoch"], state["batch"])

    def _order(self) -> dict[str, Any]:
        """What the order of training depends on."""
        return {
            "faces": " ".join(p.path.stem for p in self.packs),
            "pictures": 0 if self._chosen is None else len(self._chosen),
            "batch_size": self.batch_size,
            "devices": self.trainer.world_size if self.trainer else 1,
            "flip_share": self.flip_share,
            "use_people": self.use_people,
            "seed": self.seed,
        }

    def position(self) -> tuple[int, int]:
        """The epoch that an iteration begun now is of, and its first batch not yet trained on."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        # Lightning asks for the first iteration after a resume before it has closed an epoch whose
        # last batch was the checkpoint's.
        return max(self._resume, (epoch, 0))


class _PairLoader(DataLoader[PairBatch]):
    """A loader whose every iteration is the trainer's current epoch, from where it stopped."""

    def __init__(self, batches: PairBatches, data: FaceDataModule) -> None:
        super().__init__(batches, batch_size=None, num_workers=data.num_workers)
        self.data = data

    def __iter__(self) -> Iterator[PairBatch]:  # type: ignore[override]
        assert isinstance(self.dataset, PairBatches)
        self.dataset.epoch, self.dataset.start = self.data.position()
        return super().__iter__()


def _with_pictures(sets: list[FaceSet]) -> list[FaceSet]:
    found = [faces for faces in sets if len(faces)]
    if not found:
        raise InputError(
            f"{', '.join(faces.title for faces in sets)}: all of it is tested on by probes, which "
            "leaves nothing to train on; give more faces, or set data.leave_out_tests=false"
        )
    return found
