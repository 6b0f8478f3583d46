"""Small stages that tests run, kill and interrupt, in this process or in one of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from manyparts.envs.base import EnvConfig
from manyparts.methods import preset
from manyparts.studies.engine.runner import run_stages
from manyparts.studies.engine.stages import Collect, Evaluate, Train

DATA = Collect(("pointmass/reach-red",), 2, environment=EnvConfig(image_size=16))
MANIFEST = {"study": "toy"}


def imitation(**changes) -> Train:
    """Seconds; from fresh weights."""
    config = replace(
        preset("dualmind/phase2-debug"), train_only=(), new_parameters=(), cache_features=False
    )
    return Train(replace(config, **{"steps": 4, "log_every_steps": 1} | changes), DATA)


def evaluated(run: Train) -> Evaluate:
    return Evaluate(run, DATA.tasks, episodes=1, max_steps=8)


def start(*arguments: str) -> subprocess.Popen[str]:
    """`python declared.py ARGUMENTS` in a process group of its own: an endless study, or the
    command line."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


if __name__ == "__main__":
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background shell would have it ignored
    if sys.argv[1] == "endless":
        stages = [DATA, imitation(steps=1_000_000)]
        where = {"executor": sys.argv[3]} if len(sys.argv) > 3 else {}
        run_stages(stages, Path(sys.argv[2]), manifest=MANIFEST, workers=1, **where)
    else:
        from manyparts.cli import main

        sys.exit(main(sys.argv[1:]))
