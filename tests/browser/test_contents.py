"""The contents page: an answer in the closing self-test is recorded beside the notebook, and the page then shows it."""

import time

import pytest

from metalearn_lite.check import index, progress

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_an_answer_is_recorded_and_shown(lab, lesson):
    page = lesson("index")
    assert page.problems == []
    first = index.SELF_TEST[0]
    quiz = page.panel.locator(".jp-OutputArea-output fieldset").first
    quiz.scroll_into_view_if_needed()
    quiz.get_by_role("radio").nth([right for _, right, _ in first.choices].index(True)).check()
    quiz.get_by_role("button").click()
    assert "Right" in quiz.locator("[role=status]").text_content()
    path, deadline = lab.mine / progress.FILE, time.time() + 60
    while not (path.exists() and "index.SELF_TEST 1" in path.read_text()) and time.time() < deadline:
        time.sleep(0.2)
    cell = page.cell("progress.show()")
    page.run(cell)
    row = cell.locator("tr", has_text="Self-test").text_content()
    assert f"1 of {len(index.SELF_TEST)}" in row
    page.picture("progress")
