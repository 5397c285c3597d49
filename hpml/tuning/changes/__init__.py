"""What tuning offers to change, a file for each place where that is set."""
