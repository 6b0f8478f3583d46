"""Trained policies as files that other programs run: ONNX graphs with a contract."""
