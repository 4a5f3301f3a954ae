"""Does it remember a name? A real model, but a tiny one, which answers something else each time."""

import pytest


@pytest.mark.session("memory")
class TestMemory:
    async def test_introduction(self, aitest_run, friend):
        result = await aitest_run(friend, "Hi! My name is Oliver. Please remember it.")
        assert result.success

    async def test_something_else(self, aitest_run, friend):
        result = await aitest_run(friend, "What is the capital of France?")
        assert result.success

    async def test_recall(self, aitest_run, friend):
        result = await aitest_run(friend, "What is my name?")
        assert result.success
