"""Checkpoints: the last, the best, and those that a run resumes from."""
