"""The network: tensors in, tensors out. No path, no video, no text."""
