"""An event loop that runs only while something is asked of it: for code that is synchronous around a Kafka client."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

A = TypeVar("A")


class OwnLoop:
    """A loop of one owner. What a client does on its own goes on while something is asked, and rests in between."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, asking: Coroutine[Any, Any, A]) -> A:
        """Return what a coroutine returns."""
        return self._loop.run_until_complete(asking)

    def close(self) -> None:
        """End what still runs, and close."""
        if self._loop.is_closed():
            return
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=5))
        self._loop.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._loop.is_closed()
