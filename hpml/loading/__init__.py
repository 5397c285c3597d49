"""A loader taken apart: what each stage of its samples costs, and in which lines."""
