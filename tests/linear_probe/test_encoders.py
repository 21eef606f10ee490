"""Encoders from ONNX files, and all kinds of `--encoder` in one command."""

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from linear_probe.features.frozen import FeatureCache, Pictures
from linear_probe.records.record import read_records
from linear_probe.sources.by_name import RESNET18
from linear_probe.sources.onnx_file import OnnxSource
from ssl_faces import InputError, load_encoder, save_encoder
from tests.support.probing import SMALL_TIMM, only_source, run_probe


def save_onnx(
    path, shape=None, outputs=("mean", "twice"), keep=False, kind=TensorProto.FLOAT, inputs=1
):
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
def test_onnx_outputs_are_feature_spaces(batch, kind, tmp_path):
    path = save_onnx(tmp_path / "e.onnx", [batch, 3, 16, 16], kind=kind)
    source = only_source(str(path))
    assert isinstance(source, OnnxSource)
    assert source.input_size == 16
    assert source.dims == {"mean": 3, "twice": 3}
    images = torch.rand(7, 3, 16, 16)
    found = source(images)
    close = {"rtol": 1e-4, "atol": 1e-5} if kind == TensorProto.FLOAT else {"rtol": 0, "atol": 2e-3}
    torch.testing.assert_close(found["mean"].float(), images.mean(dim=(2, 3)), **close)
    torch.testing.assert_close(found["twice"].float(), 2 * images.mean(dim=(2, 3)), **close)


def test_onnx_options(tmp_path):
    path = save_onnx(tmp_path / "e.onnx", ["B", 3, "H", "W"])
    source = only_source(f"{path}?size=8&mean=0.5,0.25,0&std=0.5", spaces=["mean"])
    assert isinstance(source, OnnxSource)
    assert source.input_size == 8
    images = torch.rand(2, 3, 8, 8)
    expected = (images.mean(dim=(2, 3)) - torch.tensor([0.5, 0.25, 0])) / 0.5
    found = source(images)
    assert list(found) == ["mean"]
    torch.testing.assert_close(found["mean"], expected, rtol=1e-4, atol=1e-5)
    assert source.fingerprint != only_source(f"{path}?size=8").fingerprint


def test_onnx_weights_decide_the_fingerprint_also_beside_the_file(tmp_path):
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
    ("make", "options", "shown"),
    [
        ({"shape": ["B", 16, 16, 3]}, "", r"\['B', 16, 16, 3\] and not one of floats \[B, 3"),
        ({"shape": ["B", 1, 16, 16]}, "", r"and not one of floats \[B, 3, S, S\]"),
        ({"shape": ["B", 3, 16, 24]}, "", "not square"),
        ({"shape": ["B", 3, "H", "W"]}, "", r"size open; say which: .*\?size=112"),
        ({}, "?size=24", "which size=24 does not fit"),
        ({}, "?size=x", "size must be a whole number from 1, not x"),
        ({}, "?std=0", "std of 0"),
        ({}, "?mean=1,2", "mean must be one number or three"),
        ({}, "?mean=nan", "mean must be one number or three"),
        ({}, "?colour=1", "unknown option 'colour'"),
        ({"inputs": 2}, "", "has the inputs 'in0' .*, 'in1' .* and not one"),
        ({"kind": TensorProto.DOUBLE}, "", r"'in0' tensor\(double\) .* and not one of floats"),
        ({"keep": True}, "", r"'mean' is float32 \[2, 3, 1, 1\] for 2 pictures and not"),
    ],
)
def test_wrong_onnx(make, options, shown, tmp_path):
    path = save_onnx(tmp_path / "e.onnx", **make)
    with pytest.raises(InputError, match=shown):
        only_source(f"{path}{options}")


def test_broken_onnx(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        only_source(str(tmp_path / "none.onnx"))
    path = save_onnx(tmp_path / "e.onnx")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="not an ONNX network that onnxruntime can run"):
        only_source(str(path))


# The command


def test_all_kinds_in_one_table(small_data, tmp_path, capsys):
    """A table of the ONNX network's own features must score as the network does."""
    network = save_onnx(tmp_path / "e.onnx", ["B", 3, 32, 32], ("mean",))
    common = ("--data", small_data, "--task", "pose", "--out", tmp_path / "out")
    code, printed, error = run_probe(capsys, "--encoder", network, "--no-baselines", *common)
    assert code == 0, error
    from ssl_faces.data import find_face_sets

    (faces,) = (f for f in find_face_sets(small_data, "all") if f.name == "youtube_keypoints")
    pictures = Pictures(faces, np.arange(len(faces)))
    source, cache = OnnxSource(str(network)), FeatureCache(tmp_path / "out" / "features")
    features = cache.read(source, pictures, "mean").values.numpy()
    table = tmp_path / "t.npz"
    np.savez(table, keys=np.array([r.key for r in faces.records]), mean=features)

    file = tmp_path / "own.safetensors"
    save_file(timm.create_model(SMALL_TIMM).state_dict(), file)
    backbone = f"timm:{SMALL_TIMM}?weights={file}"
    code, printed, error = run_probe(capsys, "--encoder", table, "--encoder", backbone, *common)
    assert code == 0, error
    assert f"{RESNET18} is left out" in printed
    rows = {}
    for record in read_records(tmp_path / "out" / "records.jsonl"):
        rows.setdefault(record.encoder, []).append(record.value)
    assert {str(network), str(table), backbone, f"{backbone}, untrained"} <= set(rows)
    assert f"{table}, untrained" not in rows
    assert rows[str(table)] == rows[str(network)]

    np.savez(table, keys=np.array([r.key for r in faces.records])[:30], mean=features[:30])
    code, _, error = run_probe(capsys, "--encoder", table, *common)
    assert code == 2
    assert "no row for 42 of the 72 pictures of youtube_keypoints" in error
    assert error.count("\n") == 1


def test_an_encoder_whose_features_are_no_numbers(small_data, tiny, tmp_path, capsys):
    state = load_file(tiny / "encoder.safetensors")
    for name, value in state.items():
        if value.is_floating_point() and value.ndim == 4:
            state[name] = value * 1e30  # finite, but what they compute overflows
    save_encoder(load_encoder(tiny), tiny, {}, state)
    out = tmp_path / "out"
    code, _, error = run_probe(
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
