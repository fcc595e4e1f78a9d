"""Every kind of memory made and given back in 8 threads while neighbours are killed at random."""

import random
import subprocess

import pytest

from support import (ASAN, CLIENTS, MIB, PATIENCE, built, by_level, own_lines, poll,
                     sanitizer_library)
from support import fake_box  # noqa: F401

pytestmark = built

LIMIT = 4 * MIB  # a process holds up to 2.5 MiB: they get into each other's way
CYCLES = by_level(200, 1250, 15000)  # of a thread; the full form is 10,000 of each of 12 kinds
KILLS = by_level(10, 30, 300)


def storm(box, command, environment):
    """Run `command` to its end among neighbours that are killed; returns what it printed."""
    dice = random.Random(7)

    def neighbour():
        return box.start(CLIENTS / "cycles", "--cycles", 1 << 60, door="named",
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    neighbours = [neighbour() for _ in range(3)]
    with open(box.folder / "errors", "w", encoding="utf-8") as errors:
        process = subprocess.Popen([str(part) for part in command], env=environment, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    box.children.append(process)
    kills = 0
    while kills < KILLS and process.poll() is None:
        victim = dice.choice(neighbours)
        poll("the victim to hold memory",
             lambda pid=victim.pid: box.used_by().get(pid, 0) > 0, 2 * PATIENCE)
        neighbours.remove(victim)
        victim.kill()
        victim.wait()
        neighbours.append(neighbour())
        kills += 1
    for victim in neighbours:
        victim.kill()
        victim.wait()
    line = process.stdout.readline()
    said = (box.folder / "errors").read_text(encoding="utf-8")
    assert line.startswith("ok "), line + said
    # All is given back while the process still lives; the last enqueued frees may be on their way.
    poll("the last bytes", lambda: box.used() == 0)
    assert box.held() == 0
    process.stdin.close()
    assert process.wait(timeout=PATIENCE) == 0, said
    assert box.used() == 0
    assert kills > 0
    with box.witnessed() as witness:
        assert (witness.over_limit(), witness.worst_excess()) == (0, 0)
        assert 0 < witness.high_water() <= LIMIT
        assert witness.held() == 0
    return line, said


@pytest.fixture
def box(fake_box):
    made = fake_box(devices=[{"memory_bytes": 1 << 30, "witness_limit_bytes": LIMIT}])
    made.create(LIMIT)
    return made


@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
def test_no_byte_is_left_and_the_limit_holds(box, lifetime):
    command, environment = box.through("named", [CLIENTS / "cycles", "--cycles", CYCLES],
                                       variables={"CHRONOS_LIFETIME": lifetime})
    line, said = storm(box, command, environment)
    _, made, _, refused = line.split()
    # The fake driver has every one of the 12 kinds.
    assert int(made) + int(refused) == 8 * CYCLES
    assert int(made) > 0
    assert len(own_lines(said)) <= 1


@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
def test_sanitizers_find_nothing_meanwhile(box, sanitizer, lifetime):
    build = ASAN.parent / sanitizer
    shim, program = build / "lib" / "libchronos_shim.so", build / "tests" / "clients" / "cycles"
    if not shim.exists() or not program.exists():
        pytest.skip(f"the {sanitizer} preset is not built")
    cycles = max(CYCLES // 5, 200)
    driver = box.folder / "vendors"
    driver.mkdir()
    (driver / "fake.icd").write_text(f"{build / 'lib' / 'libchronos_fake_driver.so'}\n")
    preload = ":".join([sanitizer_library(f"lib{sanitizer}.so"), str(shim)])
    # The sanitizer's shadow has no room where addresses are randomised by more than 28 bits.
    command = ["setarch", "-R", "env", f"LD_PRELOAD={preload}", program, "--cycles", cycles]
    environment = {**box.env, "CHRONOS_PARTITION": "p1", "CHRONOS_LIFETIME": lifetime,
                   "OCL_ICD_VENDORS": f"{driver}/",
                   "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
                   "TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0"}
    if subprocess.run(["setarch", "-R", "true"], check=False, capture_output=True).returncode != 0:
        command = command[2:]
    _, said = storm(box, command, environment)
    assert "Sanitizer" not in said and "runtime error" not in said, said
