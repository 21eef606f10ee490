"""`ssl-faces verify`: are two pictures of one person? A similarity, and how often that is right."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssl_faces.apps.arguments import add_detection, add_encoder, parser, writable
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output

if TYPE_CHECKING:
    from ssl_faces.encoders.encoder import FaceEncoder

ABOUT = """\
Compare the largest face of each picture of A with that of each of B: cosine similarity of their
identity codes, and which side of the encoder's threshold it lies on. Often wrong (the last line
says how often): not for deciding about people.
"""

MOST_PAIRS = 100_000
SPACE = "identity"
_WARNING = "on pictures of another kind less often; not for deciding about people"


class Reliability(NamedTuple):
    """How often pairs are told rightly, in percent, with its 95 % interval, of n pairs."""

    value: float
    low: float
    high: float
    n: int
    data_set: str

    def __str__(self) -> str:
        return (
            f"right in {self.value:.1f} % [{self.low:.1f}, {self.high:.1f}] of {self.n:,} pairs of "
            f"{self.data_set}, where guessing has 50 %"
        )


def reliability(encoder: FaceEncoder, space: str = SPACE) -> Reliability | None:
    """What an encoder's card has of its accuracy in verifying people; None where it has none.

    Each pair of the test was decided by a threshold of other pairs.
    """
    for record in encoder.card.get("records") or []:
        try:
            if (record["task"], record["metric"], record["probe"], record["feature_space"]) == (
                *("identity", "accuracy", "cosine similarity"),
                space,
            ) and not record.get("condition"):
                value, low, high = (float(record[key]) for key in ("value", "low", "high"))
                return Reliability(value, low, high, int(record["n"]), str(record["data_set"]))
        except (KeyError, TypeError, ValueError):
            continue
    return None


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces verify` with these arguments.

    Raises:
        InputError: bad input, or a side without any face.
    """
    of = parser("verify", ABOUT)
    of.add_argument("a", type=Path, metavar="A", help="a picture, or a folder of them")
    of.add_argument("b", type=Path, metavar="B", help="another")
    of.add_argument("--out", type=Path, metavar="FILE.csv", help="the same as a table")
    add_overwrite(of)
    add_encoder(of)
    add_detection(of)
    given = of.parse_args(arguments)
    if given.out is not None:
        check_output(given.out, given.overwrite, (given.a, given.b))
    from ssl_faces.apps.embedding import codes_of, cosines, verification_of
    from ssl_faces.apps.faces import FaceFinder, FaceReader
    from ssl_faces.common.files import replace_file
    from ssl_faces.encoders.encoder import load_encoder

    encoder = load_encoder(given.encoder)
    if SPACE not in encoder.feature_dims:
        raise InputError(
            f"--encoder {given.encoder}: has no space '{SPACE}', it has "
            f"{', '.join(encoder.feature_dims)}; give one that has"
        )
    import torch

    finder = FaceFinder(encoder.input_size, given.detect, given.detector)
    sides, said = [], []
    for place in (given.a, given.b):
        reader = FaceReader([place], finder, largest=True, out=given.out, quiet=not place.is_dir())
        faces = list(reader)
        if not faces:
            raise reader.nothing()
        sides.append(faces)
        if reader.skipped:
            said.append(f"{place}: {reader.summary()}")
    if len(sides[0]) * len(sides[1]) > MOST_PAIRS:
        raise InputError(
            f"{len(sides[0]):,} times {len(sides[1]):,} pairs are more than {MOST_PAIRS:,}; give "
            "smaller folders"
        )
    keys = [[face.key for face in faces] for faces in sides]
    codes = [
        torch.cat([part[SPACE] for part in codes_of(encoder, (f.pixels for f in faces), [SPACE])])
        for faces in sides
    ]
    kept = verification_of(encoder)
    decides = kept if kept is not None and kept.space == SPACE else None
    found = cosines(codes[0], codes[1], decides.mean if decides else None)
    threshold = decides.threshold if decides else None
    table = io.StringIO()
    writer = CsvWriter(table)
    writer.writerow(("a", "b", "similarity", "threshold", "decision"))
    for i, first in enumerate(keys[0]):
        for j, second in enumerate(keys[1]):
            value = float(found[i, j])
            decision = "" if threshold is None else "same" if value >= threshold else "different"
            at = "" if threshold is None else f"{threshold:.4f}"
            writer.writerow((writable(first), writable(second), f"{value:.4f}", at, decision))
            told = f": {decision} (threshold {threshold:.3f})" if threshold is not None else ""
            print(f"{writable(first)}  {writable(second)}  similarity {value:.3f}{told}")
    if given.out is not None:
        replace_file(given.out, table.getvalue().encode())
    for line in said:
        print(line)
    if threshold is None:
        print(f"no threshold: {given.encoder} has none in its card; see linear-probe threshold")
    sure = reliability(encoder)
    print(f"{sure or 'how often this encoder is right is not known'}; {_WARNING}")
