"""The matrix: real programs, each through each door. In every cell (a) a fitting size works with
the same output as without Chronos, (b) an oversize is refused as the program's own out-of-memory,
(c) nothing is charged in the end. A door that cannot reach a program must leave it alone."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "matrix"))
from clients import CLIENTS_TABLE, DOORS, DRIVERS, PARTITION_MIB, RESULTS, ROOT
from document import cells, columns, section
from support import FULL, MIB, Box, built, own_lines, poll

pytestmark = built

PATIENCE = 300  # seconds; LightGBM's kernels take PoCL some 20 s
ROWS = [client for client in CLIENTS_TABLE if FULL or not client.full]


class Run:
    """A program's finished run: how it ended, what it wrote."""

    def __init__(self, status, output, errors):
        self.status, self.output, self.errors = status, output, errors

    def __repr__(self):
        return f"status {self.status}\n{self.output}\n{self.errors[-4000:]}"

    def ended_as(self, other, client):
        return (self.status, client.steady(self.output)) == (
            other.status, client.steady(other.output))


class Place:
    """A state directory and the one driver of a client; caches are shared by all cells."""

    def __init__(self, folder, caches, client):
        driver = DRIVERS[client.driver]
        vendors = folder / "vendors"
        vendors.mkdir(parents=True)
        (vendors / "driver.icd").write_text(f"{driver.library}\n", encoding="ascii")
        self.client = client
        self.box = Box(folder, {"OCL_ICD_VENDORS": f"{vendors}/", **driver.variables,
                                **client.variables, "XDG_CACHE_HOME": str(caches),
                                "TMPDIR": str(folder)})
        self.box.env["POCL_CACHE_DIR"] = str(caches / "pocl")
        self.number = 0

    def files(self):
        self.number += 1
        return [self.box.folder / f"{name}{self.number}" for name in ("out", "err")]

    def run(self, size, door, while_waiting=None):
        """Runs it to its end; `while_waiting` is called when it has given back everything."""
        out, err = self.files()
        with open(out, "w", encoding="utf-8") as output, open(err, "w", encoding="utf-8") as errors:
            process = self.box.start(*self.client.arguments(size), door=door, stdout=output,
                                     stderr=errors)
        if while_waiting is not None:
            poll("the program's result", lambda: process.poll() is not None
                 or out.read_text(encoding="utf-8").endswith("all released\n"), PATIENCE)
            if process.poll() is None:
                while_waiting()
        process.stdin.close()
        status = process.wait(timeout=PATIENCE)
        return Run(status, out.read_text(encoding="utf-8", errors="replace"),
                   err.read_text(encoding="utf-8", errors="replace"))


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def bare(tmp_path_factory, caches):
    """Runs without Chronos, once for all cells of a row."""

    @functools.cache
    def run(client, size):
        place = Place(tmp_path_factory.mktemp("bare"), caches, client)
        try:
            return place.run(size, None)
        finally:
            place.box.close()

    return run


@pytest.fixture
def place(request, tmp_path, caches):
    client = request.getfixturevalue("client")
    why = client.missing()
    if why:
        pytest.skip(f"{client.name}: {why}")
    made = Place(tmp_path, caches, client)
    # A driver that takes more than 10 s to answer on a busy machine is asked again.
    poll("the driver", lambda: made.box.chronos(
        "create", 0, f"{PARTITION_MIB}MiB", "1h", "--name", "p1", status=None).returncode == 0,
        PATIENCE)
    yield made
    made.box.close()


def distribution():
    lines = Path("/etc/os-release").read_text(encoding="utf-8").replace('"', "").splitlines()
    facts = dict(line.partition("=")[::2] for line in lines)
    return f"{facts['ID'].capitalize()} {facts.get('VERSION_ID', '')}"


def driver(client, place):
    """The driver's title and its own version."""
    told = place.box.run("clinfo", "--raw", door=None).stdout
    version = re.search(r"CL_DRIVER_VERSION +(.+)", told)
    title, version = DRIVERS[client.driver].title, version[1].strip() if version else ""
    return f"{title} {version.removeprefix(title)}".replace("  ", " ").strip()


def record(client, door, text, peak, place):
    """Keeps what was measured for matrix/report."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    row = known.setdefault(client.name, {"cells": {}, "peak_bytes": {}})
    row["on"] = f"{distribution()}, {driver(client, place)}"
    row["cells"][door], row["peak_bytes"][door] = text, peak
    scratch = RESULTS.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(known, indent=1), encoding="utf-8")
    scratch.replace(RESULTS)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("client", ROWS, ids=lambda client: client.name)
def test_cell(client, door, place, bare):
    plain = bare(client, client.fits)
    assert plain.status == 0, plain
    reached = door not in client.outside
    box = place.box

    def nothing_left():
        poll("the charge to be given back", lambda: box.used() == 0)

    fitting = place.run(client.fits, door, nothing_left if client.stays else None)
    assert own_lines(fitting.errors) == [], fitting
    assert fitting.ended_as(plain, client), (fitting, plain)
    partition = box.partitions()["p1"]
    assert (partition["used_bytes"], partition["refusals"]) == (0, 0)
    peak = partition["peak_bytes"]
    if reached:
        assert client.charges_mib * MIB <= peak <= PARTITION_MIB * MIB
    else:
        assert peak == 0

    if client.too_big is not None:
        plain = bare(client, client.too_big)
        assert plain.status == 0 and not re.search(client.refusal, plain.output + plain.errors,
                                                   re.M), plain
        oversize = place.run(client.too_big, door)
        if reached:
            assert oversize.status == (client.refusal_status if client.refusal_status >= 0
                                       else ended_by(-client.refusal_status, door)), oversize
            assert re.search(client.refusal, oversize.output + oversize.errors, re.M), oversize
            assert len(own_lines(oversize.errors)) == 1, oversize
            assert box.partitions()["p1"]["refusals"] > 0
        else:
            assert oversize.ended_as(plain, client), (oversize, plain)
            assert box.partitions()["p1"]["refusals"] == 0
        assert box.used() == 0
    record(client, door, client.expected(door), peak, place)


def ended_by(signal, door):
    """The status of a program that a signal ended; `chronos run` says it as a shell does."""
    return 128 + signal if door == "run" else -signal


def test_clinfo_shows_the_partition(tmp_path, caches):
    """What differs in clinfo's output is what it is there to show."""
    client = next(client for client in CLIENTS_TABLE if client.name == "clinfo")
    place = Place(tmp_path, caches, client)
    place.box.create(PARTITION_MIB * MIB)
    for door in DOORS:
        output = place.run(None, door).output
        for line in ("Global memory size", "Max memory allocation"):
            assert re.search(rf"^ *{line} +{PARTITION_MIB * MIB} ", output, re.M), output


# --- the document -------------------------------------------------------------------------------

def test_the_document_shows_this_matrix():
    text = section()
    assert columns(text) == list(DOORS.values())
    shown = cells(text)
    assert list(shown) == [client.name for client in CLIENTS_TABLE]
    for client in CLIENTS_TABLE:
        for door, title in DOORS.items():
            assert shown[client.name][title].split(" (")[0] == client.expected(door), client.name
        assert "measured" not in shown[client.name]["Measured with"], client.name
    for client in CLIENTS_TABLE:
        for outside in client.outside.values():
            assert outside.why in " ".join(text.split()), client.name


def test_the_report_says_when_it_cannot_be_written(tmp_path):
    done = subprocess.run([ROOT / "tests/e2e/matrix/report", tmp_path / "nothing.json"], text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1 and "nothing.json" in done.stderr
    assert done.stderr.count("\n") == 1
