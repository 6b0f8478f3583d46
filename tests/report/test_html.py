"""The report says what the result says, carries everything in itself, and opens in a browser
without a complaint."""

from __future__ import annotations

import html
import json
import math
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.core.serialisation import to_jsonable
from manyparts.evaluation.attention import Attention, movement, spread
from manyparts.evaluation.prompt_results import PROMPTS, PromptStudy
from manyparts.evaluation.record import EpisodeRecord
from manyparts.evaluation.results import Result
from manyparts.evaluation.statistics import Interval
from manyparts.planners import MppiConfig
from manyparts.report import attention as report_attention
from manyparts.report import sections as report_sections
from manyparts.report.html import write_report
from manyparts.rollout.video import write_video

NASTY = "metaworld/<script>alert('x')</script>&amp;"
TASKS = ("metaworld/reach", "metaworld/door-open", NASTY)


def make_run(folder: Path) -> Path:
    """Two phases, an evaluation of three tasks with videos, and the dataset they were trained
    on."""
    data, first, second = folder / "data", folder / "phase1", folder / "phase2"
    make_dataset(data)
    make_phase(
        first, "phase1", ["forward_dynamics", "inverse_dynamics", "masked_hindsight"], data, None
    )
    make_phase(second, "phase2", ["behaviour_cloning"], data, first)
    generator = np.random.default_rng(0)
    episodes = []
    for task in TASKS:
        for index in range(20):
            success = bool(generator.random() < 0.8)
            instruction = f'please do "{task}" <now>'
            episodes.append(
                EpisodeRecord(
                    task,
                    index,
                    1000 + index,
                    instruction,
                    success,
                    success,
                    12.5 * index,
                    60 + index,
                )
            )
    provenance = {
        "commit": "0123abc+changes",
        "split": "evaluation",
        "episodes": 20,
        "prompts": "instruction",
        "max_steps": None,
        "seeds": {"evaluation": 7, "training": 0},
        "environment": {"image_size": 64, "cameras": []},
        "simulators": {"metaworld": {"metaworld": "3.1.1", "mujoco": "3.3.0", "renderer": "egl"}},
        "note": "<b>not bold</b>",
    }
    result = Result(tuple(episodes), provenance)
    (second / "evaluation").mkdir()
    result.save(second / "evaluation")
    for task in TASKS:
        own = [episode for episode in episodes if episode.task == task]
        for success in (True, False):
            for episode in [episode for episode in own if episode.success_any == success][:2]:
                make_video(second / "evaluation" / "videos" / video_name(episode), episode.seed)
                make_attention(second / "evaluation" / "videos" / video_name(episode), episode.seed)
    bounded = Interval(0.5, 0.2, 0.8)
    matrix = {
        task: {scene: Interval(0.9, 0.6, 1.0) if task == scene else bounded for scene in TASKS}
        for task in TASKS
    }
    study = PromptStudy(
        10, "goal_image", {"sentence": bounded, "instruction+goal_image": bounded}, matrix
    )
    (second / "prompts").mkdir()
    (second / "prompts" / PROMPTS).write_text(json.dumps(to_jsonable(study)))
    return second


def video_name(episode: EpisodeRecord) -> str:
    verdict = "success" if episode.success_any else "failure"
    return f"{episode.task.replace('/', '_')}/{verdict}-{episode.seed}.mp4"


def make_dataset(folder: Path) -> None:
    (folder / "meta").mkdir(parents=True)
    spec = {
        "cameras": {"corner": [64, 64]},
        "state_names": ["hand_x", "hand_y", "hand_z", "gripper"],
    }
    entry = {"spec": spec, "tasks": [{"name": task, "sentence": "do it"} for task in TASKS]}
    info = {"total_episodes": 150, "total_frames": 12345, "manyparts": entry}
    environment = {
        "image_size": 64,
        "cameras": [],
        "goal": "visible",
        "state": "full",
        "faithful_rendering": False,
    }
    noise = {"fraction": 0.5, "std": 0.4, "correlation": 0.9}
    collection = {
        "tasks": list(TASKS),
        "episodes": 50,
        "seed": 3,
        "environment": environment,
        "noise": noise,
    }
    collection |= {"images": "png", "keep_failures": False, "steps_after_success": 20}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (folder / "meta" / "collection.json").write_text(json.dumps(collection))


def make_phase(
    folder: Path, phase: str, losses: list[str], data: Path, start_from: Path | None
) -> None:
    folder.mkdir(parents=True)
    config = {"method": "dualmind", "phase": phase, "steps": 600, "batch_size": 64, "seed": 0}
    config |= {"train_only": ["model.blocks.*"] if start_from else [], "data": str(data)}
    config |= {"objectives": {name: {"weight": 1.0} for name in losses}}
    config |= {"start_from": str(start_from) if start_from else None}
    arguments = [
        "/usr/bin/manyparts",
        "train",
        f"dualmind/{phase}-laptop",
        "--data",
        str(data),
        "--resume",
    ]
    config |= {"provenance": {"arguments": arguments if start_from else ["train.py"]}}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [
        {"step": step}
        | {f"loss/{name}": math.exp(-step / 200 - k) for k, name in enumerate(losses)}
        for step in range(20, 620, 20)
    ]
    rows += [{"step": 600, "gradient_norm": 1.0} | {f"validation/{name}": 0.1 for name in losses}]
    lines = [json.dumps(row) for row in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 62')  # torn by a kill


def make_video(path: Path, seed: int, frames: int = 20) -> None:
    shades = np.linspace(0, 255, 128, dtype=np.uint8)
    images = [
        np.stack([np.roll(np.tile(shades, (128, 1)), 4 * t + seed, 1)] * 3, -1)
        for t in range(frames)
    ]
    write_video(path, images, fps=20)


def make_attention(video: Path, seed: int, steps: int = 3) -> None:
    """Of two cameras; two tokens of two maps each."""
    draw = np.random.default_rng(seed)
    frames = draw.integers(0, 256, (steps, 16, 16, 3), dtype=np.uint8)
    maps = draw.random((steps, 2, 2, 4, 4), np.float32)
    maps /= maps.sum(axis=(-2, -1), keepdims=True)
    cameras = ("corner", "<wrist>")
    attention = Attention(
        np.arange(steps) * 4, dict.fromkeys(cameras, frames), dict.fromkeys(cameras, maps)
    )
    attention.save(video.with_suffix(".npz"))


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
    assert [line[1] for line in lines] == ["collect", "train", "evaluate", "report"]
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
