"""Whatever stands in a boot loader's file: an answer or a BadScript, never another exception, and soon."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hostward.facts.bootloaders import Entry, bls, choose, grub_legacy
from hostward.facts.bootloaders.grub_script import BadScript, Script, parse_env

WORDS = st.sampled_from(
    ["if", "then", "else", "elif", "fi", "[", "]", "menuentry", "submenu", "{", "}", "function", "while", "do", "done",
     "set", "default=1>0", "linux", "/vmlinuz-1.0", "$x", "${y}", '"', "'", "\\", ";", "\n", "!", "-a", "-o", "=",
     "source", "/a", "blscfg", "load_env", "--id", "title", "kernel", "default", "saved", "#", "x", "-eq", "9" * 30],
)  # fmt: skip
SCRIPTS = st.one_of(st.lists(WORDS, max_size=60).map(" ".join), st.text(max_size=200))


@settings(max_examples=400, deadline=2000)
@given(SCRIPTS)
def test_grub_cfg(text: str) -> None:
    script = Script("/boot/grub/grub.cfg", lambda _: True, lambda _: {"next_entry": "1>0"}, lambda _: text,
                    lambda _: [Entry("bls", "/x", image="/vmlinuz-1")])  # fmt: skip
    try:
        script.run(text)
    except BadScript:
        return
    choose(script.menu, script.env.get("default", ""))


@settings(max_examples=300, deadline=2000)
@given(SCRIPTS, st.text(max_size=30))
def test_the_other_files(text: str, pattern: str) -> None:
    entries, default = grub_legacy.parse(text, "/boot/grub/menu.lst")
    choose(entries, default)
    grub_legacy.saved_default(text)
    parse_env(text)
    entry = bls.parse(text, "/boot/loader/entries/a.conf", {"x": "y"})
    others = [entry, Entry("b", "/b.conf", id=text[:40], version=text[40:80], sort_key=text[:2])]
    bls.grub_order(others)
    bls.systemd_boot_order(others)
    bls.matching(others, pattern)


@settings(max_examples=300)
@given(st.lists(st.text("abc>01 ", max_size=8), max_size=4).map(">".join))
def test_a_default_always_means_some_entry(spec: str) -> None:
    menu = [Entry("a", "/f", image="x"), Entry("b", "/f", children=(Entry("c", "/f", image="y"),))]
    entry, how = choose(menu, spec)
    assert entry and entry.image
    assert how
