"""What a test gets back from a turn.

Speaks of its own turn only; `session` has the whole conversation.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ErrorKind, UnknownToolWarning, did_you_mean
from .model import Message
from .transcript import ToolCall, Transcript, Turn


@dataclass(frozen=True, kw_only=True, repr=False)
class AgentResult:
    """How an agent took one turn. True where it answered.

    >>> result = AgentResult(turn=Turn(agent="bank", model="builtin", user="hi"), session=Transcript(name="chat"))
    >>> bool(result), result.tool_was_called("transfer")
    (True, False)
    """

    turn: Turn
    session: Transcript  # up to and with this turn

    def __bool__(self) -> bool:
        return self.success

    @property
    def success(self) -> bool:
        """Whether the agent answered: no provider error, no dead server, `max_model_calls` not used up."""
        return self.turn.success

    @property
    def error(self) -> str | None:
        """One sentence on why there is no answer."""
        return self.turn.error

    @property
    def error_kind(self) -> ErrorKind | None:
        """The same in one word."""
        return self.turn.error_kind

    @property
    def final_response(self) -> str:
        """The answer; empty where there is none."""
        return self.turn.final_response

    @property
    def all_responses(self) -> list[str]:
        """Every text of the agent in this turn, those before a tool call too."""
        return list(self.turn.responses)

    @property
    def messages(self) -> list[Message]:
        """The whole conversation so far, OpenAI-style, without system prompts; fit for `aitest_run(messages=...)`."""
        return list(self.session.messages)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """This turn's tool calls, in order."""
        return list(self.turn.tool_calls)

    @property
    def tool_names_called(self) -> set[str]:
        """Names of the tools called in this turn."""
        return {call.name for call in self.turn.tool_calls}

    def tool_was_called(self, name: str) -> bool:
        """Whether this turn called the tool."""
        return bool(self._calls(name))

    def tool_call_count(self, name: str) -> int:
        """How often this turn called the tool."""
        return len(self._calls(name))

    def tool_calls_for(self, name: str) -> list[ToolCall]:
        """This turn's calls of one tool, in order."""
        return self._calls(name)

    def tool_call_arg(self, name: str, arg: str) -> Any:
        """An argument of the first call of the tool in this turn; None where there is no such call or argument."""
        for call in self._calls(name):
            return call.arguments.get(arg) if isinstance(call.arguments, Mapping) else None
        return None

    def _calls(self, name: str) -> list[ToolCall]:
        # `assert not result.tool_was_called("transfr")` would hold for ever.
        known = {*self.turn.offered_tools, *self.tool_names_called}
        if name not in known and (hint := did_you_mean(name, sorted(known))):
            warnings.warn(f"Agent {self.turn.agent!r} has no tool {name!r}.{hint}", UnknownToolWarning, stacklevel=3)
        return [call for call in self.turn.tool_calls if call.name == name]

    @property
    def duration_ms(self) -> float:
        """Wall-clock time of the turn."""
        return self.turn.duration_ms

    @property
    def token_usage(self) -> dict[str, int]:
        """Tokens over all model calls of the turn: `{"prompt": 812, "completion": 40}`."""
        return {"prompt": self.turn.prompt_tokens, "completion": self.turn.completion_tokens}

    @property
    def cost_usd(self) -> float | None:
        """US dollars over all model calls of the turn; None where no price is known."""
        return self.turn.cost_usd

    @property
    def available_tools(self) -> list[str]:
        """Names of the tools that the agent was offered, after `allowed_tools`."""
        return list(self.turn.available_tools)

    @property
    def is_session_continuation(self) -> bool:
        """Whether the agent had heard anything before this turn."""
        return self.session_context_count > 0

    @property
    def session_context_count(self) -> int:
        """How many messages the agent had before it when this turn began, system prompt not counted."""
        own = len(self.turn.messages) if self.success else 0
        return len(self.session.messages) - own

    def __repr__(self) -> str:
        # One line: pytest shows the line breaks of a repr as "\n".
        return f"<turn {len(self.session.turns)} of {self.session.name or 'a session'}: {self.turn.record.in_one_line}>"
