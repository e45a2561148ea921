"""What holds for every test: it belongs to one part of `make test`, and it repeats."""

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
