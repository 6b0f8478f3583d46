"""Plug-ins are found without loading them, and a broken one harms nobody."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugins.installing import forget, install

from manyparts.core import plugins
from manyparts.core.errors import UserError
from manyparts.core.plugins import Plugins, PluginWarning, instance_of, require, used

OWN = ("pointmass", "metaworld")
WORKS = "SUITE = 'what it adds'\n"


@pytest.fixture
def table(site: Path) -> Iterator[Plugins[str]]:
    """A table of suites that are texts, instead of the package's own."""
    before = plugins._tables["suites"] if "suites" in plugins._tables else None
    yield Plugins("suites", lambda: OWN, instance_of(str))
    if before is not None:
        plugins._tables["suites"] = before


def only_warning(caught: list[warnings.WarningMessage]) -> str:
    (text,) = [str(each.message) for each in caught if each.category is PluginWarning]
    assert "\n" not in text
    return text


def test_names_are_read_without_loading(site: Path, table: Plugins[str]) -> None:
    install(
        site,
        "cart",
        {"suites": {"cart": "cart_a:SUITE", "rail": "cart_b:SUITE"}},
        {"cart_a": WORKS},
    )
    assert table.names() == ["cart", "rail"]
    assert table.origin("cart") == "cart 1.0" and table.origin("pointmass") is None
    assert "cart_a" not in sys.modules
    assert table.load("cart") == "what it adds"
    assert "cart_a" in sys.modules and "cart_b" not in sys.modules


def test_no_plugins_is_the_usual_case(table: Plugins[str]) -> None:
    assert table.names() == [] and table.load_all() == {}
    assert used({"suites": OWN}) == {}


BROKEN = {
    "import error": ("import a_package_that_nobody_has", "ModuleNotFoundError"),
    "wrong type": ("SUITE = 3", "TypeError: it is of type int, not str"),
    "exit": ("raise SystemExit(4)", "SystemExit: 4"),
    "no attribute": ("", "AttributeError"),
    "syntax": ("SUITE = (", "SyntaxError"),
    "own exception": ("class Odd(BaseException): ...\nraise Odd('stop')", "Odd: stop"),
    "two lines": ("raise ValueError('first\\nsecond')", r"ValueError: first\)"),
}


@pytest.mark.parametrize("source, reason", BROKEN.values(), ids=BROKEN)
def test_broken_plugin_is_one_line(
    source: str, reason: str, site: Path, table: Plugins[str]
) -> None:
    points = {"suites": {"broken": "broken_module:SUITE", "sound": "sound_module:SUITE"}}
    install(site, "two", points, {"broken_module": source, "sound_module": WORKS}, version="2.1")
    with pytest.warns(PluginWarning, match=reason) as caught:
        assert table.load_all() == {"sound": "what it adds"}
    text = only_warning(list(caught))
    assert text.startswith("plug-in suites/broken (two 2.1) does not load (")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert table.load_all() == {"sound": "what it adds"}
    with pytest.raises(UserError, match=reason) as refused:
        table.load("broken")
    assert "pip uninstall two" in str(refused.value) and "\n" not in str(refused.value)


def test_missing_module_is_named(site: Path, table: Plugins[str]) -> None:
    install(site, "gone", {"suites": {"gone": "gone_module:SUITE"}})
    with pytest.raises(UserError, match=r"gone 1\.0.*No module named 'gone_module'"):
        table.load("gone")


def test_interrupt_while_loading_is_passed_on(site: Path, table: Plugins[str]) -> None:
    install(
        site,
        "slow",
        {"suites": {"slow": "slow_module:S"}},
        {"slow_module": "raise KeyboardInterrupt"},
    )
    with pytest.raises(KeyboardInterrupt):
        table.load("slow")


def test_two_plugins_of_one_name(site: Path, table: Plugins[str]) -> None:
    install(site, "first", {"suites": {"cart": "first_module:SUITE"}}, {"first_module": WORKS})
    install(site, "second", {"suites": {"cart": "second_module:SUITE"}}, {"second_module": WORKS})
    with pytest.raises(UserError, match=r"of several distributions: .*first 1\.0.*; uninstall"):
        table.load("cart")
    with pytest.warns(PluginWarning, match=r"first 1\.0, second 1\.0|second 1\.0, first 1\.0"):
        assert table.load_all() == {}
    assert not {"first_module", "second_module"} & sys.modules.keys()


def test_plugin_takes_no_existing_name(site: Path, table: Plugins[str]) -> None:
    install(
        site, "greedy", {"suites": {"pointmass": "greedy_module:SUITE"}}, {"greedy_module": WORKS}
    )
    with pytest.warns(PluginWarning) as caught:
        assert table.names() == [] and table.load_all() == {}
    assert only_warning(list(caught)) == (
        "plug-in suites/pointmass (greedy 1.0) is left out: manyparts itself has suites/pointmass"
    )
    assert used({"suites": ["pointmass"]}) == {} and "greedy_module" not in sys.modules
    with pytest.raises(UserError, match="manyparts itself has suites/pointmass"):
        table.load("pointmass")


@pytest.mark.parametrize("name", ["a name", "a/b", "\x1b[31mred", "-x", "ä"])
def test_odd_name_is_left_out(name: str, site: Path, table: Plugins[str]) -> None:
    install(site, "odd", {"suites": {name: "odd_module:SUITE"}}, {"odd_module": WORKS})
    with pytest.warns(PluginWarning, match="letters, digits, hyphens and underscores"):
        assert table.names() == []


def test_torn_metadata_harms_nobody(site: Path, table: Plugins[str]) -> None:
    install(site, "torn", {"suites": {"torn": "torn_module:SUITE"}})
    (site / "torn-1.0.dist-info" / "entry_points.txt").write_text("[manyparts.suites]\ntorn\n")
    install(site, "cart", {"suites": {"cart": "cart_c:SUITE"}}, {"cart_c": WORKS})
    with pytest.warns(PluginWarning, match=r"entry points of .*torn.* cannot be read"):
        assert table.names() == ["cart"]
    assert table.load("cart") == "what it adds"


def test_first_version_on_the_path_counts(
    site: Path, table: Plugins[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "cart", {"suites": {"cart": "cart_d:SUITE"}}, version="1.0")
    hides = tmp_path / "hides"
    hides.mkdir()
    install(hides, "Cart", {"suites": {"cart": "cart_d:SUITE"}}, {"cart_d": WORKS}, version="2.0")
    monkeypatch.syspath_prepend(hides)
    forget()
    assert table.names() == ["cart"] and table.origin("cart") == "Cart 2.0"


def test_used_names_only_plugins(site: Path, table: Plugins[str]) -> None:
    install(site, "cart", {"suites": {"cart": "cart_e:SUITE"}}, version="1.2")
    names = {"suites": ["pointmass", "cart", "cart"], "a group that nobody loaded": ["x"]}
    assert used(names) == {"suites/cart": "cart 1.2"}


def test_run_needs_its_plugins(site: Path) -> None:
    install(site, "cart", {"suites": {"cart": "cart_f:SUITE"}}, version="1.2")
    recorded = {"suites/cart": "cart 1.2", "suites/rail": "rail 3.0", "methods/x": "y 1"}
    require(recorded, "runs/a", "objectives")
    require(recorded, "runs/a", "suites", {"cart"})
    with pytest.raises(UserError) as refused:
        require(recorded, "runs/a", "suites")
    assert str(refused.value) == (
        "runs/a needs plug-in suites/rail of rail 3.0, which is not installed here; install it, if "
        "you trust who made it"
    )
    with pytest.warns(PluginWarning, match=r"plug-in suites/cart of cart 1\.1; here is cart 1\.2"):
        require({"suites/cart": "cart 1.1"}, "runs/a", "suites")


@pytest.mark.parametrize("recorded", [None, 3, [], "suites/x", {}, {3: 4}, {"other": {"a": 1}}])
def test_records_from_files_may_be_anything(recorded: object) -> None:
    require(recorded, "runs/a", "suites")
    with pytest.raises(UserError) as refused:
        require({"suites/\x1b[2J" + "x" * 500: ["y" * 500]}, "runs/a", "suites")
    assert len(str(refused.value)) < 400 and "\x1b" not in str(refused.value)
