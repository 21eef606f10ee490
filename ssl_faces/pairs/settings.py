"""Settings of pairs that contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_faces.common.errors import InputError


def check_together(settings: Mapping[str, Any]) -> None:
    """Raise InputError if settings of `FaceData` have no effect beside others, or contradict."""
    positives = settings["positives"]
    different_share = settings["different_share"]
    candidates = settings["candidates"]
    epoch_of = settings["epoch_of"]
    sets, packs = settings["sets"], settings["packs"]
    if different_share is not None and positives != "frames":
        raise InputError(
            f"data.different_share: has no effect with data.positives={positives}, where all "
            "pairs are alike; leave it out, or set data.positives=frames"
        )
    if not settings["leave_out_tests"] and not settings["leave_out_near_copies"]:
        raise InputError(
            "data.leave_out_near_copies: has no effect with data.leave_out_tests=false, which "
            "trains on the test images themselves; leave it out"
        )
    if candidates > 1 and positives in ("picture", "strangers"):
        raise InputError(
            f"data.candidates: has no effect with data.positives={positives}, where no partner "
            "is another image of the person; leave one of them out"
        )
    if epoch_of == "clips" and (positives == "picture" or different_share is not None):
        raise InputError(
            "data.epoch_of: clips has no effect with data.positives=picture, and can't be "
            "combined with data.different_share; leave one of them out"
        )
    if sets is not None and not sets:
        raise InputError("data.sets: no face set in it; name at least one, or leave it out")
    if packs is not None and (settings["root"] is not None or sets is not None):
        raise InputError("data.packs and data.root (or data.sets) are both given; leave one out")
    if settings["online_root"] is not None and packs is None:
        raise InputError("data.online_root: serves data.packs only; leave it out")
    if settings["neutral_faces"] and not settings["augmentation"].alike:
        raise InputError(
            "data.neutral_faces: true needs an augmentation that both images share; set "
            "data.augmentation=frames"
        )
