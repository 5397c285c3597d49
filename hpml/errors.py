"""The two kinds of failure that are told in one line, without a traceback."""


class UserError(Exception):
    """Wrong input: a key, a value, a file. The program ends with exit code 2."""

    on_all_ranks = True  # the first one tells it for all


class RunFailedError(Exception):
    """The run itself failed in a way we know, such as a loss that is not finite. Exit code 1."""
