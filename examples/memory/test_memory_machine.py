"""Does it still know the name, whatever was talked of in between? Explored on a model that nobody scripted."""

import pytest
from hypothesis import strategies as st
from pytest_aitest.stateful import SessionMachine, pinned, precondition, rule


class TestMemoryMachine(SessionMachine):
    """A model of this size forgets about every other time, and not always in the same conversation."""

    pytestmark = pytest.mark.xfail(strict=False, reason="a model of 135 million parameters forgets")
    plans = 10
    name = None

    def make_agent(self, friend):
        return friend

    @rule(name=st.sampled_from(["Oliver", "Amelia", "Theodore"]))
    def introduce(self, name):
        self.say(f"Hi! My name is {name}. Please remember it.")
        self.name = name

    @rule(topic=st.sampled_from(["What is the capital of France?", "My dog is called Rex.", "What is 17 + 25?"]))
    def talk(self, topic):
        self.say(topic)

    @precondition(lambda self: self.name)
    @rule()
    def recall(self):
        assert self.name in self.say("What is my name?").final_response

    @pinned
    def documented(self):
        self.introduce(name="Oliver")
        self.talk(topic="What is the capital of France?")
        self.recall()
