"""Signals that stop commands, and worker processes that end with their parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import linear_probe.cli
import ssl_faces.cli
from ssl_faces.common.children import deaf_to_interrupts, exit_code, stoppable
from tests.support.processes import eventually


@pytest.fixture
def heard():
    """Signals have handlers, even if the tests run under `nohup`."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("program", "main", "words", "module", "function"),
    [
        ("ssl-faces", ssl_faces.cli.main, ["runs"], "ssl_faces.plan.runs", "run"),
        ("ssl-faces", ssl_faces.cli.main, ["fit", "-c", "simclr"], "ssl_faces.training.fit", "run"),
        (
            "linear-probe",
            linear_probe.cli.main,
            ["report", "x"],
            "linear_probe.records.collect",
            "find_records",
        ),
        (
            "linear-probe",
            linear_probe.cli.main,
            ["video"],
            "linear_probe.experiments.job_files",
            "run_job",
        ),
    ],
)
def test_a_stopped_command_says_so_in_one_line(
    program, main, words, module, function, number, heard, monkeypatch, capsys
):
    def work(*_):
        signal.raise_signal(number)
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(f"{module}.{function}", work)
    handler = signal.getsignal(number)
    assert main(words) == 128 + number
    assert capsys.readouterr() == ("", f"{program}: stopped by {number.name}\n")
    assert signal.getsignal(number) is handler


def test_other_ways_to_be_stopped(heard, capsys):
    def as_lightning_ends():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    def in_a_thread():
        thread = threading.Thread(target=lambda: codes.append(exit_code("x", lambda: 7)))
        thread.start()
        thread.join()
        return 0

    codes = []
    assert exit_code("x", as_lightning_ends) == 130
    assert exit_code("x", in_a_thread) == 0
    assert codes == [7]
    with pytest.raises(SystemExit):
        exit_code("x", lambda: sys.exit(3))
    assert capsys.readouterr().err == "x: stopped by SIGINT\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_forked_worker_ends_silently(number, heard, capfd):
    with stoppable():
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        assert worker.pid is not None
        time.sleep(0.2)
        os.kill(worker.pid, number)
        worker.join(30)
    assert worker.exitcode == -number
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_its_parent_ends_is_deaf_to_ctrl_c(heard):
    heard_by_parent = []
    signal.signal(signal.SIGINT, lambda number, _: heard_by_parent.append(number))
    with deaf_to_interrupts():
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        os.kill(os.getpid(), signal.SIGINT)
        worker.send_signal(signal.SIGINT)
    eventually(lambda: heard_by_parent == [signal.SIGINT])  # another thread may have received it
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(1)
    worker.terminate()
    assert worker.wait(30) == -signal.SIGTERM


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    """One that waits for work, and one that works."""
    (tmp_path / "work.py").write_text("import time\ndef start(): pass\ndef work(): time.sleep(600)")
    parent = (
        "import os, signal, work; from ssl_faces.common.children import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    pool = worker_pool(2, work.start)\n"
        "    pool.submit(work.work)\n"
        "    pool.submit(os.getpid).result()\n"
        "    print(*pool._processes, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    (tmp_path / "parent.py").write_text(parent)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            # The workers hold the pipe's other end: it is read until the last of them has ended.
            out, _ = process.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(out.split()) == 2
