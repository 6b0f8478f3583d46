"""Prompt the shipped agent: one agent, three tasks, chosen by your instruction.

`manyparts/metaworld45-small` comes with the package: nothing is trained or downloaded. It sees one
64 px camera and its own hand and gripper. Its goals are of the evaluation split, which training
never saw. It learned 45 tasks of Meta-World, and `manyparts list tasks metaworld` prints their
instructions. How well it does each: src/manyparts/weights/metaworld45-small/README.md.

Takes 10 seconds on one core. You see after how many steps each task is solved, and find a film of
each episode in `runs/01/`.
"""

import argparse
from pathlib import Path

from PIL import Image

from manyparts import load, make

INSTRUCTIONS = {
    "metaworld/drawer-open": "open the drawer",
    "metaworld/hammer": "hammer the nail into the wall",
    "metaworld/window-close": "close the window",
}


def main(quick: bool) -> None:
    folder = Path("runs/01")
    folder.mkdir(parents=True, exist_ok=True)
    agent = load("manyparts/metaworld45-small")
    print(agent)
    for task, instruction in list(INSTRUCTIONS.items())[: 1 if quick else None]:
        env = make(task, agent.environment, split="evaluation")
        observation, info = env.reset(seed=0)
        carry, frames = None, []
        for step in range(10 if quick else env.max_steps):
            # carry is the agent's memory: None at the start, then what `act` returned last.
            action, carry = agent.act(carry, observation, instruction, explore=False)
            observation, *_, info = env.step(action)
            if step % 4 == 0:
                frames.append(Image.fromarray(env.render()))  # 256 px, for you
            if info["success"]:
                break
        outcome = f"solved after {step + 1} steps" if info["success"] else "not solved"
        film = folder / f"{task.replace('/', '_')}.webp"
        frames[0].save(film, save_all=True, append_images=frames[1:], duration=50, loop=0)
        print(f"{instruction!r}: {outcome}, {film}")
        env.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one task, ten steps: for tests")
    main(parser.parse_args().quick)
