"""From a torch network to plain ONNX: the inference graph and one training-step graph per cut.

``models.graphs.export`` is the way in. A network is traced into a flat list of steps, each step
kind has one forward and one backward rule, and nothing leaves before torch and onnxruntime agree.
Only the lab imports this package; the box runs its results with onnxruntime and numpy.
"""
