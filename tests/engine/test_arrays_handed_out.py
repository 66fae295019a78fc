"""What was handed out never changes: whatever a model does later, and also when it is gone."""

import copy
import gc
import pickle

import numpy as np
import pytest
from loads import X, Y, net

import autoconv as ac
from autoconv import callbacks, layers, models
from autoconv import functional as F


class Capsule:
    """What DLPack's capsule of the host's memory comes from."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return 1, 0


class Keeps(callbacks.Callback):
    """Keeps all that a callback can get at."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_train_batch_end(self, batch, logs=None):
        self.kept += [logs, self.model.predict_on_batch(X[:7]), self.model.get_weights()]

    def on_epoch_end(self, epoch, logs=None):
        self.kept += [logs, dict(self.model.history.history)]


def forward(model):
    return model(X[:9], training=True)


def root(array):
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def gradients(model):
    loss = F.sparse_categorical_crossentropy(Y[:9], forward(model)).sum()
    for weight in model.trainable_weights:
        weight.grad = None
    loss.backward()
    return [weight.grad for weight in model.trainable_weights]


def input_gradient(model):
    x = ac.tensor(X[:9], requires_grad=True)
    model(x).sum().backward()
    return x.grad


def maps(model):
    every = models.Model(model.inputs, [layer.output for layer in model.layers])
    return every.predict(X[:20], batch_size=8, verbose=0)


def fitted(model, **options):
    return model.fit(X, Y, batch_size=16, epochs=2, verbose=0, **options)


class Sees(layers.Layer):
    """A layer of the user's, which is not recorded: what it is handed lies in the memory of steps."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x):
        array = x.detach().numpy()
        ways = array, array[1:][:, ::2].T, memoryview(array), np.from_dlpack(array)[1:], np.asarray(root(array))
        self.seen.append(ways[len(self.seen) % len(ways)])
        return x * 2


def seen_by_a_layer(model):
    sees = Sees()
    own = models.Sequential([layers.Input((12, 12, 2)), layers.Conv2D(4, 3), sees, layers.Flatten(), layers.Dense(5)])
    own.compile("sgd", "mse", metrics=[lambda y, p: sees.seen.append(p) or np.zeros(len(y))])
    own.fit(X, np.eye(5)[Y], batch_size=8, epochs=2, verbose=0)
    own.predict_on_batch(X[:8])
    return sees.seen


def kept_by_callbacks(model):
    keeps = Keeps()
    fitted(model, callbacks=keeps)
    return keeps.kept


HANDED_OUT = {
    "predict": lambda m: m.predict(X, batch_size=16, verbose=0),
    "predict, a view of a view": lambda m: m.predict(X, batch_size=16, verbose=0)[1:][:, ::2].T,
    "predict, one row": lambda m: m.predict(X[:1], verbose=0)[0],
    "predict, memoryview": lambda m: memoryview(m.predict(X, verbose=0)),
    "predict, its base": lambda m: np.frombuffer(root(m.predict(X, verbose=0)), np.uint8),
    "predict, by DLPack": lambda m: np.from_dlpack(m.predict(X, verbose=0))[3:],
    "predict, DLPack's capsule": lambda m: m.predict(X, verbose=0).__dlpack__(),
    "predict, all feature maps": maps,
    "predict_on_batch": lambda m: m.predict_on_batch(X[:5]),
    "predict_on_batch, memoryview of a view": lambda m: memoryview(m.predict_on_batch(X[:5])[::2])[1:],
    "output": forward,
    "output, detached": lambda m: forward(m).detach(),
    "output, numpy": lambda m: forward(m).numpy(),
    "output, np.asarray of a slice": lambda m: np.asarray(forward(m)[2:, 1:]),
    "output, memoryview": lambda m: memoryview(forward(m).numpy()),
    "output, by DLPack": lambda m: np.from_dlpack(forward(m).detach()),
    "output, DLPack's capsule": lambda m: forward(m).__dlpack__(),
    "logits": lambda m: forward(m).logits,
    "gradients": gradients,
    "gradients, views": lambda m: [g.reshape(-1)[::2] for g in gradients(m)],
    "gradient of the input": input_gradient,
    "gradient of the input, memoryview": lambda m: memoryview(input_gradient(m)),
    "get_weights": lambda m: m.get_weights(),
    "weights, numpy": lambda m: [w.numpy() for w in m.weights],
    "weights, np.array": lambda m: [np.array(w) for w in m.weights],
    "named weights": lambda m: {name: w.numpy() for name, w in m.named_weights().items()},
    "optimizer's state": lambda m: fitted(m) and m.optimizer.get_state(),
    "history": lambda m: fitted(m, validation_data=(X, Y)).history,
    "what callbacks kept": kept_by_callbacks,
    "what a layer saw": seen_by_a_layer,
    "logs": lambda m: [m.train_on_batch(X[:8], Y[:8], return_dict=True), m.test_on_batch(X, Y, return_dict=True)],
    "a pickle": lambda m: fitted(m) and pickle.dumps(m),
    "a copy's weights": lambda m: copy.deepcopy(m).get_weights(),
    "configuration": lambda m: m.get_config(),
    "report": lambda m: fitted(m) and m.recording_report(),
}


def values(thing):
    """All that it holds, as bytes and plain data."""
    if isinstance(thing, ac.Tensor):
        thing = thing.detach().numpy()
    if isinstance(thing, np.ndarray | memoryview):
        return np.asarray(thing).tobytes()
    if isinstance(thing, dict):
        return {key: values(value) for key, value in thing.items()}
    return [values(item) for item in thing] if isinstance(thing, list | tuple) else thing


def seen(thing):
    """The same of a DLPack capsule, which can be taken once."""
    return values(np.from_dlpack(Capsule(thing)) if type(thing).__name__ == "PyCapsule" else thing)


def work(model):
    """All that may ask for memory, of the same sizes as before and of others."""
    for rows in (9, 64, 5):
        model.predict_on_batch(X[:rows])
        model(X[:rows], training=True).sum().backward()
    fitted(model, validation_data=(X, Y))
    model.predict(X, batch_size=16, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.train_on_batch(X[:9], Y[:9])


def handed_out(model, names):
    """Each of these things, and its values; of a capsule, which can be taken once, those of another one."""
    found = {}
    for name in names:
        if "capsule" in name:
            before = seen(HANDED_OUT[name](copy.deepcopy(model)))
            found[name] = HANDED_OUT[name](model), before
        else:
            thing = HANDED_OUT[name](model)
            found[name] = thing, seen(thing)
        model.predict_on_batch(1 - X[:5])
    return found


@pytest.mark.parametrize("collects", [True, False], ids=["collected", "not collected"])
def test_what_was_handed_out_stays_as_it_was(collects):
    """Each thing also stays as it was while all others are handed out."""
    model = net()
    work(model)  # so that memory lies ready
    gc.collect()
    if not collects:
        gc.disable()
    try:
        things = handed_out(model, HANDED_OUT)
        work(model)
        for weight in model.weights:
            weight.assign(np.full(weight.shape, 7.0))
        work(model)
        del model
        if collects:
            gc.collect()
        work(net(2))
        changed = [name for name, (thing, before) in things.items() if seen(thing) != before]
        assert not changed
    finally:
        gc.enable()


def test_what_was_handed_in_stays_as_it_was():
    x, y, weights = X.copy(), Y.copy(), np.linspace(0, 1, len(Y), dtype=np.float32)
    given = x.copy(), y.copy(), weights.copy()
    for array in (x, y, weights):
        array.flags.writeable = False
    model = models.Sequential([layers.Input((12, 12, 2)), layers.RandomFlip(), layers.RandomTranslation(0.2, 0.2),
                               layers.ReLU(), layers.BatchNormalization(), layers.Flatten(),
                               layers.Dense(5, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, sample_weight=weights, batch_size=10, epochs=2, verbose=0)
    model.train_on_batch(x, y, sample_weight=weights)
    model.predict(x, verbose=0)
    out = F.relu(x)
    out.data[...] = 9
    for array, before in zip((x, y, weights), given):
        np.testing.assert_array_equal(array, before)
