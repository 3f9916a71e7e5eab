"""Detectors from ONNX files: the graph as a differentiable module (ops, graph), what its outputs mean (layouts, recognise).

Needs the extra `[onnx]`: onnx, onnxruntime, onnx2torch; imported only here, and only when such a file is loaded.
"""
