"""What a comparison trains, what it doesn't train again, and how it resumes."""

import json
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from ssl_faces.cli import main
from ssl_faces.common.durations import duration
from ssl_faces.common.yaml_settings import flags
from ssl_faces.encoders.encoder import read_card
from ssl_faces.plan.compare import Method, amount
from ssl_faces.plan.comparison import best_run, read
from ssl_faces.plan.stages import Probe, fit_words
from ssl_faces.training.cost import count
from ssl_faces.training.fit import check
from tests.plan.conftest import ROOT, stage1, stage2, write_plan
from tests.support.commands import refusal


def two_stages():
    return [{**stage1(), "share": 0.7}, {**stage2(), "share": 0.3}]


@pytest.fixture
def write(tmp_path, common):
    """Writes a comparison of FaceCycle's first stage and two seeds; keys replace its own."""

    def write(**changed):
        methods = {"motion": [stage1()]}
        content = {"budget_pflop": 4e-6, "seeds": [0, 1], **common, "methods": methods, **changed}
        given = {key: value for key, value in content.items() if value is not None}
        return write_plan(tmp_path / "comparison.yaml", given)

    return write


def compare(path, out):
    return main(["compare", "-c", str(path), "--out", str(out)])


@pytest.fixture
def fits(in_process):
    """Only what is trained matters: scores and table are noted, not made."""

    def scores(words):
        folder = Path(words[words.index("--out") + 1])
        folder.mkdir(exist_ok=True)
        (folder / "records.jsonl").touch()

    def table(words):
        Path(words[1], "comparison.md").write_text("the table")

    in_process.instead |= {"run": scores, "comparison": table}
    return in_process


@pytest.fixture
def plans(fits):
    """Nothing is trained either: runs get a checkpoint and an encoder's card at once."""

    def train(words):
        out = Path(words[words.index("--out") + 1])
        steps = int(words[words.index("--trainer.max_steps") + 1])
        card = {"config": {}, "steps": steps, "pairs_seen": 2 * steps, "training_seconds": 1.0}
        card |= {"uses_identity_labels": False, "hardware": "a CPU"}
        for name in ("checkpoints/last.ckpt", "encoder/encoder.safetensors", "encoder/card.json"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(json.dumps(card))

    fits.instead["fit"] = train
    return fits


def test_steps_come_from_the_budget(write, tmp_path, capsys):
    comparison = read(write(methods={"facecycle": two_stages()}, budget_pflop=3e-5))
    method = Method(comparison, tmp_path / "out", "facecycle")
    method.count()
    sizes = [f"--{key}={value}" for key, value in stage1()["arguments"].items()]
    size = ["--data.batch_size", "2", "--data.size", "16"]
    alone = count(["-c", stage1()["configs"][0], *size, *sizes])
    assert method.counted[0].flop_a_step == alone.flop
    for counted, share in zip(method.counted, (0.7, 0.3), strict=True):
        assert counted.flop <= share * 3e10 < counted.flop + counted.flop_a_step
        assert counted.pairs_a_step == 2
    assert capsys.readouterr().out.count(" a step of 2 pairs, ") == 2
    # Counted once.
    again = Method(comparison, tmp_path / "out", "facecycle")
    again.count()
    assert again.counted == method.counted
    assert capsys.readouterr().out == ""


def test_stages_seeds_and_what_is_done(write, tmp_path, fits, capsys):
    out = tmp_path / "out"

    def run(seeds):
        fits.calls.clear()
        path = write(methods={"facecycle": two_stages()}, budget_pflop=8e-6, seeds=seeds)
        assert compare(path, out) == 0
        return fits.verbs

    assert run([0]) == ["fit", "fit", "run", "comparison"]
    for stage, words in zip((1, 2), fits.calls, strict=False):
        assert words[words.index("--out") + 1] == str(out / f"facecycle/seed0/stage{stage}")
    last = out / "facecycle/seed0/stage1/checkpoints/last.ckpt"
    assert f"--model.motion_checkpoint={last}" in fits.calls[1]
    printed = capsys.readouterr().out
    assert "facecycle, seed 0, stage 2 of 2: " in printed
    assert "about 1 min left" in printed
    # The second command trains the seed that is new, and scores again.
    assert run([0, 7]) == ["fit", "fit", "run", "comparison"]
    for words in fits.calls[:2]:
        assert "facecycle/seed7" in words[words.index("--out") + 1]
        assert words[words.index("--data.seed") + 1] == "7"
    encoders = [str(out / f"facecycle/seed{seed}/stage2") for seed in (0, 7)]
    scores = fits.calls[2]
    assert [scores[i + 1] for i, word in enumerate(scores) if word == "--encoder"] == encoders
    capsys.readouterr()
    assert run([0, 7]) == ["comparison"]
    assert "4 of 4 steps are done already" in capsys.readouterr().out

    (method,) = json.loads((out / "comparison.json").read_text())["methods"]
    cards = [read_card(out / f"facecycle/seed7/stage{i}") for i in (1, 2)]
    about = method["runs"][1]
    assert about["steps"] == [card["steps"] for card in cards]
    assert about["pairs"] == 2 * sum(about["steps"])
    assert about["seconds"] == pytest.approx(sum(card["training_seconds"] for card in cards))
    assert 0 < about["pflop"] <= 8e-6
    assert cards[0]["seed"] == 7

    # Killed after its last checkpoint, a run has no encoder yet.
    run_folder = out / "facecycle/seed7/stage2"
    weights = (run_folder / "encoder/encoder.safetensors").read_bytes()
    shutil.rmtree(run_folder / "encoder")
    assert run([0, 7]) == ["fit", "comparison"]
    assert (run_folder / "encoder/encoder.safetensors").read_bytes() == weights
    # Its time is that of the last checkpoint.
    assert 0 < read_card(run_folder)["training_seconds"] <= cards[1]["training_seconds"]


def test_other_settings_for_runs_that_exist_are_refused(write, tmp_path, plans, capsys):
    out = tmp_path / "out"
    assert compare(write(seeds=[0]), out) == 0
    plans.calls.clear()

    def refused(path):
        message = refusal(capsys, "compare", "-c", path, "--out", out)
        assert plans.calls == []
        return message

    few = Path(read(write()).configs[0])
    text = few.read_text()
    message = refused(write(seeds=[0], budget_pflop=5e-6))
    assert f"{out}/motion/seed0/stage1 was begun with other settings" in message
    assert "(budget_pflop was 4e-06 and is 5e-06 now)" in message
    assert f"give another --out, or delete {out}/motion" in message
    other = stage1(**{"model.fold_weight": 2})
    assert "(model.fold_weight was not given and is 2" in refused(
        write(methods={"motion": [other]})
    )
    few.write_text(text.replace("frames: 4", "frames: 5"))
    assert f"({few} has changed since)" in refused(write(seeds=[0]))
    few.write_text(text)
    # Another method, or other scores, don't change the run.
    both = {"motion": [stage1()], "other": [other]}
    assert compare(write(seeds=[0], methods=both, probe={"task": "pose"}), out) == 0
    assert plans.verbs == ["fit", "run", "comparison"]
    # A run that failed before its first checkpoint restricts nothing.
    for name in ("checkpoints", "encoder"):
        shutil.rmtree(out / "motion/seed0/stage1" / name)
    shutil.rmtree(out / "other")
    assert compare(write(seeds=[0], budget_pflop=5e-6), out) == 0


RATE = "model.peak_learning_rate"


def test_short_runs_choose_settings_of_the_long_ones(write, tmp_path, plans, capsys, monkeypatch):
    out = tmp_path / "out"
    settings = {"motion": {RATE: [1e-3, 2e-3], "model.fold_weight": [1.0, 3.0]}}
    scores = {"motion-0": {"pose": -9.0}, "motion-1": {"pose": -8.0}, "motion-3": {}}

    def validation(words):
        Path(words[1], "tuning.json").write_text(json.dumps(scores))

    plans.instead["tuning"] = validation
    tuning = {"share": 0.5, "settings": settings, "probe": {"task": "pose"}}
    path = write(budget_pflop=8e-6, seeds=[5, 6], tuning=tuning)
    assert compare(path, out) == 0
    assert plans.verbs == [*["fit"] * 4, "run", "tuning", *["fit"] * 2, "run", "comparison"]
    short, long = plans.calls[1], plans.calls[6]
    assert short[short.index("--out") + 1] == str(out / "tuning/motion-1/seed5/stage1")
    tried = [
        [word for word in words if RATE in word or "fold" in word] for words in plans.calls[:4]
    ]
    expected = [f"--{RATE}={a} --model.fold_weight={b}" for a in (1e-3, 2e-3) for b in (1.0, 3.0)]
    assert [" ".join(words) for words in tried] == expected
    assert set(tried[1]) <= set(long)
    steps = [int(words[words.index("--trainer.max_steps") + 1]) for words in (short, long)]
    assert abs(2 * steps[0] - steps[1]) <= 1
    about = json.loads((out / "comparison.json").read_text())["tuning"]
    chosen = {"motion": {RATE: 1e-3, "model.fold_weight": 3.0}}
    assert about == {"share": 0.5, "runs": 4, "task": "pose", "chosen": chosen}
    # All is done; another choice would need other runs.
    plans.calls.clear()
    assert compare(path, out) == 0
    assert plans.verbs == ["tuning", "comparison"]
    scores["motion-3"] = {"pose": -1.0}
    error = refusal(capsys, "compare", "-c", path, "--out", out)
    assert f"({RATE} was 0.001 and is 0.002 now)" in error
    # Without scores, the settings are those of the configs; scores of an earlier call don't count.
    scores.clear()
    shutil.rmtree(out / "motion")
    with monkeypatch.context() as patch:  # no run gets an encoder
        patch.setattr(Method, "steps", lambda *_: [])
        patch.setattr(Method, "summary", lambda method: {"name": method.name, "runs": []})
        assert compare(path, out) == 0
    assert not (out / "tuning/tuning.json").exists()
    plans.calls.clear()
    assert compare(path, out) == 0
    assert not any(RATE in word for word in plans.calls[1])
    assert "none of its short runs has a score" in capsys.readouterr().out


def test_the_best_run_has_the_best_mean_rank():
    scores = {
        "a": {"expression": 40.0, "pose": -9.0},
        "b": {"expression": 39.0, "pose": -7.0},
        "c": {"expression": 41.0, "pose": -8.0},
        "d": {"expression": 10.0},
    }
    # Mean ranks: 2.5, 2, 1.5, 4.
    assert best_run(scores) == "c"
    assert best_run({"a": {"pose": 1.0}, "b": {"pose": 1.0}}) == "a"
    assert best_run({"a": {}}) is None


class StopsAtOnce(pl.Callback):
    """Ends a run after its first step."""

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = True


def test_methods_that_fail_stop_no_others(write, tmp_path, fits, capsys):
    out = tmp_path / "out"
    methods = {
        "unbuildable": [stage1(**{"model.input_size": 30})],
        "too_dear": [stage1(**{"data.batch_size": 32})],
        "homeless": [stage1(**{"data.cache": "/dev/null/packed"})],
        "hasty": [stage1(**{"trainer.callbacks": {"class_path": f"{__name__}.StopsAtOnce"}})],
        "motion": [stage1()],
    }
    assert compare(write(seeds=[3], methods=methods, budget_pflop=3e-6), out) == 1
    printed = capsys.readouterr().out
    assert "failed: unbuildable: model.input_size: 30; give a multiple of 4" in printed
    assert "failed: too_dear: budget_pflop: 3 GFLOP" in printed
    assert "failed: homeless: seed 3: code 2" in printed
    assert "failed: hasty: seed 3: it ended without its result" in printed
    about = json.loads((out / "comparison.json").read_text())
    of_methods = {one["name"]: (len(one["runs"]), bool(one["error"])) for one in about["methods"]}
    assert of_methods == {**dict.fromkeys(methods, (0, True)), "motion": (1, False)}
    assert "the table" in printed


def test_the_configs_that_come_with_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    small = read(Path("configs/compare/small.yaml"))
    assert len(small.methods) == 17
    assert len(small.seeds) == 3
    assert small.probe.baselines
    assert small.tuning is not None
    for method, ((stage,)) in small.methods.items():
        runs = dict(small.tuning.runs(method))
        assert len(runs) == 4
        words = [word for path in stage.configs for word in ("-c", path)]
        last = {**stage.arguments, **runs[f"{method}-3"]}
        settings = check(["fit", *words, *flags(last)])["model"]["init_args"]
        for key, value in runs[f"{method}-3"].items():
            found = settings
            for name in key.split(".")[1:]:
                found = getattr(found, name) if not isinstance(found, dict) else found[name]
            assert found == value
    clips = read(Path("configs/compare/clips.yaml"))
    for method, frames in (("fabnet", True), ("tcae", True), ("simclr", False), ("hybrid", False)):
        ((stage,),) = (clips.methods[method],)
        settings = check(["fit", *(word for path in stage.configs for word in ("-c", path))])
        (faces,) = settings["data"]["sets"]
        assert faces["class_path"] == "ssl_faces.rendered.RenderedClips"
        positives = "frames" if frames else "picture"
        assert (settings["data"]["positives"], settings["data"]["flip_share"]) == (positives, 0.0)
        # SimCLR keeps its own views.
        assert (settings["data"]["augmentation"] == "views") == (method == "simclr")
    assert len(read(Path("configs/compare/ablation.yaml")).methods) == 8
    hybrid2 = read(Path("configs/compare/hybrid2.yaml"))
    assert "--validation" in hybrid2.probe.words()
    ((base,), *changed) = hybrid2.methods.values()
    assert len(changed) == len({str(stages) for stages in changed})
    for (stage,) in changed:
        words = fit_words(stage.configs, stage.arguments, 0, Path())
        check(["fit", *words])
        # One change each; another size or encoder takes several keys.
        keys = {k for k, v in stage.arguments.items() if base.arguments.get(k) != v}
        changes = {"image" if k.endswith("data.size") or "encoder" in k else k for k in keys}
        assert len(changes) == (stage.configs == base.configs)
    comparison = read(Path("configs/compare/facecycle_encoder.yaml"))
    method = Method(comparison, Path(), "facecycle")
    assert [method.share(stage) for stage in (0, 1)] == [0.8, 0.2]
    (equal,) = [stage.model_copy(update={"share": None}) for stage in method.stages[:1]]
    method.stages = [equal, equal]
    assert method.share(0) == 0.5
    assert "--precision" in comparison.probe.words()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budget": 3}, "budget: unknown key (did you mean budget_pflop?)"),
        ({"budget_pflop": None}, "budget_pflop: is missing"),
        ({"seeds": [0, 0]}, "seeds: a seed is there twice"),
        ({"methods": {}}, "methods: dictionary should have at least 1 item"),
        ({"methods": {"a": []}}, "methods.a: no stage"),
        ({"methods": {"../a": [stage1()]}}, "methods.../a"),
        ({"methods": {"probe": [stage1()]}}, "'probe' is the folder of the scores"),
        ({"methods": {"a": [{"arguments": {}}]}}, "methods.a.0.configs: is missing"),
        ({"methods": {"a": [{"configs": ["none.yaml"]}]}}, "none.yaml: no such file"),
        ({"methods": {"a": [{**stage1(), "share": 0.5}]}}, "shares of its 1 stages don't sum to 1"),
        ({"methods": {"a": [stage1(**{"trainer.max_steps": 3})]}}, "'trainer.max_steps' follows"),
        ({"methods": {"a": [stage1(x="{previous}/y")]}}, "{previous} in the first stage"),
        ({"arguments": {"out": "x"}}, "arguments: 'out' follows from the plan"),
        ({"probe": {"encoder": "x"}}, "probe.encoder: unknown key"),
        ({"probe": {"precision": "8"}}, "probe.precision: input should be '32', 'bf16' or 'auto'"),
        ({"spaces": {"b": {}}}, "spaces: no method 'b'"),
        ({"tuning": {"settings": {}}}, "'motion' is missing; name each of `methods` once"),
        ({"tuning": {"settings": {"motion": {}, "b": {}}}}, "'b' is no method"),
        ({"tuning": {"settings": {"motion": {"a": []}}}}, "tuning.settings.motion.a: list should"),
        ({"tuning": {"settings": {"motion": {"out": [1]}}}}, "'out' follows from the plan"),
        (
            {
                "methods": {"a": [stage1()], "b": [stage1()]},
                "tuning": {"settings": {"a": {"x": [1, 2]}, "b": {"x": [1]}}},
            },
            "methods have different numbers of runs (a 2, b 1)",
        ),
    ],
)
def test_invalid_files(changed, message, write, tmp_path, capsys):
    path = write(**changed)
    error = refusal(capsys, "compare", "-c", path, "--out", tmp_path / "out")
    assert error.startswith(f"{path}: ")
    assert message in error
    assert not (tmp_path / "out").exists()


_values = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-12 or x == 0),
    st.dictionaries(st.integers(0, 99), st.floats(0, 1), min_size=1),
    st.lists(st.integers(), min_size=1),
)


@given(_values)
def test_arguments_arrive_as_they_are_written(value):
    parser = ArgumentParser(exit_on_error=False)
    kind = dict[int, float] if isinstance(value, dict) else type(value)
    parser.add_argument("--key", type=list[int] if isinstance(value, list) else kind)
    assert parser.parse_args(flags({"key": value})).key == value
    # As they come from the file, too.
    assert yaml.safe_load(yaml.safe_dump({"key": value})) == {"key": value}


def test_probe_arguments_are_those_of_linear_probe_run():
    from linear_probe.cli import parser

    more = {"features": "map", "data": "rendered", "or_rendered": True}
    probe = Probe(task="pose", baselines=False, max_train=100, **more)
    arguments = parser().parse_args(["run", "--encoder", "x", "--out", "y", *probe.words()])
    for name, value in probe:
        if name == "baselines":
            assert arguments.baselines == "none"
        else:
            assert getattr(arguments, name) == value, name


def test_amounts_and_times_as_text():
    amounts = [amount(x) for x in (5e14, 7.13e10, 2e13, 123e6)]
    assert amounts == ["0.5 PFLOP", "71.3 GFLOP", "20 TFLOP", "0.123 GFLOP"]
    assert [duration(x) for x in (2, 90, 7500)] == ["1 min", "2 min", "2 h 05 min"]
