"""Detectors from ONNX files: the graph as a differentiable module (ops, graph), its outputs (layouts, recognise), load.

Needs the extra `[onnx]`: onnx, onnxruntime, onnx2torch. Imported only when such a file is loaded.
"""
