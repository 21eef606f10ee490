"""`linear-probe save-probe`: fit one linear probe, and save it beside its encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from linear_probe.experiments.settings import SavedProbeSettings
from linear_probe.features.files import FEATURES_FOLDER
from linear_probe.features.frozen import EncoderSource, FeatureCache, Features, Pictures
from linear_probe.probes.linear import LinearPredictor, how_chosen
from linear_probe.probes.logistic import solve
from linear_probe.records.runner import Say, device_named
from linear_probe.sources.overlap import Overlaps
from linear_probe.tasks import TASKS
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.expression import Expression
from linear_probe.tasks.face_sets import face_sets_by_seed, serving_tasks
from linear_probe.tasks.labelled import Split
from linear_probe.tasks.own_data import OwnData
from linear_probe.tasks.task import find
from ssl_faces import InputError, load_encoder
from ssl_faces.common.files import replace_file
from ssl_faces.common.outputs import same_file
from ssl_faces.data import FaceSet
from ssl_faces.encoders.encoder import HASHES, TRAINED_FILE, WEIGHTS_FILE, read_card
from ssl_faces.encoders.places import CARD_FILE, find_encoder
from ssl_faces.encoders.saved_probe import SavedProbe, probe_file, save_probe

_FIRST = ("fer2013",)
_BINS = 15


def make_probe(settings: SavedProbeSettings, say: Say = print) -> Path:
    """Fit the probe that `linear-probe run` scores, and save it beside its encoder; its file.

    L2 is chosen on a validation split of the training part. So is the temperature, for a probe that
    was fitted on the rest; the saved one is fitted on all of the training part. The test part
    chooses nothing; its figures go into the file.

    Raises:
        InputError: a setting, the encoder or the data can't be used, or nothing can be written.
    """
    encoder, space = settings.encoder, settings.space
    own = _own_faces(settings)
    kind = _kind(settings.task, own)
    device = device_named(settings.device)
    folder = _folder(settings, bool(own))
    if (folder / probe_file(kind.name)).exists() and not settings.overwrite:
        raise InputError(f"{folder}: has a probe of {kind.name} already; --overwrite replaces it")
    loaded = load_encoder(encoder)
    spaces = list(loaded.feature_dims)
    if space is not None and space not in spaces:
        raise InputError(f"--space {space}: {encoder} has {', '.join(spaces)}; give one of them")
    face_sets: Sequence[FaceSet] = own
    if not own:
        face_sets = face_sets_by_seed(settings.data, False, [settings.seed], say)[settings.seed]
    first = find(kind.serving(face_sets), _FIRST)
    (task, *_) = serving_tasks(
        *(kind, [first] if first else face_sets, settings.seed, settings.replicates, device),
        settings.max_train,
    )
    if task.folds is not None:
        raise InputError(
            f"{task.data_set}: has folds and no test part; give a folder with one that has"
        )
    if space is None:
        space = best_by_card(loaded.card, task)
    for item in task.faces.skipped:
        say(f"skipped: {item.key}: {item.reason}")
    source = EncoderSource(encoder, loaded, [space] if space in spaces else None)
    pictures = Pictures(task.faces, task.indices)
    cache = FeatureCache(Path(settings.out) / FEATURES_FOLDER, settings.batch_size, device)
    cache.fill([source], pictures)
    overlap = Overlaps(say).of(encoder, loaded, task.faces, task.scored())
    say(cache.about())
    fitted = []
    for name in source.dims:
        features = cache.read(source, pictures, name)
        rows = task.rows(features, pictures)
        predictor = task.fit(features, rows)
        accuracy = 100 * predictor.validation[predictor.l2]
        say(f"{task.name}: {encoder}, {name}: validation accuracy {accuracy:.2f} %")
        fitted.append((accuracy, name, features, rows, predictor))
    _, chosen, features, rows, predictor = max(fitted, key=lambda row: row[0])
    probe = _probe(task, chosen, features, rows, predictor)
    probe.about["overlap"] = overlap
    _copy_encoder(find_encoder(encoder), folder, settings.overwrite)
    path = save_probe(folder, probe)
    right, calibration = probe.about["accuracy"], probe.about["calibration_error"]
    say(
        f"{path}: {task.data_set} {task.split}, {chosen}: accuracy {right['value']:.2f} % "
        f"[{right['low']:.2f}, {right['high']:.2f}], n {right['n']:,}; expected calibration error "
        f"{calibration['value']:.2f} %, {calibration['before_temperature']:.2f} % without its "
        f"temperature of {probe.temperature:.3f}"
    )
    return path


def _own_faces(settings: SavedProbeSettings) -> list[FaceSet]:
    """The user's own classes, if any."""
    named = settings.train, settings.test
    if named != (None, None) and settings.data is not None:
        raise InputError("--data can't be combined with --train and --test; leave one out")
    tables = [place is not None and place.lower().endswith(".csv") for place in named]
    if all(named) and tables[0] != tables[1]:
        raise InputError(
            f"--train {named[0]} and --test {named[1]}: give two folders, or two CSV files"
        )
    of = dict(
        zip(("train_csv", "test_csv") if any(tables) else ("train", "test"), named, strict=True)
    )
    return OwnData(**of).face_sets(settings.out)


def _kind(task: str | None, own: Sequence[FaceSet]) -> type[Classes]:
    if task is None:
        of_classes = bool(own) and Classes.serves(own[0])
        task = Classes.name if of_classes else Expression.name
    kind = TASKS.get(task)
    if kind is None or not issubclass(kind, Classes):
        known = ", ".join(name for name, one in TASKS.items() if issubclass(one, Classes))
        raise InputError(f"--task {task}: give one of classes: {known}")
    return kind


def _folder(settings: SavedProbeSettings, own: bool) -> Path:
    """The folder to save to; InputError if another encoder is there."""
    source = find_encoder(settings.encoder)
    default = Path(settings.out) / "probe" if own else source
    folder = default if settings.save is None else Path(settings.save)
    if (folder / CARD_FILE).exists() and not settings.overwrite:
        there, here = (read_card(place).get(HASHES) for place in (folder, source))
        if there != here:
            raise InputError(
                f"--save {folder}: has another encoder; give another folder, or --overwrite to "
                "replace it"
            )
    return folder


def _copy_encoder(source: Path, folder: Path, overwrite: bool) -> None:
    """Copy an encoder to the folder of its probe, so that it works by itself."""
    if same_file(source, folder):
        return
    if (folder / CARD_FILE).exists() and overwrite:
        for old in folder.glob(probe_file("*")):  # of the encoder that is replaced
            if read_card(folder).get(HASHES) != read_card(source).get(HASHES):
                old.unlink()
    for name in (TRAINED_FILE, WEIGHTS_FILE, CARD_FILE):  # a folder with a card is whole
        if (source / name).exists():
            replace_file(folder / name, (source / name).read_bytes())


def best_by_card(card: Mapping[str, Any], task: Classes) -> str | None:
    """The feature space of the highest validation accuracy among a card's records of a task on its
    data set; None where there are none."""
    best: tuple[float, str] | None = None
    for record in card.get("records") or []:
        try:
            about = (record["task"], record["data_set"], record["metric"], record["probe"])
            if about != (task.name, task.data_set, "accuracy", task.probe):
                continue
            if record.get("condition"):
                continue
            accuracy = float(record["hyperparameters"]["validation"]["accuracy"])
            space = str(record["feature_space"])
        except (KeyError, TypeError, ValueError):
            continue
        if best is None or accuracy > best[0]:
            best = accuracy, space
    return None if best is None else best[1]


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The number that logits [N, K] are to be divided by for the least cross-entropy with targets
    int64 [N]; within a hundredth and a hundred. 1 if all are predicted rightly: then a smaller
    number always fits better.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    logits = logits.double()
    if bool((logits.argmax(1) == targets).all()):
        return 1.0

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / float(np.exp(log_temperature)), targets))

    bound = float(np.log(100))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Expected calibration error in percent, in 15 bins, of probabilities [N, K]."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    count = probabilities.shape[1]
    error = multiclass_calibration_error(probabilities, targets, count, n_bins=_BINS, norm="l1")
    return 100 * float(error)


def _probe(
    task: Classes, space: str, features: Features, rows: Split, predictor: LinearPredictor
) -> SavedProbe:
    values, targets = features.values, torch.from_numpy(task.labels[features.records])
    train, test = torch.from_numpy(rows.train), torch.from_numpy(rows.test)
    held_out = torch.from_numpy(rows.validation)
    # The split's pictures are among those that the final probe is fitted on, and would look too
    # sure: the temperature is that of a probe that has not seen them.
    x = predictor.standardise(values[train].to(predictor.weight))
    y = targets[train].to(x.device)
    weight, bias = solve(x[~held_out], y[~held_out], predictor.l2)
    logits = x[held_out] @ weight + bias
    temperature = fit_temperature(logits.cpu(), targets[train][held_out])
    records = features.records[rows.test]
    tested = predictor(values[test]).cpu()
    how = how_chosen([predictor])
    figures = task.main_figures(records, tested, how, "")
    of_test = targets[test]
    about = {
        "data_set": task.data_set,
        "split": task.split,
        "protocol": task.protocol,
        "seed": task.seed,
        "note": task.note([rows], task.labels[records]),
        "l2": predictor.l2,
        "validation_accuracy": how["hyperparameters"]["validation"]["accuracy"],
        **{
            figure.metric.replace(",", "").replace(" ", "_"): {
                "value": round(figure.value, 4),
                "low": round(figure.low, 4),
                "high": round(figure.high, 4),
                "unit": figure.unit,
                "n": figure.n,
            }
            for figure in figures
        },
        "calibration_error": {
            "value": round(calibration_error((tested / temperature).softmax(1), of_test), 4),
            "before_temperature": round(calibration_error(tested.softmax(1), of_test), 4),
            "unit": "%",
            "bins": _BINS,
        },
    }
    count = predictor.weight.shape[1]
    return SavedProbe(
        task=task.name,
        space=space,
        classes=tuple(task.class_names[:count]),
        mean=predictor.standardise.mean,
        scale=predictor.standardise.scale,
        weight=predictor.weight,
        bias=predictor.bias,
        temperature=temperature,
        about=about,
    )
