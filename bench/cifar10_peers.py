"""The net and the recipes best and sprint of `autoconv train cifar10` in PyTorch, for bench.sprint.

`python -m bench.cifar10_peers NAME SEED THREADS FOLDER BEGUN EPOCHS` prints results with the same
names as autoconv's --json. FOLDER has CIFAR-10 and the whitening filters as .npy files, and BEGUN is
time.time() at the start of this process. NAME is torch (a handwritten loop, channels_last, fused
Adam) or torch-compile, in which `torch.compile` also compiles the net and the orthogonal steps.
"""

import json
import math
import os
import sys
import time

import numpy as np

BATCH_SIZE, SMOOTHING = 1000, 0.2
RATE, MOMENTUM, DECAY = 0.17, 0.6, 0.05  # Muon's
ADAM_RATE, ADAM_BETAS, ADAM_DECAY = 0.06, (0.9, 0.95), 0.004  # Adam's rate is a fraction of RATE, its decay uses RATE
NAMES = ("torch", "torch-compile")

Arrays = dict[str, np.ndarray]


def train(arrays: Arrays, seed: int, threads: int, epochs: int, is_compiled: bool) -> tuple[float, float, float]:
    """Returns the seconds of training, and the test accuracy without and with mirror images."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    whitening = nn.Conv2d(3, 24, 2, bias=False).requires_grad_(False)
    whitening.weight.copy_(torch.from_numpy(arrays["filters"]).permute(3, 2, 0, 1))
    layers, channels = [whitening, nn.SiLU()], 24
    for width in (64, 256, 256):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.MaxPool2d(2), _normalize(nn, width),
                   nn.SiLU(), nn.Conv2d(width, width, 3, padding=1, bias=False), _normalize(nn, width), nn.SiLU()]
        channels = width
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, 10, bias=False)]
    net = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    for parameter in net.parameters():
        if parameter.ndim > 1 and parameter.requires_grad:
            nn.init.xavier_uniform_(parameter)
    kernels = [p for p in net.parameters() if p.ndim == 4 and p.requires_grad]
    averages = [torch.zeros_like(p) for p in kernels]
    others = [p for p in net.parameters() if p.ndim != 4 and p.requires_grad]
    adam = torch.optim.AdamW(others, eps=1e-7, betas=ADAM_BETAS, weight_decay=ADAM_DECAY / ADAM_RATE, fused=True)

    def orthogonalize(matrix):
        x = matrix / (matrix.norm() + 1e-7)
        x = x.T if len(x) > x.shape[1] else x
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return x.T if len(matrix) > matrix.shape[1] else x

    def measure_loss(images, targets):
        x = images.permute(0, 3, 1, 2).float() * (4 / 255) - 2
        scores = net(x.contiguous(memory_format=torch.channels_last)) / 9
        return F.cross_entropy(scores, targets, label_smoothing=SMOOTHING)

    if is_compiled:
        orthogonalize, measure_loss = torch.compile(orthogonalize), torch.compile(measure_loss)
    images = F.pad(torch.from_numpy(arrays["train"]).permute(0, 3, 1, 2).float(), (2,) * 4, "reflect").byte()
    images = images.permute(0, 2, 3, 1).contiguous()
    labels = torch.from_numpy(arrays["train_labels"].astype(np.int64).ravel())
    pixels, begun = torch.arange(32), time.perf_counter()
    steps, step = epochs * -(-len(images) // BATCH_SIZE), 0
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH_SIZE):
            top, left = torch.randint(0, 5, (2, len(rows), 1))
            columns = torch.where(torch.rand(len(rows), 1) < 0.5, left + pixels, left + pixels.flip(0))
            batch = images[rows[:, None, None], (top + pixels)[:, :, None], columns[:, None]]
            net.zero_grad()
            measure_loss(batch, labels[rows]).backward()
            rate = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            adam.param_groups[0]["lr"] = rate * ADAM_RATE
            adam.step()
            with torch.no_grad():
                for kernel, average in zip(kernels, averages):
                    average.mul_(MOMENTUM).add_(kernel.grad)
                    direction = (kernel.grad + MOMENTUM * average).permute(0, 2, 3, 1)  # as in memory
                    update = orthogonalize(direction.flatten(1)).reshape(direction.shape).permute(0, 3, 1, 2)
                    kernel.mul_(1 - rate * DECAY).sub_(update, alpha=rate)
            step += 1
    seconds = time.perf_counter() - begun
    net.eval()
    with torch.inference_mode():
        test = torch.from_numpy(arrays["test"]).permute(0, 3, 1, 2)
        scores = [torch.cat([net(x.float() * (4 / 255) - 2) for x in t.split(1000)]) for t in (test, test.flip(3))]
    plain, mirrored = (float((s.argmax(1).numpy() == arrays["test_labels"].ravel()).mean())
                       for s in (scores[0], scores[0] + scores[1]))
    return seconds, plain, mirrored


def _normalize(nn, width):
    """Returns batch normalization with biases, but without factors."""
    layer = nn.BatchNorm2d(width, eps=1e-3)
    layer.weight.requires_grad_(False)
    return layer


def main() -> None:
    name, seed, threads, folder, begun, epochs = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # redirects everything that PyTorch prints to standard error
    names = "train", "train_labels", "test", "test_labels", "filters"
    arrays = {key: np.load(f"{folder}/{key}.npy") for key in names}
    seconds, accuracy, mirrored = train(arrays, int(seed), int(threads), int(epochs), name == "torch-compile")
    print(json.dumps({"test_accuracy": accuracy, "mirror_accuracy": mirrored, "epoch_seconds": [seconds],
                      "total_s": time.time() - float(begun)}), file=out, flush=True)


if __name__ == "__main__":
    main()
