"""Runs the jobs of a sweep: each in processes of its own, each to its record, however it ends."""
