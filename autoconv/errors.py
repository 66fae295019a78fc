"""The errors that more than one package raises."""


class DeviceError(RuntimeError):
    """A device that was asked for cannot be used; the message says what is missing and the remedy."""
