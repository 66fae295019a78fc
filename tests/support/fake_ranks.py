"""Ranks without MPI: processes with pipes, and one that pretends that the others do as it does."""

import multiprocessing

import numpy as np

from autoconv.engine.ranks import Ranks


class PipeRanks(Ranks):
    """Processes of multiprocessing. The first has a pipe to each other one, and tells all what each of them sends."""

    def __init__(self, rank, size, pipes, bucket_bytes=1 << 20):
        self.rank, self.size, self._pipes, self.bucket_bytes = rank, size, pipes, bucket_bytes
        self.sizes = []  # of the parts of the gradient, as they came

    def exchange(self, value):
        if self.rank:
            self._pipes[0].send(value)
            return self._pipes[0].recv()
        every = [value, *(pipe.recv() for pipe in self._pipes)]
        for pipe in self._pipes:
            pipe.send(every)
        return every

    def gather(self, array):
        return self.exchange(np.array(array))

    def broadcast(self, value):
        return self.exchange(value)[0]

    def start(self, part):
        self.sizes.append(part.size)
        part[...] = self.sum(part)

    def start_mean(self, arrays):
        for array in arrays:
            array[...] = (self.sum(np.asarray(array, np.float64)) / self.size).astype(array.dtype)


class Echo(Ranks):
    """As if each other rank had what this one has: what is summed doubles. `seen` gets each part before that."""

    size = 2

    def __init__(self, seen=lambda part: None, bucket_bytes=1):
        self._seen, self.bucket_bytes = seen, bucket_bytes

    def exchange(self, value):
        return [value, value]

    def gather(self, array):
        return [array, array]

    def start(self, part):
        self._seen(part)
        part[...] = 2 * np.asarray(part)


def together(work, size, *arguments, timeout=240):
    """`work(rank, ranks' pipes, *arguments)` in so many spawned processes. Returns their answers in order."""
    spawn = multiprocessing.get_context("spawn")
    pipes, answers = [spawn.Pipe() for _ in range(size - 1)], [spawn.Pipe() for _ in range(size)]
    of_rank = [[near for near, _ in pipes], *([far] for _, far in pipes)]
    processes = [spawn.Process(target=_answering, args=(answers[rank][1], work, rank, size, of_rank[rank], arguments))
                 for rank in range(size)]
    for process in processes:
        process.start()
    try:
        found = [answer[0].recv() if answer[0].poll(timeout) else "no answer" for answer in answers]
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert not any(isinstance(each, str) for each in found), found
    return found


def _answering(answer, work, rank, size, pipes, arguments):
    try:
        answer.send(work(PipeRanks(rank, size, pipes), *arguments))
    except BaseException as error:
        answer.send(repr(error))
        raise
