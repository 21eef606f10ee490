"""The benches by name: `ssl-faces bench NAME`, each a module with `add_arguments` and `measure`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

# Each module offers `add_arguments(parser)` and `measure(arguments) -> Result`.
BENCHES = {
    "step": "a training step beside the authors' schedule of network calls",
    "render": "faces rendered a second, and memory by the size of the set",
}


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces bench` with these arguments: print the table, write the JSON.

    Raises:
        InputError: bad input.
    """
    parser = argparse.ArgumentParser(
        prog="ssl-faces bench", description="Measure speed and memory on this machine."
    )
    verbs = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    chosen = next((word for word in argv if word in BENCHES), None)
    for name, about in BENCHES.items():
        verb = verbs.add_parser(name, help=about, description=about)
        verb.add_argument("--out", type=Path, help="also write the figures here, as JSON")
        if name == chosen:
            import_module(f"ssl_faces.bench.{name}").add_arguments(verb)
    arguments = parser.parse_args(argv)
    result = import_module(f"ssl_faces.bench.{arguments.bench}").measure(arguments)
    print(result.table())
    if arguments.out is not None:
        result.write(arguments.out)
        print(f"\nwritten: {arguments.out}")
