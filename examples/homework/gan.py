"""Trains a generator and a discriminator against each other, in a loop without `fit`, and draws digits with them."""

import time

import matplotlib.pyplot as plt
import numpy as np

from autoconv import layers, losses, models, ops, optimizers, random, utils
from autoconv.datasets import digits

BATCH, NOISE = 64, 32
utils.set_random_seed(0)
(images, _), _ = digits.load_data()
images = images[:3840, ..., None].astype("float32") / 255

discriminator = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(32, 4, strides=2, padding="same"),
    layers.LeakyReLU(0.2),
    layers.Conv2D(64, 4, strides=2, padding="same"),
    layers.LeakyReLU(0.2),
    layers.Flatten(),
    layers.Dense(1),
])
generator = models.Sequential([
    layers.Input((NOISE,)),
    layers.Dense(7 * 7 * 64, activation="relu"),
    layers.Reshape((7, 7, 64)),
    layers.Conv2DTranspose(32, 4, strides=2, padding="same", activation="relu"),
    layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid"),
])
d_weights, g_weights = discriminator.trainable_weights, generator.trainable_weights
d_optimizer = optimizers.Adam(0.0005, beta_1=0.5)
g_optimizer = optimizers.Adam(0.0005, beta_1=0.5)
loss_fn = losses.BinaryCrossentropy(from_logits=True)
ones, zeros = ops.ones((BATCH, 1)), ops.zeros((BATCH, 1))


def train_step(real):
    fake = generator(random.normal((BATCH, NOISE)), training=True)
    d_loss = loss_fn(ones, discriminator(real, training=True)) + \
        loss_fn(zeros, discriminator(fake.detach(), training=True))
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.apply([weight.grad for weight in d_weights], d_weights)

    g_loss = loss_fn(ones, discriminator(fake, training=True))
    g_optimizer.zero_grad()
    g_loss.backward(inputs=g_weights)
    g_optimizer.apply([weight.grad for weight in g_weights], g_weights)
    return d_loss, g_loss


for epoch in range(4):
    begin = time.perf_counter()
    order = np.random.permutation(len(images))
    for start in range(0, len(images), BATCH):
        d_loss, g_loss = train_step(images[order[start:start + BATCH]])
    print(f"epoch {epoch + 1}: {time.perf_counter() - begin:.3f} s, losses {float(d_loss):.3f} {float(g_loss):.3f}")

drawn = generator.predict(np.random.normal(size=(64, NOISE)), verbose=0)
plt.imsave("drawn.png", np.vstack([np.hstack(drawn[row::8, ..., 0]) for row in range(8)]), cmap="gray")
print(f"mean brightness of the digits {drawn.mean():.4f}")
