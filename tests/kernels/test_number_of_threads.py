"""The number of threads follows the machine: fewer while other programs run, all when they end, never more than set."""

import random

import numba
import numpy as np
import pytest

from autoconv import datasets, layers, models, utils
from autoconv.kernels import threads, trace


class Machine:
    """Processors with other programs on them, and a clock. A replay of `work` seconds is shared by its threads; where
    there are more threads and programs than processors, waiting makes it three times as slow as on one thread.
    """

    def __init__(self, processors, own=None, work=0.004):
        self.processors, self.own, self.work = processors, own or processors, work
        self.time, self.spent, self.others, self.count = 0.0, 0.0, 0, own or processors
        self.team = threads.Team(lambda: self.time, lambda: self.spent, lambda: self.count, self.put)
        self.pace, self.noise = threads.Pace(), random.Random(0)

    def put(self, count):
        self.count = count

    def replay(self, delay=0.0):
        begun = self.team.begin()
        n, free = self.count, self.processors - self.others
        assert n <= self.own
        taken = self.work / n if n <= free or n == 1 else 3 * self.work
        taken *= self.noise.uniform(0.95, 1.1)
        self.time += taken + delay
        self.spent += taken * min(n, max(1, free))
        self.team.end(begun, self.pace)
        assert self.count == self.own
        return n

    def run(self, seconds):
        """Replays for so long. Returns how many there were, and the threads of the last one."""
        end, replays, n = self.time + seconds, 0, 0
        while self.time < end:
            n = self.replay()
            replays += 1
        return replays, n

    def mostly(self, least, most):
        """Whether most of the next replays have so many threads: all but those of looks."""
        return sum(least <= self.replay() <= most for _ in range(2000)) > 1600


@pytest.mark.parametrize("work", [0.001, 0.004, 0.3])
def test_alone_looking_costs_next_to_nothing(work):
    machine = Machine(2, work=work)
    replays, n = machine.run(100)
    ideal = Machine(2, own=1, work=work / 2).run(100)[0]  # one thread, half the work: never looks
    assert n == 2
    assert replays > 0.994 * ideal


@pytest.mark.parametrize(("processors", "others", "expected"),
                         [(2, 1, 1), (2, 2, 1), (4, 1, 3), (16, 1, 15), (16, 6, 10), (64, 40, 24)])
def test_beside_other_programs_as_many_threads_as_there_are_free_processors(processors, others, expected):
    machine = Machine(processors)
    machine.others = others  # from the start
    machine.run(8)
    assert machine.mostly(0.74 * expected, expected)
    machine.others = 0
    machine.run(12)
    assert machine.mostly(processors, processors)
    machine.others = others  # and once more, while it trains
    machine.run(4)
    assert machine.mostly(0.74 * expected, expected)


def test_two_processors_change_within_a_second_or_two():
    machine = Machine(2)
    machine.run(5)
    machine.others = 1
    machine.run(0.5)
    assert machine.replay() == 1
    machine.others = 0
    machine.run(2)
    assert machine.replay() == 2


def test_what_python_does_between_replays_causes_few_looks():
    machine, counts = Machine(2), []
    for i in range(20_000):
        counts.append(machine.replay())
        if i // 100 % 2:  # as in an evaluation with metrics of the user's
            machine.time += machine.work
            machine.spent += machine.work  # on one thread
    assert counts.count(1) < 0.02 * len(counts)


def test_one_bad_moment_changes_nothing():
    machine = Machine(2)
    for _ in range(50):
        machine.run(0.3)
        machine.replay(delay=0.1)
        machine.replay(delay=0.1)
        machine.run(0.1)
    assert sum(machine.replay() == 2 for _ in range(100)) == 100
    assert machine.team.changes == 0


def test_the_users_number_is_the_most():  # `replay` asks each time
    machine = Machine(16, own=8)
    machine.others = 10
    machine.run(5)
    assert machine.mostly(4, 6)
    machine.own = machine.count = 2
    assert machine.replay() == 2
    machine.others = 0
    machine.run(10)
    assert machine.mostly(2, 2)
    machine.own = machine.count = 1
    machine.run(10)
    assert machine.mostly(1, 1)


def test_what_was_found_is_forgotten_in_a_pause():
    machine = Machine(2)
    machine.others = 1
    machine.run(3)
    assert machine.replay() == 1
    machine.time += 10
    assert machine.replay() == 2


def trained(team, monkeypatch):
    """The weights of a net that was trained with this team, and with how many threads its replays ran."""
    monkeypatch.setattr(trace, "team", team)
    utils.set_random_seed(3)
    (x, y), _ = datasets.digits.load_data()
    model = models.Sequential([
        layers.Input((14, 14, 1)), layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten(), layers.Dropout(0.3),
        layers.Dense(10, activation="softmax")])
    model.compile("rmsprop", "sparse_categorical_crossentropy")
    model.fit(x[:128, ::2, ::2, None] / 255.0, y[:128], batch_size=16, epochs=6, verbose=0, validation_split=0.2)
    return [*model.get_weights(), model.predict(x[:50, ::2, ::2, None] / 255.0, verbose=0)]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_the_same_bits_while_the_number_changes(monkeypatch):
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)  # whatever another test left
    counts, own = [], numba.get_num_threads()

    def clock():  # by which now one thread is the fastest, now all are
        fastest = 1 if clock.time % 4 < 2 else own
        clock.time += 0.01 if numba.get_num_threads() == fastest else 0.1
        return clock.time

    def put(count):
        counts.append(count)
        numba.set_num_threads(count)

    clock.time = 0.0
    restless = threads.Team(clock, clock, numba.get_num_threads, put)
    still = threads.Team(lambda: 0.0)
    expected, found = trained(still, monkeypatch), trained(restless, monkeypatch)
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert numba.get_num_threads() == own == max(counts)
    assert counts.count(1) > 5
    assert restless.changes > 1


def test_an_error_gives_the_users_number_back():
    def fails():
        raise KeyboardInterrupt

    work, own = trace.Trace(trace.HOST), numba.get_num_threads()
    with work.record("all") as section:
        pass
    section.calls.append((fails, ()))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            work.replay("all")
    assert numba.get_num_threads() == own


def test_a_pause_before_a_long_replay_tells_nothing():
    machine = Machine(2, work=0.3)
    machine.run(5)
    machine.time += 10
    assert machine.replay() == 2
    assert machine.replay() == 2


def test_replays_that_take_longer_than_a_pause():
    machine = Machine(2, work=8)
    machine.run(100)
    assert sum(machine.replay() == 2 for _ in range(20)) == 20


def test_a_replay_within_a_replay_gives_the_users_number_back():
    machine = Machine(4)
    machine.others = 2
    machine.run(5)
    outer = machine.team.begin()
    assert machine.count < 4
    machine.team.end(machine.team.begin(), threads.Pace())
    machine.team.end(outer, machine.pace)
    assert machine.count == 4
