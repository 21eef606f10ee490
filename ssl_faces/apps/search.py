"""`ssl-faces search`: index the faces of images and videos, and find a face among them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssl_faces.apps.arguments import (
    add_detection,
    add_out,
    add_reader,
    add_sources,
    check_out,
    parser,
    percent,
    writable,
)
from ssl_faces.apps.face_page import Section, ShownFace, as_text, face_page, jpeg
from ssl_faces.common.arguments import Parser, number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import file_hash, regular, replace_file, replacing
from ssl_faces.common.outputs import add_overwrite, refuse_input
from ssl_faces.encoders.places import find_encoder, saved_encoder

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ssl_faces.apps.embedding import Identification
    from ssl_faces.apps.faces import Face

INDEX_FILE, FACES_FILE, ABOUT_FILE = "index.faiss", "faces.parquet", "about.json"
_FORMAT = 1
_SPACE = "identity"
_WARNING = "not for deciding about people"

ABOUT_INDEX = """\
Index the identity codes of all faces in pictures, folders and videos, to the folder INDEX: the
vectors as faiss writes them, a table of the faces with small pictures of them (faces.parquet), and
about.json with the encoder and the hashes of both. Skipped files are listed in INDEX.skipped.csv.
"""
ABOUT_QUERY = """\
Find the most similar faces of an index for each face of the given pictures, to FILE.csv or
FILE.parquet, or to a page FILE.html. A match above the threshold is marked; it is often wrong, the
more so the more faces the index holds (the last lines say how often): do not use it to decide about
people.
"""
ABOUT = "Find a face among many (1:N): `index` makes a folder of faces, `query` finds in it."


def run(arguments: Sequence[str]) -> int:
    """Run `ssl-faces search`; bad input and no detected face raise InputError."""
    steps: dict[str, Callable[[Sequence[str]], None]] = {"index": run_index, "query": run_query}
    of = Parser(prog="ssl-faces search", description=ABOUT)
    of.add_argument("step", choices=steps, help="each has --help")
    steps[of.parse_args(arguments[:1]).step](arguments[1:])
    return 0


def index_folder(text: str) -> Path:
    """An argument's type: the folder of an index, checked before slow imports."""
    folder = Path(text).expanduser()
    if not (folder / ABOUT_FILE).exists():
        raise InputError(
            f"{text}: no index of faces there; make one with ssl-faces search index SRC --out INDEX"
        )
    return folder


def need_faiss() -> None:
    """Raise InputError if a package of the index is missing."""
    for package in ("faiss", "pyarrow"):
        if find_spec(package) is None:
            raise InputError(f"search needs {package}; pip install 'ssl-faces[search]'")


def run_index(arguments: Sequence[str]) -> None:
    """Run `ssl-faces search index`."""
    of = parser("search index", ABOUT_INDEX)
    of.add_argument("--out", required=True, type=Path, metavar="INDEX", help="folder of the index")
    add_overwrite(of)
    add_reader(of)
    options = of.parse_args(arguments)
    need_faiss()
    out: Path = options.out.expanduser()
    refuse_input(out, options.sources)
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / ABOUT_FILE).exists()):
            raise InputError(f"--out {out}: no index; give a new folder")
        if not options.overwrite and any(out.iterdir()):
            raise InputError(
                f"--out {out}: exists already; give another name, or --overwrite to replace it"
            )
    is_new = not out.exists()
    try:
        print(_index(options, out))
    except BaseException:
        if is_new:
            with suppress(OSError):
                out.rmdir()  # if it is empty
        raise


def _index(options: argparse.Namespace, out: Path) -> str:
    """Write the index; its number of faces and of files, and remarks."""
    import faiss
    from torch.nn.functional import normalize

    from ssl_faces.apps.embedding import (
        check_spaces,
        coded_batches,
        identification_of,
        open_reader,
    )
    from ssl_faces.apps.tables import PLACE, place_cells, table_writer
    from ssl_faces.encoders.saved_probe import weights_hash

    encoder, reader = open_reader(options, tracked=True)
    known = identification_of(encoder)
    space = known.space if known else _SPACE
    check_spaces(encoder, [space])
    index = faiss.IndexFlatIP(encoder.feature_dims[space])
    (out / ABOUT_FILE).unlink(missing_ok=True)  # a folder without it is no index
    with table_writer(out / FACES_FILE, {**PLACE, "picture": bytes}) as write:
        for faces, codes in coded_batches(encoder, reader, [space]):
            values = codes[space].double() - (known.mean if known else 0)
            index.add(normalize(values, dim=1).float().numpy())
            for face in faces:
                write([*place_cells(face), jpeg(face.pixels)])
        if not index.ntotal:
            raise reader.nothing()
    with replacing(out / INDEX_FILE) as path:
        faiss.write_index(index, str(path))
    about = {
        "format": _FORMAT,
        "encoder": str(options.encoder),
        "encoder_sha256": weights_hash(find_encoder(options.encoder)),
        "space": space,
        "mean": known.mean.tolist() if known else None,
        "faces": index.ntotal,
        "sha256": {name: file_hash(out / name) for name in (INDEX_FILE, FACES_FILE)},
    }
    replace_file(out / ABOUT_FILE, (json.dumps(about, indent=2) + "\n").encode())
    line = f"{out}: {reader.counted(index.ntotal)}"
    return reader.report(line, beside=out)


class Index(NamedTuple):
    """An index that is whole.

    Attributes:
        about: its description.
        vectors: faiss' index.
        faces: the table of faces.
    """

    about: dict[str, Any]
    vectors: Any
    faces: Any

    def check_encoder(self, name: str | os.PathLike[str], place: Path) -> None:
        """Raise InputError if an encoder has other weights than the index was made by."""
        from ssl_faces.encoders.saved_probe import weights_hash

        if weights_hash(find_encoder(name)) != self.about["encoder_sha256"]:
            raise InputError(
                f"{place}: was made by other weights than {os.fsdecode(name)} has; give --encoder, "
                "or make it again with ssl-faces search index"
            )

    def nearest(self, codes: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities and rows, [N, K] both, of the faces that are most similar to codes [N, D].

        K is `count`, or the number of faces if that is lower.
        """
        import torch
        from torch.nn.functional import normalize

        mean = torch.tensor(self.about["mean"] or 0.0, dtype=torch.float64)
        values = normalize(codes.double() - mean, dim=1).float().numpy()
        similarities, rows = self.vectors.search(values, min(count, len(self.faces)))
        return similarities, rows


def open_index(folder: Path, pictures: bool = False) -> Index:
    """Read an index, after comparing its files with their hashes.

    Args:
        pictures: also read the small pictures of its faces.

    Raises:
        InputError: no index, or files that are not those that were written together.
    """
    mend = "make it again with ssl-faces search index"
    try:
        about = json.loads(regular(folder / ABOUT_FILE).read_text())
        if about["format"] != _FORMAT:
            raise ValueError(f"format {about['format']}")
        hashes = dict(about["sha256"])
        for name in (INDEX_FILE, FACES_FILE):
            if file_hash(folder / name) != hashes[name]:
                raise ValueError(f"{name} has other bytes than were written")
        for key in ("encoder", "encoder_sha256", "space", "mean"):
            about[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no whole index ({error}); {mend}") from error
    import faiss
    from pyarrow import parquet

    from ssl_faces.apps.tables import PLACE

    columns = [*PLACE, *(["picture"] if pictures else [])]
    faces = parquet.read_table(folder / FACES_FILE, columns=columns)
    return Index(about, faiss.read_index(str(folder / INDEX_FILE)), faces)


class Matches(NamedTuple):
    """The nearest faces of a face: rows of the index and similarities, most similar first."""

    face: Face
    rows: list[int]
    similarities: list[float]
    picture: bytes


def run_query(arguments: Sequence[str]) -> None:
    """Run `ssl-faces search query`."""
    of = parser("search query", ABOUT_QUERY)
    of.add_argument("index", type=index_folder, metavar="INDEX", help="folder of `search index`")
    add_sources(of, "pictures, or folders of them")
    add_out(of, ".csv", ".parquet", ".html")
    moved = "the index's encoder, if it is elsewhere now"
    of.add_argument("--encoder", type=saved_encoder, metavar="NAME", help=moved)
    of.add_argument(
        "--nearest", type=whole(1, 100), default=5, metavar="K", help="matches (default: 5)"
    )
    of.add_argument(
        "--threshold",
        type=number(-1, 1),
        metavar="S",
        help="least similarity of a match that is marked (default: the encoder's)",
    )
    add_detection(of)
    options = of.parse_args(arguments)
    need_faiss()
    check_out(options)
    out: Path = options.out
    from ssl_faces.apps.embedding import identification_of
    from ssl_faces.apps.face_finder import FaceFinder
    from ssl_faces.apps.faces import FaceReader
    from ssl_faces.encoders.encoder import load_encoder

    of_page = out.suffix == ".html"
    index = open_index(options.index, pictures=of_page)
    name = options.encoder or index.about["encoder"]
    index.check_encoder(name, options.index)
    encoder = load_encoder(name)
    known = identification_of(encoder)
    threshold = options.threshold
    if threshold is None and known is not None:
        threshold = known.threshold
    finder = FaceFinder(encoder.input_size, options.detect, options.detector)
    reader = FaceReader(options.sources, finder, out=out)
    matches = list(_search(index, encoder, reader, options.nearest))
    if not matches:
        raise reader.nothing()
    note = reliability(known, len(index.faces), options.threshold is None)
    count = f"{len(index.faces):,}"
    if of_page:
        lead = f"The nearest of {count} faces of {options.index} by cosine similarity; {note}."
        sections = _sections(index, matches, threshold)
        rates = known.rates if known else []
        replace_file(out, face_page("Faces found in an index", [lead], sections, rates))
    else:
        _write_matches(out, index, matches, threshold)
    for face, rows, similarities, _ in matches[:20]:
        mark = ""
        if threshold is not None:
            side = "above" if similarities[0] >= threshold else "below"
            mark = f", {side} the threshold {threshold:.3f}"
        best = index.faces["key"][rows[0]].as_py()
        print(f"{writable(face.key)}: {best}  similarity {similarities[0]:.3f}{mark}")
    line = f"{out}: {reader.counted(len(matches))}, {count} in the index"
    print(reader.report(line, beside=out))
    print(note)


def _search(index: Index, encoder: Any, reader: Any, nearest: int) -> Iterator[Matches]:
    from ssl_faces.apps.embedding import coded_batches

    space = index.about["space"]
    for faces, codes in coded_batches(encoder, reader, [space]):
        similarities, rows = index.nearest(codes[space], nearest)
        for face, row, similarity in zip(faces, rows, similarities, strict=True):
            picture = jpeg(face.pixels)
            yield Matches(face.without_pixels(), row.tolist(), similarity.tolist(), picture)


def reliability(known: Identification | None, count: int, usual: bool = True) -> str:
    """How often the matches in an index are right, in words.

    Args:
        known: of the encoder's card.
        count: faces of the index.
        usual: the threshold is that of the card.
    """
    if known is None or not known.rates:
        return f"the error rates of this encoder are not known; {_WARNING}"
    # Of the largest measured gallery up to this size, or of the smallest.
    rates = [known.rates[0], *(row for row in known.rates if row["gallery"] <= count)][-1]
    text = (
        f"measured in galleries of {rates['gallery']:,}: the right person comes first for "
        f"{percent(rates['rank_1'])}"
    )
    if usual:
        alarm = percent(rates["fpir"])
        text += f", and {alarm} of unknown people have a match above the threshold"
    return f"{text} (n {rates['n']:,}); {_WARNING}"


_MATCH = {"query": str, "rank": int, "similarity": float, "above_threshold": int}


def _write_matches(
    out: Path, index: Index, matches: Sequence[Matches], threshold: float | None
) -> None:
    from ssl_faces.apps.tables import PLACE, table_writer

    places = index.faces.select(list(PLACE))
    with table_writer(out, {**_MATCH, **PLACE}) as write:
        for face, rows, similarities, _ in matches:
            nearest = places.take(rows).to_pylist()
            for rank, (similarity, match) in enumerate(zip(similarities, nearest, strict=True), 1):
                above = None if threshold is None else int(similarity >= threshold)
                cells = [writable(face.key), rank, round(similarity, 5), above]
                write([*cells, *match.values()])


def _sections(index: Index, matches: Sequence[Matches], threshold: float | None) -> list[Section]:
    sections = []
    pictures = index.faces.select(["key", "picture"])
    for face, rows, similarities, picture in matches:
        name = writable(face.key)
        shown = [ShownFace(name, as_text(picture), "searched")]
        nearest = pictures.take(rows).to_pylist()
        for match, similarity in zip(nearest, similarities, strict=True):
            above = threshold is not None and similarity >= threshold
            image = as_text(match["picture"])
            shown.append(ShownFace(match["key"], image, f"{similarity:.2f}", above))
        sections.append(Section(name, shown))
    return sections
