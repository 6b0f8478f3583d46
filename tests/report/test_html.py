"""The report says what the result says, carries everything in itself, and opens in a browser
without a complaint."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report.html_runs import NASTY, TASKS, make_run

from manyparts.core.errors import UserError
from manyparts.core.serialisation import to_jsonable
from manyparts.evaluation.attention import Attention, movement, spread
from manyparts.evaluation.prompt_results import PROMPTS
from manyparts.evaluation.results import Result
from manyparts.planners import MppiConfig
from manyparts.report import attention as report_attention
from manyparts.report import sections as report_sections
from manyparts.report.html import write_report


class Text(HTMLParser):
    """A page's tags, with their attributes, and the cells of its success table."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_report_is_one_small_file(page: str) -> None:
    parsed = Text()
    parsed.feed(page)
    sources = [
        value
        for _, items in parsed.tags
        for name, value in items.items()
        if name in ("src", "href")
    ]
    assert len(sources) > 10
    assert all(value is not None and value.startswith("data:") for value in sources)
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert len(page) < 10_000_000


def test_text_of_files_is_escaped(page: str) -> None:
    parsed = Text()
    parsed.feed(page)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert ("b", {}) not in parsed.tags
    assert "alert('x')" in parsed.text
    assert "<b>not bold</b>" in parsed.text


def test_rows_show_the_result(run: Path, page: str) -> None:
    result = Result.load(run)
    table = re.search(r'<table id="success">(.*?)</table>', page, re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr class=.*?</tr>", table.group(1), re.DOTALL)
    assert len(rows) == len(TASKS) + 1
    expected = [*result.per_task.values(), result.aggregate]
    for row, measures in zip(rows, expected, strict=True):
        success = measures["success_any"]
        shown = f"{100 * success.mean:.0f} % [{100 * success.low:.0f}, {100 * success.high:.0f}]"
        assert shown in re.sub(r"<[^>]*>", "", row)


def test_commands_name_every_setting(page: str) -> None:
    parsed = Text()
    parsed.feed(page)
    lines = [
        shlex.split(line) for line in parsed.text.splitlines() if line.startswith("manyparts ")
    ]
    assert [line[1] for line in lines] == ["collect", "train", "evaluate", "prompts", "report"]
    assert lines[2][lines[2].index("--control-delay") + 1] == "3"
    assert lines[3][lines[3].index("--seed") + 1] == "5"
    assert NASTY in lines[0]
    assert NASTY in lines[2]
    assert lines[1][-2:] == ["--data", lines[0][-1]]
    assert lines[2][lines[2].index("--seed") + 1] == "7"
    assert "phase1 was trained from Python" in parsed.text
    assert "# the working tree had changes beyond this commit" in parsed.text


def test_videos_stay_within_the_budget(
    run: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert page.count("<video") == len(list((run / "evaluation" / "videos").glob("*/*.mp4")))
    sizes = [path.stat().st_size for path in (run / "evaluation" / "videos").glob("*/*.mp4")]
    monkeypatch.setattr(report_sections, "VIDEO_BUDGET", 4 * max(sizes))
    shorter = write_report(run, run / "short.html").read_text(encoding="utf-8")
    assert 4 <= shorter.count("<video") < page.count("<video")
    assert "more video" in shorter
    assert shorter.count("No video was kept") == 0


def test_attention_of_one_episode_per_task(
    run: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras, tokens, steps = 2, 2, 3
    a_task = cameras * (1 + tokens) * steps
    assert page.count("<img") == len(TASKS) * a_task
    path = sorted((run / "evaluation" / "videos").glob("metaworld_reach/success-*.npz"))[0]
    weights = Attention.load(path).maps["corner"].mean(axis=2)
    for fraction, moved in zip(spread(weights).mean(axis=0), movement(weights), strict=True):
        assert f"spread {100 * fraction:.0f} %</small> <small>moves {100 * moved:.0f} %" in page
    assert "A token has 2 maps" in page and "What it does not show" in page
    monkeypatch.setattr(report_attention, "IMAGE_BUDGET", 1)
    assert page.count("<details open>") == 1
    assert "3 of 3 tasks are only in" in write_report(run, run / "short.html").read_text(
        encoding="utf-8"
    )


def test_report_without_attention_has_no_section(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("*.npz"))
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "Where it looks" not in text and "<video" in text


def test_prompt_study_shows_its_intervals(run: Path, page: str, tmp_path: Path) -> None:
    kinds = re.search(r'<table id="prompts">(.*?)</table>', page, re.DOTALL)
    assert kinds is not None and kinds.group(1).count("<tr>") == 3
    assert "instruction + goal image" in kinds.group(1) and "[20, 80]" in kinds.group(1)
    matrix = re.search(r'<table class="heat">(.*?)</table>', page, re.DOTALL)
    assert matrix is not None and matrix.group(1).count('<td class="cell') == len(TASKS) ** 2
    assert matrix.group(1).count(
        '<td class="cell own" style="--share:0.90">90 %<small>[60, 100]'
    ) == len(TASKS)
    assert (
        "Mean success 90 % with the prompt of the scene's task, 50 % with that of another" in page
    )
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "prompts" / PROMPTS).write_text('{"kinds": {}}')
    with pytest.raises(UserError, match=r"cannot read .*prompts\.json.*manyparts prompts"):
        write_report(tmp_path / "run")
    (tmp_path / "run" / "prompts" / PROMPTS).unlink()
    assert "What the prompt changes" not in write_report(tmp_path / "run").read_text(
        encoding="utf-8"
    )


def test_run_without_evaluation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="manyparts evaluate") as caught:
        write_report(tmp_path / "run")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no run folder"):
        write_report(tmp_path / "nothing")
    assert not list(tmp_path.glob("**/*.html"))


def test_results_in_another_folder_are_reported(run: Path, page: str, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    (moved / "evaluation").rename(tmp_path / "results")
    shutil.rmtree(moved / "prompts")
    with pytest.raises(
        UserError, match=r"first: manyparts evaluate \S+/run, or name with --evaluation the folder"
    ):
        write_report(moved)
    with pytest.raises(UserError, match=r"first: manyparts evaluate \S+/run --output \S+/nothing$"):
        write_report(moved, evaluation=tmp_path / "nothing")
    path = tmp_path / "results" / "results.json"
    values = json.loads(path.read_text())
    for agent, says in (
        ({"checkpoint": str(run)}, "has results of"),
        ({"agent": "expert"}, "has results of expert"),
    ):
        path.write_text(json.dumps(values | {"provenance": values["provenance"] | agent}))
        with pytest.raises(UserError, match=says):
            write_report(moved, evaluation=tmp_path / "results")
    own = {
        "checkpoint": str(moved / "checkpoints" / "000600"),
        "planner": to_jsonable(MppiConfig(policy_proposals=True)),
    }
    path.write_text(json.dumps(values | {"provenance": values["provenance"] | own}))
    text = html.unescape(
        write_report(moved, evaluation=tmp_path / "results").read_text(encoding="utf-8")
    )
    assert (
        f"--output {tmp_path / 'results'}" in text
        and f"--evaluation {tmp_path / 'results'}" in text
    )
    assert "--planner mppi --planner.policy-proposals --" in text
    assert re.search(r"return \d+\.\d \[\d+\.\d, \d+\.\d\], acting with the planner mppi", text)
    assert "acting with the planner" not in page


def test_report_without_data_and_first_phase(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "moved"
    shutil.copytree(run, alone)
    config = json.loads((alone / "config.json").read_text())
    config |= {"data": str(tmp_path / "gone"), "start_from": str(tmp_path / "gone too")}
    (alone / "config.json").write_text(json.dumps(config))
    text = write_report(alone).read_text(encoding="utf-8")
    assert "behaviour_cloning" in text
    assert "forward_dynamics" not in text


def wait_until(tab, condition: str) -> None:
    """Playwright's own waiting evaluates text in the page, which the page's policy forbids."""
    for _ in range(200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(condition)


def test_page_works_in_a_browser(run: Path, page: str, browser) -> None:
    complaints, requests = [], []
    tab = browser.new_page()
    tab.on(
        "console",
        lambda message: (
            complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto((run / "report.html").resolve().as_uri())
    wait_until(
        tab, "[...document.querySelectorAll('video')].every((video) => video.readyState >= 2)"
    )
    assert tab.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    videos = tab.locator("video").all()
    assert len(videos) == page.count("<video")
    videos[-1].scroll_into_view_if_needed()
    wait_until(tab, "[...document.querySelectorAll('video')].at(-1).currentTime > 0")
    rows = tab.locator("#success tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == [*TASKS, "mean over tasks"]
    for width in (1280, 360):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
