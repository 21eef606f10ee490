"""Codes beside an encoder's own feature spaces."""

import pytest
import torch

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import load_encoder, save_encoder
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder

SMALL = EncoderSettings("resnet18", 32, 0.125)


@pytest.mark.parametrize(
    ("name", "of"), [("resnet18", "pooled"), ("facecycle", "pooled"), ("vit_tiny", "class_token")]
)
def test_codes_are_linear_layers_on_the_representation(name, of):
    torch.manual_seed(0)
    width = 1.0 if name == "vit_tiny" else 0.125
    encoder = BackboneEncoder(name, 32, width, {"action": 5, "pose": 3}).eval()
    assert encoder.feature_dims["action"] == 5
    assert encoder.feature_dims["pose"] == 3
    result = encoder(torch.rand(2, 3, 32, 32))
    for code in ("action", "pose"):
        weights = dict(encoder.codes[code].named_parameters())
        expected = result[of] @ weights["weight"].T + weights["bias"]
        torch.testing.assert_close(result[code], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoder.codes_of(result[of])[code], result[code])


def test_saved_encoders_keep_their_codes_and_others_have_none(tmp_path):
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 32, 32)
    encoder = new_encoder(SMALL, {"identity": 6}).eval()
    loaded = load_encoder(save_encoder(encoder, tmp_path / "codes", {}))
    assert loaded.feature_dims == encoder.feature_dims
    torch.testing.assert_close(loaded(pictures)["identity"], encoder(pictures)["identity"])
    # As encoders were saved before there were codes: neither the card nor the weights speak of any.
    plain = new_encoder(SMALL)
    assert set(plain.config) == {"name", "input_size", "width"}
    assert not [key for key in plain.state_dict() if key.startswith("codes")]


@pytest.mark.parametrize("codes", [{"pooled": 4}, {"a b": 4}, {"action": 0}, {"keys": 4}])
def test_unsupported_codes(codes):
    with pytest.raises(InputError, match=r"model.encoder: codes: .* give names beside pooled"):
        new_encoder(SMALL, codes)
