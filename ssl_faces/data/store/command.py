"""`ssl-faces pack`: decode face sets once, to shards that training reads or streams."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssl_faces.common.arguments import SIDE, Parser, existing, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.plurals import plural
from ssl_faces.common.shards import add_shards, run_shards

_SIZE = 64
_SHOWN = 5

ABOUT = """\
Decode face sets once, at the size of training, to a pack: an index and shards.

Test people and test images of the sets are left out. If it is killed or fails, run it again: it
resumes behind the last whole shard. Run again after images were added, it packs the new ones only.
"""


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces pack` with these arguments. Raises InputError: bad input."""
    parser = Parser(
        prog="ssl-faces pack",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources",
        nargs="*",
        type=existing,
        metavar="SOURCE",
        help="folder with face sets or with any pictures, as for data.root",
    )
    parser.add_argument("--out", metavar="PACK", help="folder of the pack")
    parser.add_argument(
        "--size", type=SIDE, help=f"side of the pictures, as data.size (default: {_SIZE})"
    )
    parser.add_argument(
        "--people-from-folders",
        action="store_true",
        help="in a folder of any pictures each subfolder holds one person",
    )
    parser.add_argument(
        "--include-tests",
        action="store_true",
        help="pack test people and test pictures too; probes on these sets are then worth nothing",
    )
    parser.add_argument(
        "--workers", type=whole(1, 1024), default=4, help="decoding threads (default: 4)"
    )
    parser.add_argument(
        "--verify", metavar="PACK", help="compare a pack with its checksums, and end"
    )
    add_shards(parser)
    options = parser.parse_args(arguments)
    for name, place in (("--out", options.out), ("--verify", options.verify)):
        if place is not None and "://" in place:
            raise InputError(
                f"{name} {place}: give a folder on this machine; copy a pack to an object store "
                "when it is made (its shards are verified as they are fetched)"
            )
    if options.verify is not None:
        if options.sources or options.out or options.shards or options.shard:
            raise InputError("--verify takes no SOURCE, no --out and no shards; leave them out")
        _verify(options.verify)
    elif not options.sources or options.out is None:
        raise InputError("give a SOURCE folder and --out PACK, or --verify PACK")
    else:
        command = ["ssl-faces", "pack", *arguments]
        run_shards(options, command, Path(options.out).expanduser())
        _pack(options)


def _verify(place: str) -> None:
    from ssl_faces.data.store.packs import Pack

    pack = Pack(place)
    pack.verify(again=True)
    kept = int((~pack.index.images.dropped).sum())
    print(f"{place}: {len(pack.index.shards)} shards are whole, with {kept:,} pictures to train on")


def _pack(options: argparse.Namespace) -> None:
    from ssl_faces.data.faces import FaceSet
    from ssl_faces.data.sets.discover import find_face_sets, recognised
    from ssl_faces.data.sets.folder import ImageFolder
    from ssl_faces.data.store.index import INDEX, Index
    from ssl_faces.data.store.packing import pack_sets
    from ssl_faces.data.store.packs import Pack
    from ssl_faces.data.store.selection import held_out_by

    out = Path(options.out).expanduser()
    index = out / INDEX
    size = options.size
    if size is None:
        size = Index.read(out).size if index.exists() else _SIZE
    sets: list[FaceSet] = []
    for source in options.sources:
        for faces in find_face_sets(source, "all" if options.include_tests else "train"):
            plain = options.people_from_folders and isinstance(faces, ImageFolder)
            sets.append(ImageFolder(source, people_from_folders=True) if plain else faces)
    held_out = None if options.include_tests else held_out_by(sets)
    if options.include_tests and index.exists() and not Pack(out).held_out.is_empty:
        raise InputError(f"--include-tests: {out} was packed without tests; give another --out")
    workers, shard = options.workers, options.shard
    done = pack_sets(sets, out, size, held_out=held_out, workers=workers, shard=shard)
    if shard is not None:
        print(f"{out}: shard {shard}: {plural(done.added, 'picture')}")
        return
    for line in recognised(sets, Index.read(out).sets, "--include-tests packs them too"):
        print(line)
    print(f"{out}: {plural(done.pictures, 'picture')} to train on, {done.added:,} of them new")
    if done.repaired:
        print(f"packed again: {done.repaired:,} shards that were missing or broken")
    if done.of_test_people or done.copies or done.near_copies:
        print(
            f"left out: {done.of_test_people:,} pictures of test people, {done.copies:,} copies "
            f"and {done.near_copies:,} near-copies of test pictures"
        )
    if done.skipped:
        print(f"skipped {plural(done.skipped, 'picture')} that can't be used; {index} lists them")
    for what, keys in (("changed", done.changed), ("gone", done.gone)):
        if keys:
            more = f" and {len(keys) - _SHOWN:,} more" if len(keys) > _SHOWN else ""
            print(f"{what}, not trained on any more: {', '.join(keys[:_SHOWN])}{more}")
    if done.left_out_since:
        since = plural(done.left_out_since, "picture")
        print(f"left out from now on: {since} now known as test pictures")
    if done.changed or done.gone or done.left_out_since:
        print("(their pixels stay in the shards; pack to another folder to be rid of them)")
