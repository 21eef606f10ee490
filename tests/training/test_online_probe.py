"""The online probe in runs: its results, and that it does not change training."""

import csv
import json

import pytest
import torch

from ssl_faces.callbacks.online_probe import OnlineProbe
from ssl_faces.encoders.encoder import load_encoder
from ssl_faces.rendered import RenderedFaces
from tests.support.fits import assert_close, completed, fit, step_of, weights

COUNT, PEOPLE, KEPT = 700, 70, 110
CLASSES = "ssl_faces.rendered.RenderedFaces"
NAMES = {"expression_knn", "expression_linear", "yaw_mae", "rank", "std", "lidar"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("online")


def twins(cache, out, *more):
    """A run of `Twins` on rendered faces, eight steps, a probe every three."""
    arguments = {"count": COUNT, "people": PEOPLE, "size": 32}
    sets = json.dumps([{"class_path": CLASSES, "init_args": arguments}])
    return [
        *("fit", "--model", "tests.support.twins.Twins", "--out", str(out)),
        *("--data.sets", sets, "--data.size", "32", "--data.batch_size", "4"),
        *("--data.cache", str(cache), "--data.online_pictures", str(KEPT)),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "1"),
        *("--trainer.precision", "32-true", "--trainer.max_steps", "8"),
        *("--trainer.enable_model_summary", "false", "--panels_every", "0"),
        *("--probe_every", "3", *more),
    ]


def card(run):
    return json.loads((run / "encoder/card.json").read_text())


def logged(run, version=0):
    """The online metrics in the CSV log, by step."""
    with (run / f"csv/version_{version}/metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    result = {}
    for row in rows:
        figures = {k: float(v) for k, v in row.items() if k.startswith("online/") and v}
        if figures:
            result[int(row["step"])] = figures
    return result


@pytest.fixture(scope="module")
def probed(cache):
    fit(*twins(cache, cache / "probed"))
    return cache / "probed"


def test_figures_go_to_the_log_and_the_card(probed):
    result = logged(probed)
    assert sorted(result) == [3, 6, 8]
    for figures in result.values():
        assert figures.keys() == {f"online/{name}/expression" for name in NAMES}
        assert all(0 <= value <= 100 for value in figures.values())
    assert len({tuple(figures.values()) for figures in result.values()}) == 3
    about = card(probed)
    assert "not comparable with the figures of linear-probe" in about["online"]["note"]
    assert about["online"]["step"] == 8
    assert about["online"]["figures"] == pytest.approx(result[8], abs=1e-4)
    (pictures,) = about["online"]["pictures"]
    assert pictures["bank"] + pictures["queries"] == int(about["left_out"].split("; ")[-1][:3])
    assert pictures["split"] == "by person"
    assert pictures["set"] == "rendered faces"
    assert about["loss"].keys() == {"loss"}


def test_they_are_of_the_encoder_that_was_saved(probed):
    """The metrics again, from the saved encoder and the set's images."""
    from ssl_faces.callbacks.collapse import CollapseWatch, lidar
    from ssl_faces.callbacks.online_probe import LIDAR_VIEWS, figures_of, lidar_views
    from ssl_faces.data.store.selection import held_out_by
    from ssl_faces.pairs.online import keep_back

    faces = RenderedFaces(count=COUNT, people=PEOPLE, size=32)
    (kept,) = keep_back([faces], held_out_by([faces]), KEPT, 32).faces
    with torch.no_grad():
        features = load_encoder(probed)(kept.images.float() / 255)["expression"]
        views = load_encoder(probed)(lidar_views(kept.images).float() / 255)["expression"]
    expected = figures_of(features, kept.targets, kept.bank)
    expected |= CollapseWatch().measure("expression", features)[0]
    expected["lidar"] = lidar(views.unflatten(0, (-1, LIDAR_VIEWS)))
    result = logged(probed)[8]
    assert result == pytest.approx({f"online/{k}/expression": v for k, v in expected.items()}, 1e-3)


def test_weights_are_those_of_a_run_without_it(probed, cache, tmp_path):
    """The same images held out, without a probe."""
    fit(*twins(cache, tmp_path, "--probe_every", "0", "--trainer.log_every_n_steps", "4"))
    assert_close(weights(tmp_path), weights(probed), atol=0)
    assert card(tmp_path)["online"] == {}
    assert card(tmp_path)["left_out"] == card(probed)["left_out"]
    assert logged(tmp_path) == {}


def test_a_resumed_run_continues_with_it(probed, cache, tmp_path):
    fit(*twins(cache, tmp_path, "--trainer.max_steps", "4", "--checkpoint_every", "4"))
    fit(*twins(cache, tmp_path, "--ckpt_path", "last"))
    assert_close(weights(tmp_path), weights(probed), atol=0)
    assert sorted(logged(tmp_path, 0)) == [3, 4]
    assert sorted(logged(tmp_path, 1)) == [6, 8]
    assert logged(tmp_path, 1)[8] == pytest.approx(logged(probed)[8])
    assert card(tmp_path)["online"]["figures"] == card(probed)["online"]["figures"]


def test_of_two_processes_the_first_probes_and_both_go_on(cache, tmp_path):
    more = ("--trainer.max_steps", "4", "--trainer.devices", "2")
    done = completed(tmp_path / "printed", *twins(cache, tmp_path, *more))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("online probe: ") == 1
    assert sorted(logged(tmp_path)) == [3, 4]
    assert step_of(tmp_path) == 4


def test_one_warning_about_collapse(cache, tmp_path, capfd):
    words = twins(cache, tmp_path, "--trainer.max_steps", "6", "--probe_every", "2")
    fit(*words, "--model.init_args.learning_rate", "1e-9", "--model.init_args.constant", "true")
    message = [line for line in capfd.readouterr().out.splitlines() if "warning:" in line]
    assert len(message) == 1
    assert message[0].startswith(
        "warning: step 2 of twins: the features 'expression' have collapsed"
    )
    assert sorted(logged(tmp_path)) == [2, 4, 6]
    assert logged(tmp_path)[6]["online/std/expression"] == pytest.approx(0, abs=1e-4)


def test_faces_without_labels(faces, cache, tmp_path, capfd):
    """No probe, and one line about it; collapse is checked on training images."""
    words = twins(cache, tmp_path)
    at = words.index("--data.sets")
    fit(*words[:at], "--data.root", str(faces), *words[at + 2 :])
    out = capfd.readouterr().out
    assert out.count("online probe: off, as no set to train on has 500 pictures") == 1
    assert "warning" not in out
    result = logged(tmp_path)
    assert sorted(result) == [3, 6, 8]
    assert all(
        f.keys() == {f"online/{name}/expression" for name in ("rank", "std", "lidar")}
        for f in result.values()
    )
    assert card(tmp_path)["online"]["pictures"] == "training pictures, without labels"
    assert card(tmp_path)["left_out"] == "nothing"


def test_how_many_are_kept_back_follows_from_the_probe(cache, tmp_path):
    for every, wanted in ((0, "online_pictures: 0"), (3, "online_pictures: 2500")):
        words = twins(cache, tmp_path / str(every), "--probe_every", str(every))
        at = words.index("--data.online_pictures")
        fit(*words[:at], *words[at + 2 :], "--trainer.max_steps", "1")
        assert wanted in (tmp_path / str(every) / "config.yaml").read_text()


def test_steps_that_count_twice():
    """With alternating optimisers the number of steps may never be a multiple."""
    from types import SimpleNamespace

    probe, seen = OnlineProbe(5), []
    probe._probe = lambda trainer, module: seen.append(trainer.global_step)
    for step in range(2, 22, 2):
        probe.on_train_batch_end(
            SimpleNamespace(global_step=step, callbacks=[]), None, None, None, 0
        )
    assert seen == [6, 10, 16, 20]
