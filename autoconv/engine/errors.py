"""The errors that more than one package raises."""


class DeviceError(RuntimeError):
    """A requested device cannot be used. The message states what is missing and what to do."""


class NotBuiltError(ValueError, AttributeError):
    """A model attribute was read that does not exist before the input shape is known. The error
    message explains how to set the shape. `hasattr` returns False for such attributes.
    """
