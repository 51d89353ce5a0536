"""Networks, lab training, export, measuring, releasing, and the one fine-tune program.

Importing this package loads nothing: the fine-tune child runs on onnxruntime and numpy alone.
"""
