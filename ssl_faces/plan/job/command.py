"""`ssl-faces job`: trains the stages that are not trained yet, and scores the encoder."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.common import children
from ssl_faces.common.arguments import Parser
from ssl_faces.common.children import Failed, Stopped
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.training.requeue import job_id, requeue
from ssl_faces.training.run_record import LOCK_FILE, RunRecord, has_checkpoint, read_run, state_of

if TYPE_CHECKING:
    from ssl_faces.plan.job.settings import Job

JOB_FILE = "job.yaml"
REPORT = "report.html"

WHAT = "a job, or a run that one has started,"


def run(argv: Sequence[str]) -> int:
    """Run `ssl-faces job` with these arguments.

    Returns:
        0 when all is done, 128 and the signal's number where it was stopped.

    Raises:
        InputError: bad input, or a stage that failed.
    """
    parser = Parser(
        prog="ssl-faces job",
        description="Train the stages of one experiment and score its encoder. Stopped, the same "
        "command goes on.",
    )
    parser.add_argument(
        "-c", "--config", type=Path, required=True, help="such as one of configs/experiment"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of its runs and scores")
    arguments = parser.parse_args(argv)
    # Late, so that `--help` is quick.
    from ssl_faces.plan.job.settings import read

    job = read(arguments.config)
    command = ["ssl-faces", "job", *argv]
    with (
        children.only_one(arguments.out, WHAT, LOCK_FILE) as lock,
        RunRecord(command, "job", locked=True) as record,
        children.stoppable(*([signal.SIGUSR1] if job_id() else [])),
    ):
        running = _Running(job, arguments.config, arguments.out, lock)
        try:
            running.check()
            record.begin(arguments.out, seed=job.seed, settings=running.settings)
            replace_file(arguments.out / JOB_FILE, arguments.config.read_bytes())
            running.run()
        except Stopped as stopped:
            told = running.queue_again(stopped.number)
            _say(
                "stopped; what was done is kept, and the same command goes on: "
                f"{shlex.join(command)}{told}"
            )
            record.stopped(signal.Signals(stopped.number).name)
            return 128 + stopped.number
    return 0


def _say(line: str) -> None:
    # At once, also into a pipe: a job takes hours.
    print(line, flush=True)


class _Running:
    def __init__(self, job: Job, source: Path, out: Path, lock: int) -> None:
        from ssl_faces.common.yaml_settings import settled

        self.job, self.source, self.out, self.lock = job, source, out, lock
        self.training = False
        self.settings = {
            stage: settled(job.configs_of(stage), {**job.arguments_of(stage), "seed": job.seed})
            for stage in job.stages
        }

    def check(self) -> None:
        """That all stages can be, and that those which are begun were begun with these settings.

        Raises:
            InputError: not so.
        """
        from ssl_faces.common.yaml_settings import first_change

        earlier = (read_run(self.out) or {}).get("settings", {})
        for stage, now in self.settings.items():
            # What failed before its first checkpoint binds nothing.
            if stage not in earlier or not has_checkpoint(self.out / stage):
                continue
            changed = first_change(earlier[stage], now, self.job.configs_of(stage))
            if changed is not None:
                raise InputError(
                    f"{self.source}: {self.out / stage} was begun with other settings "
                    f"({changed}); set it back, give another --out, or delete {self.out / stage} "
                    "and the stages after it"
                )
        left = [stage for stage in self.job.stages if not self._done(stage)]
        if left:
            from ssl_faces.training.fit import check

            # All of them now: a wrong key in the second is not to be told when the first is over.
            for stage in left:
                try:
                    check(self.job.words(stage, self.out))
                except InputError as error:
                    raise InputError(f"{self.source}: stages.{stage}: {error}") from error

    def _done(self, stage: str) -> bool:
        return state_of(self.out / stage) == "finished"

    def run(self) -> None:
        for number, stage in enumerate(self.job.stages, start=1):
            title = f"stage {number} of {len(self.job.stages)}: {stage}"
            if self._done(stage):
                _say(f"{title}: is done already")
                continue
            _say(title)
            self.training = True
            self._child(f"stages.{stage}", "ssl-faces", self.job.words(stage, self.out), stage)
            self.training = False
            if not self._done(stage):
                raise InputError(
                    f"{self.source}: stages.{stage}: it ended before its last step; see "
                    f"{self.out / stage}.log"
                )
        _say(f"encoder: {self.encoder / 'encoder'}")
        if self.job.probe is not None:
            self._probe(self.job.probe.words())

    @property
    def encoder(self) -> Path:
        """The last stage's folder."""
        return self.out / list(self.job.stages)[-1]

    def _probe(self, settings: list[str]) -> None:
        """Score the encoder, unless that was done to the very same."""
        from ssl_faces.plan.job.settings import PROBE

        folder = self.out / PROBE
        words = ["run", "--encoder", str(self.encoder), "--out", str(folder), *settings]
        weights = self.encoder / "encoder" / "encoder.safetensors"
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        asked = json.dumps({"words": words, "weights": digest}, indent=2)
        note = self.out / "probe.json"
        if note.is_file() and note.read_text() == asked:
            _say(f"scored already: {folder / 'records.jsonl'}")
        else:
            self._child("probe", "linear-probe", words, PROBE)
            replace_file(note, asked.encode())
        report = str(self.out / REPORT)
        words = ["report", str(folder), "--out", report, "--overwrite"]
        if os.environ.get("WANDB_MODE") != "disabled":
            words += ["--wandb", f"ssl-faces/{self.out.name}"]
        self._child("probe", "linear-probe", words, PROBE)
        _say(f"records: {folder / 'records.jsonl'}\nreport: {report}")

    def _child(self, key: str, name: str, words: Sequence[str], log: str) -> None:
        path = self.out / f"{log}.log"
        _say(f"  $ {shlex.join([name, *words])}\n  log: {path}")
        module = {"ssl-faces": "ssl_faces.cli", "linear-probe": "linear_probe.cli"}[name]
        try:
            children.run(module, words, path, self.lock)
        except Failed as error:
            raise InputError(
                f"{self.source}: {key}: {error}; what was done is kept, and the same command "
                "goes on"
            ) from error

    def queue_again(self, number: int) -> str:
        """Under Slurm, what became of its job; a stage sees to that by itself."""
        asked = number in (signal.SIGUSR1, signal.SIGTERM)
        if self.training or not asked or job_id() is None:
            return ""
        return f"; {requeue(only_if_running=number == signal.SIGTERM)}"
