"""The command lines that Hydra does not read."""

import argparse
from typing import NoReturn

from hpml.errors import UserError


class ArgumentParser(argparse.ArgumentParser):
    """Answers wrong input in one line, by a UserError, without a list of all options."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")
