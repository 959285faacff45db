from .checkpoints import (
    CheckpointError,
    Pretrained,
    load_autoencoder,
    load_classifier,
    load_model,
    load_pretrained,
    load_snapshots,
    load_tensors,
    save_model,
    shipped_history,
    shipped_quality,
)
from .history import History
from .loop import Trained, Trainer, default_device, fit
from .recipe import drop_labels, drop_prompts, ema_update, held_out_loss, learning_rate, uniform, weighted

__all__ = [
    "CheckpointError",
    "History",
    "Pretrained",
    "Trained",
    "Trainer",
    "default_device",
    "drop_labels",
    "drop_prompts",
    "ema_update",
    "fit",
    "held_out_loss",
    "learning_rate",
    "load_autoencoder",
    "load_classifier",
    "load_model",
    "load_pretrained",
    "load_snapshots",
    "load_tensors",
    "save_model",
    "shipped_history",
    "shipped_quality",
    "uniform",
    "weighted",
]
