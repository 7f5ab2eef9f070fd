"""The control: a worker with all fencing switched off. A storm over such workers must fail its check.

Its transactional ids are its own, so nobody shuts out an earlier owner, and it tells the group no generation, so the
broker takes its offsets from whoever sends them. Run as `python -m tests.fault.unfenced_worker process …`.
"""

import sys
import uuid
from collections.abc import Callable
from typing import Any

from processors.engine import engine, transactions
from processors.engine.transaction_requests import GroupIdentity


def remove_fencing() -> None:
    """Take both fences away; fails where either is no longer where it was."""
    process = uuid.uuid4().hex

    def own_id(group: str, source: Any) -> str:
        return f"{group}-{source.topic}-{source.partition}-{process}"

    def nobody(app: Any, *rest: Any) -> GroupIdentity:
        return GroupIdentity(-1, "", None)

    _replace("transactional_id", own_id)
    _replace("group_identity", nobody)


def _replace(name: str, by: Callable[..., Any]) -> None:
    """Replace a function in every module of the engine that knows it by name."""
    modules = [m for n, m in sys.modules.items() if n.startswith("processors.engine") and hasattr(m, name)]
    assert modules, f"the engine has no {name} any more: the control would prove nothing"
    for module in modules:
        setattr(module, name, by)


assert engine
assert transactions

if __name__ == "__main__":
    remove_fencing()
    from coinglass_streams.cli import main

    main()
