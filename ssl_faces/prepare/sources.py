"""Sources: listing of files, their kinds by their first bytes, and the frames of videos."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from ssl_faces.common.arguments import Place
from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.common.files import MOST_PIXELS, NOT_REGULAR, regular
from ssl_faces.common.shards import SUFFIX
from ssl_faces.data.pictures import MOST_BYTES, SHORTEST_SIDE, BadImage
from ssl_faces.data.store.fetching import fetch_bytes

Kind = Literal["picture", "video"]

HEAD = 4096
"""Number of first bytes that decide the kind of a file."""

_ARCHIVE = re.compile(
    rb"PK\x03\x04|PK\x05\x06|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|.{257}ustar", re.DOTALL
)
_HEIC = re.compile(rb".{4}ftyp(hei[cxf]|hevc|mif1|msf1|avi[fs])", re.DOTALL)
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|BM|II\*\x00|MM\x00\*|RIFF.{4}WEBP|P[1-6]\s", re.DOTALL
)
_VIDEO = re.compile(
    rb"\x1aE\xdf\xa3|FLV\x01|OggS|0&\xb2u|\x00\x00\x01[\xba\xb3]|RIFF.{4}AVI |"
    rb".{4}(ftyp|moov|mdat|wide|free|skip|pnot)|"
    # Transport streams: a mark every 188 bytes, or every 192 after a time stamp.
    rb"(G.{187}){3}G|.{4}(G.{191}){3}G",
    re.DOTALL,
)

# Containers that hold their frames. Playlists, which name other files and addresses, are excluded.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,ogg,asf,mpeg,mpegvideo,mpegts,gif"

_SHORT_OF = 0.9
"""A video that ends before this share of its stated length is cut short."""

_MOST_BROKEN = 100  # successive packets


@dataclass(frozen=True, slots=True)
class Source:
    """A file.

    Attributes:
        key: its SRC's name and the posix path below it.
        path: on this machine; see `local`.
        url: of a file in an object store; its path is this, too, and there is no such file.
        version: of a file in an object store, as of `version_of`.
    """

    key: str
    path: Path
    url: str = ""
    version: str = ""

    @contextmanager
    def local(self) -> Iterator[Path]:
        """The path on this machine; a file of an object store is fetched, and deleted at the end.

        Raises:
            BadImage: it is gone from the object store.
            InputError: it can't be fetched.
        """
        if not self.url:
            yield self.path
            return
        with TemporaryDirectory() as folder:
            path = Path(folder, "file")
            try:
                path.write_bytes(fetch_bytes(self.url, ", and run again"))
            except InputError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    raise BadImage("gone since it was listed") from error
                raise
            yield path


class Frame(NamedTuple):
    """One frame of a video, or an image."""

    number: int  # in the video, from 0
    time: float  # seconds
    pixels: np.ndarray  # uint8 RGB [H, W, 3], upright


def list_sources(places: Sequence[Place], out: Path) -> dict[str, list[Source]]:
    """Every file below each SRC in order of key, by the SRC's name.

    Links to folders are followed, each folder once. Hidden files and folders, folders of shards
    (`NAME.shards`) and `out` are skipped.

    Raises:
        InputError: a SRC is missing, can't be listed or is empty, or two share a name.
    """
    listed: dict[str, list[Source]] = {}
    named: dict[str, Place] = {}
    for place in places:
        name = name_of(place)
        if name in listed:
            raise InputError(f"{named[name]} and {place} are both called {name}; rename one")
        if isinstance(place, str):
            listed[name] = _in_store(place, name)
        elif place.expanduser().is_dir():
            listed[name] = _below(place.expanduser(), name, out)
        else:
            listed[name] = [Source(name, place.expanduser())]
        if not listed[name]:
            raise InputError(f"{place}: no file in it; give a folder of photos or videos")
        named[name] = place
    return listed


def name_of(place: Place) -> str:
    """The name of a SRC: the start of its files' keys. Raises InputError: no such path."""
    if isinstance(place, str):
        return place.rpartition("/")[2]
    root = place.expanduser()
    try:
        root.stat()
        return root.resolve().name or "root"
    except OSError as error:
        raise InputError(f"{place}: {error.strerror or error}; check the path") from error


def _in_store(address: str, name: str) -> list[Source]:
    import fsspec

    try:
        store, root = fsspec.core.url_to_fs(address)
        files = store.find(root, detail=True)
    except Exception as error:  # each kind of store has its own errors
        raise InputError(
            f"{address}: can't be listed ({reason_of(error)}); check the address, the keys and "
            "that its package is installed"
        ) from error
    sources = []
    for path, about in files.items():
        below = path[len(root) :].strip("/")
        if any(map(_hidden, below.split("/"))):
            continue
        marks = (about.get(key) for key in ("ETag", "etag", "LastModified", "mtime", "created"))
        version = f"{about.get('size')} {next(filter(None, marks), '')}"
        url = store.unstrip_protocol(path)
        sources.append(Source(f"{name}/{below}" if below else name, Path(url), url, version))
    return sorted(sources, key=lambda source: source.key)


def _below(root: Path, name: str, out: Path) -> list[Source]:
    def refuse(error: OSError) -> None:
        if Path(error.filename or "") == root:
            raise InputError(f"{root}: can't be listed ({error.strerror}); check its permissions")

    def identity(path: str | Path) -> tuple[int, int]:
        status = os.stat(path)
        return status.st_dev, status.st_ino

    seen = {identity(out)} if out.exists() else set()
    sources = []
    for parent, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        place = identity(parent)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(folder for folder in folders if not _hidden(folder))
        paths = [Path(parent, file) for file in files if not _hidden(file)]
        sources += [Source(f"{name}/{p.relative_to(root).as_posix()}", p) for p in paths]
    return sorted(sources, key=lambda source: source.key)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX" or name.endswith(SUFFIX)


def version_of(source: Source) -> str:
    """A text that changes when the file does, without reading it."""
    if source.url:
        return source.version
    try:
        status = source.path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def kind_of(path: Path) -> Kind:
    """The kind of a file by its first bytes, whatever its ending. Animations are videos.

    Raises:
        BadImage: neither an image nor a video, or unreadable; the reason.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadImage(f"not a file ({NOT_REGULAR})")
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise BadImage(f"can't be read ({error.strerror or error})") from error
    kind = kind_by_head(head)
    if kind == "picture":
        if status.st_size > MOST_BYTES:
            raise BadImage("a picture of more than 1 GiB")
        return "video" if head.startswith(b"GIF8") and _is_animated(path) else "picture"
    return kind


def kind_by_head(head: bytes) -> Kind:
    """The kind of a file by its first `HEAD` bytes, by which animations are images.

    Raises:
        BadImage: neither an image nor a video; the reason.
    """
    if not head:
        raise BadImage("empty (0 bytes)")
    if _ARCHIVE.match(head):
        raise BadImage("an archive: it is not opened; unpack it and give the folder")
    if _HEIC.match(head):
        raise BadImage("a HEIC or AVIF picture, which can't be read here: save it as JPEG")
    if b"<svg" in head.lower():
        raise BadImage("a drawing (SVG), no photograph")
    if _PICTURE.match(head):
        return "picture"
    if _VIDEO.match(head):
        return "video"
    raise BadImage("no picture or video of a known kind by its first bytes")


def _is_animated(path: Path) -> bool:
    try:
        with Image.open(path, formats=("GIF",)) as picture:
            width, height = picture.size
            return width * height <= MOST_PIXELS and bool(getattr(picture, "is_animated", False))
    except Exception:
        return False  # decoding it later gives the reason


class Video:
    """The frames of a video in order, at most `fps` per second.

    Frames after a break are lost, and `note` says so.

    Attributes:
        note: what is wrong with the file, after iteration; empty if nothing is.
        seconds: its stated length, 0 without one.
        rate: its average frames per second, once iteration has begun.

    Raises:
        BadImage: while iterating, if no frame can be decoded.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.note = ""
        self.seconds = self.rate = 0.0

    def __iter__(self) -> Iterator[Frame]:
        try:
            with self._opened() as container:
                yield from self._frames(container)
        except BadImage:
            raise
        # Decoders of broken files raise anything.
        except Exception as error:
            raise BadImage(f"truncated or broken ({_words(error)})") from error

    def count(self) -> int:
        """The number of frames, counted without decoding them; 0 if there are none."""
        count = 0
        # Demuxers of broken files raise anything; frames before the break count.
        with suppress(Exception), self._opened() as container:
            for packet in container.demux(container.streams.video[0]):
                count += bool(packet.size) and not packet.is_discard
        return count

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import av

        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
        # A stream and not a name: FFmpeg takes names with colons for addresses.
        with (
            regular(self.path).open("rb") as stream,
            av.open(stream, options=options, metadata_errors="ignore") as container,
        ):
            yield container

    def _frames(self, container: Any) -> Iterator[Frame]:
        import av

        if len(container.streams) and not container.streams.video:
            raise BadImage("a file without a video track")
        stream = container.streams.video[0] if len(container.streams) else None
        if stream is None or stream.codec_context is None:
            raise BadImage("truncated or broken (no track in it can be decoded)")
        self.seconds = float(container.duration or 0) / 1e6
        if stream.duration and stream.time_base:
            self.seconds = float(stream.duration * stream.time_base)
        rate = self.rate = float(stream.average_rate or 25)
        number, slot, last, broken, successive = 0, -1, 0.0, 0, 0
        packets = container.demux(stream)
        why = ""
        while True:
            _check_size(stream.codec_context.width, stream.codec_context.height)
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                why = _words(error)
                break
            if packet is None or successive > _MOST_BROKEN:
                break
            try:
                decoded = packet.decode()
                successive = 0
            except av.error.FFmpegError:
                broken, successive = broken + 1, successive + 1
                continue
            for frame in decoded:
                last = number / rate if frame.time is None else float(frame.time)
                now = int(last * self.fps + 1e-6)
                if now != slot and not frame.is_corrupt:
                    slot = now
                    _check_size(frame.width, frame.height)
                    yield Frame(number, last, _pixels(frame, stream))
                number += 1
        if slot < 0:
            raise BadImage("truncated or broken (not one frame can be decoded)")
        end = last + 1 / rate
        if self.seconds - end > max(0.5, (1 - _SHORT_OF) * self.seconds) or why:
            self.note = f"cut short: {end:.1f} of {self.seconds:.1f} s could be read"
        elif broken:
            self.note = f"partly broken: {broken} packets could not be decoded"


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadImage(f"frames of {width}x{height}: more than {MOST_PIXELS:,} pixels")
    if width and height and min(width, height) < SHORTEST_SIDE:
        raise BadImage(f"frames of {width}x{height}: a side below {SHORTEST_SIDE} pixels")


def _pixels(frame: Any, stream: Any) -> np.ndarray:
    """RGB as displayed: with square pixels, turned and mirrored by the track's matrix."""
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    ratio = float(stream.sample_aspect_ratio or 1)
    if 0.25 < ratio < 4 and abs(ratio - 1) > 0.01:
        size = (max(1, round(pixels.shape[1] * ratio)), pixels.shape[0])
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    matrix = _display_matrix(frame)
    return pixels if matrix is None else shown(pixels, matrix)


def _display_matrix(frame: Any) -> np.ndarray | None:
    """The matrix of the track, int32 [3, 3] in FFmpeg's order, or None."""
    from av.sidedata.sidedata import Type

    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return None
    values = np.frombuffer(bytes(data), np.int32)
    return values.reshape(3, 3) if values.size == 9 else None


def shown(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """[H, W, 3] transformed by a display matrix: by the nearest quarter turn, and mirrored.

    Args:
        matrix: [3, 3]; the pixel (x, y), y down, is displayed at (x, y, 1) @ matrix.
    """
    (a, b), (c, d) = matrix[:2, :2].astype(float)
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, (a, d) = pixels.transpose(1, 0, 2), (c, b)
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
