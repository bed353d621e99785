"""What docs/llm.md shows."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "llm.md"


def test_the_page_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    shown = re.search(r"prints\n\n```\n(.*?)  \.\.\.\n```", text, re.DOTALL)
    assert code is not None and shown is not None
    exec(compile(code[1], str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith(shown[1])
