"""Reads the pages of reports as a browser would, and has a text that must never be markup."""

import html.parser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from hpml.report import page as page_of_report

FINE = page_of_report.PNG_DPI  # as users have their pictures
EVIL = "<script>alert(1)</script>$x_1$&|`*"


class Page(html.parser.HTMLParser):
    """Collects the tags, the ids, the text, what would be fetched and what could run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.ids, self.fetched, self.runs, self.text = [], [], [], [], ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "src" or (name == "href" and tag != "a"):
                self.fetched.append(value or "")
            if name.startswith("on") or (value or "").startswith("javascript:"):
                self.runs.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        self.text += data


def read(folder: Path) -> Page:
    page = Page()
    page.feed((folder / "report.html").read_text())
    return page


@contextmanager
def dots_per_inch(number: int) -> Iterator[None]:
    """Of all pictures that this process draws meanwhile."""
    with patch.object(page_of_report, "PNG_DPI", number):
        yield
