"""Pages in a real browser: headless Chromium, which reaches this machine and nothing else."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = "needs Chromium and its driver (Debian: chromium, chromium-driver)" if not (CHROMIUM and DRIVER) else ""

DESKTOP = (1280, 900)  # px
PHONE = (390, 844)
WAIT_SECONDS = 60  # on a busy machine; a page in order is waited for no longer than it takes

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """
    Start Chromium, and end it.

    :param profile: a fresh folder for all that it keeps
    """
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        browser.set_script_timeout(WAIT_SECONDS)
        yield browser
    finally:
        browser.quit()


def look(browser: Chrome, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
    """Give the page the look of a device: its size in px, a phone where it is narrow, light or dark."""
    width, height = size
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def wait(browser: Chrome) -> WebDriverWait:
    """For ``wait(browser).until(condition)``: fails with what the condition was waiting for."""
    return WebDriverWait(browser, WAIT_SECONDS, poll_frequency=0.05)


def complaints(browser: Chrome) -> list[str]:
    """What the browser's console has had to complain of since the last look: errors of scripts, what was not found."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
