"""Finds the number of loading workers by measuring."""
