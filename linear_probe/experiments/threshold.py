"""`linear-probe threshold`: the similarities by which commands decide about people, in a card.

`ssl-faces verify` decides by `verification`. The card's records show its accuracy; their pairs were
each decided by a threshold of other pairs; this one is chosen on all of them. `ssl-faces search`
and `ssl-faces cluster` decide by `identification`, which is chosen on half of the people in
LFW's pairs, with its error rates on the other half.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linear_probe.features.extraction import Features, decoded
from linear_probe.probes.verification import best_threshold
from linear_probe.records.runner import Say, print_line
from linear_probe.tasks.identification import FALSE_POSITIVES, Identification, rates_of
from ssl_faces import FaceEncoder, InputError, load_encoder
from ssl_faces.apps.embedding import Verification, codes_of, cosines
from ssl_faces.data import FaceSet, distinct_pairs, find_face_sets
from ssl_faces.encoders.encoder import update_card
from ssl_faces.encoders.places import find_encoder

SPACE = "identity"


def keep_threshold(encoder: str, data: str | Path, say: Say = print_line) -> Verification:
    """Choose mean and threshold on LFW's pairs, and what finds people on half of their people, and
    put them into the encoder's card as `verification` and `identification`. Raises InputError:
    no such encoder, no LFW with pairs in the folder `data`, or the encoder has no identity code."""
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
    in_pairs = {number[k] for p in pairs for k in (p.first, p.second) if k in number}
    try:
        task: Identification | None = Identification([faces])
    except InputError as error:
        task = None
        say(f"search and cluster get no threshold: {error}")
    searched = set() if task is None else set(task.indices.tolist())
    codes = _codes(loaded, faces, sorted(in_pairs | searched))
    row = {faces.records[record].key: i for i, record in enumerate(codes.records.tolist())}
    whole = [pair for pair in pairs if pair.first in row and pair.second in row]
    same = np.array([pair.same for pair in whole], dtype=bool)
    if not len(same) or same.all() or not same.any():
        raise InputError(f"--data {data}: too few of LFW's pairs are whole; check the pictures")
    rows = np.array([[row[pair.first], row[pair.second]] for pair in whole])
    paired = np.flatnonzero(np.isin(codes.records, list(in_pairs)))
    mean = codes.values[torch.from_numpy(paired)].double().mean(0)
    first, second = (codes.values[torch.from_numpy(side)] for side in rows.T)
    similarities = torch.cat(
        [cosines(a[None], b[None], mean)[0] for a, b in zip(first, second, strict=True)]
    ).numpy()
    threshold = best_threshold(similarities, same)
    note = (
        f"mean of {len(paired):,} pictures and the most accurate threshold on {len(whole):,} pairs "
        f"of {faces.title}, all folds"
    )
    kept = Verification(SPACE, mean, round(threshold, 6), note)
    entries: dict[str, Any] = {
        "verification": {
            "space": kept.space,
            "threshold": kept.threshold,
            "told": note,
            "mean": [round(float(x), 5) for x in mean],
        }
    }
    if task is not None:
        entries["identification"] = _identification(task, codes)
    update_card(directory, **entries)
    return kept


def _codes(encoder: FaceEncoder, faces: FaceSet, indices: Sequence[int]) -> Features:
    """The codes of those of these records that can be decoded."""
    images = decoded(faces, indices, encoder.input_size)
    crops = [*images.images.permute(0, 2, 3, 1).numpy()]
    parts = [part[SPACE] for part in codes_of(encoder, crops, [SPACE])]
    values = torch.cat(parts) if parts else torch.empty(0, encoder.feature_dims[SPACE])
    return Features(values, images.records)


def _identification(task: Identification, codes: Features) -> dict[str, Any]:
    """How to find people, chosen on half of the set's people, with the rates on the other half."""
    chosen = task.choose(codes)
    return {
        "space": SPACE,
        "threshold": round(chosen.threshold, 6),
        "distance": round(chosen.distance, 4),
        "chosen_on": f"half of the test people of {task.data_set} (an FPIR of "
        f"{FALSE_POSITIVES:.0%} in galleries of {chosen.gallery}; the distance of the highest "
        "adjusted Rand index)",
        "rates": rates_of(task.figures(codes, chosen)),
        "mean": [round(float(x), 5) for x in chosen.mean],
    }
