"""Units and tmpfiles: what Chronos installs and shows as examples is what systemd takes."""

import re
import shutil
import subprocess

import pytest

from support import BUILD, CHRONOS, PATIENCE, ROOT, SHIM, built

EXAMPLES = ROOT / "examples" / "systemd"
pytestmark = [built, pytest.mark.skipif(shutil.which("systemd-analyze") is None,
                                        reason="systemd-analyze is not installed")]


def verify(folder, *units, user=False):
    """What systemd-analyze says of them; of nothing else that is on this machine."""
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
                           *(["--user"] if user else []), *(folder / unit for unit in units)],
                          text=True, capture_output=True, timeout=PATIENCE, check=False,
                          env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{folder}:",
                               "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)})
    return done.returncode, [line for line in done.stderr.splitlines()
                             if any(unit in line for unit in units) or "partition.conf" in line]


@pytest.fixture
def units(tmp_path):
    """The examples, with this build's programs in place of the package's."""
    for path in EXAMPLES.iterdir():
        text = path.read_text(encoding="utf-8")
        text = text.replace("/usr/bin/chronos", str(CHRONOS))
        text = re.sub(r"/usr/lib/\S+/libchronos_shim\.so", str(SHIM), text)
        place = tmp_path / path.name
        if path.suffix == ".conf":
            place = tmp_path / "there.service.d" / path.name
            place.parent.mkdir()
        place.write_text(text, encoding="utf-8")
    (tmp_path / "there.service").write_text("[Service]\nType=notify\nExecStart=/usr/bin/true\n",
                                            encoding="utf-8")
    return tmp_path


def test_the_examples(units):
    assert verify(units, "chronos.slice", "simulate.service", "there.service") == (0, [])


def test_a_mistake_would_be_seen(units):
    path = units / "there.service.d" / "partition.conf"
    path.write_text(path.read_text().replace("ExecStartPre=/", "ExecStartPre=no/"), encoding="utf-8")
    assert verify(units, "there.service")[1]
    path = units / "simulate.service"
    path.write_text(path.read_text().replace("KillMode=mixed", "KillMode=mixd"), encoding="utf-8")
    assert verify(units, "simulate.service")[1]


def test_the_users_unit(tmp_path):
    text = (ROOT / "cli" / "queue" / "chronosd.service.in").read_text(encoding="utf-8")
    text = text.replace("@CMAKE_INSTALL_FULL_BINDIR@", str(BUILD / "bin"))
    (tmp_path / "chronosd.service").write_text(text, encoding="utf-8")
    assert verify(tmp_path, "chronosd.service", user=True) == (0, [])


def test_the_packages_directory_is_that_of_setup():
    packaged = (ROOT / "cmake" / "debian" / "tmpfiles.conf").read_text(encoding="utf-8")
    source = (ROOT / "cli" / "setup.cpp").read_text(encoding="utf-8")
    line = re.search(r'"d \{\} (.*?)\\n"', source).group(1)
    assert f"\nd /run/chronos {line}\n" in packaged
