"""The builtin model: a plain baseline that needs no key, no network and no download.

It knows no domain. What it does for a bank it does for a library, because it only compares the user's words with the
names, descriptions and schemas that the servers declare::

    language     the English it knows
    parameters   what a tool takes; `tools`: what it is about
    memory       the messages of a request, read as a conversation; `records`: the objects in its tool results
    choose       which tool a message asks for
    fill         its arguments: from the message by `finders` and `phrases`, else from what was said and done before
    reply        the sentence at the end
"""

from pytest_aitest.values.model import ModelAnswer, ModelRequest, ToolRequest

from .choose import plan_calls
from .language import read
from .memory import remember
from .reply import ask, decline, report
from .tools import read_tool

__all__ = ["BuiltinModel"]


class BuiltinModel:
    """A model without a neural network, for trying things out and for tests that must be free, fast and repeatable.

    It picks the tool whose name, description and schema have most in common with the user's words, and takes the
    arguments from the message, then from earlier turns and results. It asks for a required one that nobody named, and
    says a tool's result, or its error, in a sentence. The same request always gets the same answer.

    What it can't do: reason, calculate, follow a system prompt, plan a call from the result of another, know what day
    it is, or read anything but simple English. It never fills arguments that are arrays of objects or have no type. It
    reads the last forty messages before the current one.
    """

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer once; costs nothing and never raises."""
        memory = remember(request.messages)
        tools = [read_tool(spec) for spec in request.tools]
        if memory.current.calls:
            return ModelAnswer(text=report(memory.current.calls, tools))
        said = read(memory.current.text)
        if memory.open and said.refuses:
            return ModelAnswer(text="All right, I leave it at that.")
        plans = plan_calls(memory, tools)
        if not plans:
            return ModelAnswer(text=decline(said, memory, tools))
        if plans[0].missing:
            return ModelAnswer(text=ask(plans[0], memory))
        return ModelAnswer(
            tool_requests=[
                ToolRequest(name=plan.tool.spec.name, arguments=arguments)
                for plan in plans
                for arguments in plan.arguments()
            ]
        )
