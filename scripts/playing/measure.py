"""Frames per second of the page of `manyparts play`, in Chromium on this machine.

`scripts/playing/measure.py manyparts/metaworld45-small --tasks metaworld/drawer-open`: what follows
the name are the arguments of `manyparts play`. It prints frames per second over some seconds, at
twice the real time, and the processor time that a frame takes in the server and in the browser. The
latter says what a quiet machine could show, also where others keep this one busy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any

import psutil
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
            tab.select_option("#speed", "2")
            tab.click("#run")
            tab.wait_for_timeout(2000)
            for name, clicks in SWITCHES.items():
                for each in clicks:
                    if tab.is_enabled(each):
                        tab.click(each)
                tab.wait_for_timeout(1000)
                print(f"{name}: {measured(tab, process.pid)}, load {os.getloadavg()[0]:.1f}")
            browser.close()
    finally:
        process.terminate()
        process.wait()


def measured(tab: Any, server: int) -> str:
    """Frames per second, and what each takes. server: the number of its process."""
    begin, frames, start = processor_seconds(server), frame(tab), time.monotonic()
    tab.wait_for_timeout(1000 * SECONDS)
    seconds, shown = time.monotonic() - start, frame(tab) - frames
    used = [after - before for before, after in zip(begin, processor_seconds(server), strict=True)]
    each = [f"{1000 * each / max(1, shown):.1f} ms" for each in used]
    return f"{shown / seconds:.1f} frames/s; a frame takes {each[0]} here, {each[1]} in the browser"


def frame(tab: Any) -> int:
    return int(tab.get_attribute("body", "data-frame"))


def processor_seconds(server: int) -> tuple[float, float]:
    """What the server and the browser have used so far."""
    browser = [each for each in psutil.Process().children(recursive=True) if "chrom" in each.name()]
    return used_by(psutil.Process(server)), sum(map(used_by, browser))


def used_by(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it has ended
        return 0.0
    return times.user + times.system


if __name__ == "__main__":
    main()
