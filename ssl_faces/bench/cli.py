"""The benches by name: `ssl-faces bench NAME`, each a module with `add_arguments` and `measure`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ssl_faces.common.arguments import Parser
from ssl_faces.common.outputs import add_overwrite, check_output

# Each module offers `add_arguments(parser)` and `measure(arguments) -> Result`. One that has
# PASSES_ON takes arguments that its parser doesn't know too, as `arguments.settings`.
BENCHES = {
    "cost": "arithmetic of one training step of any method, counted: GFLOP a step and a picture",
    "embed": "released encoders beside HOG, LBP and installed recognisers: accuracy and speed",
    "features": "feature extraction beside the encoder's bare forward pass",
    "plan": "time, memory, disk, network and cost of a large run, worked out from measured figures",
    "scale": "two processes of one thread each beside one",
    "start": "what `--help` costs",
    "step": "a training step beside the authors' schedule of network calls",
    "feed": "pairs a second of packed faces beside a loader that decodes every picture",
    "formats": "pictures a second of shards beside litdata, webdataset and a memory map",
    "memory": "peak memory of a run's data, with packs of 50,000 and of 500,000 pictures",
    "shuffling": "how well the orders of an epoch are shuffled",
    "prepare": "faces found in photos and videos, errors of their eyes, faces a second",
    "render": "faces rendered a second, and memory by the size of the set",
}


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces bench` with these arguments: print the table, write the JSON.

    Raises:
        InputError: bad input.
    """
    parser = Parser(prog="ssl-faces bench", description="Measure speed and memory on this machine.")
    verbs = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    chosen = next((word for word in argv if word in BENCHES), None)
    for name, about in BENCHES.items():
        verb = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
        verb.add_argument("--out", type=Path, help="also write the figures here, as JSON")
        add_overwrite(verb)
        if name == chosen:
            import_module(f"ssl_faces.bench.{name}").add_arguments(verb)
    arguments, unknown = parser.parse_known_args(argv)
    bench = import_module(f"ssl_faces.bench.{arguments.bench}")
    if getattr(bench, "PASSES_ON", False):
        arguments.settings = unknown
    elif unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    for option in ("out", "page"):
        if (place := getattr(arguments, option, None)) is not None:
            check_output(place, arguments.overwrite, option=f"--{option}")
    result = bench.measure(arguments)
    print(result.table())
    if arguments.out is not None:
        result.write(arguments.out)
        print(f"\nwritten: {arguments.out}")
