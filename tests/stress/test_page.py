"""The report's page in a browser: from the disk, without a network."""

import html
import json
import re
from pathlib import Path

import pytest
from helpers.chromium import NEEDS_CHROMIUM, browse, driven
from helpers.records import make_run
from PIL import Image

from hpml.report.comparison import Comparison
from hpml.report.make import write_report
from hpml.report.paging import MOST_ROWS, PAGE_ROWS

pytestmark = NEEDS_CHROMIUM

EVIL = "<script>document.title='hacked'</script>"
# Runs after the page's own script, and writes what it sees into the title.
LOOK = """<script>
const table = document.querySelector("#settings table");
const column = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
const seen = {before: column()};
table.tHead.rows[0].cells[0].querySelector("button").click();
seen.upwards = column();
table.tHead.rows[0].cells[0].querySelector("button").click();
seen.downwards = column();
seen.pictures = [...document.querySelectorAll("figure svg")].map(svg => {
  const box = svg.querySelector("g").getBBox();
  return [svg.getBoundingClientRect().width, box.width, box.height];
});
seen.strong = [...document.querySelectorAll("strong")].map(node => node.textContent);
seen.wider = document.documentElement.scrollWidth > document.documentElement.clientWidth;
document.title = JSON.stringify(seen);
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three numbers of workers, two of more than one digit, and of a run with an evil name."""
    folder = tmp_path_factory.mktemp("page")
    for workers, epoch_s in {2: 3.0, 10: 2.0, 100: 4.0}.items():
        for seed in (0, 1):
            name = f"data.num_workers={workers},seed={seed}"
            make_run(folder / "sweep", name, epoch_s=epoch_s + seed / 50)
    config = {"seed": 0, "data": {"val_split": 0, "num_workers": EVIL}}
    asked = {"overrides": [f"data.num_workers={EVIL}"], "config": config}
    error = {"type": "E", "message": EVIL, "log_end": EVIL}
    make_run(folder / "sweep", "evil", **asked, status="failed", error=error)
    write_report(Comparison([folder / "sweep"]), folder, f"Report {EVIL}")
    return folder / "report.html"


def test_the_page_is_drawn_sorted_and_safe(page: Path) -> None:
    """All pictures have a size, a click sorts a table by its numbers, markup is text."""
    looked = page.with_name("looked.html")
    looked.write_text(page.read_text().replace("</body>", f"{LOOK}</body>"))
    done = browse(
        looked.as_uri(),
        page.with_name("profile"),
        *("--dump-dom", "--virtual-time-budget=5000", "--enable-logging=stderr", "--v=0"),
        *("--proxy-server=127.0.0.1:9", "--window-size=1100,900"),
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)
    seen = json.loads(html.unescape(title[1]))
    assert seen["upwards"][:3] == ["2", "10", "100"]
    assert seen["downwards"][:3] == ["100", "10", "2"]
    assert len(seen["pictures"]) >= 3
    assert all(width > 100 and w > 100 and h > 50 for width, w, h in seen["pictures"])
    assert any("evil" in name for name in seen["strong"])
    assert not seen["wider"]


def test_on_a_phone_only_tables_and_pictures_scroll(page: Path) -> None:
    """Each sentence and caption is read whole; a wide picture keeps the size of its text."""
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    with driven(page.as_uri()) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        wide, texts, pictures = browser.execute_script(
            "const boxes = kind => [...document.querySelectorAll(kind)]"
            ".map(node => node.getBoundingClientRect());"
            "const wide = document.documentElement.scrollWidth;"
            "return [wide, boxes('h1, h2, p, figcaption'), boxes('svg')]"
        )
    assert wide == phone["width"]
    assert max(box["right"] for box in texts) <= phone["width"]
    assert min(box["width"] for box in pictures) >= 1.4 * phone["width"]


@pytest.mark.parametrize(("mode", "light"), [("light", True), ("dark", False)])
def test_the_page_follows_the_systems_colours(page: Path, mode: str, light: bool) -> None:
    """Light paper or dark, and ink that stands out from it, in the pictures too."""
    shot = page.with_name(f"{mode}.png")
    browse(
        page.as_uri(),
        page.with_name("profile"),
        f"--blink-settings=preferredColorScheme={int(light)}",
        *(f"--screenshot={shot}", "--window-size=1100,2400", "--hide-scrollbars"),
    )
    with Image.open(shot) as image:
        grey = image.convert("L")
        assert (grey.getpixel((5, 5)) > 200) == light
        histogram = grey.histogram()
    paper, ink = (histogram[200:], histogram[:60]) if light else (histogram[:60], histogram[200:])
    assert sum(paper) > 0.6 * sum(histogram)
    assert sum(ink) > 0.002 * sum(histogram)


def test_the_page_prints(page: Path) -> None:
    """As a document of several pages."""
    document = page.with_name("printed.pdf")
    browse(page.as_uri(), page.with_name("profile"), f"--print-to-pdf={document}")
    assert document.read_bytes().startswith(b"%PDF")
    assert document.stat().st_size > 20_000


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of so many runs that their table is shown in pages; one of them has an evil name."""
    folder = tmp_path_factory.mktemp("paged")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hpml.records.run_record.write_whole", Path.write_text)  # no fsync
        for number in range(MOST_ROWS + 99):
            name = f"data.num_workers={number // 5},seed={number % 5}"
            make_run(folder / "sweep", name, epochs=1, epoch_s=2 + number % 97)
        make_run(folder / "sweep", EVIL.replace("/", "|"), epochs=1, status="interrupted")
    write_report(Comparison([folder / "sweep"]), folder, "Report")
    return folder / "report.html"


def test_thousands_of_rows_are_sorted_searched_filtered_and_turned(paged: Path) -> None:
    """All rows take part, whichever are shown; what a record holds is text; nothing is too wide."""
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    type_in = "const s = document.querySelector('#runs input'); s.value = arguments[0];"
    type_in += "s.dispatchEvent(new Event('input'))"
    with driven(paged.as_uri()) as browser:

        def seen() -> tuple[str, list[list[str]]]:
            return browser.execute_script(
                "const rows = [...document.querySelectorAll('#runs tbody tr')];"
                "return [document.querySelector('#runs .controls span').textContent,"
                "rows.map(row => [...row.cells].map(cell => cell.textContent))]"
            )

        def click(what: str, place: int) -> None:
            click = "document.querySelectorAll(arguments[0])[arguments[1]].click()"
            browser.execute_script(click, f"#runs {what}", place)

        whole, rows = seen()
        assert (whole, len(rows)) == ("1 to 100 of 600 rows", PAGE_ROWS)
        click("th button", 4)
        fastest = [float(row[4]) for row in seen()[1]]
        assert fastest == sorted(fastest)
        click("th button", 4)
        slowest = [float(row[4]) for row in seen()[1]]
        assert slowest == sorted(slowest, reverse=True)
        click(".controls button", 1)
        assert seen()[0] == "101 to 200 of 600 rows"
        browser.execute_script(type_in, "workers=77 SEED=3")
        where, rows = seen()
        assert where == "1 to 1 of 1 row"
        assert rows[0][0].startswith("data.num_workers=77,seed=3")
        browser.execute_script(type_in, "")
        browser.execute_script(
            "const select = document.querySelector('#runs select');"
            "select.selectedIndex = [...select.options].findIndex(o => o.text === 'interrupted');"
            "select.dispatchEvent(new Event('change'))"
        )
        where, rows = seen()
        assert where == "1 to 1 of 1 row"
        assert rows[0][0].startswith(EVIL.replace("/", "|"))
        assert browser.title == "Report"
        assert browser.execute_script(
            "return [...document.querySelectorAll('figure img')].every(i => i.naturalWidth > 100)"
        )
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
