"""An invalid sweep is refused in one sentence, before or after its first run; no run is lost."""

import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ssl_faces.common.children import Stopped
from ssl_faces.common.errors import InputError
from ssl_faces.plan.sweep import study as studies
from ssl_faces.plan.sweep.settings import read
from ssl_faces.plan.sweep.study import read_notes
from ssl_faces.plan.sweep.words import check_command
from tests.support.refusals import message_of
from tests.sweep.conftest import METRIC, ROOT, begun, refused, sweep

MOTION = str(ROOT / "configs/method/facecycle_motion_small.yaml")


@pytest.mark.parametrize("shared", [False, True], ids=["one folder", "one database"])
@pytest.mark.filterwarnings("ignore:Argument ``heartbeat:Warning")
def test_several_begin_a_study_at_once(shared, tmp_path):
    barrier = threading.Barrier(4)

    def begin(number):
        out = tmp_path / str(number if shared else 0)
        barrier.wait()
        studies.open_storage(
            studies.Place(out, f"sqlite:///{tmp_path}/study.db" if shared else None, "name")
        )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [None] * 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metod": "grid"}, "metod: unknown key"),
        ({"command": None}, "command: is missing"),
        ({"method": "custom"}, "method: input should be 'grid', 'random' or 'bayes'"),
        ({"scheduler": {"engine": "ax"}}, "'scheduler' is for W&B's server only"),
        ({"parameters": {"x": {}}}, "no max and no min"),
        ({"parameters": {"x": {"min": 1}}}, "no max"),
        ({"parameters": {"x": {"min": 2, "max": 1}}}, "min 2 is not below max 1"),
        ({"parameters": {"x": {"distribution": "normal"}}}, "'normal' is not one of constant"),
        ({"parameters": {"x": {"values": [1], "min": 1}}}, "'min' has no effect beside its values"),
        ({"parameters": {"x": {"parameters": {"y": {"value": 1}}}}}, "with dots in its name"),
        ({"parameters": {"x": {"values": [1], "probabilities": [1]}}}, "`wandb agent` only"),
        ({"parameters": {"x": {"min": 0.0, "max": 1.0}}}, "parameters.x: a grid needs values"),
        ({"parameters": {"out": {"values": ["a"]}}}, "'out' follows from the sweep"),
        ({"early_terminate": {"type": "hyperband"}}, "give min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "envelope", "min_iter": 1}}, "early_terminate.type"),
        (
            {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}},
            "no run_cap, so that it would never end",
        ),
    ],
)
def test_a_wrong_file(changed, message, write, tmp_path, capsys):
    path = write(**changed)
    error = refused(capsys, path, tmp_path / "out")
    assert error.startswith(f"{path}: ")
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"model.no_such_weight": {"values": [1.0]}}, "no_such_weight"),
        # A wrong value, also in the middle of good ones.
        ({"data.batch_size": {"values": [4, "many", 8]}}, "batch_size"),
    ],
)
def test_a_setting_that_fit_does_not_know(parameter, message, write, tmp_path, capsys):
    fit = ["ssl-faces", "fit", "-c", MOTION]
    path = write(command=[*fit, "${args}"], parameters=parameter)
    error = refused(capsys, path, tmp_path / "out")
    assert f"{path}: configuration: " in error
    assert message in error
    assert not (tmp_path / "out").exists()
    path = write(command=fit, parameters=parameter)
    assert "no ${args} in it" in refused(capsys, path, tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "parameters", "message"),
    [
        (
            ["--data.positives=picture"],
            {"data.flip_share": {"values": [0.0, 0.5]}},
            "parameters.data.flip_share: has no effect, since data.positives is picture; take it",
        ),
        (
            ["--data.positives=frames"],
            {"data.flip_share": {"min": 0.0, "max": 0.5}, "data.positives": {"value": "person"}},
            "parameters.data.flip_share: has no effect, since data.positives is person",
        ),
        (
            [],
            {"model.init_args.learning_rates": {"values": [{0: 1e-4}, {0: 1e-5}]}},
            "parameters.model.init_args.learning_rates: has no effect, since model.peak_learning_r",
        ),
        (
            ["${args}", "--data.batch_size=4"],
            {"data.batch_size": {"values": [4, 8]}},
            "parameters.data.batch_size: is 4 in every trial, whatever its value; take --data.bat",
        ),
        (
            [],
            {
                "data.flip_share": {"values": [0.0, 0.2]},
                "data.positives": {"values": ["frames", "picture"]},
            },
            "",
        ),
    ],
)
def test_a_parameter_that_changes_nothing(more, parameters, message, write):
    command = ["ssl-faces", "fit", "-c", MOTION, *more]
    path = write(
        command=command if "${args}" in more else [*command, "${args}"],
        parameters=parameters,
        method="random",
        run_cap=3,
    )
    if message:
        assert f"{path}: {message}" in message_of(check_command, read(path), path)
    else:
        check_command(read(path), path)


def test_a_metric_that_no_run_logs(write, tmp_path, capsys):
    """It is refused while the first run is running; that is stopped and resumes when the file is
    corrected."""
    out, gate = tmp_path / "out", tmp_path / "gate"
    wrong = {"name": "online/expression/pooled", "goal": "maximize"}
    given = (f"--wait={gate}",)
    path = write(given, metric=wrong, parameters={"x": {"values": [3]}})
    error = refused(capsys, path, out)
    assert f"metric.name: the runs log no 'online/expression/pooled'; take one of {METRIC}" in error
    gate.touch()
    assert sweep(write(given, parameters={"x": {"values": [3]}}), out) == 0
    assert [one["from"] for one in begun(out)] == [0, 1]
    # A run that ends without it shows all that there is.
    path = write(metric={"name": "accuracy", "goal": "maximize"}, name="other.yaml")
    assert f"take one of loss, {METRIC}" in refused(capsys, path, tmp_path / "other")


def test_failed_trials(write, tmp_path, capsys):
    """A failed trial stops no other; the sweep ends if all fail."""
    out = tmp_path / "out"
    path = write(("--steps=1",), parameters={"fail": {"values": [0, 1]}, "x": {"value": 3}})
    assert sweep(path, out) == 1
    assert "failed: trial 0001: model.x: it is wrong; mend it" in capsys.readouterr().out
    assert [note["state"] for note in read_notes(out)] == ["complete", "failed"]
    assert sweep(path, out) == 1
    assert len(begun(out)) == 2
    assert sweep(path, out, "--retry-failed") == 1
    assert [one["folder"] for one in begun(out)] == ["0000", "0001", "0001"]
    path = write(("--fail=1",), name="all.yaml")
    error = refused(capsys, path, tmp_path / "all")
    assert "3 trials have failed and none has given a figure" in error
    assert len(begun(tmp_path / "all")) == 3


def test_a_full_disk_stops_it_and_loses_nothing(write, tmp_path, capsys):
    out, full = tmp_path / "out", tmp_path / "child.py"
    path = write(("--steps=1",), parameters={"x": {"values": [3]}})
    whole = full.read_text()
    full.write_text(whole.replace('given.get("fail") == "full"', "True"))
    error = refused(capsys, path, out)
    assert "trial 0000: " in error
    assert "the disk is full" in error
    full.write_text(whole)
    assert sweep(path, out) == 0
    assert [one["folder"] for one in begun(out)] == ["0000", "0000"]


def test_a_study_that_another_holds(write, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(studies, "BUSY", 0.2)
    out, path = tmp_path / "out", write(("--steps=1",))
    assert sweep(path, out, "--trials", "1") == 0
    holder = sqlite3.connect(out / "study.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    message = refused(capsys, path, out)
    assert "study.db: the study has been locked by another process" in message
    holder.execute("ROLLBACK")
    holder.close()
    assert sweep(path, out) == 0
    assert len(begun(out)) == 4


def test_a_damaged_study_is_made_anew_from_its_trials(write, tmp_path, capsys):
    out, path = tmp_path / "out", write(("--steps=1",))
    assert sweep(path, out, "--trials", "2") == 0
    (out / "study.db").write_bytes(b"no database" * 1000)
    assert "move it away and give the same command again" in refused(capsys, path, out)
    os.rename(out / "study.db", out / "broken")
    assert sweep(path, out) == 0
    assert [one["given"]["x"] for one in begun(out)] == ["1", "2", "3", "4"]
    assert [note["folder"] for note in read_notes(out)] == ["0000", "0001", "0002", "0003"]


def test_another_sweep_in_the_same_folder(write, tmp_path, capsys):
    out = tmp_path / "out"
    assert sweep(write(("--steps=1",)), out, "--trials", "1") == 0
    changed = write(("--steps=1",), parameters={"x": {"values": [1, 9]}})
    error = refused(capsys, changed, out)
    assert "was begun with another parameters" in error
    assert "give another --out" in error
    error = refused(capsys, write(("--steps=1",)), out, "--seed", "1")
    assert "another seed (0, and now 1)" in error


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "not a database address"),
        ("no_such_db://host/x", "not a database address"),
        ("sqlite:////no/such/folder/x.db", "can't be used (unable"),
    ],
)
def test_a_wrong_database(address, message, write, tmp_path, capsys):
    assert message in refused(capsys, write(), tmp_path / "out", "--storage", address)


def test_passwords_are_neither_kept_nor_printed(write, tmp_path, monkeypatch, capsys):
    path = write(parameters={"data.packs": {"values": ["a", "ftp://me:s3cret@host/b"]}})
    message = refused(capsys, path, tmp_path / "out")
    password = "parameters.data.packs.values: ftp://me:***@host/b: the address has a password"
    assert password in message
    assert not (tmp_path / "out").exists()

    def stop(place):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("ssl_faces.plan.sweep.study.open_storage", stop)
    address = "postgresql://me:s3cret@host/x"
    assert sweep(write(), tmp_path / "out", "--storage", address) == 128 + signal.SIGTERM
    message = capsys.readouterr().out
    assert "--storage postgresql://me:***@host/x" in message
    assert "s3cret" not in message


def test_passwords_of_a_database_are_not_printed(tmp_path):
    place = studies.Place(tmp_path, "postgresql://me:secret@host/x", "s")
    assert "secret" not in str(place)
    from sqlalchemy.exc import OperationalError

    def fail():
        with studies.database(place):
            raise OperationalError("", {}, Exception("could not connect"))

    with pytest.raises(InputError) as refusal:
        fail()
    assert "secret" not in str(refusal.value)
