"""The homework grad_cam.py in Keras, which has no Grad-CAM: the same net, and the gradient by a GradientTape."""

import matplotlib.pyplot as plt
import tensorflow as tf
from keras import layers, models, ops, optimizers, utils

from autoconv.datasets import digits

utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:5000, ..., None].astype("float32") / 255, y_train[:5000]
x_test = x_test[..., None].astype("float32") / 255

model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(32, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu", name="last_conv"),
    layers.GlobalAveragePooling2D(),
    layers.Dense(10, activation="softmax"),
])
model.compile(optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=5, verbose=2)

grad_model = models.Model(model.inputs[0], [model.get_layer("last_conv").output, model.layers[-1].output])
model.layers[-1].activation = None
with tf.GradientTape() as tape:
    maps, scores = grad_model(x_test[:4])
    score = ops.max(scores, axis=-1)
weights = ops.mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
heat = ops.relu(ops.sum(weights * maps, axis=-1, keepdims=True))
heat = ops.image.resize(heat / ops.max(heat, axis=(1, 2), keepdims=True), (28, 28))
_, axes = plt.subplots(1, 4)
for axis, image, values in zip(axes, x_test, heat):
    axis.imshow(image, cmap="gray")
    axis.imshow(values, cmap="Reds", alpha=0.5)
plt.savefig("grad_cam.png")
print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
