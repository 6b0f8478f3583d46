"""Instructions as words in any script; what was a token before is the same token; tasks that share
their words."""

from __future__ import annotations

import hashlib
import json
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyparts.data.instructions import instruction_warnings, taken_for_equal, words
from manyparts.envs import registry
from manyparts.envs.base import Instructions
from manyparts.models.prompt_encoder import SmallText

TEXT = SmallText(width=8, layers=0, heads=2, vocabulary=4096, max_words=24)
# Of the code that trained the shipped agent: sha256 over [instruction, tokens] of all that the
# suites' tasks are called.
TOKENS_OF_ALL_TASKS = "a15d27f1d1383c7c702356f79c191128554e3d183ff33e5ada672e9a2b1aea30"
FORMER_TOKENS = {
    "": (0,),
    "Open the drawer.": (932, 3558, 3585),
    "don't push_block #2 (NOW!)": (473, 2728, 1636, 1826, 3597, 3279),
    "turn -90.5 degrees": (1351, 4073, 2990, 3204),
    "  spaces\tand\nlines ": (1144, 2925, 3222),
}


@pytest.mark.parametrize("instruction", FORMER_TOKENS)
def test_ascii_instructions_keep_their_tokens(instruction: str) -> None:
    assert TEXT.tokens(instruction) == FORMER_TOKENS[instruction]


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_any_short_instruction_keeps_tokens(instruction: str) -> None:
    former = re.findall(r"[a-z0-9]+", instruction.lower()) or [""]
    if len(former) <= TEXT.max_words:
        assert TEXT.tokens(instruction) == tuple(
            zlib.crc32(word.encode()) % 4096 for word in former
        )


# No agent from before the hash knows them.
LATER_TASKS = ("pointmass/reach-ledge",)
LATER_SUITES = {"pusht", "aloha", "fetch", "minigrid", "panda", "ogbench"}


def test_all_instructions_keep_their_tokens() -> None:
    whole = hashlib.sha256()
    for suite in sorted({*registry.suite_names()} - LATER_SUITES):
        declared = registry.suite_named(suite)
        for name in declared.tasks:
            if f"{suite}/{name}" in LATER_TASKS:
                continue
            said: Instructions = declared.instructions[name]
            for instruction in (said.instruction, *said.paraphrases, *said.held_out):
                whole.update(json.dumps([instruction, list(TEXT.tokens(instruction))]).encode())
    assert whole.hexdigest() == TOKENS_OF_ALL_TASKS


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("把圆盘推到红色", "把 圆 盘 推 到 红 色"),
        ("Подвинь ДИСК!", "подвинь диск"),
        ("Öffne die Straße", "öffne die strasse"),
        ("cafe\u0301", "café"),
        ("เปิดลิ้น", "เ ปิ ด ลิ้ น"),
        ("ひらくカー", "ひ ら く カ ー"),
        ("दराज खोलो", "दराज खोलो"),
        ("서랍을 열어", "서랍을 열어"),
        ("הפתח את", "הפתח את"),
        ("Ｐｕｓｈ　３ ｶﾞ", "push 3 ガ"),
        ("pu\u00adsh \u200fthe\u200bcup\ufeff", "push the cup"),
        ("don’t – stop…", "don t stop"),
        ("take 🔴 ❤\ufe0f", "take 🔴 ❤"),
        ("把cup放下", "把 cup 放 下"),
        ("?! ...", ""),
        ("\udc80", ""),
    ],
)
def test_every_script_has_words(instruction: str, expected: str) -> None:
    assert words(instruction) == tuple(expected.split())


def test_instructions_differ_beyond_the_last_place() -> None:
    begin = " ".join(f"word{number}" for number in range(24))
    tokens = {TEXT.tokens(f"{begin} {rest}") for rest in ("left", "right", "left now", "now left")}
    assert len({*tokens, TEXT.tokens(begin)}) == 5
    assert all(len(each) == 24 for each in tokens)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("推红", "推蓝", False),
        ("turn 90", "turn -90", True),
        ("?!", "...", True),
        ("push", "push", False),
        ("Push  it.", "push it", False),
        ("推红。", "推红", False),
    ],
)
def test_tasks_taken_for_one_another(one: str, other: str, equal: bool) -> None:
    pairs = taken_for_equal({"a": [one], "b": [other, "something else"]})
    assert pairs == ([(("a", one), ("b", other))] if equal else [])
    assert taken_for_equal({"a": [one, other]}) == []


def test_shared_and_empty_instructions_warn() -> None:
    said = {"a": ["push it"], "b": ["Push it!", "shove it"], "c": ["!"], "d": ["go"]}
    assert instruction_warnings(said) == [
        "tasks 'a', 'b' have the same instruction 'push it': no prompt tells them apart",
        "task 'c' has an instruction without a word ('!'): no prompt asks for it",
    ]
