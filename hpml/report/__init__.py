"""From records to tables. Imports neither torch nor Lightning, so that a report opens at once."""
