from typing import Any
def attach(model: Any, plan: Any) -> None:
    pass
