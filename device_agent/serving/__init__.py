"""Answers by the active model: one image, a folder, a whole board, over HTTP."""
