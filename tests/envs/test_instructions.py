"""Every task of every suite has its own words, and those kept for evaluation are not trained on."""

from __future__ import annotations

from collections import Counter

from manyparts.envs import registry

ALL = registry.expand(
    ["pointmass/all", "metaworld/mt50", "navigation/all", "walkers/train-planar-0000"]
)


def test_every_task_has_five_paraphrases() -> None:
    for task in ALL:
        instructions = registry.instructions(task)
        assert len(instructions.paraphrases) + len(instructions.held_out) >= 5, task
        assert len(instructions.held_out) >= 2, task


def test_instructions_are_unique_in_suite() -> None:
    for suite in registry.suite_names():
        said = Counter(
            instruction
            for task in ALL
            if task.startswith(f"{suite}/")
            for instruction in (lambda i: (i.instruction, *i.paraphrases, *i.held_out))(
                registry.instructions(task)
            )
        )
        assert [instruction for instruction, times in said.items() if times > 1] == []


def test_instructions_are_plain_lower_case_english() -> None:
    for task in ALL:
        instructions = registry.instructions(task)
        for instruction in (
            instructions.instruction,
            *instructions.paraphrases,
            *instructions.held_out,
        ):
            assert (
                instruction == instruction.strip().lower()
                and instruction[-1].isalpha()
                and len(instruction.split()) >= 2
            )
            assert task.split("/")[1] not in instruction or "-" not in task, (
                f"{task} says its own name: {instruction}"
            )
