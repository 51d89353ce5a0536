"""The one fine-tune program: a child process on onnxruntime and numpy, under a memory cap.

Importing this package loads nothing, so that ``program.main`` can set thread counts and allocator
limits before numpy is loaded.
"""
