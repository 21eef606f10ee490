"""`ssl-faces prepare`: photos and videos to a pack of aligned faces, with a manifest."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssl_faces.common.arguments import SIDE, Parser, Place, existing_place, number, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file, write_failure
from ssl_faces.common.plurals import plural
from ssl_faces.common.shards import add_shards, run_shards

ABOUT = """\
Photos and videos to a pack of faces: detected, aligned, cropped, in videos linked to clips of one
person, without blurred and small ones and near-duplicates. DIR is for --data.packs, with
manifest.csv (each face, and each file without one, with the reason) and contact_sheet.png.

The same command resumes after it was killed or failed, and reads only new files when files were
added.
"""

_SETTINGS = "prepare.json"
_FORMAT = 1
_MOST_WORKERS = 8


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces prepare`; bad input raises InputError."""
    options = _parser().parse_args(arguments)
    for package in ("av", "imagehash"):
        if find_spec(package) is None:
            raise InputError(f"prepare needs {package}; pip install 'ssl-faces[prepare]'")
    if "://" in options.out:
        raise InputError(f"--out {options.out}: give a folder on this machine")
    from filelock import FileLock, Timeout

    out = Path(options.out).expanduser()
    run_shards(options, ["ssl-faces", "prepare", *arguments], out)
    lock = out / (f".prepare-{options.shard.number}.lock" if options.shard else ".prepare.lock")
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            _prepare(options, out)
    except Timeout as error:
        raise InputError(
            f"{out}: another process is preparing to it; wait until it is done"
        ) from error
    except InputError:
        if is_new and {*out.iterdir()} <= {lock}:
            lock.unlink(missing_ok=True)
            out.rmdir()
        raise
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
    sources = "folder of photos and videos, or one; also in an object store, such as s3://bucket/a"
    add("sources", nargs="+", type=existing_place, metavar="SRC", help=sources)
    add("--out", required=True, metavar="DIR", help="folder of the pack")
    # Without defaults, since an existing folder has its own settings.
    for name, kind, about in (
        ("size", SIDE, "side of the crops, as data.size"),
        ("detector", str, "mtcnn, or yunet:FILE.onnx"),
        ("fps", number(0.01, 1000), "frames per second of videos to read"),
        ("min-face", number(12, 10_000), "smallest faces, in pixels"),
        ("min-score", number(0, 1), "of the detector, 0 to 1"),
        ("min-sharpness", number(0, 100), "as in the manifest"),
        (
            "duplicate-bits",
            whole(-1, 128),
            "of 256, in which hashes of near-duplicates may differ; -1 keeps them",
        ),
    ):
        default = getattr(usual, name.replace("-", "_"))
        shown = f"{default:g}" if isinstance(default, float) else default
        add(f"--{name}", type=kind, help=f"{about} ({shown})")
    add("--workers", type=whole(1, 1024), help=f"processes (one per core, up to {_MOST_WORKERS})")
    add_shards(parser)
    return parser


def _prepare(options: argparse.Namespace, out: Path) -> None:
    from tqdm import tqdm

    from ssl_faces.data.store.packing import pack_sets
    from ssl_faces.prepare.manifest import NAME, SHEET, counted, write_manifest, write_sheet
    from ssl_faces.prepare.reading import drop_near_duplicates
    from ssl_faces.prepare.sources import Source, list_sources, version_of
    from ssl_faces.prepare.store import PreparedFaces, Store
    from ssl_faces.prepare.workers import read_all

    settings, about = _settings(options, out)
    listed = list_sources(options.sources, out)
    _check_roots(options.sources, about["roots"])
    store = Store(out / "sources")
    sources: Sequence[Source] = [source for group in listed.values() for source in group]
    if options.shard:
        sources = options.shard.of(sources)
    versions = {source.key: version_of(source) for source in sources}

    def is_known(key: str) -> bool:
        known = store.read(key)
        return known is not None and known[0] == versions[key]

    todo = [source for source in sources if not is_known(source.key)]
    reading = read_all(todo, settings, options.workers or _workers(options.shard is not None))
    with tqdm(total=len(todo), desc="detecting faces", unit="files", disable=not todo) as bar:
        faces = 0
        for position, (source, result) in enumerate(reading):
            if position == 0:
                # Not earlier: a detector that can't be loaded should leave no settings.
                replace_file(out / _SETTINGS, json.dumps(about, indent=2).encode())
            store.write(source.key, versions[source.key], result)
            faces += len(result.crops)
            bar.set_postfix_str(f"{faces:,} faces", refresh=False)
            bar.update()
    replace_file(out / _SETTINGS, json.dumps(about, indent=2).encode())
    if options.shard:
        print(f"{out}: shard {options.shard}: {plural(len(sources), 'file')}, {len(todo):,} new")
        return
    for key in set(store.sources()) - versions.keys():
        if key.partition("/")[0] in listed:
            store.drop(key)
    read = ((key, known[1]) for key in store.sources() if (known := store.read(key)) is not None)
    results = list(drop_near_duplicates(read, settings.duplicate_bits))
    rows = [(key, row) for key, result in results for row in result.rows]
    kept = [(key, row) for key, row in rows if row.box is not None and not row.reason]
    write_manifest(out, results)
    counts = counted(row.reason for _, row in rows if row.reason)
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts)
    if not kept:
        raise InputError(
            f"no face to train on in {plural(len(results), 'file')} ({reasons}); see {out / NAME} "
            "for the reason of each, and give other files"
        )
    write_sheet(out, store, kept)
    done = pack_sets([PreparedFaces(about["name"], store, kept)], out, settings.size)
    in_clips = [row.clip for _, row in kept if row.clip]
    print(
        f"{out}: {plural(done.pictures, 'face')} to train on, {done.added:,} of them new, "
        f"{len(in_clips):,} in {plural(len(set(in_clips)), 'clip')}"
    )
    if reasons:
        print(f"left out: {reasons}")
    print(f"each face and file: {out / NAME}; faces to look at: {out / SHEET}")


def _workers(is_shard: bool) -> int:
    here = getattr(os, "sched_getaffinity", None)  # none on macOS
    cores = len(here(0)) if here else os.cpu_count() or 1
    share = os.environ.get("OMP_NUM_THREADS", "") if is_shard else ""  # as the plan sets it
    # Never one: a file that crashes its reader must not end the shard.
    return min(_MOST_WORKERS, max(2, int(share)) if share.isdecimal() else cores)


def _settings(options: argparse.Namespace, out: Path) -> tuple[Any, dict[str, Any]]:
    """The settings, by default those of an existing `out`, and the content of its settings file.

    Raises:
        InputError: `out` has other settings, or was not made by this command.
    """
    from ssl_faces.prepare.detectors import label_of
    from ssl_faces.prepare.manifest import NAME, SHEET
    from ssl_faces.prepare.reading import Settings

    path = out / _SETTINGS
    names = [field.name for field in fields(Settings)]
    changed = {name: value for name in names if (value := getattr(options, name)) is not None}
    if not path.exists():
        for name in ("index.json", NAME, SHEET):
            if (out / name).exists():
                raise InputError(f"{out / name}: not written by prepare; give another --out")
        settings = Settings(**changed)
        stored = asdict(settings) | {"detector": label_of(settings.detector)}
        name, roots = out.resolve().name, {}
    else:
        try:
            about = json.loads(regular(path).read_text())
            stored = {name: about["settings"][name] for name in names}
            roots, name = dict(about["roots"]), str(about["name"])
            if about["format"] != _FORMAT:
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not written by prepare; give another --out") from error
        label = label_of(changed.get("detector", stored["detector"].partition(":")[0]))
        for key, value in {**changed, "detector": label}.items():
            if value != stored[key]:
                raise InputError(
                    f"{out} was made with --{key.replace('_', '-')} {stored[key]}, not {value}; "
                    "give that, or another --out"
                )
        settings = Settings(**{**stored, "detector": changed.get("detector", "mtcnn")})
    return settings, {"format": _FORMAT, "name": name, "settings": stored, "roots": roots}


def _check_roots(sources: Sequence[Place], roots: dict[str, str]) -> None:
    """Record the folder of each SRC by its name.

    Raises:
        InputError: another folder of that name was prepared before.
    """
    from ssl_faces.prepare.sources import name_of

    for source in sources:
        place = source if isinstance(source, str) else source.expanduser().resolve()
        before = roots.setdefault(name_of(source), str(place))
        if before != str(place):
            raise InputError(
                f"{source}: {before}, which has the same name, was prepared to this folder; "
                "rename one, or give another --out"
            )
