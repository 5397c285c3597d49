"""Finds out where training time goes, and which setting makes it fastest."""

__version__ = "0.1.0"
