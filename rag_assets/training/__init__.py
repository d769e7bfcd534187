"""Accepted answers with their passages, as a dataset that fine-tuning tools read."""
