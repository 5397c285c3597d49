"""From the verdict to the fix: what to change, tried and ranked."""
