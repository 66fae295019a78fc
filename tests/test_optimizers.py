"""Optimizers against Keras's formulas, written out in NumPy, and the flat arrays they work on."""

import math

import numba
import numpy as np
import pytest

import autoconv as ac
from autoconv import layers, models
from autoconv import optimizers as optim
from autoconv.kernels.cpu import update
from autoconv.optimizers import schedules

SHAPES = [(3, 3, 1, 5), (5,), (7, 11), ()]
STEPS = 5


def sgd(lr=0.01, momentum=0.0, nesterov=False):
    state = {}

    def step(w, g, i, t):
        if not momentum:
            return w - lr * g
        m = state[i] = momentum * state.get(i, 0.0) - lr * g
        return w + momentum * m - lr * g if nesterov else w + m

    return step


def rmsprop(lr=0.001, rho=0.9, momentum=0.0, eps=1e-7, centered=False):
    v, a, m = {}, {}, {}

    def step(w, g, i, t):
        v[i] = rho * v.get(i, 0.0) + (1 - rho) * g**2
        a[i] = rho * a.get(i, 0.0) + (1 - rho) * g
        m[i] = momentum * m.get(i, 0.0) + lr * g / np.sqrt(v[i] - (a[i] ** 2 if centered else 0) + eps)
        return w - m[i]

    return step


def adam(lr=0.001, b1=0.9, b2=0.999, eps=1e-7):
    m, v = {}, {}

    def step(w, g, i, t):
        m[i] = m.get(i, 0.0) + (g - m.get(i, 0.0)) * (1 - b1)
        v[i] = v.get(i, 0.0) + (g**2 - v.get(i, 0.0)) * (1 - b2)
        alpha = lr * math.sqrt(1 - b2**t) / (1 - b1**t)
        return w - m[i] * alpha / (np.sqrt(v[i]) + eps)

    return step


def muon(lr=0.001, momentum=0.95, nesterov=True, rms_rate=0.2):
    others, m = adam(lr), {}

    def step(w, g, i, t):
        if w.ndim < 2:
            return others(w, g, i, t)
        m[i] = momentum * m.get(i, 0.0) + g
        x = (g + momentum * m[i] if nesterov else m[i]).reshape(-1, w.shape[-1])
        scale = 1 if rms_rate is None else rms_rate * math.sqrt(max(x.shape))
        x = x / (np.sqrt((x**2).sum()) + 1e-7)
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * (x @ x.T @ x) + 2.0315 * (x @ x.T @ x @ x.T @ x)
        return w - lr * scale * x.reshape(w.shape)

    return step


FORMULAS = {
    "sgd": (lambda: optim.SGD(), sgd()),
    "sgd momentum": (lambda: optim.SGD(0.1, momentum=0.9), sgd(0.1, 0.9)),
    "sgd nesterov": (lambda: optim.SGD(0.1, momentum=0.9, nesterov=True), sgd(0.1, 0.9, True)),
    "rmsprop": (lambda: optim.RMSprop(), rmsprop()),
    "rmsprop all": (lambda: optim.RMSprop(0.01, 0.8, 0.5, 1e-3, True), rmsprop(0.01, 0.8, 0.5, 1e-3, True)),
    "rmsprop momentum": (lambda: optim.RMSprop(momentum=0.5), rmsprop(momentum=0.5)),
    "rmsprop centered": (lambda: optim.RMSprop(centered=True), rmsprop(centered=True)),
    "adam": (lambda: optim.Adam(), adam()),
    "adam others": (lambda: optim.Adam(0.01, 0.8, 0.9, 1e-2), adam(0.01, 0.8, 0.9, 1e-2)),
    "muon": (lambda: optim.Muon(), muon()),
    "muon others": (lambda: optim.Muon(0.01, momentum=0.5, nesterov=False, rms_rate=None),
                    muon(0.01, 0.5, False, None)),
}


def parameters(dtype="float64", shapes=SHAPES):
    rng = np.random.default_rng(0)
    return [ac.Variable(rng.normal(size=s), dtype=dtype, name=f"w{i}") for i, s in enumerate(shapes)]


def gradients(t, dtype="float64", shapes=SHAPES):
    rng = np.random.default_rng(t)
    return [np.asarray(rng.normal(size=s), dtype) for s in shapes]


def run(optimizer, steps=STEPS, dtype="float64", first=1):
    ps = parameters(dtype)
    for t in range(first, first + steps):
        optimizer.apply(gradients(t, dtype), ps)
    return [p.numpy() for p in ps]


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_flat_update_is_the_formula_on_each_parameter(name, decay):
    make, step = FORMULAS[name]
    optimizer = make()
    optimizer.weight_decay = optimizer.adam_weight_decay = decay
    expected = [p.numpy() for p in parameters()]
    for t in range(1, STEPS + 1):
        for i, g in enumerate(gradients(t)):
            expected[i] = step(expected[i] * (1 - optimizer.learning_rate * decay), g, (decay, i), t)
    for actual, wanted in zip(run(optimizer), expected):
        np.testing.assert_allclose(actual, wanted, rtol=1e-11)


@pytest.mark.parametrize("name", FORMULAS)
def test_float32_is_the_same_up_to_rounding(name):
    exact, single = run(FORMULAS[name][0]()), run(FORMULAS[name][0](), dtype="float32")
    for a, b in zip(exact, single):
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("size", [1000, update.FEW + 1001])
@pytest.mark.parametrize("make", [lambda: optim.SGD(0.1, 0.9), lambda: optim.RMSprop(), lambda: optim.Adam()])
def test_same_bits_for_any_number_of_threads(make, size):
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        optimizer, ps = make(), parameters("float32", [(size,)])
        for t in range(3):
            optimizer.apply(gradients(t, "float32", [(size,)]), ps)
        results.append(ps[0].numpy())
    np.testing.assert_array_equal(results[0], results[-1])


@pytest.mark.parametrize("shape", [(300, 40), (40, 300), (3, 3, 64, 64), (7, 1)])
def test_muon_has_the_same_bits_for_any_number_of_threads(shape):
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        optimizer, ps = optim.Muon(), parameters("float32", [shape])
        for t in range(3):
            optimizer.apply(gradients(t, "float32", [shape]), ps)
        results.append(ps[0].numpy())
    np.testing.assert_array_equal(results[0], results[-1])


def test_muon_decays_the_weights_of_adam_separately():
    for given in ({"weight_decay": 0.5, "adam_weight_decay": 0.1}, {"weight_decay": None, "adam_weight_decay": 0.1},
                  {"weight_decay": 0.5, "adam_weight_decay": None}, {"weight_decay": 0.5, "adam_weight_decay": 0.5}):
        optimizer = optim.Muon(0.1, **given)
        optimizer.exclude_from_weight_decay(var_names=["w2"])
        weights = parameters(shapes=[(3, 4), (4,), (2, 5)])
        before = [w.numpy() for w in weights]
        optimizer.apply([np.zeros(w.shape) for w in weights], weights)
        for weight, old, decay in zip(weights, before, (*given.values(), None)):
            np.testing.assert_allclose(weight.numpy(), old * (1 - 0.1 * (decay or 0)), rtol=1e-15)


@pytest.mark.parametrize("shape", [(8, 8, 3), (5,), (3, 3, 4, 1), ()])
def test_weights_that_are_no_matrices_take_the_steps_of_adam(shape):
    assert optim.Muon().uses_adam(ac.Variable(np.zeros(shape)))
    assert not optim.Muon().uses_adam(ac.Variable(np.zeros((2, 3))))
    assert optim.Muon(exclude_layers=["^out"]).uses_adam(ac.Variable(np.zeros((2, 3)), name="out"))


def test_a_configuration_of_keras_s_muon():
    config = {"adam_beta_1": 0.8, "exclude_embeddings": True, "muon_a": 3.4445, "muon_b": -4.775, "muon_c": 2.0315,
              "exclude_layers": ["head"], "adam_weight_decay": 0.1}
    optimizer = optim.Muon.from_config(config)
    assert (optimizer.adam_beta_1, optimizer.exclude_layers, optimizer.adam_weight_decay) == (0.8, ["head"], 0.1)
    with pytest.raises(ValueError, match=r"supports only muon_b=-4\.775\. Received: 1"):
        optim.Muon.from_config({**config, "muon_b": 1})


def test_update_step_of_muon_moves_a_single_matrix():
    whole, other = parameters(shapes=[(3, 4), (2, 5)])
    single = ac.Variable(whole.numpy(), dtype=whole.dtype)
    g = gradients(1, shapes=[(3, 4)])[0]
    optim.Muon(0.1, weight_decay=None).apply([g], [whole])
    optimizer = optim.Muon(0.5, weight_decay=None)
    optimizer.build([other, single])
    before = other.numpy()
    optimizer.update_step(ac.tensor(g), single, 0.1)
    np.testing.assert_allclose(single.numpy(), whole.numpy(), rtol=1e-12)
    np.testing.assert_array_equal(other.numpy(), before)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (16, 16)])
def test_orthogonalize_moves_the_singular_values_towards_one(shape):
    x = np.random.default_rng(0).normal(size=shape)
    u, before, vt = np.linalg.svd(x, full_matrices=False)
    y = optim.muon.orthogonalize(ac.tensor(x), 5).numpy()
    found = u.T @ y @ vt.T  # diagonal if y has the singular vectors of x
    np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-9)
    assert 0.6 < np.diag(found).min() <= np.diag(found).max() < 1.3
    assert before.max() / before.min() > 2


def test_muon_uses_adam_for_excluded_and_depthwise_kernels():
    model = models.Sequential([layers.Input((8, 8, 2)), layers.DepthwiseConv2D(3),
                               layers.Conv2D(4, 3, name="body"), layers.Flatten(), layers.Dense(3, name="scores")])
    optimizer = optim.Muon(0.1, adam_weight_decay=None, weight_decay=None, exclude_layers=["scores"])
    before = model.get_weights()
    rng = np.random.default_rng(0)
    weights = model.trainable_variables
    optimizer.apply([rng.choice([-2, 3], w.shape).astype("float32") for w in weights], weights)
    for variable, old in zip(weights, before):
        steps = np.abs(variable.numpy() - old)  # Adam's first steps are plus or minus the rate
        assert np.allclose(steps, 0.1, rtol=1e-4) == (variable.path != "body/kernel"), variable.path


@pytest.mark.parametrize("make", [lambda: optim.SGD(0.1), lambda: optim.RMSprop(0.1), lambda: optim.Adam(0.1)])
def test_many_parameters_and_few_take_the_same_step(make):
    size = update.FEW + 17
    (w,), (g,) = parameters("float32", [(size,)]), gradients(1, "float32", [(size,)])
    small = ac.Variable(w[:100], dtype=w.dtype)
    make().apply([g], [w])
    make().apply([g[:100].copy()], [small])
    np.testing.assert_array_equal(w.numpy()[:100], small.numpy())


def test_what_a_gradient_holds_reaches_only_its_own_weights():
    ps = parameters()
    before = [p.numpy() for p in ps]
    gs = gradients(1)
    gs[1][:] = np.nan
    optim.Adam().apply(gs, ps)
    assert np.isnan(ps[1].numpy()).all()
    for i in (0, 2, 3):
        assert np.isfinite(ps[i].numpy()).all()
        assert (ps[i].numpy() != before[i]).all()


def test_adamw_decays_the_weights_and_not_the_gradient():
    ps = parameters()
    before = [p.numpy() for p in ps]
    optim.AdamW(0.1).apply([np.zeros(s) for s in SHAPES], ps)
    for p, w in zip(ps, before):
        np.testing.assert_allclose(p.numpy(), w * (1 - 0.1 * 0.004), rtol=1e-12)


def clipped_by(limit):
    def clip(g):
        return g * min(1.0, limit / np.linalg.norm(g))
    return clip


@pytest.mark.parametrize(("argument", "limit"), [("clipvalue", 0.3), ("clipnorm", 0.9), ("global_clipnorm", 0.9),
                                                 ("clipnorm", 1e6), ("global_clipnorm", 1e6)])
def test_clipping(argument, limit):
    gs, ps = gradients(1), parameters()
    before = [p.numpy() for p in ps]
    together = np.linalg.norm(np.concatenate([g.ravel() for g in gs]))
    wanted = {
        "clipvalue": lambda g: np.clip(g, -limit, limit),
        "clipnorm": clipped_by(limit),
        "global_clipnorm": lambda g: g * min(1.0, limit / together),
    }[argument]
    kept = [g.copy() for g in gs]
    optim.SGD(1.0, **{argument: limit}).apply(gs, ps)
    for p, w, g, same in zip(ps, before, gs, kept):
        np.testing.assert_allclose(p.numpy(), w - wanted(g), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(g, same)  # the user's gradient is not changed


def test_only_one_way_to_clip():
    with pytest.raises(ValueError, match="Only one of clipnorm"):
        optim.SGD(clipnorm=1.0, clipvalue=1.0)


def test_parameters_become_views_that_start_on_a_cache_line():
    ps = parameters("float32")
    values = [p.numpy() for p in ps]
    optimizer = optim.SGD()
    optimizer.build(ps)
    for p, value in zip(ps, values):
        np.testing.assert_array_equal(p.data, value)
        assert p.shape == value.shape
        assert np.shares_memory(p.data, optimizer.flat.data)
        assert p.data.ctypes.data % 64 == 0


def test_weights_and_copies_start_on_a_cache_line_without_an_optimizer_too():
    items = np.ones(40, np.float32)
    for first in range(8):  # some of these do not
        assert ac.tensor(items[first:]).data.ctypes.data % 64 == 0
    weights = models.Sequential([ac.Input((5,)), *map(layers.Dense, range(1, 9))]).weights
    assert all(weight.data.ctypes.data % 64 == 0 for weight in weights)


def test_two_optimizers_can_train_the_same_weights_in_turn():
    ps = parameters()
    expected = [p.numpy() for p in ps]
    first, second = optim.SGD(0.1), optim.SGD(0.2)
    for optimizer, rate in [(first, 0.1), (second, 0.2), (first, 0.1)]:
        gs = gradients(1)
        optimizer.apply(gs, ps)
        expected = [w - rate * g for w, g in zip(expected, gs)]
    for p, w in zip(ps, expected):
        np.testing.assert_allclose(p.numpy(), w)


def test_a_training_loop_of_your_own():
    w = ac.Variable([1.0, -2.0], dtype="float64")
    optimizer = optim.SGD(0.1)
    kept = []
    for _ in range(3):
        (w * w).sum().backward()
        kept.append(w.grad)
        optimizer.apply([w.grad], [w])
        w.grad = None
    np.testing.assert_allclose(w.numpy(), np.array([1.0, -2.0]) * 0.8**3)
    np.testing.assert_allclose(kept, [np.array([2.0, -4.0]) * 0.8**i for i in range(3)])  # never overwritten


def test_a_parameter_without_gradient_stays():
    ps, optimizer = parameters(), optim.RMSprop()
    optimizer.apply(gradients(1), ps)
    before = [p.numpy() for p in ps]
    gs = gradients(2)
    gs[2] = None
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply_gradients(zip(gs, ps))
    np.testing.assert_array_equal(ps[2].numpy(), before[2])
    assert (ps[0].numpy() != before[0]).all()


def test_gradients_and_parameters_that_do_not_fit():
    optimizer = optim.SGD()
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.apply(gradients(1))
    ps = parameters()
    optimizer.build(ps)
    with pytest.raises(ValueError, match=r"shape \(5,\).*Received: \(1,\)"):
        optimizer.apply([g if g.shape != (5,) else g[:1] for g in gradients(1)])
    with pytest.raises(ValueError, match=r"built for other parameters.*built for 4\. .*compile"):
        optimizer.apply(gradients(1)[:2], parameters()[:2])
    with pytest.raises(ValueError, match="one dtype"):
        optim.SGD().build([ps[0], parameters("float32")[1]])


@pytest.mark.parametrize("make", [lambda: optim.SGD(0.1, 0.9), lambda: optim.RMSprop(momentum=0.5, centered=True),
                                  lambda: optim.Adam(), lambda: optim.Muon(),
                                  lambda: optim.AdamW(schedules.ExponentialDecay(0.1, 2, 0.5))])
def test_state_continues_where_it_was_taken(make):
    whole = run(make(), 5)
    first, ps = make(), parameters()
    for t in (1, 2, 3):
        first.apply(gradients(t), ps)
    state = first.get_state()
    second, continued = make(), [ac.Variable(p, dtype=p.dtype) for p in ps]
    second.build(continued)
    second.set_state(state)
    first.apply(gradients(9), ps)  # the state that was taken is a copy
    for t in (4, 5):
        second.apply(gradients(t), continued)
    for p, w in zip(continued, whole):
        np.testing.assert_array_equal(p.numpy(), w)


def test_state_of_another_optimizer():
    adam_, sgd_ = optim.Adam(), optim.SGD()
    for optimizer in (adam_, sgd_):
        optimizer.build(parameters())
    with pytest.raises(ValueError, match="another optimizer"):
        sgd_.set_state(adam_.get_state())


def test_names():
    for name, kind in [("sgd", optim.SGD), ("RMSprop", optim.RMSprop), ("adam", optim.Adam), ("AdamW", optim.AdamW)]:
        assert type(optim.get(name)) is kind
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        optim.get("adan")


def test_defaults_are_keras_s():
    defaults = [(o.learning_rate, o.weight_decay) for o in (optim.SGD(), optim.RMSprop(), optim.Adam(), optim.AdamW())]
    assert defaults == [(0.01, None), (0.001, None), (0.001, None), (0.001, 0.004)]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: optim.AdamW(weight_decay=None), "weight_decay"),
    (lambda: optim.Adam(use_ema=True, ema_momentum=2), "ema_momentum"),
    (lambda: optim.SGD(gradient_accumulation_steps=1), "gradient_accumulation_steps"),
    (lambda: optim.Adam([0.1, 0.2]), "learning_rate"),
    (lambda: optim.Adam("fast"), "learning_rate"),
    (lambda: optim.Adam(beta_1=1.0), r"beta_1 must be a number in \[0, 1\)"),
    (lambda: optim.SGD(momentum=1.5), "momentum"),
    (lambda: optim.RMSprop(epsilon=-1), "epsilon"),
    (lambda: optim.SGD(clipnorm=-1), "clipnorm"),
    (lambda: optim.Muon(momentum=1.0), "momentum"),
    (lambda: optim.Muon(ns_steps=0), "`ns_steps`. Expected a strictly positive value of type int. Received: 0"),
    (lambda: optim.Muon(exclude_layers="scores"), "exclude_layers must be a list of regular expressions"),
    (lambda: optim.Muon(exclude_layers=["("]), "exclude_layers must be a list of regular expressions"),
    (lambda: optim.Muon(rms_rate=-0.2), "rms_rate"),
    (lambda: schedules.ExponentialDecay(0.1, 0, 0.9), "decay_steps"),
    (lambda: schedules.PiecewiseConstantDecay([1, 2], [1.0]), "one more value"),
])
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_schedules():
    exponential = schedules.ExponentialDecay(0.1, 10, 0.5)
    assert exponential(5) == pytest.approx(0.1 * 0.5**0.5)
    assert schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True)(19) == pytest.approx(0.05)
    cosine = schedules.CosineDecay(0.1, 100, alpha=0.1)
    assert [cosine(s) for s in (0, 50, 100, 999)] == pytest.approx([0.1, 0.1 * (0.9 * 0.5 + 0.1), 0.01, 0.01])
    one = schedules.OneCycle(1.0, 100)
    assert [one(s) for s in (0, 25, 40, 100, 999)] == pytest.approx([0.1, 1.0, 0.8, 0.0, 0.0])
    warm = schedules.CosineDecay(0.0, 100, warmup_target=0.2, warmup_steps=10)
    assert [warm(s) for s in (0, 5, 10, 60, 110)] == pytest.approx([0.0, 0.1, 0.2, 0.1, 0.0])
    steps = schedules.PiecewiseConstantDecay([2, 4], [3.0, 2.0, 1.0])
    assert [steps(s) for s in range(6)] == [3.0, 3.0, 3.0, 2.0, 2.0, 1.0]


def test_a_schedule_sees_the_number_of_steps_done():
    seen = []
    optimizer = optim.SGD(lambda step: seen.append(step) or 0.5**step)
    w = ac.Variable([0.0], dtype="float64")
    for _ in range(3):
        optimizer.apply([np.ones(1)], [w])
    assert seen == [0, 1, 2]
    np.testing.assert_allclose(w.numpy(), -(1 + 0.5 + 0.25))
    with pytest.raises(TypeError, match="schedule"):
        optimizer.learning_rate = 0.1


def test_learning_rate_can_be_set():
    optimizer = optim.SGD(0.1)
    optimizer.learning_rate = 1
    w = ac.Variable([0.0], dtype="float64")
    optimizer.apply([np.ones(1)], [w])
    np.testing.assert_allclose(w.numpy(), -1.0)


# Tensors that are no variables


@pytest.mark.parametrize("make", [lambda: optim.Adam(0.1), lambda: optim.SGD(0.1, momentum=0.9, weight_decay=0.1),
                                  lambda: optim.RMSprop(0.1, clipnorm=0.5, use_ema=True)])
def test_a_tensor_takes_the_same_steps_as_a_variable(make):
    values = np.array([1.0, -2.0, 3.0], "float32")
    tensor, variable = ac.tensor(values, requires_grad=True), ac.Variable(values)
    for weight in (tensor, variable):
        optimizer = make()
        for _ in range(5):
            optimizer.zero_grad()
            ((weight - 0.5) ** 2).sum().backward()
            optimizer.apply_gradients([(weight.grad, weight)])
        assert weight.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), variable.numpy())
    assert (tensor.numpy() != values).all()


def test_tensors_that_an_optimizer_cannot_update():
    weight = ac.tensor([1.0, 2.0], requires_grad=True)
    (weight * weight).sum().backward()
    for other, message in ((ac.tensor([1.0, 2.0]), r"with requires_grad=False, of shape \(2,\)"),
                           (weight * 2, r"the result of an operation on tensors, of shape \(2,\)")):
        with pytest.raises(ValueError, match=message):
            optim.Adam().apply([weight.grad], [other])
    with pytest.raises(TypeError, match=r"Received: ndarray\. Create the tensor"):
        optim.Adam().apply([weight.grad], [weight.numpy()])
    with pytest.raises(TypeError, match=r"Received: one tensor. Call apply\(\[gradient\], \[tensor\]\)"):
        optim.Adam().apply(weight.grad, weight)
    with pytest.raises(ValueError, match=r"for each of the 2 parameters\. Received: 1 gradients"):
        optim.Adam().apply([weight.grad], [weight, ac.tensor([1.0], requires_grad=True)])


def test_zero_grad_of_an_optimizer():
    weight, optimizer = ac.tensor([1.0], requires_grad=True), optim.SGD(0.1)
    optimizer.zero_grad()  # nothing to clear yet
    for expected in (2.0, 4.0):
        (weight * 2).sum().backward()
        assert weight.grad.item() == expected  # gradients add up
    optimizer.apply([weight.grad], [weight])
    optimizer.zero_grad()
    assert weight.grad is None
