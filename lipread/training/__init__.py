"""Training: prepared folders in, checkpoints out."""
