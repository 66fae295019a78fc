"""Callbacks for the stages of fit, evaluate and predict, with Keras's names.

`callback.py` has `Callback` and the stages, `watching.py` callbacks that monitor a value, `checkpoints.py` callbacks
that save, `moving_averages.py` a callback that swaps weights, `writing.py` a CSV log, `board.py` TensorBoard files.
"""

from .board import TensorBoard
from .callback import STAGES, Callback, CallbackList, History, LambdaCallback, Logs
from .checkpoints import BackupAndRestore, ModelCheckpoint
from .moving_averages import SwapEMAWeights
from .watching import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN
from .writing import CSVLogger

__all__ = [
    "STAGES", "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "Logs", "ModelCheckpoint", "ReduceLROnPlateau", "SwapEMAWeights", "TensorBoard",
    "TerminateOnNaN",
]
