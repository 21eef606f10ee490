"""Whether a run may be resumed: the same images in the same order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.data.store.listing import changes_of

_ADDED = {
    "candidates": 1,
    "different_share": None,
    "epoch_of": "images",
    "neutral_faces": False,
}
"""Settings that older checkpoints lack, and what these were trained with."""


def check_resume(
    state: Mapping[str, Any],
    now: Mapping[str, Any],
    packs: str,
    listed: Callable[[], Tensor | None],
) -> None:
    """Compare the data module's state in a checkpoint with what there is now.

    Args:
        state: `order`, which `now` is of today, and `listing`.
        packs: the packs' names, which older checkpoints have as `faces`.
        listed: gives the images of today, to name those that changed.

    Raises:
        InputError: settings or images differ; names them.
    """
    was = {**_ADDED, **state["order"]}
    # Older checkpoints lack some settings.
    changed = [k for k in now if k not in ("faces", "pictures") and was.get(k, now[k]) != now[k]]
    if changed:
        settings = ", ".join(f"{k} {was[k]} (now {now[k]})" for k in changed)
        raise InputError(
            f"the checkpoint can't be resumed with other data settings: it has {settings}; "
            "set them back, or start a new run with another --out"
        )
    if was["pictures"] != now["pictures"] or was.get("faces") not in (now["faces"], packs):
        changes = changes_of(state.get("listing"), listed())
        raise InputError(
            "the checkpoint can't be resumed with other images: it was trained on "
            f"{was['pictures']:,}, and there are {now['pictures']:,} now{changes}; give the "
            "same images, or start a new run with another --out"
        )
