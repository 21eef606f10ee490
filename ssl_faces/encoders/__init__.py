"""The encoder contract, and what is kept with an encoder: cards, probes, ONNX files."""
