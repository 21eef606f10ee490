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
  ssl-faces fit ... --print_config  the settings that a command comes to
  ssl-faces job --help              all stages of an experiment and its scores, from one file
  ssl-faces runs --help             which runs there are, in which state, and how good
  ssl-faces compare --help          several methods with the same budget, scored, in one table
  ssl-faces prepare --help          photos and videos to a pack of faces: found, aligned, in clips
  ssl-faces pack --help             decode pictures once, to shards that training reads or streams
  ssl-faces render --help           rendered faces with exact labels, as files
  ssl-faces release --help          an encoder in half precision, to be loaded by its name
  ssl-faces export --help           an encoder as one ONNX or torch file, checked on faces
  ssl-faces bench --help            what can be measured on this machine
  ssl-faces sweep --help            many runs that try settings, by a sweep file of W&B's format
  ssl-faces dashboard --help        curves, settings and pictures of runs, on one page or in W&B

On pictures of your own, whole photos and videos too (each has --help):

  ssl-faces embed                   codes of all faces, to a table
  ssl-faces verify                  are two pictures of one person? often wrong
  ssl-faces neutralise, frontalise  the same face without expression, or facing the camera
  ssl-faces swap-identity           the same expression and pose as another person
  ssl-faces translate               one person's motion on another's face, in videos too
  ssl-faces gallery                 each face's nearest by expression and by identity, a page
  ssl-faces demo                    a page on this machine: two faces in, what was learnt out
"""

# Imported when asked for: most need torch, which takes seconds.
COMMANDS: dict[str, tuple[str, str]] = {
    "bench": ("ssl_faces.bench.cli", "run"),
    "compare": ("ssl_faces.plan.compare", "run"),
    "dashboard": ("ssl_faces.apps.dashboard.command", "run"),
    "demo": ("ssl_faces.apps.demo.command", "run"),
    "embed": ("ssl_faces.apps.embed", "run"),
    "export": ("ssl_faces.apps.export.command", "run"),
    "frontalise": ("ssl_faces.apps.edit", "frontalise"),
    "gallery": ("ssl_faces.apps.gallery", "run"),
    "job": ("ssl_faces.plan.job", "run"),
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
"""Every command but `fit`: its module and the function there, which takes the arguments behind the
name and gives the exit code, or None for 0."""


@until_the_reader_leaves
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all went well, 2 for bad input, which is told in one sentence, 128 and
    the signal's number where one stopped it."""
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

        told = path_failure(error)
        if told is None:
            raise
        return _fail(told)
    except Exception as error:
        told = bad_input(error)
        if told is not None:
            return _fail(told)
        what = out_of_memory(error)
        if what is None:
            raise
        lower = (
            "give the bench smaller numbers (see its --help)"
            if arguments[0] == "bench"
            else "start a run with a lower --data.batch_size, or with smaller networks "
            "(--model.size small, a lower --model.input_size)"
        )
        return _fail(f"{what}; {lower}", of_all=False)
    return 0


def _fail(message: str, of_all: bool = True) -> int:
    """Tell it, once a machine where all processes of a run meet the same."""
    from ssl_faces.training.launch import is_first_on_node

    if not of_all or is_first_on_node():
        print(f"ssl-faces: error: {hidden(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
