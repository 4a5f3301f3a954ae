"""A `session` marker that can't work is an error at collection that says what to write instead."""

import pytest

from .conftest import Project


@pytest.mark.parametrize(
    "marker",
    ["session", "session()", "session(42)", 'session("  ")', 'session("a", "b")', 'session("a", shared=True)'],
    ids=["bare", "empty", "number", "blank", "two", "keyword"],
)
def test_a_marker_without_one_usable_name_is_refused(project: Project, marker: str) -> None:
    project.write(
        test_chat=f"""
        import pytest


        @pytest.mark.{marker}
        class TestChat:
            def test_first(self):
                pass


        def test_bystander():
            pass
        """
    )
    project.shows_what_is_expected()


def test_parameters_that_some_turns_lack_are_refused(project: Project) -> None:
    project.write(
        test_chat="""
        import pytest


        @pytest.mark.session("chat")
        class TestChat:
            @pytest.mark.parametrize("model", ["a", "b"])
            def test_first(self, model):
                pass

            def test_second(self):
                pass
        """
    )
    project.shows_what_is_expected()


def test_values_that_some_turns_lack_are_refused(project: Project) -> None:
    project.write(
        test_chat="""
        import pytest


        @pytest.mark.session("chat")
        class TestChat:
            @pytest.mark.parametrize("model", ["a", "b"])
            def test_first(self, model):
                pass

            @pytest.mark.parametrize("model", ["a"])
            def test_second(self, model):
                pass
        """
    )
    project.shows_what_is_expected()


def test_the_marker_is_registered(project: Project) -> None:
    project.write(test_chat="import pytest\n\n@pytest.mark.session('chat')\ndef test_first():\n    pass\n")
    project.run("--strict-markers").assert_outcomes(passed=1)
