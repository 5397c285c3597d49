"""The report on one run: its page, its pictures, its lines in the terminal."""
