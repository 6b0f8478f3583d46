"""Plan with a learned dynamics model: no policy, no instruction, only the reward.

The script records 40 episodes of the point mass with states and rewards. A small network learns
what follows from an action. At every step the agent then imagines 128 plans with that network,
averages them by their predicted return (MPPI), and does the first action.

Takes about 2 minutes of processor time. `--quick` takes seconds and learns nothing.
You see success and return of planning, of a scripted expert and of random actions. Our returns were
79, 87 and 18. `manyparts study dynamics-specialist` compares this network with a transformer.
"""

import argparse
from pathlib import Path

from manyparts import EnvConfig, MppiConfig, collect, evaluate, evaluate_reference, preset, train

TASK = "pointmass/reach"
ENVIRONMENT = EnvConfig(image_size=16, state="full")  # a dynamics model reads states, not images


def main(quick: bool) -> None:
    folder = Path("runs/05-quick" if quick else "runs/05")
    config = preset("dynamics/mlp-debug" if quick else "dynamics/mlp-laptop")
    planner = MppiConfig(candidates=8, horizon=5) if quick else MppiConfig()
    tests = {"episodes": 1 if quick else 10, "max_steps": 10 if quick else 100}

    data = folder / "data"
    if not data.exists():
        print(collect(TASK, episodes=3 if quick else 40, config=ENVIRONMENT, output=data))
    run = train(config, data=data, output=folder / "model", resume=True)

    results = {"planning": evaluate(run, planner=planner, **tests)}
    for name in ("expert", "random"):
        tests["output"] = folder / name
        results[name] = evaluate_reference(name, TASK, environment=ENVIRONMENT, **tests)
    for name, result in results.items():
        for measure in ("success_any", "return"):
            interval = result.aggregate[measure]
            bounds = f"[{interval.low:.2f}, {interval.high:.2f}]"
            print(f"{name:10} {measure:12} {interval.mean:.2f} {bounds}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for tests")
    main(parser.parse_args().quick)
