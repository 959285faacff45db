"""What `make` does, where there is no Make: python course.py lab

Reads the Makefile beside it and runs a rule's commands, after those of the rules that it needs. Of Make's language it
knows what that file uses. It needs Python alone, and runs on Windows, macOS and Linux.

    python course.py                              lists the commands
    python course.py experiment PROFILE=full      with a variable set
    python course.py --dry-run lab                only prints what would run
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
VARIABLE = re.compile(r"^(\w+) [?:]?= ?(.*)$", re.MULTILINE)
IF = re.compile(r"\$\(if \$\((\w+)\),([^()]*)\)")
RULE = re.compile(r"^([^\s:#.][^\n:]*):(?!=)([^\n#]*)(?:## ([^\n]*))?\n((?:\t[^\n]+\n?)*)", re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """A target of the Makefile: what it needs first, its commands, and what its help says."""

    needs: list[str]
    commands: list[str]
    help: str


def variables(text: str, chosen: dict[str, str], windows: bool = os.name == "nt") -> dict[str, str]:
    """The Makefile's variables, each without another in it; ``chosen`` ones win."""
    here = {"BIN": "$(VENV)/Scripts"} if windows else {}
    found = {**dict(VARIABLE.findall(text)), **here, **chosen}
    return {name: expanded(value, found) for name, value in found.items()}


def expanded(text: str, values: dict[str, str]) -> str:
    """``text`` with $(NAME) and $(if $(NAME),text) filled in; a variable of Make's own stays."""
    text = IF.sub(lambda match: match[2] if values.get(match[1]) else "", text)
    while (filled := re.sub(r"\$\((\w+)\)", lambda match: values.get(match[1], match[0]), text)) != text:
        text = filled
    return text


def rules(text: str, values: dict[str, str]) -> dict[str, Rule]:
    """The Makefile's rules by target, in its order."""
    found = {}
    for target, needs, told, body in RULE.findall(text):
        name = expanded(target, values)
        commands = [expanded(line.strip(), values).replace("$@", name) for line in body.splitlines()]
        found[name] = Rule(expanded(needs, values).split(), commands, told)
    return found


def planned(target: str, known: dict[str, Rule], folder: Path = HERE, done: set[str] | None = None) -> Iterator[str]:
    """The commands of ``target``, first things first and each rule once; a file newer than its needs has none."""
    done = set() if done is None else done
    done.add(target)
    rule, path = known[target], folder / target
    for need in rule.needs:
        if need in known and need not in done:
            yield from planned(need, known, folder, done)
    times = [(folder / need).stat().st_mtime for need in rule.needs if need not in known]
    if not (path.is_file() and all(path.stat().st_mtime >= time for time in times)):
        yield from rule.commands


def run(command: str, folder: Path = HERE) -> int:
    """Run one line of the Makefile in ``folder`` without a shell; its exit status."""
    quiet, words = command.endswith(" > /dev/null"), shlex.split(command.lstrip("@").removesuffix(" > /dev/null"))
    words = [name for word in words for name in matches(word, folder)]
    match words:
        case ["touch", name]:
            (folder / name).touch()
        case ["rm", "-rf", *names]:
            for name in names:
                shutil.rmtree(folder / name, ignore_errors=True)
                (folder / name).unlink(missing_ok=True)
        case _:
            program = str(folder / words[0]) if "/" in words[0] and not os.path.isabs(words[0]) else words[0]
            out = subprocess.DEVNULL if quiet else None
            return subprocess.run([program, *words[1:]], cwd=folder, stdout=out, check=False).returncode
    return 0


def matches(word: str, folder: Path) -> list[str]:
    """The files that ``word`` stands for, or the word itself."""
    found = folder.glob(word) if re.fullmatch(r"[\w./]*\*[\w./*-]*", word) else iter(())
    return sorted(path.relative_to(folder).as_posix() for path in found) or [word]


def main() -> int:
    text = (HERE / "Makefile").read_text(encoding="utf-8")
    parser = argparse.ArgumentParser(description="What make does, where there is no Make.")
    parser.add_argument("command", nargs="?", default="help")
    parser.add_argument("set", nargs="*", metavar="NAME=VALUE", help="a variable of the Makefile")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run none")
    given = parser.parse_args()
    chosen = dict(pair.split("=", 1) for pair in given.set if "=" in pair)
    known = rules(text, variables(text, {"PYTHON": shlex.quote(sys.executable), **chosen}))
    if given.command == "help" or given.command not in known:
        print("\n".join(f"python course.py {name:10} {rule.help}" for name, rule in known.items() if rule.help))
        return 0 if given.command == "help" else 2
    for command in planned(given.command, known):
        if not command.startswith("@") or given.dry_run:
            print(command.lstrip("@"), flush=True)
        if not given.dry_run and (status := run(command)):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
