"""A subject whose steps and checks are functions of its session."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_aitest import Agent, Provider, Session
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.tree import Node
from pytest_aitest.search.plan import Plan, Step

Act = Callable[..., Any]


def echo(messages: Sequence[Mapping[str, Any]], tools: object) -> str:
    return " | ".join(message["content"] for message in messages if message["role"] == "user")


ECHO = Agent(name="echo", provider=Provider(model=echo))


@dataclass(kw_only=True)
class Scripted:
    """Takes the steps that it has acts for; an act is given the session and the step's arguments."""

    acts: Mapping[str, Act]
    session: Session = field(default_factory=lambda: Session(ECHO, past=Past(Node(), replays=True)))
    looks: Mapping[str, Callable[[Session], object]] = field(default_factory=dict)
    ending: Callable[[], object] = lambda: None
    ended: int = 0

    def can_take(self, step: Step) -> bool:
        return step.rule in self.acts

    def take(self, step: Step, arguments: Mapping[str, Any]) -> Any:
        return self.acts[step.rule](self.session, **arguments)

    def checks(self) -> Iterator[tuple[str, Callable[[], object]]]:
        for name, look in self.looks.items():
            yield name, lambda look=look: look(self.session)

    def count(self) -> None: ...

    def end(self) -> None:
        self.ended += 1
        self.session.close()
        self.ending()


def plan(*rules: str) -> Plan:
    return tuple(Step(rule=rule) for rule in rules)


def says(words: str) -> Act:
    return lambda session: session.say(words)


def raises(error: BaseException) -> Act:
    def act(*_: object, **__: object) -> None:
        raise error

    return act
