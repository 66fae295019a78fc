"""Callbacks: what is called at the stages of fit, evaluate and predict, with Keras's names.

`base.py` has `Callback` and the stages, `watching.py` what decides by a value, `saving.py` what saves, `weights.py`
what changes weights, `writing.py` what logs, `board.py` what TensorBoard shows.
"""

from .base import STAGES, Callback, CallbackList, History, LambdaCallback, Logs
from .board import TensorBoard
from .saving import BackupAndRestore, ModelCheckpoint
from .watching import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN
from .weights import SwapEMAWeights
from .writing import CSVLogger

__all__ = [
    "STAGES", "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "Logs", "ModelCheckpoint", "ReduceLROnPlateau", "SwapEMAWeights", "TensorBoard",
    "TerminateOnNaN",
]
