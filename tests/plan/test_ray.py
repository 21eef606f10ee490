"""Plans on a real Ray cluster on this machine, bound to a loopback address."""

import os
import signal
from pathlib import Path

import pytest

from ssl_faces.plan import engine as engines
from ssl_faces.plan.cluster import attempts, resources
from ssl_faces.plan.cluster.resources import Resources
from tests.support.commands import run as run_command
from tests.support.images import rendered, write_picture
from tests.support.steps import calls, run, send, step

LOOPBACK = {"node_ip_address": "127.0.0.2"}  # for 127.0.0.1 Ray takes the network's address
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
}


@pytest.fixture(scope="module")
def cluster():
    """A node with a CPU."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        ray = pytest.importorskip("ray")
        from ray.cluster_utils import Cluster

        first = {"include_dashboard": False, "include_log_monitor": False, "_system_config": QUICK}
        cluster = Cluster(initialize_head=True, head_node_args={**first, **LOOPBACK})
        yield cluster
        ray.shutdown()
        cluster.shutdown()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(engines, "_TICK", 0.02)
    monkeypatch.setattr(attempts, "LOOK", 0.05)
    monkeypatch.setattr(attempts, "GRACE", 0.2)


def run_on(address, out, names, code):
    steps = [step(out, name, f"name = {name!r}\n{code}") for name in names]
    needs = {"other": Resources(cpus=1)}
    return run(out, steps, jobs=2, executor="ray", address=address, resources=needs)[0]


def test_steps_run_as_actors_and_free_their_resources(cluster, tmp_path):
    # With one CPU, the second begins when the first has ended.
    assert run_on(cluster.address, tmp_path, "ab", "print('here')") == 0
    assert sorted(calls(tmp_path)) == ["a", "b"]
    log = (tmp_path / "a.log").read_text()
    assert log.startswith("[attempt 1: ")
    assert log.endswith("here\n")


def test_a_command_in_shards_runs_on_the_cluster(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "CPUS", 1)
    for i in range(4):
        write_picture(tmp_path / f"album/{i}.png", rendered(4)[i])
    words = ["pack", tmp_path / "album", "--size", 16, "--out"]
    assert run_command(*words, tmp_path / "a/pack") == 0
    on_ray = ["--shards", 2, "--executor", "ray", "--address", cluster.address]
    assert run_command(*words, tmp_path / "b/pack", *on_ray) == 0
    for path in (tmp_path / "a/pack").glob("[is]*"):
        assert (tmp_path / "b/pack" / path.name).read_bytes() == path.read_bytes()
    log = (tmp_path / "b/pack.shards/logs/shard-1-of-2.log").read_text()
    assert log.startswith("[attempt 1: ")
    assert "shard 1/2: 0 pictures" in log  # one file has all four
    assert "shard 2/2: 4 pictures" in (tmp_path / "b/pack.shards/logs/shard-2-of-2.log").read_text()


# The raylet is what a node consists of; both steps begin before one node is killed.
PLACE = """
(out / f'{name}.node').write_text(os.environ['RAY_RAYLET_PID'])
until = time.monotonic() + 60
while not (out / f'{name}.go').exists() and time.monotonic() < until:
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_the_step_of_a_killed_node_runs_again_on_another(cluster, tmp_path):
    cluster.add_node(**LOOPBACK)
    [head] = cluster.head_node.all_processes["raylet"]
    killed = []

    def kill():
        nodes = {path.stem: path.read_text() for path in tmp_path.glob("*.node")}
        if len(nodes) < 2 or not all(nodes.values()):
            return False
        for name, raylet in nodes.items():
            if int(raylet) != head.process.pid:
                killed.append(name)
                os.kill(int(raylet), signal.SIGKILL)
            else:
                (tmp_path / f"{name}.go").touch()
        return True

    sender = send(kill)
    # The survivor ends, and its node is free for the second attempt.
    again = "if open(out / 'calls').read().count(name) == 2: (out / f'{name}.go').touch()"
    assert run_on(cluster.address, tmp_path, "ab", f"{again}\n{PLACE}") == 0
    sender.join()
    assert sorted(calls(tmp_path)) == sorted(["a", "b", *killed])
    assert "[attempt 2: " in (tmp_path / f"{killed[0]}.log").read_text()
