"""A lab's answers as Python hands them back."""

from pathlib import Path

from hpml.lab.report.page import machines_of, sections_of
from hpml.report.make import PAGE


class LabAnswers:
    """What the lab in a folder has found so far, on all machines that it ran on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        sections = sections_of(directory, machines_of(directory))
        self.titles = {section.part: section.title for section in sections}
        self.answers = {section.part: section.answer for section in sections if section.answer}

    @property
    def path(self) -> Path:
        """The page."""
        return self.directory / PAGE

    def __repr__(self) -> str:
        lines = [f"{part}: {line}" for part, answer in self.answers.items() for line in answer]
        return "\n".join([*lines, f"report: {self.path}"])

    def _repr_html_(self) -> str:
        from hpml.report.page import cell  # and matplotlib
        from hpml.report.tables import Cell, Table

        rows = [
            [Cell(part), Cell(self.titles[part]), Cell(line)]
            for part, answer in self.answers.items()
            for line in answer
        ]
        values = {"table": Table(["", "asked", "answer"], rows, 3), "path": str(self.path)}
        return cell(values)
