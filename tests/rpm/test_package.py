"""What belongs to the packages: manual pages and completions that tools accept, packages that their linters accept, and
the same wheel by an old setuptools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import FULL
from tests.lab.debs import CACHE, NotAtHand, locked
from tests.rpm import packages

REPOSITORY = packages.REPOSITORY
PYTHON = [sys.executable, "-I"]


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise NotAtHand(f"{program} is not installed")
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([*PYTHON, REPOSITORY / "tools/manpages.py", directory], check=True)
    return directory


@pytest.fixture(scope="module")
def completions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("completions")
    subprocess.run([*PYTHON, REPOSITORY / "tools/completions.py", directory], check=True)
    return directory


@pytest.mark.parametrize("argv", [["man", "--warnings", "-E", "UTF-8", "-Z", "-l"], ["mandoc", "-Tlint", "-Wwarning"]])
def test_manual_pages_are_without_warnings(argv: list[str], pages: Path) -> None:
    needs(argv[0])
    assert len(list(pages.iterdir())) > 10
    for page in sorted(pages.iterdir()):
        done = subprocess.run([*argv, page], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "80"})
        assert done.stderr == "" and (argv[0] == "man" or done.stdout == ""), page.name
        assert done.returncode == 0


def test_manual_pages_tell_every_option_key_and_check(pages: Path) -> None:
    from hostward import checks, cli

    help_ = subprocess.run(
        [*PYTHON[:1], "-m", "hostward", "modules", "--help"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "agent")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    modules = (pages / "hostward-modules.1").read_text().replace("\\-", "-")
    for word in help_.split():
        if word.startswith("--"):
            assert word.strip("[],") in modules
    assert {f"hostward-{name}.1" for name in cli.COMMANDS} <= {page.name for page in pages.iterdir()}
    every = (pages / "hostward-checks.7").read_text().replace("\\-", "-")
    assert all(f".SS {id}" in every for id in checks.load_all())
    keys = (pages / "hostward.yaml.5").read_text().replace("\\-", "-")
    for line in (REPOSITORY / "config/hostward.yaml").read_text().splitlines():
        if line.startswith("  ") and not line.startswith("   ") and not line.strip().startswith("#"):
            assert f"\\fB{line.split(':')[0].strip()}\\fR" in keys


def completed(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of these words."""
    program = """\
source "$1"; shift
[ "$(complete -p hostward)" = "complete -o default -F _hostward hostward" ] || exit 9
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_hostward hostward "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
    argv = [needs("bash"), "--norc", "-c", program, "bash", str(script), *words]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("hostward", "mod"), {"modules"}),
        (("hostward", "--ver"), {"--version"}),
        (("hostward", "check", "clock.hwc"), {"clock.hwclock-without-ntp"}),
        (("hostward", "check", "--roo"), {"--root"}),
        (("hostward", "check", "--root", "/us"), {"/usr"}),
        (("hostward", "check", "clock.no-keeper", "--format", "j"), {"json"}),
        (("hostward", "fix", "--choose", "disable"), {"disable-hwclock"}),
        (("hostward", "facts", "KvmD"), {"KvmDevice"}),
        (("hostward", "scriptlet", "modules-"), {"modules-changed", "modules-removed"}),
        (("hostward", "modules", "--kernel", ""), {"running", "next", "all"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], offered: set[str], completions: Path) -> None:
    assert completed(completions / "hostward.bash", *words) == offered


ZSH = """\
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1= ; fpath=($1 \\$fpath); autoload -Uz compinit; compinit -D; zstyle ':completion:*' list-prompt ''; cd /"
zpty -w z "bindkey '^I' complete-word; zle -C all list-choices _generic; echo rea''dy"
zpty -r z line '*ready*'
zpty -n -w z "$2"$'\\t'
sleep 2
zpty -n -w z $'\\x15exit\\n'
while zpty -r z line; do print -r -- "$line"; done
"""


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("hostward mod", "hostward modules"), ("hostward check clock.hwc", "clock.hwclock-without-ntp")],
)
def test_zsh_completes(typed: str, shown: str, completions: Path) -> None:
    argv = [needs("zsh"), "-f", "-c", ZSH, "zsh", str(completions), typed]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert shown in done.stdout, done.stdout + done.stderr


def test_rpmlint_has_nothing_to_say() -> None:
    needs("rpmlint")
    binary = packages.hostward()
    files = [REPOSITORY / "packaging/rpm/hostward.spec", *sorted(binary.parent.glob("*.rpm"))]
    done = subprocess.run(
        ["rpmlint", "-c", str(REPOSITORY / "packaging/rpm/rpmlint.toml"), *map(str, files)],
        capture_output=True,
        text=True,
    )
    assert "0 errors, 0 warnings" in done.stdout, done.stdout


@FULL
def test_lintian_has_nothing_to_say(tmp_path: Path) -> None:
    for program in ("lintian", "dh", "pybuild"):
        needs(program)
    if not Path("/usr/share/dh-python/dhpython/build/plugin_pyproject.py").exists():
        raise NotAtHand("pybuild-plugin-pyproject is not installed")
    made = subprocess.run([str(REPOSITORY / "tools/package"), "deb", str(tmp_path)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (changes,) = tmp_path.glob("*.changes")
    done = subprocess.run(["lintian", "--allow-root", changes], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    control = subprocess.run(
        ["dpkg-deb", "--ctrl-tarfile", *map(str, tmp_path.glob("*.deb"))], capture_output=True, check=True
    ).stdout
    assert b"interest-noawait /usr/lib/modules" in control


def test_shell_is_as_shellcheck_wants_it() -> None:
    needs("shellcheck")
    files = [REPOSITORY / "packaging/rpm/scriptlet.sh", REPOSITORY / "packaging/rpm/90-hostward.install"]
    files += [REPOSITORY / "tools/package", *(REPOSITORY / "packaging/debian").glob("hostward.post*")]
    done = subprocess.run(["shellcheck", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


OLD_SETUPTOOLS = ("setuptools==53.0.0", "wheel==0.36.2")  # EL 9's


def old_setuptools() -> Path:
    """A virtual environment with EL 9's setuptools.  Raises NotAtHand without a package index."""
    venv = CACHE / "rpm" / f"venv-setuptools-53-{sys.version_info[0]}.{sys.version_info[1]}"
    with locked("rpm-venv"):
        if not venv.is_dir():
            part = venv.with_name("venv.part")
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", part], check=True)
            pip = [str(part / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            done = subprocess.run([*pip, *OLD_SETUPTOOLS], capture_output=True, text=True)
            if done.returncode:
                shutil.rmtree(part)
                raise NotAtHand("setuptools 53 can't be had from a package index here")
            part.rename(venv)
    return venv / "bin" / "python"


def wheel(python: Path | str, source: Path, target: Path) -> dict[str, bytes]:
    """The files of a wheel that pip builds with what this interpreter has, as %pyproject_wheel does."""
    pip = [str(python), "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--no-index", "-w", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(target.glob("*.whl"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_the_setuptools_of_el_9_makes_the_same_wheel(tmp_path: Path) -> None:
    python = old_setuptools()
    made = {}
    for name, interpreter in (("new", "/usr/bin/python3"), ("old", str(python))):
        source = tmp_path / name
        source.mkdir()
        for part in ("agent", "config", "tools"):
            shutil.copytree(REPOSITORY / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(REPOSITORY / file, source)
        subprocess.run([interpreter, "tools/old_setuptools.py"], cwd=source, check=True)
        assert (source / "setup.py").exists() is (name == "old")
        made[name] = wheel(interpreter, source, tmp_path / f"{name}-wheel")
    info = "hostward-0.1.0.dist-info/"
    assert set(made["new"]) == set(made["old"])
    for name, data in made["new"].items():
        if not name.startswith(info):
            assert made["old"][name] == data
    assert b"hostward = hostward.cli:run" in made["old"][info + "entry_points.txt"]
    wanted = {line for line in made["new"][info + "METADATA"].splitlines() if line.startswith(b"Requires-Dist")}
    plain = {line.replace(b" ", b"") for line in wanted if b"extra" not in line}
    old = {line.replace(b" ", b"") for line in made["old"][info + "METADATA"].splitlines()}
    assert {line.partition(b";")[0] for line in plain} <= {line.partition(b";")[0] for line in old}
