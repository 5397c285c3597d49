"""Reads the pages of reports as a browser would, and has a text that must never be markup."""

import html.parser
from pathlib import Path

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
