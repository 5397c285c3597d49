"""A Hydra program: its messages, its directory, its completion."""
