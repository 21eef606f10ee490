"""Runs started by launchers: `configs/launch/` with two processes, and contradictions."""

import csv
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssl_faces.common.ranks import is_first, is_first_on_node
from ssl_faces.training.fit import check
from ssl_faces.training.launch import DDP, Launch, count_devices, devices_and_strategy, find_launch
from tests.support.fits import ROOT, completed, environment, refused, settings, step_of
from tests.support.processes import free_port
from tests.support.refusals import message_of

STEPS = 10  # an epoch has six: 24 pictures in pairs of two on two processes


def arguments(faces, out):
    """Arguments of a run without the number of devices."""
    result = settings("motion", faces, out, "--trainer.max_steps", str(STEPS))
    at = result.index("--trainer.devices")
    return [*result[:at], *result[at + 2 :], "--trainer.log_every_n_steps", "1"]


def launch(script, words):
    """Run `configs/launch/SCRIPT` with these arguments of `fit` in two processes on the CPU."""
    return subprocess.Popen(
        ["sh", str(ROOT / "configs/launch" / script), *words],
        env={
            **environment(),
            "WANDB_MODE": "offline",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DEVICES": "2",
            "ACCELERATOR": "cpu",
            "PORT": str(free_port()),
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop_after_first_checkpoint(process, run):
    """Terminate a launch after its first checkpoint; returns the checkpoint's step."""
    saved = run / "checkpoints/last.ckpt"
    deadline = time.monotonic() + 1200
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    message, _ = process.communicate()
    assert process.returncode != 0, f"the run was over before it could be stopped: {message}"
    assert message.count("torchrun started 2 processes on one node") == 1
    return step_of(run)


def test_torchrun_then_fabric_run_equal_two_processes_of_lightnings_own(faces, tmp_path):
    """Stopped under one launcher and resumed by the other, weights are those of two processes
    that the run starts itself."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    done = completed(tmp_path / "printed", *arguments(faces, whole), "--trainer.devices", "2")
    assert done.returncode == 0, done.stderr[-2000:]
    words = [*arguments(faces, run)[1:], "--checkpoint_every", "4"]
    step = stop_after_first_checkpoint(launch("torchrun.sh", words), run)
    # On SIGTERM it saves its current step.
    assert 4 <= step < STEPS
    identity = (run / "wandb_id").read_text()
    resumed = launch("fabric.sh", [*words, "--ckpt_path", "last"])
    message, _ = resumed.communicate(timeout=1200)
    assert resumed.returncode == 0, message
    assert message.count("fabric run started 2 processes on one node") == 1

    for file in ("encoder/encoder.safetensors", "trunk.safetensors"):
        expected, result = load_file(whole / file), load_file(run / file)
        assert expected.keys() == result.keys()
        for name, value in expected.items():
            assert value.isfinite().all()
            torch.testing.assert_close(result[name], value, rtol=0, atol=1e-6, msg=name)
    card = json.loads((run / "encoder/card.json").read_text())
    assert card["pairs_seen"] == STEPS * 2 * 2

    # Written once, by one process.
    assert (run / "wandb_id").read_text() == identity
    offline = list((run / "wandb").glob("offline-run-*"))
    assert {p.name.rpartition("-")[2] for p in offline} == {identity}
    assert len(offline) == 2
    assert [p.name for p in (run / "panels").iterdir()] == [f"step_{STEPS:07d}.png"]
    assert {p.name for p in (run / "csv").iterdir()} == {"version_0", "version_1"}
    with (run / "csv/version_1/metrics.csv").open(newline="") as stream:
        steps = [int(row["step"]) for row in csv.DictReader(stream) if row["loss"]]
    assert steps == list(range(step, STEPS))


ELASTIC = {
    "TORCHELASTIC_RUN_ID": "none",
    "LOCAL_WORLD_SIZE": "4",
    "WORLD_SIZE": "8",
    "RANK": "5",
    "LOCAL_RANK": "1",
}
SLURM = {
    "SLURM_NTASKS": "16",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS_PER_NODE": "8(x2)",
    "SLURM_PROCID": "8",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize(
    ("devices", "count"), [("auto", None), (-1, None), ("3", 3), ("1,3", 2), ("2,", 1), ([0, 5], 2)]
)
def test_counting_devices(devices, count):
    assert count_devices(devices) == count


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({**ELASTIC, "WORLD_SIZE": "7"}, "torchrun: 4 processes on this node of 7 in all"),
        ({**ELASTIC, "LT_CLI_USED": "1", "LT_STRATEGY": "ddp"}, "give --trainer.strategy ddp"),
        ({"SLURM_NTASKS": "8"}, "8 tasks without --ntasks-per-node"),
        ({**SLURM, "SLURM_NTASKS": "15"}, "15 tasks are not 8 on each of 2 nodes"),
    ],
)
def test_unsupported_launches(environment, message):
    assert message in message_of(find_launch, environment)


def test_launchers_are_recognised_by_their_environment():
    assert find_launch({}) is None
    assert find_launch({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "interactive"}) is None
    assert find_launch(ELASTIC) == Launch("torchrun", 4, 2)
    fabric = {**ELASTIC, "LT_CLI_USED": "1", "LT_ACCELERATOR": "cpu"}
    assert find_launch(fabric) == Launch("fabric run", 4, 2, "cpu")
    assert find_launch(SLURM) == Launch("Slurm", 8, 2)
    # Slurm's allocation, torchrun's processes.
    assert find_launch({**SLURM, **ELASTIC}) == Launch("torchrun", 4, 2)
    assert str(Launch("Slurm", 8, 2)).startswith("Slurm started 8 processes on each of 2 nodes")


@pytest.mark.parametrize(
    ("where", "first", "first_on_node"),
    [
        ({}, True, True),
        (ELASTIC, False, False),
        ({**ELASTIC, "RANK": "4", "LOCAL_RANK": "0"}, False, True),
        (SLURM, False, True),
        ({**SLURM, "SLURM_PROCID": "0"}, True, True),
        ({**SLURM, "SLURM_LOCALID": "3"}, False, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False, False),
    ],
)
def test_one_process_is_the_first(where, first, first_on_node):
    assert is_first(where) is first
    assert is_first_on_node(where) is first_on_node


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"devices": 2}, "--trainer.devices 2: torchrun started 4"),
        ({"devices": "0,1"}, "--trainer.devices 0,1: torchrun started 4"),
        ({"devices": [0]}, "--trainer.devices [0]: torchrun started 4"),
        ({"nodes": 3}, "--trainer.num_nodes 3: torchrun started processes on 2"),
        (
            {"strategy": "ddp_spawn"},
            "--trainer.strategy ddp_spawn: starts processes, but torchrun has started",
        ),
        ({"accelerator": "gpu"}, "--trainer.accelerator gpu: torchrun was given --accelerator cpu"),
    ],
)
def test_settings_that_contradict_the_launcher(setting, message):
    usual = {"devices": "auto", "nodes": 1}
    usual |= {"strategy": "auto", "accelerator": "auto"}
    check = Launch("torchrun", 4, 2, "cpu").check
    check(**usual)
    check(**{**usual, "devices": "4", "nodes": 2, "strategy": "ddp"})
    assert message in message_of(check, **{**usual, **setting})


def test_fit_refuses_a_contradiction(faces, tmp_path, monkeypatch, capsys):
    for name, value in {**ELASTIC, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    message = refused(capsys, *settings("motion", faces, tmp_path / "run"))
    assert "--trainer.devices 1: torchrun started 4 on each node" in message
    assert not (tmp_path / "run").exists()


class Settings:
    def __init__(self, devices, accelerator="cpu", strategy="auto"):
        self.devices, self.accelerator, self.strategy = devices, accelerator, strategy
        self.num_nodes = 1


def test_several_devices_use_the_measured_strategy(monkeypatch):
    assert devices_and_strategy(Settings("auto"), None) == {}
    assert devices_and_strategy(Settings(1), None) == {}
    assert devices_and_strategy(Settings(2, strategy="ddp_spawn"), None) == {}
    strategy = devices_and_strategy(Settings(2), None)["strategy"]
    assert strategy._ddp_kwargs == DDP
    result = devices_and_strategy(Settings("auto"), Launch("torchrun", 4, 2))
    assert (result["devices"], result["num_nodes"]) == (4, 2)
    assert result["strategy"]._ddp_kwargs == DDP
    # All GPUs of the machine.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert "strategy" in devices_and_strategy(Settings("auto", "auto"), None)
    assert devices_and_strategy(Settings(1, "auto"), None) == {}
    assert "strategy" in devices_and_strategy(Settings("auto", "gpu"), Launch("torchrun", 4, 1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    text = message_of(devices_and_strategy, Settings("auto", "auto"), Launch("Slurm", 4, 1))
    assert "each of which sees 1 GPU" in text


def run_slurm(folder, *words, **variables):
    """The words of the command that `slurm.sh` starts, `sbatch` or `srun`."""
    for name in ("sbatch", "srun"):
        stand_in = folder / name
        stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        stand_in.chmod(0o755)
    done = subprocess.run(
        ["sh", str(ROOT / "configs/launch/slurm.sh"), *words],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("variables", "launch", "more"),
    [
        ({}, Launch("Slurm", 8, 1), set()),
        (
            {"NODES": "2", "GPUS": "4", "TIME": "1-00:00:00", "PARTITION": "a b", "WARNING": "300"},
            Launch("Slurm", 4, 2),
            {"--time=1-00:00:00", "--partition=a b", "--signal=SIGUSR1@300"},
        ),
        (
            {"ACCOUNT": "me", "CPUS": "2", "SBATCH_ARGS": "--mem=0 --exclusive"},
            Launch("Slurm", 8, 1),
            {"--account=me", "--cpus-per-task=2", "--mem=0", "--exclusive"},
        ),
    ],
)
def test_slurms_script_asks_for_one_task_for_each_gpu(variables, launch, more, tmp_path):
    command, *words = run_slurm(tmp_path, "-c", "a.yaml", "--out", "runs/with space", **variables)
    assert command == "sbatch"
    at = words.index(str(ROOT / "configs/launch/slurm.sh"))
    assert words[at + 1 :] == ["-c", "a.yaml", "--out", "runs/with space"]
    asked = dict(word.removeprefix("--").split("=", 1) for word in words[:at] if "=" in word)
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    tasks = str(int(asked["ntasks-per-node"]) * int(asked["nodes"]))
    environment = {
        "SLURM_NTASKS": tasks,
        "SLURM_NTASKS_PER_NODE": asked["ntasks-per-node"],
        "SLURM_NNODES": asked["nodes"],
        "SLURM_JOB_NAME": asked["job-name"],
    }
    assert find_launch(environment) == launch
    assert more <= set(words[:at])
    assert {"--requeue", "--open-mode=append"} <= set(words[:at])
    assert ("time" in asked) == ("TIME" in variables)


def test_the_pages_commands_for_slurm(tmp_path):
    run_slurm(tmp_path)  # makes the stand-ins
    page = (ROOT / "configs/launch/README.md").read_text()
    commands = [line for line in page.splitlines() if " configs/launch/slurm.sh -c" in f" {line}"]
    assert len(commands) == 2
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    asked = [
        subprocess.check_output(line, shell=True, cwd=ROOT, env=environment, text=True).split()
        for line in commands
    ]
    assert {"sbatch", "--nodes=1", "--gpus-per-node=8", "simclr"} <= {*asked[0]}
    assert {"--nodes=2", "--gpus-per-node=4", "--cpus-per-task=16"} <= {*asked[1]}
    assert {"--time=24:00:00", "--partition=gpu", "--account=me"} <= {*asked[1]}


def test_slurms_script_within_a_job(tmp_path):
    """`srun` gets the command with all arguments."""
    words = ("-c", "a.yaml", "--out", "runs/with space")
    started = run_slurm(tmp_path, *words, SLURM_JOB_ID="7", SLURM_CPUS_PER_TASK="3")
    assert started[:2] == ["srun", "--cpus-per-task=3"]
    command = started[started.index("ssl-faces") :]
    assert command == ["ssl-faces", "fit", "--ckpt_path", "last", *words]


def test_the_pages_commands_for_a_cpu(tmp_path):
    """A stand-in for torchrun prints what it gets, and `fit` takes it."""
    page = (ROOT / "configs/launch/README.md").read_text()
    commands = [line for line in page.splitlines() if "torchrun" in line and "runs/simclr" in line]
    assert len(commands) == 2
    for command in commands:
        started = by_stand_in("torchrun", ["sh", "-c", command], tmp_path).stdout.split()
        assert "--nproc-per-node" in started
        words = started[started.index("fit") :]
        assert check(words)["model"]["class_path"].endswith("SimCLR")
        assert ("--ckpt_path" in words) == (command == commands[1])


DOCKERFILE = (ROOT / "configs/launch/Dockerfile").read_text()


def test_the_containers_command_is_the_pages():
    (extras,) = re.findall(r'pip install --no-cache-dir "\.\[(.+)\]"', DOCKERFILE)
    page = (ROOT / "configs/launch/README.md").read_text()
    assert f'pip install ".[{extras}]"' in page
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(known["optional-dependencies"])
    assert {"s3", "gcs"} <= set(known["optional-dependencies"])
    (entry,) = re.findall(r'^ENTRYPOINT \["(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert entry in known["scripts"]


def by_stand_in(starter, command, folder):
    """A command on a machine without a GPU, whose launcher only prints its arguments."""
    stand_in = folder / starter
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = environment() | {"PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, env=variables, cwd=ROOT, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    ("script", "starter"), [("torchrun.sh", "torchrun"), ("fabric.sh", "fabric")]
)
def test_scripts_on_a_machine_without_a_gpu(script, starter, tmp_path):
    """They start one process on the CPU and print that."""
    command = ["sh", str(ROOT / "configs/launch" / script), "-c", "mine.yaml"]
    done = by_stand_in(starter, command, tmp_path)
    assert re.search(r"--(nproc-per-node|devices) 1 .* fit -c mine.yaml$", done.stdout.strip())
    assert "gpu" not in done.stdout
    assert "no GPU: one process on the CPU; set DEVICES=N for more" in done.stderr
