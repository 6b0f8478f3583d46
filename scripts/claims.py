"""Write docs/results/claims.md: what became of each claim of the papers, from the archived stages.

python scripts/claims.py

A study that has no archive in docs/evidence/ is not tested yet. By hand are only the claims, the
papers' figures and what no study has measured.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from draw_results import CHARTS, DOCS, of_archive

from manyparts.studies import find_study
from manyparts.studies.engine.results import StudyResult
from manyparts.studies.engine.stages import DONE, folder
from manyparts.studies.engine.study import Claim, stages_of

PAGE = DOCS / "results" / "claims.md"
SEEDS = {chart.study: chart.seeds for chart in CHARTS}
Results = Callable[[str, int], StudyResult]


@dataclass(frozen=True)
class Regime:
    """Where a study asks its claims."""

    study: str
    """Its name; the command is `manyparts study NAME-laptop`."""
    words: str
    """Data, size and evaluation in short."""
    page: str
    """Of its results, or of its plan."""

    @property
    def seeds(self) -> int:
        """Training seeds of each method."""
        return SEEDS.get(self.study, find_study(self.study).seeds)

    @property
    def archive(self) -> Path:
        """Its archived stages, if it has ended."""
        return DOCS / "evidence" / f"{self.study}-laptop.tar.xz"


@dataclass(frozen=True)
class Asked:
    """A claim of a paper, as a study asks it."""

    words: str
    theirs: str
    """The paper's figure; empty if we know of none."""
    regime: Regime
    better: str
    worse: str
    settings: Mapping[str, str]
    """Setting to its short name."""
    margin: float = 0.0
    """As in `Claim`."""


@dataclass(frozen=True)
class Elsewhere:
    """A claim of which no study has archived stages, or that nothing measured."""

    words: str
    theirs: str
    setting: str
    ours: str
    verdict: str


@dataclass(frozen=True)
class Paper:
    """A paper and its claims."""

    title: str
    claims: Sequence[Asked | Elsewhere]


TEN_TASKS = Regime(
    "dualmind", "ML10's ten tasks, 50 demonstrations each, 1450 steps", "dualmind.md"
)
SECOND_PHASE = Regime(
    "dualmind-second-phase",
    "The five of ML10's tasks that tell methods apart, the paper's second phase",
    "plans/dualmind-second-phase.md",
)
OBJECTIVES = Regime(
    "representations", "300 trajectories, 700 steps at 64 px, frozen encoder", "representations.md"
)
SPECIALISTS = Regime(
    "dynamics-specialist", "20 to 43 noisy episodes of one task, MPPI", "dynamics.md"
)
WALKERS = Regime("dynamics-generalist", "Three unseen walkers, MPPI", "dynamics.md")
MORE_WALKERS = Regime(
    "planning-walkers", "20 other unseen walkers, MPPI", "plans/planning-walkers.md"
)
TEACHERS = Regime(
    "vid2act", "Two tasks from states, 30,000 environment steps, six sources", "plans/vid2act.md"
)
PIXELS = Regime(
    "planning-from-pixels",
    "Two easy tasks, one image of 32 px, MPPI",
    "plans/planning-from-pixels.md",
)
NEW_ROBOTS = Regime("new-embodiment", "Two other robots, trunk of 45 tasks", "new-embodiment.md")

GOALS = {
    "unseen goals": "unseen goals",
    "held-out tasks, 10 demonstrations": "held-out, 10 demonstrations",
}
TELLING = {"unseen goals, tasks that tell methods apart": "unseen goals"}
PLACES = {
    "pointmass, 2 demonstrations": "point mass, 2 demonstrations",
    "pointmass, 10 demonstrations": "point mass, 10 demonstrations",
    "pick-place, 5 demonstrations": "pick-place, 5 demonstrations",
    "doors, 10 demonstrations": "doors, 10 demonstrations",
}
BODIES = {name: name for name in ("cartpole-swingup", "reacher-easy", "cheetah-run")}
SHOTS = {
    "unseen embodiments, zero-shot": "zero-shot",
    **{
        f"unseen embodiments, {n} episode{'s' * (n > 1)}": f"{n} episode{'s' * (n > 1)}"
        for n in (1, 5, 20)
    },
}
ZERO_SHOT = {"unseen embodiments, zero-shot": "zero-shot"}
BOTH_DOORS = {"both tasks, from states": "both tasks"}


def _rival(method: str, name: str, theirs: str) -> Asked:
    words = f"inverse dynamics beats {name} by 10 points"
    return Asked(words, theirs, OBJECTIVES, "inverse-dynamics", method, PLACES, 0.1)


PAPERS = (
    Paper(
        "DualMind: dynamics first, prompts second ([2307.07909](https://arxiv.org/abs/2307.07909))",
        (
            Asked(
                "dynamics first beats imitation only", "",
                TEN_TASKS, "dual-phase", "imitation only", GOALS,
            ),
            Asked(
                "dynamics first beats imitation only", "",
                SECOND_PHASE, "dual-phase, variant 1", "imitation only", TELLING,
            ),
            Asked(
                "it beats other generalists (Gato)", "1.7 times as good in Meta-World",
                TEN_TASKS, "dual-phase", "Gato-style", GOALS,
            ),
            Asked(
                "two phases beat both losses jointly", "",
                TEN_TASKS, "dual-phase", "both losses jointly", GOALS,
            ),
            Asked(
                "the prompted phase beats a head without a prompt", "",
                TEN_TASKS, "dual-phase", "self-supervised, then a head", GOALS,
            ),
            Asked(
                "cross-attention to the prompt beats a prefix", "0.76 against 0.29",
                TEN_TASKS, "dual-phase", "prefix prompts", {"unseen goals": "unseen goals"},
            ),
            Asked(
                "several visual tokens beat one", "",
                TEN_TASKS, "visual tokens 8", "visual tokens 1", {"unseen goals": "unseen goals"},
            ),
            Elsewhere(
                "one agent solves 30 of ML45's 45 tasks at 0.9", "over 30",
                "unseen goals (`study metaworld45`, 3.8 core hours)",
                "[33 of 45](metaworld45.md)", "one seed cannot tell",
            ),
        ),
    ),
    Paper(
        "Inverse-dynamics pretraining ([2305.16985](https://arxiv.org/abs/2305.16985))",
        (
            _rival("cloning", "behaviour cloning", "0.58 against 0.46"),
            _rival("forward-pixels", "forward dynamics in pixels", "0.58 against 0.44"),
            _rival("forward-contrastive", "contrastive forward dynamics", "0.58 against 0.43"),
            _rival("static-contrastive", "contrast of one image's crops", "0.58 against 0.25"),
            Asked(
                "it beats training from scratch", "0.58 against 0.45",
                OBJECTIVES, "inverse-dynamics", "scratch", PLACES,
            ),
            Asked(
                "it beats features of ImageNet", "0.58 against 0.31",
                OBJECTIVES, "inverse-dynamics", "imagenet", PLACES,
            ),
            Asked(
                "it is within 10 points of the true state", "0.58 against 0.68",
                OBJECTIVES, "inverse-dynamics", "states", PLACES, -0.1,
            ),
            Elsewhere(
                "more trajectories help it more than cloning", "+0.31; cloning +0.15",
                "point mass, 30 and 300 trajectories", "[both](representations.md)",
                "not told apart",
            ),
        ),
    ),
    Paper(
        "Transformer dynamics models ([2305.10912](https://arxiv.org/abs/2305.10912))",
        (
            Asked(
                "a transformer is better to plan with than a perceptron", "",
                SPECIALISTS, "transformer", "perceptron", BODIES,
            ),
            Asked(
                "a transformer is better to plan with than an ensemble", "",
                SPECIALISTS, "transformer", "ensemble", BODIES,
            ),
            Asked(
                "it plans for a body that it never saw", "about half of the optimum",
                WALKERS, "planning", "random actions", ZERO_SHOT, 0.1,
            ),
            Asked(
                "planning beats the same model as a policy", "",
                WALKERS, "planning", "the same model as a policy", SHOTS,
            ),
            Asked(
                "planning beats the same model as a policy", "",
                MORE_WALKERS, "planning", "the same model as a policy", ZERO_SHOT,
            ),
            Asked(
                "pretraining on other bodies helps", "",
                WALKERS, "planning", "planning, learned from scratch",
                {setting: name for setting, name in SHOTS.items() if name != "zero-shot"},
            ),
            Elsewhere(
                "a transformer is better to plan with than Dreamer's model", "", "", "",
                "not tested",
            ),
        ),
    ),
    Paper(
        "Vid2Act: many teachers ([2306.03360](https://arxiv.org/abs/2306.03360))",
        (
            Asked(
                "Vid2Act beats learning from scratch", "1.5 and 2 times the return (quadruped)",
                TEACHERS, "Vid2Act", "scratch", BOTH_DOORS,
            ),
            Asked(
                "distillation alone beats learning from scratch", "",
                TEACHERS, "no replay, no floor", "scratch", BOTH_DOORS,
            ),
            Asked(
                "Vid2Act beats finetuning a world model of the sources", "",
                TEACHERS, "Vid2Act", "finetuned", BOTH_DOORS,
            ),
            Asked(
                "distillation is a part of what helps", "",
                TEACHERS, "Vid2Act", "no distillation", BOTH_DOORS,
            ),
            Asked(
                "the replay of actions is a part of what helps", "",
                TEACHERS, "Vid2Act", "no replay", BOTH_DOORS,
            ),
            Asked(
                "learned weights beat uniform ones", "",
                TEACHERS, "Vid2Act", "uniform weights", BOTH_DOORS,
            ),
            Asked(
                "many teachers beat the most related one", "",
                TEACHERS, "Vid2Act", "one teacher", BOTH_DOORS,
            ),
        ),
    ),
    Paper(
        "Questions of our own",
        (
            Asked(
                "planning on images beats the model's own actor", "",
                PIXELS, "planning, from images", "actor, from images", {"both tasks": "both tasks"},
            ),
            Asked(
                "a trunk of 45 tasks helps a new robot", "",
                NEW_ROBOTS, "trunk of 45 tasks", "from scratch",
                {
                    "all robots, 10 demonstrations": "10 demonstrations",
                    "all robots, 50 demonstrations": "50 demonstrations",
                },
            ),
        ),
    ),
)  # fmt: skip

_HEAD = """\
# Claims: what became of each

    python scripts/claims.py

What four papers claim, what we measured of it on two CPU cores, and what came of it. The page is
written from the archived stages of the studies, and a test holds it to them.

- **Ours** is the difference of the claim's two sides in success, reward per step or return, with
  its 95 % interval.
- **A verdict** is [one of four words](index.md#the-words-of-a-verdict). Most are "not told apart":
  our runs are much smaller than the papers', and have few seeds.
- **Core hours** are those of the whole study, with all its methods.
- **A figure with a link** is of one run or another page, and is written by hand.
- **The paper's figure** is left out where we know of none. Some are read off plots.
"""
_NUMBERS = {3: "Three", 5: "Five", 8: "Eight"}
_NO_BREAK = "\N{NO-BREAK SPACE}"
_COLUMNS = ("claim", "setting", "the paper", "ours", "verdict")


def page(results: Results, hours: Callable[[Regime], float]) -> str:
    """Return the page.

    Args:
        results: From a study's name and its seeds to what its archived stages give.
        hours: From a study to the core hours of all its archived stages.
    """
    parts = [_HEAD]
    for paper in PAPERS:
        parts.append(f"## {paper.title}\n")
        by_regime: dict[Regime | None, list[Asked | Elsewhere]] = {}
        for claim in paper.claims:
            regime = claim.regime if isinstance(claim, Asked) else None
            by_regime.setdefault(regime, []).append(claim)
        for regime, claims in by_regime.items():
            lines = [_where(regime, hours), "", _line(_COLUMNS), _line("---" for _ in _COLUMNS)]
            for claim in claims:
                lines += map(_line, _rows(claim, results))
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def spent(regime: Regime) -> float:
    """Return the core hours of all archived stages of a study."""
    measured = find_study(regime.study).measurements("laptop", regime.seeds)
    files = {folder(stage, Path()) / DONE for stage in stages_of(measured)}
    seconds = 0.0
    with tarfile.open(regime.archive) as archive:
        for member in archive:
            if Path(member.name) in files and (file := archive.extractfile(member)):
                seconds += json.load(file)["core_seconds"]
    return seconds / 3600


def _where(regime: Regime | None, hours: Callable[[Regime], float]) -> str:
    """Return where claims were asked: in words, with the command and the core hours."""
    if regime is None:
        return "By no study of several seeds:"
    seeds, command = (
        f"{_NUMBERS.get(regime.seeds, regime.seeds)} seeds",
        f"    manyparts study {regime.study}-laptop",
    )
    if not regime.archive.exists():
        return f"{regime.words}. {seeds}, under way ([plan]({regime.page})):\n\n{command}"
    cost = f"{hours(regime):.1f} core hours for all methods"
    return f"{regime.words}. {seeds}, {cost} ([page]({regime.page})):\n\n{command}"


def _rows(claim: Asked | Elsewhere, results: Results) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each line of a claim: one for each setting."""
    if isinstance(claim, Elsewhere):
        yield claim.words, claim.setting, claim.theirs, claim.ours, claim.verdict
        return
    regime = claim.regime
    if not regime.archive.exists():
        yield claim.words, "", claim.theirs, "", "not tested yet"
        return
    result = results(regime.study, regime.seeds)
    for number, (setting, name) in enumerate(claim.settings.items()):
        words = (claim.words, claim.theirs) if number == 0 else ("", "")
        yield words[0], name, words[1], *_compared(claim, result, setting)


def _compared(claim: Asked, result: StudyResult, setting: str) -> tuple[str, str]:
    """Return the difference in a setting, and the verdict."""
    compared = result.comparison(claim.better, claim.worse, setting)
    assert compared is not None, (claim.better, claim.worse, setting)
    less = compared.difference
    words = f"{less.mean:+.2f} [{less.low:+.2f}, {less.high:+.2f}]".replace(" ", _NO_BREAK)
    asked = Claim(claim.better, claim.worse, "", claim.margin)
    return words, asked.verdict(less)


def _line(cells: Sequence[str] | Iterator[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    with tempfile.TemporaryDirectory() as unpacked:

        def results(name: str, seeds: int) -> StudyResult:
            if name not in known:
                known[name] = of_archive(name, seeds, Path(unpacked) / name)
            return known[name]

        known: dict[str, StudyResult] = {}
        PAGE.write_text(page(results, spent), encoding="utf-8")


if __name__ == "__main__":
    main()
