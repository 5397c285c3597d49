"""The whole lab: its parts as commands, chained by what they find, and one report over all."""
