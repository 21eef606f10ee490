"""`ssl-faces dashboard`: a page of runs that needs no network, or a workspace in W&B."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssl_faces.common.arguments import Parser, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.common.plurals import plural


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces dashboard` with these arguments.

    Raises:
        InputError: bad input.
    """
    parser = Parser(
        prog="ssl-faces dashboard",
        description="Compare runs: learning curves, settings, images and probes, on one page that "
        "needs no network, or as a workspace of a W&B project.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of runs, of a comparison or of a sweep"
    )
    parser.add_argument("--out", type=Path, help="the page, such as dashboard.html")
    add_overwrite(parser)
    parser.add_argument(
        "--wandb",
        metavar="ENTITY/PROJECT",
        help="make a workspace there instead, with panels for what these runs log",
    )
    parser.add_argument(
        "--panels", type=whole(0), default=12, help="most images a run (default: 12; 0: none)"
    )
    arguments = parser.parse_args(argv)
    if (arguments.out is None) == (arguments.wandb is None):
        raise InputError("give --out FILE.html, or --wandb ENTITY/PROJECT")
    if arguments.out is not None and arguments.out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {arguments.out}: the output is a page; name it .html")
    if arguments.out is not None:
        check_output(arguments.out, arguments.overwrite, arguments.runs)
    # Late, so that `--help` is fast.
    from ssl_faces.apps.dashboard.gather import gather

    gathered = gather(arguments.runs)
    if arguments.wandb is not None:
        from ssl_faces.apps.dashboard.workspace import save

        print(f"workspace: {save(gathered, arguments.wandb)}")
        return
    from ssl_faces.apps.dashboard.page import page

    # Names may hold bytes that are not UTF-8.
    text = page(gathered, arguments.panels).encode(errors="backslashreplace")
    replace_file(arguments.out, text)
    runs = plural(len(gathered.runs), "run")
    print(f"dashboard of {runs}: {arguments.out} ({len(text) / 1e6:.1f} MB)")
