"""Compare two methods on equal terms: a pretrained encoder against learning from scratch.

Both methods get two demonstrations of one hidden goal on the point mass. The first has an encoder
that learned inverse dynamics from 300 episodes to other goals. The second learns encoder and policy
together, from the two demonstrations.

Takes about 3 minutes of processor time. `--quick` takes seconds and learns nothing.
You see both success rates (we saw 1.00 and 0.06), and their difference with its 95 % interval. That
interval is over episodes, and one training seed says little about methods.
`manyparts study representations` compares them over three seeds.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from manyparts import EnvConfig, collect, compare, evaluate, preset, train

TASK = "pointmass/reach"
MANY = EnvConfig(goal="hidden", state="full")  # the goal is neither in the image nor in the state
FEW = replace(MANY, context=0)  # one goal in all episodes, which MANY never has


def main(quick: bool) -> None:
    folder, size = Path("runs/06-quick" if quick else "runs/06"), "debug" if quick else "laptop"

    many, few = folder / "many", folder / "few"
    if not many.exists():
        collect(TASK, episodes=6 if quick else 300, config=MANY, output=many)
    if not few.exists():
        collect(TASK, episodes=2, config=FEW, seed=1000, output=few)

    names = ("inverse-dynamics", "finetune", "scratch")
    pretrain, finetune, scratch = (preset(f"inverse_dynamics/{name}-{size}") for name in names)
    encoder, first, second = (folder / name for name in ("encoder", "pretrained", "scratch"))
    train(pretrain, data=many, output=encoder, resume=True)
    train(finetune, data=few, start_from=encoder, output=first, resume=True)
    train(scratch, data=few, output=second, resume=True)

    # Equal seeds, so equal episodes for both.
    tests = {"episodes": 2 if quick else 50, "max_steps": 10 if quick else 100}
    pretrained, from_scratch = evaluate(first, **tests), evaluate(second, **tests)
    print("pretrained:  ", pretrained)
    print("from scratch:", from_scratch)
    print(compare(pretrained, from_scratch))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for tests")
    main(parser.parse_args().quick)
