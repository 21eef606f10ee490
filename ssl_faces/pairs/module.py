"""The data module of pretraining: face sets, less what probes test on, as batches of pairs."""

from __future__ import annotations

import functools
import logging
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_faces.common.errors import InputError
from ssl_faces.common.hardware import free_gpu_memory
from ssl_faces.common.ranges import (
    ImageSide,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    UnitFloat,
    check_ranges,
)
from ssl_faces.common.ranks import is_first
from ssl_faces.data.faces import FaceSet, Skipped
from ssl_faces.data.sets.discover import recognised
from ssl_faces.data.store.held_out import HeldOut
from ssl_faces.data.store.selection import all_fit, check_two_windows, only_paired, select
from ssl_faces.data.store.stored_faces import StoredFaces
from ssl_faces.pairs.augment import PRESETS, Augmentation, PairAugmentation, Preset
from ssl_faces.pairs.loader import PairLoader
from ssl_faces.pairs.mix import describe_mix, two_images_by_set
from ssl_faces.pairs.pairing import Candidates, PairBatch, PairBatches, gather
from ssl_faces.pairs.resuming import MOST_LISTED, check_resume, dump_listing
from ssl_faces.pairs.settings import check_together
from ssl_faces.pairs.training_faces import RENDERED, TrainingFaces

_log = logging.getLogger(__name__)

Positives = Literal["frames", "picture", "person", "strangers"]

FLIP_SHARE = 0.5  # FaceCycle's

_WINDOW = 32  # shards: about a gigabyte


class FaceData(TrainingFaces):
    """Pairs of faces for pretraining.

    By default everything that a probe tests on is left out: the test parts of the sets, their
    byte-identical copies and near-copies, and every image of a test person in any set (LFW and the
    YouTube keypoints share people).

    Args:
        root: folder with face sets, recognised by their contents, or with any images. Default:
            `$SSL_FACES_DATA` or `~/.cache/ssl-faces/data` if it holds any, else rendered faces.
        sets: face sets one by one, each as its `train` part; beside those of `root`, or alone.
        packs: packs made by `ssl-faces pack` instead of `root`: folders or fsspec URLs
            (`s3://bucket/pack`), separated by commas. Images left out by `pack` stay left out.
        rendered: number of rendered faces, used if there are no real ones.
        batch_size: pairs a step, on each device.
        size: side of the pictures.
        flip_share: probability that the second image is the first one's mirror image although the
            person has other images.
        candidates: the partner is the image that differs most from the first, of so many (1 to 3)
            drawn from the person's others.
        different_share: share of the pairs, 0 to 1, that are two images of one person, for mixes of
            sets with and without such partners. The other pairs are mirror images, of images
            without a partner if there are any. `flip_share` then has no effect. Default: each image
            comes first once an epoch, so the sets decide.
        positives: what a pair is. `frames`: another image of the person if there is one, else the
            mirror image (see `flip_share`). `picture`: always the mirror image, which uses no
            identity labels. `person`: always another image of the person; people with one image are
            left out. `strangers`: always an image of another person (FaceCycle's stage 2).
        epoch_of: what an epoch has one pair of each of: `images`, or `clips`, the images of a
            person (FaceCycle). The first image of a clip's pair is drawn anew in each epoch.
        augmentation: `frames` is FaceCycle's mild one, the same for both images of a pair;
            `facecycle` is as mild and drawn for each image, as its authors do; `views` is a strong
            one for each image, for contrastive methods; or your own strengths.
        leave_out_tests: see above; False trains on test faces too, and the card records it.
        leave_out_near_copies: leave out near-copies of test images too. Only photographs are
            searched for them (`FaceSet.near_copies`), once, which takes half a minute for 30,000
            images. False repeats runs of older versions.
        neutral_faces: batches also have the neutral frontal face that belongs to the first image,
            if there is one (`RenderedClips(neutral=True)`): the image whose key ends in `/neutral`
            and is else that of the first image. Needs an augmentation that both images share.
        identity_labels: whether labels of real people's identity give pairs of two images; if
            not, only rendered people and clips do. No effect with `positives: picture`.
        seed: of order, pairs and augmentation.
        num_workers: of the loader; images are packed, so 0 is usually best.
        cache: folder of packed and fetched faces; default `$SSL_FACES_CACHE` or
            `~/.cache/ssl-faces/packed`.
        cache_gb: most GB (10^9 bytes) of fetched shards to keep. If not all fit, they are fetched
            ahead of use and shuffled in two levels: shards, then images within a window of shards.
            Default: fetch all before training begins.
        window: shards in such a window; default 32. The cache must hold two windows. If set, it is
            also used for packs on this machine: memory then grows by 100 bytes an image.
        in_memory: keep all images in memory: the GPU's if there is one (pairs are then gathered
            there), else this machine's. `auto`: only a GPU's, if they take less than a quarter of
            its free memory; reading packs from disk is about as fast as from a CPU's memory. The
            pairs don't depend on it.
        online_pictures: most labelled training images of a set to keep back from training, with
            their people and copies, for the online probe. Default: none (`ssl-faces fit`:
            --probe_every decides).
        online_root: folder with the labelled face sets for `online_pictures`; for `packs` only.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        sets: list[FaceSet] | None = None,
        rendered: PositiveInt = RENDERED,
        batch_size: PositiveInt = 16,
        size: ImageSide = 64,
        flip_share: UnitFloat = FLIP_SHARE,
        positives: Positives = "frames",
        augmentation: Preset | Augmentation = "frames",
        leave_out_tests: bool = True,
        seed: Seed = 0,
        num_workers: NonNegativeInt = 0,
        cache: Path | None = None,
        packs: str | list[str] | None = None,
        cache_gb: PositiveFloat | None = None,
        window: PositiveInt | None = None,
        in_memory: bool | Literal["auto"] = "auto",
        online_pictures: NonNegativeInt | None = None,
        online_root: Path | None = None,
        candidates: Candidates = 1,
        different_share: UnitFloat | None = None,
        epoch_of: Literal["images", "clips"] = "images",
        leave_out_near_copies: bool = True,
        neutral_faces: bool = False,
        identity_labels: bool = True,
    ) -> None:
        check_ranges(FaceData.__init__, locals(), "data")
        if isinstance(augmentation, str):
            augmentation = PRESETS[augmentation]
        check_together(locals())
        super().__init__(
            root=root,
            sets=sets,
            packs=packs,
            rendered=rendered,
            size=size,
            seed=seed,
            cache=cache,
            cache_gb=cache_gb,
            use_people=positives != "picture",
            identity_labels=identity_labels,
            leave_out_tests=leave_out_tests,
            leave_out_near_copies=leave_out_near_copies,
            online_pictures=online_pictures or 0,
            online_root=online_root,
        )
        self.batch_size = batch_size
        self.flip_share = flip_share
        self.positives = positives
        self.candidates = candidates
        self.different_share = different_share
        self.epoch_of = epoch_of
        self.neutral_faces = neutral_faces
        self.num_workers = num_workers
        self.window = window
        self.in_memory = in_memory
        self.augmentation = PairAugmentation(size, augmentation)
        self.description: list[dict[str, Any]] = []
        self.skipped: list[tuple[str, Skipped]] = []
        self.streamed = False  # whether not all shards can be kept
        self._on_device: Tensor | None = None
        self._listing: Tensor | None = None

    def setup(self, stage: str | None = None) -> None:
        if self.faces is not None:
            return
        packs = self._opened()
        self.streamed = not all_fit(packs, self._most)
        if self.streamed:
            self.window = self.window or _WINDOW
            check_two_windows(packs, self._most or 0, self.window)
        tests = self._tests(packs)
        self._keep_back(tests)
        online = self.online.held_out if self.online.faces else None
        held_out = tests if self.leave_out_tests else HeldOut.of()
        use = (self.use_people, self.identity_labels)
        chosen = [select(one, held_out, *use, online) for one in packs]
        self.description = [about for one in chosen for about in one.description]
        self.skipped = [item for one in packs for item in one.skipped()]
        self.packs = packs
        self.faces = StoredFaces(packs, [one.kept for one in chosen], *use)
        if self.positives == "person":
            paired = only_paired(self.faces)
            paired.describe(self.description)
            self.faces = StoredFaces(packs, paired.kept, *use)
        if self.positives == "strangers" or self.epoch_of == "clips":
            self._check_clips()
        if self.different_share and self.two_images == {}:
            raise InputError(
                f"data.different_share: {self.different_share:g}, but no person has two images; "
                "add a set with several images of a person, or leave it out"
            )
        if self.positives == "frames" and self.flip_share != FLIP_SHARE and not self.has_people:
            _log.warning(
                "data.flip_share has no effect, since no picture's person is known: every pair is "
                "a picture and its mirror image"
            )
        if self._found is not None and is_first():
            take_all = "--data.leave_out_tests false trains on them too"
            for line in recognised(self._found, self.description, take_all):
                print(line, file=sys.stderr)
        # Their records take a kilobyte a picture, and nothing asks for them any more.
        self._found = None

    def _check_clips(self) -> None:
        if self.streamed or self.window is not None:
            raise InputError(
                "data.positives=strangers and data.epoch_of=clips need all images at once; leave "
                "out data.window, and raise data.cache_gb until all shards fit"
            )
        assert self.faces is not None
        _, people = self.faces.listed(np.arange(len(self.faces.counts)))
        if self.positives == "strangers" and len(set(people.tolist())) == 1 and people[0] >= 0:
            raise InputError(
                "data.positives: strangers, but all images are of one person; give more people, or "
                "set data.positives=frames"
            )

    @property
    def two_pictures(self) -> float:
        """The sum of `two_images`."""
        return sum(self.two_images.values())

    @functools.cached_property
    def two_images(self) -> dict[str, float]:
        """Share of the pairs, 0 to 1, that are two images of one person and no mirror images, by
        the face set of the first image."""
        assert self.faces is not None
        by_clip = self.epoch_of == "clips"
        return two_images_by_set(self.faces, 1 - self._flip_share, self.different_share, by_clip)

    def mix(self) -> str:
        """What the pairs are, in one line."""
        if self.positives == "strangers":
            return "pairs: images of two people each"
        return describe_mix(self.two_images, self.candidates)

    @property
    def _flip_share(self) -> float:
        fixed = {"person": 0.0, "strangers": 1.0}
        return fixed.get(self.positives, self.flip_share)

    def train_dataloader(self) -> DataLoader[PairBatch]:
        assert self.faces is not None
        batches = self._batches()
        if len(batches) == 0:
            raise InputError(
                f"{self.faces.counts.sum()} pictures are fewer than one step of {self.batch_size} "
                f"pairs on each of {batches.world_size} device(s); lower data.batch_size or give "
                "more pictures"
            )
        self._load()
        batches.gather = self._on_device is None
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        pin_memory = on_gpu and batches.gather
        return PairLoader(batches, self.num_workers, pin_memory, self.position)

    def _batches(self) -> PairBatches:
        assert self.faces is not None
        return PairBatches(
            self.faces,
            batch_size=self.batch_size,
            flip_share=self._flip_share,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            window=self.window,
            candidates=self.candidates,
            different_share=self.different_share,
            by_clip=self.epoch_of == "clips",
            strangers=self.positives == "strangers",
            neutral=self._neutral,
        )

    @functools.cached_property
    def _neutral(self) -> np.ndarray | None:
        if not self.neutral_faces:
            return None
        assert self.faces is not None
        neutral = None if self.streamed else self.faces.neutral_faces()
        if neutral is None or not (neutral >= 0).any():
            raise InputError(
                "data.neutral_faces: no image's key ends in /neutral"
                + (", as far as is known of streamed shards" if self.streamed else "")
                + "; add rendered clips with neutral: true to data.sets, or leave it out"
            )
        return neutral

    def _load(self) -> None:
        """Read all pictures to memory if they are to be there."""
        assert self.faces is not None
        if not self.in_memory or self._on_device is not None or self.faces.memory is not None:
            return
        if self.streamed:
            if self.in_memory == "auto":
                return
            raise InputError(
                f"data.in_memory: true, but not all shards fit data.cache_gb={self.cache_gb}; "
                "raise data.cache_gb, or set data.in_memory=false"
            )
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if self.in_memory == "auto" and not self._much_room(device):
            return
        try:
            memory = self.faces.load(device)
        except (MemoryError, RuntimeError) as error:
            raise InputError(
                f"{self.faces.nbytes / 1e9:.3g} GB of pictures don't fit the memory of {device}; "
                "set data.in_memory=false"
            ) from error
        if device.type != "cpu":
            self._on_device = memory

    def _much_room(self, device: torch.device) -> bool:
        assert self.faces is not None
        return device.type != "cpu" and 4 * self.faces.nbytes < free_gpu_memory(device)

    def on_after_batch_transfer(self, batch: PairBatch, dataloader_idx: int) -> PairBatch:
        # Augmentation and the step's own noise follow from the batch's seed alone, so that a
        # resumed run draws what the uninterrupted one would have drawn.
        torch.manual_seed(batch["seed"])
        if "pairs" in batch:
            pairs = batch["pairs"]
        else:
            assert self._on_device is not None
            pairs = gather(self._on_device, batch["numbers"], batch["mirrored"])
        if "neutral" in batch:
            pairs = torch.cat((pairs, batch["neutral"][:, None]), 1)
        augmented = self.augmentation(pairs, batch["mirrored"])
        ready: PairBatch = {
            "pairs": augmented[:, :2],
            "mirrored": batch["mirrored"],
            "people": batch["people"],
            "seed": batch["seed"],
        }
        if "has_neutral" in batch:
            ready |= {"neutral": augmented[:, 2], "has_neutral": batch["has_neutral"]}
        return ready

    def sample(self, count: int) -> PairBatch:
        """`count` pairs spread over the training faces, not augmented: for pictures to look at."""
        assert self.faces is not None
        # Of streamed faces those of one shard: to fetch more for it would take too long.
        shards = np.arange(1 if self.streamed else len(self.faces.counts))
        batch = self._batches().sample(shards, count)
        images = {"pairs", "neutral"} & batch.keys()
        return {**batch, **{name: batch[name].float() / 255 for name in images}}  # type: ignore

    def state_dict(self) -> dict[str, Any]:
        # How far the order is used up is in the progress of Lightning's loops.
        if self._listing is None:
            self._listing = self._listed()
        return {"order": self._order(), "listing": self._listing}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_resume(state, self._order(), self._listed)

    def _listed(self) -> Tensor | None:
        """The images that are trained on; None if there are too many."""
        if self.faces is None or self.faces.counts.sum() > MOST_LISTED:
            return None
        return dump_listing(self.trained_on())

    def _order(self) -> dict[str, Any]:
        """What the order of training depends on."""
        return {
            "faces": "" if self.faces is None else self.faces.identity(),
            "pictures": 0 if self.faces is None else int(self.faces.counts.sum()),
            "size": self.size,
            "batch_size": self.batch_size,
            "devices": self.trainer.world_size if self.trainer else 1,
            "flip_share": self.flip_share,
            "positives": self.positives,
            "candidates": self.candidates,
            "different_share": self.different_share,
            "epoch_of": self.epoch_of,
            "neutral_faces": self.neutral_faces,
            "identity_labels": self.identity_labels,
            "seed": self.seed,
            "window": self.window,
        }

    def position(self) -> tuple[int, int]:
        """The epoch that an iteration begun now is of, and its first batch not yet trained on."""
        if self.trainer is None:
            return 0, 0
        # Of an epoch that begins now Lightning has set the second to 0.
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return self.trainer.current_epoch, batches.processed
