"""The Python package under arguments that nobody meant: an exception of a known kind, each time, and
nothing changed. In children, so that a crash of the interpreter is a failure and not the end."""

import pytest
from python_package import partitioner, python, state_dir  # noqa: F401

from support import ROOT, by_level

FUZZ = """
import sys
sys.path.insert(0, %(tests)r)
from datetime import timedelta
from fractions import Fraction
from hypothesis import HealthCheck, given, settings, strategies as st
import chronos

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(), st.text(),
    st.binary(), st.complex_numbers(), st.decimals(), st.fractions(), st.timedeltas(),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.none(), max_size=1),
    st.text(alphabet=st.characters(blacklist_categories=()), max_size=20),  # surrogates, NUL
    st.from_regex(r"-?[0-9]{1,30}(\\.[0-9]{1,5})?(%%|[KMGT]i?B?|[smhdw])?"),
    st.sampled_from(["partition_0001", "keep", "nosuch", ",", "@", "keep@", "a" * 5000, 10**400,
                     -10**400, 2**31, 2**63, 2**64, object(), type, float("nan"), len]))
KNOWN = (chronos.ChronosError, TypeError, ValueError, OverflowError)
common = settings(max_examples=%(examples)d, deadline=None, database=None, derandomize=%(fixed)s,
                  suppress_health_check=list(HealthCheck))
machine = chronos.Partitioner()
keep = machine.create(0, "1MiB", 3600, name="keep")

def calm(call):
    try:
        return call()
    except KNOWN as error:
        assert str(error), repr(error)
        if isinstance(error, chronos.ChronosError):
            assert "\\n" not in error.message and len(str(error)) < 6000, str(error)
            str(error).encode("utf-8", "surrogateescape")
        assert not isinstance(error, (chronos.InternalError, chronos.Busy)), error
        return None
"""

CREATE = """
@common
@given(st.fixed_dictionaries({}, optional={name: anything for name in (
    "device", "memory", "duration", "user", "name")}), st.sampled_from([False, 0, "0"]) | anything)
def fuzz(arguments, wait):
    if wait is True or (isinstance(wait, (int, float, str, timedelta, Fraction))
                        and wait not in (False, 0, "0")):
        wait = 0  # nobody has the time
    made = calm(lambda: machine.create(**arguments, wait=wait))
    if made is not None:
        assert 0 < made.limit_bytes and 0 < made.duration
        assert made.release()
    assert [p.name for p in machine.list()] == ["keep"]
fuzz()
"""

CALLS = """
calls = [machine.release, machine.find, machine.get_available, machine.stats,
         keep.extend, keep.resize, keep.on_expiring, machine.extend, machine.resize,
         chronos.environment, chronos.run, chronos.popen, keep.run, keep.popen]
@common
@given(st.sampled_from(calls), anything, st.one_of(st.just(()), st.tuples(anything)))
def fuzz(call, first, rest):
    if call in (machine.release, chronos.environment) and first in ("keep", "partition_0001"):
        return
    if call in (chronos.run, chronos.popen, keep.run, keep.popen):
        if isinstance(first, (str, bytes, list)) and first and not isinstance(first, dict):
            first = [first, None]  # never a program that could be there
        rest = ()
    if call == keep.on_expiring:
        assert calm(lambda: keep.on_expiring(first, *rest)) is None or callable(first)
        return
    calm(lambda: call(first, *rest))
    assert [p.name for p in machine.list()] == ["keep"]
fuzz()
"""

OPTIONS = """
@common
@given(st.fixed_dictionaries({}, optional={name: anything for name in (
    "partition", "device", "memory", "duration", "name", "on_expiry", "env")}))
def fuzz(options):
    done = calm(lambda: chronos.run(["true"], **options))
    assert done is None or done.returncode in (0, 125), done
    assert [p.name for p in machine.list()] == ["keep"]
fuzz()
"""

CLOSED = """
ended = machine.create(0, "1MiB", 60)
ended.release()
block = machine.create(0, "1MiB", 60)
with block:
    pass
import gc
@common
@given(st.lists(st.sampled_from(["enter", "leave", "release", "info", "usage", "time_remaining",
                                 "expires_at", "extend", "resize", "run", "popen", "on_expiring",
                                 "__enter__", "repr", "pickle"]), min_size=1, max_size=6))
def fuzz(steps):
    import pickle
    for partition in (ended, block):
        for step in steps:
            arguments = {"extend": (60,), "resize": (0.1,), "run": (["true"],), "popen": (["true"],),
                         "on_expiring": (print,)}.get(step, ())
            if step in ("time_remaining", "expires_at"):
                getattr(partition, step)
            elif step == "repr":
                assert partition.partition_id in repr(partition)
            elif step == "pickle":
                calm(lambda: pickle.loads(pickle.dumps(keep.info())))
            else:
                answer = calm(lambda: getattr(partition, step)(*arguments))
                assert answer in (None, False), (step, answer)
    assert [p.name for p in machine.list()] == ["keep"]
    import os
    assert "CHRONOS_PARTITION" not in os.environ
fuzz()
"""


@pytest.mark.parametrize("body", [CREATE, CALLS, OPTIONS, CLOSED],
                         ids=["create", "calls", "options", "closed"])
def test_nonsense_is_refused_by_name(partitioner, body):
    values = dict(tests=str(ROOT / "tests" / "e2e"), examples=by_level(20, 40, 20000),
                  fixed=by_level(True, True, False))
    if body is OPTIONS:
        values["examples"] //= 2  # some start a program
    code = FUZZ % values + body + "\nprint('done')\n"
    assert python(code, interpreter="/usr/bin/python3", warnings=(),
                  timeout=by_level(60, 120, 1200)) == "done\n"
