"""CTC log-probabilities -> text and word times, without any network."""
