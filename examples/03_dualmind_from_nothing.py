"""Train a DualMind agent from nothing: collect, phase I, phase II, evaluate.

Two tasks share one scene: open the faucet, close the faucet. Only the instruction says which one
you mean. The script records 50 demonstrations per task. Phase I learns dynamics without
instructions, and phase II learns to follow them. The agent then acts at goals that it never saw:
in each task's scenes with each task's instruction.

Takes about 7 minutes of processor time. `--quick` takes seconds and learns nothing.
You see a table of instruction, scene and success, and the path of a report with videos. We saw 1.00
where the instruction fits the scene and 0.00 elsewhere, in ten episodes each.
If you run it again after Ctrl-C, it continues.
"""

import argparse
from pathlib import Path

from manyparts import EpisodeDataset, collect, evaluate, preset, train, write_report

OPEN, CLOSE = "metaworld/faucet-open", "metaworld/faucet-close"


def main(quick: bool) -> None:
    size, demonstrations = ("debug", 1) if quick else ("laptop", 50)
    episodes, max_steps = (1, 20) if quick else (10, 250)
    folder = Path("runs/03-quick" if quick else "runs/03")

    if not (folder / "data").exists():
        collect([OPEN, CLOSE], episodes=demonstrations, output=folder / "data")
    print(dataset := EpisodeDataset.open(folder / "data"))
    # With resume=True, a finished run is left as it is.
    first, second = (preset(f"dualmind/{phase}-{size}") for phase in ("phase1", "phase2"))
    phase1, phase2 = folder / "phase1", folder / "phase2"
    train(first, data=dataset, output=phase1, resume=True)
    train(second, data=dataset, output=phase2, start_from=phase1, resume=True)

    print("instruction           scene of                success")
    for instructed in (OPEN, CLOSE):
        result = evaluate(
            phase2,
            tasks=[OPEN, CLOSE],
            prompt_task=instructed,
            episodes=episodes,
            max_steps=max_steps,
            until_success=True,
            output=folder / f"instructed-{instructed.removeprefix('metaworld/')}",
        )
        for scene, measures in result.per_task.items():
            success = measures["success_any"]
            interval = f"{success.mean:.2f} [{success.low:.2f}, {success.high:.2f}]"
            print(f"{instructed[10:]:21} {scene[10:]:23} {interval}")

    evaluate(phase2, episodes=episodes, max_steps=max_steps, videos=1)
    print("report:", write_report(phase2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for tests")
    main(parser.parse_args().quick)
