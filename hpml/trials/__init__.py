"""Short fits of copies of a job, in rounds."""
