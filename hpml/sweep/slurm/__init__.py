"""A sweep on a SLURM cluster."""
