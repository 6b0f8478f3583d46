"""Every task of every suite has its own words, and those kept for evaluation are not trained on."""

from __future__ import annotations

from collections import Counter

from manyparts.envs import registry

ALL = registry.expand(["pointmass/all", "metaworld/mt50", "navigation/all", "walkers/train-planar-0000"])


def test_every_task_has_a_sentence_and_five_paraphrases_two_of_them_held_out() -> None:
    for task in ALL:
        found = registry.instructions(task)
        assert len(found.paraphrases) + len(found.held_out) >= 5, task
        assert len(found.held_out) >= 2, task


def test_no_sentence_is_said_twice_in_a_suite() -> None:
    for suite in registry.suite_names():
        said = Counter(
            sentence
            for task in ALL
            if task.startswith(f"{suite}/")
            for sentence in (lambda i: (i.sentence, *i.paraphrases, *i.held_out))(registry.instructions(task))
        )
        assert [sentence for sentence, times in said.items() if times > 1] == []


def test_sentences_are_plain_lower_case_english() -> None:
    for task in ALL:
        found = registry.instructions(task)
        for sentence in (found.sentence, *found.paraphrases, *found.held_out):
            assert sentence == sentence.strip().lower() and sentence[-1].isalpha() and len(sentence.split()) >= 2
            assert task.split("/")[1] not in sentence or "-" not in task, f"{task} says its own name: {sentence}"
