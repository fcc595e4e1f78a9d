"""The manual: a page for each command, made from its help, which says no less than the help does and
has nothing that groff or mandoc warn of."""

import re
import shutil
import subprocess

import pytest

from support import BUILD, CHRONOS, FULL, ROOT, built

pytestmark = built
PAGES = BUILD / "cli" / "manual" / "man1"
POLICY = ROOT / "cli" / "manual" / "chronos-policy.5"
MANUAL = sorted([*PAGES.glob("*.1"), POLICY])


def output(*command):
    return subprocess.run([str(word) for word in command], check=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


def verbs():
    return output(CHRONOS, "manual", "--names").split()


def queue_commands():
    return re.findall(r"^  chronos queue (\w+) ", output(CHRONOS, "queue", "--help"), re.M)


def options_of(help_text):
    """The options that a help lists, long and short."""
    lines = re.findall(r"^  +(-[^ ].*?)(?:  |$)", help_text, re.M)
    return {option for line in lines for option in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", line)}


def shown(page):
    """A page as a reader sees it, on one line."""
    text = subprocess.run(["groff", "-ww", "-man", "-Tutf8", "-K", "utf8", "-rHY=0", "-P-cbou", page],
                          check=True, capture_output=True, timeout=60).stdout.decode()
    return " ".join(text.replace("\N{MINUS SIGN}", "-").replace("\N{HYPHEN}", "-").split())


needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")


@pytest.fixture(scope="module", autouse=True)
def pages():
    if not PAGES.exists():
        pytest.skip("the build has no manual: it is an installed tree, or one with sanitizers")


def test_every_command_of_the_help_has_a_page():
    listed = re.findall(r"^  chronos (\w+)", output(CHRONOS, "help"), re.M)
    assert sorted(set(listed) - {"help"}) == sorted(verbs())
    wanted = {"chronos.1", "chronosd.1", *(f"chronos-{verb}.1" for verb in verbs())}
    assert {page.name for page in PAGES.iterdir()} == wanted


@needs_groff
def test_no_option_is_missing():
    for verb in [*verbs(), *(f"queue {command}" for command in queue_commands())]:
        page = shown(PAGES / f"chronos-{verb.split()[0]}.1")
        options = options_of(output(CHRONOS, *verb.split(), "--help"))
        assert options or verb == "queue", verb
        assert [option for option in sorted(options)
                if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", page)] == [], verb
    options = options_of(output(BUILD / "bin" / "chronosd", "--help"))
    assert "--on-demand" in options and all(option in shown(PAGES / "chronosd.1") for option in options)


@needs_groff
@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_groff_has_no_warning(page):
    said = subprocess.run(["groff", "-ww", "-z", "-man", "-Tutf8", "-K", "utf8", page],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    # whatis(1) reads this line.
    assert re.search(rf"^\.SH NAME\n{page.stem} \\- \S", page.read_text(), re.M)


@pytest.mark.skipif(not FULL or shutil.which("mandoc") is None, reason="full level, with mandoc")
@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_mandoc_has_no_warning(page):
    said = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True,
                          text=True, timeout=60, check=False)
    assert said.stdout + said.stderr == ""


def test_it_is_the_same_each_time():
    again = output(CHRONOS, "manual", "--date", "2026-11-22", "stats")
    assert again == (PAGES / "chronos-stats.1").read_text()


def test_pages_agree_on_version_and_date():
    heads = {re.search(r'^\.TH \S+ \d "(.*?)" "(.*?)"', page.read_text(), re.M).groups()
             for page in MANUAL}
    version = output(CHRONOS, "--version").strip().replace("chronos", "Chronos")
    assert heads == {("2026-11-22", version)}
