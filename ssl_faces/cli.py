"""`ssl-faces`: pretrain encoders on faces, from the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ssl_faces.errors import InputError, bad_input, out_of_memory

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
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all went well, 2 for bad input, which is told in one sentence."""
    started = time.perf_counter()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        # Without importing Lightning, which takes seconds.
        print(USAGE, end="")
        return 0 if arguments else 2
    try:
        if arguments[0] == "bench":
            from ssl_faces.bench.cli import run as run_bench

            run_bench(arguments[1:])
        elif arguments[0] == "compare":
            from ssl_faces.compare.command import run as run_compare

            return run_compare(arguments[1:])
        elif arguments[0] == "export":
            from ssl_faces.export.command import run as run_export

            run_export(arguments[1:])
        elif arguments[0] == "job":
            from ssl_faces.job.command import run as run_job

            return run_job(arguments[1:])
        elif arguments[0] == "runs":
            from ssl_faces.runs import run as list_runs

            list_runs(arguments[1:])
        elif arguments[0] == "dashboard":
            from ssl_faces.dashboard.command import run as run_dashboard

            run_dashboard(arguments[1:])
        elif arguments[0] == "pack":
            from ssl_faces.pack import run as run_pack

            run_pack(arguments[1:])
        elif arguments[0] == "prepare":
            from ssl_faces.prepare.command import run as run_prepare

            run_prepare(arguments[1:])
        elif arguments[0] == "release":
            from ssl_faces.release import run as run_release

            run_release(arguments[1:])
        elif arguments[0] == "render":
            from ssl_faces.data.rendered.cli import run as run_render

            run_render(arguments[1:])
        elif arguments[0] == "sweep":
            from ssl_faces.sweep.command import run as run_sweep

            return run_sweep(arguments[1:])
        else:
            from ssl_faces.training import run

            run(arguments, started)
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("\nssl-faces: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        from ssl_faces.files import DISK_FULL, write_failure

        if error.errno not in DISK_FULL:
            raise
        return _fail(f"{error.filename or 'the run folder'}: {write_failure(error)}")
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
    from ssl_faces.launch import is_first_on_node

    if not of_all or is_first_on_node():
        print(f"ssl-faces: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
