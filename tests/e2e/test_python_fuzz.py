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

# Whatever is public is called; what no strategy below knows is an error of this test.
EVERYTHING = """
import asyncio, inspect, threading
threading.excepthook = lambda caught: None  # of callbacks that cannot be called so
notice = keep.on_expiring(print, before=1)
objects = {"Partitioner": machine, "Partition": keep, "PartitionInfo": keep.info(),
           "Acquisition": chronos.Acquisition([], {}),
           "GpuFacts": chronos.GpuFacts._make([None] * 14), "DeviceStats": machine.stats()[0],
           "Obstacle": chronos.Obstacle(0, "", None), "Usage": keep.usage(), "ExpiryNotice": notice}
calls = {}
for name in chronos.__all__:
    value = getattr(chronos, name)
    if not inspect.isclass(value):
        calls[name] = value
        continue
    assert name in objects or issubclass(value, (chronos.ChronosError, Warning)), name
    calls[name] = value
    thing = objects.get(name)
    for attribute in dir(thing) if thing is not None else ():
        if not attribute.startswith("_") and callable(getattr(thing, attribute)):
            calls[name + "." + attribute] = getattr(thing, attribute)
assert len(calls) > 50, sorted(calls)
# The first takes seconds and no argument, the second prints, the third is the standard library's,
# which says nothing when it refuses.
names = sorted(set(calls) - {"doctor", "Partitioner.show_stats", "Acquisition.index"})

def parameters(call):
    try:
        return [p.name for p in inspect.signature(call).parameters.values()
                if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    except ValueError:
        return []

@common
@given(st.data())
def fuzz(data):
    name = data.draw(st.sampled_from(names))
    call = calls[name]
    known = parameters(call)
    positional = data.draw(st.lists(anything, max_size=2))
    words = data.draw(st.dictionaries(st.sampled_from([*known, "no_such_word"]), anything,
                                      max_size=3))
    runs = name.rpartition(".")[2] in ("run", "popen")
    if runs:  # never a program that could be there
        words.pop("args", None)
        positional[:1] = [data.draw(st.sampled_from([["/nonexistent"], [], [None], None, 7]))]
    wait = words.get("wait")
    if wait is True or isinstance(wait, (int, float, str, timedelta, Fraction)) and wait:
        words["wait"] = 0  # nobody has the time
    if name in ("Partitioner.create", "Partitioner.create_async"):
        positional = positional[:2]
    if name == "Partition.on_expiring" or name == "ExpiryNotice":
        positional = [thing for thing in positional if not callable(thing)]
    answer = calm(lambda: call(*positional, **words))
    if inspect.iscoroutine(answer):
        coroutine = answer
        answer = calm(lambda: asyncio.run(coroutine))
    if isinstance(answer, chronos.Partition) and answer is not keep and hasattr(
            answer._info, "handle"):
        assert answer.release()
    if name == "Partition.enter" and answer is not None:
        keep.leave()
    if name in ("Partition.release", "Partitioner.release") and not machine.list():
        restore()
    if name == "popen" and answer is not None:
        answer.wait(60)
    assert [p.name for p in machine.list()] == ["keep"], name

def restore():
    global keep
    keep = machine.create(0, "1MiB", 3600, name="keep")
    for name in dir(keep):
        if not name.startswith("_") and "Partition." + name in calls:
            calls["Partition." + name] = getattr(keep, name)
fuzz()
for name in names:  # and each once with nothing at all, which some take
    if not name.endswith("release"):
        answer = calm(calls[name])
        if inspect.iscoroutine(answer):
            answer = asyncio.run(answer)
        if name.startswith("Partitioner.create"):
            answer.release()
"""

PLUGIN = """
import types
from chronos import pytest_plugin as plugin
import pytest
@common
@given(st.lists(anything, max_size=3), st.dictionaries(st.sampled_from(
    ["memory", "device", "duration", "may_exceed", "wait", "other"]), anything, max_size=3))
def fuzz(positional, words):
    wait = words.get("wait")
    if wait is True or isinstance(wait, (int, float, str, timedelta, Fraction)) and wait:
        words["wait"] = 0
    mark = types.SimpleNamespace(args=positional, kwargs=words)
    item = types.SimpleNamespace(stash=pytest.Stash(), nodeid="it",
                                 get_closest_marker=lambda name: mark,
                                 iter_markers=lambda name: iter([mark]))
    try:
        plugin.pytest_runtest_setup(item)
    except (pytest.fail.Exception, pytest.skip.Exception) as outcome:
        assert str(outcome).startswith("gpu_memory: "), outcome
    for limit, partition in item.stash[plugin._held]:
        assert partition.release()
    assert [p.name for p in machine.list()] == ["keep"]
fuzz()
"""

MAGICS = """
import types
class UsageError(Exception):
    pass
for name in ("IPython", "IPython.core", "IPython.core.error"):  # the shell is none either
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython.core.error"].UsageError = UsageError
import codeop
from chronos import _notebook
magics = {}
shell = types.SimpleNamespace(
    user_ns={}, execution_count=1, transform_cell=str, transform_ast=lambda tree: tree,
    compile=types.SimpleNamespace(
        flags=0, cache=lambda source, number: "<cell>",
        ast_parse=lambda source, filename: compile(source, filename, "exec", 1024)),
    register_magic_function=lambda function, kind, name: magics.update({kind: function}))
_notebook.load(shell)
words = st.one_of(
    st.sampled_from(["--memory", "--duration", "--device", "--name", "--help", "-h", "--version",
                     "--mem", "--", "'", '"', "\\\\", "1MiB", "0.1", "1h", "0", "keep", "%%s", "@x",
                     "--memory=", "--memory=1MiB", "--name=a b", "--device=99999999999999999999"]),
    st.text(max_size=8))
@common
@given(st.lists(words, max_size=6))
def fuzz(line):
    text = " ".join(line)
    try:
        assert magics["cell"](text, "1 + 1") == 2
    except UsageError as error:
        assert str(error), text
    if text.strip():
        try:
            magics["line"](text)
            raise AssertionError(text)
        except UsageError as error:
            assert "takes no arguments" in str(error)
    assert [p.name for p in machine.list()] == ["keep"]
fuzz()
"""


@pytest.mark.parametrize(
    "body", [CREATE, CALLS, OPTIONS, CLOSED, EVERYTHING, PLUGIN, MAGICS],
    ids=["create", "calls", "options", "closed", "everything", "plugin", "magics"])
def test_nonsense_is_refused_by_name(partitioner, body):
    values = dict(tests=str(ROOT / "tests" / "e2e"), examples=by_level(20, 40, 20000),
                  fixed=by_level(True, True, False))
    if body is OPTIONS:
        values["examples"] //= 2  # some start a program
    code = FUZZ % values + body + "\nprint('done')\n"
    assert python(code, interpreter="/usr/bin/python3", warnings=(),
                  timeout=by_level(60, 120, 1200)) == "done\n"
