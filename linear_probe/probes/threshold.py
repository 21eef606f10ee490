"""`linear-probe threshold`: from which similarity on two faces count as one person's, in a card.

`ssl-faces verify` decides by it. The card's records show its accuracy; their
pairs were each decided by a threshold of other pairs; this one is chosen on all of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from linear_probe.probes.verification import best_threshold
from ssl_faces import InputError, load_encoder
from ssl_faces.apps.embedding import Verification, codes_of, cosines
from ssl_faces.data import distinct_pairs, find_face_sets
from ssl_faces.data.pictures import BadImage
from ssl_faces.data.store.packing import square
from ssl_faces.encoders.encoder import find_encoder, update_card

SPACE = "identity"


def keep_threshold(encoder: str, data: str | Path) -> Verification:
    """Choose mean and threshold on LFW's pairs, and put them into the encoder's card as
    `verification`.

    Args:
        encoder: as for `load_encoder`.
        data: folder that holds LFW.

    Raises:
        InputError: no such encoder, no LFW with pairs, or the encoder has no identity code.
    """
    directory = find_encoder(encoder)
    loaded = load_encoder(directory)
    if SPACE not in loaded.feature_dims:
        raise InputError(f"{encoder}: has no space '{SPACE}'; give an encoder that has")
    sets = [one for one in find_face_sets(Path(data), "all") if one.name == "lfw"]
    pairs = distinct_pairs(getattr(sets[0], "pairs", []), sets[0].title) if sets else []
    if not pairs:
        raise InputError(f"--data {data}: holds no LFW with pairs.txt; give a folder that does")
    faces = sets[0]
    number = {record.key: i for i, record in enumerate(faces.records)}
    crops: dict[str, np.ndarray] = {}
    for key in sorted({key for pair in pairs for key in (pair.first, pair.second)}):
        try:
            picture = faces.read(number[key], loaded.input_size)
        except (BadImage, KeyError):
            continue
        crops[key] = square(picture, loaded.input_size).transpose(1, 2, 0)
    whole = [pair for pair in pairs if pair.first in crops and pair.second in crops]
    same = np.array([pair.same for pair in whole], dtype=bool)
    if not len(same) or same.all() or not same.any():
        raise InputError(f"--data {data}: too few of LFW's pairs are whole; check the pictures")
    codes = torch.cat([part[SPACE] for part in codes_of(loaded, crops.values(), [SPACE])]).double()
    mean = codes.mean(0)
    row = {key: i for i, key in enumerate(crops)}
    first, second = (
        codes[torch.tensor([row[key] for key in keys])]
        for keys in ([pair.first for pair in whole], [pair.second for pair in whole])
    )
    similarities = torch.cat(
        [cosines(a[None], b[None], mean)[0] for a, b in zip(first, second, strict=True)]
    ).numpy()
    threshold = best_threshold(similarities, same)
    note = (
        f"mean of {len(crops):,} pictures and the most accurate threshold on {len(whole):,} pairs "
        f"of {faces.title}, all folds"
    )
    kept = Verification(SPACE, mean, round(threshold, 6), note)
    update_card(
        directory,
        verification={
            "space": kept.space,
            "threshold": kept.threshold,
            "told": note,
            "mean": [round(float(x), 5) for x in mean],
        },
    )
    return kept
