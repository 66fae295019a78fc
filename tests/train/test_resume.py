"""Training that stopped anywhere goes on bit for bit: fit, BackupAndRestore, and the files of a training's state."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from resumed import ARRAYS, EPOCHS, PER_EPOCH, TRAININGS, Batches, CrashAt, CrashError, Worst, X, Y, net, sha256, train

from autoconv import callbacks, layers, losses, models, optimizers, utils
from autoconv.files import folders
from autoconv.train import checkpoint


@pytest.mark.parametrize("kind", TRAININGS)
def test_training_that_crashed_anywhere_goes_on_bit_for_bit(kind, tmp_path):
    """At the first step, within an epoch, at an epoch's last and first step, and again and again."""
    wanted = train(kind)
    for crashes in ([0], [20], [35], [9, 1, 5, 7, 4]):
        for at in crashes:
            try:
                train(kind, tmp_path / "states", at)
            except CrashError:
                continue
            break
        assert train(kind, tmp_path / "states") == wanted, crashes
        assert not list((tmp_path / "states").iterdir())  # at the end of fit none is needed


def test_a_state_at_the_ends_of_epochs_alone(tmp_path):
    wanted = train("arrays")
    for at in (PER_EPOCH + 5, PER_EPOCH + 5, 6):  # of what came after an epoch's end, nothing was kept
        with pytest.raises(CrashError):
            train("arrays", tmp_path, at, "epoch")
    names = [f"0001-{steps:09d}.safetensors" for steps in (PER_EPOCH, 2 * PER_EPOCH)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names  # the last two stay
    assert train("arrays", tmp_path, freq="epoch") == wanted


def test_an_image_folder_goes_on_in_the_middle_of_an_epoch(tmp_path):
    pytest.importorskip("PIL")
    from photo_files import make

    folder = make(tmp_path / "photos" / "pictures", each=13)
    (folder / "red" / "text.jpg").write_text("no picture")

    def learn(*more):
        utils.set_random_seed(3)
        data = utils.image_dataset_from_directory(folder, image_size=(12, 12), batch_size=4, seed=1, verbose=False)
        said = []
        data.on_unreadable = lambda path, reason: said.append(path)
        model = models.Sequential([layers.Input((12, 12, 3)), layers.RandomFlip(), layers.Rescaling(1 / 255),
                                   layers.Flatten(), layers.Dropout(0.2), layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        tests = utils.image_dataset_from_directory(folder / "..", image_size=(12, 12), verbose=False, seed=2)
        tests.on_unreadable = data.on_unreadable
        history = model.fit(data, epochs=3, verbose=0, callbacks=list(more), validation_data=tests)
        return sha256(model), history.history, data.epoch, sorted(data.skipped_files), len(said) > 0

    wanted = learn()
    assert wanted[-1]
    for crash in (0, 3, 9, 10, 11, 25):
        with pytest.raises(CrashError):
            learn(callbacks.BackupAndRestore(tmp_path / "states", 1), CrashAt(crash))
        assert learn(callbacks.BackupAndRestore(tmp_path / "states", 1))[:4] == wanted[:4], crash
    (folder / "red" / "text.jpg").unlink()
    data = utils.image_dataset_from_directory(folder, image_size=(12, 12), verbose=False)
    model = models.Sequential([layers.Input((12, 12, 3)), layers.Flatten(), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="Create a second one"):
        model.fit(data, validation_data=data, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path / "states"))


def test_resume_goes_on_with_more_epochs(tmp_path):
    wanted = train("arrays", epochs=6)
    model = net()
    model.fit(**{**ARRAYS, "epochs": 4, "verbose": 0},
              callbacks=callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False))
    assert train("arrays", epochs=6, resume=tmp_path) == wanted
    assert train("arrays", epochs=6, resume=str(tmp_path)) == wanted  # which changed nothing there
    assert train("arrays", epochs=4, resume=tmp_path)[1:] == train("arrays")[1:]  # nothing is left to be done
    with pytest.raises(FileNotFoundError, match="contains no checkpoint"):
        train("arrays", resume=tmp_path / "nowhere")


def test_csv_rows_come_once(tmp_path):
    def learn(name, *more):
        net().fit(**{**ARRAYS, "epochs": 4, "verbose": 0}, callbacks=[callbacks.CSVLogger(tmp_path / name), *more])

    learn("whole.csv")
    backup = callbacks.BackupAndRestore(tmp_path / "states", 4)
    with pytest.raises(CrashError):
        learn("parts.csv", backup, CrashAt(2 * PER_EPOCH + 2))  # the last state is of the second epoch's end but two
    learn("parts.csv", backup)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with open(tmp_path / "parts.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == list("0123")


def test_looking_at_the_sums_changes_no_bit_of_them():
    """So a line of progress, which asks by the clock, does not, either."""
    listener = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    histories = [net().fit(**{**ARRAYS, "epochs": 2, "verbose": 0}, callbacks=more).history for more in ([], listener)]
    assert histories[0] == histories[1]


# What does not fit is refused, before anything changes.


@pytest.fixture
def stopped(tmp_path):
    """The folder with two states of a training that crashed in its first epoch, and again in its second one."""
    for at in (5, 10):
        with pytest.raises(CrashError):
            train("arrays", tmp_path, at)
    return tmp_path


@pytest.mark.parametrize(("change", "said"), [
    (lambda: {"model": net(optimizer=optimizers.Adam(0.01, beta_1=0.8))}, "optimizer.beta_1 = 0.9. Received: 0.8"),
    (lambda: {"model": net(optimizer=optimizers.SGD(0.01))}, "optimizer.class = 'Adam'. Received: 'SGD'"),
    (lambda: {"model": net(measured=["acc"])}, "metrics = ['accuracy']. Received: ['acc']"),
    (lambda: {"x": X[1:64]}, "The data and batch settings must be the same"),
    (lambda: {"x": X[1:64], "model": net(optimizer=optimizers.Adam(0.01, beta_1=0.8))}, "The data and batch settings"),
    (lambda: {"batch_size": 9}, "batch_size=7. Received: batch_size=9"),
    (lambda: {"shuffle": False}, "shuffled=True. Received: shuffled=False"),
    (lambda: {"steps_per_epoch": 3}, "steps_per_epoch=None. Received: steps_per_epoch=3"),
])
def test_another_training_is_refused_by_name(stopped, change, said):
    given = {"model": net(), **ARRAYS, "epochs": EPOCHS, **change()}
    model = given.pop("model")
    before = sha256(model)
    with pytest.raises(ValueError, match=re.escape(said)):
        model.fit(**given, verbose=0, callbacks=callbacks.BackupAndRestore(stopped))
    assert sha256(model) == before


def test_another_net_and_other_callbacks_are_refused(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(CrashError):
        net().fit(**ARRAYS, epochs=2, verbose=0, callbacks=[callbacks.EarlyStopping("loss"), backup, CrashAt(12)])
    with pytest.raises(ValueError, match="had a callback EarlyStopping, which is missing"):
        net().fit(**ARRAYS, epochs=2, verbose=0, callbacks=backup)
    model = models.Sequential([layers.Input((12, 12, 2)), layers.Flatten(), layers.Dense(5, "softmax")])
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(ValueError, match=r"'dense/kernel': \(100, 5\) float32.*Create the same model"):
        model.fit(**ARRAYS, epochs=2, verbose=0, callbacks=[callbacks.EarlyStopping("loss"), backup])


@pytest.mark.parametrize("save_freq", [0, -1, True, "batch", 2.5, None])
def test_how_often_is_a_number_of_steps_or_epoch(save_freq, tmp_path):
    with pytest.raises(ValueError, match="save_freq must be"):
        callbacks.BackupAndRestore(tmp_path, save_freq)


def test_generators_are_refused_and_iterables_with_a_state_are_not(tmp_path):
    def generated():
        while True:
            yield X[:7], Y[:7]

    class Shuffled(Batches):
        def on_epoch_end(self):
            pass

    for given in ({"x": generated(), "steps_per_epoch": 3}, {"x": Shuffled()},
                  {**ARRAYS, "validation_data": generated(), "validation_steps": 2}):
        with pytest.raises(ValueError, match="the position in the data cannot be saved"):
            net().fit(**given, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))

    class Known:
        """Batches in an order of its own, from where its state says."""

        def __init__(self):
            self.order, self.at = np.random.default_rng(2), 0
            self.begun = self.order.bit_generator.state

        def __iter__(self):
            self.order.bit_generator.state = self.begun
            order = self.order.permutation(PER_EPOCH)
            while self.at < PER_EPOCH:
                self.at += 1
                yield Batches()[order[self.at - 1]]
            self.at, self.begun = 0, self.order.bit_generator.state

        def get_state(self):
            return {"at": self.at, "begun": json.dumps(self.begun)}

        def set_state(self, state):
            self.at, self.begun = state["at"], json.loads(state["begun"])

    def learn(*more):
        model = net()
        return model.fit(Known(), epochs=3, verbose=0, callbacks=list(more)).history, sha256(model)

    for crash in (0, 4, 9, 13, 18):
        with pytest.raises(CrashError):
            learn(callbacks.BackupAndRestore(tmp_path, 1), CrashAt(crash))
        assert learn(callbacks.BackupAndRestore(tmp_path, 1)) == learn(), crash


# The files.


def test_a_damaged_state_is_noticed_and_the_one_before_is_used(stopped):
    newest = max(stopped.iterdir())
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1  # a bit of a weight: still a file of numbers
    newest.write_bytes(data)
    wanted = train("arrays")
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged.*The one before is used"):
        assert train("arrays", stopped) == wanted


def test_where_all_states_are_damaged_nothing_begins_by_itself(stopped):
    for path in stopped.iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"is damaged.*to start again"):
        train("arrays", stopped)


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.soak)])
def test_no_mutant_of_a_state_is_taken_for_one(stopped, count):
    """Bits, lengths, ends: each is refused by a ValueError, and so the state before it is used."""
    from autoconv.train import checkpoint

    path, rng = max(stopped.iterdir()), np.random.default_rng(1)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(count):
        data = bytearray(whole)
        kind = rng.integers(5)
        if kind == 0:
            data = data[: rng.integers(len(data))]
        elif kind == 1:
            data += rng.bytes(rng.integers(1, 99))
        elif kind == 2:
            data[:8] = int(rng.choice([0, 1, 2**31, 2**63, len(data), header - 7])).to_bytes(8, "little")
        else:
            data[rng.integers(header if kind == 3 else len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            state = checkpoint.read(path)
        except ValueError:
            continue
        path.write_bytes(whole)  # what JSON does not count: a blank, the case of an escape
        wanted = checkpoint.read(path)
        assert state.metadata == wanted.metadata
        assert all(np.array_equal(state.arrays[name], wanted.arrays[name]) for name in wanted.arrays)
        assert state.arrays.keys() == wanted.arrays.keys()


def test_one_process_trains_in_a_folder(tmp_path):
    class Second(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            with pytest.raises(BlockingIOError, match="Another process is training in"):
                train("arrays", tmp_path)

    net().fit(**ARRAYS, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path), Second()])
    net().fit(**ARRAYS, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))


class Gone(callbacks.Callback):
    """Removes a folder before the first state is saved, as somebody may do."""

    def __init__(self, folder, held=False):
        self.folder, self.held, self.done = folder, held, False

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 3 and not self.done:
            self.done = True
            while self.folder.exists():  # a state that is being saved makes rmtree fail
                shutil.rmtree(self.folder, ignore_errors=True)
            if self.held:
                self.hold = folders.Hold(self.folder)  # by another process, as far as locks can tell


def test_a_folder_that_was_removed_is_made_again(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path / "a" / "b", 2, delete_checkpoint=False)
    net().fit(**ARRAYS, verbose=0, callbacks=[backup, Gone(tmp_path / "a")])
    assert checkpoint.newest(tmp_path / "a" / "b", pytest.fail).state.position == (1, 0)


def test_a_folder_that_another_process_took_over_ends_the_training(tmp_path):
    gone = Gone(tmp_path / "a", held=True)
    with pytest.raises(BlockingIOError, match="Another process is training in"):
        net().fit(**ARRAYS, epochs=3, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / "a", 5), gone])
    assert list((tmp_path / "a").iterdir()) == []
    gone.hold.close()


def test_no_state_is_written_into_a_folder_that_another_process_took_over(tmp_path):
    writer = checkpoint.Writer(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    other = folders.Hold(tmp_path / "a")
    for steps in (5, 10):
        writer.write(steps, checkpoint.TrainState({}, {}))
        writer.wait()
        assert isinstance(writer.take_error(), BlockingIOError)
    assert list((tmp_path / "a").iterdir()) == []
    writer.close()
    other.close()


def test_a_state_that_cannot_be_written_ends_no_training(tmp_path, monkeypatch):
    from autoconv.files import atomic

    def full(path, data, durable=True):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "write", full)
    with pytest.warns(RuntimeWarning, match=r"could not be saved.*No space left on device"):
        assert train("arrays", tmp_path, freq="epoch") == train("arrays")


def test_what_cannot_be_kept_as_data_is_refused_by_its_place(tmp_path):
    class Odd(callbacks.Callback):
        def get_state(self):
            return {"model": self.model}

    with pytest.raises(TypeError, match="Received: Sequential in the entry 'callbacks/Odd/model'"):
        net().fit(**ARRAYS, verbose=0, callbacks=[Odd(), callbacks.BackupAndRestore(tmp_path)])


def test_callbacks_keep_arrays_of_all_kinds(tmp_path):
    kept = {"a": [np.arange(6).astype(kind).reshape(3, 2).T for kind in ("f2", "f4", "f8", "i1", "u8", "bool")],
            "b": {"none": np.zeros((0, 3)), "one": np.array(1.5)}, "b/one": np.array(2.5), "c": (float("inf"), None)}

    class Holds(callbacks.Callback):
        got = None

        def get_state(self):
            return kept

        def set_state(self, state):
            self.got = state

    holds, backup = Holds(), callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    for epochs in (1, 2):
        net().fit(**ARRAYS, epochs=epochs, verbose=0, callbacks=[holds, backup])
    for one, other in zip(holds.got["a"], kept["a"], strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert holds.got["b"]["none"].shape == (0, 3)
    assert (holds.got["b"]["one"].shape, holds.got["b"]["one"], holds.got["b/one"]) == ((), 1.5, 2.5)
    assert holds.got["c"] == [float("inf"), None]


def test_a_request_to_stop_saves_after_the_step(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path)

    class Ask(callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            backup.stop_requested = self.steps == 13

    with pytest.raises(KeyboardInterrupt):
        net().fit(**ARRAYS, epochs=EPOCHS, verbose=0, callbacks=[Ask(), backup])
    assert max(tmp_path.iterdir()).name == "0001-000000013.safetensors"
    backup.stop_requested = False
    assert train("arrays", tmp_path) == train("arrays")


def test_training_that_was_stopped_early_stays_stopped(tmp_path):
    def learn(*more):
        model = net()
        stop = callbacks.EarlyStopping("loss", mode="max", restore_best_weights=True)
        history = model.fit(**ARRAYS, epochs=9, verbose=0, callbacks=[stop, *more])
        return sha256(model), history.history

    def crash(logs):
        raise CrashError

    wanted = learn()
    assert len(wanted[1]["loss"]) == 2
    with pytest.raises(CrashError):
        learn(callbacks.BackupAndRestore(tmp_path), callbacks.LambdaCallback(on_train_end=crash))
    assert learn(callbacks.BackupAndRestore(tmp_path)) == wanted


def test_several_outputs_and_loss_weights(tmp_path):
    def learn(*more):
        utils.set_random_seed(1)
        x = layers.Input((4,))
        y = layers.Dropout(0.3)(layers.Dense(6, "relu")(x))
        model = models.Model(x, [layers.Dense(1, name="a")(y), layers.Dense(1, name="b")(y)])
        model.compile("adam", ["mse", losses.MeanAbsoluteError()], loss_weights=[1, 0.5], metrics=[["mae"], ["mse"]])
        x, y = X[:, 0, :2].reshape(70, 4), X[:, 1, 1, :1]
        history = model.fit(x, [y, 1 - y], epochs=3, batch_size=16, verbose=0, callbacks=list(more))
        return sha256(model), history.history

    with pytest.raises(CrashError):
        learn(callbacks.BackupAndRestore(tmp_path, 1), CrashAt(8))
    assert learn(callbacks.BackupAndRestore(tmp_path, 1)) == learn()


# What was found to go wrong once.


def refused(stopped, said, **given):
    """The stopped training does not go on with a model or with data that differ; the model stays as it is."""
    model = given.pop("model", None) or net()
    before = sha256(model)
    with pytest.raises(ValueError, match=re.escape(said)):
        model.fit(**{**ARRAYS, "epochs": EPOCHS, "verbose": 0, **given},
                  callbacks=callbacks.BackupAndRestore(stopped))
    assert sha256(model) == before


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.RMSprop])
def test_another_momentum_is_refused(kind, tmp_path):
    """The setting has the name of the array that the optimizer keeps."""
    with pytest.raises(CrashError):
        net(optimizer=kind(0.05, momentum=0.9)).fit(
            **ARRAYS, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path, 2), CrashAt(4)])
    refused(tmp_path, "optimizer.momentum = 0.9. Received: 0.5", model=net(optimizer=kind(0.05, momentum=0.5)))


def test_another_learning_rate_and_other_samples_to_validate_on_are_refused(stopped):
    refused(stopped, "optimizer.learning_rate = 0.01. Received: 0.0001", model=net(optimizer=optimizers.Adam(0.0001)),
            epochs=9)
    refused(stopped, "validation.samples=7. Received: validation.samples=6", validation_data=(X[64:], Y[64:]))
    refused(stopped, "validation.checksum", validation_data=(X[:7], Y[:7]))


def small(activation="relu", rate=0.3, momentum=0.9, twice=False):
    utils.set_random_seed(2)
    x = layers.Input((12, 12, 2))
    y = layers.BatchNormalization(momentum=momentum)(layers.Dense(5, activation)(layers.Flatten()(x)))
    y = layers.Dropout(rate)(y)
    model = models.Model(x, layers.Dense(5, "softmax")(layers.Add()([y, y] if twice else [y, 2 * y])))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_other_layers_of_the_same_sizes_are_refused(tmp_path):
    with pytest.raises(CrashError):
        small().fit(X, Y, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path, 1), CrashAt(2)])
    given = {"x": X, "y": Y, "batch_size": None, "validation_data": None, "epochs": 1}
    refused(tmp_path, "activation = 'relu'. Received: 'tanh'", model=small("tanh"), **given)
    refused(tmp_path, "rate = 0.3. Received: 0.4", model=small(rate=0.4), **given)
    refused(tmp_path, "momentum = 0.9. Received: 0.8", model=small(momentum=0.8), **given)
    refused(tmp_path, "The saved training run has model.config.layers", model=small(twice=True), **given)
    small().fit(X, Y, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))  # whose layers have other names


def test_a_metric_may_hold_the_model_and_itself(tmp_path):
    class Looks(Worst):
        def __init__(self, model):
            super().__init__("looks")
            self.model, self.own = model, [self]

    model = net()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[Looks(model)])
    model.fit(**ARRAYS, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))


class Noise(Batches):
    """Draws each of its pictures anew."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + np.random.rand(*x.shape), y


def test_a_sequence_to_validate_on_may_draw_random_numbers(tmp_path):
    def learn(*more):
        model = small()
        history = model.fit(Noise(), validation_data=Noise(), epochs=2, verbose=0, callbacks=list(more))
        return sha256(model), history.history

    wanted = learn()
    for crash in (2, 8):  # before the first validation, and after it
        with pytest.raises(CrashError):
            learn(callbacks.BackupAndRestore(tmp_path, 1), CrashAt(crash))
        assert learn(callbacks.BackupAndRestore(tmp_path, 1)) == wanted


def test_two_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="accepts only one BackupAndRestore"):
        net().fit(**ARRAYS, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / name) for name in "ab"])


def test_a_request_to_stop_is_for_one_training(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path)
    backup.stop_requested = True
    with pytest.raises(KeyboardInterrupt):
        small().fit(X, Y, verbose=0, callbacks=backup)
    small().fit(X, Y, verbose=0, callbacks=backup)


def test_a_mistake_of_a_callback_is_no_fault_of_the_state(stopped):
    def look(epoch, logs):
        return logs["not there"]

    with pytest.raises(KeyError, match="not there"):
        net().fit(**ARRAYS, epochs=EPOCHS, verbose=0, callbacks=[
            callbacks.BackupAndRestore(stopped), callbacks.LambdaCallback(on_epoch_begin=look)])


@pytest.mark.parametrize(("held", "said"), [
    ({"seen": {1, 2}}, "Received: set in the entry 'callbacks/Odd/seen'"),
    ({"by": {3: "a"}}, "Received: dict with the key 3 in the entry 'callbacks/Odd/by'")])
def test_what_cannot_be_kept_is_told_before_the_first_step(held, said, tmp_path):
    class Odd(callbacks.Callback):
        def get_state(self):
            return held

    model = small()
    with pytest.raises(TypeError, match=f"dicts with string keys. {said}"):
        model.fit(X, Y, verbose=0, callbacks=[Odd(), callbacks.BackupAndRestore(tmp_path)])
    assert model.optimizer.iterations == 0


def test_an_iterable_that_differs_is_refused_before_anything_changes(tmp_path):
    class Known(Batches):
        made_of = "a"

        def on_epoch_end(self):
            self.told = True

        def get_state(self):
            return {"made_of": self.made_of}

        def set_state(self, state):
            if state["made_of"] != self.made_of:
                raise ValueError("Other batches.")

    def learn(folder, model, *more, **given):
        model.fit(Known(), epochs=2, verbose=0, **given, callbacks=[
            callbacks.CSVLogger(tmp_path / "log.csv"), callbacks.BackupAndRestore(folder, 3), *more])

    with pytest.raises(CrashError):
        learn(tmp_path / "states", net(), CrashAt(PER_EPOCH + 4), validation_data=Known())
    rows, model = (tmp_path / "log.csv").read_bytes(), net()
    before, other = sha256(model), Known()
    other.made_of = "b"
    with pytest.raises(ValueError, match="Other batches"):
        learn(tmp_path / "states", model, validation_data=other)
    assert (sha256(model), (tmp_path / "log.csv").read_bytes()) == (before, rows)


def test_callbacks_are_known_by_their_classes_whatever_these_are_called(tmp_path):
    class Count(callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += self.step

        def get_state(self):
            return {"epochs": self.epochs}

        def set_state(self, state):
            self.epochs = state["epochs"]

    class Count_2(Count):  # noqa: N801
        pass

    def learn(steps, epochs):
        counts = [Count(), Count(), Count(), Count_2()][: len(steps)] if steps[1:] else [Count_2()]
        for count, step in zip(counts, steps, strict=True):
            count.step = step
        small().fit(X, Y, epochs=epochs, verbose=0, callbacks=[
            *counts, callbacks.BackupAndRestore(tmp_path / str(len(steps)), delete_checkpoint=False)])
        return [count.epochs for count in counts]

    for steps in ([1], [1, 10, 100, 1000]):
        learn(steps, 1)
        assert learn(steps, 2) == [2 * step for step in steps]


def test_a_damaged_state_does_not_count_as_one_of_the_two(stopped):
    sound = max(stopped.iterdir())
    damaged = sound.with_name("0001-000000030.safetensors")
    damaged.write_bytes(sound.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="The one before is used"), pytest.raises(CrashError):
        train("arrays", stopped, 3)
    assert len(list(stopped.iterdir())) == 2
    assert not damaged.exists()
    assert train("arrays", stopped) == train("arrays")


def test_arrays_of_another_byte_order_are_kept(tmp_path):
    class Holds(callbacks.Callback):
        got = None

        def get_state(self):
            return {"a": np.arange(3, dtype=">f4")}

        def set_state(self, state):
            self.got = state["a"]

    holds, backup = Holds(), callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    for epochs in (1, 2):
        small().fit(X, Y, epochs=epochs, verbose=0, callbacks=[holds, backup])
    np.testing.assert_array_equal(holds.got, np.arange(3))


def test_a_state_of_a_newer_version_is_no_damaged_one(stopped, monkeypatch):
    from autoconv.train import checkpoint

    path = max(stopped.iterdir())
    state = checkpoint.read(path)
    with monkeypatch.context() as newer:
        newer.setattr(checkpoint, "FORMAT", 99)
        path.write_bytes(checkpoint.to_bytes(state._replace(metadata={**state.metadata, "format": 99})))
    with pytest.raises(ValueError, match=r"has the format 99.*Use the version of autoconv that saved the checkpoint"):
        train("arrays", stopped)
    assert path.exists()


def test_states_that_change_in_place_are_copied(tmp_path):
    """Of an iterable to validate on, whose first batch is read before training, and of a metric."""
    class Live:
        def __init__(self):
            self.state = {"at": 0}

        def __iter__(self):
            while self.state["at"] < PER_EPOCH:
                self.state["at"] += 1
                yield Batches()[self.state["at"] - 1]
            self.state["at"] = 0

        def get_state(self):
            return self.state

        def set_state(self, state):
            self.state.update(state)

    class Counts(Worst):
        def update_state(self, y_true, y_pred, sample_weight=None):
            self.worst += len(y_true)

    def learn(*more):
        model = net(measured=[Counts()])
        model.fit(Live(), validation_data=Live(), epochs=2, verbose=0, callbacks=list(more))
        return sha256(model), model.history.history

    for crash in (2, 12):
        with pytest.raises(CrashError):
            learn(callbacks.BackupAndRestore(tmp_path, 1), CrashAt(crash))
        assert learn(callbacks.BackupAndRestore(tmp_path, 1)) == learn()
