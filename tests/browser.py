"""Headless Chromium, for the tests of pages and for `tests.screenshots`."""

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


def start(profile):
    """Return a driver of selenium with a new profile in this folder."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


def show(driver, file, width=1200, scheme="light"):
    """Open a page, so wide and in this colour scheme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(file.as_uri())


def printed(driver, tries=3):
    """The page as PDF, in base64. A busy Chromium now and then says only that printing failed."""
    from selenium.common.exceptions import WebDriverException

    for left in reversed(range(tries)):
        try:
            return driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
        except WebDriverException as error:
            if not left or "Printing failed" not in str(error):
                raise
            driver.refresh()
