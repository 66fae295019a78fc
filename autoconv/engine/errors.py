"""The errors that more than one package raises."""


class DeviceError(RuntimeError):
    """A requested device cannot be used; the message states what is missing and the remedy."""


class NotBuiltError(ValueError, AttributeError):
    """Something of a model was asked for that it has not before it knows the shape of its inputs; the message says how
    it comes to know. To `hasattr` it is not there.
    """
