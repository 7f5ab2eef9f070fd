"""What is started and stopped, and may be used with `async with`."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Started(ABC):
    """Starts on entering and stops on leaving, whatever happened in between."""

    @abstractmethod
    async def start(self) -> None:
        """Return once it is there to be used."""

    @abstractmethod
    async def stop(self) -> None:
        """Return once it is gone."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
