"""`--jobs N`: the partitions spread over processes, each of which brings its own into order; the parent merges them."""

import gc
import multiprocessing
import signal
from collections.abc import Collection, Hashable, Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from processors.collector import spare_the_collector
from processors.replay.ordered import BEFORE_ALL
from processors.replay.plan import Plan, split
from processors.replay.run import Advance, LocalPartitions, merged
from processors.replay.settings import ReplaySettings
from schemas.errors import OperationError, StreamsError


class JobProcesses:
    """Other processes' shares of a plan. A pipe is what waits of each: a process that is ahead stands still."""

    def __init__(self, settings: ReplaySettings, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: list[BaseProcess] = []
        self._pipes: dict[int, Connection] = {}
        for number, share in enumerate(split(plan, settings.jobs)):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_work, args=(settings, share, theirs), daemon=True, name=f"replay-{number}"
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes[number] = ours

    @property
    def names(self) -> Iterable[Hashable]:
        """The jobs' numbers."""
        return list(self._pipes)

    def advance(self, wanted: Collection[Hashable]) -> Iterable[Advance]:
        """Take what jobs have sent."""
        pipes = {pipe: number for number, pipe in self._pipes.items() if number in wanted}
        for pipe in wait(list(pipes)):
            assert isinstance(pipe, Connection)
            number = pipes[pipe]
            try:
                message = pipe.recv()
            except EOFError:
                self._processes[number].join(5)
                status = self._processes[number].exitcode
                raise OperationError(f"a job of the replay died with status {status}: run it again") from None
            if isinstance(message, StreamsError):
                raise message
            results, cut, records = message
            yield Advance(number, results, cut or BEFORE_ALL, records, cut is None)

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for pipe in self._pipes.values():
            pipe.close()


def _work(settings: ReplaySettings, share: Plan, pipe: Connection) -> None:
    """Replay a share, and send it piece by piece."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    gc.collect()
    spare_the_collector()
    try:
        partitions = LocalPartitions(settings, share)
        try:
            records = 0
            for step in merged(partitions):
                records += step.records
                if step.results or step.cut is None or records:
                    pipe.send((step.results, step.cut, records))
                    records = 0
        finally:
            partitions.close()
    except StreamsError as error:
        pipe.send(error)
    except BrokenPipeError:
        pass  # the parent is gone, and with it whoever asked
