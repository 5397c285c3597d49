"""What the tests share: made records, jobs, delays, sweeps, programs."""
