"""Completion: `chronos complete` knows what its own parsers know, and bash, zsh and fish ask it."""

import json
import os
import shutil
import subprocess
import time

import pytest

from support import BUILD, CHRONOS, FULL, PATIENCE, ROOT, box, built, fake_box  # noqa: F401
from test_man import options_of, output, queue_commands, verbs

pytestmark = built
SCRIPTS = ROOT / "cli" / "completions"


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def candidates(text):
    lines = text.splitlines()
    assert lines and lines[-1].startswith(":"), text
    return [line.split("\t")[0] for line in lines[:-1]], lines[-1]


@pytest.fixture
def complete(box):
    def ask(*words, program="chronos"):
        done = subprocess.run([BUILD / "bin" / program, "complete", *words], env=box.env, text=True,
                              capture_output=True, timeout=PATIENCE, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return candidates(done.stdout)
    return ask


def command_lines():
    return [[verb] for verb in verbs() if verb != "queue"] + [["queue", one] for one in queue_commands()]


def test_every_option_of_the_help(complete):
    for words in command_lines():
        offered, rest = complete(*words, "-")
        assert set(offered) == options_of(output(CHRONOS, *words, "--help")), words
        assert rest == ":"
    offered, _ = complete("-", program="chronosd")
    assert set(offered) == options_of(output(BUILD / "bin" / "chronosd", "--help"))


def test_commands(complete):
    assert set(complete("")[0]) == {*verbs(), "help"}
    assert complete("re")[0] == ["release", "resize"]
    assert set(complete("queue", "")[0]) == set(queue_commands())
    assert set(complete("help", "")[0]) == set(verbs())
    assert complete("--color", "never", "queue", "li")[0] == ["list"]
    assert complete("nonsense", "")[0] == complete()[0] == []


def test_values_that_this_machine_knows(complete, box):
    box.chronos("create", 0, "10%", "1h", "--name", "p1")
    box.chronos("create", 0, "10%", "1h", "--name", "q2")
    for words in (["release"], ["extend"], ["resize"], ["run", "--partition"], ["doctor", "--partition"]):
        assert complete(*words, "")[0] == ["p1", "q2"], words
    assert complete("run", "--partition", "p1,")[0] == ["p1,p1", "p1,q2"]
    assert complete("run", "--partition=q")[0] == ["--partition=q2"]
    assert complete("extend", "p1", "")[0] == []
    for words in (["create"], ["available"], ["run", "--device"], ["acquire", "--ban"],
                  ["queue", "add", "--device"]):
        assert complete(*words, "")[0] == ["0"], words
    assert complete("run", "--on-expiry", "k")[0] == ["kill"]
    assert complete("list", "--color=a")[0] == ["--color=auto", "--color=always"]
    assert complete("policy", "")[0] == ["check", "show"]
    assert "over" in complete("queue", "list", "--state", "o")[0]
    assert complete("create", "--user", "")[1] == ":users"
    assert complete("doctor", "--output", "")[1] == ":files"
    assert complete("queue", "add", "--cwd", "")[1] == ":folders"
    assert complete("policy", "check", "")[1] == ":files"


def test_another_command_line(complete):
    assert complete("run", "")[1] == ":command 1"
    assert complete("run", "--partition", "p1", "--", "py")[1] == ":command 4"
    assert complete("run", "make", "-")[1] == ":command 1"
    assert complete("--color", "never", "queue", "add", "--", "py")[1] == ":command 5"
    assert complete("list", "--", "")[1] == ":"


def test_only_what_the_caller_may_name(box):
    if os.geteuid() != 0:
        pytest.skip("needs root, for another user")
    box.chronos("create", 0, "10%", "1h", "--name", "of-root")
    box.state.chmod(0o1777)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", CHRONOS,
                           "complete", "release", ""], env=box.env, text=True, capture_output=True,
                          timeout=PATIENCE, check=False)
    if "cannot" in done.stderr or done.returncode == 126:
        pytest.skip("others may not read the build")
    assert candidates(done.stdout) == ([], ":")


def test_it_makes_nothing_and_starts_no_driver(box):
    env = {**box.env, "CHRONOS_STATE_DIR": str(box.folder / "none"), "XDG_STATE_HOME": str(box.folder / "queue")}
    for words in (["create", ""], ["release", ""], ["queue", "show", ""], ["queue", "add", "--after", ""]):
        done = subprocess.run([CHRONOS, "complete", *words], env=env, text=True, capture_output=True,
                              timeout=PATIENCE, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, ":\n", "")
    assert not (box.folder / "none").exists() and not (box.folder / "queue").exists()
    assert not (box.folder / "fake" / "witness").exists()


def test_it_is_quick(complete, box):
    box.chronos("create", 0, "10%", "1h", "--name", "p1")
    took = []
    for _ in range(20):
        start = time.perf_counter()
        complete("release", "")
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02


# --- the shells ----------------------------------------------------------------------------------

BASH = r"""
source "$SCRIPT"
complete -p chronos chronosd >/dev/null || exit 9
while read -ra COMP_WORDS; do
    [[ ${COMP_WORDS[-1]} != END ]] || COMP_WORDS[-1]=''
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMP_LINE=${COMP_WORDS[*]}
    COMP_POINT=${#COMP_LINE}
    _chronos "${COMP_WORDS[0]}" "${COMP_WORDS[-1]}" ''
    printf '%s|' "${COMPREPLY[@]}"; echo
done
"""


def in_bash(box, *lines, script=None):
    done = subprocess.run(["bash", "--norc", "-c", BASH], input="".join(f"{line}\n" for line in lines),
                          env={**box.env, "SCRIPT": str(script or SCRIPTS / "chronos.bash"),
                               "PATH": f"{CHRONOS.parent}:/usr/bin:/bin"},
                          text=True, capture_output=True, timeout=PATIENCE, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [line.rstrip("|").split("|") for line in done.stdout.splitlines()]


def test_bash(box):
    box.chronos("create", 0, "10%", "1h", "--name", "p1")
    said = in_bash(box, "chronos rel", "chronos release END", "chronos run --partition = p",
                   "chronos list --color = al", "chronos doctor --output README.m",
                   "chronos queue add --cwd scr", f"{CHRONOS} res", "chronos create --user roo",
                   "/nowhere/chronos li", "chronos run --partition p1 -- chronosd",
                   "chronos run cat README.m", "chronosd --on")
    assert said == [["release"], ["p1"], ["p1"], ["always"], ["README.md"], ["scripts"], ["resize"],
                    ["root"], [""], ["chronosd"], ["README.md"], ["--on-demand"]]


def test_bash_has_every_option(box):
    lines = command_lines()
    said = in_bash(box, *(f"chronos {' '.join(words)} -" for words in lines))
    for words, offered in zip(lines, said, strict=True):
        assert set(offered) == options_of(output(CHRONOS, *words, "--help")), words


# What zsh offers is drawn on a terminal, so the function is called with stand-ins for what draws.
ZSH = r"""
_describe() { local -a all; all=("${(@P)@[-1]}"); print -r -- "${(j:|:)${(@)all%%:*}}" }
_files() { print -r -- "files $*" }
_users() { print -r -- users }
_normal() { print -r -- "normal $CURRENT ${words[*]}" }
compset() { PREFIX=${PREFIX#*=} }
run() { eval "$(<$SCRIPT)"; }
while IFS= read -r line; do
    words=("${(@s: :)line}"); [[ $words[-1] == END ]] && words[-1]=''
    CURRENT=$#words PREFIX=$words[-1]
    run
done
"""


def in_zsh(box, *lines):
    done = subprocess.run(["zsh", "-f", "-c", ZSH], input="".join(f"{line}\n" for line in lines),
                          env={**box.env, "SCRIPT": str(SCRIPTS / "_chronos"),
                               "PATH": f"{CHRONOS.parent}:/usr/bin:/bin"},
                          text=True, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


@needs("zsh")
def test_zsh(box):
    box.chronos("create", 0, "10%", "1h", "--name", "p1")
    assert in_zsh(box, "chronos rel", "chronos release END", "chronos run --partition=p",
                  "chronos doctor --output END", "chronos queue add --cwd END",
                  "chronos create --user END", "chronos run --partition p1 -- ls -l END",
                  "chronos run mak") == [
        "release", "p1", "--partition=p1", "files ", "files -/", "users", "normal 3 ls -l ",
        "normal 1 mak"]
    lines = command_lines()
    said = in_zsh(box, *(f"chronos {' '.join(words)} -" for words in lines))
    for words, offered in zip(lines, said, strict=True):
        assert set(offered.split("|")) == options_of(output(CHRONOS, *words, "--help")), words


def in_fish(box, *lines):
    asked = "\n".join(f"complete -C {json.dumps(line)} | string split -f1 \\t | string join '|'"
                      for line in lines)
    home = box.folder / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(["fish", "--no-config", "-c", f"source {SCRIPTS}/chronos.fish\n{asked}\ntrue"],
                          env={**box.env, "PATH": f"{CHRONOS.parent}:/usr/bin:/bin", "HOME": str(home)},
                          text=True, capture_output=True, timeout=PATIENCE, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


@needs("fish")
def test_fish(box):
    box.chronos("create", 0, "10%", "1h", "--name", "p1")
    said = in_fish(box, "chronos rel", "chronos release ", "chronos run --partition=p",
                   "chronos doctor --output=README.m", "chronos queue add --cwd scr",
                   "chronos run --partition p1 -- chronosd --on", "chronos create --user roo",
                   "chronos run shellchec")
    assert said == [["release"], ["p1"], ["--partition=p1"], ["--output=README.md"], ["scripts/"],
                    ["--on-demand"], ["root"], ["shellcheck"]]
    lines = command_lines()
    said = in_fish(box, *(f"chronos {' '.join(words)} -" for words in lines))
    for words, offered in zip(lines, said, strict=True):
        wanted = options_of(output(CHRONOS, *words, "--help"))
        assert {word for word in offered if word.startswith("-")} >= wanted, words


@pytest.mark.parametrize("shell, script", [("bash", "chronos.bash"), ("zsh", "_chronos"),
                                           ("fish", "chronos.fish")])
def test_they_parse(shell, script):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    said = subprocess.run([shell, "-n", SCRIPTS / script], capture_output=True, text=True, check=False,
                          timeout=PATIENCE)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.skipif(not FULL or not os.path.exists("/usr/share/bash-completion/bash_completion"),
                    reason="full level, with bash-completion")
def test_with_bash_completion(box, tmp_path):
    script = tmp_path / "both"
    script.write_text("source /usr/share/bash-completion/bash_completion\ncompopt() { :; }\n"
                      f"source {SCRIPTS}/chronos.bash\n", encoding="utf-8")
    assert in_bash(box, "chronos run --partition p1 -- chronosd", script=script) == [["chronosd"]]
