"""Proof of a node's speed and memory by exact chains of products that a server without a GPU checks in samples."""
