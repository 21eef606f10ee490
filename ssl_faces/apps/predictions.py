"""Predictions of each face of images and videos: a table, curves over time, an annotated film."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ssl_faces.apps.arguments import check_ending, skipped_beside, writable
from ssl_faces.apps.embedding import BATCH, batches
from ssl_faces.apps.faces import Face, FaceReader
from ssl_faces.apps.films import FilmWriter, open_video
from ssl_faces.apps.parts import parts_of, write_receipt
from ssl_faces.apps.tables import PLACE, place_cells, table_writer
from ssl_faces.common.arguments import Place
from ssl_faces.common.csv_files import csv_bytes
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file, replacing
from ssl_faces.common.outputs import check_output
from ssl_faces.common.shards import Shard, part_of
from ssl_faces.data.joining import join
from ssl_faces.prepare.sources import Source

Row = tuple[Face, np.ndarray]
Predict = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Face crops uint8 [S, S, 3] to float [N, columns of all outputs]."""


class Output(NamedTuple):
    """What is predicted of a face: probabilities of classes, or one number without classes."""

    name: str
    classes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Its number of columns in the predictions."""
        return len(self.classes) or 1


@dataclass(frozen=True)
class Targets:
    """Files to write.

    Attributes:
        table: .csv or .parquet.
        plot: .html, curves over time.
        film: .mp4, the annotated film.
        overwrite: replace existing files.
    """

    table: Path
    plot: Path | None = None
    film: Path | None = None
    overwrite: bool = False

    def check(self, sources: Sequence[Place]) -> None:
        """Check the files before anything is read.

        Raises:
            InputError: a name that can't be used, or a package is missing.
        """
        files = {"--out": self.table, "--plot": self.plot, "--film": self.film}
        endings = {"--out": (".csv", ".parquet"), "--plot": (".html",), "--film": (".mp4",)}
        for option, path in files.items():
            if path is not None:
                check_ending(option, path, endings[option])
                check_output(path, self.overwrite, sources, option)
        check_output(skipped_beside(self.table), self.overwrite, sources)
        if self.plot is not None and find_spec("plotly") is None:
            raise InputError(
                f"--plot {self.plot}: needs plotly; pip install 'ssl-faces[dashboard]'"
            )
        if self.film is not None and (len(sources) != 1 or not _is_local_file(sources[0])):
            raise InputError(f"--film {self.film}: annotates one video; give one as SRC")


def write_predictions(
    reader: FaceReader,
    predict: Predict,
    outputs: Sequence[Output],
    targets: Targets,
    smooth: float = 0.0,
    shard: Shard | None = None,
) -> str:
    """Predict each face of a reader, and write the files; memory doesn't grow with the films.

    Args:
        reader: with tracks, if predictions are smoothed.
        predict: the predictions.
        outputs: what their columns mean.
        smooth: seconds of a centred moving mean along each track of a video; 0 is none.
        shard: which the reader reads: write this part of the table only, maybe without a face.

    Returns:
        What was predicted, in words.

    Raises:
        InputError: no face, no video to plot or annotate, or a file can't be written. Then no
            file is written.
    """
    if (targets.plot or targets.film) and not reader.has_video():
        option = "--plot" if targets.plot else "--film"
        raise InputError(f"{option}: no video among the files; give one, or leave {option} out")
    rows = smoothed(_predicted(reader, predict), smooth)
    curves = _Curves()
    counts = {output.name: np.zeros(output.width, np.int64) for output in outputs}
    faces = 0
    table = targets.table if shard is None else part_of(targets.table, shard)
    with ExitStack() as files:
        write = files.enter_context(table_writer(table, _columns(outputs)))
        notes = files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
        for face, values in rows:
            faces += 1
            write(_cells(face, outputs, values))
            for output, part in _parts(outputs, values):
                counts[output.name][part.argmax()] += 1
            if targets.plot and face.of_video:
                curves.add(face, values)
            if targets.film:
                note = (face.frame, face.box, _label(outputs, values))
                notes.write(json.dumps(note) + "\n")
        if not faces and shard is None:
            raise reader.nothing()
        if targets.film:
            path = files.enter_context(replacing(targets.film, targets.film.suffix))
            _write_film(reader, path, notes)
        if targets.plot:
            page = curves.page(outputs, smooth)
            replace_file(targets.plot, page.encode())
    if shard is not None:
        write_receipt(table, reader, faces, counts={k: v.tolist() for k, v in counts.items()})
        return f"{table}: {reader.counted(faces)}"
    return _report(reader, outputs, targets, faces, counts)


def join_predictions(
    reader: FaceReader, outputs: Sequence[Output], targets: Targets, count: int
) -> str:
    """Write the table of all shards.

    Args:
        reader: of all files; it reads none.
        count: of the shards.

    Returns:
        As `write_predictions`.

    Raises:
        InputError: as of `parts_of`.
    """
    with parts_of(targets.table, count, reader) as (parts, receipts):
        join(parts, targets.table, csv_bytes([_columns(outputs)]))
    faces = sum(receipt["faces"] for receipt in receipts)
    counts = {o.name: np.sum([r["counts"][o.name] for r in receipts], 0) for o in outputs}
    return _report(reader, outputs, targets, faces, counts)


def _report(
    reader: FaceReader,
    outputs: Sequence[Output],
    targets: Targets,
    faces: int,
    counts: Mapping[str, np.ndarray],
) -> str:
    lines = [f"{targets.table}: {reader.counted(faces)}"]
    for output in outputs:
        if output.classes:
            count = counts[output.name]
            shares = (
                f"{output.classes[i]} {count[i] / faces:.0%}"
                for i in np.argsort(-count, kind="stable")
                if count[i]
            )
            lines.append(f"{output.name}: {', '.join(shares)}")
    if reader.empty_frames:
        lines.append(f"{reader.empty_frames:,} of {reader.frames:,} frames have no usable face")
    lines += [str(path) for path in (targets.plot, targets.film) if path is not None]
    return reader.report(*lines, beside=targets.table)


def _is_local_file(place: Place) -> bool:
    return isinstance(place, Path) and not place.expanduser().is_dir()


def _predicted(reader: FaceReader, predict: Predict) -> Iterator[Row]:
    for batch in batches(reader, BATCH):
        values = predict([face.pixels for face in batch])
        yield from zip((face.without_pixels() for face in batch), values, strict=True)


def smoothed(rows: Iterable[Row], seconds: float) -> Iterator[Row]:
    """The rows in their order, with values averaged over the rows of the same track that are at
    most `seconds` / 2 away in time. Rows of images stay as they are."""
    half = seconds / 2 + 1e-6
    waiting: deque[Row] = deque()
    tracks: dict[tuple[str, int], deque[tuple[float, np.ndarray]]] = {}

    def first() -> Row:
        face, values = waiting.popleft()
        track = tracks.get((face.source, face.track))
        if not face.of_video or track is None:
            return face, values
        while track[0][0] < face.time - half:
            track.popleft()
        near = [other for time, other in track if time <= face.time + half]
        return face, np.mean(near, axis=0)

    for face, values in rows:
        while waiting and (
            waiting[0][0].source != face.source or face.time > waiting[0][0].time + half
        ):
            yield first()
        if not waiting:
            tracks.clear()
        waiting.append((face, values))
        if seconds and face.track >= 0:
            tracks.setdefault((face.source, face.track), deque()).append((face.time, values))
    while waiting:
        yield first()


def _parts(outputs: Sequence[Output], values: np.ndarray) -> Iterator[tuple[Output, np.ndarray]]:
    start = 0
    for output in outputs:
        yield output, values[start : start + output.width]
        start += output.width


def _columns(outputs: Sequence[Output]) -> dict[str, type]:
    """The table's columns: a number's name, or a class, its probability, and those of all."""
    columns = dict(PLACE)
    for output in outputs:
        columns[output.name] = str if output.classes else float
        names = ("probability", *output.classes) if output.classes else ()
        columns |= {f"{output.name}_{name}": float for name in names}
    return columns


def _cells(face: Face, outputs: Sequence[Output], values: np.ndarray) -> list[Any]:
    cells = place_cells(face)
    for output, part in _parts(outputs, values):
        if output.classes:
            best = int(part.argmax())
            cells += [output.classes[best], round(float(part[best]), 5)]
        cells += [round(float(value), 5) for value in part]
    return cells


def _label(outputs: Sequence[Output], values: np.ndarray) -> str:
    words = []
    for output, part in _parts(outputs, values):
        best = int(part.argmax())
        words.append(
            f"{output.classes[best]} {part[best]:.0%}"
            if output.classes
            else f"{output.name} {part[0]:.3g}"
        )
    return ", ".join(words)


class _Curves:
    """Predictions over time, by video and track."""

    most_points = 1000  # of a curve; more are averaged
    most_tracks = 20  # of a page, the longest

    def __init__(self) -> None:
        self._of: dict[str, array[float]] = {}  # time and values, one after another

    def add(self, face: Face, values: np.ndarray) -> None:
        track = f"{writable(face.source)}, track {face.track}"
        self._of.setdefault(track, array("f")).extend((face.time, *values.tolist()))

    def page(self, outputs: Sequence[Output], smooth: float) -> str:
        """A page with a plot of each track; it needs no network."""
        import pandas as pd
        import plotly.express as px

        longest = sorted(self._of, key=lambda track: len(self._of[track]), reverse=True)
        names = list(chain.from_iterable(output.classes or (output.name,) for output in outputs))
        curves = []
        for track in longest[: self.most_tracks]:
            rows = np.array(self._of[track]).reshape(-1, 1 + len(names))
            parts = np.array_split(rows, min(len(rows), self.most_points))
            means = np.stack([part.mean(0) for part in parts]).astype(float).round(4)
            curve = pd.DataFrame(means, columns=["seconds", *names]).assign(track=track)
            curves.append(curve.melt(["seconds", "track"], var_name="class"))
        left_out = len(self._of) - len(curves)
        mean = f", moving mean over {smooth:g} s" if smooth else ""
        more = f"; {left_out:,} shorter tracks are not shown" if left_out else ""
        figure = px.line(
            pd.concat(curves),
            x="seconds",
            y="value",
            color="class",
            facet_row="track",
            markers=any(len(curve) == len(names) for curve in curves),
            color_discrete_sequence=COLOURS,
            title=f"{', '.join(output.name for output in outputs)} over time{mean}{more}",
            height=120 + 300 * len(curves),
            template="plotly_white",
        )
        figure.for_each_annotation(lambda title: title.update(text=title.text.partition("=")[2]))
        figure.update_xaxes(matches=None, showticklabels=True)
        if all(output.classes for output in outputs):
            figure.update_yaxes(range=[0, 1], title_text="probability")
        figure.update_layout(hovermode="x unified")
        page: str = figure.to_html(include_plotlyjs=True, full_html=True)
        return page


COLOURS = (
    *("#0065a3", "#b84d00", "#00775a", "#9c3f7d", "#7a6200", "#3b3bb3", "#a3243b", "#4d4d4d"),
)
"""After Okabe and Ito's palette for the colour-blind."""


def _write_film(reader: FaceReader, path: Path, notes: IO[str]) -> None:
    """The frames that a reader has read of its one video, with the boxes and labels of `notes`.

    The video is decoded again, so that no more than one frame is in memory.
    """
    from tqdm import tqdm

    (source,) = reader.sources
    assert isinstance(source, Source)
    notes.seek(0)
    labels = (json.loads(line) for line in notes)
    label = next(labels, None)
    video = open_video(source.path, reader.fps)
    with FilmWriter(path, video) as film:
        for frame in tqdm(video, desc="annotating", unit="frames", disable=reader.quiet):
            here = []
            while label is not None and label[0] == frame.number:
                here.append(label[1:])
                label = next(labels, None)
            film.write(frame.time, annotated(frame.pixels, here))


def annotated(
    pixels: np.ndarray, labels: Sequence[tuple[Sequence[float] | None, str]]
) -> np.ndarray:
    """An image uint8 [H, W, 3] with boxes (None: the whole image) and their labels."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(image)
    size = max(10, image.height // 32)
    font = ImageFont.load_default(size)
    line = max(2, size // 8)
    for box, text in labels:
        left, top, right, bottom = box or (0, 0, image.width - 1, image.height - 1)
        draw.rectangle((left, top, right, bottom), outline="#ffd400", width=line)
        x, y = max(0.0, left), top - 1.4 * size
        y = top + line if y < 0 else y
        _, _, end, _ = draw.textbbox((x, y), text, font)
        draw.rectangle((x, y, end + size // 2, y + 1.4 * size), fill="#1b1b1b")
        draw.text((x + size // 4, y + 0.1 * size), text, "#ffd400", font)
    return np.asarray(image)
