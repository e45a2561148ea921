"""What holds for every test: it belongs to one part of `make test`, and it repeats."""

import signal
import sys

import hypothesis
import pytest

import start

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        parts = {mark.name for mark in item.iter_markers()} & set(start.PARTS.values())
        if len(parts) > 1:
            raise pytest.UsageError(f"{item.nodeid} would run {len(parts)} times: it is marked {sorted(parts)}")
        if "browser" in parts:  # what looks at one lesson stays in one process, where it is opened and run once
            lesson = getattr(item, "callspec", None) and item.callspec.params.get("name")
            item.add_marker(pytest.mark.xdist_group(lesson or item.path.stem))


@pytest.fixture
def say(capsys):
    """say(text): onto the terminal, at once; of stderr, for the processes of a part that runs two at a time have no stdout."""
    def write(text):
        with capsys.disabled():
            print(f"\n{text}", file=sys.stderr)
    return write


@pytest.fixture
def as_in_a_terminal():
    """Ctrl-C reaches what the test starts, though a script that runs the tests in its background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
