"""Plans whose steps are jobs of a cluster: of submitit on this machine, of a stand-in for Slurm,
and of a cluster that only starts workers, as that is quick."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from pydantic import TypeAdapter

from ssl_faces.common import files
from ssl_faces.common.errors import InputError
from ssl_faces.common.run_record import claim, read_run
from ssl_faces.plan import command
from ssl_faces.plan import engine as engines
from ssl_faces.plan.cluster import attempts, seat, slurm
from ssl_faces.plan.cluster.attempts import Attempt, Remote
from ssl_faces.plan.cluster.resources import PlanResources, Resources, resources_of
from ssl_faces.plan.cluster.seat import Seat, launcher
from tests.support.in_process import MAIN
from tests.support.steps import WAIT, calls, run, send, step
from tests.support.waiting import eventually

WORKERS = {"executor": "ray"}
KILL_WORKER = "os.kill(os.getppid(), 9); time.sleep(60)"
"""As if the machine of the worker went down."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(engines, "_TICK", 0.02)
    monkeypatch.setattr(attempts, "LOOK", 0.05)
    monkeypatch.setattr(attempts, "GRACE", 0.2)
    monkeypatch.setattr(slurm, "EVERY", 0.1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def state_of(out, name):
    about = read_run(out)
    return about["steps"][name]


def test_steps_are_jobs_and_failures_are_as_on_this_machine(workers, tmp_path, capsys):
    first = step(tmp_path, "first", "print('hello from', os.environ['OMP_NUM_THREADS'])")
    first.decides, first.note = {"seed": 0}, tmp_path / "note.json"
    steps = [
        first,
        step(tmp_path, "last", after=["first"], environment={"X": "1"}, here=True),
        step(tmp_path, "bad", "sys.exit('begun\\nssl-faces: error: no faces; give some\\nbye')"),
        step(tmp_path, "needs", after=["bad"]),
    ]
    code, failures = run(tmp_path, steps, **WORKERS)
    assert (code, str(failures["bad"]), failures["bad"].code) == (1, "no faces; give some", 1)
    assert sorted(calls(tmp_path)) == ["bad", "first", "last"]
    assert (tmp_path / "note.json").exists()
    log = (tmp_path / "first.log").read_text()
    assert log.startswith("[attempt 1: ")
    assert "hello from 1\n" in log
    assert "attempt" not in (tmp_path / "last.log").read_text()
    assert state_of(tmp_path, "first")["attempts"] == 1
    assert state_of(tmp_path, "first")["job"].startswith("ray job ")
    assert not list((tmp_path / seat.ATTEMPTS).glob("*/*.json"))
    capsys.readouterr()
    assert run(tmp_path, steps[:2], **WORKERS) == (0, {})
    assert "2 of 2 steps are done already" in capsys.readouterr().out


def test_the_step_of_a_lost_worker_runs_again_a_number_of_times(workers, tmp_path, capsys):
    once = f"if not (out / 'lost').exists(): (out / 'lost').touch(); {KILL_WORKER}"
    steps = [step(tmp_path, "once", once), step(tmp_path, "always", KILL_WORKER)]
    steps[1].resources = Resources(attempts=2)
    code, failures = run(tmp_path, steps, jobs=2, **WORKERS)
    assert (code, list(failures)) == (1, ["always"])
    assert str(failures["always"]) == (
        f"its worker was lost, at the last of 2 attempts; see {tmp_path}/always.log"
    )
    assert sorted(calls(tmp_path)) == ["always", "always", "once", "once"]
    assert state_of(tmp_path, "once")["attempts"] == 2
    assert "once: its worker was lost (ray job " in capsys.readouterr().out


def abandoned(out, workers):
    """A step that waits, of a head that is gone."""
    waits = step(out, "waits", WAIT)
    Attempt(Remote(workers, out, {}), waits)
    eventually((out / "ready").exists)
    return waits


@pytest.fixture
def printed(monkeypatch):
    """What is printed of attempts."""
    lines = []
    monkeypatch.setattr(attempts, "say", lines.append)
    return lines


def test_a_new_head_adopts_what_another_has_begun(workers, tmp_path, printed):
    waits = abandoned(tmp_path, workers)
    sender = send(lambda: bool(printed), signal.SIGINT)
    assert run(tmp_path, [waits], **WORKERS)[0] == 130
    sender.join()
    assert printed[0].startswith("  adopted: ray job ")
    assert (tmp_path / "saved").exists()
    assert calls(tmp_path) == ["waits"]
    assert state_of(tmp_path, "waits")["state"] == "stopped"
    assert state_of(tmp_path, "waits")["attempts"] == 1
    (tmp_path / "go").touch()
    assert run(tmp_path, [waits], **WORKERS) == (0, {})
    assert calls(tmp_path) == ["waits", "waits"]


@pytest.mark.parametrize("executor", [WORKERS, {}])
def test_another_step_of_the_folder_begins_when_the_first_has_ended(executor, workers, tmp_path):
    """Other settings, or another executor, after the head was killed."""
    waits = abandoned(tmp_path, workers)
    other = step(tmp_path, "other", "assert (out / 'saved').exists()", out=waits.out)
    assert run(tmp_path, [other], **executor) == (0, {})
    assert calls(tmp_path) == ["waits", "other"]


def test_a_late_duplicate_ends_itself(workers, tmp_path):
    place = Seat.of(abandoned(tmp_path, workers), tmp_path)
    order = place.order()
    place.clear()
    os.close(claim(place.folder, seat.LOCK, 60))
    assert not (tmp_path / "saved").exists()  # at once
    assert launcher()(str(place.folder), order.token) == ""
    assert calls(tmp_path) == ["waits"]
    assert place.result(order.token) is None


SLURM = {
    # Runs the file, which has its job's number from here.
    "sbatch": """
        n=$(($(cat {at}/last 2>/dev/null || echo 100) + 1)); echo $n > {at}/last
        [ -e {at}/refuse ] && echo 'sbatch: error: invalid partition specified: x' >&2 && exit 1
        cp "$1" {at}/$n.sh; echo RUNNING > {at}/$n.state
        SLURM_JOB_ID=$n SLURM_NTASKS=1 setsid sh -c \\
            'bash {at}/'$n'.sh; echo COMPLETED > {at}/'$n'.state' >/dev/null 2>&1 &
        echo $! > {at}/$n.pid; echo Submitted batch job $n""",
    "srun": """while [ "${1#-}" != "$1" ]; do
            case $1 in --output|--error) shift;; esac; shift; done; exec "$@" """,
    "squeue": """cd {at}; for f in *.state; do echo "${f%.state} $(cat $f)"; done""",
    "scancel": """kill -TERM -$(cat {at}/$1.pid); sleep 1; echo CANCELLED > {at}/$1.state""",
    "sinfo": "echo gpu:4",
}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Slurm's commands in a folder, as far as plans use them."""
    at = tmp_path / "slurm"
    at.mkdir()
    for name, text in SLURM.items():
        (at / name).write_text("#!/bin/sh\n" + text.replace("{at}", str(at)) + "\n")
        (at / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{at}:{os.environ['PATH']}")
    return at


def test_slurm_gets_the_resources_and_its_cancelled_jobs_are_reported(tmp_path, stand_in):
    out = tmp_path / "out"
    out.mkdir()
    unseen = "assert not any(name.startswith('SLURM_') for name in os.environ)"
    needs = {"other": Resources(gpus=2, memory_gb=1.5, hours=0.5)}
    assert run(out, [step(out, "a", unseen)], executor="slurm", resources=needs) == (0, {})
    text = (stand_in / "101.sh").read_text()
    for line in ("gpus-per-node=2", "cpus-per-task=16", "mem=1536MB", "time=30", "no-requeue"):
        assert f"#SBATCH --{line}\n" in text
    assert "#SBATCH --signal=TERM@120\n" in text
    cancel = subprocess.Popen(
        ["sh", "-c", f"while [ ! -e {out}/ready ]; do sleep 0.1; done; scancel 102"]
    )
    code, failures = run(out, [step(out, "b", WAIT)], executor="slurm")
    cancel.wait()
    assert code == 1
    assert str(failures["b"]) == ("its slurm job 102 was cancelled; the same command runs it again")
    assert (out / "saved").exists()
    (stand_in / "srun").write_text(
        '#!/bin/sh\nwhile [ "$1" != --error ]; do shift; done\n'
        'file=$(echo "$2" | sed "s/%j/$SLURM_JOB_ID/; s/%t/0/")\n'
        'echo python: No module named submitit > "$file"\n'
    )
    failures = run(out, [step(out, "c")], executor="slurm")[1]
    assert str(failures["c"]) == "its job could not start: python: No module named submitit"
    (stand_in / "refuse").touch()
    code, failures = run(out, [step(out, "c")], executor="slurm")
    assert str(failures["c"]) == (
        "Slurm refuses its job: sbatch: error: invalid partition specified: x"
    )


@pytest.mark.parametrize(
    ("words", "own", "expected"),
    [
        ("ssl-faces fit -c x.yaml", {}, (8, 1)),
        ("ssl-faces fit --trainer.devices=4", {}, (32, 4)),
        ("ssl-faces fit --trainer.devices 4 --trainer.accelerator cpu", {}, (2, 0)),
        ("linear-probe run --device cpu", {}, (2, 0)),
        ("linear-probe head -c x.yaml", {}, (3, 1)),  # of the plan
        ("linear-probe head -c x.yaml", {"cpus": 5}, (5, 1)),
        ("/usr/bin/env ssl-faces fit --trainer.devices auto", {}, (8, 1)),
        ("my-program fit", {}, (7, 0)),
    ],
)
def test_resources_follow_from_step_plan_and_command(words, own, expected):
    plan = {"head": Resources(cpus=3), "other": Resources(cpus=7, gpus=0)}
    needs = resources_of(words.split(), Resources(**own), plan, has_gpus=True)
    assert (needs.cpus, needs.gpus) == expected
    without = resources_of(words.split(), Resources(**own), plan, has_gpus=False)
    assert without.gpus == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": "auto"}, "--address auto: without a cluster; give --executor too"),
        ({"executor": "slurm", "address": "x"}, "--address x: Slurm has no address; leave it out"),
        ({"executor": "slurm"}, "there is no `sbatch` here"),
        ({"executor": "ray", "address": "x"}, "neither `auto` nor HOST:PORT"),
        ({"executor": "ray", "address": "127.0.0.1:1"}, "127.0.0.1:1: nothing answers there"),
    ],
)
def test_a_cluster_that_is_not_there(settings, message, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=message):
        run(tmp_path, [step(tmp_path, "a")], **settings)
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(("executor", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_an_extra_that_is_not_installed(executor, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'pip install "ssl-faces\[{executor}\]"'):
        run(tmp_path, [], executor=executor)


def test_workers_that_cannot_run_a_step_say_why(workers, tmp_path, monkeypatch):
    def failure(log="a.log"):
        one = step(tmp_path, "a")
        one.log = tmp_path / log
        code, failures = run(tmp_path, [one], **WORKERS)
        assert code == 1
        return str(failures["a"])

    assert "/dev/full: can't be written (No space left on device)" in failure("/dev/full")
    monkeypatch.setattr(attempts, "__version__", "9.9")
    assert failure().endswith(
        "ssl-faces 0.1.0 is installed there, and the plan is of 9.9; install the same version"
    )
    nowhere = launcher()(str(tmp_path / "none"), "token")
    assert nowhere.endswith("/none: not seen there; give an --out that all machines share")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named ssl_faces >&2; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert "is not installed; install it there" in launcher()(str(tmp_path), "token")
    assert not (tmp_path / "calls").exists()


def test_a_folder_that_cannot_be_written(workers, tmp_path, monkeypatch):
    (tmp_path / seat.ATTEMPTS).write_text("")
    with pytest.raises(InputError, match=r"can't be written .*; choose another folder"):
        run(tmp_path, [step(tmp_path, "a")], **WORKERS)
    (tmp_path / seat.ATTEMPTS).unlink()

    write = files.write

    def full(path, data, durable=True):
        if ".order.json" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data, durable)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(InputError, match=r"order\.json: the disk is full"):
        run(tmp_path, [step(tmp_path, "a")], **WORKERS)
    assert state_of(tmp_path, "a")["state"] == "waiting"


PAGE = (Path(__file__).parents[2] / "configs/launch/README.md").read_text()


@pytest.mark.parametrize(
    "line", re.findall(r"^(?:ssl-faces|linear-probe) .*--executor.*$", PAGE, re.M)
)
def test_the_pages_commands_reach_their_cluster(line, tmp_path, monkeypatch, capsys):
    def connected(executor, address, out):
        raise InputError(f"{executor} {address}")

    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(command, "_connected", connected)
    (tmp_path / "faces").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "faces" / "a.png")
    words = shlex.split(re.sub("FOLDER|s3://bucket/photos", str(tmp_path / "faces"), line))
    out = words.index("--out") + 1
    words[out] = str(tmp_path / Path(words[out]).name)
    assert MAIN[words[0]](words[1:]) == 2
    named = dict(zip(words, [*words[1:], None], strict=True))
    expected = f"error: {named['--executor']} {named.get('--address')}"
    assert expected in capsys.readouterr().err


def test_the_pages_resources():
    [block] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    resources = TypeAdapter(PlanResources).validate_python(yaml.safe_load(block)["resources"])
    needs = resources_of(["ssl-faces", "fit"], Resources(), resources, has_gpus=True)
    assert (needs.gpus, needs.cpus, needs.memory_gb, needs.hours, needs.attempts) == (
        *(8, 64, 200, 48, 5),
    )
