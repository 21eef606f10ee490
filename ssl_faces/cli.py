"""`ssl-faces`: pretrain encoders on faces, from the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from ssl_faces.common.arguments import check_files
from ssl_faces.common.children import exit_code
from ssl_faces.common.errors import InputError, bad_input, did_you_mean, out_of_memory
from ssl_faces.common.files import existing_folder
from ssl_faces.common.passwords import hidden
from ssl_faces.common.pipes import exit_on_closed_pipe
from ssl_faces.common.safe_path import protect

# Imported on demand, since most import torch, which takes seconds: `--help` takes 0.03 s of CPU.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "methods": ("ssl_faces.training.catalogue", "run", "methods to train, and what they need"),
    "job": ("ssl_faces.plan.job", "run", "all stages and scores of an experiment"),
    "runs": ("ssl_faces.plan.runs", "run", "list runs with their state and scores"),
    "compare": ("ssl_faces.plan.compare", "run", "train methods with the same budget"),
    "sweep": ("ssl_faces.plan.sweep.command", "run", "hyper-parameter search, by a W&B sweep file"),
    "dashboard": ("ssl_faces.apps.dashboard.command", "run", "curves and pictures of runs, a page"),
    "prepare": ("ssl_faces.prepare.command", "run", "photos and videos to a pack of aligned faces"),
    "pack": ("ssl_faces.data.store.command", "run", "decode pictures once, to shards"),
    "render": ("ssl_faces.rendered.cli", "run", "rendered faces with exact labels, as files"),
    "release": ("ssl_faces.apps.release", "run", "an encoder in half precision, by its name"),
    "trained-images": (
        "ssl_faces.encoders.trained_images",
        "run",
        "hashes of the images that an encoder was trained on",
    ),
    "export": ("ssl_faces.apps.export.command", "run", "an encoder as one ONNX or torch file"),
    "bench": ("ssl_faces.bench.cli", "run", "measurements on this machine"),
    "embed": ("ssl_faces.apps.embed", "run", "codes of all faces, to a table"),
    "expressions": (
        "ssl_faces.apps.expressions",
        "run",
        "probabilities of expressions: images, films",
    ),
    "verify": ("ssl_faces.apps.verify", "run", "do two pictures show one person? often wrong"),
    "neutralise": ("ssl_faces.apps.edit", "neutralise", "the same faces without expression"),
    "frontalise": ("ssl_faces.apps.edit", "frontalise", "the same faces, facing the camera"),
    "swap-identity": (
        "ssl_faces.apps.edit",
        "swap_identity",
        "the same expression, another person",
    ),
    "translate": ("ssl_faces.apps.translate", "run", "one person's motion on another's face"),
    "gallery": ("ssl_faces.apps.gallery", "run", "a page of faces and their nearest neighbours"),
    "cluster": ("ssl_faces.apps.cluster", "run", "groups of faces that may show one person"),
    "search": ("ssl_faces.apps.search", "run", "find a face among many"),
    "demo": ("ssl_faces.apps.demo.command", "run", "a local page that compares two faces"),
    "serve": ("ssl_faces.apps.serve.command", "run", "codes, verification, expressions by HTTP"),
}
"""Every command except `fit`: its module, its function and its help. The function takes the
arguments after the name and returns the exit code, or None for 0."""

USAGE = """\
usage: ssl-faces fit -c CONFIG [-c CONFIG ...] --out DIR [--ckpt_path last] [--KEY VALUE ...]
       ssl-faces COMMAND ...

Pretrain an encoder on unlabelled faces, and apply it to your own pictures.

  ssl-faces fit -c facecycle_motion_small --out runs/motion
  ssl-faces fit -c facecycle_identity_small --out runs/identity \\
      --model.motion_checkpoint runs/motion/checkpoints/last.ckpt

  ssl-faces fit --help              every setting
  ssl-faces fit ... --print_config  the resulting settings of a command

Commands (each has --help):

"""
USAGE += "".join(f"  {name:<14} {about}\n" for name, (_, _, about) in COMMANDS.items())


@exit_on_closed_pipe
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, 2 for bad input (reported in one sentence), or 128 plus the number
    of the signal that stopped it."""
    if argv is None:
        protect()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        # Without importing Lightning, which takes seconds.
        print(USAGE, end="")
        return 0 if arguments else 2
    return exit_code("ssl-faces", lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    try:
        check_files(arguments)
        if arguments[0] in COMMANDS:
            module, function, _ = COMMANDS[arguments[0]]
            return getattr(import_module(module), function)(arguments[1:]) or 0
        if arguments[0] != "fit" and not arguments[0].startswith("-"):
            near = did_you_mean(arguments[0], ["fit", *COMMANDS])
            raise InputError(f"no command '{arguments[0]}'{near}; see `ssl-faces --help`")
        _check_fit(arguments[1:])
        from ssl_faces.training.fit import run

        run(arguments)
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


def _check_fit(words: Sequence[str]) -> None:
    """Refuse a run without a method or a data folder, before slow imports."""
    if not any(word.startswith(("-c", "--config", "--model", "-h", "--help")) for word in words):
        raise InputError(
            "fit: no method; give its config, such as -c simclr_small; see `ssl-faces methods`"
        )
    if any(word.startswith("--print_config") for word in words):
        return
    for before, word in zip(["", *words], words, strict=False):
        root = word if before == "--data.root" else word.partition("--data.root=")[2]
        if root not in ("", "null"):
            existing_folder(root, "data.root")


def _fail(message: str, of_all: bool = True) -> int:
    """Print an error, once per machine if all processes of a run have it."""
    from ssl_faces.common.ranks import is_first_on_node

    if not of_all or is_first_on_node():
        print(f"ssl-faces: error: {hidden(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
