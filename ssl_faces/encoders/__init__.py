"""The encoder contract, and files of encoders: cards, probes, ONNX."""
