"""The homework gan.py in PyTorch: the same nets in the memory format channels_last, which is faster on a CPU."""

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from autoconv.datasets import digits

BATCH, NOISE = 64, 32
torch.manual_seed(0)
(images, _), _ = digits.load_data()
images = torch.from_numpy(images[:3840, None]).float() / 255

discriminator = nn.Sequential(
    nn.Conv2d(1, 32, 4, stride=2, padding=1),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(32, 64, 4, stride=2, padding=1),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Flatten(),
    nn.Linear(7 * 7 * 64, 1),
).to(memory_format=torch.channels_last)
generator = nn.Sequential(
    nn.Linear(NOISE, 7 * 7 * 64),
    nn.ReLU(inplace=True),
    nn.Unflatten(1, (64, 7, 7)),
    nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
    nn.ReLU(inplace=True),
    nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    nn.Sigmoid(),
).to(memory_format=torch.channels_last)
for weight in (*discriminator.parameters(), *generator.parameters()):
    nn.init.zeros_(weight) if weight.ndim == 1 else nn.init.xavier_uniform_(weight)
d_optimizer = torch.optim.Adam(discriminator.parameters(), 0.0005, betas=(0.5, 0.999))
g_optimizer = torch.optim.Adam(generator.parameters(), 0.0005, betas=(0.5, 0.999))
loss_fn = nn.BCEWithLogitsLoss()
ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)


def train_step(real):
    fake = generator(torch.randn(BATCH, NOISE))
    d_loss = loss_fn(discriminator(real), ones) + loss_fn(discriminator(fake.detach()), zeros)
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()

    g_loss = loss_fn(discriminator(fake), ones)
    g_optimizer.zero_grad()
    g_loss.backward(inputs=list(generator.parameters()))
    g_optimizer.step()
    return d_loss, g_loss


for epoch in range(4):
    begin = time.perf_counter()
    order = torch.randperm(len(images))
    for start in range(0, len(images), BATCH):
        d_loss, g_loss = train_step(images[order[start:start + BATCH]])
    print(f"epoch {epoch + 1}: {time.perf_counter() - begin:.3f} s, losses {d_loss:.3f} {g_loss:.3f}")

with torch.inference_mode():
    drawn = generator(torch.randn(64, NOISE)).numpy()
plt.imsave("drawn.png", np.vstack([np.hstack(drawn[row::8, 0]) for row in range(8)]), cmap="gray")
print(f"mean brightness of the digits {drawn.mean():.4f}")
