"""What a comparison trains, and what it does not train again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl

from ssl_faces.bench.cost import count
from ssl_faces.encoders.encoder import read_card
from ssl_faces.plan.compare.command import duration
from ssl_faces.plan.compare.plan import amount, count_stages
from ssl_faces.plan.compare.settings import read
from tests.compare.conftest import Write, compare, stage1, two_stages


def test_steps_come_from_the_budget(write: Write, tmp_path: Path) -> None:
    comparison = read(write(methods={"facecycle": two_stages()}, budget_pflop=3e-5))
    said: list[str] = []
    first, second = count_stages(comparison, tmp_path / "out", "facecycle", said.append)
    alone = count(
        [
            *("-c", two_stages()[0]["configs"][0], "--data.batch_size", "2", "--data.size", "16"),
            *("--model.input_size", "16", "--model.map_size", "16"),
        ]
    )
    assert first.flop_a_step == alone.flop
    for counted, share in ((first, 0.7), (second, 0.3)):
        assert counted.flop <= share * 3e10 < counted.flop + counted.flop_a_step
        assert counted.pairs_a_step == 2
    assert len(said) == 2
    # Once is enough.
    assert count_stages(comparison, tmp_path / "out", "facecycle", said.append) == [first, second]
    assert len(said) == 2


def test_stages_seeds_and_what_is_done(
    write: Write, tmp_path: Path, in_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = write(methods={"facecycle": two_stages()}, budget_pflop=8e-6, seeds=[0])
    assert compare(path, out) == 0
    fits = [words for words in in_process if words[0] == "fit"]
    assert [words[words.index("--out") + 1] for words in fits] == [
        str(out / f"facecycle/seed0/stage{i}") for i in (1, 2)
    ]
    assert (
        f"--model.motion_checkpoint={out}/facecycle/seed0/stage1/checkpoints/last.ckpt" in fits[1]
    )
    printed = capsys.readouterr().out
    assert "run 2 of 2: facecycle, seed 0, stage 2 of 2" in printed
    assert "left for all runs" in printed
    # The second run only scores what is new, and trains the seed that is.
    in_process.clear()
    path = write(methods={"facecycle": two_stages()}, budget_pflop=8e-6, seeds=[0, 7])
    assert compare(path, out) == 0
    assert [words[0] for words in in_process] == ["fit", "fit", "run", "comparison"]
    assert all("facecycle/seed7" in words[words.index("--out") + 1] for words in in_process[:2])
    seeds = [words[words.index("--data.seed") + 1] for words in in_process[:2]]
    assert seeds == ["7", "7"]
    probe = in_process[2]
    encoders = [str(out / f"facecycle/seed{seed}/stage2") for seed in (0, 7)]
    assert [probe[i + 1] for i, word in enumerate(probe) if word == "--encoder"] == encoders
    in_process.clear()
    assert compare(path, out) == 0
    assert [words[0] for words in in_process] == ["comparison"]
    assert "4 of 4 runs are done already" in capsys.readouterr().out

    about = json.loads((out / "comparison.json").read_text())
    (method,) = about["methods"]
    cards = [read_card(out / f"facecycle/seed7/stage{i}") for i in (1, 2)]
    run = method["runs"][1]
    assert run["steps"] == [card["steps"] for card in cards]
    assert run["pairs"] == 2 * sum(run["steps"])
    assert run["seconds"] == pytest.approx(sum(card["training_seconds"] for card in cards))
    assert 0 < run["pflop"] <= 8e-6
    assert cards[0]["seed"] == 7


def test_a_run_killed_after_its_last_checkpoint(
    write: Write, tmp_path: Path, in_process: list[list[str]]
) -> None:
    out, path = tmp_path / "out", write(seeds=[0])
    assert compare(path, out) == 0
    run = out / "motion/seed0/stage1"
    weights = (run / "encoder/encoder.safetensors").read_bytes()
    seconds = read_card(run)["training_seconds"]
    shutil.rmtree(run / "encoder")
    assert compare(path, out) == 0
    assert (run / "encoder/encoder.safetensors").read_bytes() == weights
    # As its last checkpoint knows it.
    assert 0 < read_card(run)["training_seconds"] <= seconds
    assert [words[0] for words in in_process].count("fit") == 2


def test_other_settings_for_runs_that_exist_are_refused(
    write: Write, tmp_path: Path, in_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert compare(write(seeds=[0]), out) == 0
    in_process.clear()

    def refused(path: Path) -> str:
        capsys.readouterr()
        assert compare(path, out) == 2
        assert in_process == []
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert f"{out}/motion/seed0/stage1 was begun with other settings" in message
        assert f"give another --out, or delete {out}/motion" in message
        return message

    said = refused(write(seeds=[0], budget_pflop=5e-6))
    assert "(budget_pflop was 4e-06 and is 5e-06 now)" in said
    said = refused(write(seeds=[0], methods={"motion": [stage1(**{"model.fold_weight": 2})]}))
    assert "(model.fold_weight was not given and is 2 now)" in said
    few = tmp_path / "few.yaml"
    before = few.read_text()
    few.write_text(before.replace("frames: 4", "frames: 5"))
    assert f"({few} has changed since)" in refused(write(seeds=[0]))
    few.write_text(before)
    # Another method beside it, or other scores, are no other settings.
    both = {"motion": [stage1()], "other": [stage1(**{"model.fold_weight": 2})]}
    assert compare(write(seeds=[0], methods=both, probe={"task": "pose"}), out) == 0
    assert [words[0] for words in in_process] == ["fit", "run", "comparison"]
    # Nor is what was never begun, or failed before its first checkpoint.
    for name in ("checkpoints", "encoder"):
        shutil.rmtree(out / "motion/seed0/stage1" / name)
    shutil.rmtree(out / "other")
    assert compare(write(seeds=[0], budget_pflop=5e-6), out) == 0


class StopsAtOnce(pl.Callback):
    """Ends a run after its first step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        trainer.should_stop = True


def test_methods_that_fail_are_told_and_the_others_go_on(
    write: Write, tmp_path: Path, in_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    methods = {
        "unbuildable": [stage1(**{"model.input_size": 30})],
        "too_dear": [stage1(**{"data.batch_size": 8})],
        "homeless": [stage1(**{"data.cache": "/dev/null/packed"})],
        "hasty": [stage1(**{"trainer.callbacks": {"class_path": f"{__name__}.StopsAtOnce"}})],
        "motion": [stage1()],
    }
    assert compare(write(seeds=[3], methods=methods, budget_pflop=3e-6), out) == 1
    printed = capsys.readouterr().out
    assert "failed: unbuildable: model.input_size: 30; give a multiple of 4" in printed
    assert "failed: too_dear: budget_pflop: 3 GFLOP" in printed
    assert "failed: homeless: seed 3: code 2" in printed
    assert "failed: hasty: seed 3: it ended before its 3 steps" in printed
    about = json.loads((out / "comparison.json").read_text())
    found = {one["name"]: (len(one["runs"]), bool(one["error"])) for one in about["methods"]}
    assert found == {
        "unbuildable": (0, True),
        "too_dear": (0, True),
        "homeless": (0, True),
        "hasty": (0, True),
        "motion": (1, False),
    }
    assert "the table" in printed


def test_words_for_amounts_and_times() -> None:
    found = [amount(x) for x in (5e14, 7.13e10, 2e13, 123e6)]
    assert found == ["0.5 PFLOP", "71.3 GFLOP", "20 TFLOP", "0.123 GFLOP"]
    assert [duration(x) for x in (2, 90, 7500)] == ["1 min", "2 min", "2 h 05 min"]
