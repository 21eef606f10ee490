"""The benches by name: `ssl-faces bench NAME`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ssl_faces.common.arguments import Parser
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output

BENCHES = {
    "cost": "count the arithmetic of one training step of any method: GFLOP per step and image",
    "embed": "released encoders, HOG, LBP and installed recognisers: accuracy and speed",
    "plan": "estimate time, memory, disk, network and cost of a large run from measured speed",
    "scale": "cost of plans, shards and large tables beside the work itself",
    "serve": "requests per second of the REST service, with and without batches",
    "step": "the time of a training step of any method",
}
"""Each is a module with `add_arguments(parser)` and `measure(arguments) -> Result`. If it has
`PASSES_ON`, it also takes arguments that its parser does not know, as `arguments.settings`."""


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces bench`: print the table, write the JSON; InputError for bad input."""
    parser = Parser(prog="ssl-faces bench", description="Measure speed on this machine.")
    verbs = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    chosen = next((word for word in argv if word in BENCHES), None)
    for name, about in BENCHES.items():
        verb = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
        verb.add_argument("--out", type=Path, help="also write the figures to this file, as JSON")
        add_overwrite(verb)
        if name == chosen:
            bench = import_module(f"ssl_faces.bench.{name}")
            bench.add_arguments(verb)
            verb.passes_on = getattr(bench, "PASSES_ON", False)
    arguments, unknown = parser.parse_known_args(argv)
    bench = import_module(f"ssl_faces.bench.{arguments.bench}")
    if getattr(bench, "PASSES_ON", False):
        arguments.settings = unknown
        if not unknown:
            raise InputError(f"bench {arguments.bench}: no method; give its config with -c")
    elif unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    for option in ("out", "page"):
        if (path := getattr(arguments, option, None)) is not None:
            check_output(path, arguments.overwrite, option=f"--{option}")
    result = bench.measure(arguments)
    print(result.table())
    if arguments.out is not None:
        result.write(arguments.out)
        print(f"\nwritten: {arguments.out}")
