"""The program on the box: asks what to be, fetches, fine-tunes under a cap, serves, reports.

It never imports torch, onnx, the server or the lab; numpy, Pillow and onnxruntime are loaded on
the first prediction only, so an idle agent stays under 75 MB.
"""
