"""Runs the one fine-tune program as a child under every cap that this box offers."""
