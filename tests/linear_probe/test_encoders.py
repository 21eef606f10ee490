"""Encoders of every kind that `--encoder` takes: the right features, or one clear sentence."""

from __future__ import annotations

import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import timm
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from linear_probe.cli import main
from linear_probe.encoders import RESNET18, encoder_sources
from linear_probe.encoders.backbones import Backbone, BackboneName, resnet18_weights
from linear_probe.encoders.onnx_file import OnnxSource
from linear_probe.encoders.table import EmbeddingTable
from linear_probe.features import EncoderSource, FeatureCache, Pictures, Source
from linear_probe.record import read_records
from ssl_faces import InputError
from ssl_faces.data import FaceRecord, FaceSet

SMALL = "test_resnet"  # timm's own model for tests, of 160 pixels


def silent(line: str) -> None:
    del line


def only(name: str, **more: Any) -> Source:
    """The one source of an encoder, without baselines."""
    (source,) = encoder_sources([name], baselines=False, say=silent, **more)
    return source


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    usual = ["--bootstrap", "20", "--device", "cpu"]
    code = main(["run", *usual, *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# timm and torchvision


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_pooled_features_of_pictures_normalised_as_the_library_says(library: str) -> None:
    """Against the library's own network with its classifier taken off by hand."""
    torch.manual_seed(0)
    if library == "timm":
        theirs = timm.create_model(SMALL).eval()
        mean, std = (torch.tensor(theirs.pretrained_cfg[x]).view(3, 1, 1) for x in ("mean", "std"))
        images = torch.rand(2, 3, 160, 160)
        with torch.no_grad():
            expected = theirs.forward_features((images - mean) / std).mean(dim=(2, 3))
        source = only(f"timm:{SMALL}?random")
    else:
        theirs = torchvision.models.shufflenet_v2_x0_5(weights=None).eval()
        theirs.fc = nn.Identity()
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        images = torch.rand(2, 3, 224, 224)
        with torch.no_grad():
            expected = theirs((images - mean) / std)
        source = only("torchvision:shufflenet_v2_x0_5?random")
    assert isinstance(source, EncoderSource)
    assert source.input_size == images.shape[-1]
    with torch.inference_mode():
        found = source(images)
    assert source.dims == {"pooled": expected.shape[1]}
    torch.testing.assert_close(found["pooled"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "dim", "size"),
    [
        ("torchvision:mobilenet_v3_small", 1024, 224),
        ("torchvision:mobilenet_v2", 1280, 224),
        ("torchvision:squeezenet1_0", None, None),
        ("timm:test_vit", 64, 160),
        ("timm:test_convnext", 64, 160),
    ],
)
def test_other_architectures(name: str, dim: int | None, size: int | None) -> None:
    if dim is None:
        with pytest.raises(InputError, match="no linear classifier to take off"):
            only(f"{name}?random")
        return
    source = only(f"{name}?random")
    assert isinstance(source, EncoderSource)
    assert (source.dims, source.input_size) == ({"pooled": dim}, size)


@pytest.mark.parametrize("with_classifier", [True, False])
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_of_a_local_file(library: str, with_classifier: bool, tmp_path: Path) -> None:
    torch.manual_seed(5)
    if library == "timm":
        name, whole = SMALL, timm.create_model(SMALL, num_classes=7)
    else:
        name = "shufflenet_v2_x0_5"
        whole = torchvision.models.shufflenet_v2_x0_5(num_classes=7)
    state = whole.state_dict()
    if not with_classifier:
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    file = tmp_path / "own.safetensors"
    save_file(state, file)
    images = torch.rand(1, 3, 64, 64)
    found = Backbone.load(BackboneName(library, name, weights=str(file)))
    assert whole.fc.in_features == found.feature_dims["pooled"]  # type: ignore[union-attr]
    whole.fc = nn.Identity()
    with torch.no_grad():
        expected = whole.eval()((images - found.mean) / found.std)
    torch.testing.assert_close(found(images)["pooled"], expected, rtol=1e-4, atol=1e-5)

    # Other weights, other features, never the earlier ones.
    before = only(f"{library}:{name}?weights={file}").fingerprint
    first = next(key for key, value in state.items() if value.is_floating_point())
    save_file(state | {first: state[first] + 1e-3}, file)
    assert only(f"{library}:{name}?weights={file}").fingerprint != before

    del state[first]
    save_file(state, file)
    with pytest.raises(InputError, match="not this backbone's .*Missing key.*" + first):
        only(f"{library}:{name}?weights={file}")


def test_the_untrained_twin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    torch.manual_seed(5)
    save_file(timm.create_model(SMALL).state_dict(), file)
    name = f"timm:{SMALL}?weights={file}"
    said: list[str] = []
    sources = encoder_sources([name, f"timm:{SMALL}?random"], seed=3, say=said.append)
    assert [s.name for s in sources] == [f"{name}, untrained", name, f"timm:{SMALL}?random"]
    assert len({s.fingerprint for s in sources}) == 3
    again = encoder_sources([name], seed=3, say=said.append)
    assert again[0].fingerprint == sources[0].fingerprint
    other = encoder_sources([name], seed=4, say=said.append)
    assert other[0].fingerprint != sources[0].fingerprint
    assert other[1].fingerprint == sources[1].fingerprint


def test_weights_that_torchvision_has_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Weights in torchvision's own folder serve without a network, and as the baseline."""
    place, url = resnet18_weights()
    assert tmp_path in place.parents
    said: list[str] = []
    table = tmp_path / "t.npz"
    np.savez(table, keys=np.array(["a"]), features=np.ones((1, 2)))
    assert [s.name for s in encoder_sources([str(table)], say=said.append)] == [str(table)]
    assert len(said) == 1
    assert f"{RESNET18} is left out" in said[0]
    assert url in said[0]
    assert str(place) in said[0]

    torch.manual_seed(6)
    network = torchvision.models.resnet18()
    place.parent.mkdir(parents=True)
    torch.save(network.state_dict(), place)
    source, _ = encoder_sources([str(table)], ["features"], say=said.append)
    assert isinstance(source, EncoderSource)
    assert source.name == RESNET18
    network.fc = nn.Identity()  # type: ignore[assignment]
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.eval()((images - source.encoder.mean) / source.encoder.std)  # type: ignore[attr-defined]
    torch.testing.assert_close(source(images)["pooled"], expected, rtol=1e-4, atol=1e-5)
    assert len(encoder_sources([str(table)], baselines=False)) == 1
    # Named by the user it stands once, by that name.
    named = encoder_sources(["torchvision:resnet18"], say=said.append)
    assert [s.name for s in named] == ["torchvision:resnet18, untrained", "torchvision:resnet18"]
    assert named[1].fingerprint == source.fingerprint
    assert len(said) == 1

    place.write_bytes(place.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a whole weights file"):
        encoder_sources(["torchvision:resnet18"])
    assert [s.name for s in encoder_sources([str(table)], say=said.append)] == [str(table)]
    assert "not a whole weights file" in said[-1]


def no_network(*_: Any, **__: Any) -> NoReturn:
    raise urllib.error.URLError("no network")


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_that_cant_be_had(
    library: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", no_network)
    code, _, error = run(capsys, "--encoder", f"{library}:resnet18", "--out", tmp_path / "out")
    assert code == 2
    assert "Traceback" not in error
    assert "no network" in error
    if library == "torchvision":
        assert "https://download.pytorch.org/models/resnet18-f37072fd.pth at " in error
        assert str(tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in error
    else:
        assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/" in error
        assert "timm:resnet18?weights=FILE.safetensors" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnt18", "timm has no such backbone; near it are .*resnet18"),
        ("torchvision:resnt18", "torchvision has no such backbone; near it are .*resnet18"),
        ("torchvision:raft_large", "torchvision has no such backbone"),
        ("timm:hf-hub:some/one", "timm has no such backbone"),
        ("timm:resnet18?colour=red", "unknown option 'colour'"),
        ("timm:resnet18?random&random", "stands twice"),
        ("timm:resnet18?random&weights=a.safetensors", "or neither"),
        ("timm:resnet18?weights=", "or neither"),
        ("timm:resnet18?weights=no/such.safetensors", "no such file"),
        ("torchvision:resnet18?weights=no/such.safetensors", "no such file"),
        ("torchvision:resnet18?weights=no/such.pth", "neither a .safetensors file nor one of"),
    ],
)
def test_wrong_backbones(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        encoder_sources([name])


@pytest.mark.parametrize(
    ("name", "package"),
    [("timm:resnet18", "timm"), ("x.onnx", "onnxruntime"), ("x.parquet", "pyarrow")],
)
def test_packages_that_are_not_installed(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == package] or [package]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"needs the package {package}.*pip install {package}"):
        encoder_sources([name])


# ONNX


def save_onnx(
    path: Path,
    shape: list[int | str | None] | None = None,
    outputs: tuple[str, ...] = ("mean", "twice"),
    keep: bool = False,
    kind: int = TensorProto.FLOAT,
    inputs: int = 1,
) -> Path:
    """A network whose outputs are the mean colour, and that twice; `keep`: as [B, 3, 1, 1]."""
    shape = ["B", 3, 16, 16] if shape is None else shape
    values = [helper.make_tensor_value_info(f"in{i}", kind, shape) for i in range(inputs)]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    two = helper.make_tensor("two", kind, [], [2.0])
    nodes = [
        helper.make_node("ReduceMean", ["in0", "axes"], ["mean"], keepdims=int(keep)),
        helper.make_node("Mul", ["mean", "two"], ["twice"]),
    ]
    made = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", values, made, [axes, two])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.mark.parametrize("batch", ["B", 1, 3, None])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_onnx_outputs_are_feature_spaces(
    batch: int | str | None, kind: int, tmp_path: Path
) -> None:
    path = save_onnx(tmp_path / "e.onnx", [batch, 3, 16, 16], kind=kind)
    source = only(str(path))
    assert isinstance(source, OnnxSource)
    assert source.input_size == 16
    assert source.dims == {"mean": 3, "twice": 3}
    images = torch.rand(7, 3, 16, 16)
    found = source(images)
    close = {"rtol": 1e-4, "atol": 1e-5} if kind == TensorProto.FLOAT else {"rtol": 0, "atol": 2e-3}
    torch.testing.assert_close(found["mean"].float(), images.mean(dim=(2, 3)), **close)
    torch.testing.assert_close(found["twice"].float(), 2 * images.mean(dim=(2, 3)), **close)


def test_onnx_options(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "e.onnx", ["B", 3, "H", "W"])
    source = only(f"{path}?size=8&mean=0.5,0.25,0&std=0.5", spaces=["mean"])
    assert isinstance(source, OnnxSource)
    assert source.input_size == 8
    images = torch.rand(2, 3, 8, 8)
    expected = (images.mean(dim=(2, 3)) - torch.tensor([0.5, 0.25, 0])) / 0.5
    found = source(images)
    assert list(found) == ["mean"]
    torch.testing.assert_close(found["mean"], expected, rtol=1e-4, atol=1e-5)
    assert source.fingerprint != only(f"{path}?size=8").fingerprint


def test_onnx_weights_decide_the_fingerprint_also_beside_the_file(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((768, 2), dtype=np.float32), "w")
    nodes = [
        helper.make_node("Flatten", ["in"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["B", 3, 16, 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "e.onnx"
    onnx.save(model, path, save_as_external_data=True, location="e.onnx.data", size_threshold=0)
    images = torch.rand(2, 3, 16, 16)
    source = OnnxSource(str(path))
    before, features = source.fingerprint, source(images)["out"]
    beside = tmp_path / "e.onnx.data"
    data = np.frombuffer(beside.read_bytes(), dtype=np.float32).copy()
    beside.write_bytes((2 * data).tobytes())
    source = OnnxSource(str(path))
    torch.testing.assert_close(source(images)["out"], 2 * features)
    assert source.fingerprint != before


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        ({"shape": ["B", 16, 16, 3]}, "", r"\['B', 16, 16, 3\] and not \[B, 3, S, S\]"),
        ({"shape": ["B", 1, 16, 16]}, "", r"and not \[B, 3, S, S\]"),
        ({"shape": ["B", 3, 16, 24]}, "", "not square"),
        ({"shape": ["B", 3, "H", "W"]}, "", r"size open; say which: .*\?size=112"),
        ({}, "?size=24", "which size=24 does not fit"),
        ({}, "?size=x", "size must be a whole number from 1, not x"),
        ({}, "?std=0", "std of 0"),
        ({}, "?mean=1,2", "mean must be one number or three"),
        ({}, "?mean=nan", "mean must be one number or three"),
        ({}, "?colour=1", "unknown option 'colour'"),
        ({"inputs": 2}, "", "has in0, in1"),
        ({"kind": TensorProto.DOUBLE}, "", r"takes tensor\(double\) and not floats"),
        ({"keep": True}, "", r"output 'mean' is \[2, 3, 1, 1\] for 2 pictures and not \[2, D\]"),
    ],
)
def test_wrong_onnx(make: dict[str, Any], options: str, said: str, tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "e.onnx", **make)
    with pytest.raises(InputError, match=said):
        only(f"{path}{options}")


def test_broken_onnx(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        only(str(tmp_path / "none.onnx"))
    path = save_onnx(tmp_path / "e.onnx")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="not an ONNX network that onnxruntime can run"):
        only(str(path))


# Tables


def faces_of(keys: list[str], name: str = "lfw") -> Pictures:
    pixels = np.random.default_rng(0).integers(0, 255, (len(keys), 8, 8, 3)).astype(np.uint8)
    records = [FaceRecord(key, x) for key, x in zip(keys, pixels, strict=True)]
    return Pictures(FaceSet(name, "all", records), np.arange(len(keys)))


KEYS = [f"person/{i}.png" for i in range(10)]
VALUES = np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)


def save_table(path: Path, keys: list[str] = KEYS, values: np.ndarray = VALUES) -> str:
    if path.suffix == ".npz":
        np.savez(path, keys=np.array(keys, dtype=str), one=values, other=2 * values[:, :2])
    else:
        columns = {
            "other": pa.array((2 * values[:, :2]).tolist(), pa.list_(pa.float64())),
            "key": pa.array(keys, pa.string()),
            "one": pa.array(values.tolist(), pa.list_(pa.float32(), 4)),
            "age": pa.array(range(len(keys))),
        }
        parquet.write_table(pa.table(columns), path)
    return str(path)


@pytest.fixture(params=["t.npz", "t.parquet"])
def table_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


@pytest.mark.parametrize("prefix", ["", "lfw/"])
def test_a_tables_rows_are_found_by_key(prefix: str, table_path: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(2).permutation(10)
    path = save_table(table_path, [prefix + KEYS[i] for i in order], VALUES[order])
    source = only(path)
    assert source.dims == {"one": 4, "other": 2}
    pictures, cache = faces_of(KEYS), FeatureCache(tmp_path / "features")
    assert cache.fill([source], pictures) == []
    found = cache.read(source, pictures, "one")
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_array_equal(found.records, np.arange(10))
    np.testing.assert_array_equal(cache.read(source, pictures, "other").values, 2 * VALUES[:, :2])
    some = Pictures(pictures.faces, np.array([3, 7]))
    np.testing.assert_array_equal(cache.read(source, some, "one").values, VALUES[[3, 7]])
    assert not (tmp_path / "features").exists()  # nothing computed


def test_pictures_without_a_row(table_path: Path, tmp_path: Path) -> None:
    source = only(save_table(table_path, KEYS[2:], VALUES[2:]))
    pictures, cache = faces_of(KEYS), FeatureCache(tmp_path / "features")
    assert cache.fill([source], pictures) == [(k, f"no row in {table_path}") for k in KEYS[:2]]
    found = cache.read(source, pictures, "one")
    np.testing.assert_array_equal(found.values, VALUES[2:])
    np.testing.assert_array_equal(found.records, np.arange(2, 10))

    source = only(save_table(table_path, KEYS[3:], VALUES[3:]))
    said = r"no row for 3 of the 10 pictures of lfw \(30%\), such as 'person/0.png'"
    with pytest.raises(InputError, match=said):
        cache.fill([source], pictures)


def test_pictures_that_cant_be_read_have_no_features(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    records = [FaceRecord(f"{i}.png", tmp_path / f"{i}.png") for i in range(3)]
    (tmp_path / "1.png").unlink()
    pictures = Pictures(FaceSet("mine", "all", records), np.arange(3))
    source = EmbeddingTable(save_table(tmp_path / "t.npz", ["0.png", "1.png", "2.png"], VALUES[:3]))
    assert source.missing(pictures) == [("1.png", "can't be read")]
    assert source.read(pictures, "one").records.tolist() == [0, 2]


def test_a_key_of_two_sets_is_refused(table_path: Path) -> None:
    source = EmbeddingTable(save_table(table_path))
    assert source.missing(faces_of(KEYS, "lfw")) == []
    with pytest.raises(InputError, match="may be of lfw or of utkface; write keys as SET/KEY"):
        source.missing(faces_of(KEYS, "utkface"))


def test_a_parquet_file_of_plain_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns: dict[str, Any] = {f"f{i}": VALUES[:, i] for i in range(4)}
    columns |= {"key": KEYS, "label": ["x"] * 10, "__index_level_0__": np.arange(10)}
    parquet.write_table(pa.table(columns), path)
    source = EmbeddingTable(str(path))
    assert source.dims == {"features": 4}
    np.testing.assert_array_equal(source.read(faces_of(KEYS), "features").values, VALUES)


def spoilt(row: int, value: float) -> np.ndarray:
    values = VALUES.copy()
    values[row:, 1] = value
    return values


def test_wrong_rows(table_path: Path) -> None:
    with pytest.raises(InputError, match=r"key 'person/0.png' stands twice"):
        only(save_table(table_path, [*KEYS[:-1], KEYS[0]]))
    for bad in (np.nan, np.inf):
        said = r"(one|other): 2 of 10 rows are NaN or infinite, the first of 'person/8.png'"
        with pytest.raises(InputError, match=said):
            only(save_table(table_path, values=spoilt(8, bad)))
    with pytest.raises(InputError, match="holds no rows"):
        only(save_table(table_path, [], VALUES[:0]))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"features": VALUES}, "needs an array 'keys' of text"),
        ({"keys": np.arange(10), "features": VALUES}, "needs an array 'keys' of text"),
        ({"keys": np.array(KEYS, dtype=object), "features": VALUES}, "allow_pickle|Object arrays"),
        ({"keys": np.array(KEYS)}, "holds no features"),
        ({"keys": np.array(KEYS), "f": VALUES[:, 0]}, r"'f' is float32 \[10\] and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES[:9]}, r"'f' is float32 \[9, 4\] and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES[:, :, None]}, r"\[10, 4, 1\] and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES.astype(str)}, "and not numbers"),
        ({"keys": np.array(KEYS), "f": VALUES.astype(np.float64) * 1e300}, "NaN or infinite"),
    ],
)
def test_wrong_npz(arrays: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        only(str(tmp_path / "t.npz"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"features": VALUES.tolist()}, "needs a column 'key' of text"),
        ({"key": list(range(10)), "features": VALUES.tolist()}, "needs a column 'key' of text"),
        ({"key": [*KEYS[:9], None], "f": VALUES.tolist()}, "column 'key' has 1 empty cells"),
        ({"key": KEYS, "f": [*VALUES.tolist()[:9], None]}, "column 'f' has 1 empty cells"),
        ({"key": KEYS, "f": [*VALUES.tolist()[:9], [1.0]]}, "'f' are of 1 to 4 numbers"),
        ({"key": KEYS, "f": [["a"]] * 10}, "'f' is object .* and not numbers"),
        ({"key": KEYS, "f": [[1.0, None]] * 10}, "10 of 10 rows are NaN"),
        ({"key": KEYS, "label": KEYS}, "holds no features"),
    ],
)
def test_wrong_parquet(columns: dict[str, list[Any]], said: str, tmp_path: Path) -> None:
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=said):
        only(str(tmp_path / "t.parquet"))


def test_broken_tables(table_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        only(str(table_path))
    save_table(table_path)
    whole = table_path.read_bytes()
    for data in (b"", b"no table", whole[: len(whole) // 2]):
        table_path.write_bytes(data)
        with pytest.raises(InputError, match=str(table_path)):
            only(str(table_path))


def test_a_pickle_in_a_table_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return Path.touch, (tmp_path / "run",)  # type: ignore[return-value]

    evil = np.array([Evil()] * 10, dtype=object)
    np.savez(tmp_path / "t.npz", keys=np.array(KEYS), features=evil)
    with pytest.raises(InputError, match=r"not an \.npz file of plain arrays"):
        only(str(tmp_path / "t.npz"))
    assert not (tmp_path / "run").exists()


# The command


def test_all_kinds_in_one_table(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of the ONNX network's own features must score as the network does."""
    network = save_onnx(tmp_path / "e.onnx", ["B", 3, 32, 32], ("mean",))
    common = ("--data", small_data, "--task", "pose", "--out", tmp_path / "out")
    code, printed, error = run(capsys, "--encoder", network, "--no-baselines", *common)
    assert code == 0, error
    from ssl_faces.data import find_face_sets

    (faces,) = (f for f in find_face_sets(small_data, "all") if f.name == "youtube_keypoints")
    pictures = Pictures(faces, np.arange(len(faces)))
    source, cache = OnnxSource(str(network)), FeatureCache(tmp_path / "out" / "features")
    features = cache.read(source, pictures, "mean").values.numpy()
    table = tmp_path / "t.npz"
    np.savez(table, keys=np.array([r.key for r in faces.records]), mean=features)

    file = tmp_path / "own.safetensors"
    save_file(timm.create_model(SMALL).state_dict(), file)
    backbone = f"timm:{SMALL}?weights={file}"
    code, printed, error = run(capsys, "--encoder", table, "--encoder", backbone, *common)
    assert code == 0, error
    assert f"{RESNET18} is left out" in printed
    rows: dict[str, list[float]] = {}
    for record in read_records(tmp_path / "out" / "records.jsonl"):
        rows.setdefault(record.encoder, []).append(record.value)
    assert {str(network), str(table), backbone, f"{backbone}, untrained"} <= set(rows)
    assert f"{table}, untrained" not in rows
    assert rows[str(table)] == rows[str(network)]

    np.savez(table, keys=np.array([r.key for r in faces.records])[:30], mean=features[:30])
    code, _, error = run(capsys, "--encoder", table, *common)
    assert code == 2
    assert "no row for 42 of the 72 pictures of youtube_keypoints" in error
    assert error.count("\n") == 1


def test_an_encoder_whose_features_are_no_numbers(
    small_data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_file(tiny / "encoder.safetensors")
    for name, value in state.items():
        if value.is_floating_point() and value.ndim == 4:
            state[name] = value * float("nan")
    save_file(state, tiny / "encoder.safetensors")
    out = tmp_path / "out"
    code, _, error = run(
        capsys, "--encoder", tiny, "--data", small_data, "--task", "pose", "--out", out
    )
    assert code == 2
    assert "Traceback" not in error
    assert f"{tiny}, expression" in error
    assert (
        "features of 72 of 72 pictures of youtube_keypoints are NaN or infinite, the first of "
        "One_0_0.png; check the encoder's weights" in error
    )
    assert not (out / "records.jsonl").exists()
