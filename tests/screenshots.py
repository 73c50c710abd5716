"""Pictures of pages in Chromium, to be looked at: ``python -m tests.screenshots FOLDER [FILE ...]``

Each HTML file, or else each kind of page that schuss writes, is taken wide and narrow, light and
dark, into FOLDER; its size, its height and the time it takes to load are printed.
"""

import base64
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import schuss
from schuss.cli import main
from schuss.expressions import Expression
from schuss.pages import learn_page
from tests import browser

FORMULAS = {
    "walk-1d": ("x**2 - 4*x + 6", 8.0, 0.1),
    "walk-2d": ("(1 - x)**2 + 100*(y - x**2)**2", [-1.2, 1.0], 0.001),
    "walk-3d": ("(x - 1)**2 + 3*(y + 1)**2 + (z - 2)**2", [4.0, 3.0, -2.0], 0.1),
}
WIDTHS = {"wide": 1200, "narrow": 380}
# What is longer could not be recognised in one picture.
MAX_HEIGHT = 3000
LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"


def write_pages(folder):
    """Write a page of each kind; return their paths."""
    for name, (text, start, rate) in FORMULAS.items():
        formula = Expression(text)
        run = schuss.minimize(
            formula, start, jac=formula.jac, learning_rate=rate, max_iter=300, tol=1e-4
        )
        run.to_html(folder / f"{name}.html")
    main(["train", "--quiet", "--no-save", "--report", str(folder / "report.html")])
    (folder / "learn.html").write_text(learn_page(), encoding="utf-8")
    return sorted(folder.glob("*.html"))


def take(driver, page, name, width, scheme):
    """Return a picture of a page as PNG, and print its figures."""
    browser.show(driver, page, width, scheme)
    time.sleep(0.3)  # until it has drawn itself
    height = driver.execute_script("return document.documentElement.scrollHeight")
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    print(f"{name}: {page.stat().st_size / 1000:.0f} kB, {height} pixels high, loaded in "
          f"{driver.execute_script(LOADED):.0f} ms{', TOO WIDE' * (wide > width)}")  # fmt: skip
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, MAX_HEIGHT), "scale": 1}
    shot = driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    return base64.b64decode(shot["data"])


def run(folder, files):
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        (pages := Path(temporary) / "pages").mkdir()
        driver = browser.start(Path(temporary) / "profile")
        try:
            for page, width, scheme in product(
                files or write_pages(pages), WIDTHS, ("light", "dark")
            ):
                name = f"{page.stem}-{width}-{scheme}"
                picture = take(driver, page.resolve(), name, WIDTHS[width], scheme)
                (folder / f"{name}.png").write_bytes(picture)
        finally:
            driver.quit()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    if not browser.CHROMIUM or not browser.DRIVER:
        sys.exit("tests.screenshots needs chromium and chromedriver")
    run(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
