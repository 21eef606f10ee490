"""One folder filled by several processes at once: nothing that one has written is lost."""

import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from linear_probe.records.recorder import RunFolder
from ssl_faces.data import Skipped, read_skipped
from ssl_faces.encoders.encoder import update_card
from ssl_faces.encoders.places import CARD_FILE
from tests.support.records import ONE

PROCESSES, EACH = 4, 6


def made(process):
    return [replace(ONE, encoder=f"{process}", seed=seed) for seed in range(EACH)]


def fill(folder, process):
    """What each process adds, in as many changes as it can make."""
    run = RunFolder(folder)
    for record in made(process):
        run.add([(record, np.full(3, float(process)), None)])
        run.add_command(["run", "--encoder", f"{process} {record.seed}"])
        run.skip(f"set {process}", [], [Skipped(f"{s}.png", "torn") for s in range(EACH)])
        run.skip("shared", [f"{process}.png"], [Skipped(f"{process}.png", "torn")])
        update_card(folder, **{f"{process} {record.seed}": True})


def test_nothing_is_lost_that_several_processes_write_at_once(tmp_path):
    (tmp_path / CARD_FILE).write_text("{}")
    # Forked: they begin at once.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(tmp_path, i)) for i in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    run, expected = RunFolder(tmp_path), [r for i in range(PROCESSES) for r in made(i)]
    assert {record.key for record in run.records()} == {record.key for record in expected}
    assert run.replicates().keys() == {record.name for record in expected}
    assert len(run.commands()) == PROCESSES * EACH
    listed = read_skipped(tmp_path / "skipped.csv")
    assert len(listed) == len(set(listed)) == PROCESSES * EACH + PROCESSES
    assert len(json.loads((tmp_path / CARD_FILE).read_text())) == PROCESSES * EACH


def test_a_new_record_replaces_the_one_of_its_key_and_others_stay(tmp_path):
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)  # both began before either wrote
    other = replace(ONE, seed=1)
    first.add([(ONE, np.zeros(2), None)])
    second.add([(other, np.ones(2), None), (replace(ONE, value=7.0), np.ones(2), None)])
    assert first.records() == [replace(ONE, value=7.0), other]
    assert first.replicates()[ONE.name].tolist() == [1.0, 1.0]


def test_the_list_of_what_was_skipped_is_that_of_the_latest_look(tmp_path):
    run = RunFolder(tmp_path)
    run.skip("a", ["1", "2", "\udcff"], [Skipped("1", "torn"), Skipped("\udcff", "torn")])
    run.skip("b", ["1"], [Skipped("1", "missing")])
    run.skip("a", ["1", "\udcff"], [Skipped("\udcff", "empty")])  # mended; the other is not
    path = run.skip("a", ["3"], [])
    assert read_skipped(path) == [
        ("b", Skipped("1", "missing")),
        ("a", Skipped("\\udcff", "empty")),
    ]


@pytest.mark.parametrize("content", [b"", b"\xff", b"set,picture\n\x00"])
def test_a_broken_list_is_written_anew(content, tmp_path):
    (tmp_path / "skipped.csv").write_bytes(content)
    path = RunFolder(tmp_path).skip("a", [], [Skipped("1", "torn")])
    assert read_skipped(path) == [("a", Skipped("1", "torn"))]
