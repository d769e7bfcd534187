"""Judging retrieval: eval sets, metrics over documents, significance, and the gate."""
