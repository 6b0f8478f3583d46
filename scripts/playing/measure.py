"""Frames per second of the page of `manyparts play`, in Chromium on this machine.

`scripts/playing/measure.py manyparts/metaworld45-small --tasks metaworld/drawer-open`: what follows
the name are the arguments of `manyparts play`. It prints frames and steps per second over some
seconds, and the machine's load, since a busy machine draws less.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any

from playwright.sync_api import sync_playwright

SECONDS = 15
SWITCHES = {"alone": (), "expert beside": ("#shows-expert",), "and cameras": ("#shows-views",)}


def main() -> None:
    command = [sys.executable, "-m", "manyparts", "play", *sys.argv[1:]]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="")
        if address := re.search(r"open (http\S+)", line):
            break
    else:
        sys.exit("the command ended before it printed an address")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(address[1])
            tab.wait_for_selector("body[data-frame]")
            tab.click("#run")
            tab.wait_for_timeout(2000)
            for name, clicks in SWITCHES.items():
                for each in clicks:
                    if tab.is_enabled(each):
                        tab.click(each)
                tab.wait_for_timeout(1000)
                print(f"{name}: {measured(tab)}, load {os.getloadavg()[0]:.1f}")
            browser.close()
    finally:
        process.terminate()
        process.wait()


def measured(tab: Any) -> str:
    """Frames and steps per second, as the page counts them."""
    frames, start = int(tab.get_attribute("body", "data-frame")), time.monotonic()
    tab.wait_for_timeout(1000 * SECONDS)
    seconds = time.monotonic() - start
    shown = int(tab.get_attribute("body", "data-frame")) - frames
    return f"{shown / seconds:.1f} frames/s"


if __name__ == "__main__":
    main()
