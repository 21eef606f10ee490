"""`ssl-faces`: pretrain encoders on faces, from the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from ssl_faces.errors import InputError

USAGE = """\
usage: ssl-faces fit -c CONFIG [-c CONFIG ...] --out DIR [--ckpt_path last] [--KEY VALUE ...]
       ssl-faces render --out DIR [--count N] [--people P] [--size S] [--nuisances LEVEL]
       ssl-faces bench BENCH [--out FILE.json]

Pretrain an encoder on unlabelled faces.

  ssl-faces fit -c configs/method/facecycle_motion_small.yaml --out runs/motion
  ssl-faces fit -c configs/method/facecycle_identity_small.yaml --out runs/identity \\
      --model.motion_checkpoint runs/motion/checkpoints/last.ckpt

  ssl-faces fit --help              every setting
  ssl-faces fit ... --print_config  the settings that a command comes to
  ssl-faces render --help           rendered faces with exact labels, as files
  ssl-faces bench --help            what can be measured on this machine
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all went well, 2 for bad input, which is told in one sentence."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        # Without importing Lightning, which takes seconds.
        print(USAGE, end="")
        return 0 if arguments else 2
    try:
        if arguments[0] == "bench":
            from ssl_faces.bench.cli import run as bench

            bench(arguments[1:])
        elif arguments[0] == "render":
            from ssl_faces.data.rendered.cli import run as render

            render(arguments[1:])
        else:
            from ssl_faces.training import run

            run(arguments)
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        from ssl_faces.files import DISK_FULL, write_failure

        if error.errno not in DISK_FULL:
            raise
        return _fail(f"{error.filename or 'the run folder'}: {write_failure(error)}")
    except Exception as error:
        # Under `jsonargparse` and Lightning an InputError may arrive as the cause of another.
        cause: Any = error
        while cause is not None:
            if isinstance(cause, InputError):
                return _fail(str(cause))
            cause = cause.__cause__ or cause.__context__
        raise
    return 0


def _fail(message: str) -> int:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"ssl-faces: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
