"""`ssl-faces prepare`: photos and videos to a pack of aligned faces, with a manifest."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssl_faces.common.arguments import SIDE, Parser, number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file, write_failure

ABOUT = """\
Photos and videos to a pack of faces: found, aligned, cropped, in videos linked to clips of one
person, blurred and small ones and near-duplicates left out. DIR is what --data.packs takes, with
manifest.csv (each face and each file that gave none, and why) and contact_sheet.png to look at.

Killed or failed, run it again: files that were read are not read again. Run again after files were
added, it reads the new ones only.
"""

_SETTINGS = "prepare.json"
_FORMAT = 1
_NEEDS = {"av": "av", "imagehash": "imagehash"}
_MOST_WORKERS = 8


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces prepare` with these arguments.

    Raises:
        InputError: bad input.
    """
    given = _parser().parse_args(arguments)
    for module, package in _NEEDS.items():
        if find_spec(module) is None:
            raise InputError(f"prepare needs {package}; pip install 'ssl-faces[prepare]'")
    _check(given)
    from filelock import FileLock, Timeout

    out = Path(given.out).expanduser()
    lock = out / ".prepare.lock"
    try:
        is_new = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                _prepare(given, out)
        except InputError:
            if is_new and [*out.iterdir()] == [lock]:
                lock.unlink()
                out.rmdir()
            raise
    except Timeout as error:
        raise InputError(
            f"{out}: another process is preparing to it; wait until it is done"
        ) from error
    except OSError as error:
        raise InputError(f"{error.filename or out}: {write_failure(error)}") from error


def _parser() -> Parser:
    from ssl_faces.prepare.reading import Settings

    usual = Settings()
    parser = Parser(
        prog="ssl-faces prepare",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sources", nargs="+", type=Path, metavar="SRC", help="folder of photos and videos, or one")
    add("--out", required=True, metavar="DIR", help="folder of the pack")
    # Without a default: what the folder was made with counts then.
    add("--size", type=SIDE, help=f"side of the crops, as data.size ({usual.size})")
    add("--detector", help=f"{usual.detector}, or yunet:FILE.onnx ({usual.detector})")
    add(
        "--fps",
        type=number(0.01, 1000),
        help=f"frames a second of videos to look at ({usual.fps:g})",
    )
    add(
        "--min-face",
        type=number(12, 10_000),
        help=f"smallest faces, in pixels ({usual.min_face:g})",
    )
    add("--min-score", type=number(0, 1), help=f"of the detector, 0 to 1 ({usual.min_score:g})")
    add(
        "--min-sharpness", type=number(0, 100), help=f"as in the manifest ({usual.min_sharpness:g})"
    )
    add(
        "--duplicate-bits",
        type=whole(-1, 128),
        help="of 256, in which the perceptual hashes of near-duplicates may differ; -1 keeps them "
        f"({usual.duplicate_bits})",
    )
    add("--workers", type=whole(1, 1024), help=f"processes (one a core, {_MOST_WORKERS} at most)")
    return parser


def _check(given: argparse.Namespace) -> None:
    if "://" in given.out:
        raise InputError(f"--out {given.out}: give a folder on this machine")


def _prepare(given: argparse.Namespace, out: Path) -> None:
    from tqdm import tqdm

    from ssl_faces.data.store.packing import pack_sets
    from ssl_faces.prepare.manifest import NAME, SHEET, counted, write_manifest, write_sheet
    from ssl_faces.prepare.reading import drop_near_duplicates
    from ssl_faces.prepare.sources import list_sources, version_of
    from ssl_faces.prepare.store import PreparedFaces, Store
    from ssl_faces.prepare.workers import read_all

    settings, about = _settings(given, out)
    listed = list_sources(given.sources, out)
    _check_roots(given.sources, about["roots"])
    store = Store(out / "sources")
    sources = [source for one in listed.values() for source in one]
    before = {source.key: store.read(source.key) for source in sources}
    versions = {source.key: version_of(source) for source in sources}
    todo = []
    for source in sources:
        known = before.pop(source.key)
        if known is None or known[0] != versions[source.key]:
            todo.append(source)
    if todo:
        # With the detector at hand only: a folder made for a mistaken one would refuse the next.
        reading = read_all(todo, settings, given.workers or _workers())
        with tqdm(total=len(todo), desc="finding faces", unit="files") as bar:
            faces = 0
            for number, (source, found) in enumerate(reading):
                if number == 0:
                    replace_file(out / _SETTINGS, json.dumps(about, indent=2).encode())
                store.write(source.key, versions[source.key], found)
                faces += len(found.crops)
                bar.set_postfix_str(f"{faces:,} faces", refresh=False)
                bar.update()
    replace_file(out / _SETTINGS, json.dumps(about, indent=2).encode())
    there = {source.key for source in sources}
    for key in store.sources():
        if key not in there and key.partition("/")[0] in listed:
            store.drop(key)
    read = ((key, known[1]) for key in store.sources() if (known := store.read(key)) is not None)
    found_in = list(drop_near_duplicates(read, settings.duplicate_bits))
    rows = [(key, row) for key, found in found_in for row in found.rows]
    kept = [(key, row) for key, row in rows if row.box is not None and not row.reason]
    write_manifest(out, found_in)
    reasons = ", ".join(
        f"{reason} {count:,}"
        for reason, count in counted(row.reason for _, row in rows if row.reason)
    )
    if not kept:
        raise InputError(
            f"no face to train on in {len(found_in):,} files ({reasons}); {out / NAME} says why of "
            "each, give other ones"
        )
    write_sheet(out, store, kept, settings.size)
    done = pack_sets([PreparedFaces(about["name"], store, kept)], out, settings.size)
    clips = {row.clip for _, row in kept if row.clip}
    print(
        f"{out}: {done.pictures:,} faces to train on, {done.added:,} of them new, "
        f"{sum(bool(row.clip) for _, row in kept):,} in {len(clips):,} clips"
    )
    if reasons:
        print(f"left out: {reasons}")
    print(f"each face and file: {out / NAME}; faces to look at: {out / SHEET}")


def _workers() -> int:
    here = getattr(os, "sched_getaffinity", None)  # none on macOS
    return min(_MOST_WORKERS, len(here(0)) if here else os.cpu_count() or 1)


def _settings(given: argparse.Namespace, out: Path) -> tuple[Any, dict[str, Any]]:
    """The settings, those that `out` was made with where none are given, and what is kept of them.

    Raises:
        InputError: `out` was made with others, or otherwise.
    """
    from ssl_faces.prepare.detectors import label_of
    from ssl_faces.prepare.manifest import NAME, SHEET
    from ssl_faces.prepare.reading import Settings

    path = out / _SETTINGS
    names = [field.name for field in fields(Settings)]
    asked = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    if not path.exists():
        if (out / "index.json").exists():
            raise InputError(f"{out}: a pack that was not made by prepare; give another --out")
        for name in (NAME, SHEET):
            if (out / name).exists():
                raise InputError(f"{out / name}: not what prepare wrote; give another --out")
        settings = Settings(**asked)
        known = {**settings.as_dict(), "detector": label_of(settings.detector)}
        return settings, {
            "format": _FORMAT,
            "name": out.resolve().name,
            "settings": known,
            "roots": {},
        }
    try:
        about = json.loads(regular(path).read_text())
        stored = {name: about["settings"][name] for name in names}
        roots, name = dict(about["roots"]), str(about["name"])
        if about["format"] != _FORMAT:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what prepare wrote; give another --out") from error
    label = label_of(asked.get("detector", stored["detector"].partition(":")[0]))
    for name_, value in {**asked, "detector": label}.items():
        if value != stored[name_]:
            raise InputError(
                f"{out} was made with --{name_.replace('_', '-')} {stored[name_]}, not {value}; "
                "give that, or another --out"
            )
    detector = asked.get("detector", "mtcnn")
    settings = Settings(**{**stored, "detector": detector})
    return settings, {"format": _FORMAT, "name": name, "settings": stored, "roots": roots}


def _check_roots(sources: Sequence[Path], roots: dict[str, str]) -> None:
    """Note where each SRC is, by its name.

    Raises:
        InputError: another of that name was prepared before.
    """
    for source in sources:
        place = source.expanduser().resolve()
        before = roots.setdefault(place.name or "root", str(place))
        if before != str(place):
            raise InputError(
                f"{source}: {before}, which is called the same, was prepared to this folder; "
                "rename one, or give another --out"
            )
