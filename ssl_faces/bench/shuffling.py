"""`ssl-faces bench shuffling`: how far an epoch's orders are from a random permutation."""

from __future__ import annotations

import argparse
from statistics import mean

import numpy as np

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import SIDE, several, whole
from ssl_faces.data.pairs.order import EpochOrder, Shuffling, shuffling
from ssl_faces.data.store.shards import pictures_a_shard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pictures", type=whole(2), default=500_000, help="pictures stored (500,000)"
    )
    parser.add_argument("--size", type=SIDE, default=64, help="side of the pictures (64)")
    parser.add_argument(
        "--windows", type=several(whole(1)), default="8,32,64", help="shards a window (8,32,64)"
    )
    parser.add_argument("--epochs", type=whole(1), default=5, help="epochs averaged over (5)")


def measure(arguments: argparse.Namespace) -> Result:
    """Figures of the full permutation and of two levels, beside stored order.

    Raises:
        InputError: bad input.
    """
    each = pictures_a_shard(arguments.size)
    counts = np.full(-(-arguments.pictures // each), each)
    counts[-1] -= int(counts.sum()) - arguments.pictures
    result = Result(
        "shuffling",
        {"pictures": arguments.pictures, "shards": len(counts), "epochs": arguments.epochs},
        notes=[
            "correlation: of a picture's stored place with its place in the epoch (Spearman's), "
            "the mean of absolute values over epochs; a random permutation has "
            f"{0.8 / (arguments.pictures - 1) ** 0.5:.2g}.",
            "neighbours: mean distance of the stored places of neighbours in the epoch, as a share "
            "of a random permutation's.",
        ],
    )
    stored = shuffling(np.arange(arguments.pictures))
    result.rows.append(_row("as stored", [stored]))
    for window in [None, *arguments.windows]:
        name = "one permutation (packs here)" if window is None else f"two levels, window {window}"
        found = [
            shuffling(stored_places(counts, window, epoch)) for epoch in range(arguments.epochs)
        ]
        result.rows.append(_row(name, found))
    return result


def stored_places(counts: np.ndarray, window: int | None, epoch: int) -> np.ndarray:
    """The stored place of each picture of an epoch, in its order."""
    starts = np.cumsum([0, *counts])
    order = EpochOrder(counts, window, 0, epoch)
    parts = []
    for number, members in enumerate(order.windows):
        places = np.concatenate([np.arange(starts[m], starts[m + 1]) for m in members])
        parts.append(places[order.within(number)])
    return np.concatenate(parts)


def _row(name: str, found: list[Shuffling]) -> dict[str, Value]:
    return {
        "order": name,
        "correlation": mean(abs(one.correlation) for one in found),
        "neighbours": mean(one.neighbours for one in found),
    }
