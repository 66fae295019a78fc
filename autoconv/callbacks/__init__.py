"""Callbacks: what is called at the stages of fit, evaluate and predict, with Keras's names.

`callback.py` has `Callback` and the stages, `watching.py` what decides by a value, `checkpoints.py` what saves,
`moving_averages.py`
what changes weights, `writing.py` what logs, `board.py` what TensorBoard shows.
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
