"""Trains a net on digits, and shows with Grad-CAM which regions of an image speak for its class."""

from autoconv import layers, models, optimizers, pictures, utils
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

pictures.grad_cam(model, x_test[:4]).savefig("grad_cam.png")
print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
