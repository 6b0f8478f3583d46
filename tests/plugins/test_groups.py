"""A tiny plug-in of each group is listed and used, and nothing of this package knows of it."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import INSTRUCTIONS_ALONE, generator, make_batch, make_model_config, make_spec
from planners.worlds import seen
from plugins.installing import forget, install, manyparts_in_process

from manyparts import cli, methods, studies
from manyparts.cli.plugin_checks import TABLES, check_plugins
from manyparts.core import plugins
from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.plugins import GROUPS, PluginWarning
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.errors import UnsupportedFormatError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.envs import registry
from manyparts.evaluation.conditions import planner_and_plugins
from manyparts.objectives.base import every_objective
from manyparts.objectives.configs import ObjectiveConfig
from manyparts.objectives.system import System
from manyparts.planners import PlannerConfig, plan, planner_config, planner_names
from manyparts.report.commands import planner_name
from manyparts.training.metrics import Metrics
from manyparts.training.trackers import require_tracker

SUITE = """
    from dataclasses import replace
    from manyparts.envs.suites.pointmass import SUITE as OTHER

    def make(task, config, split):
        env = OTHER.make(task, config, split)
        env.task = f"mass/{task}"
        return env

    SUITE = replace(OTHER, make=make, tasks=("reach",), splits={})
"""
OBJECTIVE = """
    from dataclasses import dataclass
    from manyparts.core.records import Loss
    from manyparts.models.control_transformer import ControlTransformer
    from manyparts.objectives.base import Objective, ObjectiveConfig
    from torch import nn

    @dataclass(frozen=True)
    class SmallOutputsConfig(ObjectiveConfig):
        scale: float = 2.0

    class SmallOutputs(Objective, config=SmallOutputsConfig, model=ControlTransformer):
        def __init__(self, config, model):
            super().__init__()
            self.head = nn.Linear(model.config.width, 1)

        def forward(self, passes):
            outputs = self.head(passes.decoded("causal").action)[..., 0]
            return Loss(outputs.square(), passes.batch.mask)
"""
METHOD = """
    from dataclasses import replace
    from manyparts.methods import dualmind
    from manyparts.methods.facts import Method, PresetFacts

    def short():
        return replace(dualmind.phase1_debug(), steps=3)

    def raises():
        raise RuntimeError("no such size")

    METHOD = Method(
        "Three steps. And no more.",
        {"debug": short, "raises": raises},
        {"debug": PresetFacts("Three steps."), "raises": PresetFacts("Nothing.")},
    )
"""
PLANNER = '''
    """Full ahead: every action is the same."""
    from dataclasses import dataclass
    import torch
    from manyparts.planners import Planner
    from manyparts.planners.plans import Plan, SearchConfig

    @dataclass(frozen=True)
    class AheadConfig(SearchConfig):
        """Settings of `ahead`."""

        push: float = 0.5
        """The action."""

    def ahead(context, config, generator, start, *, objective, proposals):
        return Plan(torch.full_like(start, config.push), torch.tensor(0.0))

    PLANNER = Planner(AheadConfig, ahead)
'''
FORMAT = '''
    """Episodes as JSON: {"state": [[..], ..], "action": [[..], ..]} in a file *.toy."""
    import json
    import numpy as np
    from manyparts.core.columns import ACTION, STATE
    from manyparts.core.spec import ActionContract, Spec, TaskEntry
    from manyparts.data.formats.plugins import Format
    from manyparts.data.formats.reader import Contents
    from manyparts.embodiment.statistics import RunningStatistics, Statistics

    class Toy:
        def __init__(self, path, complain):
            self.path = path
            self.rows = json.loads(path.read_text())
            state, action = (np.array(self.rows[name], np.float32) for name in ("state", "action"))
            contract = ActionContract(
                "velocity", "world", ("x",), (-1.0,), (1.0,), control_rate_hz=10.0
            )
            running = {STATE: RunningStatistics(2), ACTION: RunningStatistics(1)}
            running[STATE].update(state)
            running[ACTION].update(action)
            self.contents = Contents(
                format="toy",
                spec=Spec("toy", {}, ("x", "y"), contract),
                fps=10.0,
                tasks=(TaskEntry("toy/go", "go"),),
                lengths=np.array([len(state)]),
                episode_task=np.array([0]),
                statistics=Statistics({name: each.finish() for name, each in running.items()}),
                images="none",
            )

        def columns(self, index):
            return {
                STATE: np.array(self.rows["state"], np.float32),
                ACTION: np.array(self.rows["action"], np.float32),
            }

        def frames(self, index, camera, rows):
            raise RuntimeError("there are no images")

        def files(self):
            return [self.path]

    FORMAT = Format(lambda path: path.suffix == ".toy", Toy)
'''
STUDY = """
    from manyparts.studies.engine.stages import EvaluateReference
    from manyparts.studies.engine.study import Measurement, Study

    def measurements(preset, seeds):
        return [
            Measurement(
                name,
                "pointmass",
                seed,
                (EvaluateReference(name, ("pointmass/reach",), episodes=2, max_steps=5),),
            )
            for seed in range(seeds)
            for name in ("expert", "random")
        ]

    STUDY = Study(
        name="floor",
        description="How far is chance from the expert?",
        presets=("debug",),
        reference="expert",
        measurements=measurements,
        seeds=1,
    )
"""
TRACKER = """
    class Lines:
        name = "lines"

        def __init__(self, run, step):
            self.file = (run / "lines.txt").open("a")
            self.file.write(f"from {step}\\n")

        def write(self, step, numbers):
            if numbers["loss"] > 1:
                raise ConnectionError("the network is down")
            self.file.write(f"{step}: {sorted(numbers)}\\n")

        def close(self):
            self.file.close()
"""


def test_every_group_has_a_table() -> None:
    assert tuple(TABLES) == GROUPS
    for group, module in TABLES.items():
        assert sys.modules[module].PLUGINS.group == group  # imported above, or by these


def test_suite_acts(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "my-suite", {"suites": {"mass": "my_suite:SUITE"}}, {"my_suite": SUITE})
    assert "my_suite" not in sys.modules and "mass" in registry.suite_names()
    env = registry.make("mass/reach", {"image_size": 16})
    env.reset(seed=3)
    assert np.isfinite(env.step(env.action_space.sample())[1])
    assert registry.versions("mass")["plugin"] == "my-suite 1.0"
    assert cli.main(["list", "tasks", "mass/"]) == 0
    assert "[my-suite 1.0]" in capsys.readouterr().out
    with pytest.raises(UserError, match="there is a suite 'mass' already"):
        registry.register_suite("mass", registry.suite_named("pointmass"))


def test_broken_suite_leaves_the_others(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "bad", {"suites": {"bad": "bad_suite:SUITE"}}, {"bad_suite": "raise SystemExit"})
    assert cli.main(["list", "tasks", "pointmass"]) == 0
    out, err = capsys.readouterr()
    assert "pointmass/reach" in out
    (line,) = err.splitlines()
    assert line.startswith("warning: plug-in suites/bad (bad 1.0) does not load (SystemExit:")
    assert cli.main(["collect", "bad/x", "--episodes", "1", "--output", str(site / "d")]) == 2
    assert "error: plug-in suites/bad (bad 1.0) does not load" in capsys.readouterr().err
    assert registry.make("pointmass/reach", {"image_size": 16}).task == "pointmass/reach"


def test_suite_without_instructions_is_left_out(site: Path) -> None:
    source = SUITE.replace('tasks=("reach",)', 'tasks=("reach", "run")')
    install(site, "bad", {"suites": {"bad": "silent_suite:SUITE"}}, {"silent_suite": source})
    with pytest.warns(PluginWarning, match=r"bad 1\.0.*task 'run' has no instructions"):
        assert "bad" not in registry.working_suites()


def test_suite_that_cannot_make_is_one_line(site: Path) -> None:
    source = SUITE + "\n    SUITE = replace(SUITE, make=lambda *given: 1 / 0)\n"
    install(site, "zero", {"suites": {"zero": "zero_suite:SUITE"}}, {"zero_suite": source})
    with pytest.raises(UserError, match=r"\(zero 1\.0\) cannot make zero/reach \(ZeroDivision"):
        registry.make("zero/reach")
    install(site, "other", {"suites": {"other": "other_suite:SUITE"}}, {"other_suite": SUITE})
    with pytest.raises(UserError, match=r"other/reach .*its environment calls itself mass/reach"):
        registry.make("other/reach")


def test_objective_is_read_from_its_name(site: Path) -> None:
    points = {"objectives": {"SmallOutputsConfig": "small_outputs:SmallOutputs"}}
    install(site, "small", points, {"small_outputs": OBJECTIVE})
    assert "small_outputs" not in sys.modules
    written = {"small": {"type": "SmallOutputsConfig", "weight": 0.5, "scale": 3.0}}
    configs = from_jsonable(Mapping[str, ObjectiveConfig], written)
    assert to_jsonable(configs) == written
    embodiments = EmbodimentSet((make_spec(),))
    system = System.build(make_model_config(), configs, embodiments, INSTRUCTIONS_ALONE)
    assert system.weights == {"small": 0.5}
    (loss,) = system.losses(make_batch(), torch.Generator()).values()
    assert torch.isfinite(loss.value).all()


def test_broken_objective_leaves_the_others(site: Path) -> None:
    points = {"objectives": {"SmallOutputsConfig": "small_broken:SmallOutputs"}}
    install(site, "small", points, {"small_broken": "import a_package_that_nobody_has"})
    assert from_jsonable(ObjectiveConfig, {"type": "NextActionConfig"}) is not None
    with pytest.raises(UserError, match=r"objectives/SmallOutputsConfig \(small 1\.0\) does not"):
        from_jsonable(ObjectiveConfig, {"type": "SmallOutputsConfig"})


@pytest.mark.parametrize(
    "changed, reason",
    [
        ("InverseDynamicsConfig", "has a InverseDynamicsConfig; choose another name"),
        ("OtherNameConfig", "has the config OtherNameConfig, not SmallOutputsConfig"),
    ],
)
def test_objective_config_has_its_own_name(changed: str, reason: str, site: Path) -> None:
    module = f"small_{changed.lower()}"
    points = {"objectives": {"SmallOutputsConfig": f"{module}:SmallOutputs"}}
    source = OBJECTIVE.replace("SmallOutputsConfig", changed)
    install(site, "small", points, {module: source})
    before = {config.__name__: config for config in every_objective()}
    with pytest.raises(UserError, match=reason):
        from_jsonable(ObjectiveConfig, {"type": "SmallOutputsConfig"})
    after = {config.__name__: config for config in every_objective()}
    assert after["InverseDynamicsConfig"] is before["InverseDynamicsConfig"]


def test_method_brings_presets(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "my-method", {"methods": {"short": "my_method:METHOD"}}, {"my_method": METHOD})
    assert methods.is_preset("dualmind/phase1-debug") and "my_method" not in sys.modules
    config = methods.preset("short/debug")
    assert config.steps == 3 and config.method == "short"
    assert plugins.used({"methods": [config.method]}) == {"methods/short": "my-method 1.0"}
    assert methods.describe("short/debug").what == "Three steps."
    assert "short/debug" in methods.preset_names()
    assert cli.main(["list", "methods"]) == 0
    assert "Three steps [my-method 1.0]" in capsys.readouterr().out
    with pytest.raises(UserError, match="unknown preset 'short/debig'; did you mean short/debug"):
        methods.preset("short/debig")
    with pytest.raises(UserError, match=r"short \(my-method 1\.0\) cannot make .*RuntimeError: no"):
        methods.preset("short/raises")


def test_planner_acts(site: Path) -> None:
    install(
        site, "my-planner", {"planners": {"ahead": "my_planner:PLANNER"}}, {"my_planner": PLANNER}
    )
    assert planner_names()[-1] == "ahead" and "my_planner" not in sys.modules
    config = planner_config("ahead")(push=-0.25, horizon=3)
    planned = plan(seen(0.0, 0.0), config, generator(), torch.zeros(3, 1))
    assert planned.action.tolist() == [[-0.25]] * 3
    conditions = planner_and_plugins(config, ["pointmass"])
    assert conditions["plugins"] == {"planners/ahead": "my-planner 1.0"}
    assert planner_name(conditions["planner"]) == "ahead"
    # A worker process gets the config alone.
    forget()
    assert plan(seen(0.0, 0.0), pickle.loads(pickle.dumps(config)), generator(), torch.zeros(3, 1))
    forget()
    assert from_jsonable(PlannerConfig, to_jsonable(config)) == config


@pytest.mark.slow
def test_planner_acts_in_workers(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {"planners": {"ahead": "my_planner:PLANNER"}, "suites": {"mass": "my_suite:SUITE"}}
    install(site, "both", points, {"my_planner": PLANNER, "my_suite": SUITE})
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    seen = ["--image-size", "16", "--state", "full", "--workers", "1"]
    assert cli.main(["collect", "mass/reach", "--episodes", "2", *seen, "--output", data]) == 0
    train = ["train", "dynamics/parallel-debug", "--data", data, "--output", run, "--steps", "2"]
    assert cli.main(train) == 0
    asked = ["--planner", "ahead", "--planner.push", "0.25", "--episodes", "1", "--max-steps", "4"]
    assert cli.main(["evaluate", run, *asked]) == 0
    capsys.readouterr()
    provenance = json.loads((tmp_path / "run/evaluation/results.json").read_text())["provenance"]
    assert provenance["plugins"] == {"suites/mass": "both 1.0", "planners/ahead": "both 1.0"}
    assert (provenance["planner"]["type"], provenance["planner"]["push"]) == ("AheadConfig", 0.25)
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    assert "policy,ahead}" in capsys.readouterr().out


@pytest.mark.slow
def test_run_that_acts_records_its_suite(site: Path, tmp_path: Path) -> None:
    install(site, "my-suite", {"suites": {"mass": "my_suite_b:SUITE"}}, {"my_suite_b": SUITE})
    words = ["train", "dreamer/debug", "--environment", "mass/reach", "--no-report"]
    words += ["--environment-steps", "60", "--prefill-steps", "45", "--train-ratio", "2"]
    words += ["--final-episodes", "0", "--evaluation-episodes", "1", "--max-steps", "20"]
    words += ["--batch-size", "2", "--window.steps", "4"]
    assert cli.main([*words, "--output", str(tmp_path / "run")]) == 0
    values = json.loads((tmp_path / "run" / "config.json").read_text())
    assert values["provenance"]["plugins"] == {"suites/mass": "my-suite 1.0"}


def test_planner_of_a_missing_plugin_is_shown(site: Path) -> None:
    assert planner_name({"type": "AheadConfig"}) == "AheadConfig"
    with pytest.raises(UserError, match="'AheadConfig', which is none of this version's classes"):
        from_jsonable(PlannerConfig, {"type": "AheadConfig"})


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "walk.toy"
    path.write_text(json.dumps({"state": [[0, 1], [1, 2], [2, 3]], "action": [[1], [1], [0]]}))
    return path


def test_format_reads_a_file(site: Path, toy: Path) -> None:
    install(site, "my-format", {"formats": {"toy": "my_format:FORMAT"}}, {"my_format": FORMAT})
    dataset = EpisodeDataset.open(toy)
    assert dataset.episode(0).state.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert dataset.plugins == {"formats/toy": "my-format 1.0"}
    with pytest.raises(
        UserError, match=r"walk\.toy cannot be read by plug-in formats/toy .*images"
    ):
        dataset.reader.frames(0, "front", np.array([0]))
    # What is cached of another version may have been read differently.
    (site / "my_format-1.0.dist-info").rename(site / "gone")
    install(site, "my-format", {"formats": {"toy": "my_format:FORMAT"}}, version="1.1")
    later = EpisodeDataset.open(toy)
    assert later.content == dataset.content and later.fingerprint != dataset.fingerprint


def test_format_is_asked_last(site: Path, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormatError, match="no known dataset"):
        EpisodeDataset.open(toy)
    install(site, "my-format", {"formats": {"toy": "my_format_a:FORMAT"}}, {"my_format_a": FORMAT})
    toy.write_text("{")
    with pytest.raises(UserError, match=r"walk\.toy cannot be read by .*JSONDecodeError"):
        EpisodeDataset.open(toy)
    other = tmp_path / "a.txt"
    other.write_text("text")
    with pytest.raises(UnsupportedFormatError, match="no known dataset"):
        EpisodeDataset.open(other)
    install(site, "your-format", {"formats": {"yours": "my_format_a:FORMAT"}})
    with pytest.raises(UserError, match=r"toy \(my-format 1\.0\).*yours \(your-format 1\.0\)"):
        EpisodeDataset.open(toy)


def test_format_that_fails_is_left_out(site: Path, toy: Path) -> None:
    fails = FORMAT.replace('path.suffix == ".toy"', "1 / 0")
    points = {"formats": {"fails": "my_format_b:FORMAT", "toy": "my_format_c:FORMAT"}}
    install(site, "formats", points, {"my_format_b": fails, "my_format_c": FORMAT})
    with pytest.warns(PluginWarning, match=r"formats/fails .*ZeroDivisionError.*is left out"):
        assert EpisodeDataset.open(toy).num_frames == 3


def test_format_that_opens_no_reader_is_named(site: Path, toy: Path) -> None:
    wrong = FORMAT.replace('== ".toy", Toy)', '== ".toy", lambda path, complain: 3)')
    install(site, "wrong", {"formats": {"toy": "my_format_d:FORMAT"}}, {"my_format_d": wrong})
    with pytest.raises(UserError, match="opened a int, which is no Reader"):
        EpisodeDataset.open(toy)


def test_study_is_listed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "my-study", {"studies": {"floor": "my_study:STUDY"}}, {"my_study": STUDY})
    assert "floor" in studies.study_names() and "my_study" not in sys.modules
    assert cli.main(["list", "studies", "floor"]) == 0
    assert "How far is chance from the expert? [my-study 1.0]" in capsys.readouterr().out
    with pytest.raises(UserError, match="unknown study 'flor'; did you mean floor"):
        studies.find_study("flor")


@pytest.mark.slow
def test_study_runs(site: Path, tmp_path: Path) -> None:
    install(site, "my-study", {"studies": {"floor": "my_study:STUDY"}}, {"my_study": STUDY})
    output = tmp_path / "study"
    assert cli.main(["study", "floor-debug", "--output", str(output), "--workers", "1"]) == 0
    results = json.loads((output / "results.json").read_text())
    assert results["provenance"]["plugins"] == {"studies/floor": "my-study 1.0"}


def test_study_of_another_name_is_refused(site: Path) -> None:
    install(site, "my-study", {"studies": {"ceiling": "my_study_a:STUDY"}}, {"my_study_a": STUDY})
    with pytest.raises(UserError, match=r"it calls itself 'floor'"):
        studies.find_study("ceiling")


def test_tracker_gets_metrics(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(
        site, "my-tracker", {"trackers": {"lines": "my_tracker:Lines"}}, {"my_tracker": TRACKER}
    )
    with pytest.raises(SystemExit):
        cli.main(["train", "dualmind/phase1-debug", "--help"])
    assert "--track {tensorboard,wandb,mlflow,lines}" in capsys.readouterr().out
    assert "my_tracker" not in sys.modules
    require_tracker("lines")
    with pytest.raises(UserError, match="track is 'line'; did you mean lines"):
        require_tracker("line")
    with (
        pytest.warns(SurroundingsWarning, match=r"lines .*ConnectionError: the network is d"),
        Metrics(tmp_path, 0, "lines") as metrics,
    ):
        for step, loss in ((1, 0.5), (2, 0.25), (3, 2.0), (4, 0.25)):
            metrics.write({"step": step, "loss": loss})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4
    assert (tmp_path / "lines.txt").read_text() == "from 0\n1: ['loss']\n2: ['loss']\n"


def test_broken_tracker_stops_a_run_before_it_begins(site: Path) -> None:
    install(site, "bad", {"trackers": {"bad": "bad_tracker:X"}}, {"bad_tracker": "X = 3"})
    with pytest.raises(UserError, match=r"trackers/bad \(bad 1\.0\).*expected a class of trackers"):
        require_tracker("bad")


@pytest.mark.slow  # a process for each plug-in
def test_doctor_loads_each_alone(site: Path) -> None:
    points = {
        "suites": {"exits": "exits:X", "pointmass": "mine:X"},
        "studies": {"floor": "ok:STUDY"},
    }
    sources = {"exits": "import os\nos._exit(3)", "ok": STUDY}
    install(site, "several", points, sources, version="0.3")
    checks = {check.name: check for check in check_plugins()}
    assert list(checks) == [
        "plug-in suites/exits",
        "plug-in suites/pointmass",
        "plug-in studies/floor",
    ]
    assert not any(check.required for check in checks.values())
    exits, taken, works = checks.values()
    assert not exits.works and "several 0.3" in exits.detail and "exit code 3" in exits.detail
    assert "pip uninstall several" in exits.mend
    assert not taken.works and "manyparts itself has suites/pointmass" in taken.detail
    assert works.works and works.detail == "several 0.3, ok:STUDY" and works.mend == ""


def test_importing_loads_no_plugin(site: Path, tmp_path: Path) -> None:
    points = {group: {"loud": "loud:X"} for group in GROUPS}
    install(site, "loud", points, {"loud": "import sys\nsys.exit('loaded')"})
    for words in (["--help"], ["list", "plugins"], ["train", "dualmind/phase1-debug", "--help"]):
        done = manyparts_in_process(words, tmp_path, path=[site])
        assert done.returncode == 0 and "does not load" not in done.stderr, done.stderr
