"""`ssl-faces`: pretrain encoders on faces, from the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib import import_module

from ssl_faces.common.arguments import check_files
from ssl_faces.common.children import exit_code
from ssl_faces.common.errors import InputError, bad_input, out_of_memory
from ssl_faces.common.passwords import hidden
from ssl_faces.common.pipes import until_the_reader_leaves
from ssl_faces.common.safe_path import protect

USAGE = """\
usage: ssl-faces fit -c CONFIG [-c CONFIG ...] --out DIR [--ckpt_path last] [--KEY VALUE ...]
       ssl-faces job -c CONFIG --out DIR
       ssl-faces runs [FOLDER ...]
       ssl-faces compare -c CONFIG --out DIR
       ssl-faces prepare SRC [SRC ...] --out DIR [--size 64] [--detector mtcnn]
       ssl-faces pack SOURCE [SOURCE ...] --out PACK [--size 64]
       ssl-faces render --out DIR [--count N] [--people P] [--size S] [--nuisances LEVEL]
       ssl-faces release RUN --name NAME
       ssl-faces export ENCODER --out FILE.onnx|FILE.pt2 [--int8] [--opset N] [--spaces S,S]
       ssl-faces bench BENCH [--out FILE.json]
       ssl-faces sweep FILE --out DIR [--workers N]
       ssl-faces dashboard RUN [RUN ...] --out FILE.html
       ssl-faces embed SRC [SRC ...] --encoder NAME --out FILE.npz
       ssl-faces verify A B --encoder NAME
       ssl-faces neutralise | frontalise SRC [SRC ...] --with RUN --out DIR
       ssl-faces swap-identity SRC [SRC ...] --person PICTURE --with RUN --out DIR
       ssl-faces translate --motion-of A --person B --with RUN --out FILE.mp4
       ssl-faces gallery SRC [SRC ...] --encoder NAME --out FILE.html
       ssl-faces demo [--encoder NAME] [--with RUN]

Pretrain an encoder on unlabelled faces.

  ssl-faces fit -c configs/method/facecycle_motion_small.yaml --out runs/motion
  ssl-faces fit -c configs/method/facecycle_identity_small.yaml --out runs/identity \\
      --model.motion_checkpoint runs/motion/checkpoints/last.ckpt

  ssl-faces fit --help              every setting
  ssl-faces fit ... --print_config  the resulting settings of a command
  ssl-faces job --help              all stages and scores of an experiment, from one file
  ssl-faces runs --help             list runs with their state and scores
  ssl-faces compare --help          train methods with the same budget, and compare scores
  ssl-faces prepare --help          photos and videos to a pack of faces: aligned, in clips
  ssl-faces pack --help             decode pictures once, to shards for training or streaming
  ssl-faces render --help           rendered faces with exact labels, as files
  ssl-faces release --help          an encoder in half precision, loaded by its name
  ssl-faces export --help           an encoder as one ONNX or torch file, checked on faces
  ssl-faces bench --help            measurements on this machine
  ssl-faces sweep --help            hyper-parameter search, by a sweep file in W&B's format
  ssl-faces dashboard --help        curves, settings and pictures of runs, on one page or in W&B

For your own pictures, also whole photos and videos (each has --help):

  ssl-faces embed                   codes of all faces, to a table
  ssl-faces verify                  do two pictures show one person? often wrong
  ssl-faces neutralise, frontalise  the same face without expression, or facing the camera
  ssl-faces swap-identity           the same expression and pose as another person
  ssl-faces translate               one person's motion on another's face, in videos too
  ssl-faces gallery                 a page of faces and their nearest neighbours
  ssl-faces demo                    a local page that compares two faces
"""

# Imported on demand, since most import torch, which takes seconds: `--help` takes 0.03 s of CPU.
COMMANDS: dict[str, tuple[str, str]] = {
    "bench": ("ssl_faces.bench.cli", "run"),
    "compare": ("ssl_faces.plan.compare.command", "run"),
    "dashboard": ("ssl_faces.apps.dashboard.command", "run"),
    "demo": ("ssl_faces.apps.demo.command", "run"),
    "embed": ("ssl_faces.apps.embed", "run"),
    "export": ("ssl_faces.apps.export.command", "run"),
    "frontalise": ("ssl_faces.apps.edit", "frontalise"),
    "gallery": ("ssl_faces.apps.gallery", "run"),
    "job": ("ssl_faces.plan.job.command", "run"),
    "neutralise": ("ssl_faces.apps.edit", "neutralise"),
    "pack": ("ssl_faces.data.store.command", "run"),
    "prepare": ("ssl_faces.prepare.command", "run"),
    "release": ("ssl_faces.encoders.release", "run"),
    "render": ("ssl_faces.rendered.cli", "run"),
    "runs": ("ssl_faces.plan.runs", "run"),
    "swap-identity": ("ssl_faces.apps.edit", "swap_identity"),
    "sweep": ("ssl_faces.plan.sweep.command", "run"),
    "translate": ("ssl_faces.apps.translate", "run"),
    "verify": ("ssl_faces.apps.verify", "run"),
}
"""Every command except `fit`: its module and function, which takes the arguments after the name and
returns the exit code, or None for 0."""


@until_the_reader_leaves
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, 2 for bad input (reported in one sentence), or 128 plus the number
    of the signal that stopped it."""
    started = time.perf_counter()
    if argv is None:
        protect()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        # Without importing Lightning, which takes seconds.
        print(USAGE, end="")
        return 0 if arguments else 2
    return exit_code("ssl-faces", lambda: _main(arguments, started))


def _main(arguments: list[str], started: float) -> int:
    try:
        check_files(arguments)
        if arguments[0] in COMMANDS:
            module, function = COMMANDS[arguments[0]]
            return getattr(import_module(module), function)(arguments[1:]) or 0
        from ssl_faces.training.fit import run

        run(arguments, started)
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        from ssl_faces.common.files import path_failure

        message = path_failure(error)
        if message is None:
            raise
        return _fail(message)
    except Exception as error:
        message = bad_input(error)
        if message is not None:
            return _fail(message)
        message = out_of_memory(error)
        if message is None:
            raise
        mend = (
            "give the bench smaller numbers (see its --help)"
            if arguments[0] == "bench"
            else "start a run with a lower --data.batch_size, or with smaller networks "
            "(--model.size small, a lower --model.input_size)"
        )
        return _fail(f"{message}; {mend}", of_all=False)
    return 0


def _fail(message: str, of_all: bool = True) -> int:
    """Print an error, once per machine if all processes of a run have it."""
    from ssl_faces.training.launch import is_first_on_node

    if not of_all or is_first_on_node():
        print(f"ssl-faces: error: {hidden(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
