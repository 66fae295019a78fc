"""Trains a net on a folder of photos, with one subfolder per class. The script draws the photos itself."""

from pathlib import Path

import numpy as np

from autoconv import layers, losses, models, ops, utils

SIZE = 64
rng = np.random.default_rng(0)
rows, columns = np.mgrid[:SIZE, :SIZE]
for number in range(600):
    x, y, radius = rng.uniform(24, 40), rng.uniform(24, 40), rng.uniform(10, 20)
    name = ["circle", "ring", "square"][number % 3]
    distance = np.maximum(abs(columns - x), abs(rows - y)) if name == "square" else np.hypot(columns - x, rows - y)
    inside = (distance < radius) & ((name != "ring") | (distance > 0.6 * radius))
    photo = np.where(inside[..., None], rng.uniform(100, 255, 3), rng.uniform(0, 155, 3))
    Path("photos", name).mkdir(parents=True, exist_ok=True)
    utils.save_img(f"photos/{name}/{number}.jpg", (photo + rng.normal(0, 20, photo.shape)).clip(0, 255), scale=False)

train, test = utils.image_dataset_from_directory(
    "photos", validation_split=0.2, subset="both", seed=0, image_size=(SIZE, SIZE), batch_size=32)
class_names = train.class_names

utils.set_random_seed(0)
model = models.Sequential([
    layers.Input((SIZE, SIZE, 3)),
    layers.Rescaling(1 / 255),
    layers.RandomFlip("horizontal"),
    layers.Conv2D(16, 3, padding="same", activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(32, 3, padding="same", activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, padding="same", activation="relu"),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(128, activation="relu"),
    layers.Dense(len(class_names)),
])
model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(train.cache(), validation_data=test.cache(), epochs=10, verbose=2)

photo = utils.img_to_array(utils.load_img("photos/ring/1.jpg", target_size=(SIZE, SIZE)))
scores = ops.convert_to_numpy(ops.softmax(model.predict(photo[None], verbose=0)))[0]
print(f"photos/ring/1.jpg shows a {class_names[scores.argmax()]} ({scores.max():.0%})")
print(f"test accuracy {model.evaluate(test, verbose=0)[1]:.4f}")
