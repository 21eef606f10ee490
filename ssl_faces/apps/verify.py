"""`ssl-faces verify`: compare the faces of two images, with the accuracy of such decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssl_faces.apps.arguments import add_detection, add_encoder, parser, writable
from ssl_faces.common.arguments import existing
from ssl_faces.common.csv_files import csv_bytes
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_faces.encoders.encoder import FaceEncoder

ABOUT = """\
Compare the largest face of each picture of A with that of each of B: cosine similarity of their
identity codes, and the decision by the encoder's threshold. Often wrong (the last line says how
often): do not use it to decide about people.
"""

MOST_PAIRS = 100_000
SPACE = "identity"
_WARNING = "less often for other kinds of pictures; not for deciding about people"


class Similarity(NamedTuple):
    """Similarity of two faces.

    Attributes:
        value: cosine of the identity codes, -1 to 1.
        threshold: least value of a pair of one person; None if the encoder's card has none.
        meaning: what the value says, and how often that is right.
    """

    value: float
    threshold: float | None
    meaning: str


def compare(encoder: FaceEncoder, codes: Tensor) -> Similarity:
    """The similarity of two faces by their identity codes [2, D]."""
    from ssl_faces.apps.embedding import cosines, verification_of

    known = verification_of(encoder, SPACE)
    value = float(cosines(codes[:1], codes[1:], known.mean if known else None))
    no_proof = "it does not show whether two pictures are of one person"
    if known is None:
        meaning = (
            "The encoder's card has no threshold, so the similarity can only be compared with that "
            f"of other pairs; {no_proof}."
        )
        return Similarity(value, None, meaning)
    side = "above" if value >= known.threshold else "below"
    accuracy = accuracy_of(encoder)
    how_often = "How often such a decision is right is not known"
    if accuracy:
        how_often = f"Taken as a decision, this is {accuracy}"
    meaning = (
        f"{value:.3f} is {side} the threshold {known.threshold:.3f}: pairs of one person are above "
        f"it more often than pairs of two people. {how_often}, so {no_proof}."
    )
    return Similarity(value, known.threshold, meaning)


def accuracy_of(encoder: FaceEncoder) -> str:
    """How often an encoder is right in verifying people, in words; empty if its card has no record.

    Each pair of the test was decided by a threshold chosen on other pairs. LFW's comes first, as
    the card's threshold is of its pairs.
    """
    wanted = ("identity", "accuracy", "cosine similarity", SPACE)
    sentences: dict[str, str] = {}
    for record in encoder.card.get("records") or []:
        try:
            keys = (record[key] for key in ("task", "metric", "probe", "feature_space"))
            if tuple(keys) == wanted and not record.get("condition"):
                value, low, high = (float(record[key]) for key in ("value", "low", "high"))
                name = str(record["data_set"])
                sentence = (
                    f"right in {value:.1f} % [{low:.1f}, {high:.1f}] of {int(record['n']):,} pairs "
                    f"of {name} (chance: 50 %)"
                )
                sentences.setdefault(name, sentence)
        except (KeyError, TypeError, ValueError):
            continue
    return sentences.get("LFW") or next(iter(sentences.values()), "")


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces verify`; bad input and a side without any face raise InputError."""
    of = parser("verify", ABOUT)
    of.add_argument("a", type=existing, metavar="A", help="a picture, or a folder of them")
    of.add_argument("b", type=existing, metavar="B", help="another")
    of.add_argument("--out", type=Path, metavar="FILE.csv", help="also write a table")
    add_overwrite(of)
    add_encoder(of)
    add_detection(of)
    options = of.parse_args(arguments)
    if options.out is not None:
        check_output(options.out, options.overwrite, (options.a, options.b))
    from ssl_faces.apps.embedding import check_spaces, cosines, read_codes, verification_of
    from ssl_faces.apps.face_finder import FaceFinder
    from ssl_faces.apps.faces import FaceReader
    from ssl_faces.common.files import replace_file
    from ssl_faces.encoders.encoder import load_encoder

    encoder = load_encoder(options.encoder)
    check_spaces(encoder, [SPACE])
    finder = FaceFinder(encoder.input_size, options.detect, options.detector)
    keys, codes, remarks = [], [], []
    for place in (options.a, options.b):
        quiet = not place.is_dir()
        reader = FaceReader([place], finder, largest=True, out=options.out, quiet=quiet)
        faces, by_space = read_codes(encoder, reader, [SPACE])
        keys.append([writable(face.key) for face in faces])
        codes.append(by_space[SPACE])
        if reader.skipped:
            remarks.append(f"{place}: {reader.summary()}")
    if len(codes[0]) * len(codes[1]) > MOST_PAIRS:
        raise InputError(
            f"{len(codes[0]):,} times {len(codes[1]):,} pairs are more than {MOST_PAIRS:,}; give "
            "smaller folders"
        )
    known = verification_of(encoder, SPACE)
    values = cosines(codes[0], codes[1], known.mean if known else None).tolist()
    table = [("a", "b", "similarity", "threshold", "decision")]
    for first, row in zip(keys[0], values, strict=True):
        for second, value in zip(keys[1], row, strict=True):
            threshold = decision = verdict = ""
            if known is not None:
                threshold = f"{known.threshold:.4f}"
                decision = "same" if value >= known.threshold else "different"
                verdict = f": {decision} (threshold {known.threshold:.3f})"
            table.append((first, second, f"{value:.4f}", threshold, decision))
            print(f"{first}  {second}  similarity {value:.3f}{verdict}")
    if options.out is not None:
        replace_file(options.out, csv_bytes(table))
    for remark in remarks:
        print(remark)
    if known is None:
        print(f"no threshold: {options.encoder} has none in its card; see linear-probe threshold")
    print(f"{accuracy_of(encoder) or 'the accuracy of this encoder is not known'}; {_WARNING}")
